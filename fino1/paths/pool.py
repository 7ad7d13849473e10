"""Which questions does a run search, and how is each call bought once? (docs/paths.md)

A pool is a task's questions for one writer. The key of its directory holds what the questions are and who writes; how deep
the search goes is no part of it, so a run that searches further, or longer, takes the calls of those before it.
"""

import functools
import hashlib
import json
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fino1.errors import SpecError
from fino1.evaluate import counter, models, questions
from fino1.evaluate.budget import Account, Tariff
from fino1.evaluate.endpoint import Cancelled, Endpoint
from fino1.evaluate.journal import LINE_BYTES, TOKEN_BYTES
from fino1.evaluate.loop import wait
from fino1.evaluate.main import open_endpoint
from fino1.evaluate.models import Source
from fino1.evaluate.plan import set_engine
from fino1.evaluate.questions import Question
from fino1.evaluate.samples import Shard
from fino1.evaluate.sidecar import Sidecar
from fino1.paths.journal import Call, Journal, name_of
from fino1.paths.records import ReasoningPath
from fino1.paths.search import LONGEST_SHOWN, QuestionSpent, Role, Search
from fino1.spec import canonical
from fino1.spec.evaluation import EvalBlock
from fino1.spec.paths import JudgeBlock, PathsBlock, PathsTask, WriterBlock
from fino1.spec.run import RunSpec
from fino1.tasks.overlap import Overlap, find_overlaps, find_repeated
from fino1.tasks.record import Record, Task

RESERVED_TOKENS = {"full": 2000, "short": 100}  # what the prompts say around the problem and the chain, and more
# What says where a model is, what it costs and how fast it may be asked; `Source.identity` says which one it is.
_ELSEWHERE = {
    "name",
    "hub",
    "revision",
    "path",
    "run",
    "base_url",
    "model_id",
    "api_key_env",
    "context_length",
    "price",
    "requests_per_minute",
    "tokens_per_minute",
    "concurrency",
    "timeout_s",
    "max_retries",
    "budget",
}


class _Unbought(Exception):
    """A search needs a call that nobody has made yet."""


@dataclass(frozen=True)
class Searched:
    """A question, what became of it (None where calls are missing), and the keys of its calls."""

    question: Question
    path: ReasoningPath | None
    keys: tuple[str, ...]


@dataclass(frozen=True)
class Asked:
    """A model of the run: where it is, how it is sampled, what makes its replies its own."""

    source: Source
    block: WriterBlock | JudgeBlock

    @functools.cached_property
    def settings(self) -> dict[str, Any]:
        """What a reply depends on, besides the prompt."""
        given = {key: value for key, value in self.block.given().items() if key not in _ELSEWHERE}
        args = {"server_args": list(self.source.server_args)} if self.source.server_args else {}
        return {"model": self.source.identity, "server": self.source.kind, **args, **given}

    @property
    def tariff(self) -> Tariff:
        """The price of its replies."""
        return Tariff(self.source.price, self.block.max_tokens)

    def open(
        self,
        directory: Path,
        stop: threading.Event,
        timeout_s: float,
        max_retries: int,
        shards: int = 1,
        sidecar: Sidecar | None = None,
    ) -> AbstractContextManager[Endpoint]:
        """Open its endpoint. A model without `base_url` is served by the sidecar, or here, its log in `directory`."""
        options: dict[str, Any] = {"timeout_s": timeout_s, "max_retries": max_retries, "shards": shards}
        asks = EvalBlock(**options, temperature=self.block.temperature)
        return open_endpoint(asks, sidecar, directory, stop, self.source)


@dataclass(frozen=True)
class Pool:
    """The questions of a task, and the journal of the calls for them."""

    task: Task
    directory: Path
    questions: tuple[Question, ...]
    excluded: tuple[Overlap, ...]
    journal: Journal
    models: Mapping[Role, Asked]
    block: PathsBlock
    seed: int
    _ended: dict[str, Searched] = field(default_factory=dict)  # by the question's id: another search would end so again

    def buy(
        self,
        endpoints: Mapping[Role, Endpoint],
        account: Account,
        shard: Shard,
        slots: threading.Semaphore,
        question: Question,
        halt: threading.Event,
    ) -> ReasoningPath:
        """Search a question's path; calls that are not in the journal are made, as many at once as there are `slots`.

        Raises as Account.request and Endpoint.ask.
        """

        def make(role: Role, prompt: str, key: str) -> str:
            model = self.models[role]
            with slots:
                if halt.is_set():
                    raise Cancelled
                temperature = model.block.temperature
                answer = wait(account.ask(endpoints[role], model.tariff, prompt, temperature, halt, key))
                # Before the slot is free: a kill loses no more answers than `slots`.
                self.journal.append(Call.of(key, question.id, role, prompt, answer), name_of(shard))
            return answer.text

        path = self._search(question, make).path
        assert path is not None, question.id
        return path

    def replay(self, shard: Shard) -> list[Searched]:
        """Repeat the searches of a shard's questions from the journal, as far as it has their calls."""

        def refuse(role: Role, prompt: str, key: str) -> str:
            raise _Unbought

        return [self._search(question, refuse) for question in shard.select(self.questions)]

    def bound_bytes(self, questions: Sequence[Question]) -> int:
        """Bound the bytes of the calls under way at once: a prompt may have the problem, all replies and a malformed one."""
        longest = max((len(json.dumps(question.prompt)) for question in questions), default=0)
        tokens = (self.block.depth + 3) * max(model.block.max_tokens for model in self.models.values())
        at_once = min(self.block.concurrency, len(questions))
        return at_once * (longest + tokens * TOKEN_BYTES + LONGEST_SHOWN + 2 * LINE_BYTES)

    def _search(self, question: Question, make: Callable[[Role, str, str], str]) -> Searched:
        """Search with the journal's replies, and with `make` for those that it does not have."""
        if question.id in self._ended:
            return self._ended[question.id]
        seen: Counter[tuple[Role, str]] = Counter()
        keys: list[str] = []

        def ask(role: Role, prompt: str) -> str:
            seen[role, prompt] += 1  # the same prompt twice is two calls
            prompt_sha256 = hashlib.sha256(prompt.encode()).hexdigest()
            key = canonical.digest([question.id, self.models[role].settings, prompt_sha256, seen[role, prompt]])
            if self._is_spent(keys, role, prompt):
                raise QuestionSpent
            found = self.journal.find(key)
            reply = make(role, prompt, key) if found is None else found
            keys.append(key)
            return reply

        try:
            path = Search(question, self.task, self.block, self.seed, ask).run()
        except _Unbought:
            return Searched(question, None, tuple(keys))
        self._ended[question.id] = Searched(question, path, tuple(keys))
        return self._ended[question.id]

    def _is_spent(self, keys: Sequence[str], role: Role, prompt: str) -> bool:
        """True where a question's calls so far and this one, at its worst, pass what one question may take."""
        budget = self.block.budget
        limits = (
            {} if budget is None else {key: getattr(budget, f"{key}_per_question") for key in ("tokens", "dollars")}
        )
        if not any(limits.values()):
            return False
        total = self.journal.sum_answers(keys) + self.models[role].tariff.bound(prompt)
        return any(limit and getattr(total, key) > limit for key, limit in limits.items())


def plan(spec: RunSpec, work: Path, stop: threading.Event, sidecar: Sidecar | None = None) -> list[Pool]:
    """List the pools of a run. Raises SpecError with all problems, before a model is loaded or a request is paid for.

    A call's key holds the engine of the server: where the run file names none, the sidecar is asked.
    """
    problems: list[str] = []
    asked: dict[Role, Asked] = {}
    blocks: dict[Role, WriterBlock | JudgeBlock | None] = {"writer": spec.paths.writer, "judge": spec.paths.judge}
    for role, model in blocks.items():
        if model is not None:
            try:
                asked[role] = Asked(models.find(model, work), model)
            except SpecError as error:
                problems += [f"paths.{role}: {text.removeprefix(f'{model.name}: ')}" for text in error.problems]
    try:
        sources = set_engine([each.source for each in asked.values()], spec, sidecar, is_sound=not problems)
        asked = {role: replace(asked[role], source=source) for role, source in zip(asked, sources, strict=True)}
    except SpecError as error:
        problems += error.problems
    pools, others = [], []
    for task in spec.paths.exclude:
        try:
            others += questions.read(task, spec.seed).records
        except SpecError as error:
            problems += [f"paths.exclude: {problem}" for problem in error.problems]
    for task in spec.paths.tasks:
        try:
            rows = _read(task, spec.seed)
            if not problems:
                pools.append(_plan_pool(rows, others, asked, spec, work, stop))
        except SpecError as error:
            problems += [f"paths.tasks: {problem}" for problem in error.problems]
    twice = [pool.task.name for pool in pools if [other.directory for other in pools].count(pool.directory) > 1]
    problems += [f"paths.tasks: expected each once, got {name} twice" for name in dict.fromkeys(twice)]
    if problems:
        raise SpecError(problems)
    return pools


def _read(task: PathsTask, seed: int) -> questions.Rows:
    if task.task == "ledger" and not (task.path or task.hub) and task.split == "train":
        task = task.model_copy(update={"split": "sft"})
    return questions.read(task, seed)


def _plan_pool(
    rows: questions.Rows,
    others: Sequence[Record],
    asked: Mapping[Role, Asked],
    spec: RunSpec,
    work: Path,
    stop: threading.Event,
) -> Pool:
    writer = asked["writer"]
    excluded = find_overlaps(rows.task.name, rows.records, others)
    excluded += find_repeated(_drop(rows.records, excluded), lambda r: rows.task.prompt(r, spec.paths.prompt))
    kept = _drop(rows.records, excluded)
    if not kept:
        raise SpecError(f"{rows.task.name}: expected questions that paths.exclude leaves, got none of {len(excluded)}")
    room = _limit_problem(writer, spec.paths)
    source = writer.source
    count = counter.make_counter(source.tokenizer, source.chat_template_kwargs) if room is not None else None
    found = questions.make(replace(rows, records=kept), spec.paths.prompt, room, count, stop)
    key = canonical.digest({"task": rows.task.name, "dataset": rows.identity, "writer": writer.source.identity})
    directory = work / "paths" / key
    tariffs = {role: model.tariff for role, model in asked.items()}
    journal = Journal(directory, tariffs)
    return Pool(rows.task, directory, found, tuple(excluded), journal, asked, spec.paths, spec.seed)


def _drop(records: Sequence[Record], excluded: Sequence[Overlap]) -> tuple[Record, ...]:
    left_out = {id(overlap.record) for overlap in excluded}
    return tuple(record for record in records if id(record) not in left_out)


def _limit_problem(writer: Asked, block: PathsBlock) -> int | None:
    """Compute how many tokens a problem may have; None for any number. The chain grows by a reply with each further step."""
    length = writer.source.context_length
    if length is None:
        return None
    least = (block.depth + 2) * writer.block.max_tokens + RESERVED_TOKENS[block.wording]
    room = length - least
    if room < 1:
        raise SpecError(
            f"writer: expected a context of {least} tokens and the problem's ((depth + 2) × max_tokens + "
            f"{RESERVED_TOKENS[block.wording]}), got {length}"
        )
    return room
