"""A server of the hub's protocol for dataset repositories, on loopback: create, describe, preupload, commit."""

import base64
import contextlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOKEN = "hf_right"


class Hub:
    """Repositories by id: {"private": …, "files": {path: bytes}}. Only TOKEN may write, and only to `owner`'s."""

    def __init__(self, owner):
        self.owner, self.repositories, self.address = owner, {}, ""

    def answer(self, method, path, token, body):
        """Answer a request with a status and a document."""
        if token != TOKEN:
            return 401, {"error": "Invalid credentials in Authorization header"}
        if path == "/api/repos/create":
            wanted = json.loads(body)
            name = f"{wanted['organization']}/{wanted['name']}"
            if wanted["organization"] != self.owner:
                return 403, {"error": f"You don't have the rights to create a dataset under {wanted['organization']}"}
            assert wanted["type"] == "dataset"
            private = wanted.get("private", wanted.get("visibility") == "private")
            status = 409 if name in self.repositories else 200
            self.repositories.setdefault(name, {"private": private, "files": {}})
            return status, {"url": f"{self.address}/datasets/{name}", "name": name, "id": name}
        if path == "/api/validate-yaml":
            return 200, {"errors": [], "warnings": []}
        _, _, kind, owner, name, *rest = path.split("/")
        assert kind == "datasets", path
        repository = self.repositories.get(f"{owner}/{name}")
        if repository is None:
            return 404, {"error": "Repository not found"}
        if method == "GET":
            return 200, {"id": f"{owner}/{name}", "private": repository["private"], "siblings": [], "sha": "0" * 40}
        if rest[0] == "preupload":
            files = [each["path"] for each in json.loads(body)["files"]]
            return 200, {"files": [{"path": each, "uploadMode": "regular", "shouldIgnore": False} for each in files]}
        assert rest[0] == "commit", path
        lines = [json.loads(line) for line in body.splitlines()]
        repository["files"] |= {
            line["value"]["path"]: base64.b64decode(line["value"]["content"]) for line in lines if line["key"] == "file"
        }
        return 200, {
            "success": True,
            "commitOid": "1" * 40,
            "commitUrl": f"{self.address}/datasets/{owner}/{name}/commit/{'1' * 40}",
        }


@contextlib.contextmanager
def serve(owner):
    """Serve a hub on a free port."""
    hub = Hub(owner)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            token = self.headers.get("Authorization", "").removeprefix("Bearer ")
            status, document = hub.answer(self.command, self.path.partition("?")[0], token, body)
            data = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            if "error" in document:
                self.send_header("X-Error-Message", document["error"])
            self.end_headers()
            self.wfile.write(data)

        do_POST = do_GET

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.address = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
