"""The published tables, as transcribed, and our cells beside them."""

import csv
import json

import pytest

from fino1 import cells, report
from fino1.report import leaderboard, published
from fino1.report.published import Figure


def compare(*paths):
    """The comparisons of the cells in these directories."""
    found = [cells.read_cell(path) for path in paths]
    return published.compare(found, leaderboard.build(found).rows)


TABLES = published.read_tables()
ROWS = [(table, row) for table in TABLES["tables"] for row in table["rows"]]


def test_tables_have_the_models_of_the_paper():
    of = {table["version"]: [row.get("model") for row in table["rows"]] for table in TABLES["tables"]}
    assert {version: len(models) for version, models in of.items()} == {"v1": 17, "v2": 26, "v3": 31, "v3 ablation": 7}
    assert of["v3 ablation"] == [None] * 7
    for models in list(of.values())[:3]:
        assert len(set(models)) == len(models)
        assert set(models) <= set(TABLES["models"])
    ids = [each for model in TABLES["models"].values() for each in model["ids"]]
    assert len(set(ids)) == len(ids)


def test_all_percentages_but_three_are_a_k_of_n():
    odd = {(f.printed, f.task, f.percent, f.k) for _, f in published.list_figures() if not f.is_exact}
    assert odd == {
        ("Llama-3.1-8B-Instruct", "docmath_complong", 14.3, 43),
        ("DianJin-R1-7B", "finqa", 60.2, 678),
        ("SFT all CoT", "finqa", 71.32, 804),
    }


def test_averages_show_that_no_column_is_misread():
    off = {
        (table["version"], row["printed"])
        for table, row in ROWS
        if abs(sum(row["percent"]) / len(row["percent"]) - row["average"]) > 0.0051
    }
    assert off == {  # as printed
        ("v1", "DeepSeek-R1"),
        ("v1", "Qwen2.5-72B-Instruct-Math"),
        ("v1", "DeepSeek-R1-Distill-Qwen-32B"),
    }


@pytest.mark.parametrize(
    ("name", "model", "task", "expected"),
    [
        ("mine", {"hub": "TheFinAI/Fino1-8B", "revision": "main"}, "finqa", ("v2", "Fino1-8B", 60.87, 686)),
        ("mine", {"hub": "TheFinAI/Fin-o1-8B", "revision": "main"}, "finqa", ("v3", "Fino1-8B", 73.03, 823)),
        ("gpt", {"base_url": "https://a/v1", "model_id": "gpt-4o-2024-08-06"}, "xbrl_math", ("v3", "GPT-4o", 72.22, 65)),
        ("qwq-32b", {"artefact_sha256": "ab"}, "docmath_simplong", ("v3", "Qwen/QwQ-32B", 46.0, 46)),
    ],
)  # fmt: skip
def test_a_cell_stands_beside_the_newest_figure_of_its_model(cell, name, model, task, expected):
    path = cell(name, [True] * 4, task, settings={"model": model})
    (found,) = compare(path)
    figure = found.figure
    assert (figure.version, figure.printed, figure.percent, figure.k) == expected


def test_other_models_and_tasks_have_none(cell):
    paths = [cell("mine", [True]), cell("fino1-8b", [True], "ledger"), cell("fino1", [True], "finqa")]
    assert compare(*paths) == []


def test_ours_is_counted_as_theirs_was(cell, sample):
    lines = [sample(i, i < 3, docmath_compat=i < 6) for i in range(10)]
    lines += [sample(i, True, target=True, value=True) for i in range(10, 14)]  # yes or no: left out in the paper
    (found,) = compare(cell("fino1-8b", lines, "finqa"))
    assert (found.k, found.n) == (6, 10)
    assert found.reading == "no difference shown"


@pytest.mark.parametrize(
    ("right", "asked", "reading"), [(0, 90, "ours lower"), (90, 90, "ours higher"), (6, 8, "no difference shown")]
)
def test_a_difference_counts_beyond_noise(cell, tmp_path, right, asked, reading):
    verdicts = [i < right for i in range(asked)]
    about = {"settings": {"temperature": 0, "max_tokens": 4096}, "provenance": {"preset": "fino1"}}
    out = tmp_path / "out"
    report.write([cell("fino1-8b", verdicts, "xbrl_math", **about), cell("other", verdicts, "xbrl_math")], {}, out, "T")
    (row,) = csv.DictReader((out / "published.csv").open())
    assert row["reading"] == reading
    assert float(row["low"]) < float(row["difference"]) == right / asked - 74 / 90 < float(row["high"])
    assert row["settings"] == "prompt fino1, max_tokens 4096"
    line = next(line for line in (out / "leaderboard.md").read_text().splitlines() if "74/90" in line)
    assert f"| {reading} | {right}/{asked} |" in line


def test_holm_corrects_a_task_s_comparisons(cell):
    paths = [cell(name, [i < 60 for i in range(90)], "xbrl_math") for name in ("fino1-8b", "gpt-4o", "qwen3-8b")]
    found = compare(*paths)
    assert [each.p_holm for each in sorted(found, key=lambda f: f.p)][0] == 3 * min(each.p for each in found)


def test_what_no_k_gives_is_marked():
    assert Figure("v3", "DianJin-R1-7B", "finqa", 60.2, 1127).counted == "≈ 678/1,127"
    assert Figure("v1", "Fino1-8B", "finqa", 60.87, 1127).counted == "686/1,127"


def test_tables_as_csv_hold_what_json_does(cell, tmp_path):
    report.write([cell("a, b", [True, False]), cell("c", [True, None])], {}, tmp_path / "out", "T")
    rows = list(csv.DictReader((tmp_path / "out" / "leaderboard.csv").open()))
    expected = json.loads((tmp_path / "out" / "leaderboard.json").read_text())["rows"]
    assert rows == [{key: str(value) for key, value in row.items()} for row in expected]
    (pair,) = csv.DictReader((tmp_path / "out" / "pairs.csv").open())
    assert (pair["a"], pair["b"], pair["reading"]) == ("a, b", "c", "no difference shown")
    assert (tmp_path / "out" / "published.csv").read_text() == ""
