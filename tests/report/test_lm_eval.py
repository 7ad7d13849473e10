"""Cells in lm-evaluation-harness' sample format, read back by what reads its own files."""

import hashlib
import json
import subprocess
from pathlib import Path

import datasets
import pytest

from fino1 import __main__ as entry
from fino1.cells import read_cell
from fino1.report import lm_eval

PYTHON = Path(
    ".venv-lm-eval/bin/python"
)  # python3 -m venv .venv-lm-eval && .venv-lm-eval/bin/pip install 'lm_eval[api]==0.4.13'
SETTINGS = {"max_tokens": 64, "temperature": 0.5, "prompt": "{{ question }}", "scorer": "3", "model": {"hub": "a/b"}}
SETTINGS |= {"server": "vllm"}
READ = """
import json, sys
from pathlib import Path
from lm_eval import utils
from lm_eval.result_schema import SampleResult

names = [path.as_posix() for path in Path(sys.argv[1]).rglob("*") if path.is_file()]
results = json.loads(Path(utils.get_latest_filename(utils.get_results_filenames(names))).read_text())
samples = {
    utils.get_file_task_name(Path(name).name): [json.loads(line) for line in open(name)]
    for name in utils.get_sample_results_filenames(names)
}
fields = set(SampleResult.__required_keys__)
for task, lines in samples.items():
    hashes = "".join(line["doc_hash"] + line["prompt_hash"] + line["target_hash"] for line in lines)
    assert results["task_hashes"][task] == utils.hash_string(hashes)
    for line in lines:
        assert fields | set(line["metrics"]) == set(line), set(line)
        assert line["doc_hash"] == utils.hash_string(json.dumps(line["doc"], indent=2, ensure_ascii=False))
        assert line["prompt_hash"] == utils.hash_string(line["arguments"]["gen_args_0"]["arg_0"])
print(utils.make_table(results))
"""


@pytest.fixture
def exported(cell, sample, tmp_path):
    """Three cells of two models, and the directory with their export."""
    odd = sample(2, None, completion="caf\u00e9 \ud800 \u2028 end", finish_reason="length")
    twice = [sample(0), sample(0, False) | {"number": 1}]
    cells = [
        cell("org/m", [True, False, odd], "finqa", settings=SETTINGS),
        cell("org/m", [True], "ledger", settings=SETTINGS),
        cell("k", twice, "ledger", settings=SETTINGS | {"samples": 2}),
    ]
    for name, text in lm_eval.export([read_cell(path) for path in cells]):
        path = tmp_path / "lm" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode("utf-8", "replace"))
    return tmp_path / "lm"


def read_lines(path):
    return [json.loads(line) for line in path.read_text().split("\n")[:-1]]


def test_files_and_fields(exported):
    files = {path.relative_to(exported).as_posix() for path in exported.rglob("*.json*")}
    names = ("org__m/results", "org__m/samples_finqa", "org__m/samples_ledger", "k/results", "k/samples_ledger")
    assert files == {f"{name}_{lm_eval.DATE}.json{'l' * ('samples' in name)}" for name in names}
    right, wrong, odd = read_lines(exported / f"org__m/samples_finqa_{lm_eval.DATE}.jsonl")
    options = {"until": [], "max_gen_toks": 64, "do_sample": True, "temperature": 0.5}
    doc = {"id": "row-0", "question": "What is 0?"}
    assert right == {
        "doc_id": 0,
        "doc": doc,
        "target": "0.0",
        "arguments": {"gen_args_0": {"arg_0": "Table\n\nWhat is 0?", "arg_1": options}},
        "resps": [["## Thinking\n\n…\n\n## Final Response\n\nThe answer is 0."]],
        "filtered_resps": ["0"],
        "filter": "rule",
        "metrics": ["exact_match", "docmath_compat", "unparsed", "truncated"],
        "doc_hash": hashlib.sha256(json.dumps(doc, indent=2).encode()).hexdigest(),
        "prompt_hash": hashlib.sha256(b"Table\n\nWhat is 0?").hexdigest(),
        "target_hash": hashlib.sha256(b"0.0").hexdigest(),
        "exact_match": 1.0,
        "docmath_compat": 1.0,
        "unparsed": 0.0,
        "truncated": 0.0,
    }
    assert (wrong["exact_match"], wrong["doc_id"]) == (0.0, 1)
    assert (odd["filtered_resps"], odd["unparsed"], odd["truncated"]) == (["[invalid]"], 1.0, 1.0)
    assert odd["resps"] == [["café ? \u2028 end"]]


def test_a_result_that_a_model_read_is_a_filter(cell, sample):
    reply = {"text": "0", "strict": True, "docmath_compat": True, "finish_reason": "stop"}
    lines = [sample(0, None, extraction=reply), sample(1, None), sample(2, True, extraction=reply | {"strict": None})]
    path = cell("m", lines, settings=SETTINGS | {"extraction": {"model": {"model_id": "judge"}}})
    (_, text), (_, results) = lm_eval.export([read_cell(path)])
    found = [json.loads(line) for line in text.splitlines()]
    said = [(line["doc_id"], line["filter"], line["filtered_resps"], line["exact_match"]) for line in found]
    assert said == [
        (0, "rule", ["[invalid]"], 0.0),
        (1, "rule", ["[invalid]"], 0.0),
        (2, "rule", ["2"], 1.0),
        (0, "model", ["0"], 1.0),
        (1, "model", ["[invalid]"], 0.0),
        (2, "model", ["0"], 0.0),
    ]
    averages = json.loads(results)["results"]["ledger"]
    assert (averages["sample_len"], averages["unparsed,rule"], averages["unparsed,model"]) == (3, 2 / 3, 2 / 3)
    assert averages["docmath_compat,model"] == 2 / 3


def test_several_answers_are_repeats_of_one_line(exported):
    (line,) = read_lines(exported / f"k/samples_ledger_{lm_eval.DATE}.jsonl")
    assert [len(line["resps"]), len(line["resps"][0]), line["filtered_resps"]] == [1, 2, [["0", "0"]]]
    assert line["exact_match"] == 0.5


def test_results(exported):
    found = json.loads((exported / f"org__m/results_{lm_eval.DATE}.json").read_text())
    finqa = found["results"]["finqa"]
    assert finqa["exact_match,rule"] == pytest.approx(1 / 3)
    assert finqa["exact_match_stderr,rule"] == pytest.approx(1 / 3)  # sample deviation 0.577 over the root of 3
    assert found["results"]["ledger"]["exact_match_stderr,rule"] == "N/A"
    assert found["n-samples"]["finqa"] == {"original": 3, "effective": 3}
    assert found["configs"]["finqa"]["metadata"]["settings"] == SETTINGS
    assert (found["model_name"], found["config"]["model_args"]) == ("org/m", {"hub": "a/b"})


def test_cells_of_one_task_under_other_settings_have_names_of_their_own(cell):
    two = [cell("a", [True], "finqa", key="1" * 64), cell("b", [False], "finqa", key="2" * 64)]
    cells = [read_cell(path) for path in two]
    cells = [cells[0], cells[1].__class__(**vars(cells[1]) | {"model": "a"})]
    names = [name for name, _ in lm_eval.export(cells)]
    assert names[:2] == [f"a/samples_finqa-{digit * 8}_{lm_eval.DATE}.jsonl" for digit in "12"]


def test_datasets_loads_them(exported, tmp_path):
    files = sorted(map(str, exported.rglob("samples_*.jsonl")))
    rows = datasets.load_dataset("json", data_files=files[1:], split="train", cache_dir=str(tmp_path / "cache"))
    assert rows["exact_match"] == [1.0, 0.0, 0.0, 1.0]
    assert rows[0]["arguments"]["gen_args_0"]["arg_1"]["max_gen_toks"] == 64


def test_report_writes_them_the_same_again(cell, sample, tmp_path):
    path = cell("m", [True, False], settings=SETTINGS)
    path.rename(path.with_name("ab" * 32))
    run = tmp_path / "runs" / "eval-0123456789"
    run.mkdir(parents=True)
    done = {"method": "eval", "cells": ["ab" * 32], "models": ["shown"], "tasks": ["ledger"]}
    (run / "done.json").write_text(json.dumps(done))
    (run / "cells.json").write_text(json.dumps(done))
    (run / "config.json").write_text(json.dumps({"eval": {}}))
    found = []
    for name in ("first", "second"):
        options = ["--work", str(tmp_path), "--out", str(tmp_path / "out"), "--run", "eval"]
        assert entry.main(["report", *options, "--lm-eval", str(tmp_path / name)]) == 0
        files = sorted((tmp_path / name).rglob("*.json*"))
        found.append({path.relative_to(tmp_path / name): path.read_bytes() for path in files})
    assert found[0] == found[1]
    assert {path.parts[0] for path in found[0]} == {"shown"}


@pytest.mark.skipif(not PYTHON.exists(), reason=f"no {PYTHON}, an environment with lm_eval")
def test_lm_eval_reads_them(exported):
    for model, lines in (("org__m", 2), ("k", 1)):
        command = [PYTHON.absolute(), "-c", READ, exported / model]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("|exact_match") == lines, done.stdout
