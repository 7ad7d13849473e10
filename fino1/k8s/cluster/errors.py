"""What is a request to a Kubernetes API server, and what does its refusal mean? One line for each; nothing is sent here."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from fino1.errors import ClusterError
from fino1.k8s.objects.backends import OPERATORS, group_of

_DENIED = re.compile(
    r"\b(?:cannot|not allowed to) [a-z*]+ "
)  # by RBAC; quota and Pod Security word their 403 otherwise
_USER = re.compile(r'[Uu]ser "([^"]*)"')
_TYPED = re.compile(r"failed to create typed patch object \(.*?\): (.*)", re.DOTALL)
_MANAGER = re.compile(r'conflict with "([^"]*)"')


class ApiError(ClusterError):
    """The API server refused, or did not answer: `status` is the HTTP code (0: no answer), `reason` Kubernetes' word for it."""

    def __init__(self, message: str, status: int = 0, reason: str = "", retry_after_s: float = 0.0) -> None:
        self.status, self.reason, self.retry_after_s = status, reason, retry_after_s
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
    """The user and the server, for messages."""

    url: str
    user: str
    source: str  # the context and its file, or the pod's service account


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


def missing_kind(api_version: str, kind: str, who: Identity) -> KindMissing:
    """The error that says that the cluster does not serve `kind`, and names the operator that would."""
    operator = OPERATORS.get(group_of(api_version))
    origin = f"; it comes with {operator.name}, {operator.how}".rstrip(", ") if operator else ""
    return KindMissing(f"{who.url} does not serve {kind} ({api_version}){origin}", 404, "KindMissing")


def refusal(code: int, body: bytes, request: Request | str, who: Identity, retry_after: str | None = None) -> ApiError:
    """The error that an answer with status `code` (400 or more) means; `request` is a str where the path is no object's."""
    status = _status(body)
    message = str(status.get("message") or body.decode(errors="replace")[:300].strip() or f"HTTP {code}")
    if code == 404 and not status and isinstance(request, Request):  # plain text: the path, not the object, is unknown
        return missing_kind(request.resource.api_version, request.resource.kind, who)
    reason = str(status.get("reason") or "")
    mistyped = _TYPED.search(message) if code == 500 else None
    if mistyped:  # an apply that does not fit the kind's schema: Kubernetes 1.33 calls that its own error
        code, reason, message, status = 422, "Invalid", mistyped.group(1), {}
    describe = _DESCRIBE.get(code, _failed if code >= 500 else _invalid)
    text = describe(request, who, {**status, "code": code, "message": message})
    return ApiError(text, code, reason, float(retry_after) if retry_after and retry_after.isdigit() else 0.0)


def _status(body: bytes) -> dict[str, Any]:
    """Kubernetes' Status object, or nothing where a proxy or the router answered in plain text."""
    try:
        status = json.loads(body)
    except ValueError:
        return {}
    return status if isinstance(status, dict) and status.get("kind") == "Status" else {}


def _unauthorized(request: Request | str, who: Identity, status: Mapping[str, Any]) -> str:
    return (
        f"{who.url} does not accept {who.user} ({who.source}): the token or certificate has expired"
        " or is not known there; log in again"
    )


def _forbidden(request: Request | str, who: Identity, status: Mapping[str, Any]) -> str:
    if isinstance(request, str) or not _DENIED.search(status["message"]):
        return _invalid(request, who, status)
    named = _USER.search(status["message"])
    what = f"{request.resource.plural}/{request.subresource}" if request.subresource else request.resource.plural
    group = f" (API group {request.resource.group})" if request.resource.group else ""
    return (
        f"forbidden: {named.group(1) if named else who.user} may not {request.verb} {what}{group} in {request.place};"
        " the Role in docs/rbac.md has it"
    )


def _not_found(request: Request | str, who: Identity, status: Mapping[str, Any]) -> str:
    details = status.get("details") or {}
    if details.get("kind") == "namespaces":
        return f"{request}: namespace {details.get('name')} does not exist at {who.url} ({who.source})"
    return f"{request} does not exist" if status.get("reason") == "NotFound" else _invalid(request, who, status)


def _failed(request: Request | str, who: Identity, status: Mapping[str, Any]) -> str:
    return f"{request}: {who.url} answered {status['code']}: {_flat(status['message'])}"


def _invalid(request: Request | str, who: Identity, status: Mapping[str, Any]) -> str:
    plain = status["message"].rpartition("strict decoding error: ")[2]
    return f"{request}: {_causes(status.get('details') or {}) or _flat(plain)}"


_DESCRIBE: dict[int, Callable[[Request | str, Identity, Mapping[str, Any]], str]] = {
    401: _unauthorized,
    403: _forbidden,
    404: _not_found,
    429: _failed,
}


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
