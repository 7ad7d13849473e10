"""Which trackers a run is told of, and what is missing; nothing here loads torch."""

import subprocess
import sys

import pytest

from fino1 import doctor, trackers
from fino1.errors import SpecError
from fino1.k8s.objects import pod
from fino1.k8s.objects import unit as units
from fino1.local import run as local
from fino1.spec import load
from fino1.spec.placement import Tracker

RUN = {"method": "sft", "gpus_per_node": 0, "data": {"task": "ledger"}}
URL = {"MLFLOW_TRACKING_URI": "http://mlflow.tools:5000"}
KEY = {"WANDB_API_KEY": {"name": "wandb", "key": "api-key"}}


def unit(**changes):
    (found,) = units.units(load.build({**RUN, **changes}, "F"), "abc")
    return found


def container(**changes):
    (main,) = pod.template(unit(**changes), "pytorch")["spec"]["containers"]
    return {variable["name"]: variable.get("value") for variable in main["env"]}


def test_every_tracker_of_the_spec_has_its_packages():
    assert sorted(Tracker.__args__) == sorted(trackers._PACKAGES)


def test_trackers_are_placement():
    """The object is another, the run is the same: it goes on from its checkpoints (docs/design.md C3)."""
    plain, reported = unit(), unit(report_to=["wandb"])
    assert plain.full != reported.full
    assert (load.config(plain.spec), plain.directory) == (load.config(reported.spec), reported.directory)


def test_the_pod_is_told_in_a_variable_that_a_run_file_cannot_set():
    assert container(report_to=["wandb", "mlflow"])["FINO1_REPORT_TO"] == "wandb,mlflow"
    assert "FINO1_REPORT_TO" not in container()
    with pytest.raises(SpecError, match="F: env.FINO1_REPORT_TO: expected a name that the pod does not set itself"):
        unit(env={"FINO1_REPORT_TO": "wandb"})


def test_a_run_on_this_machine_reports_to_what_its_file_says_whatever_the_shell_does(monkeypatch):
    monkeypatch.setenv("FINO1_REPORT_TO", "mlflow")
    told = [local._environment(load.build({**RUN, **more}, "F")) for more in ({}, {"report_to": ["wandb"]})]
    assert [environment["FINO1_REPORT_TO"] for environment in told] == ["", "wandb"]


def test_an_evaluation_reports_to_none():
    document = {
        "method": "eval",
        "eval": {"models": [{"name": "a", "run": "b"}], "tasks": [{"task": "ledger"}]},
        "report_to": ["wandb", "mlflow"],
    }
    with pytest.raises(SpecError, match="^F: report_to: expected none with method eval, got wandb, mlflow$"):
        load.build(document, "F")


@pytest.mark.parametrize(
    ("changes", "ports"),
    [
        ({}, []),
        ({"report_to": ["tensorboard", "wandb", "mlflow"]}, []),
        ({"report_to": ["wandb"], "secretEnv": KEY}, [443]),
        ({"report_to": ["wandb"], "secretEnv": KEY, "offline": True}, []),
        ({"report_to": ["wandb"], "secretEnv": KEY, "env": {"WANDB_BASE_URL": "https://wandb.me:8443/x"}}, [8443]),
        ({"secretEnv": KEY, "env": URL}, []),
        ({"report_to": ["mlflow"], "env": URL, "offline": True}, [5000]),
        ({"report_to": ["mlflow"], "env": {"MLFLOW_TRACKING_URI": "/work/mlruns"}}, []),
        ({"report_to": ["mlflow", "wandb"], "env": URL, "secretEnv": KEY, "data": {"hub": "a/b"}}, [443, 5000]),
    ],
)
def test_pods_reach_the_servers_that_the_run_reports_to(changes, ports):
    assert units.ports(unit(model={"init": {}}, **changes)) == ports


def test_a_tracker_below_a_method_s_block_is_found_at_the_top():
    with pytest.raises(SpecError, match="F: ppo.report_to: unknown key; there is report_to$"):
        load.build({"method": "ppo", "ppo": {"report_to": "wandb"}}, "F")


@pytest.fixture
def no_wandb(monkeypatch):
    monkeypatch.setitem(trackers._PACKAGES, "wandb", ("no-such-package",))


MISSING = "report_to: expected wandb to be installed, got none; pip install 'fino1[wandb]'"


def test_a_folder_of_a_tracker_s_name_is_no_package(no_wandb, monkeypatch, tmp_path):
    (tmp_path / "wandb").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert trackers.missing(["wandb"]) == [MISSING]


def test_a_run_on_this_machine_is_refused_before_it_starts(no_wandb):
    with pytest.raises(SpecError) as refused:
        local.check(load.build({**RUN, "report_to": ["wandb", "wandb"]}, "F"), "F")
    assert refused.value.problems == [f"F: {MISSING}"]


def test_doctor_misses_a_tracker_that_the_pod_is_told_of(no_wandb, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("FINO1_REPORT_TO", "wandb")
    doctor.examine(tmp_path, 0, "train")
    assert f"missing: {MISSING}" in capsys.readouterr().out


def test_a_container_without_the_tracker_ends_with_2_before_torch_is_loaded(tmp_path):
    (tmp_path / "config.json").write_text('{"method": "sft"}')
    program = (
        "import sys; from fino1 import __main__, trackers; trackers._PACKAGES['wandb'] = ('no-such-package',);"
        "code = __main__.main(['train', '--config', 'config.json']); assert 'torch' not in sys.modules; sys.exit(code)"
    )
    for told, text in (("wandb", f"config.json: {MISSING}\n"), ("wandb,x", "FINO1_REPORT_TO: expected of mlflow, ")):
        done = subprocess.run(
            [sys.executable, "-c", program],
            env={"FINO1_REPORT_TO": told, "PYTHONPATH": ":".join(sys.path)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 2 and done.stderr.startswith(text), done
