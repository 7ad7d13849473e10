"""Which of the rights that a run needs does this user lack? The server lists the user's rules (SelfSubjectRulesReview)."""

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from fino1.k8s.cluster.client import Api
from fino1.k8s.finding import Finding, missing, note, ok
from fino1.spec import recipe

Right = tuple[str, str, str]  # verb, API group, resource (`pods`, `pods/exec`)


def check(api: Api, rights: Sequence[Right]) -> Finding:
    """Whether the user's rules give these rights. `lacking` among its numbers has those that none gives, as
    `configmaps (get, patch), pods (list)`; a note where the server cannot list all rules (a webhook authorizer).
    """
    review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview", "metadata": {"name": ""}}
    status = api.create({**review, "spec": {"namespace": api.namespace}})["status"]
    rules = [rule for rule in status.get("resourceRules") or [] if not rule.get("resourceNames")]
    verbs: dict[str, list[str]] = {}
    for verb, group, resource in rights:
        wanted = {"verbs": {verb, "*"}, "apiGroups": {group, "*"}, "resources": {resource, "*"}}
        if not any(all(names & set(rule.get(key) or []) for key, names in wanted.items()) for rule in rules):
            verbs.setdefault(f"{resource}.{group}" if group else resource, []).append(verb)
    lacking = ", ".join(f"{resource} ({', '.join(each)})" for resource, each in verbs.items())
    if not lacking:
        return ok("rights", f"all {len(rights)} that it takes", lacking="")
    if status.get("incomplete"):
        why = status.get("evaluationError") or "the server cannot list all rules"
        return note("rights", f"perhaps lacking: {lacking} ({why})", lacking=lacking)
    return missing("rights", f"this user lacks {lacking}; the Role in docs/rbac.md has them", lacking=lacking)


def list_needed(api: Api, objects: Sequence[Mapping[str, Any]]) -> list[Right]:
    """The rights that it takes to submit these objects; without kinds that the cluster does not serve."""
    kinds = dict.fromkeys((body["apiVersion"], body["kind"]) for body in objects)
    served = [api.resource(*kind) for kind in kinds if api.serves(*kind)]
    return [(verb, each.group, each.plural) for each in served for verb in ("get", "create", "patch")]


def list_role(api: Api) -> list[Right]:
    """The rights of the Role `fino1` of manifests/rbac.yaml; without groups that the cluster does not serve."""
    roles = yaml.safe_load_all((recipe.built_in()[0].parents[1] / "rbac.yaml").read_text(encoding="utf-8"))
    rules = next(role["rules"] for role in roles if role["metadata"]["name"] == "fino1")
    groups = [(rule, group) for rule in rules for group in rule["apiGroups"] if not group or api.versions(group)]
    return [(verb, group, name) for rule, group in groups for name in rule["resources"] for verb in rule["verbs"]]
