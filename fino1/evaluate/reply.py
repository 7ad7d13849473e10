"""What does an endpoint's reply say? Any field of it may be missing, or of another type."""

import email.utils
import math
import time
from collections.abc import Mapping
from typing import Any


class NoCompletion(ValueError):
    """The endpoint answered with status 200 and what is no chat completion, such as HTML or an error."""


def read(reply: Any) -> dict[str, Any]:
    """Read text, reasoning, finish_reason, token counts and model of a reply; None where it has none. Raises NoCompletion."""
    choices = _only(list, _get(reply, "choices"))
    choice = choices[0] if choices else None
    message, usage = _only(dict, _get(choice, "message")), _get(reply, "usage")
    if message is None or not isinstance(message.get("content"), str | list | None):
        raise NoCompletion(f"no chat completion: {reply!s}")
    return {
        "text": _join(message.get("content")),
        "reasoning": _find_reasoning(message),
        "finish_reason": _only(str, _get(choice, "finish_reason")),
        "prompt_tokens": _count(_get(usage, "prompt_tokens")),
        "completion_tokens": _count(_get(usage, "completion_tokens")),
        "model": _only(str, _get(reply, "model")),
    }


def read_retry_after(headers: Mapping[str, str], longest_s: float) -> float | None:
    """Read for how many seconds the server asks to wait, `longest_s` at most; None where it does not.

    In milliseconds (OpenAI), seconds, or as a date (RFC 9110 §10.2.3).
    """
    if "retry-after-ms" in headers:
        text, unit = headers["retry-after-ms"], 1000.0
    elif "retry-after" in headers:
        text, unit = headers["retry-after"], 1.0
    else:
        return None
    try:
        seconds = float(text) / unit
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(text).timestamp() - time.time()
        except (ValueError, OverflowError):
            return None
    return None if math.isnan(seconds) else min(max(seconds, 0.0), longest_s)


def _join(content: Any) -> str:
    """The text of a message: all of it, or of its parts (`[{"type": "text", "text": …}]`) those that are text."""
    if not isinstance(content, list):
        return content or ""
    texts = [part if isinstance(part, str) else part.get("text") for part in content if isinstance(part, str | dict)]
    return "".join(text for text in texts if isinstance(text, str))


def _find_reasoning(message: Mapping[str, Any]) -> str | None:
    """What the model thought: `reasoning_content` of DeepSeek and transformers serve, `reasoning` of OpenRouter and vLLM."""
    texts = (_only(str, message.get(name)) for name in ("reasoning_content", "reasoning"))
    return next(filter(None, texts), None)


def _get(block: Any, name: str) -> Any:
    """The value of a field; None where it is missing, or the block is no object."""
    return block.get(name) if isinstance(block, dict) else None


def _count(value: Any) -> int | None:
    """A number of tokens; None for a negative one, which would give tokens back to a budget."""
    found = _only(int, value)
    return None if found is None or found < 0 else found


def _only(kind: type, value: Any) -> Any:
    """The value, None for one of another type."""
    return value if isinstance(value, kind) and not isinstance(value, bool) else None
