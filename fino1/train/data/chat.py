"""How does a user message with its answer become text, in the model's own chat template?

Two habits of templates would teach another answer than the row's. Some drop what stands before `</think>` in an answer
(DeepSeek-R1's, to keep earlier turns short). Some open a thinking block where the answer begins and none in the conversation
(`<think>` behind R1's `<｜Assistant｜>`): it is closed, empty, before the answer, as Qwen3's own template does it.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from transformers import PreTrainedTokenizerBase

from fino1.errors import SpecError, first_line

_MARK = "fino1-answer"
_OPENED = re.compile(r"<([\w|]*\w[\w|]*)>\s*\Z")


@dataclass(frozen=True)
class Chat:
    """A tokenizer and the variables of its chat template (`model.chat_template_kwargs`)."""

    tokenizer: PreTrainedTokenizerBase
    variables: Mapping[str, Any] = field(default_factory=dict)

    def prompt(self, text: str) -> str:
        """The user message `text` up to where the answer starts."""
        return self._render([{"role": "user", "content": text}], add_generation_prompt=True)

    def prompt_ids(self, text: str) -> list[int]:
        """Token ids of the prompt."""
        return self.tokenizer.encode(self.prompt(text), add_special_tokens=False)

    def answer(self, text: str, completion: str) -> str:
        """What follows the prompt in a conversation of `text` and `completion`, whose whole text is in it.

        Raises SpecError where the template's conversation does not begin with its own prompt, or leaves answers out.
        """
        prompt, whole = self.prompt(text), self._conversation(text, completion)
        if whole.startswith(prompt):
            return whole[len(prompt) :]
        opened = _OPENED.search(prompt)
        if opened and whole.startswith(before := prompt[: opened.start()]):
            return f"\n</{opened[1]}>\n\n{whole[len(before) :]}"
        raise self._mistake(
            "a chat template whose conversation begins with its generation prompt",
            "another; put one that does into the model's folder (chat_template.jinja)",
        )

    def completion_ids(self, text: str, completion: str, end_tokens: Sequence[int]) -> list[int]:
        """Token ids of an answer to the user message `text`, up to the token that ends its turn.

        That is the one of `end_tokens` that the template writes, or the tokenizer's end of sequence where it writes none.
        Raises SpecError as `answer`, and where the answer itself spells an end.
        """
        ids = self.tokenizer.encode(self.answer(text, completion), add_special_tokens=False)
        ends = [place for place, token in enumerate(ids) if token in end_tokens]
        if not ends:
            return [*ids, self.tokenizer.eos_token_id]
        after = [token for token in ids[ends[0] :] if token not in end_tokens]
        if self.tokenizer.decode(after).strip():
            spelt = self.tokenizer.decode([ids[ends[0]]])
            raise SpecError(f"expected an answer without the end-of-sequence token {spelt}, got one with it")
        return ids[: ends[0] + 1]

    def check(self) -> None:
        """Raise SpecError for a chat template that does not render one user message."""
        templates = self.tokenizer.chat_template
        if isinstance(templates, dict) and "default" not in templates:
            raise self._mistake("a chat template named default", ", ".join(sorted(templates)))
        try:
            self.prompt("How much?")
        except Exception as error:  # noqa: BLE001, a template may fail with anything
            raise self._mistake("a chat template for one user message", first_line(error)) from error

    def _mistake(self, expected: str, got: str) -> SpecError:
        return SpecError(f"model: {self.tokenizer.name_or_path}: expected {expected}, got {got}")

    def _conversation(self, text: str, completion: str) -> str:
        """The user message and the answer, whole: where the template drops some of it, it is put where a short one stands."""
        whole = self._with_answer(text, completion)
        if "".join(completion.split()) in "".join(whole.split()):
            return whole
        marked = self._with_answer(text, _MARK)
        if _MARK not in marked:
            raise self._mistake("a chat template that writes the assistant's message", "one that leaves it out")
        return marked.replace(_MARK, completion)

    def _with_answer(self, text: str, completion: str) -> str:
        return self._render([{"role": "user", "content": text}, {"role": "assistant", "content": completion}])

    def _render(self, messages: list[dict[str, str]], **options: Any) -> str:
        return self.tokenizer.apply_chat_template(messages, **{**self.variables, **options, "tokenize": False})
