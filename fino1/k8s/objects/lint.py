"""Which mistakes in a run file does neither its schema nor the API server catch? Each finding names the file's key.

What the server does check (Pod Security, quotas, the kinds' own rules) `plan` and `submit` ask it, by a dry run of every object.
"""

import re
from collections.abc import Iterator
from typing import Any

from fino1.k8s.finding import Finding, Level
from fino1.spec import load
from fino1.spec.run import RunSpec

_GRACE_S = 60
_QUEUE = "kueue.x-k8s.io/queue-name"
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
    """Every rule that the run file breaks, each with the key that breaks it; in the order of the rules."""
    return [finding for rule in _RULES for finding in rule(spec)]


def _found(level: Level, rule: str, key: str, expected: str, got: Any, why: str) -> Finding:
    return Finding(rule, f"expected {expected}, got {got}: {why}", (key,), level=level)


def _claims(spec: RunSpec) -> Iterator[Finding]:
    pods = len(spec.eval.models) * spec.eval.shards if spec.method == "eval" else spec.nodes
    for name in ("work", "models"):
        claim = getattr(spec.volumes, name)
        if claim.create and pods > 1 and not {"ReadWriteMany", "ReadOnlyMany"} & set(claim.accessModes):
            key, got = f"volumes.{name}.accessModes", ", ".join(claim.accessModes)
            why = "such a volume is attached to one node at a time, so pods on other nodes wait for ever"
            yield _found("warning", "claim-access-mode", key, f"ReadWriteMany for {pods} pods", got, why)


def _paths(spec: RunSpec) -> Iterator[Finding]:
    for key, name, value in _strings(load.config(spec)):
        if name == "path" and not re.match(r"/(work|models)(/|$)", value):
            why = "the pods have no other volumes, only what their image holds"
            yield _found("warning", "config-path-outside-volumes", key, "a path under /work or /models", value, why)


def _grace(spec: RunSpec) -> Iterator[Finding]:
    seconds = spec.terminationGracePeriodSeconds
    if spec.method != "eval" and seconds < _GRACE_S:
        why = "a checkpoint is written between SIGTERM and SIGKILL"
        yield _found("warning", "grace-period", "terminationGracePeriodSeconds", f"{_GRACE_S} at least", seconds, why)


def _images(spec: RunSpec) -> Iterator[Finding]:
    server = (spec.eval.server.image or "") if spec.method == "eval" else ""
    tag = server.rpartition("/")[2].partition(":")[2] if "@" not in server else "pinned"
    why = "it is another image tomorrow, so a restarted pod would run other code"
    if spec.image.tag == "latest" and not spec.image.digest:
        yield _found("warning", "image-tag", "image.tag", "a digest or a tag of one version", spec.image.tag, why)
    if server and tag in ("", "latest"):
        yield _found("warning", "image-tag", "eval.server.image", "a digest or a tag of one version", server, why)


def _queue_label(spec: RunSpec) -> Iterator[Finding]:
    if _QUEUE in spec.podLabels and spec.queue is None:
        why = "Kueue queues the object that has the label; on its pods alone the run starts at once, or pod by pod"
        key = f"podLabels.{_QUEUE}"
        yield _found("error", "kueue-queue-on-template", key, "the key queue", spec.podLabels[_QUEUE], why)


def _capabilities(spec: RunSpec) -> Iterator[Finding]:
    if spec.rdma.resource:
        why = "its containers need the capability IPC_LOCK, which Pod Security restricted and baseline refuse"
        expected = "none, or a namespace that enforces neither"
        yield _found("warning", "pss-capabilities", "rdma.resource", expected, spec.rdma.resource, why)


def _pytorchjob(spec: RunSpec) -> Iterator[Finding]:
    if spec.method == "eval" or spec.backend != "pytorchjob":
        return
    if spec.ttlSecondsAfterFinished is not None:
        key, got = "ttlSecondsAfterFinished", spec.ttlSecondsAfterFinished
        why = "a PyTorchJob that failed for good gets no completion time, so it stays; `fino1-k8s prune` deletes it"
        yield _found("warning", "pytorchjob-ttl-exit-code", key, "none with backend pytorchjob", got, why)
    if spec.env.get("PYTHONUNBUFFERED", "1") != "1":
        key, got = "env.PYTHONUNBUFFERED", spec.env["PYTHONUNBUFFERED"]
        yield _found("error", "pytorchjob-env-overridden", key, "1, or none", got, "the operator sets it after ours")


def _secrets(spec: RunSpec) -> Iterator[Finding]:
    """Secrets as values; no message repeats them."""
    document = {key: value for key, value in load.effective(spec).items() if key != "secretEnv"}
    why = "whoever may read the object, its ConfigMap or its Git history reads it"
    for key, name, value in _strings(document):
        flag = _FLAG.match(value) if name == "args" else None
        if flag and flag[2] is not None:
            name, value = flag[1], flag[2]
        if _is_secret(name, value) or _SECRET_VALUE.search(value):
            expected = "a key of secretEnv" if key.startswith("env.") else "no secret in a run file (secretEnv)"
            yield _found("error", "secret-value", key, expected, f"a value of {len(value)} characters", why)


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
        before = None
        for i, value in enumerate(node):
            flag = _FLAG.match(before) if name == "args" and isinstance(before, str) else None
            is_value = flag and flag[2] is None and isinstance(value, str) and not value.startswith("-")
            yield from _strings(value, f"{path}.{i}", flag[1] if flag and is_value else name)
            before = value


_RULES = (_claims, _paths, _grace, _images, _queue_label, _capabilities, _pytorchjob, _secrets)
