"""What a run costs by a price book."""

import pytest

from fino1.errors import SpecError
from fino1.k8s.plan import cost
from fino1.k8s.plan.cost import PriceBook
from fino1.spec import load

BOOK = PriceBook(currency="EUR", prices={"NVIDIA-H100-80GB-HBM3": 2.5, "nvidia.com/gpu": 2})
H100 = {"gpu": {"product": "NVIDIA-H100-80GB-HBM3"}}


def spec(**keys):
    return load.build({"method": "sft", "data": {"path": "rows.json"}, **keys}, "run.yaml")


def evaluation(*models, **keys):
    tasks = [{"task": "ledger"}]
    return load.build({"method": "eval", "eval": {"models": list(models), "tasks": tasks}, **keys}, "run.yaml")


def test_given_hours():
    found = cost.cost(spec(nodes=2, **H100), BOOK, "book.yaml", hours=3)
    assert (found["gpus"], found["per_hour"], found["amount"], found["bound"]) == (16, 40.0, 120.0, "estimated")


def test_the_deadline_is_an_upper_bound():
    found = cost.cost(spec(activeDeadlineSeconds=5400, **H100), BOOK, "book.yaml")
    assert (found["per_hour"], found["hours"], found["amount"], found["bound"]) == (20.0, 1.5, 30.0, "at most")


def test_given_hours_go_before_the_deadline():
    assert cost.cost(spec(activeDeadlineSeconds=5400), BOOK, "book.yaml", hours=1)["bound"] == "estimated"


def test_without_either_the_price_of_an_hour_is_all_that_is_known():
    found = cost.cost(spec(), BOOK, "book.yaml")
    assert (found["per_hour"], found["hours"], found["amount"], found["bound"]) == (16.0, None, None, "unknown")


@pytest.mark.parametrize(
    ("gpu", "price"),
    [
        ({"product": "NVIDIA-H100-80GB-HBM3"}, 20.0),
        ({"product": "NVIDIA-L4"}, 16.0),  # no price of its own: the resource's
        ({}, 16.0),
    ],
)
def test_a_product_s_price_goes_before_its_resource_s(gpu, price):
    assert cost.cost(spec(gpu=gpu), BOOK, "book.yaml")["per_hour"] == price


def test_a_run_without_gpus_costs_no_gpu_hours_and_says_what_is_missing():
    found = cost.cost(spec(gpus_per_node=0), BOOK, "book.yaml", hours=5)
    assert (found["gpus"], found["amount"]) == (0, 0.0)
    assert found["unpriced"] == ["CPUs and memory: the run takes no GPU"]


def test_every_served_model_of_an_evaluation_takes_its_own_gpus():
    models = [{"name": "a", "hub": "o/a"}, {"name": "b", "hub": "o/b"}, {"name": "gpt", "base_url": "https://x/v1"}]
    found = cost.cost(evaluation(*models, gpus_per_node=2), BOOK, "book.yaml", hours=1)
    assert (found["gpus"], found["amount"]) == (4, 8.0)
    assert found["unpriced"] == ["gpt: tokens of its endpoint"]


def test_every_shard_has_a_server_of_its_own():
    run = load.build(
        {
            "method": "eval",
            "gpus_per_node": 2,
            "eval": {"models": [{"name": "a", "hub": "o/a"}], "tasks": [{"task": "ledger"}], "shards": 3},
        },
        "run.yaml",
    )
    assert cost.cost(run, BOOK, "book.yaml")["gpus"] == 6


def test_endpoints_alone_need_no_price():
    model = {"name": "gpt", "base_url": "https://x/v1"}
    found = cost.cost(evaluation(model), PriceBook(currency="EUR", prices={}), "book.yaml", hours=1)
    assert (found["gpus"], found["amount"]) == (0, 0.0)
    assert "gpt: tokens of its endpoint" in found["unpriced"]


def test_a_judge_s_tokens_have_no_price_here():
    reward = {"source": "mix", "judge": {"base_url": "https://x/v1"}}
    run = load.build({"method": "ppo", "gpus_per_node": 2, "ppo": {"reward": reward}}, "run.yaml")
    assert cost.cost(run, BOOK, "book.yaml")["unpriced"] == ["judge: tokens of its endpoint"]


def test_no_price_for_these_gpus():
    run = spec(gpu={"product": "NVIDIA-L4", "resource": "example.com/gpu"})
    with pytest.raises(SpecError) as caught:
        cost.cost(run, BOOK, "book.yaml")
    assert caught.value.problems == [
        "book.yaml: prices: expected one for NVIDIA-L4 or example.com/gpu, got NVIDIA-H100-80GB-HBM3, nvidia.com/gpu"
    ]


def test_a_book_is_read(tmp_path):
    path = tmp_path / "book.yaml"
    path.write_text("currency: EUR\nprices: {NVIDIA-H100-80GB-HBM3: 2.5, nvidia.com/gpu: '2'}\n")
    assert cost.read(path) == BOOK


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("{}", ["currency: expected a value, got none", "prices: expected a value, got none"]),
        ("currency: EUR\nprices: {a: -1}", ["prices.a: expected at least 0, got -1"]),
        ("currency: EUR\nprices: {a: free}", ["prices.a: expected a number, got the text free"]),
        ("currency: 3\nprices: {}", ["currency: expected text, got 3"]),
        ("currency: EUR\nprices: [2]", ["prices: expected a map of keys, got the list [2]"]),
        ("currency: EUR\nprices: {}\nprice: 2", ["price: unknown key; the nearest known one is prices"]),
        ("- a", ["expected a map of keys, got the list [\"a\"]"]),
    ],
)  # fmt: skip
def test_bad_books(tmp_path, text, problems):
    path = tmp_path / "book.yaml"
    path.write_text(text)
    with pytest.raises(SpecError) as caught:
        cost.read(path)
    assert caught.value.problems == [f"{path}: {problem}" for problem in problems]


def test_no_book(tmp_path):
    with pytest.raises(SpecError, match=r"book.yaml: expected a file, got none"):
        cost.read(tmp_path / "book.yaml")
