"""Which faults does an endpoint have, and what comes of each? test_faults.py, or this as a program, prints the table.

Every scenario is a server of its own and one or two runs of `fino1 evaluate` against it.
"""

import contextlib
import json
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import SHUT_RDWR, SO_LINGER, SOL_SOCKET

from fino1 import exits, runs
from fino1.spec import load
from fino1.tasks import ledger
from tests.evaluate.forks import Fork

SAMPLES, CONCURRENCY, TIMEOUT_S = 40, 4, 8.0
SECRET = "sk-fault-0123456789"
USED = {"prompt_tokens": 90, "completion_tokens": 10, "total_tokens": 100}


class Shop(ThreadingHTTPServer):
    """Sells answers. `fault(row, number)` says how request `number` (from 1) for a row goes wrong, None: it is answered.

    With `reply`, which maps prompts to answers, a row is its prompt; without, it is the number of a row of `ledger`.
    It knows the Idempotency-Key: what it has answered once under a key it sends again, and charges once (`charged`).
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, fault, port=0, past=None, reply=None):
        super().__init__(("127.0.0.1", port), Till)
        self.fault, self.reply = fault, reply
        self.rows = {ledger.TASK.prompt(r): i for i, r in enumerate(ledger.generate("test", n=SAMPLES, seed=42))}
        self.lock = threading.Lock()
        self.asked, self.charged, self.completed = past or (Counter(), Counter(), Counter())
        self.after = 0  # requests for rows whose answer was sent whole
        self.kept = {}
        self.busy = self.busiest = 0
        self.connections = set()
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def handle_error(self, request, client_address):
        pass  # clients that hang up are part of the tests

    def wait(self, answers, seconds=400.0):
        """Until so many answers were sent."""
        deadline = time.monotonic() + seconds
        while self.completed.total() < answers:
            assert time.monotonic() < deadline, "waited too long"
            time.sleep(0.02)

    def end(self):
        """As a process ends: nobody listens, and every connection is cut."""
        self.shutdown()
        self.server_close()
        for connection in list(self.connections):
            with contextlib.suppress(OSError):
                connection.shutdown(SHUT_RDWR)


class Till(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def setup(self):
        super().setup()
        self.server.connections.add(self.connection)

    def log_message(self, *arguments):
        pass

    def do_POST(self):
        shop = self.server
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        prompt = body["messages"][-1]["content"]
        row = prompt if shop.reply else shop.rows[prompt]
        with shop.lock:
            shop.asked[row] += 1
            shop.after += shop.completed[row] > 0
            number = shop.asked[row]
            shop.busy += 1
            shop.busiest = max(shop.busy, shop.busiest)
        try:
            time.sleep(0.02)
            self.answer(row, shop.fault(row, number))
        finally:
            with shop.lock:
                shop.busy -= 1

    def answer(self, row, fault):
        match fault:
            case None:
                self.sell(row)
            case ("slow", seconds):  # alive all the while, as DeepSeek's queue is: blank lines before the answer
                self.sell(row, seconds)
            case ("role", role):
                self.sell(row, role=role)
            case ("says", text):
                self.sell(row, text=text)
            case ("late", seconds):  # after the client has left; the answer is charged
                time.sleep(seconds)
                self.charge(row)
                self.close_connection = True
            case ("hang", seconds):
                time.sleep(seconds)
                self.close_connection = True
            case "reset":  # the answer is made, and its second half lost
                data = self.charge(row)
                self.head(200, len(data))
                self.wfile.write(data[: len(data) // 2])
                self.wfile.flush()
                self.connection.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
                self.close_connection = True
            case "truncated":
                self.send(200, self.charge(row)[:-20])
            case "empty":
                self.send(200, json.dumps({"id": "x", "object": "chat.completion", "choices": []}).encode())
            case "html":
                self.send(200, b"<html>busy</html>", {"content-type": "text/html"})
            case (status, headers):
                self.refuse(status, headers)

    def refuse(self, status, headers):
        said = f"no ({self.headers['authorization']})"  # it quotes the key
        self.send(status, json.dumps({"error": {"message": said}}).encode(), headers)

    def charge(self, row, role="assistant", text=None):
        key = self.headers["idempotency-key"]
        if text is None:
            text = self.server.reply(row) if self.server.reply else "42"
        reply = {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "usage": USED}
        choice = {"index": 0, "message": {"role": role, "content": text}, "finish_reason": "stop"}
        with self.server.lock:
            if key not in self.server.kept:
                self.server.charged[row] += 1
            self.server.kept[key] = json.dumps(reply | {"choices": [choice]}).encode()
            return self.server.kept[key]

    def sell(self, row, seconds=0.0, **message):
        data = self.charge(row, **message)
        blank = b"\n" * round(seconds / 0.5)
        self.head(200, len(blank) + len(data))
        for _ in blank:
            self.wfile.write(b"\n")
            self.wfile.flush()
            time.sleep(0.5)
        self.wfile.write(data)
        self.wfile.flush()
        with self.server.lock:
            self.server.completed[row] += 1

    def head(self, status, length, headers=None):
        self.send_response(status)
        for name, value in ({"content-type": "application/json"} | (headers or {})).items():
            self.send_header(name, value)
        self.send_header("content-length", str(length))
        self.end_headers()

    def send(self, status, data, headers=None):
        self.head(status, len(data), headers)
        self.wfile.write(data)
        self.wfile.flush()


def some(fault, every=8, attempts=1):
    """This fault at the first attempts for every so-manieth row."""
    return lambda row, number: (
        (fault() if callable(fault) else fault) if row % every == 0 and number <= attempts else None
    )


def together():
    """No fault, but the first answers are held back until as many questions are asked as may be at once."""
    barrier = threading.Barrier(CONCURRENCY)

    def wait(row, number):
        if row < CONCURRENCY:
            barrier.wait(60)

    return wait


def mixed(row, number):
    """One fault or another at the first attempt for half of the rows."""
    kinds = [(503, {}), "reset", (429, {"retry-after": "0.2"}), "empty", (500, {})]
    return kinds[row // 2 % len(kinds)] if row % 2 == 0 and number == 1 else None


@dataclass
class Scenario:
    """A fault, the codes that the runs end with (the second meets a server without it), and what is done meanwhile."""

    name: str
    fault: Callable
    codes: tuple[int, ...] = (exits.DONE,)
    kill: int | None = None
    dies: bool = False
    capped: bool = False
    small_disk: bool = False
    budgets: tuple[dict | None, ...] = (None, None)
    block: dict = field(default_factory=dict)


SCENARIOS = [
    Scenario("none", together(), block={"timeout_s": 90}),
    Scenario("429, Retry-After in seconds", some((429, {"retry-after": "1"}), every=16)),
    Scenario(
        "429, Retry-After a date", some(lambda: (429, {"retry-after": formatdate(time.time() + 2, usegmt=True)}), 16)
    ),
    Scenario("429, Retry-After in ms", some((429, {"retry-after-ms": "300"}))),
    Scenario("429 without Retry-After", some((429, {}))),
    Scenario("429, Retry-After over the cap", some((429, {"retry-after": "86400"}), every=16), capped=True),
    Scenario("500", some((500, {}))),
    Scenario("502", some((502, {}))),
    Scenario("503, three times", some((503, {}), 8, 3)),
    Scenario("529, Retry-After", some((529, {"retry-after": "0.3"}))),
    Scenario("accepted, never answered", some(("hang", TIMEOUT_S + 1), every=16)),
    Scenario("answered after the time-out", some(("late", TIMEOUT_S + 1), every=16)),
    Scenario("reset in the body", some("reset")),
    Scenario("truncated JSON", some("truncated")),
    Scenario("empty choices", some("empty")),
    Scenario("HTML with status 200", some("html")),
    Scenario("slow, over the time-out, alive", some(("slow", TIMEOUT_S + 1), every=16)),
    Scenario("another role", lambda row, number: ("role", ("user", "tool", "boss", None)[row % 4])),
    Scenario("answers of 10 MB", some(("says", "x" * 10**7), every=16)),
    Scenario("server dies and comes back", some(None), dies=True),
    Scenario("401 from some row on", lambda row, number: (401, {}) if row >= 20 else None, (exits.USER, exits.DONE)),
    Scenario("404 at once", some((404, {}), 1, 99), (exits.USER, exits.DONE)),
    Scenario("400 for one row", lambda row, number: (400, {}) if row == 20 else None, (exits.USER, exits.DONE)),
    Scenario(
        "503 for ever from some row on",
        lambda row, number: (503, {}) if row >= 20 else None,
        (exits.ENDPOINT_LOST, exits.DONE),
        block={"max_retries": 1},
    ),
    Scenario("SIGTERM among faults", mixed, (exits.TERMINATED, exits.DONE), kill=signal.SIGTERM),
    Scenario("SIGKILL among faults", mixed, (exits.KILLED, exits.DONE), kill=signal.SIGKILL),
    Scenario(
        "budget of tokens spent",
        mixed,
        (exits.USER, exits.DONE),
        budgets=({"tokens": 4000}, {"tokens": 10**6}),
    ),
    Scenario(
        "budget of dollars spent",
        some((500, {})),
        (exits.USER, exits.DONE),
        budgets=({"dollars": 0.008}, {"dollars": 1}),
    ),
    Scenario("disk full", some(None), (exits.DISK, exits.DONE), small_disk=True),
]


@dataclass
class Outcome:
    """What became of a scenario, in figures."""

    codes: list[int]
    lost: int
    twice: int
    requests: int
    after: int
    charged: int
    busiest: int
    text: str
    cost: dict
    kept: list[int]


def play(scenario: Scenario, folder: Path) -> Outcome:
    """Run the scenario to its end, and count."""
    with contextlib.ExitStack() as stack:
        if scenario.small_disk:
            stack.enter_context(small_disk(folder / "cells"))
        return play_all(scenario, folder)


def play_all(scenario: Scenario, folder: Path) -> Outcome:
    """Run the attempts; a disk that the first one filled has room at the second."""
    shop = Shop(scenario.fault)
    codes, kept = [], []
    for attempt, expected in enumerate(scenario.codes):
        if attempt and scenario.kill is None:
            shop.fault = some(None)
        if attempt and scenario.small_disk:
            mount("remount,size=4m", folder / "cells")
        process = start(scenario, shop, folder, scenario.budgets[attempt])
        if scenario.dies:
            shop = come_back(shop)
        if scenario.kill and attempt == 0:
            shop.wait(12)
            process.send_signal(scenario.kill)
        code = process.wait(900)
        codes.append(code if code >= 0 else 128 - code)
        lines = samples(folder)
        kept.append(len(lines))
        if codes[-1] != expected:
            break
    shop.end()
    names = [line["id"] for line in lines]
    about = next((json.loads(p.read_text()) for p in folder.glob("cells/*/cell.json")), {})
    everything = "".join(p.read_text() for p in folder.rglob("*") if p.is_file())
    return Outcome(
        codes=codes,
        lost=SAMPLES - len(set(names)),
        twice=len(names) - len(set(names)),
        requests=shop.asked.total(),
        after=shop.after,
        charged=shop.charged.total(),
        busiest=shop.busiest,
        text=everything,
        cost=about.get("cost", {}),
        kept=kept,
    )


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """A disk that has room for some of the answers. Raises OSError where nothing can be mounted."""
    folder.mkdir()
    mount("size=36k", folder)
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


def mount(options: str, folder: Path) -> None:
    ran = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, text=True)
    if ran.returncode:
        raise OSError(ran.stderr.strip())


def start(scenario, shop, folder, budget):
    model = {"name": "m", "base_url": f"http://127.0.0.1:{shop.server_port}/v1", "api_key_env": "FAULT_KEY"}
    block = {
        "models": [model | {"price": {"input": 2, "output": 10}}],
        "tasks": [{"task": "ledger", "size": SAMPLES}],
        "max_tokens": 64,
        "concurrency": CONCURRENCY,
        "timeout_s": TIMEOUT_S,
        "budget": budget,
    }
    spec = load.build({"method": "eval", "eval": block | scenario.block}, "test")
    runs.write_config(folder / "config.json", spec)
    arguments = ["evaluate", "--config", folder / "config.json", "--work", folder, "--name", "eval"]
    cap = 0.5 if scenario.capped else None
    return Fork(arguments, {"FAULT_KEY": SECRET}, folder / "printed", cap)


def come_back(shop):
    """The server ends after some answers, whatever is under way, and another takes its place and memory."""
    shop.wait(12)
    shop.end()
    time.sleep(1.0)
    after = Shop(shop.fault, shop.server_port, (shop.asked, shop.charged, shop.completed))
    after.kept, after.busiest = shop.kept, shop.busiest
    return after


def samples(folder):
    return [json.loads(line) for path in folder.glob("cells/*/samples*.jsonl") for line in whole_lines(path)]


def whole_lines(path):
    return path.read_bytes().split(b"\n")[:-1]


def rows(scenarios: list[Scenario], folder: Path, at_once: int = 4) -> Iterator[tuple[str, Future]]:
    """Play scenarios beside each other, most of whose time is waiting; print the table as they end."""
    print("\n| fault | samples | requests | charged | lost | twice | asked after its answer | exit codes |")
    print("| :-- | --: | --: | --: | --: | --: | --: | :-- |", flush=True)
    with ThreadPoolExecutor(at_once) as pool:
        plays = []
        for i, scenario in enumerate(scenarios):
            (folder / str(i)).mkdir()
            plays.append((scenario.name, pool.submit(play, scenario, folder / str(i))))
        for name, future in plays:
            if future.exception() is None:
                print(row(name, future.result()), flush=True)
            yield name, future


def row(name: str, o: Outcome) -> str:
    codes = ", then ".join(map(str, o.codes))
    return f"| {name} | {SAMPLES} | {o.requests} | {o.charged} | {o.lost} | {o.twice} | {o.after} | {codes} |"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        failed = [name for name, future in rows(SCENARIOS, Path(temporary)) if future.exception() is not None]
    sys.exit(f"did not end: {', '.join(failed)}" if failed else 0)
