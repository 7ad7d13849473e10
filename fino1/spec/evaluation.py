"""What may a run file say of an evaluation?"""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from fino1.spec.fields import (
    ADDED,
    BaseUrl,
    Block,
    Count,
    CountOrZero,
    Image,
    Name,
    NonNegative,
    Positive,
    StoreUrl,
    Text,
    integer,
)
from fino1.spec.inputs import AnsweredRows, ChatModelRef, TaskId, answer_complaints, fold_complaints

MOST_SAMPLES = 256


class PriceBlock(Block):
    """What an endpoint charges, in dollars, as providers' price lists state it."""

    input: NonNegative
    """Per million tokens of the prompt."""
    output: NonNegative
    """Per million tokens of the answer, with its reasoning."""


class EvalModel(ChatModelRef):
    """One model of an evaluation: a reference to serve here, or an endpoint that exists."""

    name: Name
    """Name in the leaderboard."""
    base_url: BaseUrl | None = None
    """OpenAI-compatible endpoint, ending in `/v1`; null: the model is served in the pod, or here, as `eval.server` says."""
    model_id: Text | None = None
    """What the endpoint calls the model; null: `name`."""
    api_key_env: Text | None = None
    """Environment variable with the key; the key itself is never in a run file."""
    context_length: Count | None = None
    """Tokens the model can read; null: what its config says, or no limit for an endpoint."""
    price: PriceBlock | None = None
    """Needed with `eval.budget.dollars` for a model with `base_url`. No part of a cell's key."""
    requests_per_minute: Annotated[Count | None, ADDED] = None
    """Most requests a minute, evenly spaced, from all threads; of several shards each has an equal part. Null: no limit."""
    tokens_per_minute: Annotated[Count | None, ADDED] = None
    """Most tokens of prompts and answers in 60 seconds, divided in the same way. Null: no limit."""

    @model_validator(mode="after")
    def _source(self) -> "EvalModel":
        if self.init is not None:
            raise ValueError("init: expected none, for a model that is trained already, got one")
        if self.is_empty and not self.base_url:
            raise ValueError("expected one of hub, path, run, base_url, got none")
        return self


class ServedModel(EvalModel):
    """One model of an evaluation, with what its own server needs."""

    gpus: Annotated[CountOrZero | None, ADDED] = None
    """GPUs of its server, over which vLLM divides it; null: `gpus_per_node`. A model with `base_url` takes none."""
    server_args: Annotated[list[str], ADDED] = []
    """Further arguments of its server, behind `eval.server.args`, such as `--reasoning-parser`; part of a cell's key."""


class EvalTask(AnsweredRows):
    """One benchmark of an evaluation."""

    task: TaskId
    """The benchmark, whose own format the rows have, or a task file, by its path or as its text; `ledger` generates its rows."""
    split: str = "test"
    size: Count = 500
    gold: Annotated[Literal["published", "corrected"], ADDED] = "published"
    """FinQA only: golds as published, or with the corrections that docs/scoring.md §10 lists; the report shows both figures."""


class ServerBlock(Block):
    """The server of a model without `base_url`, which runs in the same pod."""

    engine: Literal["vllm", "transformers"] | None = None
    """Null: vLLM where `gpus_per_node` is not 0, else `transformers serve`."""
    image: Image | None = None
    """Null: the release of vLLM that this package knows, or our training image."""
    args: list[str] = []
    """Further arguments of the server, each an item of its own; part of a cell's key."""


class BudgetBlock(Block):
    """What all answers of the run may take, those on disk from earlier attempts and runs included.

    Every request is held at its worst case before it is sent, so the limit is not passed. On Kubernetes each model is a Job
    with a run of its own, and has the whole budget; each of several shards has an equal part.
    """

    tokens: Count | None = None
    """Prompts and answers together; null: no limit."""
    dollars: Positive | None = None
    """By the models' `price`; null: no limit."""


class EvalBlock(Block):
    """The evaluation: every model answers every task."""

    models: list[ServedModel] = []
    """Which models answer."""
    tasks: list[EvalTask] = []
    """Which benchmarks are asked."""
    prompt: Literal["fino1", "paper"] = "fino1"
    """Wording of the questions: this project's, or the structure of the paper's (arXiv 2502.08127)."""
    max_tokens: Count = 1024
    """Most tokens of an answer (paper: 1,024)."""
    temperature: NonNegative = 0.0
    """0 is greedy."""
    samples: Annotated[Annotated[int, Field(ge=1, le=MOST_SAMPLES), BeforeValidator(integer)], ADDED] = 1
    """Answers to each question, each asked and paid for by itself, with a seed of its own where the endpoint takes `seed`. More
    than one need a `temperature` above 0; the report then has avg@k, maj@k and pass@k."""
    concurrency: Count = 4
    """Requests under way at once."""
    timeout_s: Positive = 600.0
    """Seconds that an endpoint may be silent while it is asked."""
    max_retries: CountOrZero = 5
    """Attempts after the first on 429, 5xx, time-outs and lost connections, with growing pauses."""
    budget: BudgetBlock | None = None
    """Tokens and dollars that may be spent; when they are, the run ends with exit code 2 and goes on once they are raised."""
    shards: Count = 1
    """Pods that share a model's questions; each takes every shards-th."""
    server: ServerBlock = ServerBlock()
    store: Annotated[StoreUrl | None, ADDED] = None
    """Object store of the cells besides the disk, a URL that fsspec opens, such as `s3://bucket/prefix` (extra `s3`); its keys
    come by `secretEnv` (docs/endpoints.md). Null: the disk alone."""


def task_complaints(path: str, task: EvalTask) -> list[tuple[str, str]]:
    """Problems of a benchmark's rows that do not come from one place."""
    found = [(path, "expected one of path, hub, got both")] if task.path and task.hub else []
    if task.task != "ledger" and not task.has_rows:
        found.append((path, f"expected path or hub for task {task.task}, got none"))
    return found + fold_complaints(path, task) + answer_complaints(path, task)


def evaluation_complaints(block: EvalBlock) -> list[tuple[str, str]]:
    """Problems of an evaluation that single fields do not show, as (path, problem): no models, equal names, no rows, no price."""
    found = [
        (f"eval.{key}", "expected at least one, got none") for key in ("models", "tasks") if not getattr(block, key)
    ]
    for i, task in enumerate(block.tasks):
        found += task_complaints(f"eval.tasks.{i}", task)
        if task.answer == "program" and block.prompt != "fino1":
            found.append(("eval.prompt", f"expected fino1 with answer: program, got {block.prompt}"))
    if block.samples > 1 and block.temperature == 0:
        text = f"expected 1 with eval.temperature 0, whose answers are all the same, got {block.samples}"
        found.append(("eval.samples", text))
    if block.budget and block.budget.dollars is not None:
        found += [
            (f"eval.models.{i}.price", "expected one with eval.budget.dollars, got none")
            for i, model in enumerate(block.models)
            if model.base_url and not model.price
        ]
    names = [model.name for model in block.models]
    return found + [
        ("eval.models", f"expected different names, got {name} twice")
        for name in sorted({n for n in names if names.count(n) > 1})
    ]
