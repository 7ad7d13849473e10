import asyncio
import json
import threading

import pytest

from fino1 import exits, runs
from fino1.errors import SpecError
from fino1.evaluate.budget import Account, BudgetSpent, Cost, Tariff
from fino1.evaluate.endpoint import Answer, Cancelled
from fino1.evaluate.loop import wait
from fino1.evaluate.main import main
from fino1.evaluate.samples import INDEX
from fino1.spec import load
from fino1.spec.evaluation import BudgetBlock, PriceBlock
from fino1.tasks import ledger
from tests.evaluate.test_main import N, only_cell, records, samples_of, spec_of

PRICE = PriceBlock(input=2, output=10)
TARIFF = Tariff(PRICE, max_tokens=100)
PROMPT = "x" * 36  # worst case 36 + 64 + 100 = 200 tokens; 0.0012 dollars


def account(shards=1, **limits):
    return Account(BudgetBlock(**limits), shards, Cost())


def answer(prompt_tokens=30, completion_tokens=20):
    return Answer("42", "stop", prompt_tokens, completion_tokens, 0.1)


def test_worst_case_is_a_token_a_byte_and_a_full_answer():
    assert TARIFF.bound(PROMPT) == Cost(200, (100 * 2 + 100 * 10) / 1e6)
    assert TARIFF.bound("é" * 18) == TARIFF.bound(PROMPT)


def test_an_answer_costs_what_its_usage_says():
    assert TARIFF.count_answer(PROMPT, "42", (30, 20)) == Cost(50, 260e-6)
    assert Tariff(None, 100).count_answer(PROMPT, "42", (30, 20)) == Cost(50, 0.0)


def test_an_answer_without_usage_is_estimated_and_counted_as_such():
    assert TARIFF.count_answer(PROMPT, "y" * 30, (None, None)) == Cost(13 + 11, (13 * 2 + 11 * 10) / 1e6, estimated=1)
    assert TARIFF.count_answer(PROMPT, "y" * 30, (30, None)) == Cost(41, (30 * 2 + 11 * 10) / 1e6, estimated=1)


def test_a_request_without_an_answer_counts_at_full_length():
    assert TARIFF.count_unanswered(PROMPT) == Cost(113, (13 * 2 + 100 * 10) / 1e6, unanswered=1)


async def request(purse, halt=None):
    """What it costs to ask where nobody answers."""
    async with purse.request(TARIFF, PROMPT, halt or threading.Event()):
        pass


@pytest.mark.parametrize(
    ("limits", "fits"),
    [({"tokens": 199}, False), ({"tokens": 200}, True), ({"dollars": 0.00119}, False), ({"dollars": 0.0012}, True)],
)
def test_a_request_goes_out_only_where_its_worst_case_fits(limits, fits):
    try:
        wait(request(account(**limits)))
        assert fits
    except BudgetSpent:
        assert not fits


def test_a_request_waits_for_those_under_way_and_goes_on_with_what_they_left():
    purse, halt = account(tokens=300), threading.Event()
    order = []

    async def second():
        async with purse.request(TARIFF, PROMPT, halt):
            order.append("second")

    async def both():
        async with purse.request(TARIFF, PROMPT, halt) as first:
            task = asyncio.create_task(second())
            await asyncio.sleep(0.3)
            order.append("first")
            first.count_answer(answer())
        await asyncio.wait_for(task, 10)

    wait(both())
    assert order == ["first", "second"]


def test_many_threads_never_pass_the_budget():
    purse, halt, ends, spent = account(tokens=2000), threading.Event(), [], []

    async def ask():
        async with purse.request(TARIFF, PROMPT, halt) as request:
            await asyncio.sleep(0.001)
            request.count_answer(answer(100, 100))  # the worst that it can be
            spent.append(200)

    def ask_on():
        try:
            while True:
                wait(ask())
        except BudgetSpent as error:
            ends.append(error)

    threads = [threading.Thread(target=ask_on) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert (len(ends), sum(spent)) == (8, 2000)


def test_a_request_that_was_not_heard_needs_room_again():
    async def ask():
        async with account(tokens=300).request(TARIFF, PROMPT, threading.Event()) as request:
            await request.count_unanswered()

    with pytest.raises(BudgetSpent):
        wait(ask())


def test_the_end_of_the_evaluation_ends_the_wait_for_room():
    purse, halt = account(tokens=300), threading.Event()
    threading.Timer(0.2, halt.set).start()

    async def ask():
        async with purse.request(TARIFF, PROMPT, threading.Event()):
            await request(purse, halt)

    with pytest.raises(Cancelled):
        wait(ask())


def test_each_shard_has_an_equal_part():
    with pytest.raises(BudgetSpent):
        wait(request(account(tokens=599, shards=3)))
    wait(request(account(tokens=600, shards=3)))


# From here on whole evaluations. The server says 14 tokens for each answer.


def worst():
    """What is held for the longest question."""
    return max(len(ledger.TASK.prompt(record)) for record in records()) + 64 + 32


def test_a_spent_budget_ends_the_run_and_a_higher_one_goes_on(right, tmp_path):
    limit = worst() + 4 * 14
    with pytest.raises(SpecError) as caught:
        main(spec_of(right, budget={"tokens": limit}), "eval", tmp_path)
    assert caught.value.exit_code == exits.USER
    (line,) = caught.value.problems
    bought = len(samples_of(only_cell(tmp_path)))
    assert 4 <= bought < N
    assert line.startswith(f"eval.budget.tokens: expected room for the {N - bought} questions left (about ")
    assert f"with {bought * 14} spent and up to " in line
    assert set(right.asked.values()) == {1}
    assert len(right.asked) == bought
    assert main(spec_of(right, budget={"tokens": worst() + N * 14}), "eval", tmp_path) == 0
    assert set(right.asked.values()) == {1}
    assert len(right.asked) == N


def test_budget_and_prices_are_no_part_of_the_key_and_cost_no_request(right, tmp_path):
    assert main(spec_of(right), "eval", tmp_path) == 0
    priced = [{"name": "a", "base_url": right.base_url, "price": {"input": 1, "output": 2}}]
    spec = spec_of(right, priced, budget={"dollars": 1e-9})
    assert main(spec, "eval", tmp_path) == 0  # nothing is left to ask
    assert right.asked.total() == N
    done = json.loads((runs.directory(tmp_path, "eval", spec) / "done.json").read_text())
    assert done["cost"] == {"tokens": 14 * N, "dollars": round((11 + 3 * 2) * N / 1e6, 6), "estimated": 0, "unheard": 0}
    plain = json.loads((runs.directory(tmp_path, "eval", spec_of(right)) / "done.json").read_text())
    assert plain["artefact_sha256"] == done["artefact_sha256"]
    assert plain["cost"] == {"tokens": 14 * N, "estimated": 0, "unheard": 0}


def test_finished_cells_of_other_models_count(right, tmp_path):
    assert main(spec_of(right), "eval", tmp_path) == 0
    models = [
        *spec_of(right).model_dump(exclude_none=True)["eval"]["models"],
        {"name": "b", "base_url": right.base_url},
    ]
    with pytest.raises(SpecError, match=f"with {14 * N} spent and"):
        main(spec_of(right, models, budget={"tokens": 14 * N + 64 + 32}), "eval", tmp_path)
    assert right.asked.total() == N


def test_dollars_without_a_price_are_refused():
    models = [{"name": "a", "base_url": "http://x/v1"}, {"name": "b", "run": "sft"}]
    document = {"method": "eval", "eval": {"models": models, "tasks": [{"task": "ledger"}], "budget": {"dollars": 1}}}
    with pytest.raises(SpecError) as caught:
        load.build(document, "run.yaml")
    assert caught.value.problems == ["run.yaml: eval.models.0.price: expected one with eval.budget.dollars, got none"]


def test_shards_share_the_budget(right, tmp_path, monkeypatch):
    spec = spec_of(right, shards=2, budget={"tokens": 2 * (worst() + 14 * (N // 2 - 1))})
    for index in range(2):
        monkeypatch.setenv(INDEX, str(index))
        assert main(spec, "eval", tmp_path) == 0
    assert right.asked.total() == N
    assert json.loads((only_cell(tmp_path) / "cell.json").read_text())["cost"]["tokens"] == 14 * N
