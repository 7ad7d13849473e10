"""What may still be asked? Tokens and dollars that are spent, held for requests under way, and left (DESIGN C9).

A request is held at its worst case before it is sent: a token for each byte of its prompt (no tokenizer that falls back to
bytes makes more) and `max_tokens`. What its answer says was used replaces that. An answer without usage is counted by an
estimate. A request that was sent and not heard (time-out, lost connection, a body that is none) may be charged by the endpoint:
it is counted as if it had been answered at full length.
"""

import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from fino1.errors import SpecError
from fino1.evaluate.counter import counter
from fino1.evaluate.endpoint import Answer, Cancelled
from fino1.spec.evaluation import BudgetBlock, PriceBlock

TEMPLATE_TOKENS = 64  # what a chat template puts around one message, at most
_TICK_S = 0.2
_estimate = counter(None)


@dataclass(frozen=True)
class Cost:
    """What answers took. `estimated` answers told no usage; `unheard` requests had no answer and are counted at their worst."""

    tokens: int = 0
    dollars: float = 0.0
    estimated: int = 0
    unheard: int = 0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            self.tokens + other.tokens,
            self.dollars + other.dollars,
            self.estimated + other.estimated,
            self.unheard + other.unheard,
        )

    def about(self, is_priced: bool) -> dict[str, Any]:
        """How is it written down? Dollars only where there is a price."""
        dollars = {"dollars": round(self.dollars, 6)} if is_priced else {}
        return {"tokens": self.tokens, **dollars, "estimated": self.estimated, "unheard": self.unheard}


@dataclass(frozen=True)
class Tariff:
    """What a model's questions cost: its price, None where nothing is charged, and the most tokens of an answer."""

    price: PriceBlock | None
    max_tokens: int

    def worst(self, prompt: str) -> Cost:
        """More than this no request for an answer takes."""
        return self._of(len(prompt.encode()) + TEMPLATE_TOKENS, self.max_tokens)

    def likely(self, prompt: str) -> Cost:
        """What a full-length answer takes, about."""
        return self._of(_estimate(prompt), self.max_tokens)

    def heard(self, prompt: str, text: str, usage: tuple[int | None, int | None]) -> Cost:
        """What an answer took, by its usage."""
        asked, answered = usage
        is_told = asked is not None and answered is not None
        found = self._of(
            _estimate(prompt) if asked is None else asked, _estimate(text) if answered is None else answered
        )
        return found if is_told else found + Cost(estimated=1)

    def unheard(self, prompt: str) -> Cost:
        """What a request may have been charged whose answer did not come."""
        return self.likely(prompt) + Cost(unheard=1)

    def of_samples(self, samples: Iterable[Mapping[str, Any]]) -> Cost:
        """What the samples on disk took."""
        total = Cost()
        for sample in samples:
            text = sample["completion"] + (sample.get("reasoning") or "")
            total += self.heard(sample["prompt"], text, (sample["prompt_tokens"], sample["completion_tokens"]))
            for _ in range(sample.get("unheard", 0)):
                total += self.unheard(sample["prompt"])
        return total

    def _of(self, asked: int, answered: int) -> Cost:
        price = self.price
        return Cost(asked + answered, (asked * price.input + answered * price.output) / 1e6 if price else 0.0)


class BudgetSpent(SpecError):
    """The next request does not fit, and none is under way whose answer could take less than was held for it."""

    def __init__(self, key: str, limit: float, spent: Cost, needed: Cost) -> None:
        super().__init__(f"eval.budget.{key}: expected more, got {_amount(limit)}")
        self._key, self._limit, self._spent, self._needed = key, limit, spent, needed

    def told(self, count: int, left: Cost) -> SpecError:
        """The line for the user, who still has `count` questions to ask."""
        spent, needed, rest = (getattr(cost, self._key) for cost in (self._spent, self._needed, left))
        notes = f", {self._spent.estimated} answers by an estimate (no usage was told)" if self._spent.estimated else ""
        if self._spent.unheard:
            notes += f", {self._spent.unheard} requests without an answer at their worst case"
        return SpecError(
            f"eval.budget.{self._key}: expected room for the {count} questions left (about {_amount(rest)} more at most), "
            f"got {_amount(self._limit)} with {_amount(spent)} spent{notes} and up to {_amount(needed)} for the next; "
            "raise it and start again: no answer is bought twice"
        )


class Account:
    """What one run, or one of its shards, has spent and may spend. Safe to use from several threads."""

    def __init__(self, budget: BudgetBlock | None, shards: int, spent: Cost) -> None:
        limits = {} if budget is None else budget.model_dump(exclude_none=True)
        self._limits = {key: limit / shards for key, limit in limits.items()}
        self._spent = spent
        self._held: dict[Request, Cost] = {}
        self._end: BudgetSpent | None = None
        self._changed = threading.Condition()

    @contextmanager
    def request(self, tariff: Tariff, prompt: str, halt: threading.Event) -> Iterator["Request"]:
        """Hold the worst case of a question while it is asked. Raises BudgetSpent, and Cancelled on `halt`."""
        request = Request(self, tariff, prompt, halt)
        self.hold(request)
        try:
            yield request
        finally:
            self.settle(request, Cost())

    def hold(self, request: "Request") -> None:
        """Wait until the request fits; answers under way may leave room. Raises as `request`."""
        worst = request.tariff.worst(request.prompt)
        with self._changed:
            while key := self._lacking(worst):
                if not self._held and not self._end:
                    self._end = BudgetSpent(key, self._limits[key], self._spent, worst)
                if self._end:
                    raise self._end
                if request.halt.is_set():
                    raise Cancelled
                self._changed.wait(_TICK_S)
            if self._end:  # a shorter question might still fit; what the user is told would then not hold
                raise self._end
            self._held[request] = worst

    def settle(self, request: "Request", cost: Cost) -> None:
        """Replace what is held for the request, if anything is, by its cost."""
        with self._changed:
            self._held.pop(request, None)
            self._spent += cost
            self._changed.notify_all()

    def _lacking(self, worst: Cost) -> str | None:
        """Which limit would be passed, if everything under way took its worst?"""
        total = sum(self._held.values(), self._spent) + worst
        rounding = 1e-9  # of sums of dollars
        return next((key for key, limit in self._limits.items() if getattr(total, key) > limit + rounding), None)


@dataclass(frozen=True, eq=False)
class Request:
    """One question under way."""

    account: Account
    tariff: Tariff
    prompt: str
    halt: threading.Event

    def unheard(self) -> None:
        """It was sent and no answer came: that may be charged, and asking again needs room of its own."""
        self.account.settle(self, self.tariff.unheard(self.prompt))
        self.account.hold(self)

    def answered(self, answer: Answer) -> None:
        """Its answer came."""
        usage = answer.prompt_tokens, answer.completion_tokens
        self.account.settle(self, self.tariff.heard(self.prompt, answer.text + (answer.reasoning or ""), usage))


def _amount(number: float) -> str:
    return f"{number:.0f}" if number >= 1000 or number == int(number) else f"{number:.4g}"
