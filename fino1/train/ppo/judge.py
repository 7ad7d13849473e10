"""What does a model behind an API say of responses? (docs/recipe.md#a-judge-as-the-reward)

<work>/verdicts/<key>/calls-<run>.jsonl   what a run has asked; a reply counts whichever run's file holds it

The key is that of the judge, its settings and the rows. A reply is on disk before it is used and stands under what it depends
on, so that an update which is begun again, and another run on the same rows, asks nothing twice.
"""

import atexit
import contextlib
import hashlib
import threading
from collections.abc import Callable, Sequence

from accelerate.utils import broadcast_object_list, gather_object

from fino1.errors import Fino1Error, SpecError
from fino1.evaluate import models
from fino1.evaluate.batches import iterate_answers
from fino1.evaluate.budget import Account, BudgetSpent, Cost
from fino1.evaluate.endpoint import Cancelled, Endpoint
from fino1.evaluate.loop import wait
from fino1.paths import journal, prompts
from fino1.paths.journal import Call, Journal
from fino1.paths.pool import Asked
from fino1.paths.records import BadReply, Opinion, show_gold
from fino1.paths.search import read
from fino1.spec import canonical
from fino1.tasks.record import FINAL, Record
from fino1.train.launch.rank import Run
from fino1.train.ppo.reward import Unjudged

Verdict = bool | None
"""Right or not; None where neither the judge's reply nor its repair said so."""


class Judge:
    """The judge of a run. Rank 0 asks for all ranks."""

    def __init__(self, run: Run, render: Callable[[Record], str]) -> None:
        """`render` writes a record's question. Raises SpecError for a key that is not set, and a URL that is none."""
        block = run.spec.ppo.reward.judge
        assert block is not None, "reward_complaints"
        try:
            self._asked = Asked(models.find(block, run.work), block)
        except SpecError as error:
            raise SpecError(f"ppo.reward.judge: {problem}" for problem in error.problems) from error
        self._run, self._block, self._render = run, block, render
        key = canonical.digest({"judge": self._asked.settings, "data": run.spec.data.given()})
        self._directory, self._file = run.work / "verdicts" / key, f"calls-{run.directory.name}.jsonl"
        self._endpoint: Endpoint | None = None
        self._opened = contextlib.ExitStack()
        atexit.register(self._opened.close)
        self.numbers: dict[str, float] = {}  # metrics of the last update

    def __call__(self, stop: threading.Event, answers: Sequence[tuple[str, Record]]) -> list[Verdict]:
        """Judge this rank's well-formed completions. Every rank calls it, with none too. Raises Unjudged on all ranks."""
        mine = [
            prompts.render(
                "judge",
                "full",
                problem=self._render(record),
                answer=text.partition(f"\n\n{FINAL}\n\n")[2],
                gold=show_gold(record),
            )
            for text, record in answers
        ]
        together = gather_object(mine)
        outcome = [self._judge_all(together, stop) if self._run.is_main else None]
        broadcast_object_list(outcome)
        if isinstance(outcome[0], Unjudged):
            raise outcome[0]
        assert outcome[0] is not None
        verdicts, self.numbers = outcome[0]
        return [verdicts[prompt] for prompt in mine]

    def _judge_all(
        self, together: Sequence[str], stop: threading.Event
    ) -> tuple[dict[str, Verdict], dict[str, float]] | Unjudged:
        wanted = list(dict.fromkeys(together))
        verdicts: dict[str, Verdict] = {}
        try:
            if self._endpoint is None:
                self._open(stop)
            for prompt, verdict in iterate_answers(self._judge, wanted, self._block.concurrency, stop):
                verdicts[prompt] = verdict
        except BudgetSpent as error:
            left = [self._asked.tariff.estimate(prompt) for prompt in wanted if prompt not in verdicts]
            return Unjudged(error.explain(len(left), sum(left, Cost())))
        except Fino1Error as error:
            return Unjudged(error)
        except Cancelled:
            return Unjudged(None)
        episodes = self._run.spec.ppo.global_batch_size
        unread = sum(verdicts[prompt] is None for prompt in together)
        numbers = {"reward/judged": len(together) / episodes, "reward/unread": unread / episodes}
        keys = [key for prompt in wanted for key in self._keys[prompt]]
        cost = self._journal.sum_answers(keys).to_dict(is_priced=self._block.price is not None)
        return verdicts, numbers | {f"reward/judge_{key}": cost[key] for key in ("tokens", "dollars") if key in cost}

    def _open(self, stop: threading.Event) -> None:
        """Open journal and endpoint; what this run has asked before counts for its budget."""
        tariff = self._asked.tariff
        self._journal = Journal(self._directory, {"judge": tariff})
        self._journal.tidy(self._file)
        calls = list(journal.read(self._directory / self._file))
        spent = sum((call.count_answer(tariff) + call.count_unanswered(tariff) for call in calls), Cost())
        self._account = Account(self._block.budget, 1, spent, "ppo.reward.judge.budget")
        self._keys: dict[str, list[str]] = {}
        connection = self._asked.open(self._run.directory, stop, self._block.timeout_s, self._block.max_retries)
        self._endpoint = self._opened.enter_context(connection)

    def _judge(self, prompt: str, halt: threading.Event) -> Verdict:
        keys = self._keys[prompt] = []

        def ask(text: str) -> str:
            sha256 = hashlib.sha256(text.encode()).hexdigest()
            key = canonical.digest([self._asked.settings, sha256])
            keys.append(key)
            found = self._journal.find(key)
            return self._buy(text, key, halt) if found is None else found

        try:
            return read(ask, Opinion, prompt).verdict == "right"
        except BadReply:
            return None

    def _buy(self, prompt: str, key: str, halt: threading.Event) -> str:
        assert self._endpoint is not None
        tariff, temperature = self._asked.tariff, self._block.temperature
        answer = wait(self._account.ask(self._endpoint, tariff, prompt, temperature, halt, key))
        self._journal.append(Call.of(key, self._run.name, "judge", prompt, answer), self._file)
        return answer.text
