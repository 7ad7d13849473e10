"""Runs the pods of one namespace on this machine: their own arguments and config.json, on a folder that stands for /work.

Pods that ask for GPUs only run on and on. `asked` counts what the models were asked, by their names.
"""

import json
import os
import subprocess
import sys
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from fino1.k8s.cluster.errors import ApiError

ROOT = Path(__file__).parents[2]


class Models(ThreadingHTTPServer):
    """One server for all models: counts questions, refuses those of a model that is `down`."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Answer)
        self.asked, self.down = Counter(), set()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/v1"

    def take(self):
        """What was asked since the last call."""
        asked, self.asked = dict(self.asked), Counter()
        return asked


class _Answer(BaseHTTPRequestHandler):
    def do_POST(self):  # noqa: N802
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        is_down = body["model"] in self.server.down
        if not is_down:
            self.server.asked[body["model"]] += 1
        message = {"role": "assistant", "content": "## Thinking\n\nNone.\n\n## Final Response\n\n42"}
        answer = {"id": "1", "object": "chat.completion", "created": 1, "model": body["model"]}
        answer["choices"] = [{"index": 0, "message": message, "finish_reason": "stop"}]
        answer["usage"] = {"prompt_tokens": 9, "completion_tokens": 9, "total_tokens": 18}
        data = json.dumps({"error": {"message": "no such key"}} if is_down else answer).encode()
        self.send_response(401 if is_down else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *arguments):
        pass


class Kubelet(threading.Thread):
    def __init__(self, api, folder):
        super().__init__(daemon=True)
        self.api, self.folder, self.work = api, folder, folder / "work"
        self.over = threading.Event()
        self.running = {}  # uid → process; None: it only runs on, or has ended and been reported
        self.holds = True  # pods with GPUs only run on
        (folder / "bin").mkdir(parents=True)
        program = folder / "bin" / "fino1"
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -m fino1 "$@"\n')
        program.chmod(0o755)
        self.work.mkdir()

    def run(self):
        while not self.over.wait(0.3):
            pods = {pod["metadata"]["uid"]: pod for pod in self.api.list("v1", "Pod")}
            for uid in self.running.keys() - pods.keys():
                self.end(uid)
            for uid, pod in pods.items():
                try:
                    self.look(uid, pod)
                except ApiError as error:  # it was deleted meanwhile
                    if error.status not in (404, 409):
                        raise

    def look(self, uid, pod):
        if uid not in self.running:
            self.running[uid] = self.begin(pod)
            self.report(pod, "Running", {"running": {}})
        elif (process := self.running[uid]) and (code := process.poll()) is not None:
            state = {"terminated": {"exitCode": code, "reason": "Error" if code else "Completed"}}
            self.report(pod, "Failed" if code else "Succeeded", state)
            self.running[uid] = None

    def begin(self, pod):
        (container,) = pod["spec"]["containers"]
        if self.holds and "nvidia.com/gpu" in container.get("resources", {}).get("limits", {}):
            return None
        place = self.folder / pod["metadata"]["name"]
        place.mkdir()
        words = [*container.get("command", ["fino1"]), *container["args"]]
        words = [str(self.work) if word == "/work" else word for word in words]
        if full := pod["metadata"]["labels"].get("fino1/run"):
            for name, text in self.api.get("v1", "ConfigMap", full)["data"].items():
                (place / name).write_text(text)
            words = [word.replace("/etc/fino1", str(place)) for word in words] + ["--work", str(self.work)]
        given = {each["name"]: each["value"] for each in container["env"] if "value" in each}
        given = {name: value for name, value in given.items() if name.startswith(("FINO1_", "PET_"))}
        path = f"{self.folder / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        environment = os.environ | given | {"PATH": path, "PYTHONPATH": str(ROOT)}
        with (place / "log").open("w") as log:
            return subprocess.Popen(words, env=environment, stdout=log, stderr=log, cwd=place)

    def report(self, pod, phase, state):
        """Tell the API server how the pod's one container is."""
        name = pod["spec"]["containers"][0]["name"]
        container = {"name": name, "image": "image", "imageID": "", "restartCount": 0, "ready": False, "state": state}
        status = {"phase": phase, "containerStatuses": [container]}
        self.api.patch("v1", "Pod", pod["metadata"]["name"], {"status": status}, subresource="status")

    def end(self, uid):
        if process := self.running.pop(uid):
            process.terminate()
            process.wait()

    def close(self):
        self.over.set()
        self.join()
        for uid in list(self.running):
            self.end(uid)

    def log(self, pod):
        return (self.folder / pod / "log").read_text()
