"""How long do verdicts take? `python benchmarks/score.py [COUNT] [SEED]`: CPU seconds of COUNT verdicts (100,000) on one core.

The completions are made by a seeded generator in the length of real ones (365 characters on average) and in the shapes that
models write: steps under headings, "the answer is", a box, JSON, a table, plain sentences, yes and no; right and wrong ones.
"""

import gc
import random
import resource
import sys
import time

from fino1.tasks import task
from fino1.tasks.record import solution

LIMIT_S = 10.0
ITEMS = (
    "net revenue",
    "operating income",
    "capital expenditures",
    "accounts receivable",
    "interest expense",
    "long-term debt",
)
FILLER = (
    "The relevant figures are in the table of the annual report.",
    "According to the consolidated statements of operations, we need the values of both years.",
    "We take the two amounts from the row and compare them with each other.",
    "Both amounts are stated in millions of dollars, so no conversion is necessary.",
    "The footnotes do not change this result.",
    "As described in note 12, certain prior year amounts were reclassified.",
)
Row = tuple[str, str, str, float | bool]
"""Task, completion, question, target."""


def make_rows(count: int, seed: int) -> list[Row]:
    """Make `count` answered questions, the same for the same seed."""
    rng = random.Random(seed)
    return [_make_row(rng) for _ in range(count)]


def main(count: int = 100_000, seed: int = 1) -> int:
    """Print characters, verdicts and CPU seconds; 1 where more than LIMIT_S seconds would be needed for 100,000."""
    rows = make_rows(count, seed)
    length = sum(len(completion) for _, completion, _, _ in rows) / count
    score = {name: task(name).score for name in ("finqa", "xbrl_math")}
    gc.freeze()  # the rows are the benchmark's own: the collector need not look through them
    before = time.process_time()
    verdicts = [score[name](completion, question, target).strict for name, completion, question, target in rows]
    seconds = time.process_time() - before
    shares = {
        name: verdicts.count(value) / count for name, value in (("right", True), ("wrong", False), ("unparsed", None))
    }
    print(
        f"{count} verdicts on completions of {length:.0f} characters: {seconds:.2f} CPU s, {seconds / count * 1e6:.0f} µs each"
    )
    print(", ".join(f"{name} {share:.1%}" for name, share in shares.items()))
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB, seed {seed}")
    return int(seconds * 100_000 / count > LIMIT_S)


def _make_row(rng: random.Random) -> Row:
    item, year = rng.choice(ITEMS), rng.randint(2006, 2019)
    before, after = rng.randint(200, 90_000), rng.randint(200, 90_000)
    if rng.random() < 0.05:
        asked = f"was {item} greater in {year} than in {year - 1} ?"
        return (
            "finqa",
            _write(rng, item, year, before, after, "Yes, it was." if rng.random() < 0.5 else "no"),
            asked,
            after > before,
        )
    percent = rng.random() < 0.5
    target = round((after - before) / before, 5) if percent else float(after - before)
    kind = "percentage change" if percent else "change"
    value = target if rng.random() < 0.6 else target * rng.choice((1.01, 10, -1))
    shown = f"{value * 100:.2f}%" if percent else f"{'-' if value < 0 else ''}${abs(value):,.0f} million"
    name = "finqa" if rng.random() < 0.8 else "xbrl_math"
    return (
        name,
        _write(rng, item, year, before, after, shown),
        f"what was the {kind} in {item} from {year - 1} to {year} ?",
        target,
    )


def _write(rng: random.Random, item: str, year: int, before: int, after: int, shown: str) -> str:
    facts = f"In {year - 1}, {item} was ${before:,} million. In {year} it was ${after:,} million."
    steps = f"{after:,} - {before:,} = {after - before:,}\n{after - before:,} / {before:,} = {(after - before) / before:.5f}"
    filler = rng.sample(FILLER, rng.randint(1, 5))
    match rng.choice(("headings", "phrase", "box", "json", "table", "plain", "short")):
        case "headings":
            return solution(" ".join([facts, *filler, steps]), f"The answer is {shown}.")
        case "phrase":
            return " ".join([facts, *filler]) + f"\n\n{steps}\n\nTherefore, the answer is {shown}."
        case "box":
            tex = shown.replace("%", "\\%").replace("$", "\\$")
            fraction = f"\\[\\frac{{{after} - {before}}}{{{before}}} \\approx {(after - before) / before:.4f}\\]"
            return " ".join([facts, *filler]) + f"\n\n{fraction}\n\nThe final answer is $\\boxed{{{tex}}}$"
        case "json":
            return f'{{"reasoning": "{" ".join([facts, *filler])} {steps[:40]}", "answer": "{shown}"}}'.replace(
                "\n", " "
            )
        case "table":
            return (
                "\n".join(filler)
                + f"\n\n| | {year} | {year - 1} | Change |\n|---|---|---|---|\n| {item} | {after:,} | {before:,} | {shown} |"
            )
        case "plain":
            return (
                " ".join([facts, *filler, *rng.sample(FILLER, 2)])
                + f" So the change in {item} from {year - 1} to {year} was {shown}."
            )
        case _:
            return " ".join([*filler, facts]) + f"\n\n**{shown}**"


if __name__ == "__main__":
    sys.exit(main(*(int(argument) for argument in sys.argv[1:])))
