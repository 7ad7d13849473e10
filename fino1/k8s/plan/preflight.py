"""Would the cluster take a run: reached as whom, allowed what, each object accepted, each pod admitted, room for all?

Nothing is changed: objects and pods are sent as dry runs. What this user may not read is a note, not a failure.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from fino1.errors import Fino1Error, SpecError
from fino1.k8s.change import dryrun
from fino1.k8s.change.owned import is_run, label, managed
from fino1.k8s.checks import Check, missing, note, ok, readable, wait
from fino1.k8s.cluster.client import Api
from fino1.k8s.cluster.errors import ApiError
from fino1.k8s.objects import pss
from fino1.k8s.objects.render import is_hook, render
from fino1.k8s.plan import needs, quota, rights
from fino1.k8s.state import kueue
from fino1.k8s.state import nodes as capacity
from fino1.k8s.state.demand import Group, groups
from fino1.k8s.state.run import Run, list_runs
from fino1.spec.run import RunSpec

Object = dict[str, Any]
ENFORCE = "pod-security.kubernetes.io/enforce"
_BASELINE = frozenset(  # checks of `restricted` that `baseline` has too, in the same words
    ("appArmorProfile", "hostNamespaces", "hostPorts", "privileged", "procMount", "seLinuxOptions", "sysctls")
)


def look(api: Api, spec: RunSpec, name: str) -> tuple[list[Check], int | None]:
    """All that was found, and the memory of the smallest GPU that the run may get (None: the nodes do not say)."""
    sight = _Sight(api, spec, [body for body in render(spec, name) if not is_hook(body)])
    checks = list(sight.checks())
    try:
        return checks, capacity.gpu_bytes(api, spec, sight.pods)
    except ApiError as error:
        if error.status != 403:
            raise
        return checks, None


@dataclass
class _Sight:
    """One look at a cluster; what one check learns the next ones use."""

    api: Api
    spec: RunSpec
    objects: Sequence[Object]
    pods: list[Group] = field(init=False)
    made: list[Object] = field(init=False)
    """Objects that submit would create: all, as long as nobody knows better."""
    is_there: bool = False
    """Does a run object exist already? Then its pods are counted in what is used."""
    level: str = ""
    """Of Pod Security, that the namespace's label enforces."""

    def __post_init__(self) -> None:
        self.pods, self.made = groups(self.spec, self.objects), list(self.objects)

    def checks(self) -> Iterator[Check]:
        """Everything, in the order in which it would go wrong."""
        api, spec = self.api, self.spec
        yield from access(api)
        namespace = list(readable("namespace", self._namespace))
        yield from namespace
        yield from self._kinds()
        if any(check.verdict == "missing" for check in namespace if check.about == "namespace"):
            yield from readable("nodes", lambda: capacity.fit(api, spec, self.pods))
            return
        yield from self._rights()
        yield from readable("dry run", self._dry_run)
        yield from self._pods()
        yield from needs.secrets(api, spec)
        yield from needs.claims(api, spec, sum(group.count for group in self.pods))
        yield from needs.classes(api, spec)
        yield from needs.gang(api, spec)
        yield from readable("limits", lambda: quota.limit_ranges(api))
        if not self.is_there:
            yield from readable("quota", lambda: quota.room(api, self.pods, self.made))
            if spec.queue:
                queue = spec.queue
                yield from readable("queue", lambda: kueue.admission(api, queue, self.pods))
            yield from readable("nodes", lambda: capacity.fit(api, spec, self.pods))
        yield from readable("earlier run", self._same_directory)

    def _namespace(self) -> Iterator[Check]:
        body = self.api.get("v1", "Namespace", self.api.namespace)
        if body is None:
            hint = f"kubectl create namespace {self.api.namespace}, or another with --namespace"
            yield missing("namespace", f"{self.api.namespace}: does not exist; {hint}")
            return
        if body.get("status", {}).get("phase") == "Terminating":
            yield missing("namespace", f"{self.api.namespace}: is being deleted")
            return
        yield ok("namespace", f"{self.api.namespace}: there")
        level = (body["metadata"].get("labels") or {}).get(ENFORCE)
        if level is None:
            yield note("pod security", f"no label {ENFORCE}: the cluster's own default holds")
            return
        self.level = level
        refused = {str(problem): None for group in self.pods for problem in _violations(group, level)}
        if refused:
            yield missing(
                "pod security", f"the namespace enforces {level}, which refuses the pods: {'; '.join(refused)}"
            )
        else:
            yield ok("pod security", f"the namespace enforces {level}, and the pods meet it")

    def _kinds(self) -> Iterator[Check]:
        """Are all kinds served? Else how they would be, and which backends work as it is."""
        try:
            dryrun.kinds_served(self.api, self.objects)
        except SpecError as error:
            yield missing("kinds", "; ".join(error.problems))

    def _rights(self) -> Iterator[Check]:
        wanted = rights.to_apply(self.api, self.objects)
        refused = rights.refused(self.api, wanted)
        if refused:
            place = f"in namespace {self.api.namespace}; the Role in docs/rbac.md has them"
            yield missing("rights", f"{rights.listed(refused)} {place}")
        else:
            yield ok("rights", f"all {len(wanted)} that submit needs")

    def _dry_run(self) -> Iterator[Check]:
        """What does the server say to each object? As `submit` asks it; told in one line where it takes them all."""
        objects = [managed(body) for body in self.objects if self.api.serves(body["apiVersion"], body["kind"])]
        there = dryrun.present(self.api, objects)
        self.made = [body for body in objects if label(body) not in there]
        for body in (there[label(mine)] for mine in objects if label(mine) in there and is_run(mine)):
            self.is_there = True
            yield ok("earlier run", f"{label(body)} is there already, {Run(body).phase}")
        try:
            changes = dryrun.changes(self.api, objects, there)
        except ApiError:
            raise
        except Fino1Error as error:  # a line for each object; what it takes to be allowed, `rights` has said
            for line in str(error).splitlines():
                if not line.startswith("forbidden: "):
                    yield missing("dry run", line)
            return
        for warning in dryrun.claims_that_differ(changes):
            yield note("claim", warning)
        said = ", ".join(f"{count} {outcome}" for outcome, count in Counter(c.outcome for c in changes).items())
        yield ok("dry run", f"the server takes all {len(changes)} objects: {said}")

    def _pods(self) -> Iterator[Check]:
        """Would the pods be admitted? What the server adds to one (a LimitRange's defaults) counts for quotas and nodes."""
        own = {body["metadata"]["name"] for body in self.made if body["kind"] == "ServiceAccount"}
        told: dict[str, list[Check]] = {}
        admitted: dict[str, Mapping[str, Any]] = {}
        for place, group in enumerate(self.pods):
            alike = json.dumps([_without_args(group.spec), group.metadata]).replace(group.run, "")
            if alike in told:
                self.pods[place] = replace(group, spec=admitted.get(alike, group.spec))
                continue
            spec = dict(group.spec)
            if spec.get("serviceAccountName") in own:  # not there yet, and a pod is only admitted with one that is
                del spec["serviceAccountName"]
            metadata = {**group.metadata, "name": group.run}
            try:
                pod = self.api.create(
                    {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}, dry_run=True
                )
            except ApiError as error:
                told[alike] = list(self._refusal(group.run, error))
                continue
            told[alike], admitted[alike] = [], pod["spec"]
            self.pods[place] = replace(group, spec=pod["spec"])
        yield from (check for checks in told.values() for check in checks)
        if told and not any(told.values()):
            yield ok("pods", "the server admits them")

    def _refusal(self, name: str, error: ApiError) -> Iterator[Check]:
        """What does it mean that the server refused a pod?"""
        text = str(error)
        if error.status not in (403, 409, 422):
            raise error
        if text.startswith("forbidden: "):  # the one right that plan wants and submit can do without
            yield note("pods", f"{name}: not known whether they would be admitted: {text}")
        elif "exceeded quota" in text:
            yield (wait if self.spec.queue else missing)("pods", text)
        elif "violates PodSecurity" not in text or not self.level:
            yield missing("pods", text)

    def _same_directory(self) -> Iterator[Check]:
        """Which other run objects lead to the same results: the same run, placed otherwise?"""
        mine = {_directory(body): body["metadata"]["name"] for body in self.objects if _directory(body)}
        for run in list_runs(self.api):
            if run.directory in mine and run.full != mine[run.directory]:
                where = f"{run.kind}/{run.full} ({run.phase}) has the same directory, runs/{run.directory}"
                if run.is_over:
                    yield ok("earlier run", f"{where}: this run goes on from its checkpoints")
                else:
                    yield missing("earlier run", f"{where}: expected it to be over, or cancelled first")


def access(api: Api) -> Iterator[Check]:
    """Which server answers, and as whom does it know us?"""
    version = api.connection.ask("GET", "/version")[1]
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview", "metadata": {"name": ""}}
    try:
        user = api.create(review)["status"]["userInfo"]["username"]
    except ApiError:
        user = api.who.user  # servers before 1.28 do not say
    facts = {"server": api.url, "version": version["gitVersion"], "user": user, "namespace": api.namespace}
    yield ok("access", f"{api.url}, Kubernetes {version['gitVersion']}, as {user}, namespace {api.namespace}", **facts)


def _violations(group: Group, level: str) -> Iterator[str]:
    """What in the pods does a level of Pod Security refuse? `baseline` refuses some of what `restricted` does."""
    for check, path, message in pss.violations({"spec": dict(group.spec), "metadata": dict(group.metadata)}):
        is_added = check == "capabilities" and path.endswith(".add")
        if level == "restricted" or (level == "baseline" and (check in _BASELINE or is_added)):
            yield f"{path}: {message}"


def _without_args(spec: Mapping[str, Any]) -> dict[str, Any]:
    """A pod spec without what admission does not look at, and what tells one model's pod from another's."""
    keys = ("initContainers", "containers")
    return {**spec, **{key: [{**c, "args": []} for c in spec.get(key) or []] for key in keys}}


def _directory(body: Mapping[str, Any]) -> str:
    return (body["metadata"].get("annotations") or {}).get("fino1/directory", "")
