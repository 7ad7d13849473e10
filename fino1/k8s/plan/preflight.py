"""Would the cluster take a run: reached as whom, allowed what, each object accepted, each pod admitted, nodes for all?

Nothing is changed: objects and pods are sent as dry runs. What this user may not read is a note, not a failure.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fino1.k8s.change import dryrun
from fino1.k8s.change.owned import is_run, label, managed
from fino1.k8s.cluster.client import Api
from fino1.k8s.cluster.errors import ApiError
from fino1.k8s.finding import Finding, missing, note, ok
from fino1.k8s.objects.render import render
from fino1.k8s.plan import nodes, rights
from fino1.k8s.plan.needs import find_needs, readable
from fino1.k8s.plan.nodes import PodSpec
from fino1.k8s.plan.outline import count_pods
from fino1.k8s.state.nodes import format_amount, parse_amounts, pod_requests
from fino1.k8s.state.run import Run
from fino1.k8s.state.status import ReadAccess
from fino1.spec.run import RunSpec

Object = Mapping[str, Any]
ENFORCE = "pod-security.kubernetes.io/enforce"


def look(api: Api, spec: RunSpec, name: str) -> tuple[list[Finding], int | None]:
    """Everything that was found, in the order in which it would go wrong, and the memory of the smallest GPU that the run may
    get (None: the nodes do not say).
    """
    objects = render(spec, name)
    pods, count = [each["spec"] for each in dryrun.make_sample_pods(objects)], count_pods(spec)["count"]
    namespace = list(readable("namespace", find_namespace, api))
    findings, is_there = [*access(api), *namespace, *readable("kinds", dryrun.check_kinds, api, objects)], False
    if namespace[0].level != "missing":
        dry = list(readable("dry run", _dry_run, api, objects))
        is_there = any(each.numbers.get("is_there") for each in dry)
        pods, admission = dryrun.admit_pods(api, objects)
        findings += [rights.check(api, rights.list_needed(api, objects)), *dry, *admission]
        findings += find_needs(api, spec, count, is_there)
        findings += readable("quota", _quotas, api, pods, count // len(pods))
    if not is_there:  # else its pods are among those that use the nodes
        findings += readable("nodes", nodes.judge_fit, api, spec, pods, count // len(pods))
    return findings, ReadAccess().ask(lambda: nodes.smallest_gpu(api, spec, pods), None)


def access(api: Api) -> Iterator[Finding]:
    """Which server answers, and as whom it knows this user."""
    version = api.version or "of unknown version"
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview", "metadata": {"name": ""}}
    try:
        user = api.create(review)["status"]["userInfo"]["username"]
    except ApiError:
        user = api.who.user  # servers before 1.28 do not say
    facts = {"server": api.who.url, "version": version, "user": user, "namespace": api.namespace}
    yield ok("access", f"{api.who.url}, Kubernetes {version}, as {user}, namespace {api.namespace}", **facts)


def find_namespace(api: Api) -> Iterator[Finding]:
    """Whether the namespace is there, and what it enforces."""
    body, name = api.get("v1", "Namespace", api.namespace), api.namespace
    if body is None:
        yield missing(
            "namespace", f"{name}: does not exist; kubectl create namespace {name}, or another with --namespace"
        )
        return
    phase = body.get("status", {}).get("phase", "Active")
    level = (body["metadata"].get("labels") or {}).get(ENFORCE)
    security = f"it enforces Pod Security {level}" if level else f"no label {ENFORCE}: the cluster's default holds"
    if phase == "Terminating":
        yield missing("namespace", f"{name}: is being deleted", phase=phase)
    else:
        yield ok("namespace", f"{name}: there; {security}", phase=phase, pod_security=level)


def _dry_run(api: Api, objects: Sequence[Object]) -> Iterator[Finding]:
    """What the server says to each object, asked as `submit` asks it; one line where it takes them all."""
    served = [managed(body) for body in objects if api.serves(body["apiVersion"], body["kind"])]
    there = dryrun.find_existing(api, served)
    for body in (there[label(mine)] for mine in served if label(mine) in there and is_run(mine)):
        yield ok("earlier run", f"{label(body)} is there already, {Run(body).phase}", is_there=True)
    yield from dryrun.judge_earlier(served, there.values())
    changes = dryrun.plan_changes(api, served, there)
    yield from (note("claim", warning) for warning in dryrun.find_claim_differences(changes))
    counts = Counter(change.outcome for change in changes)
    outcomes = ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
    yield ok("dry run", f"the server takes all {len(changes)} objects: {outcomes}")


def _quotas(api: Api, pods: Sequence[PodSpec], count: int) -> Iterator[Finding]:
    """Quotas that can never hold `count` pods of each of these specs at once; a single one the server has admitted, or not."""
    asked: Counter[str] = Counter()
    for pod in pods:
        for resource, amount in pod_requests(pod).items():
            asked.update({name: count * amount for name in (resource, f"requests.{resource}")})  # type: ignore[misc]
    for body in api.list("v1", "ResourceQuota"):
        hard = parse_amounts(body["spec"].get("hard") or {})
        over = [name for name in sorted(hard) if asked[name] > hard[name]]
        amounts = ((name, *(format_amount(name, each) for each in (asked[name], hard[name]))) for name in over)
        text = "; ".join(f"{name}: {mine} asked, {most} is all" for name, mine, most in amounts)
        if over and not (body["spec"].get("scopes") or body["spec"].get("scopeSelector")):  # of some pods only
            yield missing("quota", f"{body['metadata']['name']}: more than it ever gives: {text}")
