"""What is asked of a Kubernetes API server, and what does its refusal mean? One line for each, no network here."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from fino1.errors import ClusterError

_DENIED = re.compile(
    r"\b(?:cannot|not allowed to) [a-z*]+ "
)  # RBAC; quota and Pod Security are also 403, with other words
_USER = re.compile(r'[Uu]ser "([^"]*)"')
_TYPED = re.compile(r"failed to create typed patch object \(.*?\): (.*)", re.DOTALL)
_MANAGER = re.compile(r'conflict with "([^"]*)"')
_OPERATORS = {  # who serves a group that is not Kubernetes' own, and where its installation is described
    "kubeflow.org": "Kubeflow Training Operator 1.9, https://github.com/kubeflow/trainer/tree/release-1.9",
    "trainer.kubeflow.org": "Kubeflow Trainer 2, https://www.kubeflow.org/docs/components/trainer/operator-guides/installation",
    "jobset.x-k8s.io": "JobSet, https://jobset.sigs.k8s.io/docs/installation",
    "kueue.x-k8s.io": "Kueue, https://kueue.sigs.k8s.io/docs/installation",
}


class ApiError(ClusterError):
    """The API server refused, or did not answer: `status` is the HTTP code (0: no answer), `reason` Kubernetes' word for it."""

    def __init__(self, message: str, status: int = 0, reason: str = "") -> None:
        self.status, self.reason = status, reason
        super().__init__(message)


class KindMissing(ApiError):
    """The cluster does not serve this kind: an operator is not installed."""


class Lost(ApiError):
    """The API server could not be reached, or the connection broke; `unsent`: it certainly has not seen the request."""

    def __init__(self, message: str, unsent: bool) -> None:
        self.unsent = unsent
        super().__init__(message)


@dataclass(frozen=True)
class Identity:
    """Who asks whom? (for messages)"""

    url: str
    user: str
    source: str  # the context and its file, or the pod's service account


@dataclass(frozen=True)
class Resource:
    """How does the API server serve a kind?"""

    api_version: str
    kind: str
    plural: str
    namespaced: bool = True
    subresources: frozenset[str] = frozenset()

    @property
    def group(self) -> str:
        """Which API group is it in? (the core group is empty)"""
        return self.api_version.rpartition("/")[0]

    def __str__(self) -> str:
        return f"{self.plural}.{self.group}" if self.group else self.plural


@dataclass(frozen=True)
class Asked:
    """One request: which verb, as RBAC spells it, on what?"""

    verb: str
    resource: Resource
    namespace: str = ""  # empty: of the cluster, or all namespaces
    name: str = ""
    subresource: str = ""

    @property
    def path(self) -> str:
        """Under which path is it?"""
        version = self.resource.api_version
        parts = [f"/apis/{version}" if "/" in version else f"/api/{version}"]
        if self.resource.namespaced and self.namespace:
            parts += ["namespaces", quote(self.namespace, safe="")]
        named = self.name and self.verb != "create"
        parts += [self.resource.plural, *([quote(self.name, safe="")] if named else [])]
        return "/".join([*parts, *([self.subresource] if self.subresource else [])])

    def __str__(self) -> str:
        if not self.name:
            return f"{self.resource} in {self.place}"
        prefix = f"{self.namespace}/" if self.resource.namespaced and self.namespace else ""
        return f"{self.resource.kind} {prefix}{self.name}" + (f" ({self.subresource})" if self.subresource else "")

    @property
    def place(self) -> str:
        """Where, in words?"""
        if not self.resource.namespaced:
            return "the cluster"
        return f"namespace {self.namespace}" if self.namespace else "all namespaces"


def missing_kind(api_version: str, kind: str, who: Identity) -> KindMissing:
    """Which error says that the cluster does not serve `kind`? It names the operator that would."""
    group = api_version.rpartition("/")[0]
    operator = f"; it comes with {_OPERATORS[group]}" if group in _OPERATORS else ""
    return KindMissing(f"{who.url} does not serve {kind} ({api_version}){operator}", 404, "KindMissing")


def refusal(code: int, body: bytes, asked: Asked | str, who: Identity) -> ApiError:
    """What does an answer with status `code` (≥ 400) to what we `asked` mean? (a str: a path that is not an object's)"""
    status = _status(body)
    message = str(status.get("message") or body.decode(errors="replace")[:300].strip() or f"HTTP {code}")
    reason = str(status.get("reason") or "")
    details = status.get("details") or {}
    mistyped = _TYPED.search(message) if code == 500 else None
    if mistyped:  # an apply that does not fit the kind's schema: Kubernetes 1.33 calls that its own error
        code, reason = 422, "Invalid"
        text = f"{asked}: {_flat(mistyped.group(1))}"
    elif code == 401:
        text = (
            f"{who.url} does not accept {who.user} ({who.source}): the token or certificate has expired"
            " or is not known there; log in again"
        )
    elif code == 403 and _DENIED.search(message) and isinstance(asked, Asked):
        text = _forbidden(message, asked, who)
    elif code == 404 and details.get("kind") == "namespaces":
        text = f"{asked}: namespace {details.get('name')} does not exist at {who.url} ({who.source})"
    elif code == 404 and not status and isinstance(asked, Asked):  # plain text: the path, not the object, is unknown
        return missing_kind(asked.resource.api_version, asked.resource.kind, who)
    elif code == 404 and reason == "NotFound":
        text = f"{asked} does not exist"
    elif code >= 500 or code == 429:
        text = f"{asked}: {who.url} answered {code}: {_flat(message)}"
    else:
        text = f"{asked}: {_causes(details) or _flat(message.rpartition('strict decoding error: ')[2])}"
    return ApiError(text, code, reason)


def _status(body: bytes) -> Mapping[str, Any]:
    """Kubernetes' Status object, or nothing where a proxy or the router answered in plain text."""
    try:
        status = json.loads(body)
    except ValueError:
        return {}
    return status if isinstance(status, dict) and status.get("kind") == "Status" else {}


def _flat(message: str) -> str:
    """A list of errors over several lines, in one line."""
    lines = [line.strip().lstrip(".") for line in message.splitlines()]
    return "; ".join(line for line in lines if line and line != "errors:")


def _forbidden(message: str, asked: Asked, who: Identity) -> str:
    named = _USER.search(message)
    what = f"{asked.resource.plural}/{asked.subresource}" if asked.subresource else asked.resource.plural
    group = f" (API group {asked.resource.group})" if asked.resource.group else ""
    return (
        f"forbidden: {named.group(1) if named else who.user} may not {asked.verb} {what}{group} in {asked.place};"
        " the Role in docs/rbac.md has it"
    )


def _causes(details: Mapping[str, Any]) -> str:
    """The server's list of causes, each as `field: what is wrong`; for a conflict whose field it is."""
    lines = []
    for cause in details.get("causes") or []:
        field, message = str(cause.get("field") or "").lstrip("."), str(cause.get("message") or "")
        manager = _MANAGER.search(message)
        if cause.get("reason") == "FieldManagerConflict" and manager:
            message = f"is set by field manager {manager.group(1)!r}, and to another value"
            lines.append(f"{field} {message}")
        else:
            lines.append(f"{field}: {message}" if field else message)
    return "; ".join(dict.fromkeys(lines))
