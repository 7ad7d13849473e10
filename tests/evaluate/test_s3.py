"""Cells in a real S3 server on loopback, moto's, which cannot be reached for a while. `make test-s3` has what it needs."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from importlib.util import find_spec

import pytest

from fino1 import cells, exits, runs
from fino1.errors import SpecError
from fino1.evaluate import endpoint, store
from fino1.evaluate.main import main
from fino1.evaluate.store import StoreLost
from tests.evaluate.forks import Fork
from tests.evaluate.test_main import N, only_cell, samples_of, spec_of

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (find_spec("moto") and find_spec("s3fs")), reason="make test-s3"),
]


class Gate:
    """Passes connections on to a port while it is open; shut, it refuses them and cuts those that are there."""

    def __init__(self, target):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.target, self.cut = target, []
        self.open()

    def open(self):
        self.listener = socket.create_server(("127.0.0.1", self.port), backlog=64)
        threading.Thread(target=self.accept, args=(self.listener,), daemon=True).start()

    def shut(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for each in self.cut:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        self.cut.clear()

    def accept(self, listener):
        with contextlib.suppress(OSError):
            while True:
                here, _ = listener.accept()
                there = socket.create_connection(("127.0.0.1", self.target))
                self.cut += [here, there]
                for pair in ((here, there), (there, here)):
                    threading.Thread(target=self.copy, args=pair, daemon=True).start()

    def copy(self, source, sink):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_RDWR)


@pytest.fixture(scope="module")
def gate():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(600):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            assert server.poll() is None
            time.sleep(0.1)
        yield Gate(port)
    finally:
        server.kill()
        server.wait()


@pytest.fixture
def url(gate, monkeypatch, request):
    """A bucket of the test's own."""
    import s3fs

    environment = {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{gate.port}", "AWS_DEFAULT_REGION": "us-east-1"}
    environment |= {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(endpoint, "FIRST_PAUSE_S", 0.01)
    bucket = request.node.name.replace("_", "-")
    s3fs.S3FileSystem(skip_instance_cache=True).mkdir(bucket)
    return f"s3://{bucket}/evaluations"


def objects(url):
    import s3fs

    found = s3fs.S3FileSystem(skip_instance_cache=True, use_listings_cache=False).find(url)
    return sorted(name.rpartition("/")[2] for name in found)


def batches(url):
    return [name for name in objects(url) if name.startswith("samples-")]


def test_a_finished_cell_is_there_for_another_machine(right, tmp_path, url):
    spec = spec_of(right, store=url)
    assert main(spec, "eval", tmp_path / "a") == 0
    assert objects(url) == [".fino1", "cell.json", "samples.jsonl"]
    assert main(spec, "eval", tmp_path / "b") == 0
    assert right.asked.total() == N
    assert cells.read_cell(only_cell(tmp_path / "a")) == cells.read_cell(only_cell(tmp_path / "b"))


def test_gone_for_a_while(right, tmp_path, url, gate):
    right.delay_s = 0.1
    spec, codes = spec_of(right, store=url, concurrency=2), []
    thread = threading.Thread(target=lambda: codes.append(main(spec, "eval", tmp_path)))
    thread.start()
    while right.asked.total() < 5:
        time.sleep(0.01)
    gate.shut()
    time.sleep(2.0)
    asked = right.asked.total()
    time.sleep(3.0)
    assert right.asked.total() == asked < N  # nobody is asked while answers cannot be kept
    gate.open()
    thread.join(120)
    assert codes == [0]
    assert set(right.answered.values()) == {1}
    assert objects(url) == [".fino1", "cell.json", "samples.jsonl"]


def test_gone_for_good_then_back(right, tmp_path, url, gate, monkeypatch):
    right.delay_s = 0.1
    monkeypatch.setattr(store, "PATIENCE_S", 2.0)
    spec, lost = spec_of(right, store=url, concurrency=2), []

    def run():
        with pytest.raises(StoreLost) as caught:
            main(spec, "eval", tmp_path)
        lost.append(caught.value.exit_code)

    thread = threading.Thread(target=run)
    thread.start()
    while right.asked.total() < 5:
        time.sleep(0.01)
    gate.shut()
    thread.join(120)
    gate.open()
    assert lost == [exits.ENDPOINT_LOST]
    assert len(samples_of(only_cell(tmp_path))) == right.asked.total()  # what was under way too
    assert main(spec, "eval", tmp_path) == 0
    assert set(right.answered.values()) == {1}


def test_a_killed_machine_whose_disk_is_gone(right, tmp_path, url):
    right.delay_s = 0.1
    spec = spec_of(right, store=url, concurrency=2)
    runs.write_config(tmp_path / "config.json", spec)
    arguments = ["evaluate", "--config", tmp_path / "config.json", "--name", "eval", "--work"]
    process = Fork([*arguments, tmp_path / "a"], dict(os.environ))
    while len(there := batches(url)) < 3:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait(60)
    shutil.rmtree(tmp_path / "a")
    assert Fork([*arguments, tmp_path / "b"], dict(os.environ)).wait(120) == 0
    assert len(there) >= 3
    assert len(right.answered) == N
    assert right.answered.total() <= N + 2  # of each thread what was under way, or was being written


def test_a_bucket_that_is_not_there_is_told_before_a_request(right, tmp_path, url):
    with pytest.raises(SpecError, match="eval.store: expected a store that can be written and read, got s3://nobody"):
        main(spec_of(right, store="s3://nobody/x"), "eval", tmp_path)
    assert right.asked.total() == 0
