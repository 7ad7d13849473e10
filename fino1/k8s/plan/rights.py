"""What may a verb ask of the API? The rules of docs/rbac.md, each asked of the server itself (SelfSubjectAccessReview)."""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from fino1.k8s.cluster.client import Api
from fino1.k8s.state.queue import GROUP
from fino1.k8s.state.run import KINDS

_PLURALS = {"PyTorchJob": "pytorchjobs", "JobSet": "jobsets", "TrainJob": "trainjobs", "Job": "jobs"}
_RUNTIMES = "trainer.kubeflow.org/v1alpha1", "TrainingRuntime", "trainingruntimes"


class Right(NamedTuple):
    """One thing that a user may do, or not."""

    verb: str
    resource: str
    group: str = ""
    subresource: str = ""

    @property
    def what(self) -> str:
        """The resource as kubectl spells it."""
        name = f"{self.resource}/{self.subresource}" if self.subresource else self.resource
        return f"{name}.{self.group}" if self.group else name


_CLAIMS = ("persistentvolumeclaims", "")
_AROUND = (("configmaps", ""), ("serviceaccounts", ""), ("services", ""), ("networkpolicies", "networking.k8s.io"))
_APPLY = ("get", "create", "patch")
_PODS = (Right("get", "pods"), Right("list", "pods"))
_FOLLOW = (*_PODS, Right("watch", "pods"))
_LOG = Right("get", "pods", "", "log")
_EXEC = (Right("get", "pods", "", "exec"), Right("create", "pods", "", "exec"))


def by_verb(api: Api) -> dict[str, list[Right]]:
    """Which rights does each verb of `fino1-k8s` use, with the kinds of run that this cluster has?"""
    run = [(_PLURALS[kind], _group(version)) for kind, version in KINDS.items() if api.serves(version, kind)]
    version, kind, plural = _RUNTIMES
    around = [*_AROUND, *([(plural, _group(version))] if api.serves(version, kind) else [])]
    there = _each(("get", "list"), run)
    applied = [*_each(_APPLY, [_CLAIMS, *run, *around]), *_each(("list",), [*run, *around])]
    has_kueue = bool(api.versions(GROUP))
    workloads = _each(("get", "list"), [("workloads", GROUP)] if has_kueue else [])
    moved = [*workloads, Right("patch", "workloads", GROUP)] if has_kueue else []
    queues = _each(("get", "list"), [("localqueues", GROUP)] if has_kueue else [])
    asked = [Right("create", "pods"), Right("list", "resourcequotas"), Right("list", "limitranges")]
    return {
        "submit": [*applied, *_PODS],
        "diff": applied,
        "plan": [*applied, *asked, *queues],
        "plan, of Secrets": [Right("get", "secrets")],
        "ps, status": [*there, *_PODS, *workloads, _LOG],
        "logs": [*there, *_FOLLOW, _LOG],
        "why": [*there, *_PODS, *workloads, Right("list", "events"), _LOG],
        "wait": [*there, *_each(("watch",), run), *_FOLLOW],
        "suspend, resume": [*there, *_each(("patch",), run), *moved],
        "retry": [*there, *_PODS, *_each(("create", "delete"), run), *_each(("get",), around)],
        "cancel, prune": [*there, *_PODS, *_each(("delete",), run), *_each(("list", "delete"), around)],
        "fetch": [*there, *_PODS, *_each(("create", "delete"), [("pods", "")]), *_EXEC],
    }


def to_apply(api: Api, objects: Iterable[Mapping[str, Any]]) -> list[Right]:
    """Which rights does it take to submit these objects? Of kinds that are not served, none can be had."""
    kinds = {(body["apiVersion"], body["kind"]): None for body in objects}
    served = [api.resource(*kind) for kind in kinds if api.serves(*kind)]
    return _each(_APPLY, [(resource.plural, resource.group) for resource in served])


def refused(api: Api, rights: Sequence[Right]) -> list[Right]:
    """Which of these has the user not? Asked side by side: each is a request of its own."""
    different = list(dict.fromkeys(rights))
    with ThreadPoolExecutor(8) as pool:
        answers = pool.map(lambda r: api.can(r.verb, r.resource, r.group, subresource=r.subresource), different)
        return [right for right, allowed in zip(different, answers, strict=True) if not allowed]


def listed(rights: Iterable[Right]) -> str:
    """Rights in words, each resource once: `configmaps (get, patch), pods (list)`."""
    verbs: dict[str, list[str]] = {}
    for right in dict.fromkeys(rights):
        verbs.setdefault(right.what, []).append(right.verb)
    return ", ".join(f"{what} ({', '.join(each)})" for what, each in verbs.items())


def _each(verbs: Sequence[str], resources: Iterable[tuple[str, str]]) -> list[Right]:
    return [Right(verb, resource, group) for resource, group in resources for verb in verbs]


def _group(api_version: str) -> str:
    return api_version.rpartition("/")[0]
