"""How do we talk to the API server with nothing but the standard library?"""

import json
import ssl
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

JSON = "application/json"
APPLY = "application/apply-patch+yaml"  # server-side apply; the server reads YAML, so we need no parser


class ApiError(Exception):
    """The API server refused: `status` is the HTTP status, the message is the server's."""

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        super().__init__(f"{status}: {message}")


class Api:
    """One user's connection to one API server."""

    def __init__(self, server: str, authority: Path, token: str) -> None:
        self.server, self.token = server, token
        self.context = ssl.create_default_context(cafile=str(authority))

    def call(self, method: str, path: str, body: object = None, kind: str = JSON, timeout_s: float = 30) -> Any:
        """What does the server answer? Parsed where it is JSON; `body` is sent as it is if bytes, else as JSON.

        Raises ApiError where the server answered with a status of 400 or more, OSError where it did not answer.
        """
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": kind, "Accept": JSON}
        request = urllib.request.Request(self.server + path, data, headers, method=method)
        # Never through a proxy: the server is on loopback.
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=self.context)
        )
        try:
            with opener.open(request, timeout=timeout_s) as response:
                text = response.read().decode()
                return json.loads(text) if response.headers.get_content_type() == JSON else text
        except urllib.error.HTTPError as error:
            raise ApiError(error.code, error.read().decode(errors="replace")) from error

    def ready(self) -> bool:
        """Does the server say that it is ready?"""
        try:
            return self.call("GET", "/readyz", timeout_s=2) == "ok"
        except (ApiError, OSError):
            return False

    def apply(self, path: str, manifest: bytes) -> Any:
        """Apply one object server-side; what it is now."""
        return self.call("PATCH", f"{path}?fieldManager=fino1-cluster&force=true", manifest, APPLY)

    def install_crds(self, folder: Path, timeout_s: float = 120) -> list[str]:
        """Apply every CRD in `folder` and wait until the server serves them; their names."""
        collection = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        names = []
        for file in sorted(folder.glob("*/*.json")):
            group, plural = file.stem.split("_")  # controller-gen names the file so
            names.append(f"{plural}.{group}")
            self.apply(f"{collection}/{names[-1]}", file.read_bytes())
        deadline = time.monotonic() + timeout_s
        while missing := set(names) - self._established(collection):
            if time.monotonic() > deadline:
                raise ApiError(0, f"not Established after {timeout_s:.0f} s: {', '.join(sorted(missing))}")
            time.sleep(0.1)
        return names

    def _established(self, collection: str) -> set[str]:
        return {
            crd["metadata"]["name"]
            for crd in self.call("GET", collection)["items"]
            for condition in crd.get("status", {}).get("conditions") or []
            if condition["type"] == "Established" and condition["status"] == "True"
        }
