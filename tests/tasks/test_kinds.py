"""Kinds of answers that real models give, by rule of docs/scoring.md: kind → (question, target, completion, strict verdict)."""

import json
from pathlib import Path

import pytest

from fino1.tasks import task
from fino1.tasks.scoring.answer import read_target

COST = "what were the total lease costs in 2012 ?"
CHANGE = "what was the change in trade payables from 2011 to 2012 ?"
PERCENT = "what was the percentage change in gross profit from 2011 to 2012 ?"
RATIO = "what is the ratio of current assets to total debt ?"
EPS = "what were basic earnings per share in 2012 ?"
VALUE = "What is the enterprise value?"
YEAR = "in which year were research costs lower ?"
TRUTH = "were research costs lower in 2012 than in 2011 ?"

NUMBERS = [
    (COST, 2345678.0, "The answer is 2.345.678.", True),
    (COST, 2345678.0, "The answer is 2 345 678.", True),
    (COST, 2345678.0, "The answer is 2'345'678.", True),
    (COST, 2345678.0, "The answer is 2_345_678.", True),
    (COST, 2345678.9, "The answer is 2.345.678,9.", True),
    (COST, 2345.67, "Total: 2345,67 EUR", True),
    (COST, 678.5, "\\boxed{678,5}", True),
    (COST, 2345678.0, "The answer is 23,45,678.", True),
    (COST, 234.0, "The answer is 234,56,7.", None),
    (COST, 12.0, "The answer is 12,34,5.", None),
    (COST, 1.2, "The answer is 1.2.3.", None),
    (COST, 1.0, "The answer is 1_23.", None),
    (COST, 100000.0, "The answer is 10^5.", True),
    (COST, 10.0, "The answer is 10^5.", False),
    (COST, 4500.0, "The answer is 4.5 x 10^3.", True),
    (COST, 4500.0, "$4.5 \\times 10^{3}$", True),
    (COST, 4500.0, "The answer is 4.5e3.", True),
    (COST, 4500.0, "The answer is 4.5·10³.", True),
    (COST, 0.0045, "The answer is 4.5 × 10⁻³.", True),
    (COST, 100.0, "The answer is 10**2.", True),
    (COST, 49.0, "The answer is √49.", None),
    (COST, 49.0, "The answer is sqrt(49).", None),
    (COST, 49.0, "\\boxed{\\sqrt[3]{49}}", None),
    (COST, 49.0, "The answer is the square root of 49.", None),
    (RATIO, 2.5, "The answer is 2 1/2.", True),
    (RATIO, 2.5, "2½", True),
    (RATIO, 2.0, "The answer is 2½.", False),
    (RATIO, 0.75, "The answer is ¾.", True),
    (RATIO, 0.75, "\\boxed{\\tfrac{3}{4}}", True),
    (RATIO, 1.5, "The answer is 3,600 / 2,400.", True),
    (RATIO, 1.5, "The answer is €3,600/€2,400.", True),
    (RATIO, 1.5, "\\boxed{\\frac{\\$3,600}{\\$2,400}}", True),
    (RATIO, 3.0, "The answer is 3 to 1.0.", True),
    (RATIO, 3.0, "The answer is 3:1.", True),
    (PERCENT, 0.095, "The answer is 9 1/2%.", True),
]
SCALES = [
    (VALUE, 35e5, "The answer is 35 lakhs.", True),
    (VALUE, 35e7, "Rs 35 crores", True),
    (VALUE, 35.0, "The answer is 35 lakh.", False),
    (VALUE, 35e6, "The answer is 35 mio.", True),
    (VALUE, 35e9, "The answer is EUR 35 Mrd.", True),
    (VALUE, 35.0, "The answer is 35 bln.", False),
    (VALUE, 35e9, "$35bln", True),
    (VALUE, 35e6, "USD 35 mln", True),
    (VALUE, 35e3, "35 thou", True),
    (VALUE, 35e4, "The answer is 35万.", True),
    (VALUE, 35e4, "35萬元", True),
    (VALUE, 35.0, "The answer is 35 万.", False),
    (VALUE, 35e8, "The answer is 35亿美元.", True),
    (VALUE, 35e5, "The answer is 35 hundred thousand.", True),
    (VALUE, 35.25e6, "The answer is $35 million 250 thousand.", True),
    (VALUE, 35.25e6, "The answer is 35 million and 250 thousand dollars.", True),
    (VALUE, 35.0, "The answer is 35 million 250 thousand.", False),
    (VALUE, 35e3, "The answer is 35 (in 000s).", True),
    (VALUE, 35e3, "35 (in thousands)", True),
    (VALUE, 35.0, "The answer is 35 zillion.", None),
    (VALUE, 35.0, "The answer is 35 gazillion dollars.", None),
    (VALUE, 35.0, "The answer is 35abc.", None),
    (VALUE, 35e12, "35 trillion", True),
    (VALUE, 35e15, "35 quadrillion", True),
    (PERCENT, 0.035, "35‰", True),
    (PERCENT, 35.0, "35‰", False),
    (EPS, 1.87, "187 cents per share", True),
    (EPS, 1.87, "187¢", True),
    (EPS, 187.0, "187 cents", False),
    (EPS, 0.87, "The answer is 87 cents.", True),
    ("what was the dividend per share, in cents ?", 87.0, "87 cents", True),
]
CONTAINERS = [
    (COST, 58.0, "<answer>58</answer> This is 20 for plants and 38 for offices.", True),
    (COST, 58.0, "<answer>\n58\n</answer>\n\nPlants are 20, offices are 38.", True),
    (COST, 58.0, "[FINAL_ANSWER] 58 [/FINAL_ANSWER] Parts: 20, 38.", True),
    (COST, 58.0, '{"operands": [20, 38], "final_answer": "58"}', True),
    (COST, 58.0, '```json\n{"result": 58, "parts": [20, 38]}\n```', True),
    (COST, 58.0, '{"answer": "$58 million", "confidence": 0.9}', True),
    (COST, 58.0, "{'answer': 58, 'steps': 2}", True),
    (COST, 58.0, '{"answer": {"value": 58, "unit": "million"}, "page": 12}', True),
    (CHANGE, -58.0, '{"answer": "(58)"}', True),
    (CHANGE, -58.0, "<answer>(58)</answer>", True),
    (CHANGE, -58.0, 'The change is "(58)".', True),
    (CHANGE, -58.0, '{"answer": "\\u221258"}', True),
    (CHANGE, -58.0, "The answer is &#8722;58.", True),
    (CHANGE, -58.0, "The answer is &ndash;58.", True),
    (COST, 58.0, "#### 58", True),
    (COST, 58.0, "20 + 38 = 58\n#### 58\nThe parts were 20 and 38.", True),
    (COST, 58.0, "\\boxed{58}\n\nPlants were 20 in 2012, offices 38.", True),
    (COST, 58.0, "\\boxed{\\text{58 million}} of which 20 are plants", True),
    (COST, 58.0, "\\fbox{58}. Check: 20 + 38", True),
    (COST, 58.0, "The answer is below.\n\n\\boxed{58}", True),
    (COST, 58.0, "\\boxed{58}\n\nThe answer is in millions.", True),
    (COST, 12.0, "The answer is 12.\nWait, no.\n<answer>58</answer>", False),
    (COST, 58.0, "<answer>12</answer>\nI was wrong. The answer is 58.", True),
    (COST, 58.0, "The answer is 58.\n" + "The report has many pages of notes on leases. " * 200, True),
    (
        COST,
        9.0,
        "The answer is 58.\n" + "The report has many pages of notes on leases. " * 200 + "Note 9 has 9.",
        False,
    ),
    (TRUTH, False, "<answer>no</answer>", True),
    (TRUTH, False, '{"answer": "No", "reasoning": "yes, they rose"}', True),
    (TRUTH, False, '{"answer": false}', True),
    (TRUTH, False, "[FINAL_ANSWER]No[/FINAL_ANSWER]", True),
    (TRUTH, False, "Answer: no\n\nThey were higher.", True),
    (TRUTH, True, "\\boxed{\\text{Yes}}", True),
    (TRUTH, False, "#### no", True),
    (TRUTH, False, "They were 8 against 7, so no, they were not lower.", True),
    (TRUTH, False, "They rose from 7 to 8; thus, no.", True),
    (TRUTH, True, "They fell from 8 to 7, so yes, they were lower.", True),
    (TRUTH, True, "I cannot say yes or no.", None),
    (TRUTH, True, "It is impossible to answer with yes or no here.", None),
    (TRUTH, True, "The answer is yes or no.", None),
]
PARTS = [
    (COST, 58.0, "The answer is 58.\n\nQuestion: what were they in 2011 ?\nAnswer: 41", True),
    (COST, 41.0, "The answer is 58.\n\nQuestion: what were they in 2011 ?\nAnswer: 41", False),
    (COST, 58.0, "58\n\nContext: another page\nQuestion: how many ?\nAnswer: 3", True),
    (COST, 58.0, "58\nUser: and in 2011 ?\nAssistant: 41", True),
    (COST, 58.0, "The answer is 58.\n\n### Question\nwhat else ?\n### Answer\n41", True),
    (COST, 58.0, "Question: what were the costs ?\nAnswer: 58", True),
    (
        COST,
        58.0,
        "The answer is 58.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nmore ?<|eot_id|>The answer is 41.",
        True,
    ),
    (COST, 58.0, "The answer is 58.<|end|><|user|>more<|end|><|assistant|>The answer is 41.", True),
    (COST, 58.0, "The answer is 58.</s><s>[INST] more [/INST] The answer is 41.", True),
    (COST, 58.0, "<|im_start|>assistant\nThe answer is 58.<|im_end|>", True),
    (COST, 58.0, "## Thinking\n\nQuestion: what ? It is 20 + 38.\n\n## Final Response\n\n58", True),
    (
        COST,
        58.0,
        "## Thinking\n\nx\n\n## Final Response\n\n58\n\nQuestion: b ?\n\n## Thinking\n\ny\n\n## Final Response\n\n41",
        True,
    ),
    (COST, 58.0, "<think>The answer is 58. Let me check", None),
    (COST, 58.0, "<thinking>20 + 38 = 58", None),
    (COST, 58.0, "<reasoning>The answer is 58.", None),
    (COST, 58.0, "<|begin_of_thought|>The answer is 58.", None),
    (COST, 58.0, "<reasoning>the answer is 41</reasoning>58", True),
    (COST, 58.0, "<think>the answer is 41</think>\nThe total is 58.", True),
    (COST, 58.0, "the answer is 41</think>58", True),
    (COST, 58.0, "<think>\\boxed{41}</think>58 million", True),
    (COST, 41.0, "<think>\\boxed{41}</think>I am not sure.", None),
    (
        COST,
        58.0,
        "<|begin_of_thought|>41<|end_of_thought|>\n<|begin_of_solution|>It is \\boxed{58}.<|end_of_solution|>",
        True,
    ),
    (COST, 58.0, "The total lease costs in 2012 were 58. In 2011 they were 4", True),
    (COST, 58.0, "Total lease costs were 58 million.\n\nLet me verify: 20 + 38 = 5", True),
    (TRUTH, True, "<think>yes", None),
]
BOUNDS = [
    (COST, 58.0, f"The answer is {bound}.", None)
    for bound in (
        "at least 58",
        "over 58",
        "more than 58",
        "up to 58",
        "less than $58 million",
        "≥ 58",
        "58 or more",
        "58 or less",
        "58 and above",
        "no more than 58",
        "not 58",
        "below 58",
        "above 58",
        "under 58",
        "> 58",
        "58+",
        "at least about 58",
        "58 at most",
        "in excess of 58",
        "58, or 59 if rounded up",
        "±58",
    )  # fmt: skip
] + [
    (COST, 58.0, "The total lease costs exceed 58.", None),
    (COST, 58.0, "It cannot be 58.", None),
    (COST, 58.0, "\\boxed{x \\leq 58}", None),
    (COST, 58.0, "The answer cannot be determined. The report mentions 58.", None),
    (COST, 58.0, "I cannot compute the costs. The table only shows 58.", None),
    (COST, 58.0, "There is not enough information; the only figure is 58.", None),
    (COST, 58.0, "The answer is 58, which is more than 41.", True),
    (COST, 58.0, "Total lease costs were 58, more than the 41 of 2011.", True),
    (COST, 58.0, "Over the period the total lease costs were 58.", True),
    (COST, 58.0, "The exact split is not provided, but the total lease costs are 20 + 38 = 58.", True),
]
DIRECTIONS = [
    (PERCENT, -0.083, "8.3%, indicating a decrease.", True),
    (PERCENT, -0.083, "The change is 8.3%, which represents a decline in gross profit.", True),
    (PERCENT, -0.083, "8.3%. This is a decrease.", True),
    (PERCENT, -0.083, "The answer is 8.3%. This represents a drop from 2011.", True),
    (PERCENT, -0.083, "\\boxed{8.3\\%}, indicating a decrease", True),
    (PERCENT, 0.083, "8.3%, indicating an increase, not a decrease.", True),
    (PERCENT, 0.083, "The change is 8.3%. This is not a decrease.", True),
    (PERCENT, 0.0, "Gross profit was unchanged.", True),
    (PERCENT, 0.0, "There was no change.", True),
    (CHANGE, 0.0, "Trade payables remained flat.", True),
    (CHANGE, 0.0, "The answer is nil.", True),
    (CHANGE, 0.0, "Trade payables were unchanged at $58 million.", True),
    (CHANGE, 58.0, "There was no change.", False),
    (COST, 0.0, "They were unchanged.", None),
    ("what was the workforce reduction charge in 2012 ?", -58.0, "58", False),
    ("what was the workforce reduction charge in 2012 ?", 58.0, "58", True),
    ("what was the reduction in debt from 2011 to 2012 ?", -58.0, "58", True),
    (PERCENT, 0.083, "Despite a drop in sales of 3%, gross profit rose 8.3%.", True),
    (PERCENT, 0.083, "Although volumes fell 3%, gross profit grew 8.3%.", True),
]
LINES = [
    (COST, 58.0, "20\n38\n\nTherefore, the total lease costs were 58 million.", True),
    (COST, 58.0, "20\n38\n58", None),
    (CHANGE, 58.0, "The change is $58 million.\n\nPlease tell me if you also need 2010 or 2009.", True),
    (COST, 58.0, "$58 million (2011: $41 million)", True),
    (COST, 58.0, "Total lease costs: 58 (2011: 41)", True),
    (CHANGE, 58.0, "| | 2012 | 2011 | Change |\n|---|---|---|---|\n| Trade payables | 899 | 841 | 58 |", True),
    (CHANGE, 899.0, "| | 2012 | 2011 | Change |\n|---|---|---|---|\n| Trade payables | 899 | 841 | 58 |", False),
    (COST, 58.0, "| Item | 2011 | 2012 |\n|:--|--:|--:|\n| Lease costs | 41 | 58 |", True),
    (COST, 58.0, "20 + 38\n= 58", True),
    (COST, 58.0, "Costs = 10 + 10 + 38 = 20 + 38 = 58", True),
    (RATIO, 0.68, "The ratio is 0.68 (512.3 / 753.4).", True),
]
PERCENTS = [
    (PERCENT, 1.4321, "1.43%", False),
    (PERCENT, 1.4321, "143.2%", True),
    (PERCENT, 0.014321, "1.43%", True),
    ("what was the growth rate of sales ?", 0.2353, "23.53", True),
    ("what is the return on investment ?", 0.2353, "The answer is 23.53.", True),
    ("what is the gross margin ?", 0.2353, "23.53", True),
    ("what share of the costs is rent ?", 0.2353, "23.53", True),
    ("what proportion of the costs is rent ?", 0.2353, "23.53", True),
    ("what is the ratio of rent to costs ?", 0.2353, "23.53", False),
    ("what is rent over costs ?", 0.2353, "4 / 17 = 23.53%\n\nThe answer is 23.53", True),
    ("what is rent over costs ?", 0.2353, "The answer is 23.53", False),
    (COST, 0.58, "58", False),
    (COST, 58.0, "58%", False),
    (EPS, 2.31, "2.31%", False),
    ("how many shares were sold for a return ?", 40.0, "40%", False),
    ("what is the average price of the margin loans ?", 40.0, "40%", False),
    ("what was the margin in 2012 ?", 0.02, "2.30%", False),
    ("what was the margin in 2012 ?", 0.02, "2.0%", True),
]
YEARS = [
    (YEAR, 2012.0, "2011", False),
    (YEAR, 2012.0, "2013", False),
    (YEAR, 2012.0, "2012", True),
    (YEAR, 2012.0, "FY2012", True),
    (YEAR, 2012.0, "The answer is FY2012.", True),
    (YEAR, 2012.0, "['2012']", True),
    (YEAR, 2012.0, '["2012"]', True),
    (YEAR, 2012.0, "Research costs were lower in 2012 (8) than in 2011 (9).", True),
    (YEAR, 2012.0, "Research costs were lower in 2012, at $8 million.", True),
    ("how many years does the lease run ?", 700.0, "701", False),
    ("how many years does the lease run ?", 12.0, "12 years", True),
    ("how many years of stock remain ?", 11.21302, "11.2 years", True),
]
TABLES = {
    "numbers": NUMBERS, "scales": SCALES, "containers": CONTAINERS, "parts": PARTS, "bounds": BOUNDS, "directions": DIRECTIONS,
    "lines": LINES, "percents": PERCENTS, "years": YEARS,
}  # fmt: skip
CASES = [(kind, *row) for kind, table in TABLES.items() for row in table]


@pytest.mark.parametrize(("kind", "question", "target", "completion", "strict"), CASES)
def test_kind(kind, question, target, completion, strict):
    verdict = task("xbrl_math" if question == VALUE else "finqa").score(completion, question, target)
    assert verdict.strict is strict, verdict
    assert (verdict.extracted is None) == (strict is None)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1 234 567,89", 1234567.89),
        ("1.234.567,89", 1234567.89),
        ("1'234'567.89", 1234567.89),
        ("1 234 567,89 €", 1234567.89),
        ("12,345,67", None),
        ("1.2.3", None),
        ("94 zillion", None),
        ("½", 0.5),
        ("1 1/2", 1.5),
        ("3.5 crore", 35e6),
        ("35‰", 0.035),
        ("\\sqrt{25}", None),
    ],
)
def test_golds_are_read_whole_or_not_at_all(text, value):
    assert read_target(text) == (None if value is None else pytest.approx(value, rel=1e-12))


REPORTED = Path(__file__).resolve().parents[3] / "shared" / "cases" / "verdicts.jsonl"


@pytest.mark.skipif(not REPORTED.is_file(), reason=f"the reported answers are not at hand: no {REPORTED}")
def test_every_reported_answer_has_the_verdict_that_it_should_have():
    rows = [json.loads(line) for line in REPORTED.read_text(encoding="utf-8").splitlines()]
    wrong = [
        row["id"]
        for row in rows
        if task(row["task"]).score(row["completion"], row["question"], row["target"]).strict is not row["strict"]
    ]
    assert (wrong, len(rows)) == ([], 60)
