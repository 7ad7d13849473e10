"""How are objects read, applied, watched and deleted? The only way to a Kubernetes API, for all verbs of `fino1-k8s`.

Objects are dicts as in YAML. Every method raises ClusterError (mostly `asked.ApiError`, which knows the HTTP status) with
one line that says what to do. `import fino1.k8s.api` is cheap: the Kubernetes client is loaded by `connect`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from fino1.k8s.cluster.errors import ApiError, Asked, KindMissing, Resource, missing_kind
from fino1.k8s.cluster.server import Query, Server

if TYPE_CHECKING:
    from fino1.k8s.cluster.login import Stream

FIELD_MANAGER = "fino1"
_PAGE = 500
_BOOK_KEEPING = {"resourceVersion", "managedFields", "generation"}
_REVIEW = Resource("authorization.k8s.io/v1", "SelfSubjectAccessReview", "selfsubjectaccessreviews", namespaced=False)

Outcome = Literal["created", "configured", "unchanged"]


class Listing(NamedTuple):
    """A list of objects, and the resource version that a watch goes on from."""

    items: list[dict[str, Any]]
    resource_version: str


@dataclass(frozen=True)
class Applied:
    """What the server holds after an apply (or would hold), and what that changed."""

    object: dict[str, Any]
    outcome: Outcome


def connect(kubeconfig: str | None = None, context: str | None = None, namespace: str | None = None) -> "Api":
    """Which cluster is meant? Nothing is sent yet. Raises SpecError where kubeconfig or context are the user's mistake."""
    from fino1.k8s.cluster import login

    account = login.account(kubeconfig, context)
    return Api(Server(login.Connection(account)), namespace or account.namespace)


class Api:
    """One API server, as one user; may be used from several threads."""

    def __init__(self, server: Server, namespace: str) -> None:
        self.namespace = namespace
        self.server = server
        self._kinds: dict[str, dict[str, Resource]] = {}

    @property
    def url(self) -> str:
        """Which server is it?"""
        return self.server.who.url

    # What is served

    def discover(self, api_version: str) -> Mapping[str, Resource]:
        """Which kinds does the server have in this group and version? (none: {}; asked once)"""
        if api_version not in self._kinds:
            path = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
            self._kinds[api_version] = _kinds(api_version, (self._group(path) or {}).get("resources") or [])
        return self._kinds[api_version]

    def versions(self, group: str) -> list[str]:
        """Which apiVersions of a group are served, the preferred one first? (not installed: [])"""
        answer = self._group(f"/apis/{group}")
        if answer is None:
            return []
        preferred = answer["preferredVersion"]["groupVersion"]
        return sorted((each["groupVersion"] for each in answer["versions"]), key=lambda version: version != preferred)

    def serves(self, api_version: str, kind: str) -> bool:
        """Does the server have this kind?"""
        return kind in self.discover(api_version)

    def resource(self, api_version: str, kind: str) -> Resource:
        """How is this kind served? Raises KindMissing, which names the operator that brings it."""
        try:
            return self.discover(api_version)[kind]
        except KeyError:
            raise missing_kind(api_version, kind, self.server.who) from None

    def can(
        self, verb: str, resource: str, group: str = "", *, subresource: str = "", namespace: str | None = None
    ) -> bool:
        """May this user do this, by the server's own word? (`namespace` "": in all of them)"""
        place = self.namespace if namespace is None else namespace
        attributes = {
            "verb": verb,
            "resource": resource,
            "group": group,
            "subresource": subresource,
            "namespace": place,
        }
        review = {"apiVersion": _REVIEW.api_version, "kind": _REVIEW.kind, "spec": {"resourceAttributes": attributes}}
        _, answer = self.server.ask("POST", Asked("create", _REVIEW), body=review, repeatable=True)
        return bool(answer["status"]["allowed"])

    # Objects

    def get(self, api_version: str, kind: str, name: str, namespace: str | None = None) -> dict[str, Any] | None:
        """The object, or None if there is none of that name."""
        try:
            return self.server.ask("GET", self._asked("get", api_version, kind, name, namespace))[1]
        except ApiError as error:
            if error.status == 404 and not isinstance(error, KindMissing):
                return None
            raise

    def list(
        self,
        api_version: str,
        kind: str,
        *,
        label_selector: str = "",
        field_selector: str = "",
        namespace: str | None = None,
    ) -> Listing:
        """All objects that match, in pages. (`namespace` "": of all namespaces)"""
        asked = self._asked("list", api_version, kind, "", namespace)
        query = {"labelSelector": label_selector, "fieldSelector": field_selector, "limit": _PAGE}
        for limit in (_PAGE, None):
            try:
                return self._pages(asked, {**query, "limit": limit})
            except ApiError as error:
                if error.status != 410 or limit is None:  # 410: the snapshot was compacted between two pages
                    raise
        raise AssertionError("unreachable")

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
        asked = self._asked(
            "patch", obj["apiVersion"], obj["kind"], obj["metadata"]["name"], obj["metadata"].get("namespace")
        )
        if before is None:
            before = self.get(obj["apiVersion"], obj["kind"], asked.name, asked.namespace) or {}
        query = {"fieldManager": FIELD_MANAGER, "fieldValidation": "Strict", "force": "true" if force else None}
        query["dryRun"] = "All" if dry_run else None
        code, after = self.server.ask("PATCH", asked, query, obj, "application/apply-patch+yaml", repeatable=True)
        if code == 201:
            return Applied(after, "created")
        return Applied(after, "unchanged" if before and _substance(before) == _substance(after) else "configured")

    def create(self, obj: Mapping[str, Any], *, dry_run: bool = False) -> dict[str, Any]:
        """Create an object that must not exist yet; returns it as the server holds it."""
        metadata = obj["metadata"]
        asked = self._asked("create", obj["apiVersion"], obj["kind"], metadata["name"], metadata.get("namespace"))
        query = {"fieldManager": FIELD_MANAGER, "fieldValidation": "Strict", "dryRun": "All" if dry_run else None}
        return self.server.ask("POST", asked, query, obj)[1]

    def patch(
        self,
        api_version: str,
        kind: str,
        name: str,
        change: Mapping[str, Any],
        *,
        subresource: str = "",
        namespace: str | None = None,
    ) -> dict[str, Any]:
        """Change a few fields of an existing object (JSON merge patch: null removes); returns the object."""
        asked = self._asked("patch", api_version, kind, name, namespace, subresource)
        query = {"fieldManager": FIELD_MANAGER, "fieldValidation": "Strict"}
        return self.server.ask("PATCH", asked, query, change, "application/merge-patch+json", repeatable=True)[1]

    def delete(
        self,
        api_version: str,
        kind: str,
        name: str,
        *,
        propagation: Literal["Foreground", "Background", "Orphan"] = "Background",
        uid: str = "",
        namespace: str | None = None,
    ) -> bool:
        """Ask for the object to be deleted; was there one? With `uid`, only that one: another of its name is a 409 error."""
        asked = self._asked("delete", api_version, kind, name, namespace)
        options: dict[str, Any] = {"propagationPolicy": propagation}
        if uid:
            options["preconditions"] = {"uid": uid}
        try:
            self.server.ask("DELETE", asked, body=options, repeatable=True)
        except ApiError as error:
            if error.status == 404 and not isinstance(error, KindMissing):
                return False
            raise
        return True

    # Answers that go on (used by watch.py and logs.py)

    def open_watch(
        self,
        api_version: str,
        kind: str,
        *,
        label_selector: str,
        field_selector: str,
        namespace: str | None,
        resource_version: str,
        length_s: int,
        read_timeout_s: float,
    ) -> "Stream":
        """Ask once for the changes since `resource_version`; `watch.Watch` is what goes on for ever."""
        query = {"labelSelector": label_selector, "fieldSelector": field_selector, "resourceVersion": resource_version}
        query |= {"watch": "true", "allowWatchBookmarks": "true", "timeoutSeconds": length_s}
        asked = self._asked("watch", api_version, kind, "", namespace)
        return self.server.stream(asked, query, read_timeout_s)

    def open_log(self, pod: str, query: Query, namespace: str | None = None) -> "Stream":
        """Ask once for a container's log; `logs.read` and `logs.follow` are what miss nothing."""
        return self.server.stream(self._asked("get", "v1", "Pod", pod, namespace, "log"), query)

    def _asked(
        self, verb: str, api_version: str, kind: str, name: str, namespace: str | None, subresource: str = ""
    ) -> Asked:
        resource = self.resource(api_version, kind)
        place = self.namespace if namespace is None else namespace
        return Asked(verb, resource, place if resource.namespaced else "", name, subresource)

    def _group(self, path: str) -> Mapping[str, Any] | None:
        """A document of discovery, or None where the server has no such group or version."""
        try:
            return self.server.ask("GET", path)[1]
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def _pages(self, asked: Asked, query: Query) -> Listing:
        items: list[dict[str, Any]] = []
        token, version = "", ""
        while True:
            answer = self.server.ask("GET", asked, {**query, "continue": token})[1]
            metadata = answer["metadata"]
            version = version or metadata["resourceVersion"]
            items += answer["items"]
            token = metadata.get("continue") or ""
            if not token:
                break
        for item in items:  # lists of built-in kinds leave it out
            item.setdefault("apiVersion", asked.resource.api_version)
            item.setdefault("kind", asked.resource.kind)
        return Listing(items, version)


def _kinds(api_version: str, entries: Iterable[Mapping[str, Any]]) -> dict[str, Resource]:
    """Read one discovery document: `jobs` and `jobs/status` are entries of their own."""
    subresources: dict[str, set[str]] = {}
    plain: list[Mapping[str, Any]] = []
    for entry in entries:
        plural, slash, part = entry["name"].partition("/")
        if slash:
            subresources.setdefault(plural, set()).add(part)
        else:
            plain.append(entry)
    return {
        entry["kind"]: Resource(
            api_version,
            entry["kind"],
            entry["name"],
            entry["namespaced"],
            frozenset(subresources.get(entry["name"], ())),
        )
        for entry in plain
    }


def _substance(obj: Mapping[str, Any]) -> dict[str, Any]:
    """An object without what changes by itself: its status, and the server's book-keeping."""
    kept = {key: value for key, value in obj.items() if key != "status"}
    kept["metadata"] = {key: value for key, value in obj["metadata"].items() if key not in _BOOK_KEEPING}
    return kept
