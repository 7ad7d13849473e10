"""Would the cluster take a run: reached as whom, allowed what, each object accepted, each pod admitted, nodes for all?

Nothing is changed: objects and pods are sent as dry runs. What this user may not read is a note, not a failure.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fino1.errors import Fino1Error, SpecError
from fino1.k8s.change import dryrun
from fino1.k8s.change.owned import is_run, label, managed
from fino1.k8s.cluster.client import Api
from fino1.k8s.cluster.errors import ApiError
from fino1.k8s.finding import Finding, missing, note, ok, wait
from fino1.k8s.objects.render import is_hook, render
from fino1.k8s.plan import needs, nodes, rights
from fino1.k8s.plan.needs import readable
from fino1.k8s.plan.nodes import Pods
from fino1.k8s.state.nodes import format_amount, parse_amounts
from fino1.k8s.state.run import Run, list_runs
from fino1.spec.run import RunSpec

Object = Mapping[str, Any]
ENFORCE = "pod-security.kubernetes.io/enforce"


def look(api: Api, spec: RunSpec, name: str) -> tuple[list[Finding], int | None]:
    """All that was found, and the memory of the smallest GPU that the run may get (None: the nodes do not say)."""
    objects = [body for body in render(spec, name) if not is_hook(body)]
    looking = _Look(api, spec, objects, nodes.list_pods(spec, objects))
    findings = list(looking.findings())
    try:
        return findings, nodes.smallest_gpu(api, spec, looking.pods)
    except ApiError as error:
        if error.status != 403:
            raise
        return findings, None


@dataclass
class _Look:
    """One look at a cluster. `pods` get what the server adds to them, and so count in what follows."""

    api: Api
    spec: RunSpec
    objects: Sequence[Object]
    pods: list[Pods]
    is_there: bool = False
    """Whether a run object exists already: then its pods are among those that use the nodes."""

    def findings(self) -> Iterator[Finding]:
        """Everything, in the order in which it would go wrong."""
        api, spec = self.api, self.spec
        yield from access(api)
        namespace = list(readable("namespace", self._namespace))
        yield from [*namespace, *self._kinds()]
        if not any(each.level == "missing" for each in namespace):
            yield from self._rights()
            yield from readable("dry run", self._dry_run)
            yield from self._admission()
            yield from needs.secrets(api, spec)
            yield from needs.claims(api, spec, sum(each.count for each in self.pods))
            if spec.workloadPriorityClass:
                name = spec.workloadPriorityClass
                yield from readable("workloadPriorityClass", lambda: needs.priority_class(api, name))
            if spec.method != "eval" and (spec.nodes > 1 or spec.gang):
                yield from needs.gang_scheduler(api, spec)
            if spec.queue and not self.is_there:
                yield from readable("queue", lambda: needs.queue(api, spec.queue or ""))
            yield from readable("quota", self._quotas)
            yield from readable("earlier run", self._same_directory)
        if not self.is_there:
            yield from readable("nodes", lambda: nodes.judge_fit(api, spec, self.pods))

    def _namespace(self) -> Iterator[Finding]:
        body, name = self.api.get("v1", "Namespace", self.api.namespace), self.api.namespace
        if body is None:
            hint = f"kubectl create namespace {name}, or another with --namespace"
            yield missing("namespace", f"{name}: does not exist; {hint}")
        elif body.get("status", {}).get("phase") == "Terminating":
            yield missing("namespace", f"{name}: is being deleted")
        else:
            level = (body["metadata"].get("labels") or {}).get(ENFORCE)
            security = (
                f"it enforces Pod Security {level}" if level else f"no label {ENFORCE}: the cluster's default holds"
            )
            yield ok("namespace", f"{name}: there; {security}")

    def _kinds(self) -> Iterator[Finding]:
        try:
            dryrun.check_kinds(self.api, self.objects)
        except SpecError as error:
            yield missing("kinds", "; ".join(error.problems))

    def _rights(self) -> Iterator[Finding]:
        wanted = rights.to_apply(self.api, self.objects)
        lacking, unlisted = rights.find_lacking(self.api, wanted)
        if lacking and unlisted:
            yield note("rights", f"perhaps lacking: {lacking} ({unlisted})")
        elif lacking:
            yield missing("rights", f"{lacking} in namespace {self.api.namespace}; the Role in docs/rbac.md has them")
        else:
            yield ok("rights", f"all {len(wanted)} that submit needs")

    def _dry_run(self) -> Iterator[Finding]:
        """What the server says to each object, asked as `submit` asks it; one line where it takes them all."""
        objects = [managed(body) for body in self.objects if self.api.serves(body["apiVersion"], body["kind"])]
        there = dryrun.find_existing(self.api, objects)
        for body in (there[label(mine)] for mine in objects if label(mine) in there and is_run(mine)):
            self.is_there = True
            yield ok("earlier run", f"{label(body)} is there already, {Run(body).phase}")
        try:
            changes = dryrun.plan_changes(self.api, objects, there)
        except ApiError:
            raise
        except Fino1Error as error:  # a line for each object; which rights are lacking, `rights` has said
            for line in str(error).splitlines():
                if not line.startswith("forbidden: "):
                    yield missing("dry run", line)
            return
        for warning in dryrun.find_claim_differences(changes):
            yield note("claim", warning)
        counts = Counter(change.outcome for change in changes)
        said = ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
        yield ok("dry run", f"the server takes all {len(changes)} objects: {said}")

    def _admission(self) -> Iterator[Finding]:
        """Whether pods would be admitted: Pod Security, LimitRanges and quotas look at them, not at what makes them."""
        findings: dict[str, Finding] = {}  # by what is said: the pods of an evaluation's models are alike
        for place, body in enumerate(dryrun.make_sample_pods(self.objects)):
            pods = self.pods[place]
            try:
                admitted = self.api.create(body, dry_run=True)["spec"]
            except ApiError as error:
                refusal = self._refusal(pods.run, error)
                findings.setdefault(refusal.says.replace(pods.run, ""), refusal)
                continue
            self.pods[place] = replace(pods, spec=admitted)
            if added := _list_added(body["spec"], admitted):
                text = f"the namespace adds to containers that set none: {added}"
                findings.setdefault(text, note("limits", text))
        yield from findings.values()
        if not any(each.about == ("pods",) for each in findings.values()):
            yield ok("pods", "the server admits them")

    def _refusal(self, name: str, error: ApiError) -> Finding:
        """What it means that the server refused a pod."""
        text = str(error)
        if error.status not in (403, 409, 422):
            raise error
        if text.startswith("forbidden: "):  # the one right that plan wants and submit can do without
            return note("pods", f"{name}: not known whether they would be admitted: {text}")
        return wait("pods", text) if "exceeded quota" in text and self.spec.queue else missing("pods", text)

    def _quotas(self) -> Iterator[Finding]:
        """Quotas that can never hold all the run's pods at once; a single one the server has admitted, or not."""
        asked: Counter[str] = Counter()
        for pods in self.pods:
            for resource, amount in pods.requests.items():
                for name in (resource, f"requests.{resource}"):
                    asked[name] += pods.count * amount  # type: ignore[assignment]
        for body in self.api.list("v1", "ResourceQuota").items:
            hard = parse_amounts(body["spec"].get("hard") or {})
            over = [name for name in sorted(hard) if asked[name] > hard[name]]
            amounts = ((name, *(format_amount(name, each) for each in (asked[name], hard[name]))) for name in over)
            text = "; ".join(f"{name}: {mine} asked, {most} is all" for name, mine, most in amounts)
            if over and not (body["spec"].get("scopes") or body["spec"].get("scopeSelector")):  # of some pods only
                yield missing("quota", f"{body['metadata']['name']}: more than it ever gives: {text}")

    def _same_directory(self) -> Iterator[Finding]:
        """Other run objects that lead to the same results: the same run, placed otherwise."""
        directories = {
            (each["metadata"].get("annotations") or {}).get("fino1/directory"): each for each in self.objects
        }
        for run in list_runs(self.api):
            mine = directories.get(run.directory) if run.directory else None
            if mine and run.full != mine["metadata"]["name"]:
                where = f"{run.kind}/{run.full} ({run.phase}) has the same directory, runs/{run.directory}"
                if run.is_over:
                    yield ok("earlier run", f"{where}: this run goes on from its checkpoints")
                else:
                    yield missing("earlier run", f"{where}: expected it to be over, or cancelled first")


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


def _list_added(before: Mapping[str, Any], admitted: Mapping[str, Any]) -> str:
    """The requests and limits that a LimitRange has added to containers, as text; a memory limit nobody chose can kill a run."""
    found: dict[str, None] = {}
    pairs = zip(before["containers"], admitted["containers"], strict=False)
    for mine, theirs in pairs:
        for kind in ("limits", "requests"):
            own = {**mine.get("resources", {}).get("limits", {}), **mine.get("resources", {}).get(kind, {})}
            for resource, amount in (theirs.get("resources", {}).get(kind) or {}).items():
                if resource not in own:
                    found[f"{kind.removesuffix('s')} {resource} {amount}"] = None
    return ", ".join(found)
