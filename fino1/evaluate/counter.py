"""How many tokens does a model read for a user message?

Counted with the model's own tokenizer and chat template, by the `tokenizers` package: the evaluation's image has no
transformers, and every image must cut a document at the same word. The template's environment is that of
transformers/utils/chat_template_utils.py.
"""

import functools
import importlib.util
import json
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.parser
import jinja2.sandbox

from fino1 import hub
from fino1.errors import SpecError, first_line
from fino1.hub import Location

Counter = Callable[[str], int]
Way = Literal["tokenizers", "transformers", "estimate"]
CHARACTERS_PER_TOKEN = 3.0  # prose has 4, tables of numbers 2–3; used only where there is no tokenizer to ask


def choose_way(model: Location | None) -> Way:
    """Choose how this model's tokens are counted, by what is installed here."""
    if model is None:
        return "estimate"
    if _is_importable("tokenizers") and hub.find(model, "tokenizer.json"):
        return "tokenizers"
    return "transformers" if _is_importable("transformers") else "estimate"


def make_counter(model: Location | None, variables: Mapping[str, Any] | None = None) -> Counter:
    """Return a function that counts a prompt's tokens, with these variables of the chat template (`chat_template_kwargs`).

    Raises SpecError for a tokenizer or chat template that cannot be read. Without a tokenizer the count is an
    estimate; a prompt that is too long in spite of it is refused by the endpoint.
    """
    match choose_way(model):
        case "tokenizers":
            assert model is not None
            return _load_tokenizers(model, variables or {})
        case "transformers":
            assert model is not None
            return _load_transformers(model, variables or {})
        case "estimate":
            return lambda prompt: int(len(prompt) / CHARACTERS_PER_TOKEN) + 1


def _is_importable(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def _load_tokenizers(model: Location, variables: Mapping[str, Any]) -> Counter:
    path = hub.find(model, "tokenizer.json")
    assert path is not None, model
    tokenizer = hub.load_tokenizer(path)
    about = hub.read(model, "tokenizer_config.json")
    template = _load_template(model, about)
    special = _read_special_tokens(hub.read(model, "special_tokens_map.json") | about)

    def count(prompt: str) -> int:
        try:
            text = template.render(
                {
                    **special,
                    **variables,
                    "messages": [{"role": "user", "content": prompt}],
                    "tools": None,
                    "documents": None,
                    "add_generation_prompt": True,
                }
            )
        except Exception as error:  # noqa: BLE001, a template may fail with anything
            raise SpecError(
                f"{model[0]}: expected a chat template for one user message, got {first_line(error)}"
            ) from error
        return len(tokenizer.encode(text, add_special_tokens=False).ids)

    return count


def _load_transformers(model: Location, variables: Mapping[str, Any]) -> Counter:
    """Count with transformers: tokenizers of other formats (`tokenizer.model`)."""
    from transformers import AutoTokenizer

    where, revision = model
    try:
        tokenizer = AutoTokenizer.from_pretrained(where, **({"revision": revision} if revision else {}))
    except Exception as error:  # noqa: BLE001, as above
        raise SpecError(f"{where}: expected a tokenizer, got {first_line(error)}") from error
    if not tokenizer.chat_template:
        raise SpecError(f"{where}: expected a tokenizer with a chat template, got none")

    def count(prompt: str) -> int:
        message = [{"role": "user", "content": prompt}]
        options = {**variables, "add_generation_prompt": True, "tokenize": True, "return_dict": True}
        try:
            tokens = tokenizer.apply_chat_template(message, **options)
        except Exception as error:  # noqa: BLE001, as above
            raise SpecError(
                f"{where}: expected a chat template for one user message, got {first_line(error)}"
            ) from error
        return len(tokens["input_ids"])

    return count


def _load_template(model: Location, about: dict[str, Any]) -> jinja2.Template:
    """Compile the model's chat template; of several the one that is named `default`."""
    path = hub.find(model, "chat_template.jinja")
    text = path.read_text(encoding="utf-8") if path else about.get("chat_template")
    if isinstance(text, list):
        named = {each["name"]: each["template"] for each in text}
        text = named.get("default")
        if not text:
            raise SpecError(f"{model[0]}: expected a chat template named default, got {', '.join(sorted(named))}")
    if not text:
        raise SpecError(f"{model[0]}: expected a tokenizer with a chat template, got none")
    try:
        return _make_environment().from_string(text)
    except (jinja2.TemplateError, TypeError) as error:
        raise SpecError(f"{model[0]}: expected a chat template, got {first_line(error)}") from error


def _read_special_tokens(about: dict[str, Any]) -> dict[str, str]:
    """Return the tokens that templates name (`bos_token`): in the file they are text, or a map with their `content`."""
    found = {key: value for key, value in about.items() if key.endswith("_token")}
    texts = {key: value.get("content") if isinstance(value, dict) else value for key, value in found.items()}
    return {key: text for key, text in texts.items() if isinstance(text, str)}


@functools.cache
def _make_environment() -> jinja2.sandbox.ImmutableSandboxedEnvironment:
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, jinja2.ext.loopcontrols]
    )
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = time.strftime
    return environment


class _Generation(jinja2.ext.Extension):
    """Ignores `{% generation %}`, which marks an assistant's words for training."""

    tags = {"generation"}

    def parse(self, parser: jinja2.parser.Parser) -> list[jinja2.nodes.Node]:
        """Read the block as if its marks were not there."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise(message: str) -> None:
    raise jinja2.TemplateError(message)
