"""What a user gets wrong ends with 2 and one message, before any weights are read: the models here have none."""

import dataclasses
import json

import pytest
from transformers import AutoConfig, LlamaConfig, TrainerState

from fino1 import __main__ as entry
from fino1.errors import Fino1Error, SpecError
from fino1.spec import load
from fino1.spec.inputs import InitBlock, ModelRef
from fino1.spec.ppo import RewardBlock
from fino1.train import model, trainer
from fino1.train.data import examples
from fino1.train.data.rows import read_rows
from fino1.train.launch import rank
from fino1.train.ppo import reward, vllm_rollout
from tests.train.conftest import LLAMA, PPO, SFT, TrainRun

TEXTS = ["Question: how much is 2019 + 1?", "## Thinking\n\nIt is.\n\n## Final Response\n\n2020"]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A model's folder with config and tokenizer, and no weights."""

    def save(architecture="LlamaForCausalLM", vocab_size=300, texts=TEXTS, **settings):
        folder = tmp_path_factory.mktemp("model")
        tokenizer = model.train_tokenizer(texts, InitBlock(vocab_size=vocab_size))
        config = LlamaConfig(
            vocab_size=len(tokenizer),
            pad_token_id=tokenizer.pad_token_id,
            architectures=[architecture],
            **LLAMA,
            **settings,
        )
        config.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return folder

    return save


def rows(place, *rows):
    path = place / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def left_nothing(run):
    return not any((run.directory / name).exists() for name in ("checkpoints", "model", "metrics.jsonl"))


@pytest.fixture
def refused(tmp_path, monkeypatch):
    """The one message of a rank that ends with 2 and leaves nothing. It runs in this process: its start takes seconds."""

    def refused(document):
        run = TrainRun(document, tmp_path)
        monkeypatch.setenv("DS_ACCELERATOR", "cpu")
        with pytest.raises(Fino1Error) as said:
            rank._train(rank.Run(run.spec, "run", tmp_path, 0, 1))
        assert said.value.exit_code == 2
        assert left_nothing(run)
        return str(said.value).splitlines()

    return refused


@pytest.mark.slow
def test_rows_that_are_bad_and_two_ranks_that_say_it_once(tmp_path):
    path = rows(tmp_path, {"Question": "q", "Complex_CoT": "c"}, {"Question": "q", "Complex_CoT": "c", "Response": ""})
    run = TrainRun(load.merge(SFT, {"data": {"task": None, "path": path}}), tmp_path, ranks=2)
    assert run.start() == 2, run.output
    assert "Traceback" not in run.output
    assert left_nothing(run)
    assert run.output.splitlines() == [
        f"{path}:1: Response: expected text, got none",
        f"{path}:2: Response: expected text, got an empty one",
    ]


def test_a_question_that_does_not_fit(tmp_path, refused):
    path = rows(tmp_path, {"Question": "12345 " * 80, "Complex_CoT": "c", "Response": "r"})
    (line,) = refused(load.merge(SFT, {"data": {"task": None, "path": path}}))
    assert line.startswith("data: row 1: expected a question and answer that fit, got the question alone has ")


@pytest.mark.parametrize(("document", "name"), [(SFT, "rows.jsonl"), (PPO, "rl.jsonl")])
def test_bad_rows_of_a_run(tmp_path, refused, document, name):
    folder = tmp_path / "runs" / "found-0123456789"
    folder.mkdir(parents=True)
    (folder / "done.json").write_text("{}")
    (folder / name).write_text(json.dumps({"Question": 1}) + "\n")
    (line, *_) = refused(load.merge(document, {"data": {"task": None, "run": "found"}}))
    assert line.startswith(f"{folder}/{name}: expected columns ")


def test_no_room_for_checkpoints(tmp_path, refused):
    (line,) = refused(load.merge(SFT, {"sft": {"save_total_limit": 10**9}}))
    assert f"--work: {tmp_path}/runs/run-" in line
    assert "GiB free for 100000000" in line


def test_a_value_model_with_another_vocabulary(saved, refused):
    policy, value = saved(), saved(vocab_size=290)
    document = load.merge(PPO, {"model": {"path": str(policy)}, "ppo": {"value_model": None}})
    (line,) = refused(load.merge(document, {"ppo": {"value_model": {"path": str(value)}}}))
    sizes = [AutoConfig.from_pretrained(folder).vocab_size for folder in (policy, value)]
    assert line == (f"ppo.value_model: {value}: expected the policy's vocabulary of {sizes[0]} tokens, got {sizes[1]}")


def test_an_engine_that_is_not_installed(saved, refused, monkeypatch):
    monkeypatch.setattr(vllm_rollout, "find_spec", lambda _: None)
    policy = {"model": {"path": str(saved())}, "ppo": {"rollout": {"engine": "vllm"}}}
    (line,) = refused(load.merge(PPO, policy))
    assert line.startswith("ppo.rollout.engine: expected vLLM to be installed with engine: vllm (pip install ")


def test_a_model_without_weights(saved, refused):
    (line,) = refused(load.merge(SFT, {"model": {"init": None, "path": str(saved())}}))
    assert "expected weights, got " in line


def test_a_run_that_is_not_finished_and_a_file_that_is_not_there(tmp_path, capsys):
    run = tmp_path / "bad.yaml"
    run.write_text(json.dumps(load.merge(PPO, {"model": {"run": "sft"}})))
    (tmp_path / "runs" / "sft-0123456789" / "model").mkdir(parents=True)
    assert entry.main(["run", str(run), "--work", str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith(f"{run}: model.run: sft: expected a finished run in {tmp_path}/runs, got none")
    assert not list((tmp_path / "runs").glob("bad-*"))


def said(call, *arguments):
    with pytest.raises(SpecError) as caught:
        call(*arguments)
    return str(caught.value)


def test_a_missing_file(tmp_path):
    spec = load.build(load.merge(SFT, {"data": {"task": None, "path": "nowhere.jsonl"}}), "F", 1)
    assert said(read_rows, spec.data, "sft", 1) == "nowhere.jsonl: expected a JSON, JSONL or Parquet file, got none"


def test_classifiers_that_are_none(tmp_path, saved):
    def check(folder):
        return reward.check(RewardBlock(source="model", model=ModelRef(path=str(folder))), tmp_path)

    three = saved("LlamaForSequenceClassification", num_labels=3)
    assert said(check, three) == f"ppo.reward.model: {three}: expected a head of one or two classes, got 3"
    policy = saved()
    assert said(check, policy) == (f"ppo.reward.model: {policy}: expected a sequence classifier, got LlamaForCausalLM")
    bare = saved("LlamaForSequenceClassification", num_labels=2)
    assert check(bare) == (str(bare), None)
    for path in (*bare.glob("token*"), bare / "special_tokens_map.json"):
        path.unlink(missing_ok=True)
    assert said(check, bare).startswith(f"ppo.reward.model: {bare}: expected a tokenizer, got ")
    assert said(check, "nowhere") == "ppo.reward.model.path: nowhere: expected a directory with config.json, got none"


def test_value_models_that_are_none(tmp_path, saved):
    policy = saved()
    tokenizer, config = model.load_tokenizer(str(policy), None), AutoConfig.from_pretrained(policy)

    def check(folder):
        return model.value_config(ModelRef(path=str(folder)), "", tmp_path, tokenizer, config)

    assert check(saved())[1][1] is None
    other = saved(texts=["as many tokens, other ids: 17 of them"] * 9)
    AutoConfig.from_pretrained(policy).save_pretrained(other)
    assert (
        said(check, other) == f"ppo.value_model: {other}: expected the policy's tokenizer, got one with other token ids"
    )
    (other / "config.json").write_text("{}")
    assert said(check, other).startswith(f"ppo.value_model: {other}: expected a model, got ")


@pytest.mark.parametrize("missing", ["chat_template", "eos_token"])
def test_tokenizers_that_cannot_train(saved, missing):
    folder = saved()
    for path in folder.glob("chat_template*"):
        if missing == "chat_template":
            path.unlink()
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings.pop(missing, None)
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    wanted = {"chat_template": "a chat template", "eos_token": "an end-of-sequence token"}[missing]
    message = said(model.load_tokenizer, str(folder), None, "ppo.value_model")
    assert message == f"ppo.value_model: {folder}: expected a tokenizer with {wanted}, got none"


def test_weights_that_are_not_there(saved):
    folder = saved()
    config = AutoConfig.from_pretrained(folder)
    assert said(model.load_policy, config, str(folder), None).startswith(f"model: {folder}: expected weights, got ")
    assert said(model.load_value, config, str(folder), None).startswith(
        f"ppo.value_model: {folder}: expected weights, "
    )


def test_room_for_checkpoints(tmp_path):
    model.check_disk(tmp_path / "not" / "there", 1000, 2)
    message = said(model.check_disk, tmp_path / "not" / "there", 10**12, 2)
    assert "GiB free for 3 checkpoints of 1000000.0 M parameters, got " in message


def test_a_loss_that_is_not_finite_ends_the_run(tmp_path):
    """Transformers logs such a loss as 0 if it is let."""
    run = rank.Run(load.build(SFT, "F", 1), "run", tmp_path, 1, 2)
    assert trainer.training_arguments(dataclasses.replace(run, world_size=1), False)["logging_nan_inf_filter"] is False
    watched, state = trainer._Callback(run, None, 0), TrainerState(global_step=7)
    watched.on_log(None, state, None, {"loss": 0.5})
    with pytest.raises(SpecError, match="^sft: expected a finite loss, got nan at step 7; lower learning_rate"):
        watched.on_log(None, state, None, {"loss": float("nan")})


def test_more_rows_that_do_not_fit_than_are_shown_are_said_once():
    def make(record):
        raise SpecError(f"data: row {record}: expected less")

    for count, lines in ((examples.SHOWN, examples.SHOWN), (examples.SHOWN + 1, 1)):
        with pytest.raises(SpecError) as caught:
            examples._each(range(count), make)
        assert len(caught.value.problems) == lines


def test_an_adapter_is_no_model(tmp_path):
    (tmp_path / "adapter_config.json").write_text("{}")
    said_of_it = said(model.own_source, ModelRef(path=str(tmp_path)), tmp_path)
    assert said_of_it.endswith("expected a directory with config.json, got an adapter; merge it into its base model")


def test_answers_that_the_rule_cannot_judge(tmp_path):
    right = {"Open-ended Verifiable Question": "q", "Ground-True Answer": "1,234 million"}
    path = rows(tmp_path, right, right | {"Ground-True Answer": "it depends"}, right | {"Ground-True Answer": "yes"})
    spec = load.build(load.merge(PPO, {"data": {"task": None, "path": path}}), "F", 1)
    assert said(reward.check_targets, spec, read_rows(spec.data, "ppo", 1)) == (
        f"{path}:2: Ground-True Answer: expected a number, yes or no for ppo.reward.source: rule, got 'it depends'"
    )
