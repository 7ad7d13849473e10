"""A kubelet that also runs commands: kubelet.py's, with /exec over a WebSocket (v4.channel.k8s.io), as kubelets serve it.

Commands run on this machine; where they say /work they get the folder that stands for the volume.
"""

import base64
import hashlib
import json
import struct
import subprocess
import sys
import threading
import time
from urllib.parse import parse_qs, urlsplit

from fino1.k8s.cluster.client import Api
from tests.cluster.kubelet import Kubelet, _Handler

MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class ExecKubelet(Kubelet):
    def __init__(self, api, folder, volume):
        self.volume, self.commands = volume, []
        self.limit = None  # bytes of standard output until the connection breaks; None: it does not
        super().__init__(api, folder)
        self.server.RequestHandlerClass = type("Handler", (_ExecHandler,), {"kubelet": self})

    def play(self, namespace, selector, status):
        """Take the next pod that matches to this node, and give its containers this status; returns the pod then."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            for pod in self.api.list("v1", "Pod", label_selector=selector, namespace=namespace):
                name = pod["metadata"]["name"]
                self.bind(namespace, name)
                containers = [_status(c["name"], status) for c in pod["spec"]["containers"]]
                body = {"status": {"phase": "Running", "containerStatuses": containers}}
                Api(self.api.connection, namespace).patch("v1", "Pod", name, body, subresource="status")
                return pod
            time.sleep(0.05)
        raise AssertionError(f"no pod {selector}")

    def play_later(self, *arguments):
        seen = []
        thread = threading.Thread(target=lambda: seen.append(self.play(*arguments)), daemon=True)
        thread.start()
        return seen

    def bind(self, namespace, name):
        target = {"apiVersion": "v1", "kind": "Node", "name": self.node}
        body = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}, "target": target}
        self.api.connection.ask("POST", f"/api/v1/namespaces/{namespace}/pods/{name}/binding", body=body)


def _status(name, state):
    return {
        "name": name,
        "image": "image",
        "imageID": "",
        "restartCount": 0,
        "ready": "running" in state,
        "state": state,
    }


class _ExecHandler(_Handler):
    def do_GET(self):  # noqa: N802
        split = urlsplit(self.path)
        if not split.path.startswith("/exec/"):
            return super().do_GET()
        command = parse_qs(split.query)["command"]
        self.kubelet.commands.append((split.path, command))
        key = self.headers["Sec-WebSocket-Key"].encode()
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Protocol", "v4.channel.k8s.io")
        self.send_header("Sec-WebSocket-Accept", base64.b64encode(hashlib.sha1(key + MAGIC).digest()).decode())
        self.end_headers()
        self.close_connection = True
        here = {"python3": sys.executable, "/work": str(self.kubelet.volume)}
        self.run([here.get(word, word) for word in command])

    def run(self, command):
        ran = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        message = self.read_frame()
        assert message[:1] == b"\0"
        ran.stdin.write(message[1:])
        ran.stdin.flush()
        left = self.kubelet.limit
        self.frame(1, b"")  # containerd's first message
        while data := ran.stdout.read(1 << 15):
            self.frame(1, data if left is None else data[:left])
            if left is not None:
                left -= len(data)
                if left <= 0:
                    ran.kill()
                    ran.communicate()
                    return
        _, errors = ran.communicate()
        if errors:
            self.frame(2, errors)
        self.frame(3, json.dumps(_ended(ran.returncode)).encode())
        self.wfile.write(b"\x88\x02\x03\xe8")  # close, 1000

    def read_frame(self):
        _, size = self.rfile.read(2)
        size &= 0x7F  # the first bit says that it is masked
        if size > 125:
            size = int.from_bytes(self.rfile.read(2 if size == 126 else 8))
        mask = self.rfile.read(4)
        return bytes(byte ^ mask[i % 4] for i, byte in enumerate(self.rfile.read(size)))

    def frame(self, channel, data):
        size = len(data) + 1
        header = bytes([0x82]) + (bytes([size]) if size < 126 else b"\x7e" + struct.pack(">H", size))
        self.wfile.write(header + bytes([channel]) + data)


def _ended(code):
    if code == 0:
        return {"metadata": {}, "status": "Success"}
    causes = [{"reason": "ExitCode", "message": str(code)}]
    text = f"command terminated with non-zero exit code: exit status {code}"
    return {"status": "Failure", "reason": "NonZeroExitCode", "message": text, "details": {"causes": causes}}
