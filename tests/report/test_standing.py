"""Which models are told apart, which differences could be, and what an accuracy costs."""

import json
import re
from itertools import combinations

import pytest

from fino1 import cells, report
from fino1.report import costs, leaderboard, standing


def built(*paths):
    """The leaderboard of these cells, and the cells."""
    found = [cells.read_cell(path) for path in paths]
    return leaderboard.build(found), found


def stood(*paths):
    """Model → (letters, rank), in order."""
    board, _ = built(*paths)
    return {each.row["model"]: (each.letters, each.rank) for each in standing.stand(board.tables[0], board.pairs)}


def test_models_that_are_not_told_apart_share_a_letter(cell):
    """40, 26 and 12 right of 40: the neighbours' difference is 14 one way, all of it significant."""
    of = {"low": 12, "high": 40, "middle": 26}
    found = stood(*(cell(name, [i < right for i in range(40)]) for name, right in of.items()))
    assert found == {"high": ("a", "1"), "middle": ("b", "2"), "low": ("c", "3")}
    assert list(found) == ["high", "middle", "low"]


def test_ties_need_not_be_transitive(cell):
    """a beats c; b is told apart from neither."""
    of = {"a": 30, "b": 25, "c": 20}
    assert stood(*(cell(name, [i < right for i in range(40)]) for name, right in of.items())) == {
        "a": ("a", "1–2"),
        "b": ("a b", "1–3"),
        "c": ("b", "2–3"),
    }


def test_one_pair_shares_a_letter_exactly_where_no_test_parts_it(cell):
    """Eight models whose right answers lie anywhere: letters against the tests themselves."""
    paths = [cell(f"m{j}", [(i * (j + 3) * 7) % 29 < 8 + 2 * j for i in range(60)]) for j in range(8)]
    board, _ = built(*paths)
    letters = {each.row["model"]: set(each.groups) for each in standing.stand(board.tables[0], board.pairs)}
    apart = {frozenset((pair.a, pair.b)) for pair in board.pairs if pair.p_holm < 0.05}
    assert 0 < len(apart) < 28
    for a, b in combinations(letters, 2):
        assert bool(letters[a] & letters[b]) == (frozenset((a, b)) not in apart)


def test_a_word_on_power_is_what_the_tests_need(cell):
    board, _ = built(*(cell(name, [i % 10 < k for i in range(100)]) for name, k in (("a", 5), ("b", 5), ("c", 6))))
    text = standing.describe_power(board.tables[0], board.pairs)
    assert text.startswith("n = 100 does not tell 1 of 3 pairs apart. Below 6.0 points (6 questions) no difference can")
    assert "none below 7.0 points passes the strictest of Holm's 3 steps" in text  # 2 / 2^7 < 0.05 / 3 < 2 / 2^6
    assert text.endswith(  # where one is right on 10 %, a difference of 10 points is all that there can be
        "on 10 % of the questions, the median here, a single test finds a difference of 8.8 points in four of five cases, "
        "the strictest step none."
    )


def test_few_questions_show_nothing(cell):
    board, _ = built(cell("a", [True] * 4), cell("b", [False] * 4))
    text = standing.describe_power(board.tables[0], board.pairs)
    assert text.startswith(
        "n = 4 does not tell 1 of 1 pairs apart. No difference on 4 questions can have p below 0.05."
    )


def test_one_model_has_no_order(cell):
    board, _ = built(cell("a", [True] * 4))
    assert standing.describe_power(board.tables[0], board.pairs) == ""
    assert [each.rank for each in standing.stand(board.tables[0], board.pairs)] == ["1"]


# Cost


def test_the_cheapest_at_its_accuracy_is_named(cell):
    priced = {"dear": (4, 0.4), "good": (4, 0.2), "cheap": (2, 0.1), "bad": (1, 0.3)}
    paths = [cell(name, [i < k for i in range(5)], cost={"dollars": usd}) for name, (k, usd) in priced.items()]
    board, found = built(*paths, cell("free", [True] * 5))
    dollars, tokens = costs.draw_costs(board.tables, found)
    assert dollars.rows == [
        ("cheap", "20", "40.0", "yes"),
        ("good", "40", "80.0", "yes"),
        ("bad", "60", "20.0", ""),
        ("dear", "80", "80.0", ""),
    ]
    assert re.findall(r'class="name"[^>]*>([^<]*)<', dollars.svg) == ["good", "cheap"]  # from the top
    assert {row[:2] for row in tokens.rows} == {(name, "20") for name in (*priced, "free")}


@pytest.mark.parametrize("spread", [1.0, 1.001, 3, 50, 1e5])
def test_costs_lie_on_the_axis(cell, spread):
    paths = [cell(name, [True, False], cost={"dollars": usd}) for name, usd in (("a", 0.007), ("b", 0.007 * spread))]
    board, found = built(*paths)
    svg = costs.draw_costs(board.tables, found)[0].svg
    places = [float(x) for x in re.findall(r'cx="([\d.]+)"', svg)]
    assert all(costs.LEFT < x <= costs.WIDTH - 16 for x in places) and (places[0] != places[1]) == (spread > 1)
    assert 2 <= len(re.findall(r'class="axis"[^>]*v5', svg)) <= 6


def test_one_figure_makes_no_chart(cell):
    board, found = built(cell("a", [True]))
    assert costs.draw_costs(board.tables, found) == []


# The page


def test_the_page_draws_order_published_and_cost(cell, tmp_path):
    about = {"settings": {"model": {"hub": "TheFinAI/Fino1-8B"}}, "cost": {"dollars": 0.5}}
    paths = [cell(name, [i < k for i in range(90)], "xbrl_math", **about) for name, k in (("x", 80), ("y", 20))]
    report.write(paths, {}, tmp_path / "out", "T")
    text = (tmp_path / "out" / "index.html").read_text()
    assert [m for m in re.findall(r'<section aria-labelledby="(\w+)"', text)] == [
        *("accuracy", "order", "published", "costs", "pairs", "samples", "origins"),
    ]
    assert text.count('class="line" role="row"') == 2 and text.count('class="shown"') == 2
    first = re.search(r'class="range" style="left:([\d.]+)%;right:([\d.]+)%', text)
    low, high = 80, 100  # of the axis: 10 … 100
    row = json.loads((tmp_path / "out" / "leaderboard.json").read_text())["rows"][0]
    assert float(first[1]) == pytest.approx(100 * (100 * row["low"] - 10) / 90, abs=0.01)
    assert 100 - float(first[2]) == pytest.approx(100 * (100 * row["high"] - 10) / 90, abs=0.01)
    assert low < 100 * row["low"] < 100 * row["high"] < high


def test_long_texts_of_a_large_report_are_cut_and_it_says_so(cell, sample, tmp_path, monkeypatch):
    monkeypatch.setattr("fino1.report.samples.PAGE_CHARS", 10_000)
    paths = [cell(name, [sample(i, completion="x" * 4_000) for i in range(2)]) for name in "ab"]
    report.write(paths, {}, tmp_path / "out", "T")
    text = (tmp_path / "out" / "index.html").read_text()
    assert "texts of answers are cut to 1,500 characters each" in text
    report.write(paths[:1], {}, tmp_path / "out", "T")
    assert "texts of answers are cut" not in (tmp_path / "out" / "index.html").read_text()
