"""What was reported is read back with each tracker's own means, and is what metrics.jsonl says. (docs/design.md C11)"""

import json
import struct
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import SCALARS, EventAccumulator
from wandb.proto.wandb_internal_pb2 import Record

from fino1.spec import load
from fino1.train import tracking
from tests.train.conftest import SFT, VERIFIER, TrainRun

ALL = ["tensorboard", "wandb", "mlflow"]


class Reported(TrainRun):
    """A run that reports to all three, as its pod is told to."""

    variables: dict = {}

    def environment(self, faults=""):
        return {**super().environment(faults), "FINO1_REPORT_TO": ",".join(ALL), **self.variables}

    @property
    def key(self):
        return "update" if self.spec.method == "ppo" else "step"

    def numbers(self):
        """(name, step, number) of every number in metrics.jsonl."""
        lines = [json.loads(line) for line in (self.directory / "metrics.jsonl").read_text().splitlines()]
        return sorted((k, line[self.key], v) for line in lines for k, v in line.items() if k != self.key)


def tensorboard_numbers(directory):
    there = EventAccumulator(str(directory / "tensorboard"), size_guidance={SCALARS: 0}).Reload()
    return sorted((tag, e.step, e.value) for tag in there.Tags()[SCALARS] for e in there.Scalars(tag))


def wandb_records(directory):
    """The records of the one offline file: LevelDB's log format after seven bytes of W&B's own."""
    (file,) = (directory / "wandb").glob("offline-run-*/run-*.wandb")
    data, position, whole, records = file.read_bytes(), 7, b"", []
    while len(data) - position >= 7:
        left = 32768 - position % 32768
        if left < 7:
            position += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, position)
        whole += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # whole, or the last part
            records.append(Record.FromString(whole))
            whole = b""
    return records


def wandb_numbers(directory):
    found = []
    for record in wandb_records(directory):
        if record.WhichOneof("record_type") == "history":
            items = {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
            step = record.history.step.num
            found += [(k, step, v) for k, v in items.items() if not k.startswith("_")]
    return sorted(found)


def mlflow_run(directory, monkeypatch):
    import mlflow

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    client = mlflow.MlflowClient((directory / "mlruns").as_uri())
    runs = [run for e in client.search_experiments() for run in client.search_runs([e.experiment_id])]
    (run,) = runs
    return client, run


def mlflow_numbers(directory, monkeypatch):
    client, run = mlflow_run(directory, monkeypatch)
    histories = [client.get_metric_history(run.info.run_id, name) for name in run.data.metrics]
    return sorted((m.key, m.step, m.value) for history in histories for m in history)


def rounded(numbers):
    """As TensorBoard keeps them: 32 bits."""
    return [(name, step, float(np.float32(value))) for name, step, value in numbers]


def without_clock(numbers):
    return [each for each in numbers if each[0] != "eps"]


@pytest.fixture(scope="session")
def reported_sft(tmp_path_factory):
    return Reported(SFT, tmp_path_factory.mktemp("reported-sft")).finished()


@pytest.fixture(scope="session")
def reported_verifier(tmp_path_factory):
    return Reported(VERIFIER, tmp_path_factory.mktemp("reported-verifier")).finished()


@pytest.fixture(scope="session")
def reported_ppo(ppo_document, tmp_path_factory):
    return Reported(ppo_document, tmp_path_factory.mktemp("reported-ppo")).finished()


METHODS = ["sft", "verifier", "ppo"]


@pytest.fixture
def reported(request):
    return request.getfixturevalue(f"reported_{request.param}")


@pytest.mark.slow
@pytest.mark.parametrize("reported", METHODS, indirect=True)
def test_every_number_of_metrics_jsonl_is_in_every_tracker(reported, monkeypatch):
    numbers = reported.numbers()
    assert len(numbers) > 15
    assert tensorboard_numbers(reported.directory) == rounded(numbers)
    assert wandb_numbers(reported.directory) == numbers
    assert mlflow_numbers(reported.directory, monkeypatch) == numbers


@pytest.mark.slow
@pytest.mark.parametrize("reported", METHODS, indirect=True)
def test_trackers_know_the_run_by_its_name_method_and_config(reported, monkeypatch):
    method = reported.spec.method
    config = {"run": reported.directory.name, **tracking.flatten(load.config(reported.spec))}
    assert config["seed"] == 42 and config[f"{method}.global_batch_size"] in (8, 16)
    client, run = mlflow_run(reported.directory, monkeypatch)
    assert run.info.run_name == "run" and run.info.status == "FINISHED"
    assert client.get_experiment(run.info.experiment_id).name == f"fino1-{method}"
    assert run.data.params == {key: str(value) for key, value in config.items()}
    records = wandb_records(reported.directory)
    (told,) = [record.run for record in records if record.WhichOneof("record_type") == "run"]
    assert (told.project, told.display_name, told.run_group) == ("fino1", "run", method)
    kept = {
        item.key or "/".join(item.nested_key): json.loads(item.value_json)
        for record in records
        if record.WhichOneof("record_type") == "config"
        for item in record.config.update
    }
    assert {key: kept[key] for key in config} == config
    (hparams,) = (reported.directory / "tensorboard").glob("*/hparams.yml")
    assert f"{method}.global_batch_size" in hparams.read_text()


@pytest.mark.slow
@pytest.mark.parametrize("method", ["sft", "ppo"])
def test_trackers_change_nothing_that_is_computed(method, request):
    plain, reported = request.getfixturevalue(method), request.getfixturevalue(f"reported_{method}")
    assert reported.sha256 == plain.sha256
    assert reported.lines() == plain.lines()
    assert reported.directory.name == plain.directory.name


KILLS = {
    "sft": "kill@backward:19",  # step 9 is logged, the checkpoint is of step 8
    "ppo": "kill@ppo-write:5",  # update 3 is logged, the checkpoint is of update 2
}


@pytest.mark.slow
@pytest.mark.parametrize("method", ["sft", "ppo"])
def test_a_run_that_is_killed_goes_on_in_the_same_runs_with_every_step_once(method, request, tmp_path, monkeypatch):
    whole = request.getfixturevalue(f"reported_{method}")
    run = Reported(whole.document, tmp_path)
    assert run.start(KILLS[method]) == 137, run.output
    logged = mlflow_numbers(run.directory, monkeypatch)
    _, before = mlflow_run(run.directory, monkeypatch)
    assert run.start() == 0, run.output
    _, after = mlflow_run(run.directory, monkeypatch)
    assert (after.info.run_id, after.info.status) == (before.info.run_id, "FINISHED")
    numbers = run.numbers()
    assert without_clock(numbers) == without_clock(whole.numbers())
    assert len(logged) > 0
    assert tensorboard_numbers(run.directory) == rounded(numbers)
    assert wandb_numbers(run.directory) == numbers
    assert without_clock(mlflow_numbers(run.directory, monkeypatch)) == without_clock(numbers)
    assert len(mlflow_numbers(run.directory, monkeypatch)) == len(numbers)


@pytest.mark.slow
def test_a_server_that_is_gone_costs_one_warning_and_no_line(sft, tmp_path):
    run = Reported(SFT, tmp_path)
    run.variables = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}  # nobody listens there
    assert run.start() == 0, run.output
    assert run.output.count("fino1: mlflow is left out from here on: ") == 1, run.output
    assert (run.sha256, run.lines()) == (sft.sha256, sft.lines())
    assert wandb_numbers(run.directory) == run.numbers()


class Slow:
    """A tracker that holds nothing, counts what it is asked, and answers when it is told to."""

    def __init__(self, ends):
        self.ends, self.asked = ends, 0

    def store_init_configuration(self, values):
        pass

    def log(self, values, step):
        self.asked += 1
        self.ends.wait(30)


def log_of(tmp_path, monkeypatch, tracker):
    monkeypatch.setenv("FINO1_REPORT_TO", "wandb")
    monkeypatch.setitem(tracking._OPEN, "wandb", lambda run, resumed_at: tracking._Opened(tracker))
    run = SimpleNamespace(directory=tmp_path, spec=load.build(SFT, "F"))
    return tracking.Log(run, "step", 0)


def test_a_tracker_that_hangs_is_waited_for_once(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tracking, "_TIMEOUT_S", 0.2)
    ends = threading.Event()
    tracker = Slow(ends)
    log = log_of(tmp_path, monkeypatch, tracker)
    began = time.monotonic()
    for step in (1, 2, 3):
        log.write({"step": step, "loss": 0.5})
    log.close()
    took = time.monotonic() - began
    ends.set()
    assert took < 10 and tracker.asked == 1
    assert capsys.readouterr().err == (
        "fino1: wandb is left out from here on: no answer in 0 s; metrics.jsonl has every line\n"
    )
    assert (tmp_path / "metrics.jsonl").read_text().count("\n") == 3


def test_a_tracker_that_is_asked_for_later_gets_the_lines_before(tmp_path, monkeypatch):
    (tmp_path / "metrics.jsonl").write_text(
        '{"step": 1, "loss": 0.5}\n{"step": 2, "loss": 0.25}\n{"step": 3, "loss": 0.1}\n'
    )
    logged = []
    tracker = SimpleNamespace(
        store_init_configuration=lambda values: logged.append(values["seed"]),
        log=lambda values, step: logged.append((step, values)),
    )
    monkeypatch.setenv("FINO1_REPORT_TO", "wandb")
    monkeypatch.setitem(tracking._OPEN, "wandb", lambda run, resumed_at: tracking._Opened(tracker))
    run = SimpleNamespace(directory=tmp_path, spec=load.build(SFT, "F"))
    tracking.Log(run, "step", 2).write({"step": 3, "loss": 0.125})
    assert logged == [42, (1, {"loss": 0.5}), (2, {"loss": 0.25}), (3, {"loss": 0.125})]


def test_a_tracker_gets_no_number_that_it_holds(tmp_path, monkeypatch):
    opened = tracking._Opened(None, held={"loss": 3, "eval/loss": 2})
    assert [opened.lacks("loss", 3), opened.lacks("loss", 4), opened.lacks("eval/loss", 3)] == [False, True, True]
    assert opened.lacks("new", 0) and not opened.is_new
    assert not tracking._Opened(None, floor=3).lacks("loss", 3)


def test_a_document_is_flattened_to_its_single_values():
    document = {"a": {"b": 1, "c": []}, "d": [{"e": "x"}, True], "f": {}}
    assert tracking.flatten(document) == {"a.b": 1, "d.0.e": "x", "d.1": True}
