"""Which option does a completion choose? (docs/scoring.md §16)"""

import pytest

from fino1.tasks.scoring.answer import score
from fino1.tasks.scoring.choice import read_choice

OPTIONS = ("Entry fees", "Exit fees", "Neither of them", "Entry fees and exit fees")
SAID = [
    ("B", "B"),
    ("b.", "B"),
    ("(B)", "B"),
    ("**B. Exit fees**", "B"),
    ("The answer is B.", "B"),
    ("The answer is (B) Exit fees.", "B"),
    ("The answer is A because entry costs most.", "A"),
    ("The answer is option B: exit fees", "B"),
    ("Answer: C. Neither of them", "C"),
    ("The correct answer is (C).", "C"),
    ("\\boxed{B}", "B"),
    ("\\boxed{\\text{B}}", "B"),
    ("<answer>C</answer>", "C"),
    ('{"answer": "B"}', "B"),
    ("<think>The answer is A.</think>\nThe answer is B.", "B"),
    ("## Thinking\n\nOption A?\n\n## Final Response\n\nB. Exit fees", "B"),
    ("The answer is A. Wait, no: the answer is B.", "B"),
    ("A. Entry fees\nB. Exit fees\nC. Neither of them\n\nB is the correct answer.", "B"),
    ("not A, so option B is correct", "B"),
    ("Option A is wrong. I choose C.", "C"),
    ("It is exit fees.", "B"),
    ("It is B.", "B"),
    ("Exit costs more than entry, so B.", "B"),
    ("So I, for one, do not know.", None),
    ("Entry fees come first.\nSo: exit fees", "B"),
    ("It is entry fees and exit fees.", "D"),
    ("A fee is a fee, so neither of them.", "C"),
    ("The answer is E.", "E"),
    ("The answer is B or C.", None),
    ("A or B", None),
    ("Option A is wrong. Option C is wrong.", None),
    ("A company pays.", None),
    ("I cannot tell.", None),
    ("", None),
]


@pytest.mark.parametrize(("completion", "letter"), SAID)
def test_the_letter_or_the_text(completion, letter):
    for gold in "AB":
        verdict = score(completion, "Which is higher?", gold, options=OPTIONS)
        assert (verdict.extracted, verdict.strict) == (letter, None if letter is None else letter == gold)
        assert (verdict.value, verdict.docmath_compat) == (None, None)


def test_letters_are_read_where_the_options_are_not_known():
    assert score("The answer is B.", "Which?", "B", options=()).strict is True
    assert score("Exit fees", "Which?", "B", options=()).strict is None


def test_a_gold_is_a_letter_or_a_text():
    assert [read_choice(gold, OPTIONS) for gold in ("B", "(b)", "Exit fees", "E", "fees")] == [
        "B",
        "B",
        "B",
        None,
        None,
    ]


def test_long_texts_are_read_in_linear_time():
    text = "A. Entry (A) is A or not option A is, the answer is A or B " * 3000
    assert score(text, "Which?", "A", options=OPTIONS).strict is None
