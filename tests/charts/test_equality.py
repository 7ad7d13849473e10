"""helm = `fino1-k8s render` = manifests/, for every built-in run file and for drawn documents (docs/design.md C1)."""

import functools

import pytest

from fino1.spec import load
from fino1.spec.yamlfile import read_yaml
from tests.charts import drawn
from tests.charts.equality import CHARTS, RUNS, Refused, all_by_helm, by_helm, by_render, in_base, read, template

pytestmark = [pytest.mark.slow, pytest.mark.helm]


def both(helm, document, folder, name="abc"):
    """What both make of it: objects, or the refusal."""
    answers = []
    for make in (lambda: by_helm(helm, document, name, folder), lambda: by_render(document, name)):
        try:
            answers.append(make())
        except Refused as refused:
            answers.append(refused)
    return answers


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.stem)
def test_run_files(helm, path):
    """Typed as in README: `charts/train` and `charts/eval` are links."""
    document = read_yaml(path)
    chart = CHARTS / ("eval" if document["method"] == "eval" else "train")
    helms = read(template(helm, path.stem, chart, "-f", path))
    assert helms == by_render(document, path.stem)
    assert helms == {**in_base(path)[0], **in_base(path)[1]}, "make generate"


NAMES = ["abc", "a", "run-1", "x" * 34]


@pytest.mark.parametrize("name", NAMES)
def test_sound_documents(helm, tmp_path, name):
    """Drawn documents. Of what 600 show (kinds, keys and lengths of lists that are rendered), 200 show seven eighths."""
    mine = drawn.some(200)[NAMES.index(name) :: len(NAMES)]
    for document, helms in zip(mine, all_by_helm(helm, mine, name, tmp_path / "cases"), strict=True):
        assert helms == by_render(document, name), document


SOUND = {
    "sft": {"method": "sft", "gpus_per_node": 0, "data": {"task": "ledger"}},
    "eval": {
        "method": "eval",
        "gpus_per_node": 0,
        "eval": {"models": [{"name": "a", "run": "b"}], "tasks": [{"task": "ledger"}]},
    },
    "paths": {
        "method": "paths",
        "gpus_per_node": 0,
        "paths": {"writer": {"run": "b"}, "tasks": [{"task": "ledger"}]},
    },
}


def test_every_wrong_value_of_every_key(helm, tmp_path):
    """The first wrong value of each key together in one document, then the second, …: both name exactly these keys.

    What the schema lets through (numbers as text) is a document of its own: Helm renders nothing that the schema refuses.
    """
    leaves = drawn.leaves()
    assert len(leaves) > 150
    for turn in range(max(len(drawn.faults(node)) for _, node in leaves)):
        faults = [(path, node, drawn.faults(node)[turn]) for path, node in leaves if turn < len(drawn.faults(node))]
        for late in (False, True):
            wrong = {path: value for path, node, value in faults if drawn.passes_the_schema(node, value) == late}
            if wrong:
                document = functools.reduce(
                    lambda whole, each: drawn.with_fault(whole, *each), wrong.items(), SOUND["sft"]
                )
                helms, mine = both(helm, document, tmp_path)
                assert isinstance(helms, Refused) and isinstance(mine, Refused)
                assert helms.paths == mine.paths, (turn, late, helms.text, mine.text)
                keys = {".".join(path) for path in wrong}
                assert {min(key for key in keys if f"{path}.".startswith(f"{key}.")) for path in mine.paths} == keys


def server(method="eval", **keys):
    return SOUND[method] | {"gpus_per_node": 1, method: SOUND[method][method] | {"server": keys}}


STANDS = {  # a key over what follows where it is not given → a document with it, and what both then print
    "engine": (server(engine="transformers"), "fino1/train:"),
    "engine of paths": (server("paths", engine="transformers", args=["--x"]), "fino1/train:"),
    "arguments of paths": (server("paths", args=["--seed=7"]), "'--seed=7'"),
    "image of vllm": (server(image="a/b:1"), "'image': 'a/b:1'"),
    "image of transformers": (server(engine="transformers", image="a/b:1"), "'image': 'a/b:1'"),
    "processes": (SOUND["sft"] | {"processes_per_node": 2}, "'nprocPerNode': '2'"),
}


@pytest.mark.parametrize("name", STANDS)
def test_a_key_that_is_given_stands_over_its_default(helm, tmp_path, name):
    document, printed = STANDS[name]
    helms, mine = both(helm, document, tmp_path)
    assert helms == mine
    assert printed in str(mine)


def searches(**keys):
    return {"method": "paths", "paths": SOUND["paths"]["paths"] | keys}


CROSSED = {
    "unknown key": ({"sft": {"batch_size": 1}}, "sft.batch_size"),
    "unknown key in a list": ({"data": {"exclude": [{"task": "ledger", "x": 1}]}}, "data.exclude.0.x"),
    "unknown key of a map": ({"env": {"1a": "x"}}, "env.1a"),
    "unknown column": ({"data": {"columns": {"Q": "x"}}}, "data.columns.Q"),
    "required": ({"secretEnv": {"A": {"name": "x"}}}, "secretEnv.A.key"),
    "batch": ({"sft": {"global_batch_size": 7}}, "sft.global_batch_size"),
    "batch as text": ({"sft": {"global_batch_size": "7"}}, "sft.global_batch_size"),
    "accumulation": ({"sft": {"gradient_accumulation_steps": 3}}, "sft.gradient_accumulation_steps"),
    "mini-batches": ({"method": "ppo", "ppo": {"num_mini_batches": 3}}, "ppo.global_batch_size"),
    "generations": ({"method": "ppo", "ppo": {"num_generations": 5}}, "ppo.num_generations"),
    "leave one out": ({"method": "ppo", "ppo": {"leave_one_out": True}}, "ppo.leave_one_out"),
    "two sources": ({"model": {"hub": "a", "path": "/b"}}, "model"),
    "revision": ({"model": {"revision": "a"}}, "model.revision"),
    "heads": ({"model": {"init": {"hidden_size": 100, "num_attention_heads": 3}}}, "model.init.hidden_size"),
    "odd heads": ({"model": {"init": {"hidden_size": 12, "num_attention_heads": 4}}}, "model.init.hidden_size"),
    "kv heads": ({"model": {"init": {"num_key_value_heads": 3}}}, "model.init.num_key_value_heads"),
    "policy": ({"method": "ppo", "model": {"init": {}}}, "model.init"),
    "chat template": (
        {"method": "verifier", "model": {"chat_template_kwargs": {"a": 1}}},
        "model.chat_template_kwargs",
    ),
    "classifier": ({"method": "ppo", "ppo": {"reward": {"source": "model"}}}, "ppo.reward.model"),
    "no judge": ({"method": "ppo", "ppo": {"reward": {"source": "mix"}}}, "ppo.reward.judge"),
    "no endpoint of a judge": (
        {"method": "ppo", "ppo": {"reward": {"source": "judge", "judge": {"hub": "a/b"}}}},
        "ppo.reward.judge.base_url",
    ),
    "a judge's key": (
        {"method": "ppo", "ppo": {"reward": {"judge": {"base_url": "http://x/v1", "api_key_env": "KEY"}}}},
        "ppo.reward.judge.api_key_env",
    ),
    "a judge's dollars": (
        {"method": "ppo", "ppo": {"reward": {"judge": {"base_url": "http://x/v1", "budget": {"dollars": 1}}}}},
        "ppo.reward.judge.price",
    ),
    "a judge's path": (
        {"method": "ppo", "ppo": {"reward": {"judge": {"base_url": "http://x/v1", "path": "a"}}}},
        "ppo.reward.judge.path",
    ),
    "sharding": ({"method": "ppo", "gpus_per_node": 2, "launch": {"zero_stage": "2"}}, "launch.zero_stage"),
    "offload": ({"launch": {"zero_stage": 0, "offload_optimizer_device": "cpu"}}, "launch.offload_optimizer_device"),
    "offload of PPO": ({"method": "ppo", "launch": {"offload_param_device": "cpu"}}, "launch.offload_param_device"),
    "no rows": ({"method": "verifier", "data": {"task": None}}, "data"),
    "two rows": ({"data": {"task": None, "path": "/a", "hub": "b"}}, "data"),
    "rows of a run and others": ({"data": {"run": "a"}}, "data.run"),
    "rows of a run for a verifier": ({"method": "verifier", "data": {"task": None, "run": "a"}}, "data.run"),
    "excluded": ({"data": {"exclude": [{"task": "finqa"}]}}, "data.exclude.0"),
    "no such part": ({"data": {"exclude": [{"task": "finqa", "path": "/a", "fold": "3/2"}]}}, "data.exclude.0.fold"),
    "a part of what is generated": ({"data": {"fold": "1/2"}}, "data.fold"),
    "a variable of ours": (
        {"model": {"chat_template_kwargs": {"messages": []}}},
        "model.chat_template_kwargs.messages",
    ),
    "programs of the ledger": ({"data": {"answer": "program"}}, "data.answer"),
    "programs of rows without any": ({"data": {"task": "tatqa", "path": "/a", "answer": "program"}}, "data.answer"),
    "programs of a verifier": (
        {"method": "verifier", "data": {"task": "finqa", "path": "/a", "answer": "program"}},
        "data.answer",
    ),
    "wording of programs": (
        {"data": {"task": "finqa", "path": "/a", "answer": "program", "prompt": "paper"}},
        "data.prompt",
    ),
    "reward of programs": (
        {
            "method": "ppo",
            "data": {"task": "finqa", "path": "/a", "answer": "program"},
            "ppo": {"reward": {"source": "mix"}},
        },
        "ppo.reward.source",
    ),
    "evidence of the ledger": ({"data": {"evidence": "facts"}}, "data.evidence"),
    "wording of programs that are asked": (
        {
            "method": "eval",
            "eval": {
                "prompt": "paper",
                "tasks": [{"task": "finqa", "path": "/a", "answer": "program", "evidence": "page"}],
            },
        },
        "eval.prompt",
    ),
    "evidence that is asked": (
        searches(tasks=[{"task": "tatqa", "path": "/a", "evidence": "page"}]),
        "paths.tasks.0.evidence",
    ),
    "programs of paths": (
        searches(exclude=[{"task": "finqa", "path": "/a", "answer": "program"}]),
        "paths.exclude.0.answer",
    ),
    "relative path": ({"data": {"path": "rows.jsonl"}}, "data.path"),
    "relative model": ({"model": {"path": "out/model"}}, "model.path"),
    "trackers": (
        {
            "method": "eval",
            "report_to": ["mlflow"],
            "eval": {"models": [{"name": "a", "run": "b"}], "tasks": [{"task": "ledger"}]},
        },
        "report_to",
    ),
    "no models": ({"method": "eval"}, "eval.models"),
    "no tasks": ({"method": "eval"}, "eval.tasks"),
    "no source": ({"method": "eval", "eval": {"models": [{"name": "a"}]}}, "eval.models.0"),
    "random weights": ({"method": "eval", "eval": {"models": [{"name": "a", "init": {}}]}}, "eval.models.0.init"),
    "dollars without a price": (
        {"method": "eval", "eval": {"models": [{"name": "a", "base_url": "http://x/v1"}], "budget": {"dollars": 1}}},
        "eval.models.0.price",
    ),
    "no writer": ({"method": "paths", "paths": {"tasks": [{"task": "ledger"}]}}, "paths.writer"),
    "no questions": ({"method": "paths", "paths": {"writer": {"run": "b"}}}, "paths.tasks"),
    "questions of no place": (searches(tasks=[{"task": "finqa"}]), "paths.tasks.0"),
    "evaluated questions of no place": (searches(exclude=[{"task": "finqa"}]), "paths.exclude.0"),
    "relative rows": (searches(exclude=[{"task": "finqa", "path": "a"}]), "paths.exclude.0.path"),
    "relative writer": ({"paths": {"writer": {"path": "out/model"}}}, "paths.writer.path"),
    "trackers of paths": (searches() | {"report_to": ["mlflow"]}, "report_to"),
    "a pod that serves two": (searches(judge={"run": "c"}), "paths.judge.base_url"),
    "no key of a judge": (searches(judge={"base_url": "http://x", "api_key_env": "K"}), "paths.judge.api_key_env"),
    "dollars of paths": (searches(judge={"base_url": "http://x"}, budget={"dollars": 1}), "paths.judge.price"),
    "no source of a judge": ({"paths": {"judge": {"max_tokens": 9}}}, "paths.judge"),
    "no endpoint of an extractor": (
        {"method": "eval", "eval": {"extraction": {"hub": "a/b"}}},
        "eval.extraction.base_url",
    ),
    "an extractor's key": (
        {
            "method": "eval",
            "eval": {
                "models": [{"name": "a", "run": "b"}],
                "tasks": [{"task": "ledger"}],
                "extraction": {"base_url": "http://x/v1", "api_key_env": "KEY"},
            },
        },
        "eval.extraction.api_key_env",
    ),
    "an extractor's dollars": (
        {"method": "eval", "eval": {"extraction": {"base_url": "http://x/v1"}, "budget": {"dollars": 1}}},
        "eval.extraction.price",
    ),
    "an extractor's path": ({"eval": {"extraction": {"base_url": "http://x/v1", "path": "a"}}}, "eval.extraction.path"),
    "no source of an extractor": ({"eval": {"extraction": {"max_tokens": 9}}}, "eval.extraction"),
    "samples of greedy answers": ({"method": "eval", "eval": {"samples": 4, "temperature": 0}}, "eval.samples"),
    "same name": ({"method": "eval", "eval": {"models": [{"name": "a", "run": "b"}] * 2}}, "eval.models"),
    "no key": (
        {
            "method": "eval",
            "eval": {
                "models": [{"name": "a", "base_url": "http://x", "api_key_env": "K"}],
                "tasks": [{"task": "ledger"}],
            },
        },
        "eval.models.0.api_key_env",
    ),
}


@pytest.mark.parametrize("case", CROSSED)
def test_what_no_schema_can_say(helm, tmp_path, case):
    changes, path = CROSSED[case]
    document = load.merge(SOUND["sft"], changes)
    helms, mine = both(helm, document, tmp_path)
    assert isinstance(mine, Refused) and isinstance(helms, Refused)
    assert path in mine.paths, mine
    assert path in helms.paths, helms


NO_POD_STARTS = [  # documents, and the path of each mistake in them
    (
        {
            "volumes": {"models": {"claimName": "fino1-work", "size": "0.0"}},
            "env": {"PET_NNODES": "2", "A": "2"},
            "secretEnv": {"A": {"name": "x", "key": "y"}},
            "image": {"repository": "registry:5000/x:v3"},
            "gang": "volcano",
            "podLabels": dict.fromkeys(
                ["app.kubernetes.io/name", "fino1/run", "scheduling.x-k8s.io/pod-group", "a"], "x"
            ),
            "podAnnotations": {"scheduling.k8s.io/group-name": "x", "fino1/run": "x"},
            "tolerations": [
                {"key": "a", "operator": "Exists", "value": "x"},
                {"key": "a", "effect": "NoSchedule", "tolerationSeconds": 0},
                {"value": "x"},
                {"key": "a", "tolerationSeconds": 30},
                {"operator": "Exists"},
            ],
            "resources": {
                "requests": {"cpu": 2, "memory": "4Gi", "a/b": 1, "c/d": 1, "e/f": 3, "x.kubernetes.io/g": "9"},
                "limits": {"cpu": "1500m", "memory": "400m", "a/b": 2, "e/f": "3.0", "x.kubernetes.io/g": "10.5"},
            },
        },
        """volumes.models.claimName volumes.models.size env.PET_NNODES secretEnv.A image.repository podLabels.fino1/run
        podLabels.app.kubernetes.io/name podLabels.scheduling.x-k8s.io/pod-group podAnnotations.scheduling.k8s.io/group-name
        tolerations.0.value tolerations.1.tolerationSeconds tolerations.2.key tolerations.3.tolerationSeconds
        resources.requests.cpu resources.requests.memory resources.requests.a/b resources.requests.c/d
        resources.limits.memory shmSize""",
    ),
    (
        {
            "resources": {
                "limits": {"hugepages-2Mi": "3Mi", "c/d": "500m", "nvidia.com/gpu": 1},
                "requests": {"hugepages-1Gi": "1Gi", "requests.a.b/c": 1},
            },
            "podLabels": {"scheduling.x-k8s.io/pod-group": "x", "job-name": "x"},
            "rdma": {"resource": "nvidia.com/gpu"},
            "volumes": {"work": {"accessModes": []}, "models": {"accessModes": ["ReadWriteMany", "ReadWriteOncePod"]}},
        },
        """podLabels.job-name rdma.resource volumes.work.accessModes
        volumes.models.accessModes resources.limits.hugepages-2Mi resources.limits.c/d resources.limits.nvidia.com/gpu
        resources.requests.hugepages-1Gi resources.requests.requests.a.b/c""",
    ),
    (
        {
            "image": {"repository": "ghcr.io/Fino1/train", "tag": "a b"},
            "gpu": {"resource": "gpu"},
            "resources": {"requests": {"memorz": 1, "pods": 1}},
            "podLabels": {"a..b/c": "x"},
            "queue": "a" * 64,
            "secretEnv": {"A": {"name": "a..b", "key": "..x"}, "..B": {"name": "a", "key": "b"}},
            "eval": {"server": {"image": "v@sha256:00ff"}},
        },
        """image.repository image.tag gpu.resource resources.requests.memorz resources.requests.pods podLabels.a..b/c queue
        secretEnv.A.name secretEnv.A.key secretEnv...B eval.server.image""",
    ),
]


@pytest.mark.parametrize("i", range(len(NO_POD_STARTS)))
def test_what_no_pod_would_start_with(helm, tmp_path, i):
    changes, paths = NO_POD_STARTS[i]
    helms, mine = both(helm, load.merge(SOUND["sft"], changes), tmp_path)
    assert isinstance(mine, Refused) and isinstance(helms, Refused)
    assert mine.paths == helms.paths == set(paths.split())


def test_what_kubernetes_takes(helm, tmp_path):
    """Dots in objects' names, lower-case variables, every way to write a quantity."""
    changes = {
        "image": {"pullSecrets": ["team.a"], "repository": "Registry.example.com/a__b/c", "tag": "_1.20-rc"},
        "queue": "team.a",
        "workloadPriorityClass": "high.a",
        "priorityClassName": "system.high",
        "serviceAccountName": f"{'a' * 64}.b",
        "volumes": {
            "work": {"claimName": "w.1", "storageClassName": "fast.x", "size": "1."},
            "models": {"claimName": "2"},
        },
        "env": {"http_proxy": "x", ".a-b": "x", "HTTPS_PROXY": "y"},
        "secretEnv": {"no_proxy": {"name": "a.b", "key": ".x"}},
        "podAnnotations": {"Example.com/Note": "x"},
        "resources": {"requests": {"cpu": ".5", "memory": "0.7e1"}, "limits": {"cpu": "5e-1", "memory": "2Ti"}},
    }
    helms, mine = both(helm, load.merge(SOUND["sft"], changes), tmp_path)
    assert helms == mine and not isinstance(mine, Refused)


def test_a_judge_s_port_and_key_reach_the_pods(helm, tmp_path):
    """Only where the reward asks it; then the run has another name."""
    judge = {"base_url": "http://gpu7:8000/v1", "api_key_env": "KEY"}
    document = {"method": "ppo", "offline": True, "secretEnv": {"KEY": {"name": "a", "key": "b"}}}
    for source in ("rule", "mix"):
        asks = load.merge(document, {"ppo": {"reward": {"source": source, "judge": judge}}})
        helms, mine = both(helm, asks, tmp_path)
        assert helms == mine
        (network,) = [thing["spec"] for (kind, _), thing in mine.items() if kind == "NetworkPolicy"]
        rule = {"ports": [{"port": 8000, "protocol": "TCP"}]}
        assert (rule in network["egress"]) == (source == "mix")
        assert "'secretKeyRef': {'name': 'a', 'key': 'b'" in str(mine)


def test_an_extractor_s_port_and_key_reach_the_pods_of_every_model(helm, tmp_path):
    """It is no further model of the evaluation; the run has another name."""
    models = [{"name": name, "base_url": "http://gpu7:8000/v1"} for name in "ab"]
    document = {"method": "eval", "offline": True, "eval": {"models": models, "tasks": [{"task": "ledger"}]}}
    names = []
    for extraction in (None, {"base_url": "https://api.example.com/v1", "api_key_env": "KEY"}):
        changes = {"secretEnv": {"KEY": {"name": "a", "key": "b"}}, "eval": {"extraction": extraction}}
        helms, mine = both(helm, load.merge(document, changes), tmp_path)
        assert helms == mine
        networks = [thing["spec"] for (kind, _), thing in mine.items() if kind == "NetworkPolicy"]
        ports = [[port["port"] for rule in network["egress"] for port in rule.get("ports", [])] for network in networks]
        assert [443 in each for each in ports] == [extraction is not None] * 2
        names.append({name for kind, name in mine if kind == "Job"})
    assert [len(each) for each in names] == [2, 2]
    assert not names[0] & names[1]


@pytest.mark.parametrize(
    ("store", "env", "port"),
    [
        ("s3://bucket/a", {}, 443),
        ("s3://bucket", {"AWS_ENDPOINT_URL": "http://minio:9000"}, 9000),
        ("s3a://bucket", {"AWS_ENDPOINT_URL": "http://no", "AWS_ENDPOINT_URL_S3": "http://minio.svc"}, 80),
        ("hdfs://node:8020/a", {"AWS_ENDPOINT_URL": "http://minio:9000"}, 8020),
        ("abfs://a@b.example.com/c", {}, 443),
        (None, {"AWS_ENDPOINT_URL": "http://minio:9000"}, None),
    ],
)
def test_a_store_s_port_and_keys_reach_the_pods(helm, tmp_path, store, env, port):
    models, tasks = [{"name": "a", "base_url": "http://gpu7:8000/v1"}], [{"task": "ledger"}]
    document = {"method": "eval", "env": env, "secretEnv": {"AWS_SECRET_ACCESS_KEY": {"name": "s3", "key": "secret"}}}
    document["eval"] = {"models": models, "tasks": tasks, "store": store}
    helms, mine = both(helm, document, tmp_path)
    assert helms == mine
    (network,) = [thing["spec"] for (kind, _), thing in mine.items() if kind == "NetworkPolicy"]
    ports = [each["port"] for rule in network["egress"] for each in rule.get("ports", []) if each["port"] != 53]
    assert ports == sorted(filter(None, [port, 8000]))
    assert "'secretKeyRef': {'name': 's3', 'key': 'secret'" in str(mine)


@pytest.mark.parametrize("method", ["sft", "ppo", "verifier"])
def test_the_original_job_needs_no_values(helm, tmp_path, method):
    """Llama-3.1-8B-Instruct on 8 GPUs, on the published reasoning paths; a verifier's rows must be named."""
    document = {"method": method, **({"data": {"hub": "a/b"}} if method == "verifier" else {})}
    helms, mine = both(helm, document, tmp_path)
    assert helms == mine
    (pod,) = [thing["spec"] for (kind, _), thing in mine.items() if kind == "PyTorchJob"]
    container = pod["pytorchReplicaSpecs"]["Worker"]["template"]["spec"]["containers"][0]
    assert container["resources"]["limits"] == {"nvidia.com/gpu": "8"}
    (network,) = [thing["spec"] for (kind, _), thing in mine.items() if kind == "NetworkPolicy"]
    assert {"ports": [{"port": 443, "protocol": "TCP"}]} in network["egress"]


def test_empty_text_wins_too(helm, tmp_path):
    """Over a variable, a node label of ours: Helm's own merge would pass over it."""
    changes = {
        "env": {"NCCL_DEBUG": "", "OMP_NUM_THREADS": ""},
        "podLabels": {"a": ""},
        "podAnnotations": {"a": ""},
        "gpus_per_node": 1,
        "gpu": {"product": "x"},
        "nodeSelector": {"nvidia.com/gpu.product": ""},
    }
    helms, mine = both(helm, load.merge(SOUND["sft"], changes), tmp_path)
    assert helms == mine


@pytest.mark.parametrize("name", ["Abc", "1a", "a.b", "x" * 35, "a-"])
def test_names(helm, tmp_path, name):
    helms, mine = both(helm, SOUND["sft"], tmp_path, name)
    assert isinstance(mine, Refused) and "name of the run (--name, or that of its file)" in mine.paths
    assert isinstance(helms, Refused)


def test_values_from_the_command_line(helm, tmp_path):
    """`helm --set` makes text of 5e-7; the objects, hashes included, are those of the number. 1.20 is an image's tag as typed."""
    numbers = ["sft.learning_rate=5e-7", "sft.max_length=99", "resources.limits.cpu=1.50"]
    assignments = [*numbers, "image.tag=1.20", r"nodeSelector.nvidia\.com/gpu\.product=1e5"]
    options = [word for each in assignments for word in ("--set", each)]
    helms = by_helm(helm, SOUND["sft"], "abc", tmp_path, *options, "--set-json", "seed=3")
    assert helms == by_render(load.layered([SOUND["sft"], load.parse_set([*assignments, "seed=3"])]), "abc")
