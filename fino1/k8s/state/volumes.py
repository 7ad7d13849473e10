"""Which StorageClass do claims get that name none?"""

from collections.abc import Mapping
from typing import Any


def is_default_class(storage_class: Mapping[str, Any]) -> bool:
    """Whether claims that name no class get this one."""
    annotations = storage_class["metadata"].get("annotations") or {}
    return annotations.get("storageclass.kubernetes.io/is-default-class") == "true"
