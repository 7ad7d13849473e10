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
from fino1.k8s.finding import Finding, missing, note, ok, wait
from fino1.k8s.objects.render import is_hook, render
from fino1.k8s.plan import nodes, rights
from fino1.k8s.plan.needs import find_needs, readable
from fino1.k8s.plan.nodes import PodSpec
from fino1.k8s.plan.outline import count_pods
from fino1.k8s.state.nodes import format_amount, parse_amounts, pod_requests
from fino1.k8s.state.run import Run, list_runs
from fino1.spec.run import RunSpec

Object = Mapping[str, Any]
ENFORCE = "pod-security.kubernetes.io/enforce"


def look(api: Api, spec: RunSpec, name: str) -> tuple[list[Finding], int | None]:
    """Everything that was found, in the order in which it would go wrong, and the memory of the smallest GPU that the run may
    get (None: the nodes do not say).
    """
    objects = [body for body in render(spec, name) if not is_hook(body)]
    samples = dryrun.make_sample_pods(objects)
    pods, count = [each["spec"] for each in samples], count_pods(spec)["count"]
    namespace = list(readable("namespace", find_namespace, api))
    findings, is_there = [*access(api), *namespace, *readable("kinds", dryrun.check_kinds, api, objects)], False
    if namespace[0].level != "missing":
        dry = list(readable("dry run", _dry_run, api, objects))
        is_there = any(each.about == ("earlier run",) for each in dry)
        pods, admission = _admit(api, spec, samples)
        findings += [rights.check(api, rights.list_needed(api, objects)), *dry, *admission]
        findings += find_needs(api, spec, count, is_there)
        findings += readable("quota", _quotas, api, pods, count // len(pods))
        findings += readable("earlier run", _same_directory, api, objects)
    if not is_there:  # else its pods are among those that use the nodes
        findings += readable("nodes", nodes.judge_fit, api, spec, pods, count // len(pods))
    try:
        return findings, nodes.smallest_gpu(api, spec, pods)
    except ApiError as error:
        if error.status != 403:
            raise
        return findings, None


def access(api: Api) -> Iterator[Finding]:
    """Which server answers, and as whom it knows this user."""
    version = api.version or "of unknown version"
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview", "metadata": {"name": ""}}
    try:
        user = api.create(review)["status"]["userInfo"]["username"]
    except ApiError:
        user = api.who.user  # servers before 1.28 do not say
    facts = {"server": api.url, "version": version, "user": user, "namespace": api.namespace}
    yield ok("access", f"{api.url}, Kubernetes {version}, as {user}, namespace {api.namespace}", **facts)


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
        yield ok("earlier run", f"{label(body)} is there already, {Run(body).phase}")
    changes = dryrun.plan_changes(api, served, there)
    yield from (note("claim", warning) for warning in dryrun.find_claim_differences(changes))
    counts = Counter(change.outcome for change in changes)
    outcomes = ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
    yield ok("dry run", f"the server takes all {len(changes)} objects: {outcomes}")


def _admit(api: Api, spec: RunSpec, samples: Sequence[Object]) -> tuple[list[PodSpec], list[Finding]]:
    """The specs of these pods with what the server adds to them, and whether it would admit them: Pod Security, LimitRanges and
    quotas look at pods, not at what makes them.
    """
    found, admitted = {}, []  # findings by what is said: the pods of an evaluation's models are alike
    for pod in samples:
        name, mine = pod["metadata"]["name"], pod["spec"]
        try:
            admitted.append(api.create(pod, dry_run=True)["spec"])
        except ApiError as error:
            refusal = _refusal(spec, name, error)
            found.setdefault(refusal.says.replace(name, ""), refusal)
            admitted.append(mine)
        if added := _list_added(mine, admitted[-1]):
            text = f"the namespace adds to containers that set none: {added}"
            found.setdefault(text, note("limits", text))
    is_refused = any(each.about == ("pods",) for each in found.values())
    return admitted, [*found.values(), *([] if is_refused else [ok("pods", "the server admits them")])]


def _refusal(spec: RunSpec, name: str, error: ApiError) -> Finding:
    """What it means that the server refused a pod."""
    text = str(error)
    if error.status not in (403, 409, 422):
        raise error
    if text.startswith("forbidden: "):  # the one right that plan wants and submit can do without
        return note("pods", f"{name}: not known whether they would be admitted: {text}")
    return wait("pods", text) if "exceeded quota" in text and spec.queue else missing("pods", text)


def _list_added(before: Mapping[str, Any], admitted: Mapping[str, Any]) -> str:
    """The requests and limits that a LimitRange has added to containers, as text; a memory limit nobody chose can kill a run."""
    found: dict[str, None] = {}
    for mine, theirs in zip(before["containers"], admitted["containers"], strict=False):
        own = mine.get("resources", {})
        for kind in ("limits", "requests"):
            chosen = {**own.get("limits", {}), **own.get(kind, {})}
            for resource, amount in (theirs.get("resources", {}).get(kind) or {}).items():
                if resource not in chosen:
                    found[f"{kind.removesuffix('s')} {resource} {amount}"] = None
    return ", ".join(found)


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


def _same_directory(api: Api, objects: Sequence[Object]) -> Iterator[Finding]:
    """Other run objects that lead to the same results: the same run, placed otherwise."""
    directories = {(each["metadata"].get("annotations") or {}).get("fino1/directory"): each for each in objects}
    for run in list_runs(api):
        mine = directories.get(run.directory) if run.directory else None
        if mine and run.full != mine["metadata"]["name"]:
            where = f"{run.kind}/{run.full} ({run.phase}) has the same directory, runs/{run.directory}"
            if run.is_over:
                yield ok("earlier run", f"{where}: this run goes on from its checkpoints")
            else:
                yield missing("earlier run", f"{where}: expected it to be over, or cancelled first")
