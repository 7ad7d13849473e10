"""What is a request to a Kubernetes API server, and what does its refusal mean? One line for each; nothing is sent here."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from fino1.errors import ClusterError
from fino1.k8s.objects.backends import OPERATORS, group_of

if TYPE_CHECKING:
    from fino1.k8s.cluster.login import Login

# By RBAC: quota and Pod Security word their 403 otherwise.
_DENIED = re.compile(r"\b(?:cannot|not allowed to) [a-z*]+ ")
_USER = re.compile(r'[Uu]ser "([^"]*)"')
_TYPED = re.compile(r"failed to create typed patch object \(.*?\): (.*)", re.DOTALL)
_MANAGER = re.compile(r'conflict with "([^"]*)"')


class ApiError(ClusterError):
    """The API server refused, or did not answer: `status` is the HTTP code (0: no answer)."""

    def __init__(self, message: str, status: int = 0, retry_after_s: float = 0.0) -> None:
        self.status, self.retry_after_s = status, retry_after_s
        super().__init__(message)


class KindMissing(ApiError):
    """The cluster does not serve this kind: an operator is not installed."""


class Lost(ApiError):
    """The API server could not be reached, or the connection broke; `unsent`: it certainly has not seen the request."""

    def __init__(self, message: str, unsent: bool) -> None:
        self.unsent = unsent
        super().__init__(message)


@dataclass(frozen=True)
class Resource:
    """A kind as the API server serves it."""

    api_version: str
    kind: str
    plural: str
    namespaced: bool = True

    @property
    def group(self) -> str:
        """The API group; empty for the core group."""
        return group_of(self.api_version)

    def __str__(self) -> str:
        return f"{self.plural}.{self.group}" if self.group else self.plural


@dataclass(frozen=True)
class Request:
    """One request: a verb, as RBAC spells it, and what it is for."""

    verb: str
    resource: Resource
    namespace: str = ""  # empty: of the cluster, or all namespaces
    name: str = ""
    subresource: str = ""

    @property
    def path(self) -> str:
        """The path of its URL."""
        version = self.resource.api_version
        parts = [f"/apis/{version}" if "/" in version else f"/api/{version}"]
        if self.resource.namespaced and self.namespace:
            parts += ["namespaces", quote(self.namespace, safe="")]
        parts.append(self.resource.plural)
        if self.name and self.verb != "create":
            parts.append(quote(self.name, safe=""))
        return "/".join([*parts, *([self.subresource] if self.subresource else [])])

    @property
    def right(self) -> str:
        """What its right is for, in words."""
        what = f"{self.resource.plural}/{self.subresource}" if self.subresource else self.resource.plural
        return f"{what} (API group {self.resource.group})" if self.resource.group else what

    def __str__(self) -> str:
        if not self.name:
            return f"{self.resource} in {self.place}"
        prefix = f"{self.namespace}/" if self.resource.namespaced and self.namespace else ""
        return f"{self.resource.kind} {prefix}{self.name}" + (f" ({self.subresource})" if self.subresource else "")

    @property
    def place(self) -> str:
        """Its namespace or scope, in words."""
        if not self.resource.namespaced:
            return "the cluster"
        return f"namespace {self.namespace}" if self.namespace else "all namespaces"


def missing_kind(api_version: str, kind: str, who: "Login") -> KindMissing:
    """The error that says that the cluster does not serve `kind`, and names the operator that would."""
    operator = OPERATORS.get(group_of(api_version))
    origin = f"; it comes with {operator.name}, {operator.how}".rstrip(", ") if operator else ""
    return KindMissing(f"{who.url} does not serve {kind} ({api_version}){origin}", 404)


def refusal(code: int, body: bytes, request: Request | str, who: "Login", retry_after: str | None = None) -> ApiError:
    """The error that an answer with status `code` (400 or more) means; `request` is a str where the path is no object's."""
    status = _status(body)
    message = str(status.get("message") or body.decode(errors="replace")[:300].strip() or f"HTTP {code}")
    if code == 404 and not status and isinstance(request, Request):  # plain text: the path, not the object, is unknown
        return missing_kind(request.resource.api_version, request.resource.kind, who)
    reason = str(status.get("reason") or "")
    mistyped = _TYPED.search(message) if code == 500 else None
    if mistyped:  # an apply that does not fit the kind's schema: Kubernetes 1.33 calls that its own error
        code, reason, message, status = 422, "Invalid", mistyped.group(1), {}
    text = _describe(code, reason, message, status.get("details") or {}, request, who)
    return ApiError(text, code, float(retry_after) if retry_after and retry_after.isdigit() else 0.0)


def _status(body: bytes) -> dict[str, Any]:
    """Kubernetes' Status object, or nothing where a proxy or the router answered in plain text."""
    try:
        status = json.loads(body)
    except ValueError:
        return {}
    return status if isinstance(status, dict) and status.get("kind") == "Status" else {}


def _describe(
    code: int, reason: str, message: str, details: Mapping[str, Any], request: Request | str, who: "Login"
) -> str:
    """The refusal in one line."""
    if code == 401:
        expired = "the token or certificate has expired or is not known there; log in again"
        return f"{who.url} does not accept {who.user} ({who.source}): {expired}"
    if code == 403 and isinstance(request, Request) and _DENIED.search(message):
        named = _USER.search(message)
        may_not = f"{named.group(1) if named else who.user} may not {request.verb}"
        return f"forbidden: {may_not} {request.right} in {request.place}; the Role in docs/rbac.md has it"
    if code == 404 and details.get("kind") == "namespaces":
        return f"{request}: namespace {details.get('name')} does not exist at {who.url} ({who.source})"
    if code == 404 and reason == "NotFound":
        return f"{request} does not exist"
    if code == 429 or code >= 500:
        return f"{request}: {who.url} answered {code}: {_flat(message)}"
    where = f"{who.url}{request}" if isinstance(request, str) else request
    return f"{where}: {_causes(details) or _flat(message.rpartition('strict decoding error: ')[2])}"


def _flat(message: str) -> str:
    """A list of errors over several lines, in one line."""
    lines = [line.strip().lstrip(".") for line in message.splitlines()]
    return "; ".join(line for line in lines if line and line != "errors:")


def _causes(details: Mapping[str, Any]) -> str:
    """The server's list of causes, each as `field: what is wrong`; for a conflict whose field it is."""
    lines = []
    for cause in details.get("causes") or []:
        key, message = str(cause.get("field") or "").lstrip("."), str(cause.get("message") or "")
        manager = _MANAGER.search(message)
        if cause.get("reason") == "FieldManagerConflict" and manager:
            lines.append(f"{key} is set by field manager {manager.group(1)!r}, and to another value")
        else:
            lines.append(f"{key}: {message}" if key else message)
    return "; ".join(dict.fromkeys(lines))
