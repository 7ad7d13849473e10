import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import yaml
from pyarrow import parquet

from fino1.rows import output
from fino1.spec.inputs import DataBlock
from fino1.tasks.record import well_formed
from fino1.train.data import columns
from tests.rows.conftest import lines, path, question, turn, write_cell, write_rows, write_run

PAGES = [f"P{n}/2010/page_{n}.pdf" for n in range(40)]


@pytest.fixture
def found():
    """Two questions of each of 40 pages; of every second page the first needed a second chain."""
    records = [question(number, page) for page in PAGES for number in (1, 5)]
    return [(r, path(r, *([turn(7, False)] if n % 4 == 0 else []))) for n, r in enumerate(records)]


def summary(directory):
    return json.loads((directory / "summary.json").read_text())


def test_training_reads_both_parts_as_they_stand(make, tmp_path, found):
    out = make(write_run(tmp_path, found))
    counts = summary(out)["counts"]
    assert counts["read"] == 80 == counts["sft"] + counts["rl"] and 4 <= counts["rl"] <= 36
    by_id = {r.id: r for r, _ in found}
    for name, method in (("sft", "sft"), ("rl", "ppo")):
        for kind in ("jsonl", "parquet"):
            rows = columns.read(DataBlock(path=str(out / f"{name}.{kind}")), method)
            assert len(rows) == counts[name]
        for row, line in zip(rows, lines(out / f"{name}.jsonl"), strict=True):
            record = by_id[line["id"]]
            assert "".join(row.before) == "\n".join((*record.before, *record.table))
            assert (line["task"], line["page"], line["table"]) == ("finqa", record.page, record.fields["table_hash"])
            assert row.target == (str(record.target) if method == "ppo" else "")


def test_parquet_has_what_json_lines_have(make, tmp_path, found):
    out = make(write_run(tmp_path, found))
    for name in output.CONFIGS:
        table = parquet.read_table(out / f"{name}.parquet")
        assert table.to_pylist() == lines(out / f"{name}.jsonl") != []
        assert tuple(table.column_names) == output.COLUMNS[name]


def test_no_page_and_no_table_is_in_both_parts(make, tmp_path, found):
    """A page that stands under two names is one page."""
    twins = [(question(9, f"other/{page}", fields={"table_hash": f"hash of {page}"}), page) for page in PAGES]
    out = make(write_run(tmp_path, [*found, *((r, path(r)) for r, _ in twins)]), "--rl-share", "0.5")
    sft, rl = lines(out / "sft.jsonl"), lines(out / "rl.jsonl")
    assert sft and rl
    for key in ("page", "table", "Document"):
        assert not {row[key] for row in sft} & {row[key] for row in rl}
    assert {row["page"] for row in (*sft, *rl)} > {r.page for r, _ in twins}


@pytest.mark.parametrize(("share", "parts"), [("0", (80, 0)), ("1", (0, 80))])
def test_all_rows_may_be_for_one_part(make, tmp_path, found, share, parts):
    counts = summary(make(write_run(tmp_path, found), "--rl-share", share))["counts"]
    assert (counts["sft"], counts["rl"]) == parts


def test_the_part_of_a_page_does_not_depend_on_the_other_rows(make, tmp_path, found):
    few = make(write_run(tmp_path / "a", found[:30]), to="few")
    all_of_them = {row["id"] for row in lines(make(write_run(tmp_path / "b", found), to="all") / "rl.jsonl")}
    ids = {r.id for r, _ in found[:30]}
    assert {row["id"] for row in lines(few / "rl.jsonl")} == all_of_them & ids != set()


def test_the_same_bytes_in_any_order(make, tmp_path, found):
    run, other = write_run(tmp_path, found[:30]), write_run(tmp_path, found[20:50], "other")
    file = write_rows(tmp_path / "rows.jsonl", [r for r, _ in found[50:]])
    first = {p.name: p.read_bytes() for p in make(run, other, file).iterdir()}
    file_bytes = file.read_text().splitlines(keepends=True)
    assert {p.name: p.read_bytes() for p in make(other, file, run, to="again").iterdir()} == first
    assert first.keys() == output.NAMES
    file.write_text("".join(reversed(file_bytes)))
    again = make(run, other, file, to="reversed")
    for name in ("sft.jsonl", "rl.jsonl", "preferences.jsonl", "sft.parquet"):
        assert (again / name).read_bytes() == first[name]


def test_a_pair_is_the_last_chain_that_was_judged_wrong(make, tmp_path):
    records = [question(1, page) for page in PAGES[:5]]
    searches = [
        path(records[0], turn(7, False), turn(8, False, "Verification")),
        path(records[1]),
        path(records[2], turn(7, False), turn("as before", False, "Verification", "nobody")),
        path(records[3], turn("unsaid", False, judged_by="nobody")),
        path(records[4], turn(9, False), failure="wrong"),
    ]
    out = make(write_run(tmp_path, list(zip(records, searches, strict=True))))
    pairs = {pair["id"]: pair for pair in lines(out / "preferences.jsonl")}
    assert pairs.keys() == {records[0].id, records[2].id}
    pair = pairs[records[0].id]
    thinking, response = "I add them up to 8.", "The answer is 8."
    assert pair["rejected"] == f"## Thinking\n\n{thinking}\n\n## Final Response\n\n{response}"
    assert pair["chosen"].endswith("## Final Response\n\nThe answer is 101.0.")
    assert "The answer is 7." in pairs[records[2].id]["rejected"]
    parts = {row["id"]: name for name in ("sft", "rl") for row in lines(out / f"{name}.jsonl")}
    for pair in pairs.values():
        assert well_formed(pair["chosen"]) and well_formed(pair["rejected"])
        assert pair["part"] == parts[pair["id"]]


def test_who_was_shown_the_gold_is_for_sft_only(make, tmp_path):
    records = [question(n, page) for page in PAGES for n in (1, 5)]
    shown = [path(r, turn(7, False)) if n % 2 else _shown(r) for n, r in enumerate(records)]
    out = make(write_run(tmp_path, list(zip(records, shown, strict=True))), "--rl-share", "0.5")
    shown_ids = {r.id for n, r in enumerate(records) if not n % 2}
    assert not shown_ids & {row["id"] for name in ("rl", "preferences") for row in lines(out / f"{name}.jsonl")}
    in_sft = {row["id"] for row in lines(out / "sft.jsonl") if row["shows_gold"]}
    assert in_sft == shown_ids & {row["id"] for row in lines(out / "sft.jsonl")} != set()
    assert summary(out)["counts"]["unused"] == 40 - len(in_sft) > 0


def _shown(record):
    found = path(record)
    return type(found)((turn(7, False), turn(record.target, True, "Gold shown")), None, found.cot, found.response)


def test_length_limits(make, tmp_path, found):
    long = question(3, "long/page", text="what is the sum ? " + "really ? " * 300)
    run = write_run(tmp_path, [*found, (long, path(long))])
    longest = max(len(output.solution(p.cot, p.response)) for _, p in found)
    limits = ("--max-length", "2000", "--max-response", longest, "--min-response", "20")
    assert summary(make(run, *limits))["counts"]["too_long"] == 1
    assert "response_too_long 81" in make(run, "--max-response", "20", to="none", code=2)
    assert "response_too_short 81" in make(run, "--min-response", "9999", to="none", code=2)


def test_lengths_in_tokens(make, tmp_path, found):
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    words.save(str(tmp_path / "tokenizer.json"))
    run = write_run(tmp_path, found)
    words_of_a_response = "## Thinking Let me see. I add them. ## Final Response The answer is 101.0."
    length = words_of_a_response.count(" ") + 1
    counts = summary(make(run, "--tokenizer", tmp_path, "--max-response", length))["counts"]
    assert counts["response_too_long"] == 0
    assert "response_too_long 80" in make(run, "--tokenizer", tmp_path, "--max-response", length - 1, to="n", code=2)
    assert "expected a model with tokenizer.json" in make(run, "--tokenizer", run, to="n", code=2)


def test_what_the_base_model_solves_is_left_out(make, tmp_path, found):
    run = write_run(tmp_path, found)
    answers = [(r, n % 3 == 0) for n, (r, _) in enumerate(found[:60])]
    cell = write_cell(tmp_path / "cells" / "aa", "base", answers)
    out = make(run, "--solved-by", tmp_path / "cells")
    assert (out / "sft.jsonl").read_bytes() == (make(run, "--solved-by", cell, to="cell") / "sft.jsonl").read_bytes()
    counts = summary(out)["counts"]
    assert (counts["solved"], counts["not_asked"]) == (20, 20)
    left = {row["id"] for name in ("sft", "rl") for row in lines(out / f"{name}.jsonl")}
    assert left == {r.id for r, _ in found} - {r.id for r, right in answers if right}
    write_cell(tmp_path / "cells" / "bb", "better", answers)
    assert "expected finished cells of one model, got base, better" in make(
        run, "--solved-by", tmp_path / "cells", to="two", code=2
    )
    other = write_cell(tmp_path / "others" / "cc", "base", [(question(77, "nobody's/page"), True)])
    assert "expected answers to these questions, got none" in make(run, "--solved-by", other, to="two", code=2)
    for name, right in (("aa", True), ("bb", False), ("cc", True)):  # the same questions again: right once is right
        write_cell(tmp_path / "again" / name, "base", [(r, right) for r, _ in found[:10]])
    assert summary(make(run, "--solved-by", tmp_path / "again", to="right-once"))["counts"]["solved"] == 10


def test_a_directory_is_never_overwritten_unasked(make, tmp_path, found):
    run, fewer = write_run(tmp_path, found), write_run(tmp_path, found[:20], "fewer")
    out = make(run)
    before = {p.name: p.read_bytes() for p in out.iterdir()}
    make(run)
    assert "--overwrite replaces it" in make(fewer, code=2)
    assert {p.name: p.read_bytes() for p in out.iterdir()} == before
    make(fewer, "--overwrite")
    assert summary(out)["counts"]["read"] == 20
    (out / "notes.txt").write_text("mine")
    assert "got one with notes.txt" in make(run, "--overwrite", code=2)
    assert (out / "notes.txt").exists() and summary(out)["counts"]["read"] == 20


def test_a_directory_that_cannot_be_made_is_said_before_anything_is_read(make, tmp_path):
    (tmp_path / "file").write_text("mine")
    wanted = "expected a place that can be written, got File exists"
    assert wanted in make(tmp_path / "no.jsonl", to="file/out", code=2)
    assert "got File name too long" in make(tmp_path / "no.jsonl", to="x" * 300, code=2)
    (tmp_path / "out" / "summary.json").mkdir(parents=True)
    assert "got one with summary.json" in make(tmp_path / "no.jsonl", "--overwrite", code=2)


def test_the_rows_are_never_written_over_what_they_are_read_from(make, tmp_path, found):
    out = make(write_run(tmp_path, found))
    before = {p.name: p.read_bytes() for p in out.iterdir()}
    assert "expected another directory than that of" in make(out / "sft.jsonl", "--overwrite", code=2)
    assert {p.name: p.read_bytes() for p in out.iterdir()} == before


def test_two_at_once_leave_one_of_both_whole(tmp_path):
    """Either content, and no error."""
    contents = [dict.fromkeys(output.NAMES, bytes([number]) * 10_000) for number in range(2)]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda i: output.write(tmp_path / "out", contents[i % 2], overwrite=True), range(40)))
    assert {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()} in contents
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_nothing_half_written_is_left(make, tmp_path, found):
    out = make(write_run(tmp_path, found))
    before = {p.name: p.read_bytes() for p in out.iterdir()}
    with pytest.raises(TypeError):
        output.write(out, {"README.md": b"new", "sft.jsonl": None}, overwrite=True)
    assert {p.name: p.read_bytes() for p in out.iterdir()} == before
    assert not list(tmp_path.glob(".out*"))


def test_the_card(make, tmp_path, found):
    run = write_run(tmp_path, found)
    text = (make(run, "--license", "finqa=mit") / "README.md").read_text()
    _, front, body = text.split("---\n", 2)
    card = yaml.safe_load(front)
    assert card["license"] == "mit"
    assert [config["config_name"] for config in card["configs"]] == ["sft", "rl", "preferences"]
    assert {config["data_files"] for config in card["configs"]} <= output.PUBLISHED
    counts = summary(tmp_path / "out")["counts"]
    for said in (f"`{run.name}` | gpt-w | finqa | 80", "train.json", f"rows of `sft` | {counts['sft']}", "finqa | mit"):
        assert said in body
    assert str(tmp_path) not in text
    assert yaml.safe_load((make(run, to="b") / "README.md").read_text().split("---\n")[1])["license"] == "unknown"
    assert "expected one of finqa, got docmath" in make(run, "--license", "docmath=mit", to="c", code=2)
    twice = ("--license", "finqa=mit", "--license", "finqa=apache-2.0")
    assert "expected one for finqa, got mit and apache-2.0" in make(run, *twice, to="c", code=2)


def test_a_run_that_is_not_finished_or_was_changed(make, tmp_path, found):
    run = write_run(tmp_path, found)
    rows = run / "rows.jsonl"
    rows.write_text(rows.read_text().replace("I add them", "I guess them"))
    assert "expected the files that done.json has the hash of" in make(run, code=2)
    (run / "config.json").write_text("{}")
    rows.write_text(rows.read_text().replace("I guess them", "I add them"))
    assert "paths-" in (said := make(run, code=2)) and "expected files as method paths writes them" in said
    rows.write_bytes(b"\xff")
    assert "can't decode byte 0xff" in make(run, code=2)
    (run / "done.json").unlink()
    assert "expected a finished run of method paths, got no done.json in it" in make(run, code=2)
    (run / "done.json").write_text("{}")
    rows.unlink()
    assert "expected a finished run of method paths, got no rows.jsonl in it" in make(run, code=2)


def test_two_questions_with_one_id_keep_their_own_golds(make, tmp_path):
    """Of two files of a task whose ids are row numbers, say."""
    records = [
        replace(question(number, f"P{number}/2010/page_1.pdf"), id="1", target=float(number)) for number in (3, 9)
    ]
    found = [(r, path(r, turn(f"{r.target:g}", True))) for r in records]
    out = make(write_run(tmp_path, found), "--rl-share", "1")
    golds = {row["page"]: row["Ground-True Answer"] for row in lines(out / "rl.jsonl")}
    assert golds == {"P3/2010/page_1.pdf": "3.0", "P9/2010/page_1.pdf": "9.0"}


def test_row_files(make, tmp_path, found):
    records = [r for r, _ in found[:6]]
    out = make(write_rows(tmp_path / "a.jsonl", records))
    assert summary(out)["counts"] | {"sft": 6, "rl": 0} == summary(out)["counts"]  # there is no gold
    published = [
        {name.replace("Question", "Open-ended Verifiable Question"): text for name, text in row.items()}
        for row in lines(tmp_path / "a.jsonl")
    ]
    (tmp_path / "b.json").write_text(json.dumps([row | {"Ground-True Answer": 5} for row in published]))
    out = make(tmp_path / "b.json", "--rl-share", "1", to="b")
    assert [row["Ground-True Answer"] for row in lines(out / "rl.jsonl")] == ["5"] * 6
    write_rows(tmp_path / "c.jsonl", records, Response=3)
    assert "c.jsonl:1: Response: expected text, got 3" in make(tmp_path / "c.jsonl", to="c", code=2)
    write_rows(tmp_path / "d.jsonl", records, Question="\ud800")
    assert "d.jsonl:1: row: expected Unicode text" in make(tmp_path / "d.jsonl", to="d", code=2)


def test_malformed_rows_are_counted(make, tmp_path, found):
    good = write_rows(tmp_path / "good.jsonl", [r for r, _ in found[:6]])
    bad = write_rows(tmp_path / "bad.jsonl", [r for r, _ in found[6:9]], Complex_CoT="## Final Response\n\nno")
    empty = write_rows(tmp_path / "empty.jsonl", [r for r, _ in found[9:12]], Response=" ")
    counts = summary(make(good, bad, empty))["counts"]
    assert (counts["read"], counts["malformed"], counts["sft"]) == (12, 6, 6)
