import copy
import dataclasses
import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fino1.k8s.objects.lint import RULES, lint

NAME = "sft-0123456789"
POD = yaml.safe_load("""
metadata: {labels: {app.kubernetes.io/part-of: fino1, fino1/run: sft-0123456789}}
spec:
  serviceAccountName: sft-0123456789
  automountServiceAccountToken: false
  terminationGracePeriodSeconds: 600
  nodeSelector: {nvidia.com/gpu.product: NVIDIA-H100-80GB-HBM3}
  tolerations: [{key: nvidia.com/gpu, operator: Exists, effect: NoSchedule}]
  securityContext:
    {runAsNonRoot: true, runAsUser: 10001, runAsGroup: 10001, fsGroup: 10001, seccompProfile: {type: RuntimeDefault}}
  containers:
    - name: pytorch
      image: ghcr.io/fino1/train@sha256:00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff
      args: [train, --config, /etc/fino1/config.json]
      securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
      env:
        - {name: HF_HOME, value: /models}
        - {name: HF_TOKEN, valueFrom: {secretKeyRef: {name: huggingface, key: token}}}
        - {name: PET_MASTER_ADDR, value: sft-0123456789-worker-0}
        - {name: PET_MASTER_PORT, value: "29500"}
        - {name: PET_NNODES, value: "2"}
        - name: PET_NODE_RANK
          valueFrom: {fieldRef: {fieldPath: "metadata.labels['training.kubeflow.org/replica-index']"}}
        - {name: PET_NPROC_PER_NODE, value: "8"}
        - {name: PYTHONUNBUFFERED, value: "1"}
      resources:
        requests: {cpu: "16", memory: 256Gi}
        limits: {memory: 512Gi, nvidia.com/gpu: "8"}
      volumeMounts:
        - {name: config, mountPath: /etc/fino1, readOnly: true}
        - {name: work, mountPath: /work}
        - {name: models, mountPath: /models}
        - {name: shm, mountPath: /dev/shm}
        - {name: tmp, mountPath: /tmp}
  volumes:
    - {name: config, configMap: {name: sft-0123456789}}
    - {name: work, persistentVolumeClaim: {claimName: fino1-work}}
    - {name: models, persistentVolumeClaim: {claimName: fino1-models}}
    - {name: shm, emptyDir: {medium: Memory, sizeLimit: 64Gi}}
    - {name: tmp, emptyDir: {}}
""")
FATAL = {"containerName": "pytorch", "operator": "In", "values": list(range(1, 128))}
POLICY = {
    "rules": [
        {"action": "FailJob", "onExitCodes": FATAL},
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
    ]
}
CONFIG = {
    "method": "sft",
    "model": {"path": "/models/base"},
    "data": {"path": "/work/rows.jsonl"},
    "ppo": {"stop_token": "eos"},
}


def thing(api, kind, spec=None, name=NAME, **keys):
    metadata = {"name": name, "labels": {"app.kubernetes.io/part-of": "fino1", "kueue.x-k8s.io/queue-name": "gpus"}}
    return {"apiVersion": api, "kind": kind, "metadata": metadata, **({} if spec is None else {"spec": spec}), **keys}


def job_spec(container):
    pod = copy.deepcopy(POD)
    pod["spec"]["restartPolicy"] = "Never"
    pod["spec"]["containers"][0]["name"] = container
    policy = copy.deepcopy(POLICY)
    policy["rules"][0]["onExitCodes"]["containerName"] = container
    counts = {"completionMode": "Indexed", "completions": 2, "parallelism": 2, "backoffLimit": 0}
    return {**counts, "podFailurePolicy": policy, "template": pod}


def jobset_spec():
    rule = {"name": "fatal", "action": "FailJobSet", "onJobFailureReasons": ["PodFailurePolicy"]}
    node = {"name": "node", "replicas": 1, "template": {"spec": job_spec("node")}}
    return {"failurePolicy": {"maxRestarts": 6, "rules": [rule]}, "replicatedJobs": [node]}


def around():
    return [
        thing("v1", "PersistentVolumeClaim", {"accessModes": ["ReadWriteMany"]}, name="fino1-work"),
        thing("v1", "ServiceAccount", automountServiceAccountToken=False),
        thing("v1", "ConfigMap", data={"config.json": json.dumps(CONFIG), "name": "sft"}),
    ]


def good():
    """The same run under each backend, as our renderers make it. Fresh each time: the tests break it."""
    worker = {"replicas": 2, "restartPolicy": "ExitCode", "template": copy.deepcopy(POD)}
    run_policy = {"cleanPodPolicy": "Running", "backoffLimit": 6}
    pytorch = {"nprocPerNode": "8", "runPolicy": run_policy, "pytorchReplicaSpecs": {"Worker": worker}}
    step = {"metadata": {"labels": {"trainer.kubeflow.org/trainjob-ancestor-step": "trainer"}}}
    runtime = jobset_spec()
    runtime["replicatedJobs"][0]["template"] |= step
    ref = {"apiGroup": "trainer.kubeflow.org", "kind": "TrainingRuntime", "name": NAME}
    trainer = "trainer.kubeflow.org/v1alpha1"
    policy = {"numNodes": 2, "torch": {"numProcPerNode": 8}}
    return [
        *around(),
        thing("kubeflow.org/v1", "PyTorchJob", pytorch),
        thing("batch/v1", "Job", {**job_spec("train"), "backoffLimit": 12}),
        thing("jobset.x-k8s.io/v1alpha2", "JobSet", jobset_spec()),
        thing(trainer, "TrainingRuntime", {"mlPolicy": policy, "template": {"spec": runtime}}),
        thing(trainer, "TrainJob", {"runtimeRef": ref, "trainer": {"numNodes": 2, "numProcPerNode": 8}}),
    ]


def broken(path, value, objects=None):
    """The good objects with one place changed: `KIND key key …`, None removes, `+` appends to a list."""
    objects = good() if objects is None else objects
    kind, *keys = path.split()
    value = copy.deepcopy(value)
    node = next(body for body in objects if body["kind"] == kind)
    *keys, last = [int(key) if key.isdigit() else key for key in keys]
    for key in keys:
        node = node[key] if isinstance(node, list) else node.setdefault(key, {})
    if last == "+":
        node.append(value)
    elif value is None:
        del node[last]
    else:
        node[last] = value
    return objects


WORKER = "PyTorchJob spec pytorchReplicaSpecs Worker"
BOX = f"{WORKER} template spec containers 0"
JOB_POD = "Job spec template spec"
SETS = "JobSet spec replicatedJobs 0"
NODE = "TrainingRuntime spec template spec replicatedJobs 0"
MASTER = {"replicas": 1, "restartPolicy": "ExitCode", "template": POD}
CODES = [code for code in range(1, 128) if code != 74]
SECRET = "hf_" + "abcdefghij" * 3 + "0123"
BESIDE = {"name": "b", "image": "r/i:1", "securityContext": POD["spec"]["containers"][0]["securityContext"]}
BESIDE = {**BESIDE, "volumeMounts": POD["spec"]["containers"][0]["volumeMounts"]}
CASES = [  # rule, what is broken, and a part of the place and message
    ("pytorchjob-replica-type", "PyTorchJob spec pytorchReplicaSpecs Chief", MASTER, "Chief: expected Master or Worker"),
    ("pytorchjob-restart-policy", f"{WORKER} restartPolicy", "Exitcode", "(did you mean ExitCode?)"),
    ("pytorchjob-restart-policy", f"{WORKER} restartPolicy", ["Never"], 'got ["Never"]'),
    ("pytorchjob-worker-replicas", f"{WORKER} replicas", 0, "Worker.replicas: expected at least 1, got 0"),
    ("pytorchjob-container", f"{BOX} name", "train", "expected one named pytorch, got train"),
    ("pytorchjob-container", f"{BOX} image", None, "containers[0].image: expected an image, got nothing"),
    ("pytorchjob-nproc", "PyTorchJob spec nprocPerNode", "eight", 'number from 1, got "eight"'),
    ("pytorchjob-ttl-exit-code", "PyTorchJob spec runPolicy ttlSecondsAfterFinished", 60, "ExitCode, got 60"),
    ("pytorchjob-clean-pod-policy", "PyTorchJob spec runPolicy cleanPodPolicy", "running", 'got "running"'),
    ("pytorchjob-template-restart-policy", f"{WORKER} template spec restartPolicy", "OnFailure", "expected none"),
    ("pytorchjob-retries-fatal", f"{WORKER} restartPolicy", "OnFailure", 'expected ExitCode, got "OnFailure"'),
    ("pytorchjob-retries-fatal", f"{WORKER} restartPolicy", None, "expected ExitCode, got nothing"),
    ("pytorchjob-rendezvous", f"{BOX} env 2 value", "localhost", f'expected "{NAME}-worker-0", got "localhost"'),
    ("pytorchjob-rendezvous", f"{BOX} env 5", {"name": "PET_NODE_RANK", "value": "0"}, "replica-index"),
    ("pytorchjob-env-overridden", f"{BOX} env 4 value", "3", 'env[4]: PET_NNODES: expected "2" or none, got "3"'),
    ("pytorchjob-env-overridden", "PyTorchJob spec nprocPerNode", "4", 'expected "4" or none, got "8"'),
    ("pytorchjob-entry", f"{BOX} args", ["accelerate", "launch", "x.py"], "args: expected torchrun"),
    ("pytorchjob-entry", f"{BOX} command", ["/usr/bin/python3", "x.py"], "command: expected torchrun"),
    ("job-failure-policy-restart", f"{JOB_POD} restartPolicy", "OnFailure", "expected Never"),
    ("job-exit-codes", "Job spec podFailurePolicy", None, "expected FailJob for exit codes 1–127, got another try"),
    ("job-exit-codes", "Job spec podFailurePolicy rules 0 onExitCodes values", CODES, "for exit codes 74, got another"),
    ("job-exit-codes", "Job spec podFailurePolicy rules 0 onExitCodes values", [*range(1, 128), 143], "codes 143, got Fail"),
    ("job-failure-policy-invalid", "Job spec podFailurePolicy rules 0 onExitCodes values +", 9, "values: expected at most"),
    ("job-failure-policy-invalid", f"{SETS} template spec podReplacementPolicy", "TerminatingOrFailed", "expected Failed"),
    ("job-indexed-completions", "Job spec completions", None, "expected a number with completionMode Indexed"),
    ("job-backoff-per-index", "Job spec maxFailedIndexes", 1, "expected backoffLimitPerIndex with it"),
    ("job-backoff-per-index", "Job spec podFailurePolicy rules 0 action", "FailIndex", "with action FailIndex"),
    ("pod-active-deadline", f"{JOB_POD} activeDeadlineSeconds", 60, "expected it in the run's own spec"),
    ("jobset-max-restarts", "JobSet spec failurePolicy maxRestarts", None, "expected a number, got nothing"),
    ("jobset-retries-fatal", "JobSet spec failurePolicy rules", [], "FailJobSet on reason PodFailurePolicy"),
    ("jobset-retries-fatal", "JobSet spec failurePolicy rules 0 action", "RestartJobSet", "got a restart"),
    ("jobset-child-backoff", f"{SETS} template spec backoffLimit", None, "expected 0, got nothing"),
    ("jobset-reference", "JobSet spec successPolicy", {"targetReplicatedJobs": ["nod"]}, 'expected one of node, got "nod"'),
    ("jobset-depends-on", f"{SETS} dependsOn", [{"name": "node"}], "expected none of the first"),
    ("jobset-ttl-under-trainjob", "TrainingRuntime spec template spec ttlSecondsAfterFinished", 9, "none, got 9"),
    ("trainjob-ttl", "TrainJob spec ttlSecondsAfterFinished", 60, "expected none"),
    ("trainjob-version-bound", "TrainJob spec runtimePatches", [{"manager": "m"}], "Trainer from 2.2 on"),
    ("trainjob-version-bound", "TrainJob spec activeDeadlineSeconds", 60, "Trainer from 2.2 on"),
    ("trainjob-version-bound", "TrainJob spec trainer numProcPerNode", "auto", "expected an integer"),
    ("job-exit-codes", f"{SETS} template spec podFailurePolicy", None, "for exit codes 1–127, got another try"),
    ("job-disruption-counts", "Job spec podFailurePolicy rules 1", {}, "expected Ignore on pod condition"),
    ("trainjob-reserved-env", "TrainJob spec trainer env", [{"name": "PET_NNODES", "value": "2"}], "env[0]: expected"),
    ("trainjob-runtime", "TrainJob spec runtimeRef kind", None, "expected TrainingRuntime, got nothing"),
    ("trainjob-runtime-missing", "TrainJob spec runtimeRef name", "sft-9", 'got "sft-9"'),
    ("trainjob-container-node", f"{NODE} name", "trainer", 'expected node, got "trainer"'),
    ("trainjob-container-node", f"{NODE} template metadata labels", {}, "expected one with the label"),
    ("object-shape", "ServiceAccount apiVersion", None, "apiVersion: expected a string, got nothing"),
    ("name-dns", "JobSet metadata name", "0-0123456789", 'a letter, then letters, digits and -'),
    ("name-length", "JobSet metadata name", "s" * 43 + "-0123456789", "at most 63 characters"),
    ("name-budget", "TrainJob metadata name", "s" * 36 + "-0123456789", "expected at most 45 characters, got 47"),
    ("label-value", f"{WORKER} template metadata labels fino1/run", "x" * 64, "labels[fino1/run]: expected"),
    ("label-value", "Job metadata labels version", 1, "expected a string of at most 63"),
    ("name-content-hash", "Job metadata name", "sft", 'expected -HASH (10 hex digits) at its end, got "sft"'),
    ("kueue-queue-annotation", "Job metadata annotations kueue.x-k8s.io/queue-name", "gpus", "expected a label"),
    ("gpu-limits", f"{BOX} resources requests nvidia.com/gpu", "4", 'expected "4" as requested, got "8"'),
    ("gpu-toleration", f"{WORKER} template spec tolerations", None, "expected one for nvidia.com/gpu, got []"),
    ("shm-memory", f"{WORKER} template spec volumes 3", {"name": "shm", "emptyDir": {}}, "medium Memory at /dev/shm"),
    ("shm-memory", f"{BOX} volumeMounts 3 mountPath", "/shm", "for 8 ranks, got none"),
    ("image-tag", f"{BOX} image", "registry:5000/fino1/train", "expected a digest or a tag"),
    ("image-tag", "TrainJob spec trainer", {"image": "t:latest", "env": []}, "spec.trainer.image"),
    ("image-digest", f"{BOX} image", "r/i:1@sha256:00ff", 'got "sha256:00ff"'),
    ("env-duplicate", f"{BOX} env +", {"name": "HF_HOME", "value": "/work"}, "expected HF_HOME once, got it at 0 too"),
    ("mount-volume", f"{BOX} volumeMounts +", {"name": "cache", "mountPath": "/c"}, 'shm, tmp, work), got "cache"'),
    ("tmp-not-writable", f"{BOX} volumeMounts 4", {"name": "tmp", "mountPath": "/tmp", "readOnly": True}, "got none"),
    ("service-account-token", f"{WORKER} template spec automountServiceAccountToken", True, "expected false, got true"),
    ("claim-access-mode", "PersistentVolumeClaim spec accessModes", ["ReadWriteOnce"], "ReadWriteMany for 2 pods"),
    ("grace-period", f"{WORKER} template spec terminationGracePeriodSeconds", 30, "expected 60 at least, got 30"),
    ("grace-period", f"{WORKER} template spec terminationGracePeriodSeconds", None, "got nothing"),
    ("secret-value", f"{BOX} env 1", {"name": "HF_TOKEN", "value": "swordfish"}, "HF_TOKEN: expected valueFrom"),
    ("secret-value", f"{BOX} env 0 value", SECRET, "got a value of 37 characters"),
    ("secret-value", f"{BOX} args +", f"--hf-token={SECRET}", "args[3]: hf-token: expected"),
    ("secret-value", "ConfigMap data openai_api_key", "swordfish", "data.openai_api_key: "),
    ("secret-value", "ConfigMap data config.json", '{"eval": {"api_key": "swordfish"}}', "eval.api_key: api_key:"),
    ("config-relative-path", "ConfigMap data config.json", '{"data": {"path": "rows"}}', 'data.path: expected an'),
    ("config-path-outside-volumes", "ConfigMap data config.json", '{"data": {"path": "/d"}}', 'got "/d"'),
]  # fmt: skip
JOB, PYTORCH = 4, 3
TRACKED = "Job metadata annotations argocd.argoproj.io/tracking-id"


def test_good_objects_have_no_findings():
    assert [str(finding) for finding in lint(good())] == []


@pytest.mark.parametrize(
    ("rule", "path", "value", "part"), CASES, ids=[f"{case[0]}-{i}" for i, case in enumerate(CASES)]
)
def test_exactly_that_rule(rule, path, value, part):
    found = lint(broken(path, value))
    assert {finding.rule for finding in found} == {rule}, [str(finding) for finding in found]
    assert any(part in str(finding) for finding in found), [str(finding) for finding in found]


def several(*changes):
    objects = good()
    for path, value in changes:
        broken(path, value, objects)
    return objects


ROLES = "PyTorchJob spec pytorchReplicaSpecs"
ENV = [item for item in POD["spec"]["containers"][0]["env"] if not item["name"].startswith("PET_")]
BARE = {**POD, "spec": {**POD["spec"], "containers": [{**POD["spec"]["containers"][0], "env": ENV}]}}
WITH_MASTER = [(f"{ROLES} Worker template", BARE), (f"{ROLES} Master", {**MASTER, "template": BARE})]
KUEUE = "apiVersion: config.kueue.x-k8s.io/v1beta1\nkind: Configuration\nwaitForPodsReady:\n  enable: true\n"
TOGETHER = [  # rules that need more than one change, or come together
    ({"pytorchjob-init-container"}, WITH_MASTER),
    ({"pytorchjob-init-container", "pytorchjob-master-replicas"}, [*WITH_MASTER, (f"{ROLES} Master replicas", 2)]),
    ({"pytorchjob-init-container", "pytorchjob-nproc-auto"}, [*WITH_MASTER, ("PyTorchJob spec nprocPerNode", "auto")]),
    (
        {"pytorchjob-init-container", "pytorchjob-clean-pods"},
        [*WITH_MASTER, ("PyTorchJob spec runPolicy cleanPodPolicy", None)],
    ),
    (
        {"pytorchjob-init-container", "pytorchjob-env-overridden"},
        [*WITH_MASTER, (f"{BOX} env", [*ENV, {"name": "RANK", "value": "0"}])],
    ),
    ({"pytorchjob-replica-type"}, [(f"{ROLES} Woker", {**MASTER}), (f"{ROLES} Worker", None)]),
    ({"pytorchjob-elastic-worker", "pytorchjob-replica-type"}, [(ROLES, {}), ("PyTorchJob spec elasticPolicy", {})]),
    ({"pytorchjob-nproc"}, [("PyTorchJob spec nprocPerNode", 8)]),
    ({"pytorchjob-nproc-twice"}, [("PyTorchJob spec elasticPolicy", {"nProcPerNode": 8}), (f"{BOX} env", ENV)]),
    ({"pytorchjob-env-overridden"}, [("PyTorchJob spec elasticPolicy", {"minReplicas": 1})]),
    (
        {"pytorchjob-nproc-auto"},
        [("PyTorchJob spec nprocPerNode", None), (f"{BOX} resources", {}), (f"{BOX} env 6", {})],
    ),
    (
        {"job-exit-codes", "job-failure-policy-invalid"},
        [("Job spec podFailurePolicy rules 0 onExitCodes containerName", "other")],
    ),
    ({"pytorchjob-rendezvous"}, [(f"{BOX} env", ENV)]),
    ({"job-backoff-per-index"}, [("Job spec completionMode", None), ("Job spec backoffLimitPerIndex", 1)]),
    ({"ttl-gitops"}, [("Job spec ttlSecondsAfterFinished", 3600), (TRACKED, "app:batch/Job:ns/sft")]),
    (
        {"ttl-hook"},
        [("Job spec ttlSecondsAfterFinished", 60), ("Job metadata annotations helm.sh/hook", "post-install")],
    ),
    (
        {"argo-hook-sidecar"},
        [
            (f"{JOB_POD} initContainers", [{**BESIDE, "restartPolicy": "Always"}]),
            ("Job metadata annotations argocd.argoproj.io/hook", "PreSync"),
        ],
    ),
    (
        {"kueue-queue-on-template"},
        [
            ("Job metadata labels kueue.x-k8s.io/queue-name", None),
            ("Job spec template metadata labels kueue.x-k8s.io/queue-name", "gpus"),
        ],
    ),
    ({"kueue-pods-ready"}, [("ConfigMap data controller_manager_config.yaml", KUEUE)]),
    ({"gpu-two-containers"}, [(f"{BOX[:-1]}+", {**BESIDE, "resources": {"limits": {"nvidia.com/gpu": 1}}})]),
    (
        {"trainjob-version-bound", "trainjob-override-env"},
        [
            (
                "TrainJob spec podSpecOverrides",
                [{"containers": [{"name": "node", "env": [{"name": "A", "value": "1"}]}]}],
            )
        ],
    ),
]


@pytest.mark.parametrize(
    ("rules", "changes"), TOGETHER, ids=lambda value: " ".join(sorted(value)) if isinstance(value, set) else ""
)
def test_exactly_these_rules(rules, changes):
    found = lint(several(*changes))
    assert {finding.rule for finding in found} == rules, [str(finding) for finding in found]


def test_secret_in_manifest():
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"token": SECRET}}
    assert [(f.rule, f.object, f.path) for f in lint([secret])] == [("secret-in-manifest", "Secret/s", "stringData")]


def test_every_rule_has_a_case():
    tested = {case[0] for case in CASES} | {rule for rules, _ in TOGETHER for rule in rules} | {"secret-in-manifest"}
    assert tested | {rule for rule in RULES if rule.startswith("pss-")} == set(RULES)


def test_did_you_mean_worker():
    (finding,) = lint(several((f"{ROLES} Woker", {**MASTER}), (f"{ROLES} Worker", None)))
    assert (finding.object, finding.path) == (f"PyTorchJob/{NAME}", "spec.pytorchReplicaSpecs.Woker")
    assert finding.message == 'expected Master or Worker, got "Woker" (did you mean Worker?)'


GOOD = [
    ("a single Worker needs no rendezvous", [(f"{WORKER} replicas", 1), (f"{BOX} env", ENV)]),
    ("torchrun reads PET_*", [(f"{BOX} command", ["torchrun", "x.py"])]),
    ("python -m of the launcher", [(f"{BOX} command", ["python", "-m", "torch.distributed.run", "x.py"])]),
    ("python -m fino1", [(f"{BOX} command", ["python3.11", "-m", "fino1"])]),
    ("elastic pods are told by the operator", [("PyTorchJob spec elasticPolicy", {"minReplicas": 1}), (f"{BOX} env", ENV)]),
    ("placeholder of a local server", [(f"{BOX} env 0", {"name": "OPENAI_API_KEY", "value": "EMPTY"})]),
    ("reference to another variable", [(f"{BOX} env 0", {"name": "API_KEY", "value": "$(HF_TOKEN)"})]),
    ("a token of the tokenizer", [(f"{BOX} env 0", {"name": "PAD_TOKEN", "value": "<pad>"})]),
    ("a count", [(f"{BOX} args", ["train", "--num-token", "4096"])]),
    ("the name of the variable", [("ConfigMap data config.json", '{"api_key": "OPENAI_API_KEY"}')]),
    ("another place for temporary files", [(f"{BOX} env 0", {"name": "TMPDIR", "value": "/work/tmp"}),
                                           (f"{BOX} volumeMounts 4 mountPath", "/scratch")]),
    ("a switch", [(f"{BOX} env 0", {"name": "HF_HUB_DISABLE_IMPLICIT_TOKEN", "value": "1"})]),
    ("a file that holds it", [(f"{BOX} env 0", {"name": "PGPASSWORD_FILE", "value": "/run/secrets/x"})]),
    ("image with a registry's port and tag", [(f"{BOX} image", "registry:5000/fino1/train:1.2")]),
    ("tag and digest", [(f"{BOX} image", "r/i:latest@sha256:" + "0f" * 32)]),
    ("fatal codes by NotIn", [("Job spec podFailurePolicy rules 0 onExitCodes",
                               {"operator": "NotIn", "values": list(range(128, 256))})]),
    ("FailIndex", [("Job spec podFailurePolicy rules 0 action", "FailIndex"), ("Job spec backoffLimitPerIndex", 6)]),
    ("TTL nobody tracks", [("Job spec ttlSecondsAfterFinished", 60)]),
    ("the account says no token", [(f"{WORKER} template spec automountServiceAccountToken", None)]),
    ("one pod on a ReadWriteOnce claim", [("PersistentVolumeClaim spec accessModes", ["ReadOnlyMany"])]),
    ("cluster runtime of others", [("TrainJob spec runtimeRef", {"name": "torch-distributed"})]),
]  # fmt: skip


@pytest.mark.parametrize("changes", [case[1] for case in GOOD], ids=[case[0] for case in GOOD])
def test_no_finding(changes):
    assert [str(finding) for finding in lint(several(*changes))] == []


def test_no_message_repeats_a_secret():
    values = [
        SECRET,
        "sk-proj-" + "a1b2" * 8,
        "AKIA" + "ABCDEFGH12345678",
        "https://me:swordfish99@host/x",
        "swordfish99",
    ]
    for value in values:
        for path, item in [
            (f"{BOX} env +", {"name": "MY_API_KEY", "value": value}),
            (f"{BOX} args", ["train", "--password", value]),
            ("ConfigMap data config.json", json.dumps({"a": [{"token": value}]})),
            ("ConfigMap data password", value),
        ]:
            found = lint(broken(path, item))
            assert {finding.rule for finding in found} == {"secret-value"}
            assert not any(value in str(dataclasses.astuple(finding)) for finding in found)


def test_the_entry_is_named_without_its_arguments():
    found = lint(broken(f"{BOX} args", ["sh", "-c", f"accelerate launch x.py --hf_token={SECRET}"]))
    assert {finding.rule for finding in found} == {"pytorchjob-entry", "secret-value"}
    assert not any(SECRET in str(dataclasses.astuple(finding)) for finding in found)


def nested(kind, *keys):
    spec = {"containers": [{"name": "c", "image": "i"}]}
    body = {"metadata": {}, "spec": spec}
    for key in reversed(keys):
        body = [body] if key == 0 else {key: body}
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": "x"}, **body}


@pytest.mark.parametrize(
    "body",
    [
        {**nested("Pod", "a")["a"], "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}},
        nested("Deployment", "spec", "template"),
        nested("CronJob", "spec", "jobTemplate", "spec", "template"),
        nested("PyTorchJob", "spec", "pytorchReplicaSpecs", "Worker", "template"),
        nested("JobSet", "spec", "replicatedJobs", 0, "template", "spec", "template"),
        nested(
            "ClusterTrainingRuntime", "spec", "template", "spec", "replicatedJobs", 0, "template", "spec", "template"
        ),
        nested("RayCluster", "spec", "workerGroupSpecs", 0, "template"),
    ],
    ids=lambda body: body["kind"],
)
def test_pods_are_found_in_any_kind(body):
    found = {finding.path: finding.rule for finding in lint([body])}
    (path,) = [path for path, rule in found.items() if rule == "image-tag"]
    assert path.endswith("spec.containers[0].image")
    assert "pss-seccomp" in found.values()


def test_lists_are_opened_and_empty_documents_skipped():
    items = {"apiVersion": "v1", "kind": "List", "items": broken(f"{WORKER} replicas", 0)}
    assert [finding.rule for finding in lint([None, items, None])] == ["pytorchjob-worker-replicas"]


def test_aliases_and_cycles_end():
    loop = {"a": {}}
    loop["a"]["b"] = loop["a"]
    loop["a"]["c"] = [loop["a"], loop["a"]]
    assert lint([{"apiVersion": "v1", "kind": "X", "metadata": {"name": "x"}, "spec": loop}]) == []
    shared = [thing("batch/v1", "Job", job_spec("train"))]
    shared[0]["spec"]["template"]["spec"]["initContainers"] = shared[0]["spec"]["template"]["spec"]["containers"]
    assert {finding.rule for finding in lint(shared)} <= {"gpu-two-containers", "service-account-token"}


KEYS = sorted(set(re.findall(r"[A-Za-z]\w+", json.dumps(good()))) | {"initContainers", "elasticPolicy", "dependsOn"})
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(KEYS)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS) | st.integers(), inner, max_size=5)
    ),
    max_leaves=8,
)
quick = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@quick
@given(st.lists(values, max_size=3))
def test_never_raises_on_anything(objects):
    for finding in lint(objects):
        assert finding.rule in RULES


@quick
@given(st.data())
def test_never_raises_on_a_broken_run(data):
    objects = good()
    for _ in range(data.draw(st.integers(1, 3))):
        node = data.draw(st.sampled_from(objects))
        while isinstance(node, dict | list) and node:
            key = data.draw(st.sampled_from(sorted(node, key=str) if isinstance(node, dict) else range(len(node))))
            if not isinstance(node[key], dict | list) or data.draw(st.integers(0, 4)) == 0:
                node[key] = data.draw(values)
                break
            node = node[key]
    for finding in lint(objects):
        assert finding.message
        assert str(finding)


def places(node):
    for key in list(node) if isinstance(node, dict) else range(len(node)):
        yield node, key
        if isinstance(node[key], dict | list):
            yield from places(node[key])


@pytest.mark.parametrize("kind", ["ConfigMap", "PyTorchJob", "Job", "JobSet", "TrainingRuntime", "TrainJob"])
def test_never_raises_on_a_number_that_cannot_be_printed(kind):
    huge = 1 << 20_000  # YAML reads 0xfff… of any length; str() refuses more than 4300 digits
    objects = good()
    body = next(body for body in objects if body["kind"] == kind)
    for node, key in list(places(body)):
        before, node[key] = node[key], huge
        lint([body])
        node[key] = {huge: [huge]}
        lint([body])
        node[key] = before
    assert lint(objects) == []


def test_same_input_same_findings_each_once():
    objects = broken(f"{BOX} securityContext", {})
    found = lint(objects)
    assert found == lint(copy.deepcopy(objects))
    assert len(found) == len(set(found))


def test_the_docs_list_every_rule_with_its_level_reason_and_source():
    page = (Path(__file__).parents[2] / "docs/lints.md").read_text()
    for rule in RULES.values():
        assert f"| `{rule.id}` | {rule.level} | {rule.reason} | {rule.source} |" in page, f"docs/lints.md: {rule.id}"
    assert len(re.findall(r"^\| `", page, re.MULTILINE)) == len(RULES)


def test_a_thousand_jobs_are_linted_in_seconds():
    job = thing("batch/v1", "Job", job_spec("train"))
    jobs = [{**job, "metadata": {**job["metadata"], "name": f"eval-{i}-0123456789"}} for i in range(1200)]
    start = time.process_time()
    assert lint(jobs) == []
    assert time.process_time() - start < 5


def test_imports_nothing_heavy():
    code = "import sys, fino1.k8s.objects.lint\nprint([m for m in ('torch', 'kubernetes', 'pydantic', 'yaml') if m in sys.modules])"  # noqa: E501
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
