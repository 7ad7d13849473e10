"""How is a model asked? OpenAI Chat Completions, hosted or served here (docs/design.md C9).

The client's own retries are off: this module decides what is tried again and for how long, and ends a pause on SIGTERM. A
parameter that a model refuses is renamed or left out after the first refusal: o1 and similar models take
`max_completion_tokens` instead of `max_tokens` and no temperature (error codes `unsupported_parameter`, `unsupported_value`).
`seed` is left out after any 400 or 422 that names it: servers that check their fields themselves have other codes.

A 429 concerns the account, so its pause holds for every request. All attempts of one request carry the same `Idempotency-Key`
(draft-ietf-httpapi-idempotency-key-header), also after a restart: a server that knows the header answers, and charges, once.
The `openai` client sends none by itself.
"""

import dataclasses
import hashlib
import json
import random
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Set
from dataclasses import dataclass
from typing import Any

import openai

from fino1 import exits
from fino1.errors import SpecError, ToolError, first_line
from fino1.evaluate import reply
from fino1.evaluate.connections import Connections
from fino1.evaluate.counter import make_counter
from fino1.evaluate.loop import pause, wait
from fino1.evaluate.rates import Rates, Turn

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 60.0
LONGEST_RETRY_AFTER_S = 600.0  # a server that asks for more is treated as if it asked for this
ADAPTABLE = frozenset({"max_tokens", "temperature", "seed"})
RETRIED = frozenset({408, 409, 425, 429})  # and all from 500 on
# What httpx raises where nothing was sent: such a request cannot have been charged.
NOT_SENT = frozenset({"ConnectError", "ConnectTimeout", "LocalProtocolError", "PoolTimeout", "ProxyError"})
# Characters; keys of servers that want none (`EMPTY`, `none`) are shorter, and may occur in answers.
SHORTEST_SECRET = 8
_LOOK_S = 1.0  # between two tries to take a turn: an answer may have left room
_estimate = make_counter(None)


class EndpointLost(ToolError):
    """An endpoint or a model server did not answer after all retries: worth another attempt of the run."""

    exit_code = exits.ENDPOINT_LOST


class Cancelled(Exception):
    """The request was given up because the run ends."""


@dataclass(frozen=True)
class Answer:
    """The reply to one prompt; token counts are None where the endpoint gave none.

    `model` is the name of the model that answered, as a hosted endpoint gives it (`gpt-4o-2024-08-06` for `gpt-4o`);
    `unanswered` counts the attempts before that were sent and not answered, which the endpoint may have charged.
    """

    text: str
    finish_reason: str | None
    prompt_tokens: int | None
    completion_tokens: int | None
    seconds: float
    model: str | None = None
    reasoning: str | None = None
    unanswered: int = 0


async def _do_nothing() -> None:
    pass


class Endpoint:
    """One model behind one base URL. Its coroutines run on the loop of loop.py."""

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        api_key: str | None = None,
        timeout_s: float = 600.0,
        max_retries: int = 5,
        extra_body: Mapping[str, Any] | None = None,
        rates: Rates | None = None,
        is_local: bool = False,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        """`check` is called after a failed attempt and raises where another is pointless (the server that we started ended).

        The client is always given a key, since it would otherwise send OPENAI_API_KEY to any `base_url`. With `is_local`
        (a server of this run) the proxies of the environment are not used.
        """
        self.base_url, self.model = base_url, model
        self._max_retries, self._check, self._is_local = max_retries, check, is_local
        self._extra_body, self._rates = dict(extra_body or {}), rates or Rates()
        self._secret = api_key if api_key and len(api_key) >= SHORTEST_SECRET else None
        self._opens_at = 0.0  # time.monotonic() before which nothing is sent
        self._has_answered = False
        self.unsupported: list[str] = []  # parameters that the model refused: left out, or renamed
        try:
            client = openai.AsyncOpenAI(
                base_url=base_url,
                api_key=api_key or "none",
                timeout=timeout_s,
                max_retries=0,
                http_client=openai.DefaultAsyncHttpxClient(trust_env=False) if is_local else None,
            )
        except Exception as error:  # noqa: BLE001, of a proxy: a SOCKS one needs `socksio`, others are no URL
            wanted = "a usable proxy in HTTP_PROXY, HTTPS_PROXY and ALL_PROXY"
            raise SpecError(f"{self._name}: expected {wanted}, got {first_line(error)}") from error
        self._connections = Connections(client, is_local)

    async def ask(
        self,
        prompt: str,
        max_tokens: int,
        temperature: float,
        halt: threading.Event,
        *,
        seed: int | None = None,
        label: str | None = None,
        on_unanswered: Callable[[], Awaitable[None]] = _do_nothing,
    ) -> Answer:
        """Ask the model. `label` identifies the request among those of all runs, for the Idempotency-Key.

        `on_unanswered` is called after each attempt that was sent and not answered; what it raises ends the request. Raises
        SpecError for what trying again cannot mend (key, model, prompt too long, bodies that never were a chat completion),
        EndpointLost after the last retry, Cancelled when `halt` is set during a pause.
        """
        attempt, lost, adapted = 0, 0, set[str]()
        wanted = {"max_tokens": max_tokens, "temperature": temperature} | ({} if seed is None else {"seed": seed})
        while True:
            try:
                answer = await self._send_in_turn(prompt, wanted, label, halt)
                return dataclasses.replace(answer, unanswered=lost) if lost else answer
            except openai.APIStatusError as error:
                if self._adapt(error, wanted.keys() - adapted, adapted):
                    continue
                if _is_filtered(error):
                    return Answer("", "content_filter", None, None, 0.0, unanswered=lost)
                self._refuse(error)
                problem: Exception = error
            except (openai.APIConnectionError, openai.APIResponseValidationError, reply.NoCompletion) as error:
                problem = error
            except (ValueError, RecursionError) as error:
                problem = reply.NoCompletion(f"a body that is no JSON: {error}")
            self._check()
            attempt += 1
            if _may_be_charged(problem):
                lost += 1
                await on_unanswered()
            if attempt > self._max_retries:
                self._give_up(problem, attempt)
            if await pause(self._choose_pause(problem, attempt), halt):
                raise Cancelled from problem

    def _give_up(self, problem: Exception, attempts: int) -> None:
        said = self._describe(problem)
        if isinstance(problem, reply.NoCompletion) and not self._has_answered:
            wanted = "a base_url that answers with chat completions (as a rule it ends in /v1)"
            raise SpecError(f"{self._name}: expected {wanted}, got {attempts} times {said}") from problem
        raise EndpointLost(f"{self._name}: no answer after {attempts} attempts: {said}") from problem

    def close(self) -> None:
        """Close the connections."""
        wait(self._connections.close())

    async def _send_in_turn(
        self, prompt: str, wanted: Mapping[str, Any], label: str | None, halt: threading.Event
    ) -> Answer:
        """Send once the pause that the endpoint asked for is over and its rates allow it. Raises Cancelled on `halt`."""
        turn = Turn(_estimate(prompt) + wanted["max_tokens"])
        while (left := self._opens_at - time.monotonic()) > 0 or (left := self._rates.take(turn, time.monotonic())) > 0:
            if await pause(min(left, _LOOK_S), halt):
                raise Cancelled
        answer = await self._send(prompt, wanted, label)
        if answer.prompt_tokens is not None and answer.completion_tokens is not None:
            turn.tokens = answer.prompt_tokens + answer.completion_tokens
        return answer

    def _choose_pause(self, problem: Exception, attempt: int) -> float:
        """Choose how many seconds this request waits. A 429, or a Retry-After, makes all requests wait."""
        own = _compute_backoff(attempt)
        if isinstance(problem, openai.APIStatusError):
            asked = reply.read_retry_after(problem.response.headers, LONGEST_RETRY_AFTER_S)
            own = max(asked or 0.0, own)
            if asked is not None or problem.status_code == 429:
                wanted = own if asked is None else asked
                self._opens_at = max(self._opens_at, time.monotonic() + wanted)
        return own

    async def _send(self, prompt: str, wanted: Mapping[str, Any], label: str | None) -> Answer:
        limit = "max_completion_tokens" if "max_tokens" in self.unsupported else "max_tokens"
        options = {limit: wanted["max_tokens"]}
        options |= {key: value for key, value in wanted.items() if key not in (*self.unsupported, "max_tokens")}
        message = {"role": "user", "content": prompt}
        body = json.dumps({"model": self.model, "messages": [message], **options, **self._extra_body}).encode()
        # Of the body too: a key is never used for two requests.
        headers = {} if label is None or self._is_local else {"Idempotency-Key": identify(label, body)}
        start = time.monotonic()
        completion = await self._connections.post(body, headers)
        seconds = time.monotonic() - start
        found = reply.read(completion)
        self._has_answered = True
        found |= {key: self._redact(found[key]) for key in ("text", "reasoning") if found[key]}
        found |= {"model": None} if self._is_local else {}
        return Answer(**found, seconds=seconds)

    def _adapt(self, error: openai.APIStatusError, left: Set[str], adapted: set[str]) -> bool:
        """Leave out, or rename, a parameter of `left` that the model refused. Returns True if the request is to go again."""
        refused = str(error.param) if error.code in ("unsupported_parameter", "unsupported_value") else ""
        if "seed" in left and error.status_code in (400, 422) and "seed" in error.response.text:
            refused = "seed"
        if refused not in ADAPTABLE & left:
            return False
        adapted.add(refused)
        self.unsupported += [] if refused in self.unsupported else [refused]
        return True

    def _refuse(self, error: openai.APIStatusError) -> None:
        """Raise SpecError for a status that another attempt cannot change."""
        status = error.status_code
        if (status in RETRIED or status >= 500) and error.code != "insufficient_quota":
            return
        expected = {
            400: "a request it can answer",
            401: "a valid API key (api_key_env)",
            402: "an account with credit",
            403: "permission for this model (api_key_env)",
            404: f"a base_url ending in /v1 and a model named {self.model!r} (model_id)",
            429: "an account with quota left",
        }.get(status, "a request it can answer")
        said = self._describe(error)
        if _is_too_long(error.code, said):
            expected = "a prompt that fits its context (set context_length)"
        raise SpecError(f"{self._name}: expected {expected}, got {said}") from error

    @property
    def _name(self) -> str:
        return f"{self.base_url} ({self.model})"

    def _describe(self, error: Exception) -> str:
        """Return what the endpoint said, in one line, without the key."""
        text = " ".join(self._redact(_read_message(error)).split())
        return text if len(text) <= 300 else text[:297] + "..."

    def _redact(self, text: str) -> str:
        """Return the text without the key, which some servers quote."""
        return text.replace(self._secret, "<key>") if self._secret else text


def _is_too_long(code: str | None, said: str) -> bool:
    """True if the prompt was longer than the model's context, by OpenAI's code or the words of vLLM and others."""
    text = said.lower()
    return code == "context_length_exceeded" or "maximum context length" in text or "too long" in text


def _may_be_charged(error: Exception) -> bool:
    """True if the request was sent and not refused: the model may have answered, and the answer was lost."""
    return not isinstance(error, openai.APIStatusError) and type(error.__cause__).__name__ not in NOT_SENT


def _is_filtered(error: openai.APIStatusError) -> bool:
    """True if a content filter stopped the prompt: that counts as an answer of this model, an unparsed one."""
    return error.status_code == 400 and error.code in ("content_filter", "content_policy_violation")


def _read_message(error: Exception) -> str:
    if isinstance(error, openai.APIStatusError):
        message = error.body.get("message") if isinstance(error.body, dict) else None
        return f"{error.status_code}: {message or error.response.text}"  # some servers say `detail` or plain text
    if isinstance(error, openai.APIConnectionError) and error.__cause__:
        return f"{error} ({error.__cause__})"
    return str(error)


def _compute_backoff(attempt: int) -> float:
    """Compute the seconds before attempt `attempt` + 1: doubling, with jitter so that requests do not come back at once."""
    return min(FIRST_PAUSE_S * 2 ** (attempt - 1), LONGEST_PAUSE_S) * random.uniform(0.75, 1.25)  # noqa: S311


def identify(label: str, body: bytes) -> str:
    """Return a request's Idempotency-Key."""
    return hashlib.sha256(b"%b\n%b" % (label.encode(), body)).hexdigest()
