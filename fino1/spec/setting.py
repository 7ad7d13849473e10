"""What do KEY and VALUE of `--set KEY=VALUE` mean, read as Helm reads them?"""

import json
import re
from typing import Any


def keys_of(path: str) -> list[str]:
    r"""The keys of a path. A dot of a key's own is written `\.`, as in `nodeSelector.nvidia\.com/gpu\.product`."""
    return [re.sub(r"\\(.)", r"\1", key) for key in re.split(r"(?<!\\)\.", path)]


def value_of(text: str) -> Any:
    """JSON where it parses as JSON, else text; so are numbers but integers of 64 bits: an image's tag 1.20 is not 1.2.

    A key that takes numbers reads them from text too (fields.number).
    """
    try:
        value = json.loads(text)
    except ValueError:
        return text
    is_text = isinstance(value, float) or (isinstance(value, int) and abs(value) >= 2**63)
    return text if is_text else value
