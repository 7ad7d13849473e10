"""Which mistakes of a pod show only when it runs, or when the operator has made it?"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from fino1.k8s.objects.rules.rule import Fault, Rule, show
from fino1.k8s.objects.rules.walk import Container, Pod, Thing, entries, get, join, text

_CORE = "kubernetes v1.33 pkg/apis/core"
_HEX = re.compile(r"sha256:[0-9a-f]{64}")
_TRAIN_KINDS = ("PyTorchJob", "JobSet", "TrainingRuntime", "ClusterTrainingRuntime", "TFJob", "MPIJob", "XGBoostJob")
_GRACE = 60

TAG = Rule(
    "image-tag",
    "warning",
    "`latest`, and no tag, is another image tomorrow: a restarted pod then runs other code than its run began with.",
    "kubernetes.io Images (Image pull policy); DESIGN.md §1 (digest-pinned images)",
)
DIGEST = Rule(
    "image-digest",
    "error",
    "A digest is sha256: and 64 hex digits; any other is never pulled.",
    "OCI image-spec v1.1 descriptor.md",
)
ENV_TWICE = Rule(
    "env-duplicate",
    "error",
    "Of two variables of one name the last counts, and server-side apply refuses the list, whose key is the name.",
    f"{_CORE}/types.go (Container.Env, listType map); kubernetes v1.33 structured-merge-diff",
)
MOUNT = Rule(
    "mount-volume",
    "error",
    "A mount names a volume of its pod. A CRD's schema does not check that; the pod is then refused when it is made.",
    f"{_CORE}/validation/validation.go (ValidateVolumeMounts)",
)
TMP = Rule(
    "tmp-not-writable",
    "error",
    "Under a read-only root torch, datasets and Triton fail when they write to /tmp.",
    "DESIGN.md C4; reference/kubernetes.md §3 (Security baseline)",
)
TOKEN = Rule(
    "service-account-token",
    "warning",
    "A token of the cluster's API is mounted unless this is false; no run of ours talks to the API.",
    "kubernetes.io Configure Service Accounts for Pods; DESIGN.md C4",
)
CLAIM = Rule(
    "claim-access-mode",
    "warning",
    "A ReadWriteOnce volume is attached to one node at a time: the pods on other nodes wait for ever.",
    "kubernetes.io Persistent Volumes (Access Modes)",
)
GRACE = Rule(
    "grace-period",
    "warning",
    "A checkpoint must be on disk between SIGTERM and SIGKILL; 30 seconds is the default.",
    "DESIGN.md C4, C6; reference/kubernetes.md §3 (Preemption)",
)


def check(thing: Thing) -> Iterator[Fault]:
    """What is wrong with this object's pods? What only the other objects tell: `check_claims`, `check_tokens`."""
    for container in thing.containers():
        yield from _image(container)
        yield from _env(container)
    claimed = {text(item, "metadata", "name") for _, item in entries(thing.body, "spec", "volumeClaimTemplates")}
    for pod in thing.pods:
        for container in pod.containers:
            yield from _mounts(pod, container, claimed)
        seconds = pod.spec.get("terminationGracePeriodSeconds", 30)
        if _trains(thing, pod) and not (isinstance(seconds, int) and seconds >= _GRACE):
            got = show(pod.spec.get("terminationGracePeriodSeconds"))
            path = join(pod.spec_path, "terminationGracePeriodSeconds")
            yield GRACE.at(path, f"expected {_GRACE} at least, got {got}")


def check_tokens(thing: Thing, accounts: Mapping[str, Any]) -> Iterator[Fault]:
    """Is a token mounted? `accounts`: automountServiceAccountToken of the service accounts in the same set of objects."""
    for pod in thing.pods:
        own = pod.spec.get("automountServiceAccountToken")
        account = accounts.get(text(pod.spec, "serviceAccountName") or "default")
        if own is not False and not (own is None and account is False):
            path = join(pod.spec_path, "automountServiceAccountToken")
            yield TOKEN.at(path, f"expected false, got {show(own)}")


def check_claims(thing: Thing, claims: Mapping[str, list[Any]]) -> Iterator[Fault]:
    """Do several pods share a volume that one node may have? `claims`: access modes of those in the same set of objects."""
    counts: dict[str, int] = {}
    for pod in thing.pods:
        for index, volume in entries(pod.spec, "volumes"):
            name = text(volume, "persistentVolumeClaim", "claimName")
            if not name or name not in claims:
                continue
            counts[name] = counts.get(name, 0) + pod.count
            if counts[name] > 1 and not any(mode in claims[name] for mode in ("ReadWriteMany", "ReadOnlyMany")):
                path = join(pod.spec_path, "volumes", index, "persistentVolumeClaim", "claimName")
                message = f"expected ReadWriteMany for {counts[name]} pods, got {show(claims[name])} of claim {name}"
                yield CLAIM.at(path, message)


def _image(container: Container) -> Iterator[Fault]:
    image, path = text(container.body, "image"), join(container.path, "image")
    name, _, digest = image.partition("@")
    if digest or "@" in image:
        if not _HEX.fullmatch(digest):
            yield DIGEST.at(path, f"expected NAME@sha256: and 64 hex digits, got {show(digest)}")
        return
    tag = name.rpartition("/")[2].partition(":")[2]
    if image and tag in ("", "latest"):
        yield TAG.at(path, f"expected a digest or a tag of one version, got {show(image)}")


def _env(container: Container) -> Iterator[Fault]:
    seen: dict[str, int] = {}
    for index, item in entries(container.body, "env"):
        name = text(item, "name")
        if name and name in seen:
            yield ENV_TWICE.at(join(container.path, "env", index), f"expected {name} once, got it at {seen[name]} too")
        seen.setdefault(name, index)


def _mounts(pod: Pod, container: Container, claimed: set[str]) -> Iterator[Fault]:
    mounts = entries(container.body, "volumeMounts")
    for index, mount in mounts:
        name = text(mount, "name")
        if name not in pod.volumes and name not in claimed:  # a StatefulSet makes volumes of its claims
            path = join(container.path, "volumeMounts", index, "name")
            known = ", ".join(sorted(filter(None, pod.volumes))) or "none"
            yield MOUNT.at(path, f"expected a volume of the pod ({known}), got {show(mount.get('name'))}")
    if get(container.body, "securityContext", "readOnlyRootFilesystem") is not True or "TMPDIR" in container.env:
        return
    writable = [text(mount, "mountPath").rstrip("/") for _, mount in mounts if mount.get("readOnly") is not True]
    if "/tmp" not in writable and get(pod.spec, "os", "name") != "windows":  # noqa: S108, a path in the pod
        path = join(container.path, "volumeMounts")
        yield TMP.at(path, "expected a writable volume at /tmp with readOnlyRootFilesystem, got none")


def _trains(thing: Thing, pod: Pod) -> bool:
    """Is there a checkpoint to write before the pod ends?"""
    return thing.kind in _TRAIN_KINDS or any(_is_training(box.words) for box in pod.containers)


def _is_training(words: list[str]) -> bool:
    programs = [word.rpartition("/")[2] for word in words[:3]]
    if "fino1" in programs:
        words = words[programs.index("fino1") + 1 :]
    return words[:1] == ["train"] or programs[:1] in (["torchrun"], ["deepspeed"], ["accelerate"])
