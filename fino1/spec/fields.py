"""Which kinds of value does a run file hold? Numbers however they are written, names, quantities; the base of all blocks."""

import math
import re
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from fino1.spec.canonical import dumps

NUMERIC = r"^[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?$"
"""A string that is read as a number: what `helm --set` makes of one, and PyYAML of `5e-7` (docs/design.md C1)."""


def number(value: Any) -> float | int:
    """Read a number or a numeric string. Pydantic alone would also take true, "nan" and "1_000"; no schema does."""
    if isinstance(value, str) and re.fullmatch(NUMERIC, value):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise PydanticCustomError("number", "a number")
    if abs(value) > 1.7976931348623157e308 or math.isnan(value):
        raise PydanticCustomError("number", "a finite number")
    return value


def integer(value: Any) -> int:
    """Read an integer, however it is written (`3.0`, `"1e3"`): Helm has float64 only, which is exact up to 2^53."""
    found = number(value)
    if found != int(found):
        raise PydanticCustomError("integer", "an integer")
    if abs(found) > 2**53:
        raise PydanticCustomError("integer", "an integer of at most 2^53")
    return int(found)


def quantity(value: Any) -> Any:
    """Read a bare number as a quantity."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return dumps(value) if is_number and math.isfinite(value) else value


Fraction = Annotated[float, Field(ge=0, le=1), BeforeValidator(number)]
Positive = Annotated[float, Field(gt=0), BeforeValidator(number)]
NonNegative = Annotated[float, Field(ge=0), BeforeValidator(number)]
Count = Annotated[int, Field(ge=1), BeforeValidator(integer)]
CountOrZero = Annotated[int, Field(ge=0), BeforeValidator(integer)]
TwoOrMore = Annotated[int, Field(ge=2), BeforeValidator(integer)]
Text = Annotated[str, Field(min_length=1)]
Fold = Annotated[str, Field(pattern=r"^[1-9][0-9]{0,3}/[1-9][0-9]{0,3}$")]
NAME = r"[a-z0-9]([-.a-z0-9]{0,32}[a-z0-9])?"  # with the hash 45 characters (docs/design.md C3)
Name = Annotated[str, Field(pattern=f"^{NAME}$")]
RunName = Annotated[str, Field(pattern=r"^[a-z0-9]([-.a-z0-9]{0,54}[a-z0-9])?$")]  # NAME or NAME-HASH
EnvName = Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]*$")]
ObjectName = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")]  # RFC 1123 label
LabelKey = Annotated[str, Field(pattern=r"^([a-z0-9][-.a-z0-9]*/)?[A-Za-z0-9]([-_.A-Za-z0-9]{0,61}[A-Za-z0-9])?$")]
LabelValue = Annotated[str, Field(pattern=r"^([A-Za-z0-9]([-_.A-Za-z0-9]{0,61}[A-Za-z0-9])?)?$")]
Quantity = Annotated[
    str,
    Field(pattern=r"^[0-9]+(\.[0-9]+)?([numkMGTPE]|[KMGTPE]i)?$"),
    BeforeValidator(quantity),
]
"""A Kubernetes quantity (`500m`, `64Gi`); a bare number is read as one."""


ADDED = Field(json_schema_extra={"added": True})
"""Marks a key that came after version 0.1: `key: Annotated[TYPE, ADDED] = DEFAULT`. Its default must mean what was done before
there was the key; while it has that value it is left out of config.json and of both hashes, so that names last."""


class Block(BaseModel):
    """Base of all blocks: unknown keys are refused, values do not change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def given(self) -> dict[str, Any]:
        """The block as plain data, without nulls and without added keys that have their default."""
        fields = type(self).model_fields
        return {
            key: _given(value) for key, value in self if value is not None and not _is_as_before(fields[key], value)
        }


def _given(value: Any) -> Any:
    if isinstance(value, Block):
        return value.given()
    if isinstance(value, dict):
        return {key: _given(item) for key, item in value.items()}
    return [_given(item) for item in value] if isinstance(value, list) else value


def _is_as_before(field: FieldInfo, value: Any) -> bool:
    extra = field.json_schema_extra
    return isinstance(extra, dict) and "added" in extra and value == field.default
