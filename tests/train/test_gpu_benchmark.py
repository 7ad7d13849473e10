"""benchmarks/gpu.py at its toy size on the CPU: every part that is there measures, and the rest says why not."""

import pytest

from benchmarks import gpu


@pytest.mark.slow
def test_every_part_measures_or_says_why(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "TRL", str(tmp_path / "none"))
    monkeypatch.setattr(gpu, "VLLM", str(tmp_path / "none"))
    found = gpu.measure("toy")
    assert found["ppo, vLLM"] == found["ppo, trl 1.12.0"] == {"skipped": f"no {tmp_path / 'none'}"}
    for part in ("sft", "ppo"):
        assert found[part]["learnt_per_s"] > 0 and "failed" not in found[part]
    assert found["ppo"]["seconds"] > found["ppo"]["learn"] > 0 and found["ppo"]["plan_mib"] > 0


def test_mfu_is_six_operations_for_each_parameter_and_token(monkeypatch):
    monkeypatch.setattr(gpu, "IS_ON_GPU", True)
    monkeypatch.setattr(gpu.torch.cuda, "get_device_name", lambda: "NVIDIA H200")
    update = {"seconds": 9.0, "sample": 3.0, "learn": 2.0, "prompt_tokens": 4000, "response_tokens": 6000}
    rates = gpu.rate(update | {"parameters": 10**9})
    assert rates == {"sampled_per_s": 2000, "learnt_per_s": 5000, "mfu": round(6e9 * 5000 / 989e12, 3)}


def test_a_part_that_fails_says_so():
    assert "failed" in gpu.attempt(gpu.sys.executable, "benchmarks.ppo", "update", "no such shape", 1)
