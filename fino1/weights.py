"""Are the weights in a model's folder whole? By the headers of its safetensors files; no weight is read, and no torch loaded.

A file is 8 bytes (the header's length, little-endian), a JSON header (tensor → dtype, shape, place in the data), and the data.
"""

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fino1.errors import SpecError

_POINTER = b"version https://git-lfs.github.com/spec/"
_INDEX, _SINGLE, _ADAPTER = "model.safetensors.index.json", "model.safetensors", "adapter_config.json"


@dataclass(frozen=True)
class Tensor:
    """A tensor as its file's header describes it: `dtype` in safetensors' words (F32, BF16, I8, …)."""

    dtype: str
    shape: list[int]


def read_headers(folder: Path) -> dict[str, Tensor]:
    """Read what tensors a folder's safetensors files hold, by name; {} where it has none.

    Raises SpecError, naming the file, for a Git LFS pointer, a file that is cut off or empty, and a shard that is not there.
    """
    found: dict[str, Tensor] = {}
    for path in _find_files(folder):
        if is_pointer(path):
            raise SpecError(f"{path}: expected weights, got a Git LFS pointer; run `git lfs pull` in its repository")
        header, size = _read_header(path)
        try:
            tensors = {name: about for name, about in header.items() if name != "__metadata__"}
            found |= {name: Tensor(about["dtype"], list(about["shape"])) for name, about in tensors.items()}
            end = size + max((about["data_offsets"][1] for about in tensors.values()), default=0)
        except (KeyError, TypeError, IndexError) as error:
            raise SpecError(f"{path}: expected weights, got a header that is not of safetensors") from error
        if path.stat().st_size != end:
            raise SpecError(f"{path}: expected {end} bytes of weights, got {path.stat().st_size}")
    return found


def check_no_adapter(folder: Path) -> None:
    """Raise SpecError for PEFT's adapter, whose base model Transformers would load in place of the folder's own."""
    if (folder / _ADAPTER).is_file():
        got = f"an adapter ({_ADAPTER}); merge it into its base model"
        raise SpecError(f"{folder}: expected a whole model, got {got}")


def is_pointer(path: Path) -> bool:
    """True for a file that Git LFS has left in place of the real one."""
    with path.open("rb") as file:
        return file.read(len(_POINTER)) == _POINTER


def _find_files(folder: Path) -> list[Path]:
    """Files that Transformers reads: the one, or the shards that the index names."""
    if (folder / _SINGLE).is_file():
        return [folder / _SINGLE]
    index = folder / _INDEX
    if not index.is_file():
        return []
    try:
        shards = sorted({str(shard) for shard in json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        got = "a Git LFS pointer; run `git lfs pull` in its repository" if is_pointer(index) else "another document"
        raise SpecError(f"{index}: expected the map of weights to files, got {got}") from error
    missing = [shard for shard in shards if not (folder / shard).is_file()]
    if missing:
        raise SpecError(f"{folder}: expected {', '.join(missing)}, which {_INDEX} names, got none")
    return [folder / shard for shard in shards]


def _read_header(path: Path) -> tuple[dict[str, Any], int]:
    """The header, and the bytes before the data."""
    size = path.stat().st_size
    with path.open("rb") as file:
        first = file.read(8)
        length = struct.unpack("<Q", first)[0] if len(first) == 8 else 0
        if not 2 <= length <= size - 8:
            got = "an empty file" if size == 0 else f"a file of {size} bytes that is cut off or no safetensors file"
            raise SpecError(f"{path}: expected weights, got {got}")
        try:
            header = json.loads(file.read(length))
        except ValueError as error:
            raise SpecError(f"{path}: expected weights, got a file whose header is no JSON") from error
    if not isinstance(header, dict):
        raise SpecError(f"{path}: expected weights, got a header that is not of safetensors")
    return header, 8 + length
