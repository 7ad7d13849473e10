"""Would Kueue admit a run: is its queue there, and has one of the ClusterQueue's flavors the quota, now or ever?"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

from fino1.k8s.checks import Check, missing, note, ok, wait
from fino1.k8s.cluster.client import Api
from fino1.k8s.cluster.errors import ApiError
from fino1.k8s.state.demand import Amounts, Group, quantities, quantity, shown, total

GROUP = "kueue.x-k8s.io"
Verdict = Literal["now", "later", "borrowed", "never"]
_ORDER: tuple[Verdict, ...] = ("now", "later", "borrowed", "never")


@dataclass(frozen=True)
class Flavor:
    """One flavor's quota of a ClusterQueue: per resource what it may give, and what is reserved of it."""

    name: str
    nominal: Amounts
    most: Mapping[str, Fraction | None]
    """With what may be borrowed of a cohort; None: as much as the cohort has."""
    reserved: Amounts

    def verdict(self, asked: Amounts, together: Amounts) -> Verdict:
        """When would a workload get what it asks for, beside the run's others (`together`)?"""
        for resource, amount in asked.items():
            most = self.most.get(resource, Fraction(0))
            if most is not None and amount > most:
                return "never"
        if any(amount > self.nominal.get(r, 0) for r, amount in asked.items()):
            return "borrowed"
        has_room = all(self.reserved.get(r, 0) + amount <= self.nominal.get(r, 0) for r, amount in together.items())
        return "now" if has_room else "later"


def version(api: Api) -> str:
    """Which version of Kueue's API does the cluster prefer? Empty: none."""
    return next(iter(api.versions(GROUP)), "")


def admission(api: Api, queue: str, wanted: Sequence[Group]) -> Iterator[Check]:
    """Is the LocalQueue there, and would its ClusterQueue admit each of the run's workloads?"""
    served = version(api)
    if not served:
        text = "the cluster has no Kueue: remove `queue`, or install it: https://kueue.sigs.k8s.io/docs/installation"
        yield missing("queue", f"{queue}: {text}")
        return
    local = api.get(served, "LocalQueue", queue)
    if local is None:
        names = ", ".join(q["metadata"]["name"] for q in api.list(served, "LocalQueue").items) or "none"
        yield missing(
            "queue", f"{queue}: expected a LocalQueue in namespace {api.namespace}, got none (there: {names})"
        )
        return
    name = local["spec"]["clusterQueue"]
    yield from _state("queue", f"{queue}", local)
    try:
        body = api.get(served, "ClusterQueue", name)
    except ApiError as error:
        if error.status != 403:
            raise
        yield note("queue", f"{queue} → {name}: its quota cannot be read ({error})")
        return
    if body is None:
        yield missing("queue", f"{queue} → {name}: expected a ClusterQueue, got none")
        return
    yield from _state("queue", f"{queue} → {name}", body)
    yield from _quota(f"{queue} → {name}", body, wanted, _unfit(api, served, wanted))


def _state(about: str, name: str, body: Mapping[str, Any]) -> Iterator[Check]:
    """Is a queue held, or does Kueue call it inactive?"""
    if body["spec"].get("stopPolicy", "None") != "None":
        yield wait(about, f"{name}: held by its administrator (stopPolicy: {body['spec']['stopPolicy']})")
    for condition in body.get("status", {}).get("conditions") or []:
        if condition["type"] == "Active" and condition["status"] != "True":
            yield wait(about, f"{name}: not active: {condition.get('message') or condition.get('reason')}")


def _unfit(api: Api, served: str, wanted: Sequence[Group]) -> set[str]:
    """Flavors whose node labels contradict what the pods select; none where flavors cannot be read."""
    try:
        flavors = api.list(served, "ResourceFlavor").items
    except ApiError as error:
        if error.status != 403:
            raise
        return set()
    return {
        flavor["metadata"]["name"]
        for flavor in flavors
        for key, value in (flavor.get("spec", {}).get("nodeLabels") or {}).items()
        for group in wanted
        if (group.spec.get("nodeSelector") or {}).get(key, value) != value
    }


def _quota(name: str, body: Mapping[str, Any], wanted: Sequence[Group], unfit: set[str]) -> Iterator[Check]:
    """Each of the ClusterQueue's resource groups gives all its resources by one flavor."""
    workloads = [total(g for g in wanted if g.run == run)[0] for run in dict.fromkeys(g.run for g in wanted)]
    together = total(wanted)[0]
    covered: set[str] = set()
    for item in body["spec"].get("resourceGroups") or []:
        covered |= set(item["coveredResources"])
        asked = [_only(amounts, item["coveredResources"]) for amounts in workloads]
        flavors = [flavor for flavor in _flavors(body, item) if flavor.name not in unfit]
        if any(asked):
            yield _group(name, body, flavors, asked, _only(together, item["coveredResources"]), unfit)
    others = sorted(r for r, amount in together.items() if amount and r not in covered and r != "pods")
    if others:
        yield missing("queue", f"{name}: has no quota for {', '.join(others)}, so Kueue never admits the run")


def _group(
    name: str,
    body: Mapping[str, Any],
    flavors: Sequence[Flavor],
    asked: Sequence[Amounts],
    together: Amounts,
    unfit: set[str],
) -> Check:
    best = {flavor.name: max((flavor.verdict(a, together) for a in asked), key=_ORDER.index) for flavor in flavors}
    verdict = min(best.values(), key=_ORDER.index, default="never")
    lines = [f"{flavor.name} ({', '.join(_numbers(flavor, together))})" for flavor in flavors]
    lines += [f"{flavor} (its nodes are not those selected)" for flavor in sorted(unfit)]
    said = f"{', '.join(f'{shown(r, a)} {r}' for r, a in together.items())} asked; {'; '.join(lines) or 'no flavors'}"
    facts = {"flavors": best}
    if verdict == "now":
        return ok("queue", f"{name}: admitted now: {said}", **facts)
    if verdict == "later":
        return wait("queue", f"{name}: admitted when others end: {said}", **facts)
    if verdict == "borrowed":
        cohort = body["spec"].get("cohort") or body["spec"].get("cohortName")
        return wait("queue", f"{name}: only with quota borrowed from cohort {cohort}: {said}", **facts)
    return missing("queue", f"{name}: never admitted, more than its quota: {said}", **facts)


def _numbers(flavor: Flavor, asked: Amounts) -> Iterator[str]:
    for resource in asked:
        reserved, nominal = flavor.reserved.get(resource, Fraction(0)), flavor.nominal.get(resource, Fraction(0))
        yield f"{shown(resource, reserved)} of {shown(resource, nominal)} {resource} reserved"


def _flavors(body: Mapping[str, Any], item: Mapping[str, Any]) -> Iterator[Flavor]:
    cohort = body["spec"].get("cohort") or body["spec"].get("cohortName")
    reservations = {f["name"]: f["resources"] for f in body.get("status", {}).get("flavorsReservation") or []}
    for each in item["flavors"]:
        nominal = quantities({r["name"]: r["nominalQuota"] for r in each["resources"]})
        most: dict[str, Fraction | None] = dict(nominal)
        for resource in each["resources"] if cohort else []:
            limit = resource.get("borrowingLimit")
            most[resource["name"]] = None if limit is None else nominal[resource["name"]] + quantity(limit)
        reserved = quantities({r["name"]: r.get("total", 0) for r in reservations.get(each["name"], [])})
        yield Flavor(each["name"], nominal, most, reserved)


def _only(amounts: Amounts, resources: Sequence[str]) -> dict[str, Fraction]:
    return {resource: amount for resource, amount in amounts.items() if resource in resources and amount}
