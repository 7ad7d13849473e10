"""Does `render` print what `submit` applies?"""

import json

import pytest
import yaml

from fino1.k8s import cli
from fino1.k8s.objects.render import render
from fino1.k8s.objects.unit import units
from fino1.k8s.state.run import Run, newest_of_each
from fino1.k8s.state.status import Standing
from fino1.k8s.verbs.ps import _groups
from fino1.spec import load, recipe


@pytest.fixture
def printed(capsys):
    """`printed(run, *options)`: the objects that `render` prints as YAML, which are those that it prints as JSON."""

    def run(*arguments):
        assert cli.main(["render", *arguments]) == 0
        objects = list(yaml.safe_load_all(capsys.readouterr().out))
        assert cli.main(["render", *arguments, "-o", "json"]) == 0
        assert json.loads(capsys.readouterr().out) == {"apiVersion": "v1", "kind": "List", "items": objects}
        return objects

    return run


@pytest.mark.parametrize("run", ["sft", "ppo-tiny", "eval"])
def test_the_test_pod_comes_when_it_is_asked_for(printed, run):
    """`render | kubectl apply` would start it."""
    objects, with_tests = printed(run), printed(run, "--tests")
    assert with_tests == render(*recipe.read_run(run, [], [], None), tests=True)
    assert not [thing for thing in objects if thing["kind"] == "Pod"]
    assert with_tests[:-1] == objects and with_tests[-1]["metadata"]["annotations"]["helm.sh/hook"] == "test"


def submitted(objects, created):
    """The run objects among these, as the cluster holds them."""
    return [
        Run({**thing, "metadata": {**thing["metadata"], "namespace": "ns", "creationTimestamp": created}})
        for thing in objects
        if thing["kind"] == "Job"
    ]


def test_models_whose_names_are_cut_to_the_same_stay_two():
    """An object's name holds 34 letters of run and model. So do `status`, `why`, `logs` and `ps`, also beside older runs."""
    models = [{"name": f"fino1-8b-{last}", "run": "sft"} for last in ("a.b", "a-b", "b")]
    document = {"method": "eval", "gpus_per_node": 0, "eval": {"models": models, "tasks": [{"task": "ledger"}]}}
    objects, before = (render(load.build(document, "F"), "x" * 34) for _ in range(2))
    runs = submitted(objects, "2026-11-23T11:00:00Z")
    assert {run.series[0] for run in runs} == {"x" * 34} and len({run.full for run in runs}) == 3
    newest = newest_of_each([*runs, *submitted(objects, "2026-11-22T11:00:00Z")])
    assert [(run.model, run.created[9:10]) for run in newest] == [(model["name"], "3") for model in models]
    for thing in before:
        thing["metadata"].get("annotations", {}).pop("fino1/model", None)  # as a version before wrote them
    assert newest_of_each([*runs, *submitted(before, "2026-11-22T11:00:00Z")]) == newest
    assert [len(group) for group in _groups([Standing(run, []) for run in runs * 2])] == [3, 3]


def test_a_model_s_own_gpus_and_arguments_are_its_server_s():
    """They change no other model's objects, and GPUs no directory: those are placement (docs/design.md C3)."""

    def rendered(**own):
        models = [{"name": "a", "hub": "x/a", **own}, {"name": "b", "hub": "x/b"}]
        document = {"method": "eval", "gpus_per_node": 1, "eval": {"models": models, "tasks": [{"task": "ledger"}]}}
        spec = load.build(document, "F")
        jobs = [thing for thing in render(spec, "m") if thing["kind"] == "Job"]
        servers = [job["spec"]["template"]["spec"]["initContainers"][-1] for job in jobs]
        counts = [(each["resources"]["limits"]["nvidia.com/gpu"], each["args"]) for each in servers]
        return [job["metadata"]["name"] for job in jobs], [unit.directory for unit in units(spec, "m")], counts

    names, directories, servers = rendered()
    others = rendered(gpus=4, server_args=["--quantization", "fp8"])
    assert others[0][1] == names[1] and others[0][0] != names[0]
    assert others[1][0] != directories[0] and others[1][1] == directories[1]
    (gpus, arguments), other = others[2]
    assert other == servers[1]
    at = arguments.index("--tensor-parallel-size")
    assert (gpus, arguments[at:]) == ("4", ["--tensor-parallel-size", "4", "--quantization", "fp8"])
    assert rendered(gpus=4)[1] == directories
