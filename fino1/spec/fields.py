"""Which kinds of value does a run file hold? Numbers however they are written, names, quantities; the base of all blocks."""

import math
import re
from decimal import Decimal
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


EXPECTED: dict[str, str] = {}
"""Pattern → what a message says was expected, of every text that has a pattern."""


def matching(pattern: str, expected: str, most: int | None = None) -> Any:
    """Field of a text of this pattern and at most so many characters. Helm's engine reads the pattern too: no look-ahead."""
    EXPECTED[pattern] = expected
    return Field(pattern=pattern, max_length=most)


Fraction = Annotated[float, Field(ge=0, le=1), BeforeValidator(number)]
Positive = Annotated[float, Field(gt=0), BeforeValidator(number)]
NonNegative = Annotated[float, Field(ge=0), BeforeValidator(number)]
Count = Annotated[int, Field(ge=1), BeforeValidator(integer)]
CountOrZero = Annotated[int, Field(ge=0), BeforeValidator(integer)]
Int32OrZero = Annotated[int, Field(ge=0, le=2**31 - 1), BeforeValidator(integer)]
"""As much as Kubernetes' 32-bit fields hold."""
TwoOrMore = Annotated[int, Field(ge=2), BeforeValidator(integer)]
Text = Annotated[str, Field(min_length=1)]
Fold = Annotated[str, matching(r"^[1-9][0-9]{0,3}/[1-9][0-9]{0,3}$", "a part such as 1/5")]
NAME = r"[a-z0-9]([-.a-z0-9]{0,32}[a-z0-9])?"  # with the hash 45 characters (docs/design.md C3)
_NAMED = "a short name of lower-case letters, digits, - and ."
Name = Annotated[str, matching(f"^{NAME}$", _NAMED)]
RunName = Annotated[str, matching(r"^[a-z0-9]([-.a-z0-9]{0,54}[a-z0-9])?$", _NAMED)]  # NAME or NAME-HASH

# Kubernetes' own rules (apimachinery's util/validation, core's validation); of images those of distribution/reference, by which
# the kubelet reads their names.
_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_QUALIFIED = r"[A-Za-z0-9]([-_.A-Za-z0-9]{0,61}[A-Za-z0-9])?"
_OBJECT = (
    rf"^{_SUBDOMAIN}$",
    "a name of lower-case letters, digits, - and ., each part between dots with a letter or digit at its ends",
)
ObjectName = Annotated[str, matching(*_OBJECT, most=253)]
"""A DNS-1123 subdomain: Secrets, claims, ServiceAccounts, PriorityClasses, StorageClasses."""
QueueName = Annotated[str, matching(*_OBJECT, most=63)]
"""The same as a label's value, which is how Kueue's objects are named."""
EnvName = Annotated[
    str,
    matching(
        r"^([-_a-zA-Z]|\.[-_a-zA-Z0-9])[-._a-zA-Z0-9]*$",
        "a variable's name of letters, digits, _, - and ., which starts with no digit",
    ),
]
SecretDataKey = Annotated[
    str, matching(r"^\.?[-_a-zA-Z0-9][-._a-zA-Z0-9]*$", "a Secret's key of letters, digits, -, _ and .", most=253)
]
LabelKey = Annotated[str, matching(rf"^({_SUBDOMAIN}/)?{_QUALIFIED}$", "a label's key such as nvidia.com/gpu.product")]
LabelValue = Annotated[
    str,
    matching(
        r"^([A-Za-z0-9]([-_.A-Za-z0-9]{0,61}[A-Za-z0-9])?)?$",
        "a label's value: at most 63 letters, digits, -, _ and ., with a letter or digit at both ends",
    ),
]
AnnotationKey = Annotated[
    str,
    matching(
        rf"^({_SUBDOMAIN.replace('a-z', 'A-Za-z')}/)?{_QUALIFIED}$", "an annotation's key such as example.com/note"
    ),
]
DeviceName = Annotated[
    str, matching(rf"^{_SUBDOMAIN}/{_QUALIFIED}$", "a device with its domain, such as nvidia.com/gpu")
]
ResourceName = Annotated[
    str,
    matching(
        rf"^(cpu|memory|ephemeral-storage|hugepages-[1-9][0-9]*[KMGT]i|{_SUBDOMAIN}/{_QUALIFIED})$",
        "cpu, memory, ephemeral-storage, hugepages-2Mi or a device with its domain, such as nvidia.com/gpu",
    ),
]

_HOST_PART = r"[A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?"
_HOST = rf"({_HOST_PART}(\.{_HOST_PART})*:[0-9]+|{_HOST_PART}(\.{_HOST_PART})+|\[[0-9a-fA-F:]+\](:[0-9]+)?)"
_FOLDER = r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*"
_TAG = r"[A-Za-z0-9_][-.A-Za-z0-9_]{0,127}"
_DIGEST = r"sha256:[0-9a-f]{64}"
_IMAGE = rf"({_HOST}/)?{_FOLDER}(/{_FOLDER})*(:{_TAG})?"
Repository = Annotated[
    str,
    matching(rf"^{_IMAGE}$", "an image's name in lower case, without digest, such as registry.example.com:5000/train"),
]
Image = Annotated[
    str,
    matching(
        rf"^{_IMAGE}(@{_DIGEST})?$", "an image such as vllm/vllm-openai:v0.29.0, or NAME@sha256: and 64 hex digits"
    ),
]
Tag = Annotated[str, matching(rf"^{_TAG}$", "a tag of at most 128 letters, digits, -, _ and .")]
Digest = Annotated[str, matching(f"^{_DIGEST}$", "sha256: and 64 hex digits")]

_USER = r"([-._~%!$&'()*+,;=:A-Za-z0-9]*@)?"  # which fino1/evaluate/models.py refuses without showing it
_HOST_PORT = r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9]([-._A-Za-z0-9]*[A-Za-z0-9])?)(:[0-9]{1,5})?"
BaseUrl = Annotated[
    str,
    matching(
        rf"""^https?://{_USER}{_HOST_PORT}(/[!"$->@-~]*)?$""",
        "a URL such as https://api.example.com/v1, without ? and #",
    ),
]

StoreUrl = Annotated[
    str,
    matching(
        r"^[a-z][a-z0-9]*://[-._~@=+A-Za-z0-9]+(:[0-9]{1,5})?(/[-._~@=+/A-Za-z0-9]*)?$",
        "a URL such as s3://bucket/prefix, without user and password",
    ),
]

_DECIMAL = r"([0-9]+\.?[0-9]*|\.[0-9]+)"
_ABOVE_ONE = r"[kMGTPE]|[KMGTPE]i"
QUANTITY = rf"^\+?{_DECIMAL}([num]|{_ABOVE_ONE}|[eE][-+]?[0-9]{{1,2}})?$"
BYTES = rf"^\+?([0-9]+\.?0*|{_DECIMAL}({_ABOVE_ONE}|[eE]\+?[0-9]{{1,2}}))$"
Quantity = Annotated[str, matching(QUANTITY, "a quantity such as 16Gi"), BeforeValidator(quantity)]
"""A Kubernetes quantity (`500m`, `64Gi`); a bare number is read as one."""
Bytes = Annotated[str, matching(BYTES, "a quantity such as 16Gi"), BeforeValidator(quantity)]
"""One of bytes: no fraction of one, such as `400m`."""
_FACTORS = {
    suffix: Decimal(10) ** power for suffix, power in zip("numkMGTPE", (-9, -6, -3, 3, 6, 9, 12, 15, 18), strict=True)
}
_FACTORS |= {f"{suffix}i": Decimal(1024) ** (i + 1) for i, suffix in enumerate("KMGTPE")} | {"": Decimal(1)}


def amount(text: str) -> Decimal:
    """The number that a quantity stands for."""
    decimal = re.match(r"\+?[0-9.]+([eE][-+]?[0-9]+)?", text)[0]
    return Decimal(decimal) * _FACTORS[text.removeprefix(decimal)]


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
