"""How long may a verdict take? benchmarks/score.py measures it; here only that it is linear, and not far off."""

import importlib.util
import time
from pathlib import Path

import pytest

from fino1.tasks.scoring.answer import score

SPEC = importlib.util.spec_from_file_location("score_benchmark", Path(__file__).parents[2] / "benchmarks" / "score.py")
BENCHMARK = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(BENCHMARK)
QUESTION = "what was the change in trade payables from 2011 to 2012 ?"


def measure(text):
    began = time.process_time()
    score(text, QUESTION, 1.0)
    score(text, QUESTION, True)
    return time.process_time() - began


@pytest.mark.parametrize(
    "piece",
    ["1\n", "1/2 ", "| 1 | 2 |\n", "12.5 = ", "<answer>1 ", "the answer is in 2015 ", "In 2014 it was 5. ", "\\boxed{", "not 1 "],
)  # fmt: skip
def test_time_is_linear_in_the_text(piece):
    short, long = (min(measure(piece * (n // len(piece))) for _ in range(2)) for n in (5_000, 40_000))
    assert long < 30 * short + 0.2, (short, long)  # eight times the text; 64 times if it were quadratic


def test_the_benchmarks_rows():
    rows = BENCHMARK.make_rows(1000, seed=1)
    assert rows == BENCHMARK.make_rows(1000, seed=1) != BENCHMARK.make_rows(1000, seed=2)
    assert sum(len(completion) for _, completion, _, _ in rows) / 1000 == pytest.approx(365, abs=15)
    assert BENCHMARK.main(1000) in (0, 1)
