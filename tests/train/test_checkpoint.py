"""Checkpoints appear whole, the newest whole one is found, and the disk's fault is told from a bug."""

import errno
import os
import stat
import subprocess

import pytest
import torch

from fino1 import errors, exits
from fino1.train import checkpoint
from tests.needs import missing


def write(directory):
    (directory / "weights").write_bytes(b"12345678")
    (directory / "inner").mkdir()
    (directory / "inner" / "state").write_text("state")


def save(directory, step, keep=2, **options):
    return checkpoint.save(directory, step, keep, write, **options)


def names(directory):
    return sorted(path.name for path in directory.iterdir())


def test_what_is_saved_is_found(tmp_path):
    path = save(tmp_path, 20)
    assert path.name == "step-00000020"
    assert checkpoint.newest(tmp_path, 1) == path
    assert checkpoint.step_of(path) == 20
    assert names(path) == ["inner", "manifest.json", "weights"]
    assert names(tmp_path) == ["step-00000020"]


def test_there_may_be_none(tmp_path):
    assert checkpoint.newest(tmp_path, 1) is None
    assert checkpoint.newest(tmp_path / "never-made", 1) is None


def test_as_many_are_kept_as_asked_for(tmp_path):
    for step in range(5):
        save(tmp_path, step, keep=3)
    assert names(tmp_path) == ["step-00000002", "step-00000003", "step-00000004"]


def test_steps_are_in_the_order_of_numbers(tmp_path):
    save(tmp_path, 9)
    save(tmp_path, 10)
    assert checkpoint.step_of(checkpoint.newest(tmp_path, 1)) == 10


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: os.truncate(path / "weights", 4),
        lambda path: (path / "weights").unlink(),
        lambda path: (path / "inner" / "state").unlink(),
        lambda path: (path / "manifest.json").unlink(),
        lambda path: os.truncate(path / "manifest.json", 20),
        lambda path: (path / "manifest.json").write_text("[]"),
        lambda path: (path / "manifest.json").write_text("{}"),
    ],
)
def test_a_damaged_one_is_passed_over_and_written_again(tmp_path, damage):
    older, newer = save(tmp_path, 1), save(tmp_path, 2)
    damage(newer)
    assert checkpoint.newest(tmp_path, 1) == older
    save(tmp_path, 2)
    assert checkpoint.all_valid(tmp_path) == [older, newer]


def test_a_damaged_old_one_is_pruned_too(tmp_path):
    os.truncate(save(tmp_path, 1) / "weights", 4)
    save(tmp_path, 2)
    save(tmp_path, 3)
    assert names(tmp_path) == ["step-00000002", "step-00000003"]


def test_nothing_is_pruned_where_none_is_whole(tmp_path):
    os.truncate(save(tmp_path, 1) / "weights", 4)
    checkpoint.prune(tmp_path, 2)
    assert names(tmp_path) == ["step-00000001"]


def test_another_number_of_ranks_is_refused(tmp_path):
    save(tmp_path, 4, world_size=2)
    assert checkpoint.newest(tmp_path, 2)
    with pytest.raises(errors.SpecError, match=r"step-00000004: expected to go on with 2 ranks .* got 8"):
        checkpoint.newest(tmp_path, 8)


def test_a_write_that_fails_leaves_the_older_ones_and_no_half(tmp_path):
    save(tmp_path, 1)

    def fail(directory):
        write(directory)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OSError):
        checkpoint.save(tmp_path, 2, 2, fail)
    assert names(tmp_path) == ["step-00000001"]


def test_what_a_kill_left_is_cleared(tmp_path):
    half = tmp_path / ".step-00000003.tmp"
    half.mkdir()
    write(half)
    (tmp_path / ".metrics.jsonl.77.tmp").touch()
    (tmp_path / "metrics.jsonl").touch()
    checkpoint.clear_temporary(tmp_path)
    assert names(tmp_path) == ["metrics.jsonl"]


def test_only_the_main_rank_makes_and_publishes(tmp_path):
    calls = []
    (tmp_path / ".step-00000001.tmp").mkdir()  # as the main rank has done
    save(tmp_path, 1, is_main=False, barrier=lambda: calls.append(names(tmp_path)))
    assert calls == [[".step-00000001.tmp"]] * 3


def test_a_published_model_is_for_all_to_read(tmp_path):
    temporary = tmp_path / ".model.tmp"
    temporary.mkdir()
    (temporary / "model.safetensors").touch(mode=0o600)
    previous = os.umask(0o027)
    try:
        checkpoint.publish_model(temporary, tmp_path / "model")
    finally:
        os.umask(previous)
    assert stat.S_IMODE((tmp_path / "model" / "model.safetensors").stat().st_mode) == 0o640


def wrapped(inner):
    try:
        try:
            raise inner
        except Exception as error:
            raise RuntimeError("while saving") from error
    except RuntimeError as error:
        return error


@pytest.mark.parametrize(
    ("error", "is_disk"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), True),
        (OSError(errno.EROFS, "Read-only file system"), True),
        (OSError(errno.EIO, "Input/output error"), True),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), True),
        (wrapped(OSError(errno.ENOSPC, "No space left on device")), True),
        (RuntimeError('I/O error: Os { code: 28, message: "No space left on device" }'), True),
        (FileNotFoundError(errno.ENOENT, "No such file or directory"), False),
        (PermissionError(errno.EACCES, "Permission denied"), False),
        (wrapped(ValueError("5 is no step")), False),
    ],
)
def test_which_errors_are_the_disks(error, is_disk):
    assert exits.is_disk_error(error) is is_disk


@pytest.fixture
def full_disk(tmp_path):
    """A disk of 1 MiB with nothing free on it but 64 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], capture_output=True).returncode:
        missing("mounting a disk takes root")
    (disk / "balloon").write_bytes(b"0" * (960 << 10))
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)


@pytest.mark.parametrize("library", ["torch", "safetensors", "json"])
def test_what_libraries_raise_on_a_full_disk_is_known(full_disk, library):
    import safetensors.torch

    tensors = {"weight": torch.zeros(1 << 17)}
    how = {
        "torch": lambda: torch.save(tensors, full_disk / "file"),
        "safetensors": lambda: safetensors.torch.save_file(tensors, full_disk / "file"),
        "json": lambda: (full_disk / "file").write_text("0" * (1 << 19)),
    }
    with pytest.raises(Exception) as caught:  # noqa: B017, each library raises its own
        how[library]()
    assert exits.is_disk_error(caught.value), repr(caught.value)


def test_tied_weights_come_back_bit_for_bit_and_tied(tmp_path):
    from accelerate import Accelerator
    from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification

    from fino1.train.ppo.networks import ActorCritic

    config = LlamaConfig(
        vocab_size=40, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2, num_labels=1
    )
    config.tie_word_embeddings, config.pad_token_id = True, 0

    def prepared(seed):
        torch.manual_seed(seed)
        accelerator = Accelerator(cpu=True)
        both = ActorCritic(LlamaForCausalLM(config), LlamaForSequenceClassification(config))
        return accelerator, *accelerator.prepare(both, torch.optim.AdamW(both.parameters(), lr=0.1))

    def step(both, optimizer):
        both.policy(torch.arange(40)[None]).logits.square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    accelerator, both, optimizer = prepared(1)
    step(both, optimizer)
    path = checkpoint.save(tmp_path, 1, 2, lambda directory: accelerator.save_state(str(directory)))
    other, loaded, its_optimizer = prepared(2)
    other.load_state(str(path))
    assert loaded.policy.lm_head.weight is loaded.policy.model.embed_tokens.weight
    for number in range(2):
        assert all(torch.equal(a, b) for a, b in zip(both.parameters(), loaded.parameters(), strict=True)), number
        step(both, optimizer)
        step(loaded, its_optimizer)
