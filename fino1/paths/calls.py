"""With which rows does SFT make a writer of a tiny model? Calls of a search over ledger questions, each with a reply.

The prompts are those of the search in its short wording, the replies what the search reads. Chains slip in method as the
ledger's solutions do (fino1/tasks/ledger.py), the first ones and the further ones alike.
"""

import json
import random
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

from fino1.paths import prompts
from fino1.paths.records import LATER, Strategy
from fino1.tasks import ledger
from fino1.tasks.record import Record

SHARES: dict[prompts.Name, int] = {
    "initial": 2,
    "rethink": 4,
    "rewrite": 4,
    "respond": 2,
}  # copying is what is learnt last
_OPENINGS: dict[Strategy, str] = {
    "Exploring New Paths": "or else|",
    "Backtracking": "back again|",
    "Verification": "once more|",
    "Correction": "not so|",
}
Step = dict[str, str]


def make_calls(records: Sequence[Record], slip_rate: float, seed: int) -> list[Record]:
    """Make a row for SFT of each ledger question: a call, and its reply as the response. A sum is not called wrong."""
    rng = random.Random(f"calls {seed}")
    names = rng.choices(list(SHARES), list(SHARES.values()), k=len(records))
    return [_make(name, record, slip_rate, rng) for name, record in zip(names, records, strict=True)]


def _make(name: prompts.Name, record: Record, slip_rate: float, rng: random.Random) -> Record:
    right, slipped = ledger.solve_both(record)
    can_slip, has_before = right.response != slipped.response, rng.random() < 0.5
    if name == "rethink" and not can_slip:
        name = "initial"
    before = [slipped] if can_slip and (has_before or name == "rethink") else []
    drawn, strategy = slipped if rng.random() < slip_rate else right, rng.choice(LATER)
    values: dict[str, Any] = {}
    match name:
        case "initial":
            reply: Any = {"steps": _write_steps([drawn])}
        case "rethink":
            values = {"strategy": strategy, "chain": {"steps": _write_steps(before)}}
            reply = {"steps": _write_steps([drawn], _OPENINGS[strategy])}
        case "rewrite":
            values = {"chain": {"steps": _write_steps([*before, right], "", _OPENINGS[strategy])}}
            reply = {"reasoning": _tell([*before, right])}
        case _:
            values = {"reasoning": _tell([*before, right])}
            reply = {"response": right.response}
    problem = ledger.TASK.prompt(record)
    prompt = prompts.render(name, "short", problem=problem, **values)
    return ledger.with_call(record, prompt, json.dumps(reply))


def _write_steps(solutions: Sequence[Record], *openings: str) -> list[Step]:
    """Write a chain: a step, which may begin with an opening, and a conclusion for each solution; then the last one's check."""
    found = []
    for record, opening in zip_longest(solutions, openings[: len(solutions)], fillvalue=""):
        found.append({"action": "think", "title": "", "content": opening + record.cot.rpartition("|")[0]})
        found.append({"action": "conclude", "title": "", "content": f"The answer is {record.response}."})
    return [*found, {"action": "check", "title": "", "content": f"It is {solutions[-1].response}."}]


def _tell(solutions: Sequence[Record]) -> str:
    """Tell a chain as prose."""
    return "\nno, ".join(record.cot for record in solutions)
