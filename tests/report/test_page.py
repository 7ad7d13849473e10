import base64
import hashlib
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from fino1 import report
from fino1.report import curves

EVIL = "</pre></script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&{{ 7*7 }}"
VOID = {"meta", "br", "path", "input"}


class Tree(HTMLParser):
    """Every tag with its attributes, and the text; fails where a tag is not closed in order."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self.open, self.closed = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> at {self.getpos()}"

    def handle_data(self, data):
        self.text.append(data)

    def named(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]

    def of_class(self, name):
        return [attrs for _, attrs in self.tags if name in (attrs.get("class") or "").split()]


@pytest.fixture
def page(tmp_path):
    def write(cells=(), runs=None, **rest):
        report.write(list(cells), runs or {}, tmp_path / "out", **{"title": "T"} | rest)
        text = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
        return text, Tree(text)

    return write


SFT = [{"step": i, "loss": 3 / i, "eval/accuracy": i / 100} for i in range(1, 41)] + [{"step": 40, "train_runtime": 9}]
PPO = [
    {"update": i, "episode": 8 * i, "objective/kl": 0.1 * i, "objective/scores": -0.5, "loss/value_avg": 1 / i}
    for i in range(1, 21)
] + [{"update": 20, "eval/accuracy": 0.6}]


def test_untrusted_text_stays_text(cell, run, page, sample):
    evil = sample(0, False, completion=EVIL, question=EVIL, prompt=EVIL, extracted=EVIL, target=EVIL)
    evil["finish_reason"] = EVIL
    cells = [cell("a", [evil], key=EVIL, settings={EVIL: EVIL}), cell("b", [sample(0)])]
    cells[0] = cells[0].rename(cells[0].parent / "evil")
    about = (cells[0] / "cell.json").read_text().replace('"model": "a"', '"model": "<img onerror=x>"')
    (cells[0] / "cell.json").write_text(about)
    text, tree = page(cells, {"<svg onload=x>": run("r", SFT)}, title=EVIL, note=EVIL, skipped=[EVIL])
    kinds = [attrs.get("type") for attrs in tree.named("script")]
    assert kinds == ["application/json", *["text/plain"] * 4, None]  # two tables of one model, each with its prompts
    assert tree.named("img") == []
    assert not [name for _, attrs in tree.tags for name in attrs if name.startswith("on")]
    assert "".join(tree.text).count(EVIL) >= 4
    assert "&amp;49" not in text  # the text is data of the template, not a part of it


def test_the_page_needs_and_allows_nothing_from_outside(cell, run, page):
    text, tree = page([cell("a", [True])], {"sft": run("sft", SFT)})
    assert not [attrs for _, attrs in tree.tags if {"src", "srcset", "data"} & set(attrs)]
    assert all(attrs["href"].startswith("#") for attrs in tree.named("a"))
    assert tree.named("link") == []
    assert "http:" not in text and "https:" not in text and "@import" not in text and "url(" not in text
    script = re.search(r"<script>(.*?)</script>", text, re.S)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = next(m["content"] for m in tree.named("meta") if m.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith(f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'")


def test_odd_characters_are_shown_and_encodable(cell, page, sample):
    text, tree = page([cell("a", [sample(0, question="a\x00b\x1b[31m\ud800 \u202e end\r\n")])])
    assert "a␀b␛[31m� \u202e end" in "".join(tree.text)


def test_links_lead_somewhere(cell, run, page):
    _, tree = page([cell("a", [True]), cell("b", [False])], {"sft": run("sft", SFT)}, skipped=["x"])
    ids = [attrs["id"] for _, attrs in tree.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert {attrs["href"][1:] for attrs in tree.named("a")} <= set(ids)
    assert {attrs["aria-labelledby"] for _, attrs in tree.tags if "aria-labelledby" in attrs} <= set(ids)
    assert all(attrs.get("tabindex") == "0" for attrs in tree.of_class("scroll"))


def test_without_a_script_the_page_says_where_the_samples_are(cell, page):
    text, tree = page([cell("a", [True] * 3)])
    assert len(tree.named("noscript")) == 1
    assert "The 3 samples are opened by a script" in text
    assert [attrs["id"] for _, attrs in tree.tags if "hidden" in attrs] == ["board-controls", "browser", "more"]


def test_a_page_without_samples_has_no_script(run, page):
    _, tree = page(runs={"sft": run("sft", SFT)})
    assert tree.named("script") == []


def test_counts_of_paired_tests_lead_to_their_questions(cell, page):
    _, tree = page([cell("a", [True, False]), cell("b", [False, False])])
    links = [attrs for attrs in tree.named("a") if "data-show" in attrs]
    assert [(a["data-task"], a["data-a"], a["data-b"], a["data-show"]) for a in links] == [
        ("ledger", "a", "b", "only_a"),
        ("ledger", "a", "b", "only_b"),
    ]


def test_every_control_and_table_has_a_name(cell, run, page):
    text, tree = page([cell("a", [True]), cell("b", [False])], {"sft": run("sft", SFT), "ppo": run("ppo", PPO)})
    assert len(tree.named("table")) == len(tree.named("caption"))
    assert all(attrs.get("scope") in ("row", "col") for attrs in tree.named("th"))
    assert all({"aria-label", "aria-labelledby"} & set(attrs) for attrs in tree.of_class("scroll"))
    labelled = re.findall(r"<label>[^<]+<(?:select|input)", text) + re.findall(r"<label><input[^>]*>[^<]+", text)
    assert len(labelled) == len(tree.named("select")) + len(tree.named("input"))


def test_nothing_moves(page, cell):
    text, _ = page([cell("a", [True])])
    assert not re.search(r"transition|animation|smooth", text)  # so prefers-reduced-motion asks for nothing more


def test_the_script_makes_no_markup_of_strings():
    script = (Path(report.__file__).parent / "page.js").read_text()
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|Function\(|\bfetch\(", script)


def test_curves_are_drawn_and_told(run, page):
    text, tree = page(runs={"sft": run("sft", SFT), "ppo": run("ppo", PPO)})
    labels = [attrs["aria-label"] for attrs in tree.of_class("chart")]
    assert [label.split(".")[0] for label in labels] == [
        "Held-out accuracy: sft",
        "Held-out accuracy: ppo",
        "Reward",
        "Distance from the reference policy",
        "Training loss",
        "Value loss",
    ]
    assert "sft: 1.0\xa0% at step 1 → 40.0\xa0% at step 40; lowest 1.0\xa0%, highest 40.0\xa0%" in labels[0]
    assert "60.0\xa0% at update 20" in labels[1]
    assert "NaN" not in text and "nan" not in re.findall(r'd="[^"]*"', text)
    dashes = {attrs["class"]: attrs["stroke-dasharray"] for attrs in tree.of_class("line")}
    assert dashes["line s0"] != dashes["line s1"]


def test_values_of_a_chart_stand_in_a_table():
    chart = curves.draw_charts({"a": PPO, "b": PPO[:3]})[2]
    assert chart.title == "Distance from the reference policy"
    assert chart.head == ["update", "a", "b"]
    assert chart.rows[:4] == [["1", "0.1", "0.1"], ["2", "0.2", "0.2"], ["3", "0.3", "0.3"], ["4", "0.4", "–"]]
    assert len(chart.rows) == 20


def test_a_long_table_of_values_keeps_its_last_one():
    (chart,) = curves.draw_charts({"r": [{"step": i, "loss": i} for i in range(1, 201)]})
    assert len(chart.rows) == curves.ROWS
    assert chart.rows[-1] == ["200", "200"]


def test_curves_of_one_metric_share_their_range():
    first, second = curves.draw_charts({"sft": SFT, "ppo": PPO})[:2]
    ticks = [re.findall(r'text-anchor="end">([^<]*)<', chart.svg) for chart in (first, second)]
    assert ticks[0] == ticks[1] == ["0", "20", "40", "60"]


def test_the_last_line_of_a_repeated_step_counts():
    (chart,) = curves.draw_charts({"r": [{"step": 1, "loss": 9}, {"step": 2, "loss": 8}, {"step": 2, "loss": 5}]})
    assert "9 at step 1 → 5 at step 2; lowest 5" in chart.captions[0][2]


def test_values_that_are_not_finite_are_counted():
    (chart,) = curves.draw_charts(
        {"r": [{"step": 1, "loss": 2}, {"step": 2, "loss": float("nan")}, {"step": 3, "loss": 1}]}
    )
    assert chart.captions[0][2].endswith("; 1 value not finite and not drawn")


@pytest.mark.parametrize("values", [[0.0], [1.0, 1.0], [1e-9, 2e-9], [1e12, 3e12], [-5, -4.999], [0.1, 0.3], [7] * 999])
def test_any_range_gives_a_chart_inside_its_frame(values):
    (chart,) = curves.draw_charts({"r": [{"step": i, "loss": y} for i, y in enumerate(values)]})
    places = [
        tuple(map(float, place.split())) for place in re.search(r'"line s0"[^>]*d="M([^"]*)"', chart.svg)[1].split("L")
    ]
    assert all(curves.LEFT <= x <= curves.WIDTH and 0 <= y <= curves.HEIGHT - curves.BOTTOM + 0.1 for x, y in places)
    assert len(re.findall('class="grid"', chart.svg)) >= 2


def test_names_of_lines_that_end_together_do_not_overlap():
    runs = {f"r{i}": [{"step": 1, "loss": 1.0}, {"step": 2, "loss": 0.0}] for i in range(6)}
    (chart,) = curves.draw_charts(runs)
    heights = sorted(float(y) for y in re.findall(r'class="label[^>]* y="([\d.]+)"', chart.svg))
    assert all(b - a >= 15.9 for a, b in zip(heights, heights[1:], strict=False))
    assert heights[-1] <= curves.HEIGHT - curves.BOTTOM


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.12345, "0.123"),
        (-0.5, "−0.5"),
        (12.345, "12.3"),
        (99999, "99,999"),
        (1e-6, "1.00e−06"),
        (100, "100"),
    ],
)
def test_numbers_are_short(value, text):
    assert curves.format_number(value) == text


def test_same_inputs_same_bytes(cell, run, tmp_path):
    """Also in another process with another hash seed, from another folder."""
    cells = [cell("a", [True, False, None]), cell("b", [False, True, True]), cell("c", [True], "finqa")]
    runs = {"sft": run("sft", SFT), "ppo": run("ppo", PPO)}
    report.write(cells, runs, tmp_path / "one", "T", "N", ["s"])
    moved = tmp_path / "moved"
    shutil.copytree(tmp_path / "cells", moved / "cells")
    shutil.copytree(tmp_path / "runs", moved / "runs")
    code = (
        "from pathlib import Path; from fino1 import report; m = Path('.');"
        f"report.write([m / 'cells' / name for name in {[c.name for c in cells]!r}],"
        "{'sft': m / 'runs/sft', 'ppo': m / 'runs/ppo'}, m / 'two', 'T', 'N', ['s'])"
    )
    root = report.__file__.rsplit("/fino1/", 1)[0]
    subprocess.run([sys.executable, "-c", code], cwd=moved, check=True, env={"PYTHONHASHSEED": "5", "PYTHONPATH": root})
    for name in ("index.html", "leaderboard.md", "leaderboard.json"):
        assert (tmp_path / "one" / name).read_bytes() == (moved / "two" / name).read_bytes()


def test_the_report_loads_no_heavy_package():
    code = (
        "import sys, fino1.report; print([m for m in ('torch', 'numpy', 'pandas', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
