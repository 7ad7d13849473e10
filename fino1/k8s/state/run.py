"""Which runs are on the cluster, and in which phase is each?

A run object is one of `KINDS` with our label. Each kind has conditions of its own; `Phase` has one set of words for all.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from fino1.errors import SpecError
from fino1.k8s.cluster.client import Api, in_parallel
from fino1.k8s.objects.backends import BY_KIND, KINDS

OURS = "app.kubernetes.io/part-of=fino1"
Phase = Literal["Pending", "Queued", "Suspended", "Running", "Restarting", "Succeeded", "Failed"]
_QUEUE = "kueue.x-k8s.io/queue-name"
_SUCCEEDED = ("Succeeded", "Complete", "Completed")
_FAILED = ("Failed", "FailureTarget")
_LABEL = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")


@dataclass(frozen=True)
class Run:
    """One run object, as the cluster holds it. `name` is the user's, `full` the object's, with the hash.

    `pods_say`: what the pods show, where the caller has listed them. It adds to the object's status: Trainer 2.0 reports no
    running pods, and a Job no longer counts those that end.
    """

    object: Mapping[str, Any]
    pods_say: Literal["", "running", "ended"] = ""

    @property
    def kind(self) -> str:
        """Kind of the object: one of `KINDS`."""
        return self.object["kind"]

    @property
    def full(self) -> str:
        """Name of the object and of its surroundings; the value of its pods' label `fino1/run`."""
        return self.object["metadata"]["name"]

    @property
    def name(self) -> str:
        """Name that it was submitted or installed under; all models of an evaluation share it."""
        return self.labels.get("app.kubernetes.io/instance", self.full)

    @property
    def method(self) -> str:
        """Method of the run file: sft, ppo, eval, …"""
        return self.labels.get("app.kubernetes.io/component", "")

    @property
    def labels(self) -> Mapping[str, str]:
        """Labels of the object."""
        return self.object["metadata"].get("labels", {})

    @property
    def directory(self) -> str:
        """Name of its directory under /work/runs: its name and the hash of its config.json."""
        return self._annotations.get("fino1/directory", "")

    @property
    def model(self) -> str:
        """Name of the model that it evaluates; empty for training, and of objects that fino1 made before it wrote this."""
        return self._annotations.get("fino1/model", "")

    @property
    def series(self) -> tuple[str, str]:
        """What all submissions of it share: its name without the hash, which may be cut, and the model."""
        return self.full.rpartition("-")[0], self.model

    @property
    def created(self) -> str:
        """Time of its creation, in RFC 3339."""
        return self.object["metadata"]["creationTimestamp"]

    @property
    def queue(self) -> str:
        """Name of its Kueue LocalQueue; empty without one."""
        return self.labels.get(_QUEUE, "")

    @property
    def pods(self) -> str:
        """Label selector of its pods, without the pod of `helm test`."""
        return f"fino1/run={self.full},app.kubernetes.io/component!=test"

    @property
    def is_suspended(self) -> bool:
        """Whether its spec says `suspend: true`."""
        spec = self.object["spec"]
        return bool(spec.get("runPolicy", spec).get("suspend"))

    @property
    def phase(self) -> Phase:
        """Its state in one word. Queued: suspended by Kueue, which starts it again; Suspended: by a user, who must resume it."""
        true = {c["type"] for c in self.conditions if c["status"] == "True"}
        if true & set(_SUCCEEDED):
            return "Succeeded"
        if true & set(_FAILED):
            return "Failed"
        if self.is_suspended:
            return "Queued" if self.queue else "Suspended"
        if "Restarting" in true:
            return "Restarting"
        if "Running" in true or self._count("ready") or self.pods_say == "running":
            return "Running"
        if self._has_restarted:
            return "Restarting"
        return "Running" if self.pods_say else "Pending"

    @property
    def since(self) -> str:
        """Since when it is in that phase, in RFC 3339; since its creation where its controller does not say."""
        phase = self.phase
        types = {"Succeeded": _SUCCEEDED, "Failed": _FAILED, "Queued": ("Suspended",)}.get(phase, (phase,))
        true = [c for c in self.conditions if c["type"] in types and c["status"] == "True"]
        times = [c["lastTransitionTime"] for c in true if c.get("lastTransitionTime")]
        started = self.status.get("startTime") if phase == "Running" else None
        return min(times) if times else started or self.created

    @property
    def conditions(self) -> list[Mapping[str, Any]]:
        """Conditions of its status; none before its controller has written any."""
        return self.status.get("conditions", [])

    @property
    def status(self) -> Mapping[str, Any]:
        """Its status as its controller wrote it; empty before it has."""
        return self.object.get("status") or {}

    @property
    def expected_pods(self) -> int:
        """Number of pods that it runs at a time."""
        return BY_KIND[self.kind].expected_pods(self.object["spec"])

    @property
    def is_over(self) -> bool:
        """Whether it has succeeded or failed; its controller then starts nothing more."""
        return self.phase in ("Succeeded", "Failed")

    def to_dict(self) -> dict[str, Any]:
        """Its names and its phase, for `-o json`."""
        return {
            "name": self.name,
            "run": self.full,
            "model": self.model or None,
            "namespace": self.object["metadata"]["namespace"],
            "method": self.method,
            "kind": self.kind,
            "phase": self.phase,
            "since": self.since,
            "created": self.created,
            "queue": self.queue or None,
        }

    @property
    def _annotations(self) -> Mapping[str, str]:
        return self.object["metadata"].get("annotations", {})

    @property
    def _has_restarted(self) -> bool:
        """Whether it ran before and is being started again; neither a Job nor a JobSet has a condition for that."""
        return bool(self.status.get("restarts") or self._count("failed"))

    def _count(self, key: str) -> int:
        """A count of its status: of pods for a Job, of Jobs for a JobSet or a TrainJob."""
        jobs = self.status.get("replicatedJobsStatus") or self.status.get("jobsStatus") or [self.status]
        return sum(job.get(key) or 0 for job in jobs)


def run_of(thing: Mapping[str, Any]) -> str:
    """Full name of the run that an object belongs to; empty for one of none, as a claim is."""
    return (thing["metadata"].get("labels") or {}).get("fino1/run", "")


def list_ours(
    api: Api, kinds: Iterable[tuple[str, str]], selector: str = "", namespace: str | None = None
) -> list[dict[str, Any]]:
    """Objects of these kinds that have our label and match; without those that a controller made, as the Jobs of a JobSet."""
    wanted = f"{OURS},{selector}" if selector else OURS
    served = [kind for kind in kinds if api.serves(*kind)]
    lists = in_parallel(lambda kind: api.list(*kind, label_selector=wanted, namespace=namespace), served)
    every = [(item, item["metadata"].get("ownerReferences") or []) for items in lists for item in items]
    return [item for item, owners in every if not any(owner.get("controller") for owner in owners)]


def list_runs(api: Api, *, selector: str = "", namespace: str | None = None) -> list[Run]:
    """All runs of the namespace that match `selector`, the newest first. (`namespace` "": of all namespaces)"""
    found = map(Run, list_ours(api, [(version, kind) for kind, version in KINDS.items()], selector, namespace))
    return sorted(found, key=lambda run: (run.created, run.full), reverse=True)


def latest_runs(api: Api, name: str) -> list[Run]:
    """The run object with the full name `name`, else the newest submitted under that name, of an evaluation each model's.

    Raises SpecError, with the names there are, if there is none.
    """
    labels = ("fino1/run", "app.kubernetes.io/instance") if _LABEL.fullmatch(name) else ()
    found = next(filter(None, (list_runs(api, selector=f"{label}={name}") for label in labels)), [])
    if not found:
        names = ", ".join(sorted({run.name for run in list_runs(api)})) or "none"
        raise SpecError(f"{name}: expected a run in namespace {api.namespace}, got none (there: {names})")
    return newest_of_each(found)


def newest_of_each(runs: Iterable[Run]) -> list[Run]:
    """The newest run of each series, of `runs` from the newest on."""
    newest: dict[tuple[str, str], Run] = {}
    for run in runs:
        is_older = not run.model and any(name == run.series[0] for name, _ in newest)  # of whichever model
        if not is_older:
            newest.setdefault(run.series, run)
    return list(newest.values())


def summarize(runs: Iterable[Run]) -> str:
    """The phase that all runs have, or how many have which: "2 Running, 1 Failed"."""
    counts = Counter(run.phase for run in runs)
    if len(counts) == 1:
        return next(iter(counts))
    return ", ".join(f"{counts[phase]} {phase}" for phase in get_args(Phase) if counts[phase])
