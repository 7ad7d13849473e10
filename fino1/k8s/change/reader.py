"""Find a pod that can read a run's volume: one that runs already, else a small one that is made and deleted again."""

import contextlib
import secrets
import time
from collections.abc import Iterator, Sequence
from typing import Any

from fino1.errors import ClusterError
from fino1.k8s.cluster.client import Api
from fino1.k8s.objects.backends import BY_KIND, pod_templates
from fino1.k8s.state.pods import Pod, Rank, main_container, main_status
from fino1.k8s.state.run import Run

_LOOK_S = 0.1
_ASKED = 32  # runs of which a running pod is looked for: their names are in a URL
START_S = 300.0  # for a node to be found and the image to be pulled
_LIFE_S = 6 * 3600  # Kubernetes ends it then, if we could not
_WORK, _MOUNT, _CONTAINER = "work", "/work", "fetch"
_HOPELESS = ("ErrImage", "ImagePull", "InvalidImage", "CreateContainer")  # beginnings of a container's reasons to wait
_KEPT = ("securityContext", "serviceAccountName", "imagePullSecrets", "tolerations")


@contextlib.contextmanager
def open_reader(api: Api, runs: Sequence[Run]) -> Iterator[tuple[str, str]]:
    """Names of a pod and its container that have the runs' volume at /work. One that was made is deleted at the end."""
    run, names = runs[0], ",".join(run.full for run in runs[:_ASKED])
    ours = f"fino1/run in ({names}),app.kubernetes.io/component!=test"
    for pod in api.list("v1", "Pod", label_selector=ours, field_selector="status.phase=Running"):
        if Rank(0, pod).is_running and not pod["metadata"].get("deletionTimestamp"):
            yield pod["metadata"]["name"], main_container(pod)
            return
    name = f"{run.full}-fetch-{secrets.token_hex(3)}"
    try:
        api.create(_make_reader_pod(api, run, name))
    except KeyboardInterrupt:  # it may have come between the server's answer and us
        api.delete("v1", "Pod", name)
        raise
    try:
        _wait(api, name)
        yield name, _CONTAINER
    finally:
        api.delete("v1", "Pod", name)


def find_volume(spec: dict[str, Any]) -> dict[str, Any]:
    """The volume that pods of this spec have at /work."""
    return next(volume for volume in spec["volumes"] if volume["name"] == _WORK)


def read_spec(api: Api, run: Run) -> dict[str, Any]:
    """The spec of the run's first pod template."""
    runtime = BY_KIND[run.kind].runtime
    body = api.get(run.object["apiVersion"], runtime, run.full) if runtime else run.object
    if body is None:
        raise ClusterError(f"{run.kind}/{run.full}: expected a pod template, got none: its {runtime} is gone")
    return pod_templates(body)[0]["spec"]


def _make_reader_pod(api: Api, run: Run, name: str) -> dict[str, Any]:
    """A pod that sleeps, with the run's image, account and volume (read-only), and no GPU.

    It has no label fino1/run, so it counts as none of the run's pods; Pod Security `restricted` admits it.
    """
    spec = read_spec(api, run)
    main, volume = spec["containers"][0], find_volume(spec)
    amounts = {"cpu": "500m", "memory": "256Mi"}
    container = {
        "name": _CONTAINER,
        "image": main["image"],
        "imagePullPolicy": main.get("imagePullPolicy", "IfNotPresent"),
        "command": ["python3", "-c", f"import time; time.sleep({_LIFE_S})"],
        "securityContext": {**main.get("securityContext", {}), "capabilities": {"drop": ["ALL"]}},
        "resources": {"requests": amounts, "limits": amounts},
        "volumeMounts": [{"name": _WORK, "mountPath": _MOUNT, "readOnly": True}],
    }
    labels = {"app.kubernetes.io/part-of": "fino1", "fino1/fetch": run.full}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            **{key: spec[key] for key in _KEPT if key in spec},
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "restartPolicy": "Never",
            "activeDeadlineSeconds": _LIFE_S,
            "terminationGracePeriodSeconds": 1,
            "containers": [container],
            "volumes": [volume],
        },
    }


def _wait(api: Api, name: str) -> None:
    """Wait until the pod runs. Raises ClusterError with the reason where it will not, or takes too long."""
    deadline = time.monotonic() + START_S
    while pod := api.get("v1", "Pod", name):
        rank = Rank(0, pod)
        if rank.is_running:
            return
        is_late = time.monotonic() > deadline
        if is_late or rank.has_ended or rank.phase.startswith(_HOPELESS):
            late = f" within {START_S:.0f} s" if is_late else ""
            why = _explain_waiting(pod)
            raise ClusterError(f"Pod {name}: expected it to run{late}, to read the run's volume: {why}")
        time.sleep(_LOOK_S)
    raise ClusterError(f"Pod {name}: expected it to start, somebody deleted it")


def _explain_waiting(pod: Pod) -> str:
    """The reason why a pod does not run, in the words of the scheduler or the kubelet."""
    state = (main_status(pod) or {}).get("state", {})
    if said := state.get("waiting") or state.get("terminated"):
        return ": ".join(filter(None, (said.get("reason"), said.get("message"))))
    conditions = (pod.get("status") or {}).get("conditions") or []
    unmet = [c.get("message") or c.get("reason") or c["type"] for c in conditions if c["status"] == "False"]
    return "; ".join(unmet) or "no node has taken it"
