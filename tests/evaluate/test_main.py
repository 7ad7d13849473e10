import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest

import fino1.tasks
from fino1 import exits, runs
from fino1.cells import read_cell
from fino1.errors import SpecError
from fino1.evaluate import batches, cell, journal
from fino1.evaluate.endpoint import Answer, EndpointLost
from fino1.evaluate.main import main
from fino1.evaluate.plan import plan
from fino1.spec import load
from fino1.tasks import ledger
from fino1.tasks.record import Records
from tests.needs import missing

N = 12


def spec_of(server, models=None, tasks=None, **block):
    models = models or [{"name": "a", "base_url": server.base_url}]
    tasks = tasks or [{"task": "ledger", "size": N}]
    settings = {"models": models, "tasks": tasks, "max_tokens": 32, "max_retries": 2, "timeout_s": 5} | block
    return load.build({"method": "eval", "eval": settings}, "test")


def records(n=N, seed=42):
    return ledger.generate("test", n=n, seed=seed)


def only_cell(work):
    (cell,) = (work / "cells").iterdir()
    return cell


def samples_of(cell):
    return [json.loads(line) for line in (cell / "samples.jsonl").read_text().splitlines()]


def test_a_cell(right, tmp_path, capsys):
    spec = spec_of(right)
    assert main(spec, "eval", tmp_path) == 0
    cell = only_cell(tmp_path)
    about = json.loads((cell / "cell.json").read_text())
    assert about["summary"] | {"seconds": 0} == {
        "n": N,
        "k": N,
        "unparsed": 0,
        "truncated": 0,
        "cut": 0,
        "docmath_compat": about["summary"]["docmath_compat"],
        "prompt_tokens": 11 * N,
        "completion_tokens": 3 * N,
        "seconds": 0,
    }
    assert about["settings"]["temperature"] == 0
    assert [sample["id"] for sample in samples_of(cell)] == [record.id for record in records()]
    assert all(sample.right for sample in read_cell(cell).samples)  # the report reads what we write
    run = runs.directory(tmp_path, "eval", spec)
    assert json.loads((run / "config.json").read_text())["method"] == "eval"
    done = json.loads((run / "done.json").read_text())
    assert (done["method"], done["cells"], done["models"]) == ("eval", [cell.name], ["a"])
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    assert lines[0] == {"event": "progress", "stage": "evaluate", "model": "a", "task": "ledger", "done": 1, "total": N}
    assert lines[-1]["done"] == N


def test_programs_are_run(server, tmp_path):
    row = {"id": "a-1", "question": "what is the change?", "pre_text": [], "post_text": [], "table": [["x", "7", "5"]]}
    rows = [row | {"id": f"a-{i}", "program": "subtract(7, 5)", "answer": "2.0"} for i in range(4)]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    replies = iter(["subtract(7, 5)", "7 - 5", "subtract(5, 7)", "2 is the answer"])
    server.reply = lambda prompt: f"## Final Response\n\n{next(replies)}"
    task = {"task": "finqa", "path": str(tmp_path / "rows.json"), "answer": "program"}
    assert main(spec_of(server, tasks=[task], concurrency=1), "eval", tmp_path) == 0
    found = read_cell(only_cell(tmp_path))
    assert [(sample.strict, sample.same_program) for sample in found.samples] == [
        (True, True),
        (True, True),
        (False, False),
        (None, None),
    ]
    assert found.samples[1].extracted == "7 - 5"
    assert found.settings["answer"] == "program"


def test_a_finished_cell_makes_no_request_whatever_its_name(right, tmp_path):
    assert main(spec_of(right), "eval", tmp_path) == 0
    renamed = spec_of(right, [{"name": "b", "base_url": right.base_url, "model_id": "a"}], concurrency=1, timeout_s=9)
    assert main(renamed, "eval", tmp_path) == 0
    assert right.asked.total() == N
    assert len(list((tmp_path / "cells").iterdir())) == 1
    done = json.loads((runs.directory(tmp_path, "eval", renamed) / "done.json").read_text())
    assert done["models"] == ["b"]


@pytest.mark.parametrize(
    "change",
    [
        {"max_tokens": 33},
        {"temperature": 0.5},
        {"tasks": [{"task": "ledger", "size": N - 1}]},
        {"tasks": [{"task": "ledger", "size": N, "limit": 3}]},
        {"models": [{"name": "a", "base_url": "URL", "model_id": "other"}]},
        {"models": [{"name": "a", "base_url": "URL", "context_length": 999}]},
        {"models": [{"name": "a", "base_url": "URL", "chat_template_kwargs": {"enable_thinking": False}}]},
    ],
)
def test_the_key_holds_what_changes_the_numbers(right, tmp_path, change):
    if "models" in change:
        change = {"models": [model | {"base_url": right.base_url} for model in change["models"]]}
    assert main(spec_of(right), "eval", tmp_path) == 0
    assert main(spec_of(right, **change), "eval", tmp_path) == 0
    assert len(list((tmp_path / "cells").iterdir())) == 2
    sent = [body.get("chat_template_kwargs") for body in right.bodies]
    assert sent[:N] == [None] * N
    assert set(map(str, sent[N:])) == {str(change.get("models", [{}])[0].get("chat_template_kwargs"))}


def test_keys_stay(tmp_path):
    """Whoever changes a key has every finished evaluation asked, and paid for, again."""
    models = [{"name": "a", "base_url": "http://127.0.0.1:9/v1", "model_id": "m"}]
    block = {"models": models, "tasks": [{"task": "ledger", "size": 3}]}
    spec = load.build({"method": "eval", "eval": block}, "test")
    (cell,) = plan(spec, tmp_path, threading.Event())
    assert cell.key == "053056e91486a55ae5f205e6329bc3d026138bee98178bc2dc17bea73569a913"


def test_corrected_golds_are_another_cell_and_both_verdicts_are_kept(right, tmp_path):
    row = {"id": "DG/2005/page_44.pdf-2", "question": "what was the total ?", "pre_text": ["a ."], "post_text": ["b ."]}
    row |= {"table": [["", "2005"], ["land", "20"]], "answer": "5.8", "program": "add(0.6, 0.5), add(#0, 4.7)"}
    (tmp_path / "rows.json").write_text(json.dumps([row]))
    keys = set()
    for gold, target, other in (("published", 5.8, 2.1), ("corrected", 2.1, 5.8)):
        task = {"task": "finqa", "path": str(tmp_path / "rows.json"), "gold": gold}
        (planned,) = plan(spec_of(right, tasks=[task]), tmp_path, threading.Event())
        (question,) = planned.questions
        assert (question.record.target, question.record.other_gold) == (target, other)
        assert planned.settings.get("gold", "published") == gold
        keys.add(planned.key)
    assert len(keys) == 2
    sample = cell._judge(planned.task, question, Answer("The answer is 5.8.", "stop", 9, 9, 0.1))
    assert (sample.strict, sample.strict_by_other_gold) == (False, True)


def test_truncated_and_unparsed_answers_are_in_n_only(right, tmp_path):
    prompts = [ledger.TASK.prompt(record) for record in records()]
    knows = right.reply
    right.reply = lambda prompt: "well, who knows" if prompt in prompts[:3] else knows(prompt)
    right.finish_reason = lambda prompt: "length" if prompt in prompts[2:5] else "stop"
    main(spec_of(right), "eval", tmp_path)
    summary = json.loads((only_cell(tmp_path) / "cell.json").read_text())["summary"]
    assert (summary["n"], summary["k"], summary["unparsed"], summary["truncated"]) == (N, N - 5, 3, 3)


def test_faults_lose_no_sample_and_repeat_none(right, tmp_path):
    faults = ["drop", (429, {"retry-after": "0.05"}, {"message": "slow"}), (500, {}, {"message": "oops"}), None, "html"]
    right.fault = lambda prompt, number: faults[(len(prompt) + number) % len(faults)]
    assert main(spec_of(right, concurrency=6, max_retries=5), "eval", tmp_path) == 0
    assert set(right.answered.values()) == {1}
    assert len(right.answered) == N
    assert 1 < right.busiest <= 6
    assert json.loads((only_cell(tmp_path) / "cell.json").read_text())["summary"]["k"] == N


def test_an_endpoint_that_stays_away_leaves_the_samples_for_the_next_attempt(right, tmp_path):
    bad = ledger.TASK.prompt(records()[7])
    right.fault = lambda prompt, number: (503, {}, {"message": "down"}) if prompt == bad else None
    with pytest.raises(EndpointLost) as caught:
        main(spec_of(right, concurrency=2), "eval", tmp_path)
    assert exits.is_retryable(caught.value.exit_code)
    assert not (only_cell(tmp_path) / "cell.json").exists()
    right.fault = lambda prompt, number: None
    assert main(spec_of(right), "eval", tmp_path) == 0
    assert set(right.answered.values()) == {1}


def test_one_models_trouble_does_not_keep_the_others(right, tmp_path, monkeypatch):
    monkeypatch.setenv("KEY_OF_A", "wrong")
    right.fault = lambda prompt, number: (401, {}, {"message": "bad key"}) if right.bodies[-1]["model"] == "a" else None
    models = [{"name": "a", "base_url": right.base_url, "api_key_env": "KEY_OF_A"}]
    models += [{"name": "b", "base_url": right.base_url}]
    with pytest.raises(SpecError, match="401"):
        main(spec_of(right, models, concurrency=1), "eval", tmp_path)
    assert [json.loads(p.read_text())["model"] for p in (tmp_path / "cells").glob("*/cell.json")] == ["b"]


def test_all_mistakes_are_told_before_a_request(right, tmp_path):
    models = [
        {"name": "a", "run": "nowhere"},
        {"name": "b", "path": str(tmp_path / "none")},
        {"name": "c", "base_url": right.base_url, "api_key_env": "NOT_SET_ANYWHERE"},
        {"name": "d", "base_url": "http://me:secret@x/v1"},
        {"name": "e", "base_url": right.base_url, "model_id": "same"},
        {"name": "f", "base_url": right.base_url, "model_id": "same"},
        {"name": "g", "base_url": right.base_url, "context_length": 32},
    ]
    tasks = [{"task": "ledger", "size": 3}, {"task": "ledger", "path": str(tmp_path / "rows.jsonl")}]
    with pytest.raises(SpecError) as caught:
        main(spec_of(right, models, tasks), "eval", tmp_path)
    text = str(caught.value)
    for part in (
        "a: run: nowhere",
        "b: path",
        "NOT_SET_ANYWHERE",
        "d: base_url: expected no user and password",
        "the same as e",
        "max_tokens",
        "rows.jsonl",
    ):
        assert part in text, part
    assert right.asked.total() == 0
    assert not (tmp_path / "cells").exists()


@pytest.mark.parametrize("key", ["", "sk-0123456789\n", "sk-01234 56789", "sk-0123456789\u00e9"])
def test_a_key_that_no_request_can_carry_is_told_by_the_name_of_its_variable(right, tmp_path, monkeypatch, key):
    monkeypatch.setenv("KEY_OF_A", key)
    with pytest.raises(SpecError, match="eval.models: a: api_key_env: expected .* KEY_OF_A") as caught:
        main(spec_of(right, [{"name": "a", "base_url": right.base_url, "api_key_env": "KEY_OF_A"}]), "eval", tmp_path)
    assert "sk-0" not in str(caught.value)
    assert right.asked.total() == 0


def test_a_torn_line_and_a_foreign_one_are_asked_again(right, tmp_path):
    main(spec_of(right), "eval", tmp_path)
    cell = only_cell(tmp_path)
    (cell / "cell.json").unlink()
    lines = (cell / "samples.jsonl").read_bytes().splitlines(keepends=True)
    foreign = json.dumps(json.loads(lines[3]) | {"prompt_sha256": "of another prompt"}).encode() + b"\n"
    (cell / "samples.jsonl").write_bytes(b"".join([lines[5], lines[0], lines[0], b"null\n", foreign, lines[1][:-9]]))
    assert main(spec_of(right), "eval", tmp_path) == 0
    assert right.asked.total() == N + N - 2
    assert (cell / "samples.jsonl").read_bytes().count(b"\n") == N
    assert [sample["id"] for sample in samples_of(cell)] == [record.id for record in records()]


def test_repeated_ids_do_not_collide(right, tmp_path, monkeypatch):
    path = tmp_path / "rows.jsonl"
    ledger.write(records(4), path)
    names = ["a", "a", "a#2", "a"]
    task = replace(
        ledger.TASK, read=lambda p: Records(replace(r, id=i) for r, i in zip(ledger.read(p), names, strict=True))
    )
    monkeypatch.setattr(fino1.tasks, "task", lambda name: task)
    assert main(spec_of(right, tasks=[{"task": "ledger", "path": str(path)}]), "eval", tmp_path) == 0
    assert [sample["id"] for sample in samples_of(only_cell(tmp_path))] == ["a", "a#2", "a#2#2", "a#3"]
    assert set(right.answered.values()) == {1}


def test_two_processes_share_a_cell(right, tmp_path):
    right.delay_s = 0.05
    codes = []
    threads = [
        threading.Thread(target=lambda i=i: codes.append(main(spec_of(right), f"eval{i}", tmp_path))) for i in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == [0, 0]
    assert right.asked.total() == N


def test_a_full_disk(right, tmp_path, monkeypatch):
    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(journal.os, "fsync", full)
    assert main(spec_of(right), "eval", tmp_path) == exits.DISK


def test_long_documents_are_cut_to_the_models_context(right, tmp_path, folder, monkeypatch):
    long = [replace(r, before=("a long sentence " * 5, "near the table")) for r in records(3)]
    path = tmp_path / "rows.jsonl"
    ledger.write(records(3), path)
    monkeypatch.setattr(fino1.tasks, "task", lambda name: replace(ledger.TASK, read=lambda p: Records(long)))
    models = [{"name": "a", "path": str(folder), "base_url": right.base_url, "context_length": 140}]
    spec = spec_of(right, models, [{"task": "ledger", "path": str(path)}])
    assert main(spec, "eval", tmp_path) == 0
    for sample in samples_of(only_cell(tmp_path)):
        assert sample["cut"] is True
        assert len(sample["prompt"]) + 1 <= 140 - 32  # one token a character, one for the template's line feed
        assert "long" not in sample["prompt"]
        assert sample["question"] in sample["prompt"]


def test_a_question_that_does_not_fit_is_a_mistake_told_before_a_request(right, tmp_path, folder):
    models = [{"name": "a", "path": str(folder), "base_url": right.base_url}]
    with pytest.raises(
        SpecError, match=r"expected a prompt that fits the model, got the question alone has \d+ tokens"
    ):
        main(spec_of(right, models, max_tokens=80), "eval", tmp_path)
    assert right.asked.total() == 0


SCRIPT = """
import sys
from pathlib import Path
from fino1.spec import load, yamlfile
from fino1.evaluate.main import main
sys.exit(main(load.build(yamlfile.read_yaml(Path(sys.argv[1])), "run.yaml"), "eval", Path(sys.argv[2])))
"""


def start(server, tmp_path, n=40, **block):
    spec = spec_of(server, tasks=[{"task": "ledger", "size": n}], **block)
    run_file = tmp_path / "run.yaml"
    run_file.write_text(json.dumps(load.effective(spec)))
    return subprocess.Popen([sys.executable, "-c", SCRIPT, run_file, tmp_path], stdout=subprocess.DEVNULL)


def wait_for(condition, seconds=30.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_killed_and_run_again(right, tmp_path, number):
    right.delay_s = 0.05
    process = start(right, tmp_path, concurrency=3)
    wait_for(lambda: right.answered.total() >= 8)
    process.send_signal(number)
    code = process.wait(20)
    assert code == (exits.TERMINATED if number == signal.SIGTERM else -signal.SIGKILL)
    before = (only_cell(tmp_path) / "samples.jsonl").read_bytes()
    kept = {json.loads(line)["prompt"] for line in before.split(b"\n")[:-1]}
    assert 5 <= len(kept) < 40
    assert start(right, tmp_path, concurrency=3).wait(120) == 0
    samples = samples_of(only_cell(tmp_path))
    assert [sample["id"] for sample in samples] == [record.id for record in records(40)]
    assert all(right.asked[prompt] == 1 for prompt in kept)
    # What was on its way when we were killed was asked and not heard; after SIGTERM it was waited for.
    assert right.asked.total() - 40 <= (3 if number == signal.SIGKILL else 0)


def test_sigterm_does_not_wait_for_a_request_that_hangs(right, tmp_path, monkeypatch):
    monkeypatch.setattr(batches, "GRACE_S", 0.5)
    right.delay_s = 30
    sent = []

    def terminate():
        wait_for(lambda: right.busy)
        sent.append(time.monotonic())
        signal.pthread_kill(threading.get_ident(), signal.SIGTERM)  # the main thread is not interrupted

    threading.Thread(target=terminate).start()
    assert main(spec_of(right, timeout_s=60), "eval", tmp_path) == exits.TERMINATED
    assert time.monotonic() - sent[0] < 4


def test_sigterm_ends_a_first_process_that_has_not_begun(tmp_path):
    """The kernel keeps SIGTERM from a container's first process that has no handler."""
    first_process = ["unshare", "--pid", "--fork", "--kill-child"]
    if subprocess.run([*first_process, "true"], capture_output=True).returncode:
        missing("a first process takes root")
    config = tmp_path / "config.json"
    os.mkfifo(config)  # whoever reads it waits, and has not begun
    command = [*first_process, sys.executable, "-m", "fino1", "evaluate", "--config", str(config)]
    with subprocess.Popen(command) as process, config.open("w"):  # opens once somebody reads
        children = f"/proc/{process.pid}/task/{process.pid}/children"
        with open(children) as file:
            os.kill(int(file.read()), signal.SIGTERM)
        try:
            assert process.wait(20) == exits.TERMINATED
        finally:
            process.kill()
