"""What are writer and judge asked? The templates beside this file; in `short/` those that differ in the short wording."""

import functools
from pathlib import Path
from typing import Literal

import jinja2

Name = Literal["initial", "rethink", "gold", "rewrite", "respond", "judge", "repair"]

Wording = Literal["full", "short"]


def render(name: Name, wording: Wording, **values: object) -> str:
    """Write the prompt of this name."""
    return _environment(wording).get_template(f"{name}.jinja").render(values)


@functools.cache
def _environment(wording: Wording) -> jinja2.Environment:
    here = Path(__file__).parent
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader([here / "short", here] if wording == "short" else here),
        undefined=jinja2.StrictUndefined,
        auto_reload=False,
        trim_blocks=True,
        lstrip_blocks=True,
    )
