"""How does vLLM sample for a policy that learns?

An engine in the rank's own process (vLLM 0.29 and 0.30, V1), whose weights are replaced before each sampling, in memory. On a GPU
it gives its memory back in between.
"""

import os
from collections.abc import Iterable, Sequence
from importlib.util import find_spec

import numpy as np
import torch
from torch import Tensor, nn

from fino1.errors import SpecError
from fino1.spec.ppo import PpoBlock, RolloutBlock
from fino1.train import model
from fino1.train.ppo import rl
from fino1.train.ppo.episodes import Episode
from fino1.train.ppo.rollout import Between, Key, Response, tell

_ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # in this process: the weights go from one tensor to another
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # ranks on one machine would all bind to the same cores
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_NO_USAGE_STATS": "1",
}


def check() -> None:
    """Raise SpecError where vLLM is not installed; nothing of it is imported."""
    if find_spec("vllm") is None:
        raise SpecError(
            "ppo.rollout.engine: expected vLLM to be installed with engine: vllm (pip install vllm==0.30.0), found none"
        )


class Engine:
    """vLLM with the policy's architecture; without weights until the first hand-over."""

    def __init__(self, source: model.Source, block: RolloutBlock, dtype: torch.dtype, length: int, seed: int) -> None:
        """`length`: tokens of the longest prompt and response. Raises SpecError where vLLM does not take the model."""
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        from vllm import LLM

        self._sleeps = torch.cuda.is_available()
        ranks = torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1
        path, revision = source
        try:
            self._llm = LLM(
                model=str(path),
                revision=revision,
                dtype=str(dtype).removeprefix("torch."),
                load_format="dummy",
                max_model_len=length,
                skip_tokenizer_init=True,
                seed=seed,
                logprobs_mode="processed_logprobs",  # of the distribution sampled from: after the temperature
                gpu_memory_utilization=block.gpu_memory_utilization,
                enable_sleep_mode=self._sleeps,
                enforce_eager=not self._sleeps,
                distributed_executor_backend="external_launcher" if ranks else None,
                disable_log_stats=True,
            )
        except Exception as error:  # whatever vLLM raises for what it cannot serve
            raise SpecError(f"ppo.rollout.engine: expected vLLM to start with {path}, got {error}") from error
        self._rest()

    def hand_over(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        """Replace all weights by these, named as in a checkpoint; what was remembered of prompts is forgotten.

        Raises SpecError where vLLM does not take them: those of mixtures of experts are named otherwise in memory.
        """
        if self._sleeps:
            self._llm.wake_up()
        named = ((name, each.detach()) for name, each in weights)
        try:
            self._llm.collective_rpc("reload_weights", kwargs={"weights_iterator": named, "is_checkpoint_format": True})
        except Exception as error:  # a KeyError, a mismatch of shapes
            raise SpecError(f"ppo.rollout.engine: expected weights that vLLM takes over, got {error!r}") from error
        self._llm.apply_model(_pack_head)
        self._llm.reset_prefix_cache()

    def sample(
        self,
        prompts: Sequence[Sequence[int]],
        keys: Sequence[Key] | None,
        *,
        response_length: int,
        temperature: float,
        stop_tokens: Sequence[int],
        batch_size: int,
        between: Between,
    ) -> list[Response]:
        """Sample one response per prompt as `rollout.sample` does, then rest until the next hand-over."""
        from vllm import SamplingParams

        engine, told, found = self._llm.llm_engine, 0, {}
        shared = {
            "temperature": 0.0 if keys is None else temperature,
            "max_tokens": response_length,
            "stop_token_ids": list(stop_tokens),
            "ignore_eos": True,  # what ends a response is in `stop_tokens`
            "logprobs": 0,  # of the token that was taken
            "detokenize": False,
        }
        try:
            for i, prompt in enumerate(prompts):
                settings = SamplingParams(**shared, seed=None if keys is None else seed_of(keys[i]))
                engine.add_request(str(i), {"prompt_token_ids": list(prompt)}, settings)
            while engine.has_unfinished_requests():
                for output in engine.step():
                    if output.finished:
                        found[int(output.request_id)] = _response(output.outputs[0])
                told = tell(between, told, len(found), len(prompts), batch_size)
        finally:
            engine.abort_request([str(i) for i in range(len(prompts)) if i not in found])
            self._rest()
        return [found[i] for i in range(len(prompts))]

    def _rest(self) -> None:
        """Give the GPU's memory back; the weights come anew anyway."""
        if self._sleeps:
            self._llm.sleep(level=2)


def seed_of(key: Key) -> int:
    """The seed of a response's random numbers."""
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> 1)


def compare(episodes: Sequence[Episode], block: PpoBlock) -> dict[str, float]:
    """How far is the distribution that vLLM sampled from from the policy's?

    Raises SpecError where that is more than rounding explains: it sampled with other weights, or computes another model.
    """
    sampled, own = (torch.cat([getattr(e, key) for e in episodes]) for key in ("sampled_logprobs", "logprobs"))
    gap, bound = (own - sampled).abs().mean().item(), rl.LARGEST_GAP[block.bf16]
    if not gap <= bound:
        raise SpecError(
            f"ppo.rollout.engine: expected vLLM to sample with the policy's log-probabilities, {own.mean():.4f} a token, to "
            f"within {bound}; got {sampled.mean():.4f}, {gap:.4f} apart (mean)"
        )
    kl = rl.kl_penalty(sampled, own, "k3").mean().item()
    return {"rollout/mismatch_kl": kl, "rollout/importance_weight": (own - sampled).exp().mean().item()}


def _pack_head(policy: nn.Module) -> None:
    """Pack a tied head anew: on a CPU its matrix is packed for the product, and reloading the embedding leaves that copy."""
    head = getattr(policy, "lm_head", None)
    if hasattr(head, "quant_method"):
        head.quant_method.process_weights_after_loading(head)


def _response(output: object) -> Response:
    tokens = list(output.token_ids)
    return Response(tokens, [each[token].logprob for token, each in zip(tokens, output.logprobs, strict=True)])
