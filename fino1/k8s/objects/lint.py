"""Which mistakes in a run file does neither its schema nor the API server catch? Each finding names the file's key.

What the server does check (Pod Security, quotas, the kinds' own rules) `plan` and `submit` ask it, by a dry run of every object.
"""

import re
from collections.abc import Iterator
from typing import Any

from fino1.k8s.finding import Finding, Level
from fino1.spec import load
from fino1.spec.inputs import names_file
from fino1.spec.run import RunSpec

_GRACE_S = 60
_QUEUE = "kueue.x-k8s.io/queue-name"
_WHY = {  # rule → why it matters; docs/lints.md lists them
    "claim-access-mode": "such a volume is attached to one node at a time, so pods on other nodes wait for ever",
    "config-path-outside-volumes": "the pods have no other volumes, only what their image holds",
    "grace-period": "a checkpoint is written between SIGTERM and SIGKILL",
    "image-tag": "it is another image tomorrow, so a restarted pod would run other code",
    "kueue-queue-on-template": "Kueue queues the object with the label; on its pods alone the run starts at once, or pod by pod",
    "pss-capabilities": "its containers need the capability IPC_LOCK, which Pod Security restricted and baseline refuse",
    "pytorchjob-env-overridden": "the operator sets it after ours",
    "pytorchjob-ttl-exit-code": "a PyTorchJob that failed for good has no completion time and stays until `fino1-k8s prune`",
    "secret-value": "whoever may read the object, its ConfigMap or its Git history reads it",
}
# A rule that is broken: level, rule, key of the run file, what was expected, got
Broken = tuple[Level, str, str, str, Any]
_SECRET_NAME = re.compile(
    r"(^|_)(token|api_?key|secret|secret_?key|access_?key|private_?key|credentials)$|passw(or)?d(?!.*_(file|path))|passphrase",
    re.IGNORECASE,
)
_NO_SECRET_NAME = re.compile(r"(^|_)(pad|eos|bos|unk|mask|sep|cls|stop|image|implicit|end|start)_token$", re.IGNORECASE)
_PLACEHOLDER = re.compile(
    r"|\$\([A-Za-z_]\w*\)|([0-9]{1,6}|true|false|yes|no|empty|none|null|dummy|unused|-)", re.IGNORECASE
)
_SECRET_VALUE = re.compile(  # keys as Hugging Face, OpenAI, AWS, GitHub, GitLab, Slack and Google make them, and user:password@
    r"(?<![A-Za-z0-9])(hf_[A-Za-z0-9]{16,}|sk-(?=[A-Za-z_-]{0,20}[0-9])[A-Za-z0-9_-]{16}|(AKIA|ASIA)[0-9A-Z]{16}"
    r"|gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{30,}|glpat-[A-Za-z0-9_-]{20,}|xox[abprs]-[A-Za-z0-9-]{10,}"
    r"|AIza[0-9A-Za-z_-]{35})|-----BEGIN [A-Z ]*PRIVATE KEY-----|://[^/\s:@$]{1,99}:[^/\s:@$]{1,999}@"
)
_FLAG = re.compile(r"--?([A-Za-z0-9_-]+)(?:=(.*))?$", re.DOTALL)


def lint(spec: RunSpec) -> list[Finding]:
    """Every rule that the run file breaks, each with the key that breaks it."""
    found = [*_check_pods(spec), *_check_images(spec), *_check_strings(spec)]
    return [
        Finding(rule, f"expected {expected}, got {got}: {_WHY[rule]}", (key,), level=level)
        for level, rule, key, expected, got in found
    ]


def _check_pods(spec: RunSpec) -> Iterator[Broken]:
    """What the pods share, how they end, and what their operator makes of them."""
    grace, queue = spec.terminationGracePeriodSeconds, spec.podLabels.get(_QUEUE)
    for name in ("work", "models"):
        claim = getattr(spec.volumes, name)
        if claim.create and spec.pods > 1 and not {"ReadWriteMany", "ReadOnlyMany"} & set(claim.accessModes):
            key, got = f"volumes.{name}.accessModes", ", ".join(claim.accessModes)
            yield "warning", "claim-access-mode", key, f"ReadWriteMany for {spec.pods} pods", got
    if spec.trains and grace < _GRACE_S:
        yield "warning", "grace-period", "terminationGracePeriodSeconds", f"{_GRACE_S} at least", grace
    if queue and spec.queue is None:
        yield "error", "kueue-queue-on-template", f"podLabels.{_QUEUE}", "the key queue", queue
    if rdma := spec.rdma.resource:
        yield "warning", "pss-capabilities", "rdma.resource", "none, or a namespace that enforces neither", rdma
    if not spec.trains or spec.backend != "pytorchjob":
        return
    unbuffered, ttl = spec.env.get("PYTHONUNBUFFERED", "1"), spec.ttlSecondsAfterFinished
    if ttl is not None:
        expected = "none with backend pytorchjob"
        yield "warning", "pytorchjob-ttl-exit-code", "ttlSecondsAfterFinished", expected, ttl
    if unbuffered != "1":
        yield "error", "pytorchjob-env-overridden", "env.PYTHONUNBUFFERED", "1, or none", unbuffered


def _check_images(spec: RunSpec) -> Iterator[Broken]:
    server = "" if spec.trains else spec.asking.server.image or ""
    server_tag = server.rpartition("/")[2].partition(":")[2]
    pinned = "a digest or a tag of one version"
    if spec.image.tag == "latest" and not spec.image.digest:
        yield "warning", "image-tag", "image.tag", pinned, spec.image.tag
    if server and "@" not in server and server_tag in ("", "latest"):
        yield "warning", "image-tag", f"{spec.method}.server.image", pinned, server


def _check_strings(spec: RunSpec) -> Iterator[Broken]:
    """Paths that are on no volume, and secrets as values; no message repeats these."""
    for key, name, value in _strings(load.config(spec)):
        if names_file(name, value) and not re.match(r"/(work|models)(/|$)", value):
            yield "warning", "config-path-outside-volumes", key, "a path under /work or /models", value
    for key, name, value in _strings({**load.effective(spec), "secretEnv": {}}):
        if _is_secret(name, value) or _SECRET_VALUE.search(value):
            expected = "a key of secretEnv" if key.startswith("env.") else "no secret in a run file (secretEnv)"
            yield "error", "secret-value", key, expected, f"a value of {len(value)} characters"


def _is_secret(name: str, value: str) -> bool:
    """Whether `name` is one of secrets, and `value` more than a placeholder, or than the name of the variable that holds it."""
    is_variable = re.fullmatch(r"[A-Z][A-Z0-9_]*", value) and _SECRET_NAME.search(value)
    if is_variable or _PLACEHOLDER.fullmatch(value):
        return False
    plain = name[:200].replace("-", "_")
    return bool(_SECRET_NAME.search(plain)) and not _NO_SECRET_NAME.search(plain)


def _strings(node: Any, path: str = "", name: str = "") -> Iterator[tuple[str, str, str]]:
    """Every string in a document: path, key (of a list: the list's, of a flag's value: the flag), value."""
    if isinstance(node, str):
        yield path, name, node
    elif isinstance(node, dict):
        for key, value in node.items():
            yield from _strings(value, f"{path}.{key}" if path else str(key), str(key))
    elif isinstance(node, list):
        before = ""  # the flag whose value may follow
        for i, value in enumerate(node):
            flag = _FLAG.match(value) if name == "args" and isinstance(value, str) else None
            if flag and flag[2] is not None:
                yield f"{path}.{i}", flag[1], flag[2]
            else:
                yield from _strings(value, f"{path}.{i}", name if flag else before or name)
            before = flag[1] if flag and flag[2] is None else ""
