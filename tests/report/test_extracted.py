"""Both figures of a cell with extractions stand in the report, and it is compared with its like only."""

import csv
import json

from fino1 import report
from fino1.report.extracted import LEGEND

SETTINGS = {"max_tokens": 8, "extraction": {"model": {"model_id": "judge"}, "max_tokens": 64}}


def reply(text, strict, docmath_compat=None):
    return {"text": text, "strict": strict, "docmath_compat": docmath_compat, "finish_reason": "stop"}


def test_both_figures(cell, sample, tmp_path):
    lines = [
        sample(0, None, extraction=reply("0", True, True)),
        sample(1, True, extraction=reply("none", None)),
        sample(2, None, extraction=reply("2", True, True), finish_reason="length"),  # docmath_compat alone counts it
        sample(3, None),
    ]
    report.write([cell("a", lines, settings=SETTINGS)], {}, tmp_path / "out", "T")
    (row,) = json.loads((tmp_path / "out" / "leaderboard.json").read_text())["rows"]
    assert (row["accuracy"], row["extracted"], row["extracted_docmath_compat"]) == (0.25, 0.25, 0.5)
    assert (row["extracted_low"], row["extracted_high"], row["extracted_unparsed"]) == (row["low"], row["high"], 2)
    (line,) = csv.DictReader((tmp_path / "out" / "leaderboard.csv").open())
    assert line["extracted_docmath_compat"] == "0.5"
    markdown, page = ((tmp_path / "out" / name).read_text() for name in ("leaderboard.md", "index.html"))
    assert (
        "| 95 % interval, % | By extraction, % (95 %) | By extraction, DocMath-compatible, % (95 %) | Unparsed"
        in markdown
    )
    assert "| 25.0 | 4.6–69.9 | 25.0 (4.6–69.9) | 50.0 (15.0–85.0) |" in markdown
    assert "extraction judge" in markdown
    for text in ("By extraction, DocMath-compatible, % (95 %)</th>", "25.0 (4.6–69.9)", "extraction <b>judge</b>"):
        assert text in page
    assert LEGEND in markdown and LEGEND in page


def test_without_extraction_there_is_no_column(cell, tmp_path):
    report.write([cell("a", [True, False], settings={"max_tokens": 8})], {}, tmp_path / "out", "T")
    assert "extract" not in (tmp_path / "out" / "leaderboard.md").read_text()
    assert "extracted" not in (tmp_path / "out" / "leaderboard.csv").read_text()


def test_cells_with_and_without_stand_apart_unless_asked(cell, sample, tmp_path):
    lines = [sample(0, True, extraction=reply("0", True, True)), sample(1, False, extraction=reply("7", False, False))]
    cells = [cell("a", lines, settings=SETTINGS), cell("b", [True, True], settings={"max_tokens": 8})]
    assert report.write(cells, {}, tmp_path / "out", "T")["pairs"] == []
    text = (tmp_path / "out" / "leaderboard.md").read_text()
    assert "### ledger (extraction judge)\n" in text and "### ledger (extraction none)\n" in text
    report.write(cells, {}, tmp_path / "out", "T", allow_mixed=True)
    (row,) = (line for line in (tmp_path / "out" / "leaderboard.md").read_text().splitlines() if line[:4] == "| b ")
    assert "| 2/2 | 100.0 | 34.2–100.0 |  |  |" in row
