import base64
import json
import re
import zlib

import pytest

from fino1 import report
from fino1.cells import read_cell
from fino1.report import samples

EVIL = "</script><!--<script>alert(1)</script><img src=x onerror=alert(2)>"


@pytest.fixture
def data(tmp_path):
    """Writes a report and reads what its script gets."""

    def write(*directories):
        report.write(list(directories), {}, tmp_path / "out", "T")
        text = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
        found = json.loads(re.search(r'id="samples-data">(.*?)</script>', text, re.S)[1])
        parts = dict(re.findall(r'id="part-(\d+)">([A-Za-z0-9+/=]*)</script>', text))
        return found | {"tasks": [unpack(task, parts) for task in found["tasks"]]}

    return write


STATES = {state[0]: state for state in ("right", "wrong", "unparsed", "truncated")}


def unpack(task, parts):
    """The task with prompts, and with questions that have their answers, as the script puts them together."""
    prompts, *of_models = (
        json.loads(zlib.decompress(base64.b64decode(parts[str(number)])))
        for number in (task["prompts"], *task["answers"])
    )
    questions = []
    for i, (key, question, target) in enumerate(task["questions"]):
        states = [of[i * task["k"]] for of in task["states"]]
        answers = [of[i][0] | {"state": STATES[s]} if of[i] else None for of, s in zip(of_models, states, strict=True)]
        assert [answer is None for answer in answers] == [s == "-" for s in states]
        questions.append({"id": key, "question": question, "target": target, "answers": answers})
    kept = {key: task[key] for key in ("task", "models", "k", "states")}
    return kept | {"prompts": prompts, "questions": questions, "every": of_models}


def facts(found, model, question=0, task=0):
    answer = found["tasks"][task]["questions"][question]["answers"][model]
    return dict(zip(found["labels"], answer["facts"], strict=True))


def test_every_sample_of_every_cell_is_there(cell, data):
    found = data(cell("a", [True] * 300), cell("b", [False] * 200), cell("a", [None] * 5, "finqa"))
    assert [(task["task"], task["models"]) for task in found["tasks"]] == [("ledger", ["a", "b"]), ("finqa", ["a"])]
    ledger = found["tasks"][0]["questions"]
    assert [question["id"] for question in ledger] == [f"row-{i}" for i in range(300)]
    assert sum(answer is not None for question in ledger for answer in question["answers"]) == 500
    assert ledger[250]["answers"][1] is None


def test_a_sample_has_what_was_read_and_said(cell, data, sample):
    fields = {"target": -1234567.5, "extracted": "(1,234,567.5)", "value": -1234567.5, "sign_from_question": True}
    found = data(cell("a", [sample(5, True, **fields)]))
    assert found["tasks"][0]["questions"][0]["target"] == "−1,234,567.5"
    assert facts(found, 0) == {
        "Extracted": "(1,234,567.5)",
        "Read as": "−1,234,567.5",
        "Strict verdict": "right",
        "DocMath-compatible": "right",
        "Prompt tokens": "12",
        "Completion tokens": "20",
        "Seconds": "0.25",
        "Finish reason": "stop",
        "Document": None,
        "Sign": "accepted by magnitude: the question asks for a decrease",
        "Vote": None,
        "By extraction": None,
        "Program": None,
    }
    program = facts(data(cell("b", [sample(5, True, extracted="add(2, 3)", value=5.0, same_program=False)])), 0)
    assert (program["Extracted"], program["Read as"], program["Program"]) == ("add(2, 3)", "5", "not the gold one")


@pytest.mark.parametrize(
    ("strict", "fields", "state", "verdict"),
    [
        (True, {}, "right", "right"),
        (False, {}, "wrong", "wrong"),
        (None, {}, "unparsed", "unparsed"),
        (True, {"finish_reason": "length"}, "truncated", "right, but truncated, so not counted"),
        (None, {"finish_reason": "length"}, "truncated", "unparsed"),
    ],
)
def test_the_outcome_is_a_word(cell, data, sample, strict, fields, state, verdict):
    found = data(cell("a", [sample(0, strict, **fields)]))
    assert found["tasks"][0]["questions"][0]["answers"][0]["state"] == state
    assert facts(found, 0)["Strict verdict"] == verdict


def test_comparison_counts_are_those_of_the_paired_test(cell, data, sample, tmp_path):
    a = [True, True, False, None, True, True]
    b = [True, False, True, None, None]
    cut = sample(5, True, finish_reason="length")
    found = data(cell("a", a), cell("b", [*b, cut]))
    pairs = [question["answers"] for question in found["tasks"][0]["questions"]]
    counted = [tuple(answer["state"] == "right" for answer in answers) for answers in pairs if all(answers)]
    row = next(
        line for line in (tmp_path / "out/leaderboard.md").read_text().splitlines() if line.startswith("| ledger | a")
    )
    assert [part.strip() for part in row.split("|")][5:8] == ["6", "3", "1"]
    assert (len(counted), counted.count((True, False)), counted.count((False, True))) == (6, 3, 1)


def test_a_prompt_is_there_once_and_a_shortened_one_apart(cell, data, sample):
    found = data(
        cell("a", [sample(0), sample(1)]),
        cell("b", [sample(0), sample(1, prompt="short", cut=True)]),
    )
    assert [question["answers"][m]["prompt"] for question in found["tasks"][0]["questions"] for m in (0, 1)] == [
        0,
        0,
        1,
        2,
    ]
    assert found["tasks"][0]["prompts"][2] == ["short"]
    assert facts(found, 1, question=1)["Document"] == "cut to fit the model"


def test_long_texts_keep_both_ends_and_say_so(cell, data, sample):
    long = "x" * (samples.COMPLETION_CHARS[0] + 500) + "END"
    found = data(cell("a", [sample(0, completion=long, prompt="p" * samples.PROMPT_CHARS + "LAST")]))
    ((_, said),) = found["tasks"][0]["questions"][0]["answers"][0]["parts"]
    assert said.endswith("xEND") and "503 characters left out" in said
    assert "4 characters left out" in found["tasks"][0]["prompts"][0][0]


def test_reasoning_that_came_apart_is_shown(cell, data, sample):
    found = data(cell("a", [sample(0, reasoning="hidden steps", completion="5")]))
    parts = found["tasks"][0]["questions"][0]["answers"][0]["parts"]
    assert parts == [["Reasoning sent apart", "hidden steps"], ["Completion", "5"]]


def test_nothing_ends_the_data_early(cell, data, sample):
    evil = sample(0, False, completion=EVIL, question=EVIL, prompt=EVIL, extracted=EVIL, target=EVIL)
    found = data(cell("a", [evil], task=EVIL.replace("/", "")))
    answer = found["tasks"][0]["questions"][0]["answers"][0]
    assert answer["parts"] == [["Completion", EVIL]]
    assert "<" not in samples.embed(EVIL)


def test_odd_characters_are_shown(cell, data, sample):
    found = data(cell("a", [sample(0, completion="a\x00b\x1b[31m\ud800 \u2028 end\r\n")]))
    assert found["tasks"][0]["questions"][0]["answers"][0]["parts"] == [["Completion", "a␀b␛[31m\ufffd \u2028 end\n"]]


@pytest.mark.parametrize(
    ("prompt", "tables"),
    [
        ("text\na|b\nc|d\nQuestion: x", [[["a", "b"], ["c", "d"]]]),
        ("a|1\nb|2", [[["a", "1"], ["b", "2"]]]),
        ("one line with|a bar\ntext", []),
        ("a|b\nc|d|e\nf|g|h\nend", [[["c", "d", "e"], ["f", "g", "h"]]]),
        ("a|b\nc|d\n\n1|2\n3|4", [[["a", "b"], ["c", "d"]], [["1", "2"], ["3", "4"]]]),
        ("", []),
    ],
)
def test_tables_are_found_and_the_prompt_stays_whole(prompt, tables):
    found = samples.split_tables(prompt)
    assert [piece for piece in found if isinstance(piece, list)] == tables
    joined = "\n".join(p if isinstance(p, str) else "\n".join(map("|".join, p)) for p in found)
    assert joined == prompt


@pytest.mark.parametrize(
    ("completion", "expected"),
    [
        ("## Thinking\n\nsteps\n\n## Final Response\n\n5", [("Reasoning", "steps"), ("Final response", "5")]),
        ("## Thinking\n\nsteps and", [("Reasoning", "steps and"), ("Final response", "")]),
        (
            "So.\n## Thinking\n\ns\n\n## Final Response\n\n5",
            [("Before the headings", "So.\n"), ("Reasoning", "s"), ("Final response", "5")],
        ),
        ("5", [("Completion", "5")]),
        ("## Final Response\n5\n## Thinking\n", [("Completion", "## Final Response\n5\n## Thinking\n")]),
        ("## Thinking ## Thinking", [("Completion", "## Thinking ## Thinking")]),
    ],
)
def test_completions_are_split_at_their_headings(completion, expected):
    assert samples.split_headings(completion) == expected


def test_states_are_those_the_page_has_signs_for(cell, sample):
    lines = [sample(0), sample(1, False), sample(2, None), sample(3, finish_reason="length")]
    states = [one.state for one in read_cell(cell("a", lines)).samples]
    assert states == list(report.page._SIGNS)
