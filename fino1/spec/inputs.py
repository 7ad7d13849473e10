"""Which models and which rows may a run file name?"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from fino1.spec.fields import (
    ADDED,
    Block,
    Count,
    CountOrZero,
    Fold,
    Fraction,
    Positive,
    RunName,
    Text,
    integer,
    matching,
)

Column = Literal["Question", "Complex_CoT", "Response", "Open-ended Verifiable Question", "Ground-True Answer", "label"]
TASK_IDS = (
    "finqa",
    "xbrl_math",
    "docmath_simplong",
    "docmath_complong",
    "docmath_simpshort",
    "docmath_compshort",
    "convfinqa",
    "tatqa",
    "docfinqa",
    "bizbench",
    "financereasoning",
    "xfinbench",
    "ledger",
)
"""The tasks that come with the package."""
TaskId = Annotated[
    str,
    matching(
        rf"^({'|'.join(TASK_IDS)}|.*\.ya?ml|.*\n[^\x00]*)$",
        f"one of {', '.join(TASK_IDS)}, or a task file such as ./my-task.yaml",
    ),
]

DEFAULT_MODEL = "meta-llama/Llama-3.1-8B-Instruct"
DEFAULT_VALUE_MODEL = "meta-llama/Llama-3.2-3B-Instruct"
DEFAULT_DATA = "TheFinAI/Fino1_Reasoning_Path_FinQA"  # 5,499 rows, CC-BY-4.0
RESERVED_VARIABLES = (
    "^(messages|conversation|chat_template|add_generation_prompt|continue_final_message|tokenize|padding|truncation|max_length"
    "|return_.*)$"
)
"""Variables of chat templates, and arguments of Transformers' `apply_chat_template`, that have one meaning already."""


class InitBlock(Block):
    """A small Llama with random weights; its tokenizer is trained on the run's own rows."""

    vocab_size: Annotated[int, Field(ge=261), BeforeValidator(integer)] = 512
    """Upper bound of the trained tokenizer's vocabulary, which starts with 256 bytes and 5 special tokens; a value model takes
    the policy's vocabulary instead."""
    hidden_size: Count = 128
    """Width; a multiple of `num_attention_heads`."""
    intermediate_size: Count = 384
    """Width of the feed-forward layers."""
    num_hidden_layers: Count = 3
    """Layers."""
    num_attention_heads: Count = 4
    """Query heads of a layer."""
    num_key_value_heads: Count = 4
    """Key and value heads of a layer; a divisor of the query heads."""
    max_position_embeddings: Count = 1024
    """Longest prompt and response together, in tokens."""
    initializer_range: Positive = 0.02
    """Standard deviation of the random weights."""

    @model_validator(mode="after")
    def _heads(self) -> "InitBlock":
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size: expected a multiple of num_attention_heads={self.num_attention_heads}, "
                f"got {self.hidden_size}"
            )
        if self.hidden_size // self.num_attention_heads % 2:
            raise ValueError(
                f"hidden_size: expected an even number for each of num_attention_heads={self.num_attention_heads}, "
                f"which rotary positions need, got {self.hidden_size}"
            )
        if self.num_attention_heads % self.num_key_value_heads:
            raise ValueError(
                f"num_key_value_heads: expected a divisor of num_attention_heads={self.num_attention_heads}, "
                f"got {self.num_key_value_heads}"
            )
        return self


class ModelRef(Block):
    """A model: at most one of `hub`, `path`, `run`, `init`; none means the default that the key's comment names."""

    hub: Text | None = None
    """Hugging Face hub id."""
    revision: Text | None = None
    """Commit, tag or branch of `hub`."""
    path: Text | None = None
    """Directory in Hugging Face layout."""
    run: RunName | None = None
    """Name of a finished run, or `NAME-HASH` for exactly one."""
    init: InitBlock | None = None
    """Random weights of this size."""

    @model_validator(mode="after")
    def _one(self) -> "ModelRef":
        given = [key for key in ("hub", "path", "run", "init") if getattr(self, key) is not None]
        if len(given) > 1:
            raise ValueError(f"expected one of hub, path, run, init, got {' and '.join(given)}")
        if self.revision is not None and self.hub is None:
            raise ValueError(f"revision: expected none without hub, got {self.revision}")
        return self

    @property
    def is_empty(self) -> bool:
        """True where the block names no model."""
        return not (self.hub or self.path or self.run or self.init)


class ChatModelRef(ModelRef):
    """A model that is asked in its chat template."""

    chat_template_kwargs: Annotated[dict[str, Any], ADDED] = {}
    """Variables of the model's chat template, such as `{enable_thinking: false}`, for SFT, PPO and evaluations alike. A model
    that is trained with some is asked with the same only where the run file that asks it says so."""

    @model_validator(mode="after")
    def _variables(self) -> "ChatModelRef":
        for name in self.chat_template_kwargs:
            if re.fullmatch(RESERVED_VARIABLES, name):
                raise ValueError(
                    f"chat_template_kwargs.{name}: expected a variable that fino1 does not set itself, got {name}"
                )
        return self


class RowsBlock(Block):
    """Rows: a local JSON, JSONL or Parquet file, a file in a task's own format, or a hub dataset."""

    task: TaskId | None = None
    """Read the rows with this task's reader: a built-in task, or a task file (docs/tasks.md), by its path or as its text, which
    may name its rows itself. Null reads rows in Fino1's columns (`Question`, `Complex_CoT`, `Response` for SFT, `Open-ended
    Verifiable Question`, `Ground-True Answer` for PPO; a verifier's pairs have those of PPO, `Response` and perhaps `label`:
    true, false, or none where the rule shall judge). `ledger` generates its rows."""
    path: Text | None = None
    """Local file, relative to the current directory."""
    hub: Text | None = None
    """Hub dataset id."""
    revision: Text | None = None
    """Commit, tag or branch of `hub`."""
    split: str = "train"
    """Split of the hub dataset, or with `task` a JSON file of it."""
    size: Count = 20000
    """`ledger`: rows to generate."""
    fold: Fold | None = None
    """`k/n`: only the k-th of n parts, the first being 1. Rows of one table or page are in one part, wherever they stand."""
    limit: Count | None = None
    """Use the first so many rows, of the part if there is one."""

    @property
    def is_generated(self) -> bool:
        """True where the rows come from no file."""
        return self.task == "ledger" and not (self.path or self.hub)

    @property
    def has_rows(self) -> bool:
        """True where rows are named, here or perhaps in a task file."""
        return bool(self.path or self.hub) or (self.task is not None and self.task not in TASK_IDS)


def names_file(key: str, value: Any) -> bool:
    """True where a run file's key holds the path of a file or folder: any `path`, and `task` where it is a task file."""
    return key == "path" or (key == "task" and value.endswith((".yaml", ".yml")) and "\n" not in value)


def reads_hub(block: Mapping[str, Any]) -> bool:
    """True where a model or rows, as plain data, come from the hub, or a task file may name rows of it."""
    return "hub" in block or (block.get("task", "ledger") not in TASK_IDS and "path" not in block)


class AnsweredRows(RowsBlock):
    """Rows that are asked: in which form they are answered, and what their prompts hold."""

    answer: Annotated[Literal["text", "program"], ADDED] = "text"
    """`program`: the answer under `## Final Response` is arithmetic, or steps in FinQA's form, which is run (docs/scoring.md
    §11); its value is judged as an answer in words is. SFT then learns FinQA's gold programs."""
    evidence: Annotated[Literal["page", "facts"] | None, ADDED] = None
    """FinQA: what the prompts hold beside the table: the `page`, or only the sentences that rows name as `facts` or in
    `gold_inds`. Null: the facts where the file has them, else the page."""


class DataBlock(AnsweredRows):
    """The training rows."""

    run: Annotated[RunName | None, ADDED] = None
    """Rows of a finished run of method `paths`, by its name or `NAME-HASH`: `rows.jsonl` for SFT, `rl.jsonl` for PPO."""
    columns: dict[Column, Text] = {}
    """Fino1's column name → the name in the file, where they differ by more than case, spaces and signs. SFT also reads Alpaca,
    ShareGPT and `messages` rows (docs/design.md C7)."""
    slip_rate: Fraction = 0.5
    """`ledger`: share of SFT rows whose reasoning has a slip of method, as paths have that nobody verified; of a verifier's
    wrong pairs, which have a wrong digit otherwise."""
    calls: Annotated[Fraction, ADDED] = 0.0
    """`ledger`: share of SFT rows that are calls of a search for reasoning paths in its short wording, each with a reply, so that
    the model can be the writer of method `paths`."""
    prompt: Literal["fino1", "paper"] = "fino1"
    """Wording of the prompts for a task's rows; rows in Fino1's columns have their own."""
    eval_size: CountOrZero = 200
    """Rows held out for evaluation while training, at most a tenth of all (original scripts: min(10 %, 200))."""
    exclude: list[RowsBlock] = []
    """Evaluation sets: training rows of the same page or question are left out and counted."""

    @property
    def is_default(self) -> bool:
        """True where the block names no rows: SFT and PPO then read Fino1's published reasoning paths."""
        return not (self.task or self.path or self.hub or self.run)

    @property
    def source(self) -> str:
        """The file, hub dataset or run that is read."""
        own = self.task if self.has_rows else None
        return self.path or self.hub or self.run or own or DEFAULT_DATA


def rows_complaints(path: str, block: RowsBlock) -> list[tuple[str, str]]:
    """Problems of training rows, or of those to leave out, that do not come from one place that can be read."""
    if block.path and block.hub:
        return [(path, "expected one of path, hub, got both")]
    if block.task != "ledger" and not block.has_rows:
        return [(path, "expected path or hub, or task: ledger, got none")]
    return fold_complaints(path, block)


def data_complaints(method: str, block: DataBlock) -> list[tuple[str, str]]:
    """Problems of a run's training rows, and of those to leave out."""
    found = []
    if block.run is not None:
        others = [key for key in ("task", "path", "hub") if getattr(block, key) is not None]
        why = "method verifier" if method == "verifier" else " and ".join(others)
        found += [("data.run", f"expected none with {why}, got {block.run}")] if why else []
    elif method == "verifier" or not block.is_default:
        found += rows_complaints("data", block)
    found += answer_complaints("data", block)
    if block.answer == "program":
        if method == "verifier" or (method == "sft" and block.task not in ("finqa", "convfinqa")):
            but = " but for task finqa or convfinqa" if method == "sft" else ""
            found.append(("data.answer", f"expected text with method {method}{but}, got program"))
        elif block.prompt != "fino1":
            found.append(("data.prompt", f"expected fino1 with answer: program, got {block.prompt}"))
    for i, rows in enumerate(block.exclude):
        found += rows_complaints(f"data.exclude.{i}", rows)
    return found


def answer_complaints(path: str, block: AnsweredRows) -> list[tuple[str, str]]:
    """Problems of the form of answers and of what the prompts hold."""
    if block.answer == "program" and block.task == "ledger":
        return [(f"{path}.answer", "expected text with task: ledger, got program")]
    if block.evidence is not None and block.task != "finqa":
        return [(f"{path}.evidence", f"expected none but for task finqa, got {block.evidence}")]
    return []


def fold_complaints(path: str, block: RowsBlock) -> list[tuple[str, str]]:
    """Problems of `fold`: a part that is not among the parts, or of rows that are generated."""
    if block.fold is None:
        return []
    part, parts = block.fold.split("/")
    if int(part) > int(parts):
        return [(f"{path}.fold", f"expected a part from 1/{parts} to {parts}/{parts}, got {block.fold}")]
    if not block.has_rows:
        return [(f"{path}.fold", f"expected none for rows that are generated, got {block.fold}")]
    return []
