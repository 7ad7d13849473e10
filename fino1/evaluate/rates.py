"""When may the next request to an endpoint be sent, so that its limits per minute hold? (docs/endpoints.md)

Requests are evenly spaced: providers measure over seconds too. Of tokens no 60 seconds see more than the limit. A request counts
from when it is sent with what it may use, as providers count it, and once it is answered with what it did use.
"""

import threading
from collections import deque
from dataclasses import dataclass

MINUTE_S = 60.0


@dataclass(eq=False)
class Turn:
    """A request and its tokens; `at` is when it was sent."""

    tokens: int
    at: float = 0.0


class Rates:
    """The limits of a model's requests. Safe to use from several threads; times are seconds of any clock."""

    def __init__(self, requests_per_minute: float | None = None, tokens_per_minute: float | None = None) -> None:
        """None is no limit."""
        self._space_s = MINUTE_S / requests_per_minute if requests_per_minute else 0.0
        self._tokens = tokens_per_minute
        self._opens_at = float("-inf")
        self._sent: deque[Turn] = deque()  # those of the last minute
        self._lock = threading.Lock()

    def take(self, turn: Turn, now: float) -> float:
        """Take a turn. Returns 0; or the seconds to wait before the next try, for a turn that was not taken.

        A turn of more tokens than the limit is taken where the last minute had none.
        """
        with self._lock:
            left = max(self._opens_at - now, self._compute_wait(turn.tokens, now))
            if left > 0:
                return left
            turn.at, self._opens_at = now, now + self._space_s
            if self._tokens:
                self._sent.append(turn)
            return 0.0

    def _compute_wait(self, tokens: int, now: float) -> float:
        """Compute the seconds until so many tokens fit the minute before."""
        while self._sent and self._sent[0].at + MINUTE_S <= now:
            self._sent.popleft()
        if self._tokens is None:
            return 0.0
        excess, wait = sum(turn.tokens for turn in self._sent) + tokens - self._tokens, 0.0
        for turn in self._sent:
            if excess <= 0:
                break
            excess -= turn.tokens
            wait = turn.at + MINUTE_S - now
        return wait
