"""Has the namespace's ResourceQuota room for a run, and what do LimitRanges put into its pods?"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from fino1.k8s.cluster.client import Api
from fino1.k8s.finding import Finding, missing, note, ok, wait
from fino1.k8s.plan.demand import Group, total
from fino1.k8s.state.nodes import Amounts, format_amount, parse_amounts, parse_quantity

_COUNTED = ("configmaps", "persistentvolumeclaims", "services", "secrets")  # quotas know them without `count/`


def room(api: Api, wanted: Sequence[Group], made: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    """Does what the run asks for fit each quota? `made` are the objects that are not there yet."""
    asked = _asked(api, wanted, made)
    for body in api.list("v1", "ResourceQuota").items:
        name = body["metadata"]["name"]
        if body["spec"].get("scopes") or body["spec"].get("scopeSelector"):
            yield note("quota", f"{name}: holds for some pods only (scopes); not weighed")
            continue
        status = body.get("status", {})
        yield _one(
            name,
            asked,
            parse_amounts(status.get("hard") or body["spec"]["hard"]),
            parse_amounts(status.get("used") or {}),
        )


def limit_ranges(api: Api) -> Iterator[Finding]:
    """Which defaults do containers get that say nothing? A memory limit that nobody chose kills a training run."""
    for body in api.list("v1", "LimitRange").items:
        for item in body["spec"]["limits"]:
            given = {key: item[key] for key in ("default", "defaultRequest") if item.get(key)}
            if item["type"] == "Container" and given:
                said = "; ".join(
                    f"{'limit' if key == 'default' else 'request'} {', '.join(f'{r} {a}' for r, a in amounts.items())}"
                    for key, amounts in given.items()
                )
                yield note("limits", f"{body['metadata']['name']} gives containers that set none: {said}")


def _one(name: str, asked: Amounts, hard: Amounts, used: Amounts) -> Finding:
    """One quota: whatever of it the run asks for, the worst first."""
    lines: dict[str, list[str]] = {"missing": [], "wait": [], "ok": []}
    facts = {}
    for resource in sorted(hard.keys() & asked.keys()):
        taken, most = used.get(resource, Decimal(0)), hard[resource]
        verdict = "ok" if taken + asked[resource] <= most else "wait" if asked[resource] <= most else "missing"
        numbers = [format_amount(resource, amount) for amount in (asked[resource], taken, most)]
        lines[verdict].append(f"{resource}: {numbers[0]} asked, {numbers[1]} of {numbers[2]} used")
        facts[resource] = {"asked": float(asked[resource]), "used": float(taken), "hard": float(most)}
    if lines["missing"]:
        return missing("quota", f"{name}: more than it ever gives: {'; '.join(lines['missing'])}", **facts)
    if lines["wait"]:
        return wait("quota", f"{name}: room when others end: {'; '.join(lines['wait'])}", **facts)
    return ok("quota", f"{name}: {'; '.join(lines['ok']) or 'counts nothing that the run asks for'}", **facts)


def _asked(api: Api, wanted: Sequence[Group], made: Sequence[Mapping[str, Any]]) -> dict[str, Decimal]:
    """What the run asks for, under every name that a quota may give it."""
    requests, limits = total(wanted)
    asked: Counter[str] = Counter({"pods": requests.get("pods", 0), "count/pods": requests.get("pods", 0)})
    for resource, amount in requests.items():
        if resource != "pods":
            asked[f"requests.{resource}"] = asked[resource] = amount  # type: ignore[assignment]
    for resource, amount in limits.items():
        asked[f"limits.{resource}"] = amount  # type: ignore[assignment]
    for body in made:
        served = api.resource(body["apiVersion"], body["kind"])
        asked[f"count/{served}"] += 1
        if served.plural in _COUNTED:
            asked[served.plural] += 1
        if body["kind"] == "PersistentVolumeClaim":
            size = parse_quantity(body["spec"]["resources"]["requests"]["storage"])
            asked["requests.storage"] += size  # type: ignore[assignment]
    return {resource: Decimal(amount) for resource, amount in asked.items() if amount}
