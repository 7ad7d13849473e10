"""Several answers to each question: asked once each, told apart, and their votes counted."""

import json
import re
import signal
import time
from collections import Counter
from dataclasses import replace

import pytest

from fino1 import exits, report, runs
from fino1.cells import Sample, read_cell
from fino1.errors import SpecError
from fino1.evaluate import questions, votes
from fino1.evaluate.endpoint import EndpointLost
from fino1.evaluate.main import main
from fino1.evaluate.samples import INDEX
from fino1.evaluate.verdicts import read_verdict
from fino1.spec import load
from fino1.tasks import ledger, task
from fino1.tasks.record import Record
from tests.evaluate.forks import Fork
from tests.test_cells import LINE

N, K = 5, 3


@pytest.fixture
def spec(server):
    def build(samples=K, **block):
        models = [{"name": "a", "base_url": server.base_url}]
        settings = {"models": models, "tasks": [{"task": "ledger", "size": N}], "temperature": 0.7, "max_tokens": 32}
        settings |= {"samples": samples, "max_retries": 0, "timeout_s": 5, "concurrency": 1}
        return load.build({"method": "eval", "eval": settings | block}, "test")

    return build


def cell_of(work, samples=K):
    found = [read_cell(path) for path in (work / "cells").iterdir()]
    return next(cell for cell in found if cell.settings.get("samples", 1) == samples)


def seeds(server):
    return [body.get("seed") for body in server.bodies]


def test_each_answer_is_asked_once_with_a_seed_of_its_own(server, spec, tmp_path):
    assert main(spec(), "eval", tmp_path / "a") == 0
    assert set(server.asked.values()) == {K}
    assert len(set(seeds(server))) == N * K
    assert all(0 <= seed < 2**31 for seed in seeds(server))
    assert len({headers.get("idempotency-key") for headers in server.headers_seen}) == N * K
    cell = cell_of(tmp_path / "a")
    assert (cell.summary.n, cell.settings["samples"], cell.settings["seed"]) == (N * K, K, 42)
    ids = [record.id for record in ledger.generate("test", n=N, seed=42)]
    assert [sample.key for sample in cell.samples] == [(name, number) for name in ids for number in range(K)]
    assert {sample.same_as for sample in cell.samples} == {0}
    main(spec(), "eval", tmp_path / "b")
    assert seeds(server)[: N * K] == seeds(server)[N * K :]


def test_one_sample_is_asked_as_before(server, spec, tmp_path):
    assert main(spec(1), "eval", tmp_path) == 0
    assert seeds(server) == [None] * N
    assert "samples" not in cell_of(tmp_path, 1).settings
    line = json.loads(next((tmp_path / "cells").glob("*/samples.jsonl")).read_text().splitlines()[0])
    assert not {"number", "same_as"} & line.keys()


def test_an_interrupted_cell_goes_on_at_the_answers_it_lacks(server, spec, tmp_path):
    first = ledger.TASK.prompt(ledger.generate("test", n=1, seed=42)[0])
    server.fault = lambda prompt, number: (503, {}, {"message": "down"}) if prompt == first and number == 2 else None
    with pytest.raises(EndpointLost):
        main(spec(), "eval", tmp_path)
    assert server.answered.total() == 1
    server.fault = lambda prompt, number: None
    assert main(spec(), "eval", tmp_path) == 0
    assert set(server.answered.values()) == {K}


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_run_loses_no_answer_and_asks_none_twice(server, spec, tmp_path, number):
    """Twice, in the middle of a question's answers; the report then shows the cell as missing, at the end whole."""
    server.delay_s = 0.03
    runs.write_config(tmp_path / "config.json", spec(concurrency=2, tasks=[{"task": "ledger", "size": 8}]))
    arguments = ["evaluate", "--config", tmp_path / "config.json", "--name", "eval", "--work", tmp_path]
    kept = []
    for answered in (5, 13):
        process = Fork(arguments)
        while server.answered.total() < answered:
            time.sleep(0.005)
        process.send_signal(number)
        assert process.wait(60) == (exits.TERMINATED if number == signal.SIGTERM else -number)
        there, asked = read_seeds(tmp_path), Counter(seeds(server))
        kept.append({seed: asked[seed] for seed in there})
        if there:
            report.write_runs(tmp_path, ["eval"], tmp_path / "out", "x")
            text = (tmp_path / "out" / "leaderboard.md").read_text()
            assert "- a on ledger: missing, not all of its questions have their 3 answers" in text
    assert Fork(arguments).wait(60) == 0
    assert len(read_seeds(tmp_path)) == 8 * K
    counts = Counter(seeds(server))
    assert len(counts) == 8 * K
    # Killed, a run cannot have heard what was under way: one answer a thread. After SIGTERM it was waited for.
    assert counts.total() - 8 * K <= (2 * 2 if number == signal.SIGKILL else 0)
    assert all(counts[seed] == asked for there in kept for seed, asked in there.items())
    assert (
        len(
            {
                (seed, headers["idempotency-key"])
                for seed, headers in zip(seeds(server), server.headers_seen, strict=True)
            }
        )
        == 8 * K
    )
    (row,) = report.write_runs(tmp_path, ["eval"], tmp_path / "out", "x")["rows"]
    assert (row["questions"], row["samples"], row["n"]) == (8, K, 8 * K)


def read_seeds(work):
    """The seeds of the answers that are on disk, by question and number, as the server was sent them."""
    lines = [line for path in (work / "cells").glob("*/samples*.jsonl") for line in path.read_bytes().splitlines(True)]
    found = [json.loads(line) for line in lines if line.endswith(b"\n")]
    records = questions.name_records(ledger.generate("test", n=8, seed=42))
    asked = questions.repeat([questions.Question(id, each, "", False) for id, each in records.items()], K, 42)
    of = {question.key: question.seed for question in asked}
    return [of[sample["id"], sample.get("number", 0)] for sample in found]


def test_shards_make_what_one_process_makes(server, spec, tmp_path, monkeypatch):
    server.reply = lambda prompt: str(server.bodies[-1]["seed"] % 3)
    assert main(spec(), "eval", tmp_path / "whole") == 0
    for index in (1, 0):
        monkeypatch.setenv(INDEX, str(index))
        assert main(spec(shards=2), "eval", tmp_path / "parts") == 0
    whole, parts = ([replace(s, seconds=0.0) for s in cell_of(tmp_path / work).samples] for work in ("whole", "parts"))
    assert whole == parts
    assert len({sample.same_as for sample in whole}) > 1


def test_more_samples_are_bought_and_fewer_are_taken(server, spec, tmp_path):
    main(spec(2), "eval", tmp_path)
    assert main(spec(4), "eval", tmp_path) == 0
    assert server.asked.total() == 4 * N
    assert len(set(seeds(server))) == 4 * N
    assert main(spec(3), "eval", tmp_path) == 0
    assert server.asked.total() == 4 * N
    more, fewer = cell_of(tmp_path, 4), cell_of(tmp_path, 3)
    assert [s for s in more.samples if s.number < 3] == list(fewer.samples)


def test_the_answer_of_a_cell_without_samples_is_not_taken(server, spec, tmp_path):
    main(spec(1), "eval", tmp_path)
    main(spec(2), "eval", tmp_path)
    assert server.asked.total() == 3 * N


@pytest.mark.parametrize(
    "refusal",
    [
        (400, {}, {"code": "unsupported_parameter", "param": "seed", "message": "no"}),
        (422, {}, {"message": "Unexpected fields in the request: {'seed'}"}),
    ],
)
def test_an_endpoint_that_takes_no_seed_is_asked_without(server, spec, tmp_path, refusal):
    server.fault = lambda prompt, number: refusal if "seed" in server.bodies[-1] else None
    assert main(spec(), "eval", tmp_path) == 0
    assert server.answered.total() == N * K
    assert server.asked.total() == N * K + 1
    assert cell_of(tmp_path).provenance["left_out"] == ["seed"]


def test_the_budget_counts_every_answer(server, spec, tmp_path):
    budget = {"tokens": 14 * N + 200}  # 14 tokens an answer: enough for one of each question
    assert main(spec(1, budget=budget), "eval", tmp_path / "one") == 0
    with pytest.raises(SpecError, match=r"eval\.budget\.tokens: expected room for the \d+ questions left") as caught:
        main(spec(budget=budget), "eval", tmp_path / "more")
    left = int(re.search(r"the (\d+) questions left", str(caught.value))[1])
    assert 0 < left == N + N * K - server.asked.total()


def test_samples_at_temperature_0_are_refused(spec):
    with pytest.raises(SpecError) as caught:
        spec(temperature=0)
    expected = "eval.samples: expected 1 with eval.temperature 0, whose answers are all the same, got 3"
    assert caught.value.problems == [f"test: {expected}"]


def marks(completions, record=None, **fields):
    record = record or Record("row", "what was the change in net revenue in 2015 ?", 94.0)
    found = {}
    for number, completion in enumerate(completions):
        about = {"completion": completion, **read_verdict(task("finqa"), record, completion)}
        sample = Sample(**LINE | about | {"id": "row", "number": number} | fields.get(str(number), {}))
        found[sample.key] = sample
    return [sample.same_as for sample in votes.mark_equal(task("finqa"), {"row": record}, found).values()]


def test_answers_that_the_scorer_holds_equal_are_one():
    assert marks(["94", "The answer is $94.0 million.", "17", "94.00", "17.0", "no idea"]) == [0, 0, 2, 0, 2, None]


def test_the_gold_has_no_say():
    assert marks(["12.34", "12.3", "50"]) == marks(["12.34", "12.3", "50"], Record("row", "what was it ?", 12.32))


def test_truth_values_vote():
    record = Record("row", "did it rise ?", True)
    assert marks(["yes", "no", "The answer is yes.", "maybe"], record) == [0, 1, 0, None]


def test_choices_vote_by_their_letters():
    record = Record("row", "which one ?", "B", basis={"options": ("low", "high", "none")})
    assert marks(["B", "C", "The answer is (B).", "high", "E", "either", "E"], record) == [0, 1, 0, 0, 4, None, 4]


def test_a_truncated_answer_has_no_vote():
    assert marks(["94", "94"], **{"0": {"finish_reason": "length"}}) == [None, 1]
