"""What counts as the same row, and as a row of an evaluation."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from fino1.tasks import ledger
from fino1.tasks.finqa import read
from fino1.tasks.ngrams import compare, is_figure, split_words
from tests.rows.conftest import TASK, lines, path, question, write_evaluation, write_rows, write_run

REAL = Path(__file__).parents[3] / "shared" / "data" / "finqa"
if not REAL.is_dir():
    REAL = Path("/work/shared/data/finqa")
ASKED = "what was the percentage change in net sales of the segment from 2014 to 2015 ?"


def counts(directory):
    return json.loads((directory / "summary.json").read_text())["counts"]


@pytest.mark.parametrize(
    ("changes", "outcome"),
    [
        ({}, "repeated"),
        ({"question": ASKED.upper()}, "repeated"),
        ({"question": ASKED.replace("percentage", "percent")}, "near_duplicates"),
        ({"question": ASKED.replace("2014", "2013")}, "kept"),
        ({"question": ASKED.replace("net sales", "operating profit")}, "kept"),
        ({"question": ASKED.replace("percentage", "percent"), "target": 3.0}, "kept"),
        ({"question": "what is the total of item 3 ?"}, "kept"),
    ],
)
def test_two_questions_of_a_page(make, tmp_path, changes, outcome):
    one = question(1, text=ASKED)
    other = replace(one, id="other", **changes)
    found = counts(make(write_run(tmp_path, [(one, path(one)), (other, path(other))]), "--rl-share", "0"))
    left_out = {name: found[name] for name in ("repeated", "near_duplicates") if found[name]}
    assert left_out == ({} if outcome == "kept" else {outcome: 1})
    assert found["sft"] == 2 - len(left_out)


def test_one_question_of_two_pages_with_the_same_words_and_other_figures(make, tmp_path):
    one, other = question(1, "AA/1", text=ASKED), question(1, "AB/1", text=ASKED)
    other = replace(other, before=one.before, target=one.target)
    found = counts(make(write_run(tmp_path, [(one, path(one)), (other, path(other))])))
    assert (found["repeated"], found["near_duplicates"]) == (0, 0)


def test_of_two_alike_that_stays_whose_writer_was_not_shown_the_gold(make, tmp_path):
    one = question(1, text=ASKED)
    found = path(one)
    shown = type(found)((replace(found.turns[0], strategy="Gold shown"),), None, "I was told.", found.response)
    first, second = write_run(tmp_path, [(one, shown)], "a"), write_run(tmp_path, [(one, found)], "b")
    (row,) = lines(make(first, second, "--rl-share", "0") / "sft.jsonl")
    assert row["shows_gold"] is False and row["source"] == second.name


EVALUATED = question(1, "EV/2012/page_9.pdf", text=ASKED)
OWN = question(5, "OWN/2012/page_3.pdf")


@pytest.mark.parametrize(
    ("record", "kind"),
    [
        (replace(OWN, page=EVALUATED.page), "page"),
        (replace(OWN, table=EVALUATED.table, fields=EVALUATED.fields), "table"),
        (replace(OWN, question=ASKED.replace(" ?", "?")), "question"),
        (replace(OWN, table=EVALUATED.table[:6]), "n-grams"),
        (replace(OWN, table=EVALUATED.table[:2]), None),
        (replace(OWN, before=EVALUATED.before), None),  # the words of another year's report, other figures
        (OWN, None),
    ],
)
def test_what_an_evaluation_asks_is_left_out(make, tmp_path, record, kind):
    test = write_evaluation(tmp_path / "test.json", [question(2, "EV/2011/page_1.pdf"), EVALUATED])
    (evaluated,) = [each for each in read(test) if each.id == EVALUATED.id]
    if kind == "table":
        record = replace(record, fields=evaluated.fields)
    other = question(3, "kept/page")
    run = write_run(tmp_path, [(record, path(record)), (other, path(other))])
    out = make(run, "--exclude", f"finqa={test}")
    matches = lines(out / "matches.jsonl")
    assert counts(out)["evaluated"] == ({kind: 1} if kind else {})
    assert [(m["kind"], m["id"], m["other_id"], m["of"]) for m in matches] == (
        [(kind, record.id, EVALUATED.id, "finqa test.json")] if kind else []
    )
    for match in matches:
        assert (match["question"], match["other_question"]) == (record.question, ASKED)
        assert kind in ("page", "question") or match["text"] in "\n".join((*record.before, *record.table))
        assert split_words(match["text"]) == split_words(match["other_text"])


def test_rows_that_name_no_page(make, tmp_path):
    test = write_evaluation(tmp_path / "test.json", [EVALUATED])
    same_page = replace(OWN, before=EVALUATED.before, table=EVALUATED.table)
    file = write_rows(tmp_path / "rows.jsonl", [same_page, replace(OWN, question=ASKED), question(7, "kept/page")])
    out = make(file, "--exclude", f"finqa={test}")
    assert counts(out)["evaluated"] == {"n-grams": 1, "question": 1} and counts(out)["sft"] == 1


def test_evaluation_sets_of_a_run_file(make, tmp_path):
    test = write_evaluation(tmp_path / "test.json", [EVALUATED])
    run_file = tmp_path / "my-eval.yaml"
    run_file.write_text(
        f"method: eval\neval:\n  models: [{{name: m, base_url: 'http://x/v1'}}]\n"
        f"  tasks: [{{task: ledger}}, {{task: finqa, path: {test}}}]\n"
    )
    file = write_rows(tmp_path / "rows.jsonl", [replace(EVALUATED, question="?"), question(7, "kept/page")])
    out = make(file, "--exclude", run_file)
    assert counts(out)["evaluated"] == {"n-grams": 1}
    assert [each["name"] for each in json.loads((out / "summary.json").read_text())["evaluation_sets"]] == [
        "ledger generated",
        "finqa test.json",
    ]


@pytest.mark.parametrize("argument", ["finqa", "finqa=", "nothing=x.json", "x.json", "finqa=missing.json"])
def test_an_evaluation_set_that_is_none(make, tmp_path, argument):
    file = write_rows(tmp_path / "rows.jsonl", [OWN])
    assert make(file, "--exclude", argument, code=2).startswith("--exclude: ")


def test_pages_of_the_ledger_ask_the_same_questions(make, tmp_path):
    rows = ledger.generate("sft", n=300, seed=1)
    run = write_run(tmp_path, [(r, path(r)) for r in rows], of=ledger.TASK)
    found = counts(make(run, "--exclude", "ledger"))
    assert (found["evaluated"], found["sft"] + found["rl"]) == ({}, 300)


def test_figures():
    words = split_words("In 2014 , “ net ” was 1,204 and 12.5 of 201cgross 201d , 31 items , 2019s")
    assert " ".join(words) == "in 2014 net was 1204 and 12.5 of 201cgross 201d 31 items 2019s"
    assert [word for word in words if is_figure(word)] == ["1204", "12.5"]


def test_texts_that_share_nothing():
    assert compare("one two three", "four five six").text == ""


@pytest.mark.skipif(not REAL.is_dir(), reason="no real rows in ../shared/data")
def test_every_real_row_finds_itself(make, tmp_path):
    """Without its page's name, too; the training rows at hand have two with a page of the test set."""
    test = REAL / "finqa_test_250_simplified.json"
    kept = question(7, "kept/page")
    file = write_rows(tmp_path / "rows.jsonl", [*read(test), kept])
    assert counts(make(file, "--exclude", f"finqa={test}"))["sft"] == 1
    train = write_rows(tmp_path / "train.jsonl", read(REAL / "finqa_train_100_raw.json"))
    matches = lines(make(train, "--exclude", f"finqa={test}", to="train") / "matches.jsonl")
    assert {m["other_page"] for m in matches} == {"ETR/2016/page_374.pdf", "GPN/2010/page_89.pdf"}


def test_the_prompt_of_a_row_is_split():
    from fino1.rows.row import split_prompt

    asked, document = "what is it ?", "a page .\nitem|5"
    prompt = TASK.prompt(question(1, text=asked, before=("a page .",), table=("item|5",)))
    assert split_prompt(prompt, document) == split_prompt(prompt) == (document, asked)
    assert split_prompt(f"Read it.\nContext: {document}\nQuestion: {asked}\nAnswer:") == (
        f"Read it.\nContext: {document}",
        asked,
    )
    assert split_prompt(asked) == ("", asked)
