"""Plays the controllers and kubelets that the test's API server lacks: run objects, pods, statuses, events, Workloads."""

import copy
import json
import secrets
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import yaml

from fino1.k8s import cli
from fino1.k8s.change import owned
from fino1.k8s.objects.backends import KINDS, pod_templates
from fino1.k8s.objects.render import render
from fino1.k8s.state.run import Run
from fino1.spec import load

TINY = {
    "sft": {"method": "sft", "model": {"hub": "a/b"}, "data": {"path": "/work/rows.jsonl"}, "gpus_per_node": 0},
    "eval": {
        "method": "eval",
        "gpus_per_node": 0,
        "eval": {
            "models": [{"name": "one", "run": "one"}, {"name": "two", "run": "two"}],
            "tasks": [{"task": "ledger"}],
        },
    },
}

MODELS = [{"name": name, "base_url": "https://api.example.com/v1"} for name in ("one", "two", "three")]
EVAL = ("eval-tiny", "--name", "run", "--set", f"eval.models={json.dumps(MODELS)}")
RBAC = Path(__file__).parents[2] / "manifests" / "rbac.yaml"
RULES = {role["metadata"]["name"]: role["rules"] for role in yaml.safe_load_all(RBAC.read_text())}


def now(later_s=0.0):
    return (datetime.now(UTC) + timedelta(seconds=later_s)).strftime("%Y-%m-%dT%H:%M:%SZ")


def documents(method="sft", name="run", **keys):
    """The run objects of a run file: its objects without what surrounds them."""
    document = load.layered([TINY[method], keys])
    return [thing for thing in render(load.build(document, "test"), name) if thing["kind"] in KINDS]


class Stage:
    """Everything in one namespace."""

    def __init__(self, api, namespace):
        self.api, self.namespace = api, namespace

    def submit(self, method="sft", name="run", **keys):
        """Create the run objects of a run file, and only these; returns them."""
        return [self.create(thing) for thing in documents(method, name, **keys)]

    def create(self, thing):
        thing = copy.deepcopy(thing)
        thing["metadata"]["namespace"] = self.namespace
        return Run(self.api.create(thing))

    def status(self, run, **status):
        """What a controller says of a run object."""
        self.api.patch(KINDS[run.kind], run.kind, run.full, {"status": status}, subresource="status")

    def conditions(self, run, *conditions, **status):
        """Conditions that are true: a type, or (type, reason, message)."""
        every = []
        for each in conditions:
            kind, reason, message = (each, each, "") if isinstance(each, str) else each
            every.append({"type": kind, "status": "True", "reason": reason, "message": message})
            every[-1]["lastTransitionTime"] = now()
            if run.kind == "PyTorchJob":
                every[-1]["lastUpdateTime"] = now()
        extra = {"startTime": now(-60)} if run.kind in ("PyTorchJob", "Job") else {}
        if run.kind == "PyTorchJob":
            extra |= {"replicaStatuses": {}}
        if run.kind == "Job" and "Complete" in conditions:
            extra |= {"completionTime": now()}
            every.insert(0, every[0] | {"type": "SuccessCriteriaMet"})
        if run.kind == "Job" and every and every[-1]["type"] == "Failed":
            every.insert(0, every[-1] | {"type": "FailureTarget"})
        self.status(run, conditions=every, **extra, **status)

    def template(self, run):
        return pod_templates(run.object)[0]

    def pod(self, run, rank=0, name=None, node=""):
        """A pod as the operator makes it; returns its name."""
        template = copy.deepcopy(self.template(run))
        key = "training.kubeflow.org/replica-index" if run.kind == "PyTorchJob" else None
        labels = {key or "batch.kubernetes.io/job-completion-index": str(rank)}
        name = name or (f"{run.full}-worker-{rank}" if key else f"{run.full}-{rank}-{secrets.token_hex(3)[:5]}")
        metadata = {**template.get("metadata", {}), "name": name, "namespace": self.namespace}
        metadata["labels"] = {**metadata.get("labels", {}), **labels}
        spec = template["spec"] | {"serviceAccountName": "default", "restartPolicy": "Never"}
        spec |= {"nodeName": node} if node else {}
        spec["terminationGracePeriodSeconds"] = 0
        self.api.create({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
        return name

    def pod_status(self, name, phase="Running", **status):
        self.api.patch("v1", "Pod", name, {"status": {"phase": phase, **status}}, subresource="status")

    def container(self, name, state, phase="Running", *, restarts=0, last=None, init=False, container=None, **status):
        """What a kubelet says of a pod's main container (or an init container)."""
        pod = self.api.get("v1", "Pod", name, self.namespace)
        key = "initContainerStatuses" if init else "containerStatuses"
        main = container or pod["spec"]["initContainers" if init else "containers"][0]["name"]
        told = {"name": main, "image": "image", "imageID": "", "restartCount": restarts, "ready": "running" in state}
        told |= {"state": state, "lastState": last or {}}
        self.pod_status(name, phase, **{key: [told]}, **status)

    def running(self, name, **options):
        self.container(name, {"running": {"startedAt": now()}}, **options)

    def ended(self, name, code, later_s=0.0, reason="", **options):
        self.container(name, terminated(code, later_s, reason), "Failed" if code else "Succeeded", **options)

    def waiting(self, name, reason, message="", **options):
        self.container(name, {"waiting": {"reason": reason, "message": message}}, "Pending", **options)

    def event(self, kind, name, reason, message, *, type_="Warning", uid="", count=1, later_s=0.0):
        involved = {"kind": kind, "name": name, "namespace": self.namespace, **({"uid": uid} if uid else {})}
        self.api.create(
            {
                "apiVersion": "v1",
                "kind": "Event",
                "metadata": {"name": f"event-{secrets.token_hex(6)}", "namespace": self.namespace},
                "involvedObject": involved,
                "reason": reason,
                "message": message,
                "type": type_,
                "count": count,
                "firstTimestamp": now(later_s),
                "lastTimestamp": now(later_s),
                "source": {"component": "test"},
            }
        )


def terminated(code, later_s=0.0, reason=""):
    reason = reason or ("Error" if code else "Completed")
    return {"terminated": {"exitCode": code, "reason": reason, "startedAt": now(-60), "finishedAt": now(later_s)}}


def left_of_run(api):
    return sorted(owned.label(thing) for thing in owned.list_of_run(api, "run"))


def fail(stage, run):
    types = {"Job": ("Failed", "BackoffLimitExceeded", "no"), "TrainJob": ("Failed", "Failed", "no")}
    stage.conditions(run, types.get(run.kind, ("Failed", "Failed", "no")))


def make_workload(api, run, **spec):
    """The Workload that Kueue makes for a run."""
    reference = {"apiVersion": run.object["apiVersion"], "kind": run.kind, "name": run.full, "controller": True}
    reference |= {"uid": run.object["metadata"]["uid"]}
    template = run.object["spec"]["pytorchReplicaSpecs"]["Worker"]["template"]
    sets = [{"name": "worker", "count": 1, "template": {"spec": template["spec"] | {"restartPolicy": "Never"}}}]
    return api.create(
        {
            "apiVersion": "kueue.x-k8s.io/v1beta1",
            "kind": "Workload",
            "metadata": {"name": f"pytorchjob-{run.full}", "ownerReferences": [reference]},
            "spec": {"queueName": run.queue, "podSets": sets, **spec},
        }
    )


def make_helms(api, run):
    annotations = {"meta.helm.sh/release-name": "run", "meta.helm.sh/release-namespace": api.namespace}
    api.patch(run.object["apiVersion"], run.kind, run.full, {"metadata": {"annotations": annotations}})


class Asked(threading.Thread):
    """A verb in the background, as a user leaves it running."""

    def __init__(self, cluster, namespace, verb, *words):
        super().__init__(daemon=True)
        self.words = [verb, "--kubeconfig", str(cluster.kubeconfig), "-n", namespace, *words]
        self.code = None
        self.start()

    def run(self):
        self.code = cli.main(self.words)

    def end(self):
        self.join(60)
        assert not self.is_alive()
        return self.code


def until(capsys, text):
    """Wait until something is said on stderr; returns all that was said there till then."""
    said, deadline = "", time.monotonic() + 30
    while text not in said:
        assert time.monotonic() < deadline, said
        said += capsys.readouterr().err
        time.sleep(0.05)
    return said


def progress(done, total=1000, **numbers):
    return json.dumps({"event": "progress", "stage": "sft", "name": "run", "done": done, "total": total, **numbers})


def rows(text):
    """A table as lists of cells."""
    return [line.split() for line in text.splitlines()]
