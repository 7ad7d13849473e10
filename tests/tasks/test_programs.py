"""Answers as programs: one grammar, what it computes, and what a hostile text can do."""

import random
import time
from functools import partial

import pytest

from fino1.tasks.programs.answer import find_program, is_formed, score
from fino1.tasks.programs.compare import is_same
from fino1.tasks.programs.execute import execute
from fino1.tasks.programs.grammar import parse
from fino1.tasks.record import Verdict
from fino1.tasks.scoring.answer import score as by_rule

CELLS = [
    ["", "2019", "2018"],
    ["net revenue (in millions)", "$ 5,829", "5735"],
    ["a, b", "1", "( 2 )"],
    ["huge", "1e308", "1e308"],
]
QUESTION = "what was the percentage change in net revenue from 2018 to 2019?"
SCORE = partial(score, partial(by_rule, step=1e-5))


def run(text: str) -> float | bool:
    return execute(parse(text), CELLS)[-1]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("subtract(5829, 5735), divide(#0, 5735)", 94 / 5735),
        ("subtract(5829,5735)\ndivide(#0,5735)", 94 / 5735),
        ("(5829 - 5735) / 5735 * 100", 9400 / 5735),
        ("($5,829 − 5,735) ÷ 5,735 × 100%", 94 / 5735),
        ("divide(5829 - 5735, 5735)", 94 / 5735),
        ("60.4% - 10%", 0.504),
        ("-2^2", -4.0),
        ("2^-1", 0.5),
        ("2 ** 3 ** 2", 512.0),
        ("(1 + 2) * -3", -9.0),
        ("multiply(const_m1, const_100)", -100.0),
        ("exp(2, 3)", 8.0),
        ("8 - 2 - 1", 5.0),
        ("8 / 2 / 2", 2.0),
        ("greater(2, 1)", True),
        ("table_max(net revenue (in millions), none)", 5829.0),
        ("table_sum(a, b, none), add(#0, 1)", 2.0),
        ('table_average("Net Revenue (in millions)")', 5782.0),
        ("1,234", 1234.0),
        ("add(100,200)", 300.0),
    ],
)
def test_a_program_is_computed(text: str, value: float | bool) -> None:
    assert run(text) == pytest.approx(value, rel=1e-12)


def _list_hostile() -> list[str]:
    fixed = [
        "", " ", "()", "(", ")", "1 +", "add(1)", "add(1, 2, 3)", "add 1, 2", "Add(1, 2)", "add(1, 2", "add(1, 2))",
        "1 2", "1,,", ",1", "divide(1, 0)", "1/0", "0/0", "exp(0, -1)", "(-8)^0.5", "10^400", "9^9^9^9",
        "exp(10, 19)", "exp(exp(99, 9), 99)", "1e5", "0x10", "1_000", "1.2.3", "1..2", ".", "5.x", "#0", "#1, 1",
        "add(#0, 1)", "add(1, 2), add(#1, 1)", "#99", "#-1", "1, #00000000001", "٣ + ٤", "１ + ２", "²", "½", "Ⅷ",
        "1 ＋ 2", "add（1, 2）", "аdd(1, 2)", "nan", "inf", "-inf", "NaN + 1", "infinity",
        "__import__('os').system('true')", "().__class__", "open('/etc/passwd')", "exec('1')", "eval(1)", "lambda: 1",
        "[1]*9", "{1}", "'a'*99", "f(1, 2)", "a.b(1, 2)", "x", "add.real", "1 if 1 else 2", "not 1", "1 and 2",
        "1 == 1", "1 < 2", "1 // 2", "7 % 2", "1 & 2", "1 << 99", "~1", "@1", "1; 2", "1 # note", "import os",
        "print(1)", "table_max()", "table_max(nothing, none)", "table_max(2019, none)",
        "table_max(net revenue (in millions)", "table_max(a, b, none", "table_min(, none)", "const_", "const_x",
        "const_mm1", "const_1e9", "const_100x", "5 million", "5%%", "%", "$", "$$5", "1,23", "add(1, 2), #0",
        "1, 234", "1,2345", "\x00",
        "1\x001", "1\u20282", "\ud800", "😀", "1 + 😀", "9" * 21, "9" * 999, "0." + "1" * 500,
        "(" * 400 + "1" + ")" * 400, "-" * 900 + "1", "1" + "+1" * 101, "1" + "^1" * 30, "1" + "^1" * 400,
        "exp(" * 200 + "2", "add(1," * 100 + "1" + ")" * 100, "1," * 400, "a" * 1001, "1+" * 5000, "(" * 100_000,
        "table_max(" + "(" * 900, "9^9" + "".join(f", multiply(#{i}, #{i})" for i in range(9)), "exp(9, 9)" + ", exp(#0, #0)" * 3,
        "1e999", "10^18*10", "9" * 20, "table_sum(huge, none)", "table_average(huge, none)", "table_max(huge, none)",
    ]  # fmt: skip
    drawn, pieces = (
        random.Random(0),
        ["add(", "exp(", "(", ")", ",", "#0", "#7", "9", "^", "**", "-", "*", "/", "%", "_", ".", "x", "\n"],
    )
    while len(fixed) < 500:
        text = "".join(drawn.choices(pieces, k=drawn.randint(3, 200)))
        fixed.append(text + "_")
    return fixed


def test_hostile_programs_are_refused_at_once() -> None:
    hostile = _list_hostile()
    before = time.process_time()
    for text in hostile:
        assert SCORE(f"## Final Response\n\n{text}", QUESTION, 0.01639, cells=CELLS, program="1 + 1") == Verdict(), text
    assert time.process_time() - before < 0.01 * len(hostile)


@pytest.mark.parametrize(
    "text",
    [
        "add(1, 1)" + ", add(#0, #0)" * 29,
        "1" + "+1" * 100,
        "(" * 29 + "1" + ")" * 29,
        "-" * 29 + "1",
        "9" * 18,
        "1" + "^1" * 29,
    ],
)
def test_what_is_just_within_the_bounds_is_computed(text: str) -> None:
    assert SCORE(text, QUESTION, 2.0, program=text).same_program is True


def test_doubling_in_each_step_is_compared_without_writing_the_tree_out() -> None:
    steps = "".join(f", add(#{i}, #{i})" for i in range(29))
    assert is_same(parse(f"add(1, 1){steps}"), f"add(1, 1){steps}") is True
    assert run(f"add(1, 1){steps}") == 2.0**30


@pytest.mark.parametrize(
    ("text", "gold", "same"),
    [
        ("add(1, 2)", "add(2, 1)", True),
        ("1 + 2", "add(2, 1)", True),
        ("multiply(2, const_100)", "multiply(100, 2)", True),
        ("subtract(1, 2)", "subtract(2, 1)", False),
        ("divide(subtract(5, 4), 4)", "subtract(5, 4), divide(#0, 4)", True),
        ("subtract(9, 1), subtract(5, 4), divide(#1, 4)", "subtract(5, 4), divide(#0, 4)", True),
        ("5 / 4 - 1", "subtract(5, 4), divide(#0, 4)", False),
        ("60.4% + 1", "add(0.604, 1)", True),
        ("table_max(A, none)", "table_max(a, none)", True),
        ("1 + 2", "no program (", None),
        ("1 + 2", "", None),
    ],
)
def test_programs_are_the_same_up_to_the_order_of_commuting_operands(text: str, gold: str, same: bool | None) -> None:
    assert is_same(parse(text), gold) is same


@pytest.mark.parametrize(
    ("completion", "target", "strict", "compat"),
    [
        ("## Final Response\n\nsubtract(5829, 5735), divide(#0, 5735)", 0.01639, True, True),
        ("## Thinking\n\n12 and 3.\n\n## Final Response\n\n(5829 - 5735) / 5735 * 100", 0.01639, True, True),
        ("## Final Response\n\n```\ndivide(94, 5735)\n```", 0.01639, True, True),
        ("Program: `divide(94, 5735)`.", 0.01639, True, True),
        ("divide(5735, 94)", 0.01639, False, False),
        ("greater(2, 1)", True, True, None),
        ("greater(1, 2)", True, False, None),
        ("add(1, 0)", True, False, None),
        ("greater(2, 1)", 1.0, False, False),
        ("The answer is 1.64%.", 0.01639, None, None),
        ("divide(94, 5735) = 0.0164", 0.01639, None, None),
        ("yes", True, None, None),
    ],
)
def test_the_value_has_the_verdicts_of_an_answer_in_words(
    completion: str, target: float | bool, strict: bool | None, compat: bool | None
) -> None:
    verdict = SCORE(completion, QUESTION, target)
    assert (verdict.strict, verdict.docmath_compat) == (strict, compat)


def test_the_verdict_shows_the_program_and_its_value() -> None:
    verdict = SCORE("## Final Response\n\n94/5735*100", QUESTION, 0.01639, program="divide(94, 5735)")
    assert (verdict.extracted, verdict.same_program) == ("94/5735*100", False)
    assert verdict.value == pytest.approx(94 / 5735)


def test_a_program_is_formed_under_its_heading() -> None:
    assert is_formed("## Final Response\n\n1 + 2")
    assert is_formed("## Thinking\n\nx\n\n## Final Response\n\n1 + 2")
    assert not is_formed("1 + 2")
    assert not is_formed("## Final Response 1 + 2")
    assert not is_formed("## Final Response\n\n1\n\n## Final Response\n\n2")
    assert find_program("## Final Response\n\n1\n\n## Final Response\n\n2") == "2"
