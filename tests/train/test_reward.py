"""Rewards: 0 malformed, 0.1 well-formed and wrong, 1 right; from the rule or from a classifier with one class or two."""

import pytest
import torch
from transformers import LlamaConfig, LlamaForSequenceClassification

from fino1.errors import SpecError
from fino1.spec import load
from fino1.spec.inputs import InitBlock, ModelRef
from fino1.spec.ppo import RewardBlock
from fino1.tasks.record import Record, solution
from fino1.train import model
from fino1.train.ppo import reward

RIGHT = solution("5829 - 5735 = 94", "The net change is $94 million.")
WRONG = solution("5735 - 5829 = -94", "The net change is $95 million.")
MALFORMED = "The net change is $94 million."
TWICE = RIGHT + "\n\n## Final Response\n\n94"
RECORD = Record("1", "what is the net change in net revenue during 2015, in millions?", 94.0)


def spec(**settings):
    document = {"method": "ppo", "gpus_per_node": 0, "data": {"task": "ledger"}, "ppo": {"reward": settings}}
    return load.build(document, "test")


def scores(spec, classifier=None):
    made = reward.make(spec, classifier, torch.device("cpu"), batch_size=2)
    return made([RIGHT, WRONG, MALFORMED, TWICE], [RECORD] * 4)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    """Save a classifier of `classes` classes with a tokenizer of its own; its head is 0 unless `random`."""

    def save(classes, random=False):
        folder = tmp_path_factory.mktemp("classifier")
        tokenizer = model.train_tokenizer([RIGHT, WRONG, "True False <Model Response>"], InitBlock(vocab_size=300))
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_labels=classes,
            pad_token_id=tokenizer.pad_token_id,
        )
        made = LlamaForSequenceClassification(config)
        if not random:
            torch.nn.init.zeros_(made.score.weight)
        made.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return str(folder)

    return save


def test_rule():
    assert scores(spec()) == [1.0, 0.1, 0.0, 0.0]


def test_rule_with_another_consolation():
    assert scores(spec(wrong=0.3)) == [1.0, 0.3, 0.0, 0.0]


def test_two_classes_are_compared_with_the_threshold(classifier):
    two = (classifier(2), None)  # a head of zeros: p = 0.5
    settings = {"source": "model", "model": {"path": two[0]}}
    assert scores(spec(**settings), two) == [1.0, 1.0, 0.0, 0.0]
    assert scores(spec(**settings, threshold=0.5), two) == [0.1, 0.1, 0.0, 0.0]


def test_one_class_is_the_reward_itself(classifier):
    one = (classifier(1), None)
    assert scores(spec(source="model", model={"path": one[0]}), one) == [0.0, 0.0, 0.0, 0.0]


def test_a_classifier_sees_response_and_reference_whatever_the_batch(classifier):
    one = (classifier(1, random=True), None)
    asked = spec(source="model", model={"path": one[0]})
    pair = reward.make(asked, one, torch.device("cpu"), batch_size=2)
    alone = reward.make(asked, one, torch.device("cpu"), batch_size=1)
    other = Record("2", RECORD.question, 123456.0)
    found = pair([RIGHT, RIGHT, WRONG], [RECORD, other, RECORD])
    assert len(set(found)) == 3
    assert alone([RIGHT, RIGHT, WRONG], [RECORD, other, RECORD]) == pytest.approx(found, abs=1e-5)


@pytest.mark.parametrize("classes", [1, 2])
def test_heads_that_are_accepted(classifier, classes, tmp_path):
    block = RewardBlock(source="model", model=ModelRef(path=classifier(classes)))
    assert reward.check(block, tmp_path) == (block.model.path, None)


def test_a_head_of_three_classes_is_refused(classifier, tmp_path):
    block = RewardBlock(source="model", model=ModelRef(path=classifier(3)))
    with pytest.raises(SpecError, match=r"ppo\.reward\.model: .*expected a head of one or two classes, got 3"):
        reward.check(block, tmp_path)


def test_shuffled_scores_are_the_same_scores_elsewhere():
    from fino1.train.ppo.episodes import Episode, batch

    episodes = [
        Episode(i, [1], [2, 3], torch.zeros(2), float(i), True, torch.zeros(2), torch.zeros(2)) for i in range(16)
    ]
    block = spec().ppo
    plain = batch(episodes, block).scores
    shuffled = batch(episodes, block, torch.Generator().manual_seed(1)).scores
    assert plain.tolist() == list(range(16))
    assert sorted(shuffled.tolist()) == plain.tolist() != shuffled.tolist()
