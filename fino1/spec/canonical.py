"""Which bytes stand for a document? (docs/design.md C3)

The bytes are what Helm's `toJson` prints (Go's encoding/json, Go 1.22 or later): keys sorted by their UTF-8 bytes, no
spaces, `<`, `>`, `&`, U+2028 and U+2029 escaped but nothing else beyond ASCII, and every number a float64 in its
shortest form: plain from 1e-6 up to below 1e21, outside of that with an exponent of no leading zeros.
"""

import hashlib
import json
from decimal import Decimal
from typing import Any

_ESCAPES = str.maketrans({c: f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"})


def dumps(document: Any) -> str:
    """The text that Helm's `toJson` prints for this document. Raises ValueError for NaN and infinities."""
    if isinstance(document, dict):
        pairs = sorted(document.items(), key=lambda item: item[0].encode())
        return "{" + ",".join(f"{_string(key)}:{dumps(value)}" for key, value in pairs) + "}"
    if isinstance(document, list | tuple):
        return "[" + ",".join(map(dumps, document)) + "]"
    if isinstance(document, str):
        return _string(document)
    if isinstance(document, bool) or document is None:
        return json.dumps(document)
    if isinstance(document, int | float):
        return _number(float(document))
    raise TypeError(f"a document cannot hold {document!r}")


def digest(document: Any) -> str:
    """SHA-256 of the canonical bytes, in hex."""
    return hashlib.sha256(dumps(document).encode()).hexdigest()


def _string(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).translate(_ESCAPES)


def _number(value: float) -> str:
    if value != value or value in (float("inf"), float("-inf")):
        raise ValueError(f"a document cannot hold {value}")
    if value == 0:
        return "-0" if str(value).startswith("-") else "0"
    decimal = Decimal(repr(value)).normalize()
    if 1e-6 <= abs(value) < 1e21:
        return f"{decimal:f}"
    return f"{decimal:e}"
