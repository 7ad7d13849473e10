import json
from collections import Counter

import pytest

from fino1.paths.calls import make_calls
from fino1.paths.records import Chain, Response, Rewriting, parse
from fino1.spec.inputs import DataBlock
from fino1.tasks import ledger
from fino1.tasks.record import judge, solution
from fino1.train.data.rows import read_rows

KINDS = {"steps": Chain, "reasoning": Rewriting, "response": Response}
RECORDS = ledger.generate("sft", n=1500, seed=1)


def calls(slip_rate):
    """Every call with its question, its prompt and what the search reads in the reply."""
    for record, call in zip(RECORDS, make_calls(RECORDS, slip_rate, seed=1), strict=True):
        kind = KINDS[next(iter(json.loads(call.response)))]
        yield record, ledger.TASK.prompt(call), parse(call.response, kind)


def is_right(record, text):
    return judge(ledger.TASK.score, text, record).strict


def test_prompts_are_those_of_the_search_and_replies_what_it_reads():
    asked = Counter()
    for record, prompt, reply in calls(0.5):
        assert prompt.startswith(ledger.TASK.prompt(record) + "\n\n")
        asked[type(reply).__name__, "That is wrong." in prompt] += 1
        if isinstance(reply, Response):
            told = prompt.removeprefix(ledger.TASK.prompt(record)).removesuffix("Response as JSON.").strip()
            assert is_right(record, solution(told, reply.response))
    assert min(asked.values()) > 50 and set(asked) == {
        ("Chain", False), ("Chain", True), ("Rewriting", False), ("Response", False),
    }  # fmt: skip


def test_what_is_called_wrong_is_wrong_and_what_is_told_ends_right():
    for record, prompt, reply in calls(0.5):
        shown = [line for line in prompt.splitlines() if line.startswith("[conclude]")]
        if isinstance(reply, Chain) and shown:
            assert not any(is_right(record, line) for line in shown)
        if isinstance(reply, Rewriting):
            assert is_right(record, shown[-1])
            assert all(line.rpartition(" ")[2].rstrip(".") in reply.reasoning for line in shown)


@pytest.mark.parametrize(("slip_rate", "share"), [(0.0, 1.0), (0.5, 0.6), (1.0, 0.2)])
def test_chains_slip_as_the_solutions_do(slip_rate, share):
    right = [
        is_right(record, reply.steps[-2].content)
        for record, prompt, reply in calls(slip_rate)
        if isinstance(reply, Chain)
    ]
    assert abs(sum(right) / len(right) - share) < 0.06


def test_a_share_of_the_training_rows():
    rows = read_rows(DataBlock(task="ledger", size=200, calls=0.25, eval_size=20), "sft", 1)
    assert Counter(bool(record.cot) for record in rows.train) == {True: 150, False: 50}
    assert rows.train[50:] == ledger.generate("sft", n=200, seed=1, slip_rate=0.5)[50:]
    assert all(record.cot for record in rows.evaluation)
    assert read_rows(DataBlock(task="ledger", size=200, calls=0.25, eval_size=20), "ppo", 1).train[0].cot
