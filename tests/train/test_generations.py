"""After which evaluations of a PPO run do answers go to generations.jsonl?"""

import pytest

from fino1.spec.ppo import PpoBlock
from fino1.train.ppo.main import writes_answers


@pytest.mark.parametrize(
    ("times", "eval_steps", "expected"),
    [
        (10, 20, [0, 20, 40, 60, 80, 100, 120, 140, 157]),  # the defaults: fewer evaluations than are wanted
        (3, 20, [0, 60, 120, 157]),
        (1, 20, [0, 157]),
        (4, 1, [0, 40, 79, 118, 157]),
        (0, 20, []),
        (-1, 20, []),
    ],
)
def test_answers_are_written_at_even_distances(times, eval_steps, expected):
    block = PpoBlock(num_sample_generations=times, eval_steps=eval_steps)
    due = [update for update in range(158) if update % eval_steps == 0 or update == 157]
    assert [update for update in due if writes_answers(update, 157, block)] == expected
