"""Does a run whose pods are killed, in every way that a cluster has, end as if nothing had happened? (docs/design.md C5, C6)

KILLS_SEED repeats the moments of an earlier session.
"""

import json
import os
import random
import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.cluster.tools.node import Node
from tests.e2e import killing
from tests.e2e.killing import LONG_S, Ordeal, Witness
from tests.e2e.shell import ROOT, Shell, new_shell

# By themselves: they keep two cores busy, and the last restarts the kubelet.
pytestmark = [pytest.mark.alone, pytest.mark.timeout(3000)]

STEPS = 100
SFT = ("data.size=1600", "sft.logging_steps=1", "sft.save_steps=20")
UPDATES = 12
PPO = (
    f"ppo.total_episodes={64 * UPDATES}",
    "ppo.global_batch_size=64",
    "ppo.num_mini_batches=2",
    "ppo.save_steps=3",
    f"ppo.eval_steps={UPDATES}",
    "data.size=1000",  # of 20,000 the prompts are made anew at each start
    "data.eval_size=16",
)
QUESTIONS = 60
EVAL = (f'eval.tasks=[{{"task": "ledger", "size": {QUESTIONS}}}]',)

Begin = Callable[..., Ordeal]


@pytest.fixture(scope="module")
def shell(node: Node) -> Iterator[Shell]:
    """One namespace for all: the later runs take the models of the earlier."""
    with new_shell(node) as shell:
        yield shell


@pytest.fixture(scope="module")
def seed() -> int:
    return int(os.environ.get("KILLS_SEED") or secrets.randbelow(10**6))


@pytest.fixture
def chance(seed: int, request: pytest.FixtureRequest) -> random.Random:
    """Where the moments come from, the same whether or not the other tests run."""
    print(f"KILLS_SEED={seed}")  # pytest shows it with a failure
    return random.Random(f"{seed} {request.node.name}")


@pytest.fixture(scope="module")
def ordeals(shell: Shell, seed: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Begin]:
    """`ordeals(RUN, MAIN CONTAINER, RESULTS)` makes one; all their kills are told at the end, also of what failed."""
    witness = Witness(shell, tmp_path_factory.mktemp("kills") / "pods.json")
    begun: list[Ordeal] = []

    def begin(run: str, main: str, results: str) -> Ordeal:
        begun.append(Ordeal(shell, witness, run, main, results))
        return begun[-1]

    yield begin
    witness.close()
    file = ROOT / "out" / "e2e" / "kills.md"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"KILLS_SEED={seed}\n\n{killing.table(begun)}")
    print(f"\n{file.read_text()}")


@pytest.fixture(scope="module")
def sft(shell: Shell) -> Iterator[Future[str]]:
    """An undisturbed run's hash, once it is over; it runs while another SFT is killed, and then the undisturbed PPO does."""

    def train() -> str:
        shell.submit("sft-tiny", "sft", *SFT)
        shell.submit("ppo-tiny", "ppo", *PPO, wait=False)
        return shell.artefact("sft")

    with ThreadPoolExecutor() as pool:
        yield pool.submit(train)


@pytest.fixture(scope="module")
def ppo(shell: Shell, sft: Future[str]) -> str:
    """An undisturbed run's hash. The undisturbed evaluation can start now, and runs while a PPO is killed."""
    sft.result()
    shell.fino1("wait", "ppo")
    shell.submit("eval-tiny", "eval", *EVAL, wait=False)
    return shell.artefact("ppo")


@pytest.fixture(scope="module")
def cells(shell: Shell, ppo: str) -> Path:
    """The cells of an undisturbed evaluation, put aside: what is finished is not asked again."""
    shell.fino1("wait", "eval")
    return (shell.work / "cells").rename(shell.work / "cells-undisturbed")


def test_sft(shell: Shell, ordeals: Begin, chance: random.Random, sft: Future[str]) -> None:
    run = shell.submit("sft-tiny", "sft-killed", *SFT, wait=False)
    ordeal = ordeals(run, "pytorch", "runs/sft-killed-*/metrics.jsonl")
    ways = [killing.delete_by_force, killing.evict, killing.kill_rank, killing.exhaust_memory]
    ordeal.kill(killing.delete, 0)  # while it starts: process 1 has no handler for SIGTERM of its own accord
    for way, line in killing.plan(chance, ways, STEPS):
        ordeal.kill(way, line)
    sft.result()
    ends_as(shell, ordeal, "sft-killed", "sft")


def test_ppo(shell: Shell, ordeals: Begin, chance: random.Random, ppo: str) -> None:
    run = shell.submit("ppo-tiny", "ppo-killed", *PPO, wait=False)
    ordeal = ordeals(run, "pytorch", "runs/ppo-killed-*/metrics.jsonl")
    ways = [killing.delete_by_force, killing.delete, killing.kill_first, killing.exhaust_memory]
    for way, line in killing.plan(chance, ways, UPDATES):
        ordeal.kill(way, line)
    ends_as(shell, ordeal, "ppo-killed", "ppo")


def test_evaluation(shell: Shell, ordeals: Begin, chance: random.Random, cells: Path) -> None:
    """Both models at once: of one the pods are taken, of the other processes."""
    shell.submit("eval-tiny", "again", *EVAL, wait=False)
    ways = {"sft": [killing.delete_by_force, killing.evict], "ppo": [killing.kill_first] * 2}
    plans = {model: killing.plan(chance, ways[model], QUESTIONS) for model in sorted(ways)}
    plans["sft"].insert(0, (killing.delete, 0))  # while it starts
    server = chance.choice(plans["ppo"])

    def torture(model: str) -> None:
        run = run_of(shell, "again", model)
        ordeal = ordeals(run, "evaluate", f"cells/{key(cells, model)}/samples.jsonl")
        for way, line in plans[model]:
            ordeal.kill(way, line, "server" if (way, line) == server else "evaluate")
        shell.fino1("wait", run)
        ordeal.judge(outcome(shell, "again", model) == outcome(shell, "eval", model))
        assert all(kill.same for kill in ordeal.kills)
        there = f"{key(cells, model)}/samples.jsonl"
        assert answers(shell.work / "cells" / there) == answers(cells / there)

    with ThreadPoolExecutor() as pool:
        list(pool.map(torture, plans))


def test_pressure_on_the_node(shell: Shell, ordeals: Begin, chance: random.Random, sft: Future[str]) -> None:
    """Last: the kubelet starts anew, twice."""
    sft.result()
    priority = f"{shell.namespace}-first-to-go"
    shell.kubectl("create", "priorityclass", priority, "--value=-1000")
    try:
        run = shell.submit("sft-tiny", "sft-evicted", *SFT, f"priorityClassName={priority}", wait=False)
        ordeal = ordeals(run, "pytorch", "runs/sft-evicted-*/metrics.jsonl")
        for way, line in killing.plan(chance, [killing.press_memory], STEPS):
            ordeal.kill(way, line)
        assert "Evicted" in ordeal.kills[0].end
        ends_as(shell, ordeal, "sft-evicted", "sft")
    finally:
        shell.kubectl("delete", "priorityclass", priority)


def ends_as(shell: Shell, ordeal: Ordeal, name: str, undisturbed: str) -> None:
    """Wait for the end of the run `name`: the same model as the undisturbed run's, by the same steps, each once."""
    shell.fino1("wait", ordeal.run, timeout_s=LONG_S)
    ordeal.judge(shell.artefact(name) == shell.artefact(undisturbed))
    assert all(kill.same for kill in ordeal.kills)
    assert metrics(shell, name) == metrics(shell, undisturbed)
    assert ordeal.restarts == len(ordeal.kills)


def metrics(shell: Shell, name: str) -> list[dict]:
    """Every line of the run's metrics, but episodes per second."""
    lines = (shell.directory(name) / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) | {"eps": None} for line in lines]


def run_of(shell: Shell, name: str, model: str) -> str:
    """The run object of one model of the evaluation `name`."""
    listed = json.loads(shell.fino1("ps", "-o", "json"))["runs"]
    return next(run["run"] for run in listed if run["run"].startswith(f"{name}-{model}-"))


def key(cells: Path, model: str) -> str:
    """The model's cell."""
    abouts = [json.loads(file.read_text()) for file in cells.glob("*/cell.json")]
    return next(about["key"] for about in abouts if about["model"] == model)


def outcome(shell: Shell, name: str, model: str) -> str:
    """The hash of what was found out about the model."""
    return json.loads((shell.directory(f"{name}-{model}") / "done.json").read_text())["artefact_sha256"]


def answers(file: Path) -> list[dict]:
    """Every sample of a cell, in the rows' order, but how long it took and how many answers were lost with a server."""
    return [json.loads(line) | {"seconds": None, "unheard": None} for line in file.read_text().splitlines()]
