"""How is one question searched for a reasoning path? (docs/paths.md)

A first chain; while its conclusion is wrong, further steps by a strategy; then the chain as prose, and the response to the user.
What is drawn follows from the seed and the question's id, and every reply comes through `ask`: with the same replies the
same path comes out, so that a search is repeated from the journal of its calls.
"""

import functools
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeVar

from fino1.evaluate.questions import Question
from fino1.paths import prompts
from fino1.paths.records import (
    FIRST,
    LATER,
    BadReply,
    Chain,
    JudgedBy,
    Opinion,
    ReasoningPath,
    Reply,
    Response,
    Rewriting,
    Strategy,
    Turn,
    parse,
    show_gold,
)
from fino1.spec.paths import PathsBlock
from fino1.tasks.record import Task, judge, solution

Role = Literal["writer", "judge"]
Ask = Callable[[Role, str], str]
Kind = TypeVar("Kind", bound=Reply)

LONGEST_SHOWN = 20_000  # characters of a malformed reply that is sent back; a reply of 4,096 tokens has fewer


class QuestionSpent(Exception):
    """The next call might pass what the calls for one question may take."""


@dataclass(frozen=True)
class Search:
    """The search for one question's path. `ask` raises QuestionSpent, and what ends the run."""

    question: Question
    task: Task
    block: PathsBlock
    seed: int
    ask: Ask

    def run(self) -> ReasoningPath:
        """Search, rewrite, respond."""
        turns: list[Turn] = []
        try:
            if not self._find(turns):
                return ReasoningPath(tuple(turns), "wrong")
            cot = self._read("writer", Rewriting, "rewrite", chain=turns[-1]).reasoning
            response = self._read("writer", Response, "respond", reasoning=cot).response
            right, _ = self._judge(solution(cot, response), response)
        except BadReply as error:
            return ReasoningPath(tuple(turns), "form", complaint=str(error))
        except QuestionSpent:
            return ReasoningPath(tuple(turns), "budget")
        return ReasoningPath(tuple(turns), None if right else "response", cot, response)

    def _find(self, turns: list[Turn]) -> bool:
        """Append chains to `turns` until the last one is right; returns whether it is."""
        turns.append(self._turn("Initial", 0, None, "initial"))
        for attempt in range(1, self.block.attempts + 1):
            latest = turns[0]
            for depth in range(self.block.depth):
                if turns[-1].right:
                    return True
                strategy = self._draw(attempt, depth)
                latest = self._turn(strategy, attempt, latest, "rethink")
                turns.append(latest)
        if not turns[-1].right and self.block.fallback:
            turns.append(self._turn("Gold shown", 0, None, "gold", gold=show_gold(self.question.record)))
        return turns[-1].right

    def _turn(
        self,
        strategy: Strategy | Literal["Initial", "Gold shown"],
        attempt: int,
        before: Turn | None,
        template: prompts.Name,
        **values: object,
    ) -> Turn:
        chain = self._read("writer", Chain, template, chain=before, strategy=strategy, **values)
        steps = (*(before.steps[:-1] if before else ()), *chain.steps)  # the check of what was wrong goes
        right, judged_by = self._judge(steps[-2].content, steps[-2].content)
        return Turn(strategy, attempt, steps, right, judged_by)

    def _judge(self, completion: str, answer: str) -> tuple[bool, JudgedBy]:
        """Judge by the rule; where it gives no verdict, by the judge; without a judge the answer is not right."""
        record = self.question.record
        verdict = judge(self.task.score, completion, record).strict
        if verdict is not None:
            return verdict, "rule"
        if self.block.judge is None:
            return False, "nobody"
        opinion = self._read("judge", Opinion, "judge", answer=answer, gold=show_gold(record))
        return opinion.verdict == "right", "judge"

    def _draw(self, attempt: int, depth: int) -> Strategy:
        options = LATER if depth else FIRST
        key = f"{self.seed} {self.task.name} {self.question.id} {attempt} {depth}"
        return options[int.from_bytes(hashlib.sha256(key.encode()).digest()) % len(options)]

    def _read(self, role: Role, kind: type[Kind], template: prompts.Name, **values: object) -> Kind:
        prompt = prompts.render(template, self.block.wording, problem=self.question.prompt, **values)
        return read(functools.partial(self.ask, role), kind, prompt, self.block.wording)


def read(ask: Callable[[str], str], kind: type[Kind], prompt: str, wording: prompts.Wording = "full") -> Kind:
    """Ask and read the reply; a malformed one is sent back once. Raises BadReply where the second is malformed too."""
    reply = ask(prompt).encode(errors="replace").decode()  # half a surrogate pair could not be sent back
    try:
        return parse(reply, kind)
    except BadReply as error:
        shown = reply if len(reply) <= LONGEST_SHOWN else reply[:LONGEST_SHOWN] + " […]"
        return parse(ask(prompts.render("repair", wording, prompt=prompt, reply=shown, error=str(error))), kind)
