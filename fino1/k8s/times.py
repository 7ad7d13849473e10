"""How are times read and written? RFC 3339 for programs; `5m`, `2h` and `3d` for people."""

import math
import re
from datetime import UTC, datetime, timedelta

from fino1.errors import SpecError

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_LONGEST_S = 1e9  # 31 years; the calendar ends with the year 1
_LENGTH = re.compile(r"(\d+(?:\.\d+)?)([smhd])")


def parse(text: str) -> datetime:
    """The moment of an RFC 3339 text, as Kubernetes writes it."""
    return datetime.fromisoformat(text).astimezone(UTC)


def now() -> datetime:
    """The moment, by this machine's clock."""
    return datetime.now(UTC)


def short(seconds: float) -> str:
    """A length of time for people, in at most two units: 45s, 12m, 3h5m, 4d2h."""
    left = max(int(seconds), 0)
    if left < 60:
        return f"{left}s"
    if left < 3600:
        return f"{left // 60}m"
    if left < 86400:
        return f"{left // 3600}h{left % 3600 // 60}m"
    return f"{left // 86400}d{left % 86400 // 3600}h"


def ago(text: str, at: datetime) -> str:
    """How long before `at` the moment `text` was, for people."""
    return short((at - parse(text)).total_seconds())


def length(text: str, key: str) -> timedelta:
    """The length of `90s`, `5m`, `2h` or `7d`. Raises SpecError in the name of the option `key`."""
    match = _LENGTH.fullmatch(text)
    seconds = float(match[1]) * _UNITS[match[2]] if match else math.inf
    if seconds > _LONGEST_S:
        raise SpecError(f"{key}: expected a time such as 90s, 5m, 2h or 7d, got {text!r}")
    return timedelta(seconds=seconds)


def since(text: str, key: str) -> datetime:
    """The moment that an option means: a length of time ago, or RFC 3339 (without a zone: UTC). Raises SpecError."""
    if _LENGTH.fullmatch(text):
        return now() - length(text, key)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise SpecError(f"{key}: expected seconds ago (90s, 5m, 2h) or RFC 3339, got {text!r}") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
