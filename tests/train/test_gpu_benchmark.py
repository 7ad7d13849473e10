"""benchmarks/gpu.py at its toy size on the CPU: a part that is there measures, and another one says why not."""

import pytest

from benchmarks import gpu


@pytest.mark.slow
@pytest.mark.parametrize("part", ["sft", "ppo"])
def test_a_part_measures(part):
    found = gpu.measure("toy", part, 100)
    assert found["seconds"] > 0 and found["learnt_per_s"] > 0 and found["operations"] > 0
    assert part == "sft" or (found["sampled_per_s"] > 0 and found["plan_mib"] > 0)


def test_a_part_that_is_not_there_or_fails_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "TRL", str(tmp_path / "none"))
    assert gpu.measure("toy", "trl", 100) == {"skipped": f"no {tmp_path / 'none'}"}
    monkeypatch.setattr(gpu, "TRL", "/bin/false")
    assert "exit status 1" in gpu.measure("toy", "trl", 100)["failed"]


def test_mfu_is_the_share_of_the_peak(monkeypatch):
    monkeypatch.setattr(gpu, "IS_ON_GPU", True)
    monkeypatch.setattr(gpu.torch.cuda, "get_device_name", lambda: "NVIDIA H200")
    update = {"seconds": 9.0, "sample": 3.0, "learn": 2.0, "prompt_tokens": 4000, "response_tokens": 6000}
    rates = gpu.rate(update | {"operations": 989e12})
    assert rates == {"learnt_per_s": 5000, "sampled_per_s": 2000, "mfu": 0.5}
