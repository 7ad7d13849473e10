"""The page as a reader has it before them: two widths, two themes, keys and clicks, in a real Chromium."""

import importlib
import json

import pytest

from fino1 import report
from tests.needs import missing, needed
from tests.report.browser import NAMES, chromium, program
from tests.report.conftest import make_searched, make_turn

pytestmark = pytest.mark.slow

WINDOWS = [(width, scheme) for width in (1280, 390) for scheme in ("light", "dark")]
EVIL = '</script><img src=x onerror="window.hit=1"><b>bold</b> \'"&'
TABLE = "Before.\n(in millions)|2009|2010\nrevenue|$ 1,200.5|( 3 )\n" + "|".join(["a long row " * 4] * 3) + "\nAfter."
SFT = [{"step": i, "loss": 3 / i, "eval/accuracy": i / 100} for i in range(1, 41)]
PPO = [{"update": i, "objective/kl": 0.1 * i, "eval/accuracy": i / 50} for i in range(1, 21)]

# The lowest contrast of any text with what it lies on (WCAG 2.2, 1.4.3), and the text.
CONTRAST = """(() => {
  const linear = (v) => (v <= 10.31 ? v / 3294.6 : ((v / 255 + .055) / 1.055) ** 2.4);
  const light = (c) => { const [r, g, b] = c.map(linear);
    return .2126 * r + .7152 * g + .0722 * b; };
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const under = (node) => { for (let n = node; n; n = n.parentElement) {
    const c = parse(getComputedStyle(n).backgroundColor); if (c.length === 3 || c[3] === 1) return c.slice(0, 3); }
    return [255, 255, 255]; };
  let worst = [99, ""];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) { const at = walk.currentNode.parentElement, text = walk.currentNode.data.trim();
    if (!text || at.closest("script, noscript, .unseen, .skip") || !at.getClientRects().length) continue;
    const style = getComputedStyle(at);
    const ink = at instanceof SVGElement ? style.fill : style.color;
    const [x, y] = [light(parse(ink).slice(0, 3)), light(under(at))];
    const ratio = (Math.max(x, y) + .05) / (Math.min(x, y) + .05);
    if (ratio < worst[0]) worst = [ratio, text.slice(0, 40)]; }
  return worst; })()"""

SMALLEST_TEXT = """(() => { let least = [99, ""];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) { const at = walk.currentNode.parentElement, text = walk.currentNode.data.trim();
    if (!text || at.closest("script, noscript, .unseen") || !at.getClientRects().length) continue;
    const size = parseFloat(getComputedStyle(at).fontSize) * (at instanceof SVGElement ? at.getCTM().a : 1);
    if (size < least[0]) least = [size, text.slice(0, 40)]; }
  return least; })()"""

SMALL_TARGETS = """[...document.querySelectorAll("a, button, select, input, summary")].filter((n) => {
  const box = n.getBoundingClientRect();
  return box.height && !n.matches(".skip") && Math.min(box.width, box.height) < 24; }).map((n) => n.outerHTML.slice(0, 80))"""

STATE = """(() => ({ open: [...document.querySelectorAll("#list .body")].findIndex((n) => !n.hidden),
  at: [...document.querySelectorAll("#list h3 button")].indexOf(document.activeElement),
  focus: document.activeElement.id || document.activeElement.tagName }))()"""

# `toggle` of a details element comes in a task of its own.
SETTLED = "new Promise((done) => setTimeout(() => setTimeout(done, 50), 50))"

# What a sample shows is unpacked when it is opened.
SHOWN = """(async () => { for (let i = 0; i < 500 && !document.querySelector("#list .answer pre"); i++)
  await new Promise((done) => setTimeout(done, 20)); return !!document.querySelector("#list .answer pre"); })()"""

COUNTS = """Object.fromEntries([...document.querySelectorAll("#outcomes button")].map((n) =>
  [n.dataset.show, Number(n.querySelector("b").textContent.replace(",", ""))]))"""


@pytest.fixture(scope="module")
def tab(tmp_path_factory):
    needed(lambda: importlib.import_module("websocket"))
    if program() is None:
        missing(f"no browser: looked for {', '.join(NAMES)}")  # `make tools` installs one under CI
    with chromium(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def page(tab, cell, run, search, sample, tmp_path):
    """A report of two models with every outcome, opened; `tab.faults` starts empty."""
    n = 60  # more than the list shows at once
    a = [sample(i, i % 3 == 0, prompt=f"{TABLE}\nWhat is {i}?") for i in range(n)]
    b = [sample(i, i % 2 == 0, prompt=f"{TABLE}\nWhat is {i}?") for i in range(n)]
    a[1] |= {"strict": None, "extracted": None, "completion": EVIL}
    a[2] |= {"finish_reason": "length", "cut": True, "completion": "## Thinking\n\n" + "steps " * 400}
    b[2] |= {"completion": "## Thinking\n\nOther steps\n\n## Final Response\n\nThe answer is -2."}
    cells = [cell("a model with a long name of its own", a), cell("b", b), cell("b", [True], "finqa")]
    runs = {"sft": run("sft", SFT), "ppo": run("ppo", PPO)}
    first, last = make_turn("Initial", 0, False, "a long chain " * 40), make_turn("Correction", 1, True, EVIL)
    found = {"paths": search("paths", [make_searched(i, first, last) for i in range(3)])}
    report.write(cells, runs, tmp_path / "out", "A report", "A note.", ["not run: no key"], searches=found)
    tab.faults.clear()
    tab.look(1280, 900)
    tab.open(tmp_path / "out" / "index.html")
    return tmp_path / "out"


@pytest.mark.parametrize(("width", "scheme"), WINDOWS)
def test_a_page_fits_and_can_be_read(tab, page, width, scheme):
    tab.look(width, 844, scheme)
    tab.press("j", "j", "j", "Enter")  # the third sample: truncated, cut, with a table wider than a phone
    assert tab.run(SHOWN)
    tab.run("document.querySelectorAll('details').forEach((node) => { node.open = true; })")
    tab.run(SETTLED)
    assert tab.run("!!document.querySelector('.diff')")
    assert tab.run("document.documentElement.scrollWidth") <= width
    ratio, text = tab.run(CONTRAST)
    assert ratio >= 4.5, text
    size, text = tab.run(SMALLEST_TEXT)
    assert size >= 13.95, text
    assert tab.run(SMALL_TARGETS) == []
    dark = tab.run("matchMedia('(prefers-color-scheme: dark)').matches")
    assert dark == (scheme == "dark")
    assert tab.faults == []


def test_samples_are_walked_by_keys_and_focus_is_never_lost(tab, page):
    tab.press("j")
    assert tab.run(STATE) == {"open": -1, "at": 0, "focus": "BUTTON"}
    tab.press("ArrowDown", "Enter")
    assert tab.run(STATE) == {"open": 1, "at": 1, "focus": "BUTTON"}
    tab.press("j", "J", "K")
    assert tab.run(STATE) == {"open": 2, "at": 2, "focus": "BUTTON"}
    assert tab.run(SHOWN)
    tab.press("Tab")  # into the opened sample
    assert tab.run("document.activeElement.closest('.body') !== null")
    tab.press("Escape")
    assert tab.run(STATE) == {"open": -1, "at": 2, "focus": "BUTTON"}
    tab.press("/")
    assert tab.run(STATE)["focus"] == "text"
    tab.press("j")  # a letter of the search, no step
    assert tab.run("document.getElementById('text').value") == "j"
    assert tab.faults == []


def test_stepping_past_the_rows_shown_makes_more(tab, page):
    assert tab.run("document.querySelectorAll('#list > li').length") == 50
    tab.press(*["j"] * 51)
    assert tab.run(STATE)["at"] == 50
    assert tab.run("document.getElementById('more').hidden")


def test_letters_can_be_switched_off(tab, page):
    tab.run("document.getElementById('shortcuts').click()")
    tab.press("j", "/")
    assert tab.run(STATE)["at"] == -1
    assert tab.run(STATE)["focus"] != "text"


def test_comparison_counts_are_those_of_the_leaderboard(tab, page):
    counts = tab.run(COUNTS)
    row = next(line for line in (page / "leaderboard.md").read_text().splitlines() if line.startswith("| ledger | a"))
    n, only_a, only_b = (int(part) for part in row.split("|")[5:8])
    assert (counts["all"], counts["only_a"], counts["only_b"]) == (n, only_a, only_b)
    assert counts["both"] + counts["neither"] == n - only_a - only_b
    k = {row["model"]: row["k"] for row in json.loads((page / "leaderboard.json").read_text())["rows"][:2]}
    assert counts["both"] + counts["only_b"] == k["b"]
    tab.run("document.querySelector('a[data-show=only_b]').click()")
    assert tab.run("document.querySelectorAll('#list > li').length") == only_b
    assert tab.run("document.getElementById('status').textContent").startswith(f"{only_b} of {n} questions")


def test_one_model_is_filtered_by_outcome_and_text(tab, page):
    tab.run(
        "(() => { const b = document.getElementById('model-b'); b.value = ''; b.dispatchEvent(new Event('change')); })()"
    )
    assert tab.run(COUNTS) == {"all": 60, "right": 20, "wrong": 38, "unparsed": 1, "truncated": 1}
    tab.run("document.querySelector('[data-show=unparsed]').click()")
    assert tab.run("[...document.querySelectorAll('#list .id')].map((n) => n.textContent)") == ["row-1"]
    tab.run("document.querySelector('[data-show=all]').click()")
    tab.run("document.getElementById('text').focus()")
    tab.press(*"is 17")
    tab.run(SETTLED)
    assert tab.run("[...document.querySelectorAll('#list .id')].map((n) => n.textContent)") == ["row-17"]


def test_what_models_say_stays_text(tab, page):
    tab.press("j", "j", "Enter")
    assert tab.run(SHOWN)
    assert tab.run(
        "[...document.querySelectorAll('.answer pre')].some((n) => n.textContent === " + json.dumps(EVIL) + ")"
    )
    assert tab.run("document.querySelectorAll('img, #list b > b').length") == 0
    assert tab.run("window.hit") is None
    assert tab.faults == []


def test_a_prompt_table_is_a_table(tab, page):
    tab.press("j", "Enter")
    assert tab.run(SHOWN)
    head = "[...document.querySelectorAll('.given thead th')].map((n) => n.textContent)"
    assert tab.run(head) == ["(in millions)", "2009", "2010"]
    assert tab.run("[...document.querySelectorAll('.given td.n')].map((n) => n.textContent)") == ["$ 1,200.5", "( 3 )"]


def test_the_difference_names_who_said_what(tab, page):
    tab.press("j", "j", "j", "Enter")
    assert tab.run(SHOWN)
    tab.run("document.querySelector('.sample .body > details:last-child').open = true")
    tab.run(SETTLED)
    shown = "(tag) => [...document.querySelectorAll('.diff ' + tag)].map((n) => n.textContent)"
    assert tab.run(f"({shown})('del')")[0] == "A only a model with a long name of its own"
    assert "B The answer is -2." in tab.run(f"({shown})('ins')")


def test_several_answers_are_shown_with_their_verdicts(tab, several_cell, tmp_path):
    """The counts are those of the paired test; a count in its table opens the questions that it counts."""
    a = several_cell("a", "rrw", "www", "rww", "rrr", "wuw")
    b = several_cell("b", "rww", "wwr", "rww", "rrr", "www")
    report.write([a, b], {}, tmp_path / "out", "T")
    tab.faults.clear()
    tab.look(390, 844)
    tab.open(tmp_path / "out" / "index.html")
    assert tab.run(COUNTS) == {"all": 5, "only_a": 1, "only_b": 1, "even": 3}
    chips = "[...document.querySelectorAll('#list li .chip')].map((n) => n.textContent)"
    tab.run("document.querySelector('a[data-show=only_a]').click()")
    assert tab.run(chips) == ["a: 2 of 3 right", "b: 1 of 3 right"]
    tab.press("j", "Enter")
    assert tab.run(SHOWN)
    heads = "[...document.querySelectorAll('.answer h4')].map((n) => n.innerText.replace(/\\s+/g, ' '))"
    verdicts = ("✓ right", "✓ right", "✗ wrong", "✓ right", "✗ wrong", "✗ wrong")
    names = [f"{model}, answer {i} of 3" for model in "ab" for i in (1, 2, 3)]
    assert tab.run(heads) == [f"{name} {verdict}" for name, verdict in zip(names, verdicts, strict=True)]
    assert tab.run("document.documentElement.scrollWidth") <= 390
    tab.run(f"{TYPE}('model-b', '', 'change')")
    assert tab.run(COUNTS) == {"all": 5, "always": 1, "sometimes": 2, "never": 2, "unparsed": 1, "truncated": 0}
    assert tab.faults == []


ROWS = "[...document.querySelectorAll('#accuracy-tables tbody tr')].filter((n) => n.offsetParent).map((n) => n.dataset.model)"
TYPE = """((box, text, kind) => { const node = document.getElementById(box); node.value = text;
  node.dispatchEvent(new Event(kind)); })"""


def test_results_are_filtered_and_sorted(tab, page):
    long = "a model with a long name of its own"
    assert tab.run(ROWS) == [long, "b", "b"]
    head = "document.querySelectorAll('#accuracy-tables th .sort')[2]"  # accuracy: 20 and 29 of 60
    tab.run(f"{head}.click()")
    assert tab.run(ROWS) == ["b", long, "b"]
    assert tab.run(f"{head}.closest('th').getAttribute('aria-sort')") == "descending"
    tab.run(f"{head}.click()")
    assert tab.run(ROWS) == [long, "b", "b"]
    tab.run(f"{TYPE}('only-table', 'finqa', 'change')")
    assert tab.run(ROWS) == ["b"]
    tab.run(f"{TYPE}('only-table', '', 'change')")
    tab.run(f"{TYPE}('only-model', 'LONG, nobody', 'input')")
    assert tab.run(ROWS) == [long]
    plotted = (
        "[...document.querySelectorAll('.plot [data-model]')].filter((n) => n.offsetParent).map((n) => n.dataset.model)"
    )
    assert tab.run(plotted) == [long]
    assert tab.run("document.getElementById('filter-status').textContent") == "1 of 3 results are shown."
    assert tab.faults == []


def test_what_is_shown_can_be_had_as_csv(tab, page):
    tab.run(f"{TYPE}('only-model', 'long', 'input')")
    tab.run("URL.createObjectURL = (blob) => { window.got = blob.text(); return '#'; }")
    tab.run("document.getElementById('csv').click()")
    head, row, end = tab.run("window.got").split("\n")
    assert head.startswith('Model,Task,"Accuracy, %"') and row.startswith(
        "a model with a long name of its own,ledger,33.3,"
    )
    assert end == ""
