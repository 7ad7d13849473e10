import re
from dataclasses import replace

import pytest

from fino1.errors import SpecError
from fino1.tasks import ledger
from fino1.tasks.record import solution, well_formed

TRAINED, EVALUATED = ("sft", "ppo"), ("validation", "test")


def completion(record):
    return solution(record.cot, record.response)


def amounts(record):
    return tuple(int(number) for number in record.table[-1].split()[1:])


def evaluate_step(step):
    """Is every equation of `a-b=-(b-a)` or `a-b` true? (its own reading, by Python's arithmetic on digits we made)"""
    sides = [side.rstrip("%") for side in step.split("=")]
    assert all(re.fullmatch(r"[-0-9+*/()]+", side) for side in sides), step
    return len({eval(side) for side in sides}) == 1  # noqa: S307


@pytest.mark.parametrize("split", [*TRAINED, *EVALUATED])
def test_same_seed_same_rows(split):
    rows = ledger.generate(split, 200, seed=3, slip_rate=0.5)
    assert rows == ledger.generate(split, 200, seed=3, slip_rate=0.5)
    assert rows[:50] == ledger.generate(split, 50, seed=3, slip_rate=0.5)
    assert {row.id for row in rows} != {row.id for row in ledger.generate(split, 200, seed=4, slip_rate=0.5)}
    assert len({row.id for row in rows}) == 200


def test_rows_are_pinned():
    """They must be the same on every machine and Python: the artefact's hash depends on them."""
    (first,) = ledger.generate("test", 1, seed=1)
    assert (first.id, first.question, first.cot, first.response, first.target) == PINNED


PINNED = (
    "test/average/sales/2013/38/24",
    "what is the average of sales in 2013 and 2014 ?",
    "sales 38 24|38+24|8+4=12|3+2+1=6|62/2=31",
    "31",
    31.0,
)


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("n", [50, 1000, 4000])
def test_no_evaluated_pair_is_trained_on(seed, n):
    trained = [row for split in TRAINED for row in ledger.generate(split, n, seed, slip_rate=0.5)]
    asked = [row for split in EVALUATED for row in ledger.generate(split, min(n, 2000), seed)]
    ledger.check_held_out(trained, asked)
    trained_on = {(row.fields["kind"], frozenset(amounts(row))) for row in trained}
    assert not trained_on & {(row.fields["kind"], frozenset(amounts(row))) for row in asked}


def test_held_out_over_all_possible_rows():
    pools = {
        split: {frozenset(p) for k in ledger.QUESTIONS for p in ledger._list_pairs(k, split)}
        for split in (*TRAINED, *EVALUATED)
    }
    assert pools["sft"] == pools["ppo"]
    assert not pools["sft"] & (pools["test"] | pools["validation"])
    assert not pools["test"] & pools["validation"]
    assert all(ledger._list_pairs("percent", split) for split in pools), "every split must ask for percentages"
    for a, b in ((a, b) for a in ledger.AMOUNTS for b in ledger.AMOUNTS):
        assert ledger.find_share(a, b) == ledger.find_share(b, a)


def test_a_leak_is_named():
    trained, asked = ledger.generate("sft", 100, 1), ledger.generate("test", 100, 1)
    planted = replace(asked[7], id="planted", cot="")
    with pytest.raises(SpecError, match=f"{asked[7].page}.*planted"):
        ledger.check_held_out([*trained, planted], asked)


def test_the_page_is_the_kind_and_the_pair():
    for row in ledger.generate("sft", 500, 1):
        assert row.page == "/".join([row.fields["kind"], *map(str, sorted(amounts(row)))])
        stems = {kind: text.split(" {name}")[0] for kind, text in ledger.QUESTIONS.items()}
        assert row.question.startswith(stems[row.fields["kind"]])


@pytest.mark.parametrize("split", ["sft", "test"])
def test_right_solutions_are_right_and_well_formed(split):
    for row in ledger.generate(split, 1000, 1):
        assert well_formed(completion(row))
        for question in (row.question, ledger.TASK.prompt(row)):
            verdict = ledger.TASK.score(completion(row), question, row.target)
            assert verdict.strict is True and not verdict.sign_from_question, (row, verdict)


def test_slipped_solutions_are_wrong_and_well_formed():
    for row in ledger.generate("sft", 1000, 1, slip_rate=1.0):
        assert well_formed(completion(row))
        verdict = ledger.TASK.score(completion(row), row.question, row.target)
        assert verdict.strict is (row.fields["kind"] == "sum"), (row, verdict)


@pytest.mark.parametrize("slip_rate", [0.0, 1.0])
def test_every_step_is_true_arithmetic(slip_rate):
    for row in ledger.generate("ppo", 1000, 2, slip_rate):
        copied, *steps = row.cot.split("|")
        assert copied == row.table[-1]
        assert all(evaluate_step(step) for step in steps), row.cot
        assert steps[-1].split("=")[-1] == row.response


@pytest.mark.parametrize("rate", [0.0, 0.3, 0.6])
def test_slip_rate(rate):
    rows = [row for row in ledger.generate("sft", 2000, 1, rate) if row.fields["kind"] != "sum"]
    slipped = sum(ledger.TASK.score(completion(row), row.question, row.target).strict is False for row in rows)
    assert slipped / len(rows) == pytest.approx(rate, abs=0.04)


def test_no_question_asks_for_a_decrease():
    words = " ".join([*ledger.QUESTIONS.values(), *ledger.NAMES])
    assert not re.search("decreas|declin|drop|fall|reduc|loss", words)


def test_written_rows_are_read_again(tmp_path):
    rows = ledger.generate("sft", 100, 1, slip_rate=0.5)
    ledger.write(rows, tmp_path / "sft.jsonl")
    assert ledger.TASK.read(tmp_path / "sft.jsonl") == rows
    assert ledger.make_row(rows[0])["Question"] == ledger.TASK.prompt(rows[0])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "empty"),
        ("{", "bad.jsonl:1: expected a ledger row"),
        ("[1]", "bad.jsonl:1: expected a ledger row"),
        ('{"id": "x"}', "bad.jsonl:1: Question"),
        ('{"Question": "a\\nb", "Ground-True Answer": "many"}', "bad.jsonl:1: expected a ledger row"),
    ],
)
def test_bad_files_are_refused(tmp_path, content, message):
    (tmp_path / "bad.jsonl").write_text(content)
    with pytest.raises(SpecError, match=message):
        ledger.read(tmp_path / "bad.jsonl")


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(SpecError, match="none.jsonl: expected a file"):
        ledger.read(tmp_path / "none.jsonl")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", 1, 1), "split: expected one of sft"),
        (("test", 10**6, 1), "n: expected 0 to"),
        (("test", -1, 1), "n: expected 0 to"),
        (("sft", 1, 1, 1.5), "slip_rate: expected 0 to 1"),
    ],
)
def test_senseless_arguments_are_refused(arguments, message):
    with pytest.raises(SpecError, match=message):
        ledger.generate(*arguments)
