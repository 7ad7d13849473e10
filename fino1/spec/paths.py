"""What may a run file say of reasoning paths? Method `paths` (docs/paths.md)."""

from typing import Annotated, Literal

from pydantic import StrictBool

from fino1.spec.evaluation import BudgetBlock, EvalModel, EvalTask, ServerBlock, task_complaints
from fino1.spec.fields import ADDED, Block, Count, CountOrZero, Name, NonNegative, Positive

LEAST_CALLS = 3  # the first chain, the prose, the response


class PathsTask(EvalTask):
    """Rows whose questions get a reasoning path."""

    split: str = "train"


class WriterBlock(EvalModel):
    """The model that searches, rewrites and answers."""

    name: Name = "writer"
    """Name in messages."""
    max_tokens: Count = 4096
    """Most tokens of a reply."""
    temperature: NonNegative = 0.7
    """0 is greedy."""


class JudgeBlock(EvalModel):
    """The model that judges an answer which the rule cannot judge."""

    name: Name = "judge"
    """Name in messages."""
    max_tokens: Count = 1024
    """Most tokens of a reply."""
    temperature: NonNegative = 0.0
    """0 is greedy."""


class PathsBudget(BudgetBlock):
    """What the calls of the run may take in all, and what those for one question may."""

    tokens_per_question: Annotated[Count | None, ADDED] = None
    """A question whose next call might pass it gets no further one, and no row (failure `budget`); null: no limit."""
    dollars_per_question: Annotated[Positive | None, ADDED] = None
    """The same in dollars, by the models' `price`; null: no limit."""


class PathsBlock(Block):
    """The search for reasoning paths: questions with gold answers become rows for SFT and PPO."""

    tasks: list[PathsTask] = []
    """Whose questions; `ledger` without path generates those of its split `sft`, or `ppo`."""
    exclude: list[EvalTask] = []
    """Evaluation sets: questions of the same page, table or wording are not searched; `excluded.jsonl` lists them."""
    prompt: Literal["fino1", "paper"] = "fino1"
    """Wording of the questions, as in `eval.prompt`; the rows have it too."""
    wording: Annotated[Literal["full", "short"], ADDED] = "full"
    """Of the prompts around them. `short` names the task in a few words, for a writer that was trained on such prompts
    (`data.calls`)."""
    writer: WriterBlock | None = None
    """Which model writes."""
    judge: JudgeBlock | None = None
    """Which model judges where the rule (docs/scoring.md) gives no verdict; null: such an answer is not accepted."""
    depth: CountOrZero = 2
    """Most further steps of an attempt, after a first chain with a wrong conclusion."""
    attempts: Count = 1
    """Attempts, each of which begins at the first chain."""
    fallback: StrictBool = False
    """True: where the search fails, the writer is shown the gold. Such rows are marked, and are no rows for PPO."""
    concurrency: Count = 4
    """Requests under way at once; a question has at most one."""
    timeout_s: Positive = 600.0
    """Seconds that an endpoint may be silent while it is asked."""
    max_retries: CountOrZero = 5
    """Attempts after the first on 429, 5xx, time-outs and lost connections, with growing pauses."""
    budget: PathsBudget | None = None
    """Tokens and dollars that may be spent; when they are, the run ends with exit code 2 and goes on once they are raised."""
    shards: Count = 1
    """Processes (pods on Kubernetes) that share the questions, each with an equal part of the budget and the index
    `JOB_COMPLETION_INDEX`."""
    server: ServerBlock = ServerBlock()
    """Of a writer or judge without `base_url`. A pod serves one of them at most."""

    @property
    def most_calls(self) -> int:
        """Calls of the writer for a question whose every conclusion is wrong and whose every reply is well-formed."""
        return LEAST_CALLS + self.depth * self.attempts + self.fallback


def paths_complaints(block: PathsBlock) -> list[tuple[str, str]]:
    """Problems of method `paths` that single fields do not show, as (path, problem): no rows, no writer, no price."""
    found = [] if block.tasks else [("paths.tasks", "expected at least one, got none")]
    for key, tasks in (("tasks", block.tasks), ("exclude", block.exclude)):
        for i, task in enumerate(tasks):
            found += task_complaints(f"paths.{key}.{i}", task)
            if task.answer != "text":
                found.append((f"paths.{key}.{i}.answer", f"expected text with method paths, got {task.answer}"))
    if block.writer is None:
        found.append(("paths.writer", "expected a model, got none"))
    for key in ("dollars", "dollars_per_question"):
        if block.budget is None or getattr(block.budget, key) is None:
            continue
        found += [
            (f"paths.{role}.price", f"expected one with paths.budget.{key}, got none")
            for role, model in (("writer", block.writer), ("judge", block.judge))
            if model and model.base_url and not model.price
        ]
    return found
