"""Does `render` print what `submit` applies?"""

import json

import pytest
import yaml

from fino1.k8s import cli
from fino1.k8s.objects.render import render
from fino1.spec import recipe


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
