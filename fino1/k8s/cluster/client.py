"""How are objects read, applied and deleted? The only way to a Kubernetes API, for all verbs of `fino1-k8s`.

Objects are dicts as in YAML. Every method raises ClusterError (mostly `errors.ApiError`, which knows the HTTP status) with
one line that says what to do. Importing this module is cheap: the Kubernetes client is loaded by `connect`.
"""

import functools
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from fino1.errors import ClusterError
from fino1.k8s.cluster.errors import ApiError, KindMissing, Request, Resource, missing_kind

if TYPE_CHECKING:
    from fino1.k8s.cluster.connection import Connection, Query, Stream
    from fino1.k8s.cluster.login import Login

FIELD_MANAGER = "fino1"
_WRITE = {"fieldManager": FIELD_MANAGER, "fieldValidation": "Strict"}
_SERVER_FIELDS = {"managedFields", "resourceVersion", "generation", "uid", "creationTimestamp"}

_CONNECTIONS = 16
Thing, Result = TypeVar("Thing"), TypeVar("Result")

Outcome = Literal["created", "configured", "unchanged"]


@dataclass(frozen=True)
class Applied:
    """The object that the server holds after an apply (or would hold), and what that changed."""

    object: dict[str, Any]
    outcome: Outcome


def connect(kubeconfig: str | None = None, context: str | None = None, namespace: str | None = None) -> "Api":
    """Choose the cluster; nothing is sent yet. Raises SpecError where kubeconfig or context are the user's mistake."""
    from fino1.k8s.cluster.connection import Connection

    connection = Connection(kubeconfig, context)
    return Api(connection, namespace or connection.login.namespace)


class Api:
    """One API server, as one user; may be used from several threads."""

    def __init__(self, connection: "Connection", namespace: str) -> None:
        self.connection, self.namespace = connection, namespace
        self._kinds: dict[str, dict[str, Resource]] = {}

    @property
    def who(self) -> "Login":
        """The user and the server, for messages."""
        return self.connection.login

    @functools.cached_property
    def version(self) -> str:
        """The server's version; empty where it is kept from this user. ClusterError where it is no Kubernetes server."""
        try:
            answer = self.connection.ask("GET", "/version")[1]
        except ApiError as error:
            if error.status not in (403, 404):
                raise
            answer = {"gitVersion": ""} if error.status == 403 else error
        if not isinstance(answer, dict) or not isinstance(answer.get("gitVersion"), str):
            raise ClusterError(f"{self.who.url} is no Kubernetes API server ({self.who.source}): /version: {answer}")
        return answer["gitVersion"]

    # What is served

    def discover(self, api_version: str) -> Mapping[str, Resource]:
        """The kinds that the server has in this group and version (none: {}), by name; asked once."""
        if api_version not in self._kinds:
            path = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
            self._kinds[api_version] = {
                entry["kind"]: Resource(api_version, entry["kind"], entry["name"], entry["namespaced"])
                for entry in self._read_discovery(path).get("resources") or []
                if "/" not in entry["name"]  # `jobs/status` is an entry of its own
            }
        return self._kinds[api_version]

    def versions(self, group: str) -> list[str]:
        """The apiVersions of a group that are served, the preferred one first (not installed: [])."""
        answer = self._read_discovery(f"/apis/{group}")
        every = [answer["preferredVersion"], *answer["versions"]] if answer else []
        return list(dict.fromkeys(each["groupVersion"] for each in every))

    def _read_discovery(self, path: str) -> dict[str, Any]:
        """A document that says what is served; empty where there is none."""
        _ = self.version  # of what is no Kubernetes server, 404 says nothing
        found = self._find("GET", path)
        if found is None and path in ("/api/v1", "/apis/batch/v1"):  # every Kubernetes has these
            raise ClusterError(f"{self.who.url} is no Kubernetes API server ({self.who.source}): no {path}")
        return found or {}

    def serves(self, api_version: str, kind: str) -> bool:
        """Whether the server has this kind."""
        return kind in self.discover(api_version)

    def resource(self, api_version: str, kind: str) -> Resource:
        """The resource of this kind. Raises KindMissing, which names the operator that brings it."""
        try:
            return self.discover(api_version)[kind]
        except KeyError:
            raise missing_kind(api_version, kind, self.who) from None

    # Objects

    def get(self, api_version: str, kind: str, name: str, namespace: str | None = None) -> dict[str, Any] | None:
        """The object, or None if there is none of that name."""
        return self._find("GET", self._request("get", api_version, kind, name, namespace))

    def list(
        self,
        api_version: str,
        kind: str,
        *,
        label_selector: str = "",
        field_selector: str = "",
        namespace: str | None = None,
    ) -> list[dict[str, Any]]:
        """All objects that match (`namespace` "": of all namespaces)."""
        request = self._request("list", api_version, kind, "", namespace)
        query = {"labelSelector": label_selector, "fieldSelector": field_selector}
        items = self.connection.ask("GET", request, query)[1]["items"]
        return [{"apiVersion": api_version, "kind": kind, **item} for item in items]  # built-in ones leave it out

    def apply(
        self,
        obj: Mapping[str, Any],
        *,
        dry_run: bool = False,
        force: bool = False,
        before: Mapping[str, Any] | None = None,
    ) -> Applied:
        """Make the server hold `obj`, server-side, as field manager fino1; unknown fields are refused.

        `force` takes over fields of other managers. `before` is the object as last read, `{}` if there was none; where it
        is not given it is read first. An object that turns out to be there all the same is "configured", never "created".
        """
        request = self._request(
            "patch", obj["apiVersion"], obj["kind"], obj["metadata"]["name"], obj["metadata"].get("namespace")
        )
        if before is None:
            before = self.get(obj["apiVersion"], obj["kind"], request.name, request.namespace) or {}
        query = {**_WRITE, "force": "true" if force else None, "dryRun": "All" if dry_run else None}
        code, after = self.connection.ask("PATCH", request, query, obj, "application/apply-patch+yaml")
        if code == 201:
            return Applied(after, "created")
        is_same = bool(before) and strip_server_fields(before) == strip_server_fields(after)
        return Applied(after, "unchanged" if is_same else "configured")

    def create(self, obj: Mapping[str, Any], *, dry_run: bool = False) -> dict[str, Any]:
        """Create an object that must not exist yet; returns it as the server holds it."""
        metadata = obj["metadata"]
        request = self._request("create", obj["apiVersion"], obj["kind"], metadata["name"], metadata.get("namespace"))
        return self.connection.ask(
            "POST", request, {**_WRITE, "dryRun": "All" if dry_run else None}, obj, repeatable=False
        )[1]

    def patch(
        self,
        api_version: str,
        kind: str,
        name: str,
        change: Mapping[str, Any],
        *,
        subresource: str = "",
    ) -> dict[str, Any]:
        """Change a few fields of an existing object (JSON merge patch: null removes); returns the object."""
        request = self._request("patch", api_version, kind, name, subresource=subresource)
        return self.connection.ask("PATCH", request, _WRITE, change, "application/merge-patch+json")[1]

    def delete(
        self,
        api_version: str,
        kind: str,
        name: str,
        *,
        propagation: Literal["Foreground", "Background", "Orphan"] = "Background",
        uid: str = "",
    ) -> bool:
        """Delete an object; returns whether there was one. With `uid` only that one: another of its name is a 409 error."""
        request = self._request("delete", api_version, kind, name)
        options = {"propagationPolicy": propagation, **({"preconditions": {"uid": uid}} if uid else {})}
        return self._find("DELETE", request, options) is not None

    def open_log(self, pod: str, query: "Query") -> "Stream":
        """A container's log, until the connection breaks (state/logs.py goes on after that)."""
        return self.connection.stream(self._request("get", "v1", "Pod", pod, subresource="log"), query)

    def _request(
        self, verb: str, api_version: str, kind: str, name: str, namespace: str | None = None, subresource: str = ""
    ) -> Request:
        resource = self.resource(api_version, kind)
        place = self.namespace if namespace is None else namespace
        return Request(verb, resource, place if resource.namespaced else "", name, subresource)

    def _find(self, method: str, request: Request | str, body: Any = None) -> dict[str, Any] | None:
        """The answer; None where there is no such object, or no such document of discovery."""
        try:
            return self.connection.ask(method, request, body=body)[1]
        except ApiError as error:
            if error.status == 404 and not isinstance(error, KindMissing):
                return None
            raise


def in_parallel(task: Callable[[Thing], Result], things: Iterable[Thing]) -> list[Result]:
    """Do a task for each, a few at a time. The first error is raised; tasks that have not begun then never do."""
    with ThreadPoolExecutor(_CONNECTIONS) as pool:
        try:
            return list(pool.map(task, things))
        finally:
            pool.shutdown(cancel_futures=True)


def strip_server_fields(obj: Mapping[str, Any]) -> dict[str, Any]:
    """An object without what changes by itself: its status, and the server's book-keeping."""
    kept = {key: value for key, value in obj.items() if key != "status"}
    kept["metadata"] = {key: value for key, value in obj["metadata"].items() if key not in _SERVER_FIELDS}
    return kept
