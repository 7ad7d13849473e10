"""The matcher on every real row at hand: all notations of docs/scoring.md, and answers that must be refused."""

from pathlib import Path

import pytest

from fino1.tasks import task
from fino1.tasks.record import judge, solution, well_formed
from fino1.tasks.scoring.digits import read_precision
from fino1.tasks.scoring.question import read_facts

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
FILES = {
    "finqa_train_100_raw.json": ("finqa", task("finqa"), 100),
    "finqa_dev_200_raw.json": ("finqa", task("finqa"), 200),
    "finqa_dev_facts.jsonl": ("finqa", task("finqa"), 883),
    "finqa_test_250_simplified.json": ("finqa", task("finqa"), 250),
    "Task7-XBRL-financial_math-testing.tsv": ("xbrl_math", task("xbrl_math"), 90),
    "Task7-XBRL-financial_math-validation.csv": ("xbrl_math", task("xbrl_math"), 100),
}
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"the real rows are not at hand: no {DATA}")


def exact(value: float) -> str:
    return f"{value:.12f}".rstrip("0").rstrip(".") or "0"


def unit_word(record, task_name: str) -> tuple[str, float]:
    """A scale word that says the gold in the question's unit: the one stated, else (amounts written out) a real one."""
    unit = 1.0 if task_name == "xbrl_math" else read_facts(record.question).unit
    if unit is None:
        return "million", 1.0
    return "billion", unit / 1e9


NOTATIONS = {
    "as is": lambda g, r, t: repr(g),
    "percent": lambda g, r, t: exact(g * 100) + "%",
    "percent word": lambda g, r, t: exact(g * 100) + " percent",
    "dollar": lambda g, r, t: ("-" if g < 0 else "") + "$ " + exact(abs(g)),
    "commas": lambda g, r, t: f"{g:,.6f}".rstrip("0").rstrip("."),
    "space groups": lambda g, r, t: f"{g:,.6f}".rstrip("0").rstrip(".").replace(",", "\u202f"),
    "brackets": lambda g, r, t: f"({exact(-g)})" if g < 0 else exact(g),
    "trailing minus": lambda g, r, t: f"{exact(-g)}-" if g < 0 else exact(g),
    "unicode minus": lambda g, r, t: exact(g).replace("-", "\u2212"),
    "scale word": lambda g, r, t: f"{exact(g * unit_word(r, t)[1])} {unit_word(r, t)[0]}",
    "bold sentence": lambda g, r, t: f"The answer is **{exact(g)}**.",
    "boxed": lambda g, r, t: f"So we get \\(\\boxed{{{exact(g)}}}\\).",
    "boxed percent": lambda g, r, t: f"$\\boxed{{{exact(g * 100)}\\%}}$",
    "final response": lambda g, r, t: (
        f"## Thinking\n\nIs it 77? In 2014 it was 5.\n\n## Final Response\n\nIt comes to {exact(g)}"
        + ("." if read_facts(r.question).year else " in 2015.")
    ),
}


def load(name):
    folder, task, count = FILES[name]
    records = task.read(DATA / folder / name)
    assert len(records) == count
    return task, records


def numeric(records):
    return [record for record in records if not isinstance(record.target, bool)]


@pytest.mark.parametrize("notation", NOTATIONS)
@pytest.mark.parametrize("name", FILES)
def test_gold_is_right_in_every_notation(name, notation):
    task, records = load(name)
    wrong = []
    for record in numeric(records):
        text = NOTATIONS[notation](record.target, record, task.name)
        if task.score(text, record.question, record.target).strict is not True:
            wrong.append((record.id, record.question, record.target, text))
    assert not wrong


@pytest.mark.parametrize("name", FILES)
def test_gold_is_right_by_what_its_row_says(name):
    """A gold in percent is written with its own digits and %; a scale word is that of the row's table."""
    task, records = load(name)
    for record in numeric(records):
        gold = record.target
        shown = gold if record.basis.get("in_percent") else gold * 100
        texts = [exact(gold), f"{exact(shown)}%", f"\\boxed{{{exact(shown)}\\%}}"]
        if unit := record.basis.get("table_unit"):
            texts.append(f"{exact(gold * unit / 1e6)} million")
        assert all(judge(task.score, text, record).strict is True for text in texts), (record, texts)


@pytest.mark.parametrize("name", FILES)
def test_yes_and_no_rows(name):
    task, records = load(name)
    for record in records:
        if isinstance(record.target, bool):
            right, other = ("Yes", "No") if record.target else ("No", "Yes")
            assert task.score(f"{right}.", record.question, record.target).strict is True
            assert task.score(f"{other}, it did not.", record.question, record.target).strict is False


@pytest.mark.parametrize("name", FILES)
def test_flipped_sign_is_refused_unless_a_decrease_is_asked(name):
    task, records = load(name)
    for record in numeric(records):
        verdict = task.score(exact(-record.target), record.question, record.target)
        accepted = record.target == 0 or read_facts(record.question).decrease
        assert (verdict.strict, verdict.sign_from_question) == (accepted, accepted and record.target != 0), record


@pytest.mark.parametrize("factor", [10, 0.1])
@pytest.mark.parametrize("name", FILES)
def test_a_factor_of_ten_is_refused(name, factor):
    task, records = load(name)
    for record in numeric(records):
        for text in (exact(record.target * factor), exact(record.target * factor * 100) + "%"):
            assert task.score(text, record.question, record.target).strict is (record.target == 0), (record, text)


@pytest.mark.parametrize("name", FILES)
def test_one_percent_off_is_refused_where_both_print_three_digits(name):
    task, records = load(name)
    for record in numeric(records):
        text = exact(record.target * 1.01)
        verdict = task.score(text, record.question, record.target)
        three_digits = min(read_precision(repr(abs(record.target)))[1], len(text.strip("-0.").replace(".", ""))) >= 3
        assert not (verdict.strict and three_digits), (record, text)


@pytest.mark.parametrize("name", [name for name in FILES if name.startswith("finqa")])
def test_every_program_gives_a_right_worked_solution(name):
    task, records = load(name)
    assert [record.id for record in records if record.fields.get("program") and not record.cot] == []
    for record in records:
        text = solution(record.cot, record.response)
        assert well_formed(text)
        assert task.score(text, record.question, record.target).strict is True, record
