"""Several answers to each question: what the leaderboard, the tests, the page and the comparison make of them."""

import csv
import itertools
import json
import random

import pytest

from fino1 import cells, report
from fino1.errors import SpecError
from fino1.intervals import bootstrap, mcnemar, sign_flip, wilson
from fino1.report import leaderboard, published, several, standing
from tests.report.test_samples import data  # noqa: F401, a fixture


def test_each_figure_of_a_row(several_cell, tmp_path):
    path = several_cell("a", "rrw", "wwr", "www", "ruu")
    (row,) = report.write([path], {}, tmp_path / "out", "T")["rows"]
    assert (row["k"], row["n"], row["questions"], row["samples"]) == (4, 12, 4, 3)
    assert (row["accuracy"], row["maj"], row["pass"]) == (4 / 12, 2 / 4, 3 / 4)
    assert (row["low"], row["high"]) == bootstrap([2, 1, 0, 1], 3)
    assert (row["maj_low"], row["maj_high"]) == wilson(2, 4)
    assert (row["pass_low"], row["pass_high"]) == wilson(3, 4)


@pytest.mark.parametrize(
    ("right", "same_as", "expected"),
    [
        ([False, True, True], [0, 1, 1], True),
        ([False, True], [0, 1], False),  # a tie: the earliest
        ([True, False], [0, 1], True),
        ([False, True, None], [0, 1, None], False),
        ([None, None, True], [None, None, 2], True),
        ([None, None], [None, None], False),
        ([False, True, False, True, False], [0, 1, 2, 1, 0], False),
    ],
)
def test_the_most_frequent_answer_counts(sample, right, same_as, expected):
    answers = [
        cells.Sample(**sample(0, strict, number=i), same_as=vote)
        for i, (strict, vote) in enumerate(zip(right, same_as, strict=True))
    ]
    assert several.is_majority_right(answers) is expected


def test_the_interval_is_over_questions(several_cell, tmp_path):
    """Four answers that are always the same are no more evidence than one."""
    of = {k: several_cell(f"m{k}", *["r" * k, "w" * k] * 10, task=f"t{k}") for k in (2, 4)}
    two, four = report.write(list(of.values()), {}, tmp_path / "out", "T")["rows"]
    assert (two["low"], two["high"]) == (four["low"], four["high"]) == wilson(10, 20)


def test_the_bootstrap_is_that_of_all_resamples():
    counts = [0, 1, 1, 3, 2]
    sums = sorted(map(sum, itertools.product(counts, repeat=5)))
    last = len(sums) - 1
    expected = (sums[int(0.025 * last)] / 15, sums[int(0.975 * last) + 1] / 15)
    assert bootstrap(counts, 3) == expected


def test_few_and_equal_counts():
    assert bootstrap([0, 0, 0], 4) == wilson(0, 3)
    assert bootstrap([4, 0, 4], 4) == wilson(2, 3)
    assert bootstrap([2], 4) == (0.5, 0.5)


@pytest.mark.parametrize("seed", range(4))
def test_the_sign_flip_test_is_that_of_all_signs(seed):
    draw = random.Random(seed)
    gaps = [draw.randint(-3, 4) for _ in range(9)]
    sums = [
        abs(sum(gap * sign for gap, sign in zip(gaps, signs, strict=True)))
        for signs in itertools.product((1, -1), repeat=9)
    ]
    assert sign_flip(gaps) == pytest.approx(sum(total >= abs(sum(gaps)) for total in sums) / 512, abs=1e-12)


@pytest.mark.parametrize(("b", "c"), [(0, 0), (0, 1), (3, 12), (12, 3), (40, 70), (300, 420), (0, 1200)])
def test_of_one_answer_each_it_is_mcnemars_test(b, c):
    assert sign_flip([1] * b + [-1] * c + [0] * 5) == pytest.approx(mcnemar(b, c), rel=1e-6, abs=1e-12)


def test_models_are_paired_by_question(several_cell, tmp_path):
    a = several_cell("a", *["rrr"] * 6, "wwr", "www")
    b = several_cell("b", *["rrw"] * 5, "www", "rww", "www")
    board = report.write([a, b], {}, tmp_path / "out", "T")
    assert board["pairs"][0]["p"] == pytest.approx(2 / 2**6)
    (pair,) = csv.DictReader((tmp_path / "out" / "pairs.csv").open())
    assert [pair[key] for key in ("n_a", "n_b", "common", "only_a", "only_b")] == ["8", "8", "8", "6", "0"]
    assert float(pair["difference"]) == pytest.approx(8 / 24)
    assert float(pair["mean_square"]) == pytest.approx((5 + 9) / (9 * 8))


def test_other_numbers_of_answers_are_not_compared(several_cell, tmp_path):
    board = report.write([several_cell("a", "rr", "ww"), several_cell("b", "rrr", "www")], {}, tmp_path / "out", "T")
    assert board["pairs"] == []
    assert [table["facts"]["questions"] for table in board["tables"]] == ["2", "2"]
    assert [table["name"] for table in board["tables"]] == ["ledger (samples 2)", "ledger (samples 3)"]


def test_the_better_model_is_the_one_that_leads_on_average(several_cell):
    """b is ahead on more questions, a by more."""
    a, b = several_cell("a", *["rrrrr"] * 12, *["wwwww"] * 14), several_cell("b", *["wwwww"] * 12, *["rwwww"] * 14)
    found = [cells.read_cell(path) for path in (a, b)]
    board = leaderboard.build(found)
    (pair,) = board.pairs
    assert (pair.only_a, pair.only_b, pair.reading) == (12, 14, "a better")
    assert [each.row["model"] for each in standing.stand(board.tables[0], board.pairs)] == ["a", "b"]
    text = standing.describe_power(board.tables[0], board.pairs)
    assert "Below 4.6 points (6 questions) no difference can have p below 0.05" in text  # 6 of 26 · 5 answers
    assert "Where two models differ by 69.5 points a question" in text


def test_markdown_page_and_csv_show_the_three(several_cell, tmp_path):
    out = tmp_path / "out"
    report.write([several_cell("a", "rrw", "wwr"), several_cell("one", "r", "w", task="finqa")], {}, out, "T")
    text = (out / "leaderboard.md").read_text()
    assert "questions 2 · temperature 0.7 · samples 3 · truncated" in text
    assert "| k/n | avg@3, % | 95 % interval, %" in text
    assert "Interval: 95 %, Wilson where there is one answer to each question. Cut: " in text
    assert "| 3/6 | 50.0 | 33.3–66.7 | 50.0 (9.5–90.5) | 100.0 (34.2–100.0) | 0 | 0 | 0 | 50.0 |" in text
    assert text.count("| k/n | Accuracy, %") == 1
    assert text.count("maj@k: the share of questions") == 1
    page = (out / "index.html").read_text()
    assert page.count('<th scope="col" class="n">pass@3, % (95 %)</th>') == 1
    assert '<td class="n">100.0 (34.2–100.0)</td>' in page
    several_row, one = csv.DictReader((out / "leaderboard.csv").open())
    assert (several_row["pass"], one["pass"], one["samples"]) == ("1.0", "", "")


def test_one_answer_each_looks_as_before(cell, tmp_path):
    report.write([cell("a", [True, False])], {}, tmp_path / "out", "T")
    text = (tmp_path / "out" / "leaderboard.md").read_text()
    assert "avg@" not in text and "Interval: 95 %, Wilson. Cut: " in text
    assert "avg@" not in (tmp_path / "out" / "index.html").read_text().split("<script>")[0]


def test_program_accuracy_has_a_column_where_there_are_programs(cell, sample, tmp_path):
    lines = [
        sample(0, True, same_program=True),
        sample(1, True, same_program=False),
        sample(2, True, same_program=True, finish_reason="length"),
        sample(3, None),
    ]
    out = tmp_path / "out"
    report.write([cell("a", lines, "finqa"), cell("b", [True])], {}, out, "T")
    text = (out / "leaderboard.md").read_text()
    assert text.count("| DocMath-compatible, % | Program accuracy, % |") == 1
    assert "| 2/4 | 50.0 | 15.0–85.0 | 1 | 1 | 0 | 75.0 | 25.0 |" in text
    assert text.count("Program accuracy: the share of all answers") == 1
    page = (out / "index.html").read_text()
    assert page.count('<th scope="col" class="n">Program accuracy, %</th>') == 1
    assert '<td class="n">25.0</td>' in page


def test_mixed_tables_name_no_number(several_cell, cell, tmp_path):
    paths = [several_cell("a", "rr", "ww"), cell("one", [True, False], settings={"temperature": 0.7})]
    report.write(paths, {}, tmp_path / "out", "T", allow_mixed=True)
    text = (tmp_path / "out" / "leaderboard.md").read_text()
    assert "| maj@k, % (95 %) |" in text
    assert "| one | ledger | samples 1 | 1/2 | 50.0 | 9.5–90.5 |  |  | 0 | 0 | 0 | 50.0 |" in text


def test_the_page_has_every_answer(several_cell, data):  # noqa: F811
    found = data(several_cell("a", "rrw", "wuw"))
    (task,) = found["tasks"]
    assert task["k"] == 3
    assert [[answer["facts"][-1] for answer in answers] for answers in task["every"][0]] == [
        ["for answer 1", "for answer 1", "for answer 3"],
        ["for answer 1", None, "for answer 1"],
    ]
    assert task["states"] == ["rrwwuw"]
    assert found["most"] == 0


def test_of_many_answers_a_page_has_some(several_cell, data, monkeypatch, tmp_path):  # noqa: F811
    """Texts are cut first, then answers; verdicts stay."""
    monkeypatch.setattr("fino1.report.samples.PAGE_CHARS", 900)
    found = data(several_cell("a", *["rrrrwwww"] * 5))
    assert found["chars"] == 750
    assert found["most"] == 2
    assert [len(answers) for answers in found["tasks"][0]["every"][0]] == [2] * 5
    assert found["tasks"][0]["states"] == ["rrrrwwww" * 5]
    assert "the texts of 2 answers to each question are here at most" in (tmp_path / "out" / "index.html").read_text()


def test_published_figures_stand_beside_the_average(several_cell, cell):
    questions = ["rrr"] * 30 + ["rww"] * 31 + ["www"] * 29
    paths = [several_cell("fino1-8b", *questions, task="xbrl_math")]
    paths += [cell("gpt-4o", [True] * 40 + [False] * 50, "xbrl_math")]
    found = [cells.read_cell(path) for path in paths]
    ours, one = published.compare(found, leaderboard.build(found).rows)
    assert (ours.k, ours.n, ours.counted) == (pytest.approx(30 + 31 / 3), 90, "40.3/90")
    assert ours.settings == "temperature 0.7, samples 3"
    assert (one.k, one.counted) == (40, "40/90")


@pytest.mark.parametrize(("numbers", "got"), [((0, 1), "0, 1"), ((0, 1, 3), "0, 1, 3"), ((1, 2), "1, 2")])
def test_a_cell_that_lacks_an_answer_is_refused(cell, sample, numbers, got):
    lines = [sample(0, number=i) for i in range(3)] + [sample(1, number=i) for i in numbers]
    path = cell("a", lines, settings={"samples": 3})
    with pytest.raises(SpecError) as caught:
        cells.read_cell(path)
    expected = "expected 3 answers to each question (settings.samples of cell.json), got those numbered"
    assert caught.value.problems == [f"{path}/samples.jsonl: {expected} {got} to 'row-1'"]


def test_the_golds_are_compared_answer_by_answer(cell, sample, tmp_path):
    lines = [sample(0, True, number=i, same_as=0, strict_by_other_gold=i == 0) for i in range(2)]
    report.write([cell("a", lines, "finqa", settings={"samples": 2})], {}, tmp_path / "out", "T")
    text = (tmp_path / "out" / "leaderboard.md").read_text()
    assert "finqa: a: 2/2 (100.0 %) by the published golds, 1/2 (50.0 %) by the corrected ones" in text


def test_the_same_cells_give_the_same_bytes(several_cell, tmp_path):
    paths = [several_cell("a", "rrw", "wwr", "rww"), several_cell("b", "wrw", "wwr", "rrr")]
    for out in ("x", "y"):
        report.write(paths, {}, tmp_path / out, "T")
    for file in (tmp_path / "x").iterdir():
        assert file.read_bytes() == (tmp_path / "y" / file.name).read_bytes()
    assert json.loads((tmp_path / "x" / "leaderboard.json").read_text())["rows"][0]["samples"] == 3
