"""The restart table of docs/design.md C5, with real child processes."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from fino1 import exits, runs
from fino1.errors import SpecError
from fino1.local import run as local
from fino1.local.run import LocalRun, check, run_to_end
from fino1.spec import load

PYTHON = sys.executable  # before a test changes it


def spec(**changes):
    return load.build(load.merge({"method": "sft", "gpus_per_node": 0, "data": {"task": "ledger"}}, changes), "F")


class Children:
    """Makes the children small scripts; each start adds a line to `starts`."""

    def __init__(self, place: Path) -> None:
        self.place, self.script = place, place / "child"

    def do(self, body: str) -> None:
        log = self.place / "starts"
        self.script.write_text(
            f"#!{PYTHON}\nimport os, signal, sys, time\nfrom pathlib import Path\n"
            f"log = open({str(log)!r}, 'a')\nlog.write(f'{{time.monotonic()}} {{os.getpid()}}\\n')\nlog.close()\n"
            f"attempt = len(open({str(log)!r}).readlines())\n{body}\n"
        )
        self.script.chmod(0o755)

    @property
    def starts(self) -> list[tuple[float, int]]:
        path = self.place / "starts"
        lines = path.read_text().splitlines() if path.exists() else []
        return [(float(line.split()[0]), int(line.split()[1])) for line in lines if line.count(" ") == 1]

    def wait_for(self, count: int) -> None:
        deadline = time.monotonic() + 20
        while len(self.starts) < count:
            assert time.monotonic() < deadline, self.starts
            time.sleep(0.01)


@pytest.fixture
def children(tmp_path, monkeypatch):
    made = Children(tmp_path)
    monkeypatch.setattr(sys, "executable", str(made.script))
    monkeypatch.setattr(local, "_PAUSE_S", 0.02)
    return made


def run(tmp_path, **changes):
    return LocalRun(spec(**changes), "x", tmp_path)


@pytest.mark.parametrize("code", [0, 1, 2, 74, 126])
def test_ends_that_are_final(children, tmp_path, code):
    children.do(f"sys.exit({code})")
    assert run_to_end(run(tmp_path), []) == code
    assert len(children.starts) == 1


@pytest.mark.parametrize(
    ("end", "code"),
    [
        ("sys.exit(145)", 145),
        ("sys.exit(143)", 143),
        ("os.kill(os.getpid(), signal.SIGKILL)", 137),
        ("os.kill(os.getpid(), signal.SIGTERM)", 143),
        ("os.kill(os.getpid(), signal.SIGSEGV)", 139),
    ],
)
def test_ends_that_are_tried_again(children, tmp_path, monkeypatch, end, code):
    monkeypatch.setattr(local, "RESTARTS", 2)
    children.do(end)
    assert run_to_end(run(tmp_path), []) == code
    assert len(children.starts) == 3


def test_the_third_attempt_succeeds(children, tmp_path, capsys):
    children.do("sys.exit(0 if attempt == 3 else 137)")
    assert run_to_end(run(tmp_path), []) == 0
    assert len(children.starts) == 3
    assert len({pid for _, pid in children.starts}) == 3
    said = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"x: ended with 137 \(killed .*\); attempt 2 in 0 s", said[0])
    assert len(said) == 2


def test_a_final_end_after_others_is_final(children, tmp_path):
    children.do("sys.exit(2 if attempt == 2 else 137)")
    assert run_to_end(run(tmp_path), []) == 2
    assert len(children.starts) == 2


def test_pauses_grow(children, tmp_path, monkeypatch):
    monkeypatch.setattr(local, "_PAUSE_S", 0.2)
    monkeypatch.setattr(local, "RESTARTS", 3)
    children.do("sys.exit(137)")
    assert run_to_end(run(tmp_path), []) == 137
    times = [at for at, _ in children.starts]
    pauses = [after - before for before, after in zip(times, times[1:], strict=False)]
    assert [pause >= least for pause, least in zip(pauses, (0.2, 0.4, 0.8), strict=True)] == [True] * 3


def test_the_limit_is_a_job_s():
    assert local.RESTARTS == 6


def test_what_the_child_is_given(children, tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    for name in ("OMP_NUM_THREADS", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    out = tmp_path / "out"
    names = ["PET_NNODES", "PET_NPROC_PER_NODE", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "HF_HUB_OFFLINE"]
    children.do(
        f"Path({str(out)!r}).write_text(repr((sys.argv[1:], [os.environ.get(n) for n in {names}], os.getsid(0))))"
    )
    mine = LocalRun(spec(processes_per_node=2, offline=True), "x", tmp_path, source="x.yaml")
    assert run_to_end(mine, []) == 0
    arguments, environment, session = eval(out.read_text())  # noqa: S307, we wrote it
    config = str(mine.directory / "config.json")
    expected = ["--config", config, "--name", "x", "--work", str(tmp_path), "--source", "x.yaml"]
    assert arguments == ["-m", "fino1", "train", *expected]
    assert environment == ["1", "2", "", "1", "1"]
    assert session != os.getsid(0)  # Ctrl-C is for us alone
    assert mine.directory == runs.directory(tmp_path, "x", mine.spec)


def test_a_finished_run_is_not_started(children, tmp_path):
    children.do("sys.exit(1)")
    first = run(tmp_path)
    first.directory.mkdir(parents=True)
    (first.directory / "done.json").write_text("{}")
    assert run_to_end(run(tmp_path), []) == 0
    assert children.starts == []


TERM = "\n".join(
    [
        "caught = open(str(Path(__file__).parent / 'caught'), 'a')",
        "def on(number, frame): caught.write('x'); caught.flush()",
        "signal.signal(signal.SIGTERM, on)",
        "Path(__file__).with_name('ready').touch()",
        "end = time.monotonic() + 20",
        "while time.monotonic() < end and not (Path(__file__).parent / 'caught').read_text(): time.sleep(0.02)",
        "time.sleep(0.3)",
        "sys.exit(143)",
    ]
)


def later(condition, act) -> threading.Thread:
    def wait():
        deadline = time.monotonic() + 20
        while not condition() and time.monotonic() < deadline:
            time.sleep(0.02)
        act()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def send(number: int) -> None:
    if "on_signal" in repr(signal.getsignal(number)):  # else it would end the tests
        os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_passed_on_once(children, tmp_path, number):
    children.do(TERM)

    def act():
        for _ in range(2):
            send(number)
            time.sleep(0.15)

    before = signal.getsignal(signal.SIGTERM)
    thread = later((tmp_path / "ready").exists, act)
    assert run_to_end(run(tmp_path), []) == exits.of_signal(number)
    thread.join()
    assert (tmp_path / "caught").read_text() == "x"
    assert len(children.starts) == 1
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_signal_reaches_those_beside_and_they_are_waited_for(children, tmp_path):
    children.do(TERM)
    one, two = LocalRun(spec(), "one", tmp_path), LocalRun(spec(), "two", tmp_path, log=tmp_path / "logs" / "two.log")
    thread = later(
        lambda: len(children.starts) == 2 and (tmp_path / "ready").exists(), lambda: os.kill(os.getpid(), 15)
    )
    time.sleep(0.1)
    two.poll()
    assert run_to_end(one, [two]) == 143
    thread.join()
    assert two.poll() == 143
    assert not [pid for _, pid in children.starts if Path(f"/proc/{pid}/cmdline").exists() and not is_zombie(pid)]


def is_zombie(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def test_stopped_while_it_waits_to_start_again(children, tmp_path, monkeypatch):
    monkeypatch.setattr(local, "_PAUSE_S", 0.5)
    children.do("sys.exit(137)")
    mine = run(tmp_path)
    while mine._attempts == 0:
        mine.poll()
    mine.stop()
    time.sleep(0.6)
    assert mine.poll() == 137
    assert len(children.starts) == 1


def test_stopped_before_it_started(children, tmp_path):
    children.do("sys.exit(0)")
    mine = run(tmp_path)
    mine.stop()
    assert mine.poll() == 143
    assert children.starts == []


PARENT = """
import sys
from pathlib import Path
from fino1.spec import load
from fino1.local.run import LocalRun, run_to_end
script, work = sys.argv[1:]
sys.executable = script
spec = load.build({"method": "sft", "gpus_per_node": 0, "data": {"task": "ledger"}}, "F")
sys.exit(run_to_end(LocalRun(spec, "x", Path(work)), []))
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -9), (signal.SIGTERM, 143)])
def test_the_child_ends_with_its_parent(children, tmp_path, number, code):
    children.do(TERM)
    with subprocess.Popen([PYTHON, "-c", PARENT, str(children.script), str(tmp_path)]) as parent:
        children.wait_for(1)
        while not (tmp_path / "ready").exists():
            time.sleep(0.02)
        parent.send_signal(number)
    assert parent.returncode == code
    (_, pid) = children.starts[0]
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists() and not is_zombie(pid):
        assert time.monotonic() < deadline, "the child outlived its parent"
        time.sleep(0.05)
    assert (tmp_path / "caught").read_text() == "x"


def test_more_than_this_machine_has():
    with pytest.raises(SpecError) as caught:
        check(spec(gpus_per_node=64, nodes=1), "F")
    assert caught.value.problems[0].startswith("F: gpus_per_node: expected at most ")
    assert caught.value.problems[0].endswith("got 64 (0 runs on the CPU)")
    with pytest.raises(SpecError) as caught:
        check(spec(gpus_per_node=32, nodes=2), "F")
    assert len(caught.value.problems) == 2
    assert caught.value.problems[0] == "F: nodes: expected 1 on this machine, got 2"
    assert SpecError.exit_code == 2
    check(spec(), "F")
