"""What are writer and judge asked? The templates beside this file."""

import functools
from pathlib import Path
from typing import Literal

import jinja2

Name = Literal["initial", "rethink", "gold", "rewrite", "respond", "judge", "repair"]


def render(name: Name, **values: object) -> str:
    """Write the prompt of this name."""
    return _environment().get_template(f"{name}.jinja").render(values)


@functools.cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        undefined=jinja2.StrictUndefined,
        auto_reload=False,
        trim_blocks=True,
        lstrip_blocks=True,
    )
