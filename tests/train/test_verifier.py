"""The verifier: trained, killed, resumed, and taken by PPO for its reward."""

import json
from types import SimpleNamespace

import pytest
import torch

from fino1.errors import SpecError
from fino1.spec import load
from fino1.train import model
from fino1.train.ppo import reward
from fino1.train.verifier import main as verifier
from tests.train.conftest import VERIFIER, TrainRun, llama_config
from tests.train.test_resume import TERMINATED, killed_at, same_as


def test_the_loss_is_the_mean_over_the_whole_batch_however_it_is_parted():
    logits, labels = torch.randn(6, 2), torch.tensor([0, 1, 1, 0, 1, 0])
    whole = torch.nn.functional.cross_entropy(logits, labels)
    parts = [
        verifier._loss(SimpleNamespace(logits=logits[part]), labels[part], num_items_in_batch=6)
        for part in (slice(0, 4), slice(4, 6))
    ]
    assert sum(parts) == pytest.approx(whole.item())
    assert verifier._loss(SimpleNamespace(logits=logits), labels) == pytest.approx(whole.item())


def test_a_new_head_knows_nothing_and_one_of_other_classes_is_refused(tmp_path):
    config = llama_config(pad_token_id=0)
    made = model.load_verifier(config, None, None)
    assert made(torch.tensor([[5, 6, 7]])).logits.tolist() == [[0.0, 0.0]]
    torch.nn.init.normal_(made.score.weight)
    made.save_pretrained(tmp_path / "two")
    again = model.load_verifier(model.load_config("model", str(tmp_path / "two"), None), str(tmp_path / "two"), None)
    assert torch.equal(again.score.weight, made.score.weight)
    model.load_value(config, None, None).save_pretrained(tmp_path / "one")
    one = model.load_config("model", str(tmp_path / "one"), None)
    with pytest.raises(SpecError, match=r"model: .*one: expected a head of two classes, or none, got 1"):
        model.load_verifier(one, str(tmp_path / "one"), None)


def test_batches_must_divide():
    with pytest.raises(SpecError, match=r"verifier\.global_batch_size: expected a multiple of 3 "):
        load.build(load.merge(VERIFIER, {"verifier": {"per_device_train_batch_size": 3}}), "F")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A verifier that nothing interrupted."""
    return TrainRun(VERIFIER, tmp_path_factory.mktemp("verifier")).finished()


@pytest.mark.slow
def test_what_it_leaves(whole):
    done = json.loads((whole.directory / "done.json").read_text())
    held_out = done["held_out"]
    assert (done["steps"], done["rows"], held_out["n"]) == (11, 60, 20)
    assert held_out["at_threshold"]["threshold"] == 0.4
    assert sum(each["n"] for each in held_out["reliability"]) == 20
    judged = [line for line in whole.lines() if "eval/accuracy" in line]
    assert [line["step"] for line in judged] == [4, 8, 11]
    assert judged[-1]["eval/accuracy"] == held_out["accuracy"]
    assert judged[-1]["eval/brier"] == pytest.approx(held_out["brier"], abs=1e-6)
    assert json.loads((whole.directory / "data.json").read_text())["train"] == 60
    compared = json.loads((whole.directory / "evaluation.json").read_text())
    assert compared["all"]["rule"] == {"correct": 20, "wrong": 0, "unparsed": 0}
    assert compared["all"]["verifier"]["correct"] == held_out["correct"]
    assert '"event": "data"' in whole.output


@pytest.mark.slow
def test_killed_and_stopped_it_ends_the_same(whole, tmp_path):
    run = TrainRun(VERIFIER, tmp_path)
    assert run.start("term@backward:5") == TERMINATED, run.output
    assert run.steps == [2, 3]
    (run.faults / "0").unlink()
    killed_at(
        run,
        "kill@backward:5",  # half of step 6; 4 is there, and its evaluation
        "kill@sft-write:2",  # writing 6 or 8: the weights are there, the optimizer is not
        "kill@model:1",  # the last checkpoint is there, judged, and model/ is not
        "kill@between:1",
    )
    same_as(whole, run)


@pytest.mark.slow
def test_two_ranks_learn_the_same(whole, tmp_path):
    run = TrainRun(VERIFIER, tmp_path, ranks=2)
    assert run.start() == 0, run.output
    one, two = ([line for line in each.lines() if "eval/loss" in line] for each in (whole, run))
    assert [line["step"] for line in two] == [4, 8, 11]
    assert [line["eval/brier"] for line in two] == pytest.approx([line["eval/brier"] for line in one], abs=1e-3)


@pytest.mark.slow
def test_ppo_takes_it(whole, sft, ppo_document, tmp_path):
    settings = {"source": "model", "model": {"run": whole.directory.name}}
    document = load.merge(ppo_document, {"ppo": {"reward": settings, "total_episodes": 16, "eval_steps": 1}})
    run = TrainRun(document, whole.work)
    assert run.start() == 0, run.output
    (line,) = [line for line in run.lines() if line["update"] == 1]
    assert -1 <= line["objective/scores"] <= 1


@pytest.mark.slow
def test_its_reward_is_what_it_said_in_training(whole):
    """The same text, ids and head: the verdicts at the threshold are those that done.json counts."""
    from fino1.tasks.record import solution
    from fino1.train.verifier import pairs

    spec = load.build(VERIFIER, "F")
    held_out = pairs.read(spec).evaluation
    ppo = load.build({**VERIFIER, "ppo": {"reward": {"source": "model", "model": {"run": "x"}}}}, "F")
    judge = reward.make(ppo, (str(whole.directory / "model"), None), torch.device("cpu"), batch_size=3)
    texts = [solution("worked", pair.record.response) for pair in held_out]
    said = [score == 1.0 for score in judge(texts, [pair.record for pair in held_out])]
    counts = json.loads((whole.directory / "done.json").read_text())["held_out"]["at_threshold"]["confusion"]
    assert sum(said) == counts["true_right"] + counts["false_right"]
    right = sum(one is pair.label for one, pair in zip(said, held_out, strict=True))
    assert right == counts["true_right"] + counts["true_wrong"]
