"""Is the chart as charts are: readable templates, no bare values, clean by `helm lint`, whole when packaged?"""

import json
import re
import subprocess

import pytest

from fino1.spec.yamlfile import read_yaml
from tests.charts.equality import CHARTS, RUNS, Refused, by_helm, by_render, read, template

CHART = CHARTS / "fino1"
CI_VALUES = sorted((CHART / "ci").glob("*-values.yaml"))
TEMPLATES = [path for path in (CHART / "templates").rglob("*") if path.is_file()]


# The templates


def test_templates_are_short():
    """At most 80 lines of 120 characters; an action that prints nothing has a line of its own."""
    assert len(TEMPLATES) > 20
    for path in TEMPLATES:
        lines = path.read_text().splitlines()
        assert len(lines) <= 80 and max(map(len, lines)) <= 120, path
        for line in lines:
            actions = re.findall(r"{{-?\s*(.*?)\s*-?}}", line)
            assert len(actions) <= 1 or not any(map(NOT_PRINTED.match, actions)), (path.name, line)


TEXT_ON_PURPOSE = {
    *(
        "fino1.chart",
        "fino1.container",
        "fino1.firstPod",
        "fino1.gang",
        "fino1.hashed",
        "fino1.image",
        "fino1.isLinked",
    ),
    *(
        "fino1.amount",
        "fino1.isDevice",
        "fino1.isMore",
        "fino1.kind",
        "fino1.ownGang",
        "fino1.port",
        "fino1.ranks",
        "fino1.readsHub",
        "fino1.units",
    ),
}
"""Helpers that return text, which each of their callers quotes or compares, or JSON for other templates."""
NOT_PRINTED = re.compile(r"/\*|(if|else|end|range|with|define|fail)\b|\$\w*\s*:?=")
CONSTANTS = re.compile(r'ternary "[^"]*" "[^"]*" \(')  # one of two words of ours
PRINTS_SAFELY = re.compile(r"(toJson|quote|toYaml|atoi|mul)\b")


def steps_of(action):
    """The pipeline's steps; a `|` in brackets is another pipeline's."""
    steps, depth = [""], 0
    for character in action:
        depth += {"(": 1, ")": -1}.get(character, 0)
        if character == "|" and depth == 0:
            steps.append("")
        else:
            steps[-1] += character
    return [step.strip() for step in steps]


def is_safe(steps, safe_variables):
    """Does the pipeline print JSON, quoted text, a whole number or a map's YAML, or what a helper of such has printed?"""
    steps = steps[:-1] if steps[-1].startswith("nindent ") else steps
    if len(steps) == 1 and steps[0] in safe_variables:
        return True
    if len(steps) == 1 and (helper := re.match(r'include "([^"]+)"', steps[0])):
        return helper[1] not in TEXT_ON_PURPOSE
    return PRINTS_SAFELY.match(steps[-1]) is not None


def bare_leaves(text):
    """Which actions print a value that YAML may take for another? (helm/helm#12195)

    A bare {{ .Values.n }} prints 1000000 as 1e+06, and text that YAML takes for something else.
    """
    helper, variables, found = "", set(), []
    for action in re.findall(r"{{-?\s*(.*?)\s*-?}}", text, re.DOTALL):
        if name := re.match(r'define "([^"]+)"', action):
            helper = name[1]
        if assigned := re.match(r"(\$\w+)\s*:?=\s*(.*)", action, re.DOTALL):
            (variables.add if is_safe(steps_of(assigned[2]), variables) else variables.discard)(assigned[1])
        is_text = helper in TEXT_ON_PURPOSE or helper.startswith(("fino1.complete", "fino1.notes", "fino1.plan"))
        if not (is_text or helper.startswith("fino1.unit")) and not NOT_PRINTED.match(action):
            found += [] if CONSTANTS.match(action) or is_safe(steps_of(action), variables) else [action]
    return found


def test_no_leaf_is_bare():
    texts = {path.name: path.read_text() for path in TEMPLATES if path.suffix != ".txt"}
    assert not {name: leaves for name, text in texts.items() if (leaves := bare_leaves(text))}


@pytest.mark.parametrize(
    "bare",
    [
        "n: {{ .Values.n }}",
        "n: {{ $unit.doc.nodes }}",
        'n: {{ printf "%s-test" $x }}',
        "n: {{- .a | default 3 -}}",
        'image: {{ include "fino1.image" . }}',
        "{{ .x | nindent 2 }}",
        'n: {{ ternary "a" .b .c }}',
        "{{ $x := .Values.n }}n: {{ $x }}",
        "n: {{ toJson .a | trim }}",
    ],
)
def test_a_bare_leaf_is_found(bare):
    assert bare_leaves(bare)


# The chart, by helm


def lint(helm, chart, *arguments):
    command = [helm, "lint", "--strict", chart, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.helm
@pytest.mark.parametrize("path", [None, *RUNS, *CI_VALUES], ids=lambda path: path.stem if path else "no values")
def test_lint(helm, path):
    code, said = lint(helm, CHART, *(["-f", path] if path else []))
    assert code == 0, said


@pytest.mark.slow
@pytest.mark.helm
def test_lint_of_a_mistake_goes_to_the_end(helm, tmp_path):
    """`fail` does not end `helm lint`: what the templates do then must not panic."""
    values = tmp_path / "values.yaml"
    for document in ({"method": "eval"}, {"sft": {"global_batch_size": 7}}):
        values.write_text(json.dumps(document))
        code, said = lint(helm, CHART, "-f", values)
        assert code == 0, said
        with pytest.raises(Refused):
            by_helm(helm, document, "abc", tmp_path)


def test_ci_values_are_of_every_method_and_backend():
    documents = [read_yaml(path) for path in CI_VALUES]
    assert {document["method"] for document in documents} == {"sft", "verifier", "ppo", "eval", "paths"}
    assert {document.get("backend") for document in documents} >= {"pytorchjob", "job", "jobset", "trainjob"}


@pytest.mark.slow
@pytest.mark.helm
@pytest.mark.parametrize("path", CI_VALUES, ids=lambda path: path.stem)
def test_ci_values(helm, path, tmp_path):
    document = read_yaml(path)
    assert by_helm(helm, document, "abc", tmp_path) == by_render(document, "abc")


def package(helm, chart, folder, *options):
    done = subprocess.run([helm, "package", chart, "-d", folder, *options], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    (found,) = folder.glob("fino1-*.tgz")
    return found


@pytest.mark.slow
@pytest.mark.helm
@pytest.mark.parametrize(("link", "name"), [("train", "sft"), ("eval", "eval")])
def test_package(helm, tmp_path, link, name):
    """A chart packaged through its link is whole: it renders as the folder does."""
    values = CHARTS.parent / "manifests" / "runs" / f"{name}.yaml"
    packed = package(helm, CHARTS / link, tmp_path)
    assert template(helm, name, packed, "-f", values) == template(helm, name, CHART, "-f", values)


@pytest.mark.slow
@pytest.mark.helm
def test_a_version_with_build_metadata(helm, tmp_path):
    """A label's value has no `+`; nothing else holds the chart's version."""
    packed = package(helm, CHART, tmp_path, "--version", "0.1.0+abc")
    values = CHARTS.parent / "manifests" / "runs" / "sft-tiny.yaml"
    found, plain = read(template(helm, "abc", packed, "-f", values)), by_render(read_yaml(values), "abc")
    labels = {thing["metadata"]["labels"].pop("helm.sh/chart", None) for thing in found.values()}
    assert labels - {None} == {"fino1-0.1.0_abc"}
    for thing in plain.values():
        thing["metadata"]["labels"].pop("helm.sh/chart", None)
    assert found == plain


@pytest.mark.slow
@pytest.mark.helm
def test_the_defaults_are_the_seeds_job(helm, tmp_path):
    """`helm install fino1-sft charts/train`, without any values."""
    objects = by_helm(helm, {}, "fino1-sft", tmp_path)
    assert objects == by_render({"method": "sft"}, "fino1-sft")
    (job,) = (thing for (kind, _), thing in objects.items() if kind == "PyTorchJob")
    worker = job["spec"]["pytorchReplicaSpecs"]["Worker"]
    assert worker["replicas"] == 1 and job["spec"]["nprocPerNode"] == "8"
    assert worker["template"]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "8"
    (config,) = (thing for (kind, _), thing in objects.items() if kind == "ConfigMap")
    sft = json.loads(config["data"]["config.json"])["sft"]
    assert (sft["learning_rate"], sft["num_train_epochs"], sft["global_batch_size"]) == (5e-6, 3, 128)


@pytest.mark.slow
@pytest.mark.helm
def test_an_evaluation_has_no_defaults(helm, tmp_path):
    with pytest.raises(Refused) as refused:
        by_helm(helm, {"method": "eval"}, "fino1-eval", tmp_path)
    assert refused.value.paths == {"eval.models", "eval.tasks"}
