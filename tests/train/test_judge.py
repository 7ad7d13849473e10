"""A judge behind an API as PPO's reward: when it is asked, what its words mean, and that each is bought once."""

import json
import re
import threading

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from fino1 import exits
from fino1.errors import SpecError
from fino1.evaluate.endpoint import EndpointLost
from fino1.spec import load
from fino1.tasks.record import Record, solution
from fino1.train.launch.rank import Run
from fino1.train.ppo import reward
from fino1.train.ppo.judge import Judge
from tests.evaluate.conftest import faulty, server, tiny_tokenizer  # noqa: F401, fixtures
from tests.train.conftest import LLAMA, PPO, TrainRun

NUMBER = Record("1", "what is the net change in net revenue during 2015, in millions?", 94.0)
PROSE = Record("2", "did net revenue rise or fall in 2015?", "It rose.")
SHOWN = re.compile(r"<reference>(.*)</reference>\s*<answer>(.*)</answer>", re.DOTALL)


def verdict(prompt):
    gold, answer = SHOWN.search(prompt).groups()
    return json.dumps({"verdict": "right" if gold == answer else "wrong"})


@pytest.fixture
def judge(server):  # noqa: F811
    """A server whose word is right where the answer is the reference."""
    server.reply = verdict
    return server


def run_of(judge, work, name="run", rules="mix", weight=1.0, **block):
    model = {"base_url": judge.base_url, "model_id": "j", "max_tokens": 32, "max_retries": 1, "concurrency": 3}
    settings = {"source": rules, "judge_weight": weight, "judge": model | block}
    document = {"method": "ppo", "gpus_per_node": 0, "data": {"path": "rows.jsonl"}, "ppo": {"reward": settings}}
    return Run(load.build(document, "test"), name, work, 0, 1)


def judged(run, texts, records, stop=None):
    """The scores, and what the metrics say."""
    asked = Judge(run, lambda record: record.question)
    made = reward.make(run.spec, None, torch.device("cpu"), 2, lambda pairs: asked(stop or threading.Event(), pairs))
    return made(texts, records), asked.numbers


TEXTS = [solution("so", "94"), solution("so", "95"), solution("so", "It rose."), solution("so", "It fell."), "It rose."]
RECORDS = [NUMBER, NUMBER, PROSE, PROSE, PROSE]


def test_the_judge_is_asked_where_the_rule_gives_no_verdict(judge, tmp_path):
    scores, numbers = judged(run_of(judge, tmp_path), TEXTS, RECORDS)
    assert scores == [1.0, 0.1, 1.0, 0.1, 0.0]
    assert judge.asked.total() == 2
    assert all(PROSE.question in prompt for prompt in judge.asked)
    share = 2 / 128  # of global_batch_size
    assert numbers == {"reward/judged": share, "reward/unread": 0.0, "reward/judge_tokens": 28}


def test_the_judge_alone_and_its_weight(judge, tmp_path):
    """The rule would find 95.0 for 95 right."""
    other = Record("3", NUMBER.question, 95.0)
    texts = [*TEXTS, solution("so", "95.0")]
    scores, _ = judged(run_of(judge, tmp_path, rules="judge", weight=0.5), texts, [*RECORDS, other])
    assert scores == pytest.approx([0.1, 0.1, 0.55, 0.1, 0.0, 0.55])  # the judge compares 94 with 94.0 letter by letter
    assert judge.asked.total() == 5


@pytest.mark.parametrize("reply", ['{"verdict": "not right"}', "right", '{"verdict": true}', '{"verdict": "Right"}'])
def test_only_the_exact_word_is_a_verdict(judge, tmp_path, reply):
    """Anything else is sent back once, counts as not right, and is counted."""
    judge.reply = lambda prompt: reply
    price = {"input": 1, "output": 1}
    scores, numbers = judged(run_of(judge, tmp_path, price=price), TEXTS, RECORDS)
    assert scores == [1.0, 0.1, 0.1, 0.1, 0.0]
    assert judge.asked.total() == 4
    assert sum("could not be read" in prompt for prompt in judge.asked) == 2
    assert numbers["reward/unread"] == 2 / 128
    assert (numbers["reward/judge_tokens"], numbers["reward/judge_dollars"]) == (4 * 14, 4 * 14e-6)


def test_a_verdict_is_bought_once(judge, tmp_path):
    """Of equal answers, after a restart, and by another run on the same rows; another judge is asked anew."""
    first = judged(run_of(judge, tmp_path), TEXTS * 2, RECORDS * 2)
    assert judge.asked.total() == 2
    (file,) = tmp_path.glob("verdicts/*/calls-run-*.jsonl")
    file.write_bytes(file.read_bytes() + b'{"key": "half a li')
    judge.reply = lambda prompt: json.dumps({"verdict": "wrong"})
    assert judged(run_of(judge, tmp_path), TEXTS * 2, RECORDS * 2) == first
    assert judged(run_of(judge, tmp_path, "other", "judge", concurrency=1), TEXTS[2:], RECORDS[2:])[0] == first[0][2:5]
    assert judge.asked.total() == 2
    assert judged(run_of(judge, tmp_path, temperature=0.5), TEXTS, RECORDS)[0] == [1.0, 0.1, 0.1, 0.1, 0.0]
    assert judge.asked.total() == 4


def many(count):
    return [solution("so", f"It rose by {i} points or so.") for i in range(count)], [PROSE] * count


def test_a_judge_that_is_down_ends_the_run_for_another_try(judge, tmp_path):
    texts, records = many(20)
    judge.fault = lambda prompt, number: (503, {}, {"message": "down"}) if judge.answered.total() >= 6 else None
    with pytest.raises(reward.Unjudged) as caught:
        judged(run_of(judge, tmp_path), texts, records)
    assert isinstance(caught.value.error, EndpointLost)
    assert exits.is_retryable(caught.value.error.exit_code)
    judge.fault = lambda prompt, number: None
    scores, _ = judged(run_of(judge, tmp_path), texts, records)
    assert scores == [0.1] * 20
    assert (len(judge.answered), set(judge.answered.values())) == (20, {1})


def test_a_key_that_expires_and_a_budget_that_is_spent_are_the_user_s(judge, tmp_path, monkeypatch):
    monkeypatch.setenv("KEY_OF_JUDGE", "sk-0123456789")
    texts, records = many(9)
    judge.fault = lambda prompt, number: (401, {}, {"message": "sk-0123456789 expired"}) if number else None
    with pytest.raises(reward.Unjudged) as caught:
        judged(run_of(judge, tmp_path, api_key_env="KEY_OF_JUDGE"), texts, records)
    assert isinstance(caught.value.error, SpecError) and "<key> expired" in str(caught.value.error)
    limit = max(map(len, judge.asked)) + 64 + 32 + 5 * 14  # the longest at its worst, after five others
    judge.fault = lambda prompt, number: None
    judge.asked.clear()
    with pytest.raises(reward.Unjudged, match=r"ppo.reward.judge.budget.tokens: expected room for the \d+ ") as caught:
        judged(run_of(judge, tmp_path, budget={"tokens": limit}), texts, records)
    assert isinstance(caught.value.error, SpecError)
    bought = judge.asked.total()
    assert 5 <= bought < 9
    judged(run_of(judge, tmp_path, budget={"tokens": 10**6}), texts, records)  # another run: another budget
    assert (judge.asked.total(), set(judge.asked.values())) == (9, {1})


def test_a_stop_ends_the_asking(judge, tmp_path):
    stop = threading.Event()
    stop.set()
    with pytest.raises(reward.Unjudged) as caught:
        judged(run_of(judge, tmp_path), TEXTS, RECORDS, stop)
    assert caught.value.error is None


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({"source": "mix"}, "ppo.reward.judge: expected a model with base_url with source: mix, got none"),
        ({"source": "judge", "judge": {"hub": "a/b"}}, "ppo.reward.judge.base_url: expected one, got none"),
        (
            {"source": "mix", "judge": {"base_url": "http://x/v1", "budget": {"dollars": 1}}},
            "ppo.reward.judge.price: expected one with ppo.reward.judge.budget.dollars, got none",
        ),
    ],
)
def test_mistakes_of_a_run_file(settings, wanted):
    with pytest.raises(SpecError) as caught:
        load.build({"method": "ppo", "gpus_per_node": 0, "ppo": {"reward": settings}}, "test")
    assert wanted in str(caught.value)


# A whole run

THOUGHT = solution("so", "")
WORDS = (THOUGHT, "It rose.", "It fell.")


def guessing_policy(folder):
    """A Llama that answers well-formed and tosses a coin: each token alone says what comes next."""
    tokenizer = tiny_tokenizer(folder)
    tokenizer.add_tokens(list(WORDS))
    tokenizer.save_pretrained(folder)
    thought, *words = tokenizer.convert_tokens_to_ids(list(WORDS))
    size = len(tokenizer) + len(tokenizer) % 2
    config = LlamaConfig(
        vocab_size=size,
        hidden_size=size,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        max_position_embeddings=256,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
    )
    policy = LlamaForCausalLM(config)
    with torch.no_grad():
        for weight in policy.model.layers.parameters():
            if weight.dim() == 2:
                weight.zero_()
        policy.model.embed_tokens.weight.copy_(torch.eye(size))
        policy.lm_head.weight.zero_()
        policy.lm_head.weight[thought, tokenizer.convert_tokens_to_ids("\n")] = 2.0
        for word in words:
            policy.lm_head.weight[word, thought] = 2.0
            policy.lm_head.weight[tokenizer.eos_token_id, word] = 2.0
    policy.save_pretrained(folder)
    return folder


@pytest.mark.slow
def test_a_judge_that_dies_in_mid_run_and_comes_back(faulty, tmp_path):  # noqa: F811
    """The weights are those of a run that nothing disturbed, and no verdict was bought twice."""
    rows = tmp_path / "rows.jsonl"
    golds = ("It rose.", "It fell.", "It stayed as it was.")
    columns = ("Open-ended Verifiable Question", "Ground-True Answer")
    lines = [dict(zip(columns, (f"Which way did item {i} go?", golds[i % 3]), strict=True)) for i in range(40)]
    rows.write_text("".join(json.dumps(line) + "\n" for line in lines))
    judge = faulty()
    judge.reply = verdict
    settings = {"base_url": judge.base_url, "max_retries": 0, "timeout_s": 5}
    document = load.merge(
        PPO,
        {
            "model": {"path": str(guessing_policy(tmp_path / "policy"))},
            "data": {"task": None, "size": None, "path": str(rows)},
            "ppo": {
                "reward": {"source": "mix", "judge": settings},
                "value_model": {"init": LLAMA},
                "learning_rate": 1e-4,
                "num_generations": 1,  # equal answers to one question are judged once
            },
        },
    )
    sound = TrainRun(document, tmp_path / "sound").finished()
    bought = set(judge.answered)
    assert set(judge.answered.values()) == {1}
    assert {line["reward/judged"] for line in sound.lines() if "reward/judged" in line} == {1.0}
    assert all(line["reward/unread"] == 0 for line in sound.lines() if "reward/judged" in line)
    assert len({round(line["objective/scores"], 3) for line in sound.lines() if "objective/scores" in line}) > 1

    judge.answered.clear()
    run, port = TrainRun(document, tmp_path / "disturbed"), judge.server_port
    judge.fault = lambda prompt, number: "drop" if judge.answered.total() >= 24 else None  # in the second update
    assert run.start() == exits.ENDPOINT_LOST, run.output
    assert run.steps == [1]
    assert "(judge): no answer after 1 attempts" in run.output
    judge.shutdown()
    judge.server_close()
    again = faulty(port)
    again.reply = verdict
    assert run.start("kill@optimizer:3") == exits.KILLED, run.output
    assert run.start("kill@optimizer:3") == 0, run.output
    assert run.sha256 == sound.sha256
    assert run.lines() == sound.lines()
    assert judge.answered.keys() | again.answered.keys() == bought
    assert set((judge.answered + again.answered).values()) == {1}
