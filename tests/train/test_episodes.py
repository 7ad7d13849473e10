"""Episodes laid end to end know nothing of each other; rewards, advantages and returns by hand."""

import pytest
import torch
from transformers import LlamaForCausalLM, LlamaForSequenceClassification

from fino1.errors import SpecError
from fino1.spec.ppo import PpoBlock
from fino1.train import attention
from fino1.train.ppo import episodes, networks, vllm_rollout
from fino1.train.ppo.episodes import Episode
from tests.train.conftest import llama_config

CPU = torch.device("cpu")


def models(attention):
    torch.manual_seed(0)
    config = llama_config(attn_implementation=attention, num_labels=1, tie_word_embeddings=True, pad_token_id=0)
    return LlamaForCausalLM(config).eval(), LlamaForSequenceClassification(config).eval()


@pytest.fixture
def sampled():
    generator = torch.Generator().manual_seed(1)

    def ids(count):
        return torch.randint(0, 40, (count,), generator=generator).tolist()

    sizes = [(5, 9), (20, 1), (3, 3), (11, 12), (1, 4), (7, 7)]
    return [Episode(i, ids(p), ids(r), torch.zeros(r)) for i, (p, r) in enumerate(sizes)]


def test_pack_by_hand():
    found = episodes.pack(
        [Episode(0, [1, 2], [3], None), Episode(1, [4], [5, 6, 7], None), Episode(2, [8], [9], None)], CPU
    )
    assert found.ids.tolist() == [[4, 5, 6, 7], [1, 2, 3, 0], [8, 9, 0, 0]]
    assert found.positions.tolist() == [[0, 1, 2, 3], [0, 1, 2, 0], [0, 1, 0, 1]]
    assert found.index.tolist() == [5, 0, 1, 2, 8]
    assert found.targets.tolist() == [3, 5, 6, 7, 9]


def test_short_episodes_share_a_row():
    found = episodes.pack(
        [Episode(0, [1, 2], [3, 4], None), Episode(1, [5], [6], None), Episode(2, [7], [8], None)], CPU
    )
    assert found.ids.tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]
    assert found.positions.tolist() == [[0, 1, 2, 3], [0, 1, 0, 1]]


def test_one_row_holds_all(sampled):
    found = episodes.pack(sampled, CPU, one_row=True)
    assert found.ids.shape == (1, sum(len(e.prompt) + len(e.response) for e in sampled))


def test_passes_hold_so_many_tokens_and_are_as_many_on_every_rank():
    shares = [[5, 3, 4, 2], [9, 9, 1, 1]]
    assert episodes.parts_within(shares, 1, 10) == [[0, 2], [1, 3]]
    assert episodes.parts_within(shares, 0, 10) == [[0, 2], [1, 3]]
    assert episodes.parts_within(shares, 1, 9) == [[0], [1], [2, 3]]
    assert episodes.parts_within(shares, 0, 9) == [[1, 3], [0], [2]]  # two would do for itself
    assert episodes.parts_within(shares, 1, 5) == [[0], [1], [2, 3]]  # 9 alone is over it


def test_responses_to_one_prompt_share_it():
    found = episodes.pack(
        [Episode(0, [1, 2], [3, 4], None), Episode(1, [5], [6], None), Episode(2, [1, 2], [7, 8, 9], None)],
        CPU,
        True,
        True,
    )
    assert found.ids.tolist() == [[1, 2, 3, 4, 7, 8, 9, 5, 6]]
    assert found.positions.tolist() == [[0, 1, 2, 3, 2, 3, 4, 0, 1]]
    assert found.index.tolist() == [1, 2, 7, 1, 4, 5]
    assert found.targets.tolist() == [3, 4, 6, 7, 8, 9]
    assert found.lengths == ((2, 2, 3), (2,))


def test_a_shared_prompt_changes_no_number(sampled):
    """Log-probabilities, values and every gradient are those of episodes that each bring their prompt."""
    shared = [Episode(i, sampled[i // 2].prompt, e.response, None) for i, e in enumerate(sampled)]
    policy, value = models("sdpa")
    assert attention.separate(policy) and attention.separate(value)
    found = []
    for shares_prompts in (False, True):
        packed = episodes.pack(shared, CPU, True, shares_prompts)
        loss, logprobs, _ = networks.policy_loss(policy, packed, 0.7, lambda logs, _: logs.mean())
        values = networks.values(value, packed)
        weights = [*policy.parameters(), *value.parameters()]
        gradients = torch.autograd.grad(loss + values.square().mean(), weights, allow_unused=True)
        found.append((packed.ids.shape[1], logprobs, values, [g for g in gradients if g is not None]))
    assert found[1][0] == found[0][0] - 5 - 20 - 3
    torch.testing.assert_close(found[0][1:], found[1][1:], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("one_row", [False, True])
@pytest.mark.parametrize("kind", ["eager", "sdpa", "separate"])
def test_packed_passes_equal_those_of_single_episodes(sampled, kind, one_row):
    policy, value = models("eager" if kind == "eager" else "sdpa")
    assert kind != "separate" or (attention.separate(policy) and attention.separate(value))
    packed = episodes.pack(sampled, CPU, one_row)
    with torch.no_grad():
        logprobs, entropies = networks.policy_logprobs(policy, packed, 0.7)
        values = networks.values(value, packed)
    lengths = [len(e.response) for e in sampled]
    for episode, *found in zip(
        sampled, logprobs.split(lengths), entropies.split(lengths), values.split(lengths), strict=True
    ):
        ids = torch.tensor([episode.prompt + episode.response])
        with torch.no_grad():
            logits = policy(ids).logits[0, len(episode.prompt) - 1 : -1] / 0.7
            states = value.score(value.model(ids).last_hidden_state)[0, len(episode.prompt) - 1 : -1, 0]
        logs = torch.log_softmax(logits, -1)
        wanted = (
            logs.gather(-1, torch.tensor(episode.response)[:, None]).squeeze(-1),
            -(logs.exp() * logs).sum(-1),
            states,
        )
        for one, other in zip(found, wanted, strict=True):
            torch.testing.assert_close(one, other, atol=3e-5, rtol=1e-4)


def episode(index, logprobs, ref_logprobs, values, score, ended=True):
    return Episode(
        index,
        [1],
        [2] * len(logprobs),
        torch.tensor(logprobs),
        score,
        ended,
        torch.tensor(ref_logprobs),
        torch.tensor(values),
    )


@pytest.fixture
def two():
    return [
        episode(0, [-1.0, -2.0], [-1.5, -1.0], [0.5, 0.25], 1.0),
        episode(1, [-3.0], [-3.0], [0.125], 0.1, ended=False),
    ]


def close(found, wanted):
    torch.testing.assert_close(found, torch.tensor(wanted), atol=1e-6, rtol=1e-5)


def test_batch_by_hand(two):
    block = PpoBlock(kl_coef=0.1, gamma=1.0, lam=0.5, missing_eos_penalty=1.0)
    found = episodes.batch(two, block)
    assert found.mask.tolist() == [[True, True], [True, False]]
    close(found.scores, [1.0, -0.9])
    close(found.kl, [[0.5, -1.0], [0.0, 0.0]])
    close(found.rewards, [[-0.05, 1.1], [-0.9, 0.0]])
    # deltas: -0.05 + 0.25 - 0.5 = -0.3; 1.1 - 0.25 = 0.85; -0.9 - 0.125 = -1.025. Advantages: -0.3 + 0.5 * 0.85 = 0.125
    raw = torch.tensor([0.125, 0.85, -1.025])
    close(found.returns[found.mask], [0.625, 1.1, -0.9])
    white = (raw - raw.mean()) / raw.std()
    torch.testing.assert_close(found.advantages[found.mask], white, atol=1e-5, rtol=1e-4)
    assert found.advantages[1, 1] == 0


def test_less_the_mean_of_the_others_to_the_same_prompt():
    scores = [1.0, 0.1, 0.1, 0.0, 0.0, 0.0]
    many = [episode(i, [-1.0], [-1.0], [0.0], score) for i, score in enumerate(scores)]
    found = episodes.batch(many, PpoBlock(num_generations=3, leave_one_out=True))
    close(found.scores, scores)
    close(found.rewards.flatten(), [0.9, -0.45, -0.45, 0.0, 0.0, 0.0])


def test_what_another_engine_sampled_counts_as_often_as_the_policy_would_have_taken_it(two):
    block = PpoBlock(kl_coef=0.0, rollout={"engine": "vllm", "importance_sampling_cap": 1.5}, bf16=False)
    plain = episodes.batch(two, PpoBlock(kl_coef=0.0))
    two[0].sampled_logprobs, two[1].sampled_logprobs = torch.tensor([-1.2, -4.0]), torch.tensor([-2.9])
    found = episodes.batch(two, block)  # ratios exp(0.2), exp(2) above the cap, exp(-0.1)
    weights = torch.tensor([[1.2214, 1.5], [0.9048, 1.0]])
    torch.testing.assert_close(found.advantages, plain.advantages * weights, atol=1e-4, rtol=1e-4)
    assert torch.equal(found.returns, plain.returns)
    with pytest.raises(
        SpecError, match="rollout.engine: expected vLLM .* -2.0000 a token, to within 0.001; got -2.7000, 0.7667"
    ):
        vllm_rollout.compare(two, block)
    for each in two:
        each.sampled_logprobs = each.logprobs - 1e-4
    numbers = vllm_rollout.compare(two, block)
    assert numbers["rollout/mismatch_kl"] == pytest.approx(5e-9, abs=1e-8)
    assert numbers["rollout/importance_weight"] == pytest.approx(1.0001)


def test_shuffled_scores_are_the_same_scores(two):
    block = PpoBlock(missing_eos_penalty=0.0)
    many = [episode(i, [-1.0], [-1.0], [0.0], float(i)) for i in range(8)]
    found = episodes.batch(many, block, torch.Generator().manual_seed(1)).scores
    assert found.tolist() != list(range(8)) and sorted(found.tolist()) == list(range(8))
