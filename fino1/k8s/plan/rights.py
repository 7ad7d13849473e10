"""Which of the rights that a run needs does this user lack? The server lists the user's rules (SelfSubjectRulesReview)."""

from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from fino1.k8s.cluster.client import Api
from fino1.spec import recipe

Right = tuple[str, str, str]  # verb, API group, resource (`pods`, `pods/exec`)


def find_lacking(api: Api, rights: Iterable[Right]) -> tuple[str, str]:
    """Those of these rights that no rule gives, as `configmaps (get, patch), pods (list)`; and why there may be rules that the
    server cannot list (a webhook authorizer), empty where it lists all.
    """
    review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview", "metadata": {"name": ""}}
    status = api.create({**review, "spec": {"namespace": api.namespace}})["status"]
    rules = [rule for rule in status.get("resourceRules") or [] if not rule.get("resourceNames")]
    verbs: dict[str, list[str]] = {}
    for verb, group, resource in rights:
        wanted = {"verbs": {verb, "*"}, "apiGroups": {group, "*"}, "resources": {resource, "*"}}
        if not any(all(names & set(rule.get(key) or []) for key, names in wanted.items()) for rule in rules):
            verbs.setdefault(f"{resource}.{group}" if group else resource, []).append(verb)
    unlisted = status.get("evaluationError") or "the server cannot list all rules"
    text = ", ".join(f"{resource} ({', '.join(each)})" for resource, each in verbs.items())
    return text, unlisted if status.get("incomplete") else ""


def to_apply(api: Api, objects: Iterable[Mapping[str, Any]]) -> list[Right]:
    """The rights that it takes to submit these objects; without kinds that the cluster does not serve."""
    kinds = dict.fromkeys((body["apiVersion"], body["kind"]) for body in objects)
    served = [api.resource(*kind) for kind in kinds if api.serves(*kind)]
    return [(verb, each.group, each.plural) for each in served for verb in ("get", "create", "patch")]


def of_role(api: Api) -> list[Right]:
    """The rights of the Role `fino1` of manifests/rbac.yaml; without groups that the cluster does not serve."""
    roles = yaml.safe_load_all((recipe.built_in()[0].parents[1] / "rbac.yaml").read_text(encoding="utf-8"))
    rules = next(role["rules"] for role in roles if role["metadata"]["name"] == "fino1")
    return [
        (verb, group, resource)
        for rule in rules
        for group in rule["apiGroups"]
        if not group or api.versions(group)
        for resource in rule["resources"]
        for verb in rule["verbs"]
    ]
