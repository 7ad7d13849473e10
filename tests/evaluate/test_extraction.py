"""Another model reads the final result in each answer: each reply bought once, both verdicts kept."""

import json
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from fino1 import cells, report, runs
from fino1.errors import SpecError
from fino1.evaluate import models
from fino1.evaluate.budget import TEMPLATE_TOKENS
from fino1.evaluate.endpoint import EndpointLost
from fino1.evaluate.extractor import Extractor
from fino1.evaluate.main import main
from fino1.evaluate.samples import INDEX
from fino1.spec import canonical
from fino1.spec.evaluation import ExtractionBlock
from fino1.tasks import ledger, scoring
from tests.evaluate.forks import Fork
from tests.evaluate.test_main import N, records, spec_of, wait_for
from tests.evaluate.test_rescore import rescore

BLOCKS = [
    ExtractionBlock(base_url=url, **more)
    for url, more in (
        ("http://x/v1", {}),
        ("http://y/v1", {}),
        ("http://x/v1", {"context_length": 1000}),
        ("http://x/v1", {"max_tokens": 65}),
        ("http://x/v1", {"temperature": 0.1}),
        ("http://x/v1", {"chat_template_kwargs": {"enable_thinking": False}}),
    )
]


@pytest.fixture
def reader(faulty, right):
    """Another server, which reads the right result in every answer: one that ends in a text which our rules do not read."""
    known = {ledger.TASK.prompt(record): record for record in records(60)}
    right.reply = lambda prompt: f"{known[prompt].target} or {2 * known[prompt].target + 7}, who knows"
    reader = faulty()
    reader.reply = lambda prompt: prompt.partition("<answer>")[2].split()[0]
    return reader


def spec(server, reader, **block):
    extraction = {"base_url": reader.base_url, "model_id": "judge"} | block.pop("extraction", {})
    return spec_of(server, extraction=extraction, **block)


def cells_of(work):
    """The finished cells: the one with extractions, the one without."""
    found = [cells.read_cell(path.parent) for path in work.glob("cells/*/cell.json")]
    return sorted(found, key=lambda cell: "extraction" not in cell.settings)


def write_prompt(sample, **block):
    block = ExtractionBlock(base_url="http://x/v1", **block)
    return Extractor(models.find(block, Path()), block).write_prompt(sample)


def down(prompt, number):
    return 503, {}, {"message": "down"}


def test_both_verdicts(right, reader, tmp_path, capsys):
    assert main(spec(right, reader), "eval", tmp_path) == 0
    extracted, answers = cells_of(tmp_path)
    assert (right.asked.total(), reader.asked.total()) == (N, N)
    assert reader.bodies[0] | {"messages": []} == {
        "model": "judge",
        "messages": [],
        "max_tokens": 64,
        "temperature": 0.0,
    }
    assert set(reader.asked) == {write_prompt(sample) for sample in answers.samples}
    assert all(
        sample.question in write_prompt(sample) and sample.completion in write_prompt(sample)
        for sample in answers.samples
    )
    assert (extracted.summary, extracted.summary.k) == (answers.summary, 0)
    assert all(sample.right_by_extraction for sample in extracted.samples)
    assert extracted.samples[0].extraction["docmath_compat"] is True
    assert extracted.provenance == answers.provenance | {"extracted_by": ["judge"]}
    assert (answers.cost["tokens"], extracted.cost["tokens"], extracted.cost["extraction"]["tokens"]) == (14 * N,) * 3
    done = json.loads((runs.directory(tmp_path, "eval", spec(right, reader)) / "done.json").read_text())
    assert (done["cells"], done["cost"]["tokens"]) == ([extracted.key], 28 * N)
    assert f"a on ledger: {N}/{N} right as extractor reads the answers" in capsys.readouterr().out
    assert main(spec(right, reader), "eval", tmp_path) == 0
    assert (right.asked.total(), reader.asked.total()) == (N, N)


def test_without_it_a_cell_is_what_it_was(right, reader, tmp_path):
    main(spec_of(right), "eval", tmp_path / "without")
    main(spec(right, reader), "eval", tmp_path / "with")
    (plain,), answers = cells_of(tmp_path / "without"), cells_of(tmp_path / "with")[1]
    assert plain.key == answers.key
    assert b"extraction" not in (tmp_path / "without" / "cells" / plain.key / "samples.jsonl").read_bytes()


def test_another_extractor_buys_no_answer_again(right, reader, tmp_path):
    main(spec_of(right), "eval", tmp_path)
    main(spec(right, reader), "eval", tmp_path)
    main(spec(right, reader, extraction={"max_tokens": 65}), "eval", tmp_path)
    assert (right.asked.total(), reader.asked.total()) == (N, 2 * N)
    assert len(cells_of(tmp_path)) == 3


def test_an_extractor_that_is_down_ends_as_a_model_that_is(right, reader, tmp_path):
    reader.fault = lambda prompt, number: None if reader.answered.total() < 5 else down(prompt, number)
    with pytest.raises(EndpointLost, match=r"\(judge\): no answer after 3 attempts"):
        main(spec(right, reader, concurrency=1), "eval", tmp_path)
    (answers,) = cells_of(tmp_path)
    assert "extraction" not in answers.settings
    assert not (runs.directory(tmp_path, "eval", spec(right, reader, concurrency=1)) / "done.json").exists()
    board = report.write_runs(tmp_path, ["eval"], tmp_path / "report", "T")
    assert board["rows"] == []
    missing = "a on ledger: missing, not all of its questions are answered with an extraction"
    assert missing in (tmp_path / "report" / "leaderboard.md").read_text()
    reader.fault = lambda prompt, number: None
    assert main(spec(right, reader, concurrency=1), "eval", tmp_path) == 0
    assert (right.asked.total(), set(reader.answered.values())) == (N, {1})


@pytest.mark.slow
def test_killed_and_run_again(right, reader, tmp_path):
    reader.delay_s = 0.05
    whole = spec(right, reader, tasks=[{"task": "ledger", "size": 40}], concurrency=2)
    config = tmp_path / "config.json"
    runs.write_config(config, whole)
    arguments = ["evaluate", "--config", config, "--work", tmp_path, "--name", "eval"]
    process = Fork(arguments)
    wait_for(lambda: reader.answered.total() >= 8)
    process.send_signal(signal.SIGKILL)
    assert process.wait(20) == -signal.SIGKILL
    (partial,) = (path for path in tmp_path.glob("cells/*/samples.jsonl") if b'"extraction"' in path.read_bytes())
    kept = {json.loads(line)["prompt"] for line in partial.read_bytes().split(b"\n")[:-1]}
    assert 5 <= len(kept) < 40
    assert Fork(arguments).wait(60) == 0
    assert right.asked.total() == 40
    assert reader.asked.total() - 40 <= 2  # what was on its way when it was killed was asked and not heard
    assert sum(sample.right_by_extraction for sample in cells_of(tmp_path)[0].samples) == 40


def test_shards_make_what_one_process_makes(right, reader, tmp_path, monkeypatch):
    block = {"samples": 2, "temperature": 0.5, "tasks": [{"task": "ledger", "size": 5}]}
    assert main(spec(right, reader, **block), "eval", tmp_path / "whole") == 0
    for index in (1, 0):
        monkeypatch.setenv(INDEX, str(index))
        assert main(spec(right, reader, shards=2, **block), "eval", tmp_path / "parts") == 0
    whole, parts = (
        [(sample.key, sample.extraction, sample.same_as) for sample in cells_of(tmp_path / work)[0].samples]
        for work in ("whole", "parts")
    )
    assert whole == parts
    assert (right.asked.total(), reader.asked.total()) == (2 * 2 * 5, 2 * 2 * 5)


def test_its_calls_are_in_the_budget(right, reader, tmp_path):
    main(spec_of(right), "eval", tmp_path)
    longest = max(len(write_prompt(sample)) for sample in cells_of(tmp_path)[0].samples)
    room = longest + TEMPLATE_TOKENS + 64  # for the worst case of the one that is under way
    with pytest.raises(SpecError, match=r"eval\.budget\.tokens: expected room for the (\d+) questions left") as caught:
        main(spec(right, reader, budget={"tokens": 14 * N + room + 30}, concurrency=1), "eval", tmp_path)
    asked = reader.asked.total()
    assert 2 < asked < N
    assert f"the {N - asked} questions left" in str(caught.value)
    assert main(spec(right, reader, budget={"tokens": 28 * N + room}, concurrency=1), "eval", tmp_path) == 0
    assert (right.asked.total(), reader.asked.total()) == (N, N)


def test_its_dollars_count(right, reader, tmp_path):
    extraction = {"price": {"input": 0, "output": 1e6}}
    assert main(spec(right, reader, extraction=extraction), "eval", tmp_path) == 0
    extracted, answers = cells_of(tmp_path)
    assert "dollars" not in answers.cost.keys() | extracted.cost.keys()  # a model's cost is that of its answers
    assert extracted.cost["extraction"]["dollars"] == 3.0 * N
    done = json.loads(next(tmp_path.glob("runs/*/done.json")).read_text())
    assert done["cost"]["dollars"] == 3.0 * N


@pytest.mark.parametrize(
    ("reply", "finish_reason", "strict"),
    [
        ("none", "stop", None),
        ("{target}", "length", None),
        ("777777", "stop", False),
        ("**{target}**", "stop", True),
    ],
)
def test_what_a_reply_is_worth(right, reader, tmp_path, reply, finish_reason, strict):
    reader.reply = lambda prompt: reply.format(target=prompt.partition("<answer>")[2].split()[0])
    reader.finish_reason = lambda prompt: finish_reason
    main(spec(right, reader), "eval", tmp_path)
    assert {sample.extraction["strict"] for sample in cells_of(tmp_path)[0].samples} == {strict}


def test_nobody_is_asked_of_an_empty_answer_and_no_cut_off_one_is_right(right, reader, tmp_path):
    empty, cut = (ledger.TASK.prompt(record) for record in records()[:2])
    reply = right.reply
    right.reply = lambda prompt: " " if prompt == empty else reply(prompt)
    right.finish_reason = lambda prompt: "length" if prompt == cut else "stop"
    assert main(spec(right, reader), "eval", tmp_path) == 0
    first, second, *others = cells_of(tmp_path)[0].samples
    assert reader.asked.total() == N - 1
    assert (first.extraction, first.right_by_extraction) == (None, False)
    assert (second.extraction["strict"], second.right_by_extraction) == (True, False)
    assert all(sample.right_by_extraction for sample in others)


def test_a_raised_scorer_version_judges_replies_again(right, reader, tmp_path, monkeypatch):
    main(spec(right, reader), "eval", tmp_path)
    monkeypatch.setattr(scoring, "SCORER_VERSION", str(int(scoring.SCORER_VERSION) + 1))
    assert main(spec(right, reader), "eval", tmp_path) == 0
    assert (right.asked.total(), reader.asked.total()) == (N, N)
    later = [cell for cell in cells_of(tmp_path) if cell.settings["scorer"] == scoring.SCORER_VERSION]
    assert sum(sample.right_by_extraction for sample in later[0].samples) == N
    assert later[0].cost["extraction"]["tokens"] == 14 * N


def test_of_an_answer_that_is_too_long_the_end_is_sent(right, reader, tmp_path):
    main(spec_of(right), "eval", tmp_path)
    sample = replace(cells_of(tmp_path)[0].samples[0], completion="x" * 9000 + " The answer is 12.")
    short, whole = write_prompt(sample, context_length=1000), write_prompt(sample)
    assert "x The answer is 12.\n</answer>" in short
    assert "x" * 9000 in whole
    assert 2500 < len(short) < 3 * (1000 - 64)


def test_what_a_reply_depends_on_is_in_the_key():
    keys = {canonical.digest(Extractor(models.find(block, Path()), block).settings) for block in BLOCKS}
    assert len(keys) == len(BLOCKS)


def test_rescore_judges_replies_again(right, reader, tmp_path):
    main(spec(right, reader), "eval", tmp_path)
    extracted, _ = cells_of(tmp_path)
    path = tmp_path / "cells" / extracted.key / "samples.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    wrong = [line | {"extraction": line["extraction"] | {"strict": False}} for line in lines]
    path.write_text("".join(json.dumps(line) + "\n" for line in wrong))
    assert rescore(tmp_path, spec(right, reader)) == 0
    assert all(sample.right_by_extraction for sample in cells_of(tmp_path)[0].samples)
    assert reader.asked.total() == N


def test_what_is_wrong_with_it_is_said_first(right, reader, tmp_path):
    with pytest.raises(SpecError, match=r"eval\.extraction: extractor: api_key_env: expected the environment variable"):
        main(spec(right, reader, extraction={"api_key_env": "NO_SUCH_KEY"}), "eval", tmp_path)
    with pytest.raises(SpecError, match=r"eval\.extraction\.base_url: expected one, got none"):
        spec_of(right, extraction={"hub": "a/b"})
    with pytest.raises(SpecError, match=r"eval\.extraction: max_tokens: expected fewer than the 64 tokens .*, got 64"):
        main(spec(right, reader, extraction={"context_length": 64, "max_tokens": 64}), "eval", tmp_path)
    assert right.asked.total() == 0
