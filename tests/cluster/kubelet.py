"""A kubelet that only has logs: HTTPS for the API server to ask, a Node that says where, and pods whose status it keeps.

Serves GET /containerLogs/NAMESPACE/POD/CONTAINER as kuberuntime does: `tailLines` before `sinceTime`, lines from that
second on, `previous` for the start before, 400 where there is none. `cut` says how many bytes of the next answer come
through before the connection breaks.
"""

import secrets
import ssl
import subprocess
import threading
import time
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from fino1.k8s.cluster.client import Api

RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}


class Kubelet:
    def __init__(self, api, folder, status_lag_s=0.0):
        self.api, self.status_lag_s = api, status_lag_s
        self.node = f"node-{secrets.token_hex(4)}"
        self.cut = lambda: None  # bytes until the next answer breaks; None: it does not
        self.answers, self.broken = 0, 0
        self.is_down = False  # while it restarts: no answer goes on, none begins
        self.changed = threading.Condition()
        self.containers = {}  # (namespace, pod, container) -> starts, each {"lines": [(ns, bytes)], "ended": bool}
        key, certificate = folder / "kubelet.key", folder / "kubelet.crt"
        request = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=kubelet"]
        subprocess.run([*request, "-keyout", key, "-out", certificate], check=True, capture_output=True)
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"kubelet": self}))
        self.server.daemon_threads = True
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        api.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": self.node}})
        endpoint = {"kubeletEndpoint": {"Port": self.server.server_port}}
        status = {"addresses": [{"type": "InternalIP", "address": "127.0.0.1"}], "daemonEndpoints": endpoint}
        api.patch("v1", "Node", self.node, {"status": status}, subresource="status")

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.api.delete("v1", "Node", self.node)

    def start(self, namespace, name, labels=None):
        """A pod with one container, `main`, that runs."""
        container = {"name": "main", "image": "image", "securityContext": RESTRICTED}
        metadata = {"name": name, "namespace": namespace, "labels": labels or {"app": "test"}}
        spec = {"nodeName": self.node, "containers": [container], "terminationGracePeriodSeconds": 0}
        self.api.create({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
        pod = Pod(self, namespace, name)
        with self.changed:
            self.containers[pod.key] = [_start()]
        pod.report("Running")
        return pod

    def answer(self, key, query):
        """The lines of one answer: now, and as they come if it follows; raises LookupError with the kubelet's words."""
        with self.changed:
            starts = self.containers.get(key)
            if not starts:
                raise LookupError(f'container "{key[2]}" in pod "{key[1]}" is waiting to start: ContainerCreating')
            if "previous" in query and len(starts) < 2:
                raise LookupError(f'previous terminated container "{key[2]}" in pod "{key[1]}" not found')
            start = starts[-2 if "previous" in query else -1]
            at = len(start["lines"]) - int(query.get("tailLines", len(start["lines"])))
        since = int(datetime.fromisoformat(query["sinceTime"]).timestamp()) * 10**9 if "sinceTime" in query else 0
        return self.lines(start, max(at, 0), since, "follow" in query)

    def lines(self, start, at, since, follow):
        while True:
            with self.changed:
                while follow and at == len(start["lines"]) and not start["ended"] and not self.is_down:
                    self.changed.wait(0.1)
                if self.is_down:
                    raise ConnectionError
                lines = start["lines"][at:]
            at += len(lines)
            yield from (_stamp(when) + b" " + text for when, text in lines if when >= since)
            if not lines or not follow:
                return


class Pod:
    def __init__(self, kubelet, namespace, name):
        self.kubelet, self.name, self.api = kubelet, name, Api(kubelet.api.connection, namespace)
        self.key = (namespace, name, "main")
        self.clock = time.time_ns()

    @property
    def starts(self):
        return self.kubelet.containers[self.key]

    def write(self, text, later_ns=1_000_000, end="\n"):
        """The container writes a line, some nanoseconds after the one before (0: at the same time)."""
        with self.kubelet.changed:
            self.clock += later_ns
            self.starts[-1]["lines"].append((self.clock, (text + end).encode()))
            self.kubelet.changed.notify_all()

    def end(self, code=0, phase="Succeeded"):
        """The container ends; the kubelet knows it at once, the API server some time later."""
        with self.kubelet.changed:
            self.starts[-1]["ended"] = True
            self.kubelet.changed.notify_all()
        time.sleep(self.kubelet.status_lag_s)
        self.report(phase, code)

    def restart(self, code=1):
        """The container ends and is started again; of its starts the kubelet keeps two."""
        with self.kubelet.changed:
            self.starts[-1]["ended"] = True
            self.starts.append(_start())
            self.starts[:-2] = [{"lines": [], "ended": True}] * (len(self.starts) - 2)
            self.kubelet.changed.notify_all()
        time.sleep(self.kubelet.status_lag_s)
        self.report("Running", code)

    def report(self, phase, code=0):
        """Tell the API server how the container is."""
        now, count = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), len(self.starts) - 1
        ended = {"terminated": {"exitCode": code, "startedAt": now, "finishedAt": now}}
        running = phase == "Running"
        state, last = ({"running": {"startedAt": now}}, dict(ended)) if running else (dict(ended), {})
        for each, start in ((last, count - 1), (state, count)):
            if "terminated" in each:
                each["terminated"] = each["terminated"] | {"containerID": f"test://{self.name}-{start}"}
        container = {"name": "main", "image": "image", "imageID": "", "restartCount": count, "ready": running}
        container |= {"containerID": f"test://{self.name}-{count}", "state": state, "lastState": last if count else {}}
        status = {"phase": phase, "containerStatuses": [container]}
        self.api.patch("v1", "Pod", self.name, {"status": status}, subresource="status")

    def delete(self):
        self.api.delete("v1", "Pod", self.name)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):  # noqa: N802
        split = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(split.query).items()}
        self.kubelet.answers += 1
        if self.kubelet.is_down:
            self.close_connection = True
            return None
        try:
            lines = self.kubelet.answer(tuple(split.path.split("/")[2:5]), query)
        except LookupError as error:
            return self.refuse(str(error).encode())
        try:
            self.send(lines)
        except OSError:  # the API server, its client, or this kubelet went away
            self.close_connection = True

    def send(self, lines):
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        budget = self.kubelet.cut()
        for line in lines:
            part = line if budget is None else line[:budget]
            if part:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
            if budget is not None and len(line) >= budget:
                self.kubelet.broken += 1
                self.close_connection = True
                return
            budget = None if budget is None else budget - len(line)
        self.wfile.write(b"0\r\n\r\n")

    def refuse(self, text):
        self.send_response(400)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *arguments):
        pass


def _start():
    return {"lines": [], "ended": False}


def _stamp(nanoseconds):
    """RFC 3339 with nine digits, as the container runtime writes it."""
    seconds, rest = divmod(nanoseconds, 10**9)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z".encode()
