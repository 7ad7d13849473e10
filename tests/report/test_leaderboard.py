import json
from dataclasses import asdict
from itertools import product

import pytest

from fino1 import __main__ as entry
from fino1 import exits, report
from fino1.cells import Summary
from fino1.errors import SpecError


def written(out):
    return json.loads((out / "leaderboard.json").read_text())


def test_rows_count_as_c8_says(cell, tmp_path, sample):
    lines = [
        sample(0, True),
        sample(1, False),
        sample(2, None),
        sample(3, True, finish_reason="length"),  # right and truncated: not in k
        sample(4, None, finish_reason="length"),  # unparsed and truncated: in both columns
        sample(5, False, docmath_compat=True, cut=True),
    ]
    board = report.write([cell("sft", lines)], {}, tmp_path / "out", "T")
    assert board == written(tmp_path / "out")
    (row,) = board["rows"]
    assert list(row)[:9] == ["model", "task", "k", "n", "unparsed", "truncated", "accuracy", "low", "high"]
    assert (row["k"], row["n"], row["unparsed"], row["truncated"], row["cut"]) == (1, 6, 2, 2, 1)
    assert row["accuracy"] == 1 / 6
    assert row["docmath_compat"] == 3 / 6
    assert row["low"] == pytest.approx(0.0301, abs=5e-5)
    assert row["high"] == pytest.approx(0.5635, abs=5e-5)


def test_rows_keep_the_order_given(cell, tmp_path):
    cells = [cell(model, [True], task) for task, model in product(("ledger", "finqa"), "zab")]
    board = report.write(cells, {}, tmp_path / "out", "T")
    assert [(row["task"], row["model"]) for row in board["rows"]] == list(product(("ledger", "finqa"), "zab"))
    assert [(p["task"], p["a"], p["b"]) for p in board["pairs"]] == [
        (task, *pair) for task in ("ledger", "finqa") for pair in ("za", "zb", "ab")
    ]


def test_pairs_are_tested_on_discordant_answers(cell, tmp_path):
    a = [True] * 3 + [False] * 9 + [True]
    b = [True] * 3 + [True] * 9 + [False]
    board = report.write([cell("sft", a), cell("ppo", b)], {}, tmp_path / "out", "T")
    pair = {"task": "ledger", "table": "ledger", "a": "sft", "b": "ppo", "p": 22 / 1024, "p_holm": 22 / 1024}
    assert board["pairs"] == [pair]


def test_truncated_counts_as_wrong_in_paired_tests(cell, tmp_path, sample):
    long = [sample(i, True, finish_reason="length") for i in range(6)]
    board = report.write([cell("long", long), cell("short", [True] * 6)], {}, tmp_path / "out", "T")
    assert board["pairs"][0]["p"] == 2 / 64


def test_pairs_use_common_questions_and_say_so(cell, tmp_path):
    board = report.write([cell("all", [False] * 8), cell("few", [True] * 6)], {}, tmp_path / "out", "T")
    assert board["pairs"][0]["p"] == 2 / 64
    assert "6 of 8 and 6" in (tmp_path / "out" / "leaderboard.md").read_text()
    assert "6 of 8 and 6" in (tmp_path / "out" / "index.html").read_text()


def test_same_id_with_another_target_is_another_question(cell, tmp_path, sample):
    other = [sample(0, False), sample(1, False, target=99.0)]
    report.write([cell("a", [True, True]), cell("b", other)], {}, tmp_path / "out", "T")
    assert "1 of 2 and 2" in (tmp_path / "out" / "leaderboard.md").read_text()


def test_cells_that_differ_in_more_than_the_model_stand_apart(cell, tmp_path):
    short, paper = {"max_tokens": 8, "prompt": "Q?"}, {"max_tokens": 24, "prompt": "Paper: Q?"}
    cells = [
        cell("a", [True] * 3, settings=short | {"model": {"hub": "a"}}, provenance={"preset": "fino1"}),
        cell("b", [False] * 3, settings=short | {"model": {"hub": "b"}}, provenance={"preset": "fino1"}),
        cell("c", [True] * 3, settings=paper, provenance={"preset": "paper"}),
    ]
    board = report.write(cells, {}, tmp_path / "out", "T")
    fino1, other = "ledger (prompt fino1, max_tokens 8)", "ledger (prompt paper, max_tokens 24)"
    assert [row["table"] for row in board["rows"]] == [fino1, fino1, other]
    assert [(pair["table"], pair["a"], pair["b"]) for pair in board["pairs"]] == [(fino1, "a", "b")]
    assert board["tables"][1] == {
        "name": other,
        "task": "ledger",
        "facts": {"questions": "3", "prompt": "paper", "max_tokens": "24", "truncated": "0.0 % of the answers"},
    }
    markdown = (tmp_path / "out" / "leaderboard.md").read_text()
    facts = "questions 3 · prompt paper · max\\_tokens 24 · truncated 0.0 % of the answers"
    above = f"### ledger (prompt paper, max\\_tokens 24)\n\n{facts}\n\n| Model"
    assert above in markdown
    assert "ledger: not compared with each other, since they differ in more than the model: prompt fino1" in markdown
    assert (
        f'<caption class="unseen">Accuracy of each model on {other} with' in (tmp_path / "out/index.html").read_text()
    )


def test_mixed_cells_are_in_one_table_where_asked_and_still_not_paired(cell, tmp_path):
    cells = [cell("a", [True], settings={"max_tokens": 8}), cell("b", [False], settings={"max_tokens": 24})]
    board = report.write(cells, {}, tmp_path / "out", "T", allow_mixed=True)
    assert board["pairs"] == []
    text = (tmp_path / "out" / "leaderboard.md").read_text()
    assert text.count("| Model |") == 1
    assert "| Model | Task | Differs in |" in text
    assert "| a | ledger | max\\_tokens 8 | 1/1 |" in text
    assert "| b | ledger | max\\_tokens 24 | 0/1 |" in text
    assert "<td>max_tokens 24</td>" in (tmp_path / "out" / "index.html").read_text()


@pytest.mark.parametrize(
    ("key", "value", "is_of_the_model"),
    [
        ("model", {"hub": "other"}, True),
        ("server", "vllm", True),
        ("server_args", ["--x"], True),
        ("context_length", 4096, True),
        ("chat_template_kwargs", {"enable_thinking": True}, True),
        ("prompt_tokens", "estimate", True),
        ("dataset", {"sha256": "cd"}, False),
        ("prompt", "Another {{ question }}", False),
        ("temperature", 0.5, False),
        ("limit", 7, False),
        ("fold", "1/5", False),
        ("gold", "corrected", False),
        ("scorer", "2", False),
        ("of a later version", True, False),
    ],
)
def test_what_belongs_to_a_model_goes_with_it(cell, tmp_path, key, value, is_of_the_model):
    settings = {"model": {"hub": "a"}, "dataset": {"sha256": "ab"}, "prompt": "{{ question }}", "temperature": 0}
    about = {"provenance": {"preset": "fino1"}}
    cells = [
        cell("a", [True], settings=settings, **about),
        cell("b", [True], settings=settings | {key: value}, **about),
    ]
    board = report.write(cells, {}, tmp_path / "out", "T")
    assert len(board["tables"]) == (1 if is_of_the_model else 2)
    assert len(board["pairs"]) == is_of_the_model
    assert len({table["name"] for table in board["tables"]}) == len(board["tables"])


def test_truncation_stands_above_the_table(cell, tmp_path, sample):
    cells = [cell("a", [sample(0, True, finish_reason="length"), sample(1, True)]), cell("b", [True, True])]
    board = report.write(cells, {}, tmp_path / "out", "T")
    assert board["tables"][0]["facts"]["truncated"] == "25.0 % of the answers"


def test_disjoint_questions_give_no_pair_and_are_named(cell, tmp_path, sample):
    cells = [cell("a", [True]), cell("b", [sample(7, True)])]
    assert report.write(cells, {}, tmp_path / "out", "T")["pairs"] == []
    for name in ("leaderboard.md", "index.html"):
        assert "a and b were asked no question in common" in (tmp_path / "out" / name).read_text()


def test_markdown(cell, tmp_path):
    cells = [cell("a|b", [True, None]), cell("c", [False, False])]
    report.write(cells, {}, tmp_path / "out", "A <title>", "What it shows.", ["gpt-4o: no `KEY`\nsecond line"])
    text = (tmp_path / "out" / "leaderboard.md").read_text()
    assert text.startswith("# A &lt;title&gt;\n\nWhat it shows.\n")
    assert "| a\\|b | ledger | 1/2 | 50.0 | 9.5–90.5 | 1 | 0 | 0 | 50.0 |" in text
    assert "| ledger | a\\|b | c | no difference shown | 2 | 1 | 0 | 1.00 | 1.00 |" in text
    assert "## Not run\n\n- gpt-4o: no \\`KEY\\` second line\n" in text


def test_nothing_to_show_is_no_error(tmp_path):
    assert report.write([], {}, tmp_path / "out", "T", skipped=["all"]) == {"tables": [], "rows": [], "pairs": []}
    assert "No finished evaluation." in (tmp_path / "out" / "leaderboard.md").read_text()


def test_files_are_replaced_whole(cell, tmp_path):
    out = tmp_path / "out"
    report.write([cell("a", [True])], {}, out, "first")
    report.write([], {}, out, "second")
    assert {path.name for path in out.iterdir()} == {
        "index.html",
        *(f"leaderboard.{kind}" for kind in ("csv", "json", "md")),
        *("pairs.csv", "published.csv"),
    }
    assert (out / "leaderboard.csv").read_text() == ""
    assert "first" not in (out / "leaderboard.md").read_text()


def problems(tmp_path, cells, runs=()):
    with pytest.raises(SpecError) as caught:
        report.write(cells, dict(runs), tmp_path / "out", "T")
    assert not (tmp_path / "out").exists()
    return caught.value.problems


def test_unfinished_cell(cell, tmp_path):
    path = cell("a", [True], finished=False)
    assert problems(tmp_path, [path]) == [
        f"{path}/cell.json: finished: expected true, got false (the evaluation has not ended)"
    ]


def test_missing_files_are_all_named(cell, run, tmp_path):
    path, training = cell("a", [True]), run("sft", [])
    (path / "samples.jsonl").unlink()
    (training / "metrics.jsonl").unlink()
    assert [text.split(":")[0] for text in problems(tmp_path, [tmp_path / "no", path], {"sft": training})] == [
        f"{tmp_path}/no/cell.json",
        f"{path}/samples.jsonl",
        f"{training}/metrics.jsonl",
    ]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b'{"id": "row-9", "str', 'samples.jsonl:2: expected a JSON object, got \'{"id": "row-9", "str\''),
        (b"\xff", "samples.jsonl:2: expected a JSON object"),
        (b"", "samples.jsonl:2: expected a JSON object, got an empty line"),
        (b"[" * 100_000, "samples.jsonl:2: expected a JSON object"),
        (b"[1]", "samples.jsonl:2: expected a JSON object, got '[1]'"),
        ({}, "samples.jsonl:2: id: expected each id once, got 'row-0' again"),
        ({"id": "row-1", "strict": 1}, "samples.jsonl:2: strict: expected true or false or null, got '1'"),
        ({"id": "row-1", "cut": None}, "samples.jsonl:2: cut: expected true or false, got 'null'"),
        (
            {"id": "row-1", "value": "94"},
            "samples.jsonl:2: value: expected a number or true or false or null, got '\"94\"'",
        ),
        ("question", "samples.jsonl:2: question: expected text, got nothing"),
    ],
)
def test_broken_lines_are_named(cell, tmp_path, line, expected, sample):
    path = cell("a", [True, True])
    good = json.dumps(sample(0)).encode()
    if isinstance(line, str):  # a field that is not there
        line = json.dumps({name: value for name, value in sample(1).items() if name != line}).encode()
    line = json.dumps(sample(0) | line).encode() if isinstance(line, dict) else line
    (path / "samples.jsonl").write_bytes(good + b"\n" + line + b"\n")
    found = problems(tmp_path, [path])
    assert expected in found[0]
    assert all("samples.jsonl:2" in text for text in found)


def test_a_file_full_of_faults_is_summed_up(cell, tmp_path, sample):
    path = cell("a", [sample(i, cut=0) for i in range(300)])
    found = problems(tmp_path, [path])
    assert len(found) == 11
    assert found[-1].endswith("samples.jsonl: and 290 more like these")


def test_lost_samples_are_noticed(cell, tmp_path):
    path = cell("a", [True, True], summary=asdict(Summary.count([])) | {"n": 3})
    assert problems(tmp_path, [path]) == [f"{path}/samples.jsonl: expected 3 samples (summary.n of cell.json), got 2"]
    (path / "samples.jsonl").write_text("")
    assert problems(tmp_path, [path]) == [f"{path}/samples.jsonl: expected at least one sample, got none"]


def test_a_summary_that_the_samples_do_not_give(cell, tmp_path):
    path = cell("a", [True, False, None])
    about = json.loads((path / "cell.json").read_text())
    about["summary"] |= {"k": 2, "unparsed": 0}
    (path / "cell.json").write_text(json.dumps(about))
    assert problems(tmp_path, [path]) == [
        f"{path}/samples.jsonl: expected k=2 (summary of cell.json), got 1",
        f"{path}/samples.jsonl: expected unparsed=0 (summary of cell.json), got 1",
    ]


def test_a_cell_without_its_fields(cell, tmp_path):
    path = cell("a", [True], task=5, settings=[], summary={"n": 1})
    assert problems(tmp_path, [path])[:2] == [
        f"{path}/cell.json: task: expected text, got '5'",
        f"{path}/cell.json: settings: expected an object, got '[]'",
    ]
    path = cell("b", [True], summary={"n": 1})
    assert problems(tmp_path, [path])[0] == f"{path}/cell.json: summary.k: expected a number, got nothing"


def test_the_same_model_and_task_twice(cell, tmp_path):
    path = cell("a", [True])
    assert "got a second" in problems(tmp_path, [path, path])[0]


def test_one_model_under_two_settings_has_two_rows(cell, tmp_path):
    first = cell("a", [True], settings={"max_tokens": 8})
    second = first.rename(first.parent / "first")
    board = report.write([second, cell("a", [True], settings={"max_tokens": 24})], {}, tmp_path / "out", "T")
    assert [row["differs"] for row in board["rows"]] == ["max_tokens 8", "max_tokens 24"]


def test_no_run_is_an_error(tmp_path, capsys):
    assert entry.main(["report", "--work", str(tmp_path), "--out", str(tmp_path / "out")]) == exits.USER
    assert capsys.readouterr().err == "--run: expected the name of a finished run, got none\n"
    assert not (tmp_path / "out").exists()


def test_broken_metrics(run, tmp_path):
    training = run("sft", [{"step": 1}])
    (training / "metrics.jsonl").write_text('{"step": 1}\nnull\n')
    assert problems(tmp_path, [], {"sft": training}) == [
        f"{training}/metrics.jsonl:2: expected a JSON object, got 'null'"
    ]


def test_out_is_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SpecError, match="expected a directory"):
        report.write([], {}, tmp_path / "file", "T")


def test_what_lies_in_the_way_of_a_report_is_told(tmp_path):
    (tmp_path / "leaderboard.csv").mkdir()
    with pytest.raises(SpecError, match=f"{tmp_path}: expected a directory that can be written, got .*leaderboard.csv"):
        report.write([], {}, tmp_path, "T")


def test_both_figures_are_shown_where_corrected_golds_change_them(cell, tmp_path, sample):
    lines = [
        sample(0, True, strict_by_other_gold=False),
        sample(1, False, strict_by_other_gold=True),
        sample(2, False, strict_by_other_gold=True),
        sample(3, False, strict_by_other_gold=True, finish_reason="length"),
    ]
    same = cell("same", [sample(0, True, strict_by_other_gold=True), sample(1, None)], "finqa")
    published = cell("p", lines, "finqa")
    corrected = cell("c", lines, "finqa", settings={"gold": "corrected"})
    report.write([same, published, corrected], {}, tmp_path / "out", "T")
    for name in ("leaderboard.md", "index.html"):
        text = (tmp_path / "out" / name).read_text()
        assert "finqa: p: 1/4 (25.0 %) by the published golds, 2/4 (50.0 %) by the corrected ones" in text
        assert "finqa: c: 1/4 (25.0 %) by the corrected golds, 2/4 (50.0 %) by the published ones" in text
        assert "finqa: same:" not in text
