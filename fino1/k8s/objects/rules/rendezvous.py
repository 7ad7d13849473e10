"""Do the pods of a PyTorchJob find each other? Variables that the operator injects, and an entry that reads them.

The operator appends its variables to each container's own, and of two the kubelet takes the last. PET_* is what torch's
elastic launcher reads.
"""

import re
from collections.abc import Iterator
from typing import Any

from fino1.k8s.objects.rules.pytorchjob import ROLES, is_nproc
from fino1.k8s.objects.rules.rule import Fault, Rule, show
from fino1.k8s.objects.rules.walk import Container, Pod, Thing, get, join, listing, mapping, text, whole

_ENVVAR = "kubeflow/trainer v1.9.4 pkg/controller.v1/pytorch/envvar.go"
RENDEZVOUS = Rule(
    "pytorchjob-rendezvous",
    "error",
    "Without a Master the operator injects neither MASTER_ADDR nor RANK: each pod would wait for the others for ever.",
    _ENVVAR,
)
OVERRIDDEN = Rule(
    "pytorchjob-env-overridden",
    "error",
    "The operator appends this variable after the container's own, so that its value wins, silently.",
    "kubeflow/training-operator v1.9.0 pkg/controller.v1/pytorch/envvar.go (setPodEnv)",
)
ENTRY = Rule(
    "pytorchjob-entry",
    "warning",
    "Only torch's launcher (torchrun, `fino1 train`) reads PET_*; accelerate launch ignores it, and a bare python or "
    "deepspeed sees no LOCAL_RANK: every pod trains alone, or on one GPU.",
    _ENVVAR,
)
INDEX = "metadata.labels['training.kubeflow.org/replica-index']"
_OF_MASTER = frozenset(
    ["MASTER_ADDR", "MASTER_PORT", "PET_MASTER_ADDR", "PET_MASTER_PORT", "WORLD_SIZE", "RANK", "PET_NODE_RANK"]
)
_OF_ELASTIC = {
    "PET_RDZV_ENDPOINT": None,
    "PET_RDZV_BACKEND": None,
    "PET_NNODES": None,
    "PET_MAX_RESTARTS": "maxRestarts",
    "PET_RDZV_ID": "rdzvId",
    "PET_RDZV_CONF": "rdzvConf",
    "PET_STANDALONE": "standalone",
}
_PYTHON = re.compile(r"python[0-9.]*$")


def check(thing: Thing) -> Iterator[Fault]:
    """Do this PyTorchJob's pods find each other?"""
    if thing.kind != "PyTorchJob":
        return
    roles = mapping(thing.body, "spec", "pytorchReplicaSpecs")
    is_sound = _is_sound(thing, roles)
    pods = sum(1 if get(role, "replicas") is None else whole(role, "replicas") or 0 for role in roles.values())
    injected = _injected(thing, "Master" in roles, pods)
    is_alone = "Master" not in roles and get(thing.body, "spec", "elasticPolicy") is None and pods > 1
    for pod in thing.pods:
        for container in pod.containers:
            if is_sound and container.role in ("main", "ephemeral"):  # the operator leaves init containers as they are
                yield from _overridden(container, injected)
            if container.role == "main" and text(container.body, "name") == "pytorch":
                if is_sound and is_alone:
                    yield from _told(thing, pod, container)
                if pods > 1 or get(thing.body, "spec", "nprocPerNode") not in (None, "1"):
                    yield from _entry(container)


def _is_sound(thing: Thing, roles: dict[Any, Any]) -> bool:
    """Is it known how many pods and ranks there are? Where not, another rule has said why."""
    counts = [role.get("replicas") if isinstance(role, dict) else 0 for role in roles.values()]
    number = get(thing.body, "spec", "nprocPerNode")
    return (
        set(roles) <= set(ROLES)
        and all(count is None or (isinstance(count, int) and count > 0) for count in counts)
        and (number is None or is_nproc(number))
    )


def _injected(thing: Thing, has_master: bool, pods: int) -> dict[str, str | None]:
    """Which variables does the operator append, and with which value? None: one that lint does not compute."""
    elastic, number = get(thing.body, "spec", "elasticPolicy"), get(thing.body, "spec", "nprocPerNode")
    found: dict[str, str | None] = {"PYTHONUNBUFFERED": "1", "PET_NNODES": str(pods)}
    if has_master:
        found |= dict.fromkeys(_OF_MASTER)
    if get(elastic, "nProcPerNode") is None:
        found["PET_NPROC_PER_NODE"] = number if isinstance(number, str) else "auto"
    if elastic is not None:
        found |= {name: None for name, key in _OF_ELASTIC.items() if key is None or get(elastic, key) is not None}
    return found


def _overridden(container: Container, injected: dict[str, str | None]) -> Iterator[Fault]:
    for index, item in enumerate(listing(container.body, "env")):
        name = text(item, "name")
        if name not in injected:
            continue
        value = injected[name]
        if value is None or get(item, "value") != value:
            expected = "none: the operator's own value replaces it" if value is None else f"{show(value)} or none"
            got = show(get(item, "value") if get(item, "valueFrom") is None else get(item, "valueFrom"))
            yield OVERRIDDEN.at(join(container.path, "env", index), f"{name}: expected {expected}, got {got}")


def _told(thing: Thing, pod: Pod, container: Container) -> Iterator[Fault]:
    """Workers alone: are they told who is the first, and which one each is?"""
    env = container.env
    if container.body.get("envFrom") or "PET_RDZV_ENDPOINT" in env or pod.count < 1:
        return
    first, path = f"{thing.name}-worker-0", join(container.path, "env")
    address = env.get("PET_MASTER_ADDR")
    is_first = get(address, "value") == first or text(address, "value").startswith(f"{first}.")
    if address is None or (get(address, "valueFrom") is None and not is_first):
        message = f"PET_MASTER_ADDR: expected {show(first)}, got {show(get(address, 'value'))}"
        yield RENDEZVOUS.at(path, message)
    rank: Any = env.get("PET_NODE_RANK")
    if get(rank, "valueFrom") is None:
        message = f"PET_NODE_RANK: expected the field {INDEX}, got {show(get(rank, 'value'))}"
        yield RENDEZVOUS.at(path, message)


def _entry(container: Container) -> Iterator[Fault]:
    words = container.words
    if not words or "torch.distributed" in " ".join(words) or any("torchrun" in word for word in words):
        return
    program = words[0].rpartition("/")[2]
    line = " ".join(words)
    is_accelerate = re.search(r"\baccelerate launch\b", line) and "--machine_rank" not in line
    is_python = _PYTHON.fullmatch(program) and not _is_ours(words)
    if is_accelerate or is_python or program == "deepspeed":
        got = "accelerate launch" if is_accelerate else program  # not the line: it may hold a secret
        message = f"expected torchrun or fino1 train, got {show(got)}"
        yield ENTRY.at(join(container.path, "command" if container.body.get("command") else "args"), message)


def _is_ours(words: list[str]) -> bool:
    return "-m" in words and words[words.index("-m") + 1 :][:1] in (["fino1"], ["fino1.__main__"])
