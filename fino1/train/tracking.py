"""Where do a run's lines of metrics go? To metrics.jsonl always, and to the trackers it names, through accelerate's.

(docs/design.md C11)

metrics.jsonl is the record; a tracker is a view of it. One that fails is left out for the rest of the attempt, after one
warning: a run that has a GPU node does not end for a dashboard. What a tracker lacks when an attempt begins (it failed, it was
not asked for, the attempt before was killed) it is given from metrics.jsonl, and nothing that it has is given to it again.
"""

import json
import logging
import os
import secrets
import shutil
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from accelerate.tracking import GeneralTracker, MLflowTracker, TensorBoardTracker, WandBTracker

from fino1 import files, trackers
from fino1.errors import first_line
from fino1.progress import Metrics
from fino1.spec import load
from fino1.train.launch.rank import Run

_TIMEOUT_S = 60.0  # for a tracker's every act: its start, a line, its end
_ENVIRONMENT = {  # where the user has not said otherwise
    "MLFLOW_ALLOW_FILE_STORE": "true",  # a database on a volume of many nodes is worse than a store without new features
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "WANDB_ERROR_REPORTING": "false",
}


@dataclass(frozen=True)
class _Opened:
    """A tracker that has begun, and the last step of what it holds: of each name, and of all names."""

    tracker: GeneralTracker
    held: Mapping[str, int] = field(default_factory=dict)
    floor: int = -1

    @property
    def is_new(self) -> bool:
        """True where it holds nothing yet."""
        return not self.held and self.floor < 0

    def lacks(self, name: str, step: int) -> bool:
        """True where it does not hold this number of this step."""
        return step > max(self.held.get(name, -1), self.floor)


class Log:
    """A run's metrics, each line with the number of its step under `key`; rank 0 has one."""

    def __init__(self, run: Run, key: str, resumed_at: int) -> None:
        path = run.directory / "metrics.jsonl"
        self._metrics = Metrics(path, key, resumed_at)
        names = trackers.from_environment()
        lines = [json.loads(line) for line in path.read_text().splitlines()] if names and path.exists() else []
        self._reporters = [_Reporter(name, run, key, resumed_at, lines) for name in names]

    def write(self, numbers: Mapping[str, Any]) -> None:
        """Append one line, and report it."""
        self._metrics.write(numbers)
        for reporter in self._reporters:
            reporter.write(numbers)

    def close(self) -> None:
        """Let the trackers send what they have kept: the attempt is over, by its end or by SIGTERM."""
        for reporter in self._reporters:
            reporter.close()


class _Reporter:
    """One tracker on a thread of its own, so that we can stop waiting for it. MLflow's active run belongs to its thread."""

    def __init__(self, name: str, run: Run, key: str, resumed_at: int, lines: list[dict[str, Any]]) -> None:
        self._name, self._key, self._failed = name, key, False
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self._try(lambda: self._open(run, resumed_at))
        for line in lines:
            self.write(line)

    def write(self, numbers: Mapping[str, Any]) -> None:
        """Report one line, but for what the tracker holds."""
        self._try(lambda: self._report(numbers))

    def close(self) -> None:
        """End the tracker's run."""
        self._try(lambda: self._opened.tracker.finish())

    def _open(self, run: Run, resumed_at: int) -> None:
        for variable, value in _ENVIRONMENT.items():
            os.environ.setdefault(variable, value)
        self._opened = _OPEN[self._name](run, resumed_at)
        if self._opened.is_new:
            config = {"run": run.directory.name, **flatten(load.config(run.spec))}
            self._opened.tracker.store_init_configuration(config)

    def _report(self, numbers: Mapping[str, Any]) -> None:
        step = numbers[self._key]
        new = {k: v for k, v in numbers.items() if k != self._key and self._opened.lacks(k, step)}
        if new:
            self._opened.tracker.log(new, step=step)

    def _try(self, act: Callable[[], None]) -> None:
        if self._failed:
            return
        try:
            self._worker.submit(act).result(_TIMEOUT_S)
        except Exception as error:  # of any library, network or disk: see above
            self._failed = True
            text = f"no answer in {_TIMEOUT_S:.0f} s" if isinstance(error, TimeoutError) else first_line(error)
            print(
                f"fino1: {self._name} is left out from here on: {text}; metrics.jsonl has every line",
                file=sys.stderr,
                flush=True,
            )


def flatten(document: Any, path: str = "") -> dict[str, Any]:
    """Return the single values of a document by their paths, with dots between keys and indices of lists."""
    if isinstance(document, Mapping):
        items = list(document.items())
    elif isinstance(document, list):
        items = list(enumerate(document))
    else:
        return {path: document}
    found: dict[str, Any] = {}
    for key, value in items:
        found |= flatten(value, f"{path}.{key}" if path else str(key))
    return found


def _tensorboard(run: Run, resumed_at: int) -> _Opened:
    """Open TensorBoard's files in `tensorboard/`: one for each attempt, which says from which step on earlier ones are void."""
    from tensorboard.backend.event_processing.event_accumulator import SCALARS, EventAccumulator

    folder = run.directory / "tensorboard"
    steps = {}
    if folder.is_dir():
        there = EventAccumulator(str(folder), size_guidance={SCALARS: 0}).Reload()
        steps = {tag: [event.step for event in there.Scalars(tag)] for tag in there.Tags()[SCALARS]}
    purge = {"purge_step": resumed_at + 1} if steps else {}
    tracker = TensorBoardTracker(folder.name, folder.parent, **purge)
    tracker.start()
    return _Opened(tracker, {tag: max([-1, *(s for s in of if s <= resumed_at)]) for tag, of in steps.items()})


def _wandb(run: Run, resumed_at: int) -> _Opened:
    """Open a W&B run in `wandb/`, to be sent by `wandb sync`; or online, where there is a key and the hub is not forbidden.

    An attempt offline cannot go on in the file of the one before: it writes all of the run anew, under the same id.
    """
    import wandb

    is_allowed = "WANDB_API_KEY" in os.environ and os.environ.get("HF_HUB_OFFLINE", "0") in ("", "0")
    mode = os.environ.get("WANDB_MODE", "online" if is_allowed else "offline")
    if mode == "offline":
        for before in (run.directory / "wandb").glob("offline-run-*"):
            shutil.rmtree(before, ignore_errors=True)  # its process may still be writing
    tracker = WandBTracker(
        os.environ.get("WANDB_PROJECT", "fino1"),
        name=run.name,
        id=_recall(run, "wandb", secrets.token_hex(4)),
        group=run.spec.method,
        dir=str(run.directory),
        mode=mode,
        resume=None if mode == "offline" else "allow",
        settings=wandb.Settings(
            silent=True, console="off", disable_git=True, disable_code=True, init_timeout=_TIMEOUT_S
        ),
    )
    tracker.start()
    return _Opened(tracker, floor=tracker.run.starting_step - 1)


def _mlflow(run: Run, resumed_at: int) -> _Opened:
    """Open an MLflow run in `mlruns/`, or on the server that MLFLOW_TRACKING_URI names."""
    import mlflow

    logging.getLogger("mlflow").setLevel(logging.ERROR)
    server = os.environ.get("MLFLOW_TRACKING_URI")
    mlflow.set_tracking_uri(server or (run.directory.absolute() / "mlruns").as_uri())
    place = f"mlflow {server or 'mlruns'}"
    before = _recall(run, place)
    tracker = MLflowTracker(f"fino1-{run.spec.method}", run_id=before, run_name=run.name)
    tracker.start()
    run_id = tracker.tracker.info.run_id
    _recall(run, place, run_id)
    client = mlflow.MlflowClient()
    names = client.get_run(run_id).data.metrics if before else ()
    return _Opened(tracker, {name: max(m.step for m in client.get_metric_history(run_id, name)) for name in names})


_OPEN: Mapping[str, Callable[[Run, int], _Opened]] = {
    "mlflow": _mlflow,
    "tensorboard": _tensorboard,
    "wandb": _wandb,
}


def _recall(run: Run, key: str, new: str | None = None) -> str | None:
    """Return the tracker's id of this run from trackers.json in its directory; writes `new` there where it has none yet."""
    file: Path = run.directory / "trackers.json"
    known = json.loads(file.read_text()) if file.exists() else {}
    if key not in known and new is not None:
        known[key] = new
        files.write_json(file, known)
    return known.get(key)
