import itertools
import json
import threading
from collections import Counter

import pytest

from fino1 import __main__ as entry
from fino1 import exits, report, runs
from fino1.errors import SpecError
from fino1.evaluate.budget import Tariff
from fino1.evaluate.endpoint import Answer, EndpointLost
from fino1.evaluate.samples import INDEX
from fino1.paths.journal import Call, Journal, read
from fino1.paths.main import main
from fino1.spec import load
from fino1.tasks import ledger
from tests.evaluate.test_journal import full
from tests.paths.conftest import PROBLEM, SEED, Writer, chain, rows, spec_of, stage

NO_DIGITS = str.maketrans("", "", "0123456789%")
FILES = ("rows.jsonl", "rl.jsonl", "paths.jsonl", "summary.json")


def directory_of(spec, work):
    return runs.directory(work, "paths", spec)


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def results(spec, work):
    return {name: (directory_of(spec, work) / name).read_bytes() for name in FILES}


def journal(work):
    return [line for path in work.glob("paths/*/calls*.jsonl") for line in lines(path)]


def stages(server):
    return Counter(stage(prompt) for prompt in server.asked.elements())


def test_right_at_once(writer, tmp_path, capsys):
    spec = spec_of(writer)
    assert main(spec, "paths", tmp_path) == 0
    assert stages(writer) == {"initial": 6, "rewrite": 6, "respond": 6}
    directory = directory_of(spec, tmp_path)
    for row, rl, record in zip(lines(directory / "rows.jsonl"), lines(directory / "rl.jsonl"), rows(6), strict=True):
        assert row["id"] == rl["id"] == record.id
        assert row["Question"] == rl["Open-ended Verifiable Question"] == ledger.TASK.prompt(record)
        assert row["Complex_CoT"] == f"Let me see.\nI get {record.response}."
        assert ledger.TASK.score(row["Response"], record.question, record.target).strict
        assert rl["Ground-True Answer"] == record.target
    done = json.loads((directory / "done.json").read_text())
    assert (done["method"], done["rows"], done["cost"]["tokens"]) == ("paths", 6, 18 * 14)
    summary = json.loads((directory / "summary.json").read_text())
    assert summary["accepted_after_steps"] == {"0": 6}
    assert summary["calls_per_question"] == {"3": 6}
    shown = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    assert shown[-1] | {"tokens": 0} == {
        "event": "progress", "stage": "paths", "task": "ledger", "done": 6, "total": 6, "accepted": 6, "failed": 0, "tokens": 0,
    }  # fmt: skip


def test_rows_are_what_training_reads(writer, tmp_path):
    from fino1.spec.inputs import DataBlock
    from fino1.train.data import columns

    spec = spec_of(writer)
    main(spec, "paths", tmp_path)
    for name, method in (("rows.jsonl", "sft"), ("rl.jsonl", "ppo")):
        assert len(columns.read(DataBlock(path=str(directory_of(spec, tmp_path) / name)), method)) == 6


def test_the_short_wording(writer, tmp_path):
    (record,) = rows(1)
    replies = {
        "Steps as JSON.": chain(987654321),
        "further steps as JSON.": chain(record.response),
        "Reasoning as JSON.": json.dumps({"reasoning": "I see."}),
        "Response as JSON.": json.dumps({"response": record.response}),
    }
    writer.reply = lambda prompt: replies[prompt.splitlines()[-1].rpartition(": ")[2]]
    assert main(spec_of(writer, 1, wording="short"), "paths", tmp_path) == 0
    assert writer.asked.total() == 4
    assert all(prompt.startswith(ledger.TASK.prompt(record) + "\n\n") for prompt in writer.asked)
    assert max(map(len, writer.asked)) < len(ledger.TASK.prompt(record)) + 200


def test_the_search_goes_as_deep_and_as_often_as_it_may(writer, tmp_path):
    writer.reply = Writer(wrong=100)
    spec = spec_of(writer, depth=2, attempts=2)
    assert main(spec, "paths", tmp_path) == 0
    assert stages(writer) == {"initial": 6, "rethink": 6 * 4}
    paths = lines(directory_of(spec, tmp_path) / "paths.jsonl")
    assert {path["failure"] for path in paths} == {"wrong"}
    for path in paths:
        assert [turn["attempt"] for turn in path["turns"]] == [0, 1, 1, 2, 2]
        assert "Backtracking" not in (path["turns"][1]["strategy"], path["turns"][3]["strategy"])
        assert [len(turn["steps"]) for turn in path["turns"]] == [3, 5, 7, 5, 7]
    drawn = Counter(turn["strategy"] for path in paths for turn in path["turns"])
    assert drawn.keys() == {"Initial", "Exploring New Paths", "Backtracking", "Verification", "Correction"}
    assert lines(directory_of(spec, tmp_path) / "rows.jsonl") == []


def test_strategies_follow_from_the_seed_and_the_question(writer, tmp_path):
    writer.reply = Writer(wrong=100)
    ledger.write(rows(8), tmp_path / "rows.jsonl")
    drawn = []
    for limit, seed in ((4, SEED), (8, SEED), (4, 7)):
        tasks = [{"task": "ledger", "path": str(tmp_path / "rows.jsonl"), "limit": limit}]
        spec = spec_of(writer, tasks=tasks).model_copy(update={"seed": seed})
        main(spec, "paths", tmp_path)
        paths = lines(directory_of(spec, tmp_path) / "paths.jsonl")
        drawn.append({path["id"]: [turn["strategy"] for turn in path["turns"]] for path in paths})
    assert drawn[0].items() <= drawn[1].items()
    assert drawn[0].keys() == drawn[2].keys() and drawn[0] != drawn[2]


def test_only_the_fallback_shows_the_gold(writer, tmp_path):
    writer.reply = Writer(wrong=100)
    spec = spec_of(writer, fallback=True, depth=1)
    assert main(spec, "paths", tmp_path) == 0
    for record in rows(6):
        mine = [prompt for prompt in writer.asked if PROBLEM.search(prompt)[1] == ledger.TASK.prompt(record)]
        shows = {stage(prompt) for prompt in mine if f"<result>{record.target}</result>" in prompt}
        assert shows == {"gold"}
        before = [prompt for prompt in mine if stage(prompt) in ("initial", "rethink")]
        assert len(before) == 2
        assert not any(f"{record.target}" in prompt for prompt in before)
    directory = directory_of(spec, tmp_path)
    assert all(row["shows_gold"] for row in lines(directory / "rows.jsonl"))
    assert lines(directory / "rl.jsonl") == []
    assert json.loads((directory / "summary.json").read_text())["shown_gold"] == 6


def test_a_malformed_reply_is_sent_back_once(writer, tmp_path):
    knows = writer.reply
    bad = '{"steps": [{"action": "guess", "content": ""}], "more": 1}'
    writer.reply = lambda prompt: knows(prompt) if "could not be read" in prompt else bad
    spec = spec_of(writer, 1)
    assert main(spec, "paths", tmp_path) == 0
    assert writer.asked.total() == 6
    repair = next(prompt for prompt in writer.asked if "could not be read" in prompt)
    assert bad in repair and "steps.0.action: expected 'think', 'conclude' or 'check'" in repair
    assert json.loads((directory_of(spec, tmp_path) / "done.json").read_text())["rows"] == 1


def test_a_question_whose_replies_stay_malformed_has_no_row(writer, tmp_path):
    (first, *_) = rows(3)
    knows = writer.reply
    writer.reply = lambda prompt: "{}" if PROBLEM.search(prompt)[1] == ledger.TASK.prompt(first) else knows(prompt)
    spec = spec_of(writer, 3)
    assert main(spec, "paths", tmp_path) == 0
    paths = lines(directory_of(spec, tmp_path) / "paths.jsonl")
    assert [path["failure"] for path in paths] == ["form", None, None]
    assert paths[0]["complaint"] == "steps: expected it, got nothing"
    assert main(spec, "paths", tmp_path) == 0
    assert writer.asked.total() == 2 + 2 * 3


def test_a_response_that_is_wrong_makes_no_row(writer, tmp_path):
    knows = writer.reply
    writer.reply = lambda prompt: (
        json.dumps({"response": "The answer is 987654321."}) if stage(prompt) == "respond" else knows(prompt)
    )
    spec = spec_of(writer, 2)
    assert main(spec, "paths", tmp_path) == 0
    assert json.loads((directory_of(spec, tmp_path) / "summary.json").read_text())["failed"] == {"response": 2}


@pytest.mark.parametrize(("verdict", "rows_made"), [("right", 2), ("wrong", 0)])
def test_the_judge_is_asked_where_the_rule_cannot_tell(writer, faulty, tmp_path, verdict, rows_made):  # noqa: F811
    """It is another endpoint, with settings of its own."""
    knows = writer.reply

    def vague(prompt):
        if stage(prompt) == "initial":
            steps = json.loads(knows(prompt))["steps"]
            return json.dumps({"steps": [steps[0], steps[1] | {"content": "It stays as it was."}, steps[2]]})
        return json.dumps({"response": "Nothing has changed."}) if stage(prompt) == "respond" else knows(prompt)

    writer.reply = vague
    judge = faulty()
    judge.reply = Writer()
    judge.reply.verdict = verdict
    block = {"base_url": judge.base_url, "model_id": "j", "max_tokens": 9}
    spec = spec_of(writer, 2, depth=0, judge=block)
    assert main(spec, "paths", tmp_path) == 0
    assert json.loads((directory_of(spec, tmp_path) / "done.json").read_text())["rows"] == rows_made
    assert stages(judge) == {"judge": 4 if rows_made else 2}
    assert {(body["model"], body["max_tokens"], body["temperature"]) for body in judge.bodies} == {("j", 9, 0)}
    assert not stages(writer)["judge"]
    without = spec_of(writer, 2, depth=0)
    assert main(without, "paths", tmp_path) == 0
    assert json.loads((directory_of(without, tmp_path) / "done.json").read_text())["rows"] == 0


def test_calls_are_bought_once_whatever_is_searched_again(writer, tmp_path):
    writer.reply = Writer(malformed=15, wrong=60)
    first = spec_of(writer, 6, depth=1)
    assert main(first, "paths", tmp_path) == 0
    asked = writer.asked.total()
    assert main(first, "paths", tmp_path) == 0
    assert main(spec_of(writer, 6, depth=1, concurrency=1, budget={"tokens": 10**6}), "paths", tmp_path) == 0
    assert writer.asked.total() == asked == len(journal(tmp_path))
    deeper = spec_of(writer, 6, depth=3)
    assert main(deeper, "paths", tmp_path) == 0
    more = writer.asked.total() - asked
    assert main(deeper, "paths", tmp_path / "alone") == 0
    assert 0 < more < writer.asked.total() - asked - more  # the rest came from the journal
    assert results(deeper, tmp_path) == results(deeper, tmp_path / "alone")


@pytest.mark.parametrize("changes", [{"max_tokens": 65}, {"temperature": 0.6}, {"model_id": "other"}])
def test_another_writer_is_asked_anew(writer, tmp_path, changes):
    main(spec_of(writer, 2), "paths", tmp_path)
    main(spec_of(writer, 2, writer=changes), "paths", tmp_path)
    assert writer.asked.total() == 12


def test_the_result_depends_on_no_order_and_no_shards(writer, tmp_path, monkeypatch):
    writer.reply = Writer(malformed=15, wrong=80)
    found = []
    for i, (concurrency, shards, order) in enumerate(((1, 1, [0]), (7, 1, [0]), (2, 3, [2, 0, 1]))):
        spec = spec_of(writer, 7, attempts=2, concurrency=concurrency, shards=shards)
        for index in order:
            assert not (directory_of(spec, tmp_path / f"{i}") / "done.json").exists()
            monkeypatch.setenv(INDEX, str(index))
            assert main(spec, "paths", tmp_path / f"{i}") == 0
        found.append(results(spec, tmp_path / f"{i}"))
        assert len({call["key"] for call in journal(tmp_path / f"{i}")}) == writer.asked.total() / (i + 1)
    assert found[0] == found[1] == found[2]
    assert 0 < len(found[0]["rows.jsonl"].splitlines()) < 7


def test_faults_lose_nothing_and_buy_nothing_twice(writer, tmp_path):
    """What a 200 may hold besides an answer, among other faults."""
    writer.reply = Writer(malformed=15, wrong=40)
    clean = spec_of(writer, 8)
    assert main(clean, "paths", tmp_path / "clean") == 0
    bought = dict(writer.answered)
    writer.asked.clear(), writer.answered.clear()
    faults = ["notjson", "nochoice", "html", "drop", (500, {}, {"message": "no"}), None, None]
    writer.fault = lambda prompt, number: faults[len(prompt) % len(faults)] if number == 1 else None
    assert main(clean, "paths", tmp_path / "faults") == 0
    assert dict(writer.answered) == bought
    assert results(clean, tmp_path / "faults") == results(clean, tmp_path / "clean")


def test_an_endpoint_that_stays_away(writer, tmp_path):
    bad = ledger.TASK.prompt(rows(6)[3])
    writer.fault = lambda prompt, number: (503, {}, {"message": "down"}) if bad in prompt else None
    with pytest.raises(EndpointLost) as caught:
        main(spec_of(writer), "paths", tmp_path)
    assert exits.is_retryable(caught.value.exit_code)
    writer.fault = lambda prompt, number: None
    assert main(spec_of(writer), "paths", tmp_path) == 0
    assert set(writer.answered.values()) == {1}


def test_a_spent_budget_ends_the_run_and_a_higher_one_goes_on(writer, tmp_path):
    main(spec_of(writer), "paths", tmp_path / "before")
    limit = max(map(len, writer.asked)) + 64 + 64 + 5 * 14  # the longest request at its worst, after five others
    writer.asked.clear()
    with pytest.raises(SpecError) as caught:
        main(spec_of(writer, budget={"tokens": limit}, concurrency=2), "paths", tmp_path)
    assert caught.value.exit_code == exits.USER
    (line,) = caught.value.problems
    bought = writer.asked.total()
    assert 0 < bought < 18
    assert line.startswith("paths.budget.tokens: expected room for the ")
    assert f"with {bought * 14} spent and up to " in line
    assert main(spec_of(writer, budget={"tokens": 10**5}), "paths", tmp_path) == 0
    assert (writer.asked.total(), set(writer.asked.values())) == (18, {1})


def test_a_question_that_would_cost_too_much_ends_alone(writer, tmp_path):
    """At any concurrency, with faults, and from the journal; a higher limit buys what is left."""
    known, hard = writer.reply, ledger.TASK.prompt(rows(6)[2])
    writer.reply = lambda prompt: chain("987654321") if hard in prompt and stage(prompt) != "judge" else known(prompt)
    sound = spec_of(writer, depth=9)
    main(sound, "paths", tmp_path / "before")
    sizes = sorted(len(prompt.encode()) for prompt in writer.asked if hard in prompt)
    limit = sizes[3] + 64 + 64 + 3 * 14  # what the fourth call takes at its worst
    found = []
    for i, (concurrency, faults) in enumerate(((1, 0), (5, 1), (2, 0))):
        writer.fault = lambda prompt, number, last=faults: "notjson" if number <= last else None
        writer.asked.clear()
        limited = spec_of(writer, depth=9, concurrency=concurrency, budget={"tokens_per_question": limit})
        for _ in range(2):
            assert main(limited, "paths", tmp_path / f"{i}") == 0
        found.append(results(limited, tmp_path / f"{i}"))
        calls = json.loads(found[-1]["summary.json"])["calls"]
        assert writer.asked.total() == calls * (1 + faults) == len(journal(tmp_path / f"{i}")) * (1 + faults)
    assert found[0] == found[1] == found[2]
    assert json.loads(found[0]["summary.json"])["failed"] == {"budget": 1}
    spent = [line for line in map(json.loads, found[0]["paths.jsonl"].splitlines()) if line["failure"]]
    assert (spent[0]["calls"], len(spent[0]["turns"])) == (4, 4)
    assert main(sound, "paths", tmp_path / "0") == 0
    assert results(sound, tmp_path / "0") == results(sound, tmp_path / "before")


def test_dollars_for_a_question_need_prices(writer):
    with pytest.raises(SpecError, match=r"paths.writer.price: expected one with paths.budget.dollars_per_question"):
        spec_of(writer, budget={"dollars_per_question": 0.1})


def test_all_mistakes_are_told_before_a_request(writer, tmp_path):
    block = {
        "writer": {"base_url": "http://me:secret@x/v1", "api_key_env": "NOT_SET_ANYWHERE"},
        "judge": {"run": "nowhere"},
    }
    with pytest.raises(SpecError) as caught:
        main(spec_of(writer, **block, tasks=[{"task": "finqa", "path": "/nowhere.json"}]), "paths", tmp_path)
    text = str(caught.value)
    for part in ("paths.writer: base_url", "NOT_SET_ANYWHERE", "paths.judge: run: nowhere", "/nowhere"):
        assert part in text, part
    assert writer.asked.total() == 0


def test_a_context_that_is_too_short_is_told_before_a_request(writer, tmp_path):
    with pytest.raises(SpecError, match="paths.tasks: writer: expected a context of 2256 tokens"):
        main(spec_of(writer, writer={"context_length": 2256}), "paths", tmp_path)
    assert writer.asked.total() == 0


def test_a_key_that_expires_in_the_middle(writer, tmp_path, monkeypatch):
    monkeypatch.setenv("KEY_OF_WRITER", "sk-0123456789")
    # One at a time: `asked` is then the number of the request that is being answered.
    spec = spec_of(writer, writer={"api_key_env": "KEY_OF_WRITER"}, concurrency=1)
    expired = (401, {}, {"message": "sk-0123456789 has expired"})
    writer.fault = lambda prompt, number: expired if writer.asked.total() > 7 else None
    with pytest.raises(SpecError, match="expected a valid API key .* <key> has expired"):
        main(spec, "paths", tmp_path)
    assert len(journal(tmp_path)) == 7
    writer.fault = lambda prompt, number: None
    assert main(spec, "paths", tmp_path) == 0
    assert set(writer.answered.values()) == {1}
    assert "sk-0123456789" not in "".join(path.read_text() for path in tmp_path.rglob("*") if path.is_file())


def test_a_reply_of_ten_megabytes_is_sent_back_in_part(writer, tmp_path):
    knows, first = writer.reply, ledger.TASK.prompt(rows(1)[0])
    writer.reply = lambda prompt: knows(prompt) if "could not be read" in prompt or first not in prompt else "x" * 10**7
    assert main(spec_of(writer, 1), "paths", tmp_path) == 0
    assert max(map(len, writer.asked)) < 30_000
    assert [call["finish_reason"] for call in journal(tmp_path)] == ["stop"] * 6


def test_a_judge_that_contradicts_itself_is_asked_once(writer, faulty, tmp_path):  # noqa: F811
    knows, verdicts = writer.reply, itertools.cycle(["right", "wrong"])
    writer.reply = lambda prompt: knows(prompt).replace("The answer is", "I could not find").translate(NO_DIGITS)
    judge = faulty()
    judge.reply = lambda prompt: json.dumps({"verdict": next(verdicts)})
    spec = spec_of(writer, 3, depth=0, concurrency=1, judge={"base_url": judge.base_url})
    for _ in range(2):
        assert main(spec, "paths", tmp_path) == 0
    assert set(judge.asked.values()) == {1}
    assert json.loads((directory_of(spec, tmp_path) / "summary.json").read_text())["failed"]


def test_fino1_run(writer, tmp_path, capfd):
    """The command, and the report on such a run."""
    file = tmp_path / "my-paths.yaml"
    file.write_text(json.dumps(load.effective(spec_of(writer, 2))))
    assert entry.main(["run", str(file), "--work", str(tmp_path)]) == 0
    assert ", 2 rows; " in capfd.readouterr().out
    assert entry.main(["run", str(file), "--work", str(tmp_path)]) == 0
    assert "finished before" in capfd.readouterr().out
    assert writer.asked.total() == 6
    report.write_runs(tmp_path, ["my-paths"], tmp_path / "report", "T")
    assert (
        "- my-paths: 2 rows of 2 questions (100.0 %), 6 calls, 84 tokens"
        in (tmp_path / "report" / "leaderboard.md").read_text()
    )


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"text": None}, "text: expected text, got 'null'"),
        ({"key": [1]}, "key: expected text"),
        ({"new": 1}, "new: ex"),
    ],
)
def test_a_line_that_is_no_call_is_named(writer, tmp_path, changes, told):
    """It may have been paid for: the search does not pass it over."""
    main(spec_of(writer, 1), "paths", tmp_path)
    (file,) = tmp_path.glob("paths/*/calls.jsonl")
    first, *others = file.read_text().splitlines(keepends=True)
    file.write_text("".join([first, json.dumps(json.loads(others[0]) | changes) + "\n", *others[1:]]))
    with pytest.raises(SpecError) as caught:
        main(spec_of(writer, 1), "paths", tmp_path)
    (line,) = caught.value.problems
    assert line.startswith(f"paths.tasks: {file}:2: {told}")


def test_what_cannot_be_written_is_told_before_a_request(writer, tmp_path):
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(SpecError, match="--work: .*file: expected a directory that can be written, got File exists"):
        main(spec_of(writer), "paths", file)
    (tmp_path / "paths").write_text("mine")
    with pytest.raises(SpecError, match="expected what paths may read and write, got not a directory"):
        main(spec_of(writer), "paths", tmp_path)
    assert writer.asked.total() == 0


def test_a_full_disk_costs_no_call_that_is_under_way(tmp_path, monkeypatch):
    """Those that end after it is full go into the room that was reserved for them, and each says that nothing more fits."""
    monkeypatch.setattr("fino1.evaluate.journal.os.write", full(2))
    journal = Journal(tmp_path, {"writer": Tariff(None, 64)})
    with journal.reserve("calls.jsonl", 9000):
        assert (tmp_path / ".calls.jsonl.reserve").stat().st_size == 9000
        journal.append(Call.of("a", "q", "writer", "?", Answer("x", "stop", 1, 1, 0.1)), "calls.jsonl")
        for key in "bc":
            with pytest.raises(OSError, match="No space left"):
                journal.append(Call.of(key, "q", "writer", "?", Answer("x", "stop", 1, 1, 0.1)), "calls.jsonl")
    assert [call.key for call in read(tmp_path / "calls.jsonl")] == ["a", "b", "c"]
    assert [path.name for path in tmp_path.iterdir()] == ["calls.jsonl"]


PAGES = [("ACE/2015/page_1.pdf-1", "what was the change in sales ?"), ("ACE/2015/page_1.pdf-2", "what was the sum ?")]
PAGES += [
    ("BDF/2015/page_9.pdf-1", "What was the change in sales?"),
    ("CGH/2015/page_4.pdf-1", "what was the average ?"),
]


def finqa_file(path, pages, numbers=(23, 41)):
    """Rows in FinQA's own format, with long documents."""
    found = []
    for i, (identity, question) in enumerate(pages):
        table = [["", "2014", "2015"], ["sales", *(str(number + i) for number in numbers)]]
        text = {
            "pre_text": [f"Note {k} of {identity} is of no account ." for k in range(30)],
            "post_text": ["The end ."],
        }
        found.append({"id": identity, **text, "table": table, "qa": {"question": question, "exe_ans": 18.0}})
    path.write_text(json.dumps(found))
    return {"task": "finqa", "path": str(path)}


def knows_18(prompt):
    match stage(prompt):
        case "rewrite":
            return json.dumps({"reasoning": "41 less 23 is 18."})
        case "respond":
            return json.dumps({"response": "The answer is 18."})
    return chain("18")


def test_evaluated_questions_are_not_searched(writer, tmp_path):
    writer.reply = knows_18
    tasks = [finqa_file(tmp_path / "train.json", PAGES)]
    exclude = [finqa_file(tmp_path / "test.json", PAGES[:1], (77, 99)), {"task": "ledger", "size": 9}]
    spec = spec_of(writer, tasks=tasks, exclude=exclude)
    assert main(spec, "paths", tmp_path) == 0
    directory = directory_of(spec, tmp_path)
    assert [row["id"] for row in lines(directory / "rows.jsonl")] == [PAGES[3][0]]
    left_out = {line["id"]: (line["by"], line["other_id"]) for line in lines(directory / "excluded.jsonl")}
    first = PAGES[0][0]
    assert left_out == {
        PAGES[0][0]: ("page or table", first),
        PAGES[1][0]: ("page or table", first),
        PAGES[2][0]: ("question", first),
    }
    assert json.loads((directory / "summary.json").read_text())["excluded"] == 3
    assert writer.asked.total() == 3
    twice = finqa_file(tmp_path / "twice.json", [(PAGES[3][0], "what was it ?")] * 2, (23, 41))
    again = [json.loads((tmp_path / "twice.json").read_text())[0]] * 2
    (tmp_path / "twice.json").write_text(json.dumps(again))
    spec = spec_of(writer, tasks=[twice])
    assert main(spec, "paths", tmp_path) == 0
    (line,) = lines(directory_of(spec, tmp_path) / "excluded.jsonl")
    assert (line["by"], line["other_id"], writer.asked.total()) == ("the same prompt", PAGES[3][0], 6)
    finqa_file(tmp_path / "twice.json", PAGES)
    with pytest.raises(SpecError, match="paths.tasks.0.path: .*twice.json: expected what .* began with"):
        main(spec, "paths", tmp_path)
    nothing = spec_of(writer, tasks=tasks, exclude=tasks)
    with pytest.raises(SpecError, match="finqa: expected questions that paths.exclude leaves, got none of 4"):
        main(nothing, "paths", tmp_path)


@pytest.mark.parametrize("context", [None, 2256 + 250])
@pytest.mark.parametrize("preset", ["fino1", "paper"])
def test_training_cuts_a_row_s_document_only(writer, tmp_path, preset, context):
    """Also where the writer saw a part of it."""
    from fino1.spec.inputs import DataBlock
    from fino1.train.data import columns

    writer.reply = knows_18
    tasks = [finqa_file(tmp_path / "train.json", PAGES)]
    spec = spec_of(writer, tasks=tasks, prompt=preset, writer={"context_length": context})
    assert main(spec, "paths", tmp_path) == 0
    for name, method in (("rows.jsonl", "sft"), ("rl.jsonl", "ppo")):
        for record in columns.read(DataBlock(path=str(directory_of(spec, tmp_path) / name)), method):
            document = "".join(record.before)
            assert ("Note 0 of" in document) == (context is None)
            assert "|2014|2015" in document and "sales|" in document
            around = record.fields["head"] + record.question
            assert "Note" not in around and "sales|" not in around and "what was" in around.lower()


def test_two_processes_search_no_question_twice(writer, tmp_path):
    writer.delay_s = 0.02
    codes = []
    specs = [spec_of(writer), spec_of(writer, depth=3)]
    threads = [threading.Thread(target=lambda s=spec: codes.append(main(s, "paths", tmp_path))) for spec in specs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == [0, 0]
    assert set(writer.asked.values()) == {1}
    assert results(specs[0], tmp_path) == results(specs[1], tmp_path)


def test_a_truth_value_is_yes_or_no(writer, tmp_path):
    row = finqa_file(tmp_path / "train.json", PAGES[:1])
    data = json.loads((tmp_path / "train.json").read_text())
    data[0]["qa"]["exe_ans"] = "yes"
    (tmp_path / "train.json").write_text(json.dumps(data))
    replies = {"initial": chain("no"), "gold": chain("yes"), "respond": json.dumps({"response": "The answer is yes."})}
    writer.reply = lambda prompt: replies.get(stage(prompt)) or knows_18(prompt)
    spec = spec_of(writer, tasks=[row], depth=0, fallback=True)
    assert main(spec, "paths", tmp_path) == 0
    assert any("<result>yes</result>" in prompt for prompt in writer.asked)
    assert len(lines(directory_of(spec, tmp_path) / "rows.jsonl")) == 1
    replies["initial"] = chain("yes")
    spec = spec_of(writer, tasks=[row], depth=0, writer={"model_id": "w2"})
    assert main(spec, "paths", tmp_path) == 0
    assert lines(directory_of(spec, tmp_path) / "rl.jsonl")[0]["Ground-True Answer"] == "yes"
