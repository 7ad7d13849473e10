"""What may this user do in the namespace, and what of it is lacking? The server lists the rules (SelfSubjectRulesReview)."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import yaml

from fino1.k8s.cluster.client import Api
from fino1.spec import recipe


class Right(NamedTuple):
    """A verb of the API on a resource (`pods`, `pods/exec`) of a group."""

    verb: str
    group: str
    resource: str


class Rules(NamedTuple):
    """The rules that hold for this user; `incomplete`: the server says why there may be others, else it is empty."""

    rules: Sequence[Mapping[str, Any]]
    incomplete: str

    def allow(self, right: Right) -> bool:
        """Whether one of the rules gives this right."""
        wanted = (("verbs", right.verb), ("apiGroups", right.group), ("resources", right.resource))
        return any(
            not rule.get("resourceNames") and all({name, "*"} & set(rule.get(key) or []) for key, name in wanted)
            for rule in self.rules
        )

    def lacking(self, rights: Iterable[Right]) -> str:
        """Those of these rights that no rule gives, by resource: `configmaps (get, patch), pods (list)`."""
        verbs: dict[str, list[str]] = {}
        for right in rights:
            if not self.allow(right):
                name = f"{right.resource}.{right.group}" if right.group else right.resource
                verbs.setdefault(name, []).append(right.verb)
        return ", ".join(f"{name} ({', '.join(each)})" for name, each in verbs.items())


def read_rules(api: Api) -> Rules:
    """The rules that hold for this user in the namespace."""
    review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview", "metadata": {"name": ""}}
    status = api.create({**review, "spec": {"namespace": api.namespace}})["status"]
    why = status.get("evaluationError") or "the server does not know all rules of its authorizers"
    return Rules(status.get("resourceRules") or [], why if status.get("incomplete") else "")


def to_apply(api: Api, objects: Iterable[Mapping[str, Any]]) -> list[Right]:
    """The rights that it takes to submit these objects; without kinds that the cluster does not serve."""
    kinds = dict.fromkeys((body["apiVersion"], body["kind"]) for body in objects)
    served = [api.resource(*kind) for kind in kinds if api.serves(*kind)]
    return [Right(verb, each.group, each.plural) for each in served for verb in ("get", "create", "patch")]


def of_role(api: Api, name: str = "fino1") -> list[Right]:
    """The rights of a Role of manifests/rbac.yaml; without groups that the cluster does not serve."""
    roles = yaml.safe_load_all((recipe.built_in()[0].parents[1] / "rbac.yaml").read_text(encoding="utf-8"))
    rules = next(role["rules"] for role in roles if role["metadata"]["name"] == name)
    return [
        Right(verb, group, resource)
        for rule in rules
        for group in rule["apiGroups"]
        if not group or api.versions(group)
        for resource in rule["resources"]
        for verb in rule["verbs"]
    ]
