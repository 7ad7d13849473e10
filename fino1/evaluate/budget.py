"""How much of an evaluation's budget is spent, held for requests under way, and left? (docs/design.md C9)

A request is held at its worst case before it is sent: a token for each byte of its prompt (no tokenizer that falls back to
bytes makes more) and `max_tokens`. The usage that its answer reports replaces that. An answer without usage is counted by an
estimate. A request that was sent and not answered (time-out, lost connection, unreadable body) may be charged by the endpoint:
it is counted as if it had been answered at full length.
"""

import threading
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from fino1.cells import Sample
from fino1.errors import SpecError
from fino1.evaluate.counter import make_counter
from fino1.evaluate.endpoint import Answer, Cancelled, Endpoint
from fino1.evaluate.loop import pause
from fino1.spec.evaluation import BudgetBlock, PriceBlock

TEMPLATE_TOKENS = 64  # what a chat template puts around one message, at most
_TICK_S = 0.05
_estimate = make_counter(None)


@dataclass(frozen=True)
class Cost:
    """Tokens and dollars that answers cost.

    `estimated` counts the answers that came without usage, `unanswered` the requests without an answer, taken at full length.
    """

    tokens: int = 0
    dollars: float = 0.0
    estimated: int = 0
    unanswered: int = 0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            self.tokens + other.tokens,
            self.dollars + other.dollars,
            self.estimated + other.estimated,
            self.unanswered + other.unanswered,
        )

    def to_dict(self, is_priced: bool) -> dict[str, Any]:
        """Return it as cell.json and done.json have it; dollars only where there is a price."""
        dollars = {"dollars": round(self.dollars, 6)} if is_priced else {}
        return {"tokens": self.tokens, **dollars, "estimated": self.estimated, "unheard": self.unanswered}


@dataclass(frozen=True)
class Tariff:
    """A model's price, None where nothing is charged, and the most tokens of an answer: from both follows a question's cost."""

    price: PriceBlock | None
    max_tokens: int

    def bound(self, prompt: str) -> Cost:
        """Bound the cost of a request from above."""
        return self._price(len(prompt.encode()) + TEMPLATE_TOKENS, self.max_tokens)

    def estimate(self, prompt: str, more: int = 0) -> Cost:
        """Estimate the cost of a full-length answer to a prompt and so many tokens more."""
        return self._price(_estimate(prompt) + more, self.max_tokens)

    def count_answer(self, prompt: str, text: str, usage: tuple[int | None, int | None]) -> Cost:
        """Compute the cost of an answer from its usage (tokens of the prompt, tokens of the answer)."""
        asked, answered = usage
        has_usage = asked is not None and answered is not None
        found = self._price(
            _estimate(prompt) if asked is None else asked, _estimate(text) if answered is None else answered
        )
        return found if has_usage else found + Cost(estimated=1)

    def count_unanswered(self, prompt: str, attempts: int = 1) -> Cost:
        """Return what the endpoint may have charged for so many requests whose answers did not come."""
        return sum((self.estimate(prompt) + Cost(unanswered=1) for _ in range(attempts)), Cost())

    def sum_samples(self, samples: Iterable[Sample]) -> Cost:
        """Add up the costs of samples, and of the attempts before them that were not answered."""
        total = Cost()
        for sample in samples:
            text = sample.completion + (sample.reasoning or "")
            total += self.count_answer(sample.prompt, text, (sample.prompt_tokens, sample.completion_tokens))
            total += self.count_unanswered(sample.prompt, sample.unanswered)
        return total

    def _price(self, asked: int, answered: int) -> Cost:
        price = self.price
        return Cost(asked + answered, (asked * price.input + answered * price.output) / 1e6 if price else 0.0)


class BudgetSpent(SpecError):
    """The next request does not fit the budget, and no request is under way that could cost less than is held for it."""

    def __init__(self, block: str, key: str, limit: float, spent: Cost, needed: Cost) -> None:
        super().__init__(f"{block}.{key}: expected more, got {_format(limit)}")
        self._block, self._key, self._limit, self._spent, self._needed = block, key, limit, spent, needed

    def explain(self, count: int, left: Cost) -> SpecError:
        """Return the error for the user, who still has `count` questions to ask, at a cost of `left` at most."""
        spent, needed, rest = (getattr(cost, self._key) for cost in (self._spent, self._needed, left))
        notes = (
            f", {self._spent.estimated} answers by an estimate (they came without usage)"
            if self._spent.estimated
            else ""
        )
        if self._spent.unanswered:
            notes += f", {self._spent.unanswered} requests without an answer at their worst case"
        return SpecError(
            f"{self._block}.{self._key}: expected room for the {count} questions left (about {_format(rest)} more at most), "
            f"got {_format(self._limit)} with {_format(spent)} spent{notes} and up to {_format(needed)} for the next; "
            "raise it and start again: no answer is bought twice"
        )


class Account:
    """The budget of a run, or of one of its shards, and what is spent of it. Its coroutines run on the loop of loop.py."""

    def __init__(self, budget: BudgetBlock | None, shards: int, spent: Cost, block: str = "eval.budget") -> None:
        """`block` is the budget's key in the run file, for messages."""
        limits = {} if budget is None else budget.model_dump(include={"tokens", "dollars"}, exclude_none=True)
        self._limits = {key: limit / shards for key, limit in limits.items()}
        self._spent, self._block = spent, block
        self._held: dict[Request, Cost] = {}
        self._end: BudgetSpent | None = None

    @property
    def spent(self) -> Cost:
        """What is spent, without what is held for requests under way."""
        return self._spent

    async def ask(
        self,
        endpoint: Endpoint,
        tariff: Tariff,
        prompt: str,
        temperature: float,
        halt: threading.Event,
        label: str,
        seed: int | None = None,
    ) -> Answer:
        """Ask within the budget, and count what the answer cost. Raises as `request` and Endpoint.ask."""
        async with self.request(tariff, prompt, halt) as request:
            options: dict[str, Any] = {"label": label, "on_unanswered": request.count_unanswered, "seed": seed}
            answer = await endpoint.ask(prompt, tariff.max_tokens, temperature, halt, **options)
            request.count_answer(answer)
        return answer

    @asynccontextmanager
    async def request(self, tariff: Tariff, prompt: str, halt: threading.Event) -> AsyncIterator["Request"]:
        """Hold the worst case of a question while it is asked. Raises BudgetSpent, and Cancelled on `halt`."""
        request = Request(self, tariff, prompt, halt)
        await self.hold(request)
        try:
            yield request
        finally:
            self.settle(request, Cost())

    async def hold(self, request: "Request") -> None:
        """Wait until the request fits; answers under way may leave room. Raises as `request`."""
        if not self._limits:
            return
        worst = request.tariff.bound(request.prompt)
        while key := self._find_exceeded(worst):
            if not self._held and not self._end:
                self._end = BudgetSpent(self._block, key, self._limits[key], self._spent, worst)
            if self._end:
                break
            if await pause(_TICK_S, request.halt):
                raise Cancelled
        if self._end:  # a shorter question might still fit, but the error reported to the user would then be wrong
            raise self._end
        self._held[request] = worst

    def settle(self, request: "Request", cost: Cost) -> None:
        """Replace what is held for the request, if anything is, by its cost."""
        self._held.pop(request, None)
        self._spent += cost

    def _find_exceeded(self, worst: Cost) -> str | None:
        """Name the limit that would be passed if everything under way cost its upper bound; None where none would."""
        total = sum(self._held.values(), self._spent) + worst
        rounding = 1e-9  # sums of dollars are inexact
        return next((key for key, limit in self._limits.items() if getattr(total, key) > limit + rounding), None)


@dataclass(frozen=True, eq=False)
class Request:
    """One question under way."""

    account: Account
    tariff: Tariff
    prompt: str
    halt: threading.Event

    async def count_unanswered(self) -> None:
        """Count an attempt that was sent and not answered, and hold room for the next one. Raises as `Account.request`."""
        self.account.settle(self, self.tariff.count_unanswered(self.prompt))
        await self.account.hold(self)

    def count_answer(self, answer: Answer) -> None:
        """Replace what is held by what the answer cost."""
        usage = answer.prompt_tokens, answer.completion_tokens
        self.account.settle(self, self.tariff.count_answer(self.prompt, answer.text + (answer.reasoning or ""), usage))


def _format(number: float) -> str:
    return f"{number:.0f}" if number >= 1000 or number == int(number) else f"{number:.4g}"
