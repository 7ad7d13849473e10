"""Do `submit` and `diff` do what they say on a real API server: all or nothing, once, and never another's object?"""

import json
import threading
import time

import pytest

from fino1 import exits
from fino1.k8s.change import owned
from fino1.k8s.cli import main
from fino1.k8s.cluster.client import Api, ApiError
from fino1.k8s.cluster.errors import Lost
from fino1.k8s.objects import pod, render
from fino1.k8s.state.run import list_runs
from tests.cluster.stage import EVAL, RULES, progress

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(180)]

TINY = ("sft-tiny", "--name", "run")
TWO = ("--set", "nodes=2", "--set", "sft.per_device_train_batch_size=8")


def everything(api):
    """Kind/name of all that a run may be made of."""
    kinds = ["ConfigMap", "ServiceAccount", "Service", "PersistentVolumeClaim"]
    listed = [("v1", kind) for kind in kinds] + [("networking.k8s.io/v1", "NetworkPolicy"), ("batch/v1", "Job")]
    listed += [("kubeflow.org/v1", "PyTorchJob"), ("jobset.x-k8s.io/v1alpha2", "JobSet")]
    listed += [("trainer.kubeflow.org/v1alpha1", kind) for kind in ("TrainJob", "TrainingRuntime")]
    things = [(kind, item["metadata"]) for version, kind in listed for item in api.list(version, kind)]
    # A new claim has a finalizer that only a controller takes away, and the tests' own accounts are no part of a run.
    return sorted(f"{kind}/{its['name']}" for kind, its in things if "deletionTimestamp" not in its and "labels" in its)


@pytest.mark.parametrize("backend", ["pytorchjob", "job", "jobset", "trainjob"])
def test_submitted_twice_is_once(api, fino1, backend):
    document = (*TINY, *TWO, "--set", f"backend={backend}")
    code, dry, _ = fino1("submit", *document, "--dry-run")
    assert (code, everything(api)) == (exits.DONE, [])
    assert "would be created" in dry
    code, out, _ = fino1("submit", *document)
    assert code == exits.DONE
    [run] = list_runs(api)
    assert run.labels["app.kubernetes.io/managed-by"] == "fino1"
    lines = out.splitlines()
    assert lines[0] == f"{run.kind}/{run.full}: created"
    assert lines[1].startswith("created: 1 ConfigMap, 1 NetworkPolicy, 2 PersistentVolumeClaim")
    assert lines[-1].startswith("next: fino1-k8s status run --kubeconfig ")
    there = everything(api)
    assert not any(name.endswith("-test") for name in there)
    code, out, _ = fino1("submit", *document)
    assert (code, everything(api)) == (exits.DONE, there)
    assert out.splitlines()[0] == f"{run.kind}/{run.full}: unchanged"
    assert "created" not in out
    assert list_runs(api)[0].object["metadata"]["resourceVersion"] == run.object["metadata"]["resourceVersion"]


def test_diff_ends_as_kubectls_does(api, fino1, kubeconfig):
    code, out, _ = fino1("diff", *TINY)
    assert code == 1
    assert out.count("--- cluster ") == 6
    fino1("submit", *TINY)
    assert fino1("diff", *TINY)[:2] == (0, "")
    [run] = list_runs(api)
    api.patch("kubeflow.org/v1", "PyTorchJob", run.full, {"spec": {"runPolicy": {"backoffLimit": 9}}})
    code, out, _ = fino1("diff", *TINY)
    assert code == 1
    assert [line for line in out.splitlines() if line[0] in "+-"] == [
        f"--- cluster PyTorchJob/{run.full}",
        f"+++ run PyTorchJob/{run.full}",
        "-    backoffLimit: 9",
        "+    backoffLimit: 6",
    ]
    code, out, _ = fino1("diff", *TINY, "-o", "json")
    [told] = json.loads(out)
    assert told["fields"] == [{"path": "spec.runPolicy.backoffLimit", "cluster": 9, "run": 6}]
    assert fino1("submit", *TINY)[0] == exits.BUG  # someone else has set it
    assert main(["diff", *TINY, "--kubeconfig", str(kubeconfig), "-n", "nowhere"]) == 2


def test_render_prints_what_submit_applies(api, fino1, capsys):
    assert main(["render", *TINY, "-o", "json"]) == 0
    rendered = json.loads(capsys.readouterr().out)["items"]
    fino1("submit", *TINY)
    assert everything(api) == sorted(f"{each['kind']}/{each['metadata']['name']}" for each in rendered)


def test_a_search_for_paths_is_one_job_of_its_shards(api, fino1, start, stage):
    """It is submitted, tells its progress by shard, and ends with the code of the shard that failed."""
    assert fino1("submit", "paths", "--set", "paths.shards=2")[0] == exits.DONE
    [run] = list_runs(api)
    assert (run.kind, run.method, run.expected_pods) == ("Job", "paths", 2)
    shards = [start(run, shard) for shard in (0, 1)]
    for shard, its in enumerate(shards):
        its.write(progress(shard + 1, 4, shard=f"{shard + 1}/2", accepted=shard))
    told = json.loads(fino1("status", "paths", "-o", "json")[1])["runs"][0]
    assert [each["progress"]["done"] for each in told["pods"]] == [1, 2]
    assert told["results"] == f"/work/runs/{run.directory}"
    assert fino1("logs", "paths", "--tail", "1")[1].count("[1] ") == 1
    for its in shards:
        its.delete()
    stage.ended(stage.pod(run, 1), exits.USER)
    stage.conditions(run, ("Failed", "PodFailurePolicy", "Container paths failed with exit code 2"))
    assert fino1("wait", "paths")[0] == exits.USER


def test_what_lint_finds_ends_it_before_the_cluster_is_asked(tmp_path, capsys):
    """All findings, and no kubeconfig is looked for."""
    secret = ("--set", "env.HF_TOKEN=hf_abcdefghijklmnopqrstuvwxyz012345", "--set", "rdma.resource=rdma/hca")
    assert main(["submit", *TINY, *secret, "--kubeconfig", str(tmp_path / "none")]) == exits.USER
    err = capsys.readouterr().err
    assert "env.HF_TOKEN: expected a key of secretEnv" in err
    assert "IPC_LOCK" in err
    assert "kubeconfig" not in err


def test_a_claim_that_exists_stays_as_it_is(api, fino1):
    metadata = {"name": "fino1-work"}
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    api.create({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec})
    code, _, err = fino1("submit", *TINY)
    assert code == exits.DONE
    assert "PersistentVolumeClaim/fino1-work: size is 1Gi, the run file says 200Gi" in err
    assert api.get("v1", "PersistentVolumeClaim", "fino1-work")["spec"]["resources"]["requests"]["storage"] == "1Gi"


@pytest.mark.parametrize("whose", ["another", "helm"])
def test_anothers_object_is_left_alone(api, fino1, whose):
    _, out, _ = fino1("submit", *TINY, "--dry-run")
    full = out.partition("/")[2].partition(":")[0]
    metadata = {"name": full, "labels": {"app.kubernetes.io/managed-by": "Terraform"}}
    if whose == "helm":
        metadata["labels"] = {
            "app.kubernetes.io/part-of": "fino1",
            "app.kubernetes.io/instance": "run",
            "fino1/run": full,
        }
        metadata["annotations"] = {"meta.helm.sh/release-name": "mine", "meta.helm.sh/release-namespace": "there"}
    api.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})
    code, _, err = fino1("submit", *TINY)
    assert code == exits.USER
    assert f"ConfigMap/{full}: " in err
    assert ("made by Terraform" if whose == "another" else "Helm release mine: helm uninstall mine -n there") in err
    assert everything(api) == [f"ConfigMap/{full}"]


def quota(api, **hard):
    metadata = {"name": "narrow"}
    api.create({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": metadata, "spec": {"hard": hard}})
    status = {"hard": hard, "used": dict.fromkeys(hard, "0")}
    api.patch("v1", "ResourceQuota", "narrow", {"status": status}, subresource="status")
    time.sleep(0.3)  # admission reads it from a cache


def test_what_an_apply_in_the_middle_refuses_leaves_nothing(api, fino1):
    """Each of three Jobs would be admitted, and only one of them is."""
    quota(api, **{"count/jobs.batch": "1"})
    code, _, err = fino1("submit", *EVAL)
    assert code == exits.BUG
    assert "exceeded quota: narrow" in err
    assert "that this call had made are removed again" in err
    assert everything(api) == []


def test_a_quota_that_the_dry_run_meets(api, fino1):
    quota(api, **{"count/pytorchjobs.kubeflow.org": "0"})
    code, _, err = fino1("submit", *TINY)
    assert (code, everything(api)) == (exits.BUG, [])
    assert "exceeded quota: narrow" in err


def test_pods_that_would_be_refused(api, fino1):
    limits = {"limits": [{"type": "Container", "max": {"memory": "1Gi"}}]}
    api.create({"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "small"}, "spec": limits})
    time.sleep(0.3)
    code, _, err = fino1("submit", *TINY, "--set", "resources.limits.memory=64Gi")
    assert (code, everything(api)) == (exits.BUG, [])
    assert "the pods of this run would be refused: maximum memory usage per Container is 1Gi" in err


def test_pod_security_is_asked_about_the_pods(api, fino1):
    code, _, err = fino1("submit", *TINY, "--set", "rdma.resource=rdma/hca")
    assert (code, everything(api)) == (exits.BUG, [])
    assert 'the pods of this run would be refused: violates PodSecurity "restricted:latest"' in err


def test_of_many_objects_each_is_asked_about(api, fino1):
    models = [{"name": f"m{i}", "base_url": "https://api.example.com/v1"} for i in range(70)]
    document = ("eval-tiny", "--name", "run", "--set", f"eval.models={json.dumps(models)}")
    last = fino1("submit", *document, "--dry-run")[1].splitlines()[69].partition("/")[2].partition(":")[0]
    api.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": last}})
    code, _, err = fino1("submit", *document)
    assert (code, everything(api)) == (exits.USER, [])
    assert f"ConfigMap/{last}: expected no such object, or one of ours, got another's" in err
    api.delete("v1", "ConfigMap", last)
    code, out, err = fino1("submit", *document)
    assert (code, out.count(": created"), err) == (exits.DONE, 70, "")
    code, out, _ = fino1("submit", *document)
    assert (code, out.count(": unchanged"), out.count("created")) == (exits.DONE, 70, 0)


def test_a_backend_that_is_not_there(api, fino1):
    code, _, err = fino1("submit", *TINY, "--set", "gang=volcano", *TWO, "--set", "backend=job")
    assert (code, everything(api)) == (exits.USER, [])
    assert "PodGroup (scheduling.volcano.sh/v1beta1)" in err
    assert "helm install volcano" in err


def test_an_operator_that_is_missing(api, fino1, monkeypatch):
    serves = Api.serves
    monkeypatch.setattr(Api, "serves", lambda self, version, kind: kind != "PyTorchJob" and serves(self, version, kind))
    code, _, err = fino1("submit", *TINY)
    assert code == exits.USER
    assert "overlays/standalone?ref=v1.9.4" in err
    assert "--set backend=job or jobset or trainjob" in err


def test_a_namespace_that_is_missing(kubeconfig, capsys):
    assert main(["submit", *TINY, "--kubeconfig", str(kubeconfig), "-n", "nowhere"]) == exits.BUG
    err = capsys.readouterr().err
    assert "namespace nowhere does not exist" in err
    assert len(err.splitlines()) == 1


def test_the_name_of_an_earlier_run(api, fino1):
    fino1("submit", *TINY)
    [first] = list_runs(api)
    code, _, err = fino1("submit", *TINY, "--set", "seed=7")
    assert code == exits.DONE
    assert f"PyTorchJob/{first.full}, an earlier run of this name, is Pending; both will run" in err
    code, _, err = fino1("submit", *TINY, "--set", "queue=elsewhere")
    assert code == exits.USER
    assert f"writes to the same directory, {first.directory}: `fino1-k8s cancel {first.full}` first" in err
    assert len(list_runs(api)) == 2


def test_it_waits_for_the_pods_of_an_earlier_attempt(api, fino1, monkeypatch):
    fino1("submit", *TINY)
    [run] = list_runs(api)
    template = run.object["spec"]["pytorchReplicaSpecs"]["Worker"]["template"]
    metadata = template["metadata"] | {"name": f"{run.full}-worker-0", "finalizers": ["fino1/test"]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata}
    api.create(pod | {"spec": template["spec"] | {"serviceAccountName": "default"}})
    api.delete("kubeflow.org/v1", "PyTorchJob", run.full)
    api.delete("v1", "Pod", metadata["name"])
    said = fino1("submit", *TINY, "--dry-run")[2]
    assert f"without --dry-run this waits for the end of Pod/{metadata['name']}" in said

    def end():
        api.patch("v1", "Pod", metadata["name"], {"metadata": {"finalizers": None}})

    wait, began = owned.wait_until_gone, []

    def wait_until_gone(*arguments):
        """The pod ends a while after the wait has begun, however long it took to get there."""
        began.append(time.monotonic())
        threading.Timer(1.5, end).start()
        return wait(*arguments)

    monkeypatch.setattr(owned, "wait_until_gone", wait_until_gone)
    code, out, err = fino1("submit", *TINY)
    assert time.monotonic() - began[0] > 1.4
    assert f"waiting for the end of Pod/{metadata['name']} (at most 660 s)" in err
    assert (code, out.splitlines()[0]) == (exits.DONE, f"PyTorchJob/{run.full}: created")


def test_suspended_by_a_user_is_no_difference(api, fino1):
    document = (*TINY, "--set", "suspend=true")
    fino1("submit", *document)
    assert fino1("resume", "run")[0] == exits.DONE
    code, out, _ = fino1("submit", *document)
    assert code == exits.DONE
    assert out.splitlines()[0].endswith(": unchanged")
    assert not list_runs(api)[0].is_suspended
    assert fino1("diff", *document)[0] == 0


def made_by(monkeypatch, version):
    """What another version of fino1 makes: its images, and perhaps other variables."""
    for module in (render, pod):
        monkeypatch.setattr(module, "__version__", version)
    fixed = pod._fixed
    monkeypatch.setattr(pod, "_fixed", lambda document: {**fixed(document), "OF_VERSION": version})


@pytest.mark.parametrize("backend", ["pytorchjob", "job", "jobset", "trainjob"])
def test_a_run_of_another_version_stays_as_it_is(api, fino1, backend):
    """The same run file, rendered by yesterday's version and submitted again by today's."""
    document = (*TINY, *TWO, "--set", f"backend={backend}")
    with pytest.MonkeyPatch.context() as yesterday:
        made_by(yesterday, "0.0.9")
        assert fino1("submit", *document)[0] == exits.DONE
    [run] = list_runs(api)
    there = everything(api)
    code, out, _ = fino1("submit", *document)
    assert code == exits.DONE
    made_anew = f"(as fino1 0.0.9 has made it; to have it made anew: `fino1-k8s cancel {run.full}` first)"
    assert out.splitlines()[0] == f"{run.kind}/{run.full}: unchanged {made_anew}"
    [after] = list_runs(api)
    assert after.object["metadata"]["resourceVersion"] == run.object["metadata"]["resourceVersion"]
    holder = (
        api.get("trainer.kubeflow.org/v1alpha1", "TrainingRuntime", run.full) if backend == "trainjob" else run.object
    )
    assert "ghcr.io/fino1/train:0.0.9" in json.dumps(holder["spec"]) and "OF_VERSION" in json.dumps(holder["spec"])
    assert everything(api) == there
    code, out, err = fino1("diff", *document)
    assert (code, out) == (exits.DONE, "")
    assert f"note: {run.kind}/{run.full} stays as fino1 0.0.9 has made it" in err
    assert fino1("submit", *document, "--set", "seed=7")[0] == exits.DONE
    assert len(list_runs(api)) == 2, "another run file is another run"


def test_a_trainjob_whose_webhook_looks_for_the_runtime(cluster, api, fino1, namespace):
    """Trainer 2's webhook refuses a TrainJob whose TrainingRuntime is not there, which it never is in a dry run."""
    name = f"{namespace}-runtime"
    kind = {"apiVersion": "admissionregistration.k8s.io/v1", "metadata": {"name": name}}
    rule = {
        "apiGroups": ["trainer.kubeflow.org"],
        "apiVersions": ["*"],
        "operations": ["CREATE"],
        "resources": ["trainjobs"],
    }
    message = "specified trainingRuntime must be created before the TrainJob is created"
    spec = {"matchConstraints": {"resourceRules": [rule]}}
    spec |= {"validations": [{"expression": "!has(request.dryRun) || !request.dryRun", "message": message}]}
    selector = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}
    binding = {"policyName": name, "validationActions": ["Deny"], "matchResources": selector}
    cluster.apply(kind | {"kind": "ValidatingAdmissionPolicy", "spec": spec})
    cluster.apply(kind | {"kind": "ValidatingAdmissionPolicyBinding", "spec": binding})
    try:
        probe = {"apiVersion": "trainer.kubeflow.org/v1alpha1", "kind": "TrainJob", "metadata": {"name": "probe"}}
        probe["spec"] = {"runtimeRef": {"name": "none"}}
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                api.create(probe, dry_run=True)
            except ApiError as error:
                assert message in str(error)
                break
            time.sleep(0.2)
        code, out, err = fino1("submit", *TINY, "--set", "backend=trainjob")
        assert (code, err) == (exits.DONE, "")
        assert "TrainJob/run-" in out
    finally:
        for each in ("validatingadmissionpolicybinding", "validatingadmissionpolicy"):
            cluster.kubectl("delete", each, name)


def test_with_the_documented_role(api, fino1, account, namespace):
    mine = account(namespace, RULES["fino1"])
    assert fino1("diff", *TINY, kubeconfig=mine)[0] == 1
    for backend in ("pytorchjob", "trainjob"):
        code, out, err = fino1("submit", *TINY, "--name", backend, "--set", f"backend={backend}", kubeconfig=mine)
        assert (code, err) == (exits.DONE, ""), err
    quota(api, **{"count/jobs.batch": "1"})
    code, _, err = fino1("submit", *EVAL, kubeconfig=mine)
    assert "are removed again" in err
    assert not [name for name in everything(api) if "run-" in name]


def test_a_new_claim_stays_where_it_may_not_be_deleted(api, fino1, account, namespace):
    quota(api, **{"count/jobs.batch": "1"})
    _, _, err = fino1(
        "submit", *EVAL, "--set", "volumes.work.create=true", kubeconfig=account(namespace, RULES["fino1"])
    )
    assert "PersistentVolumeClaim/fino1-work" in err
    assert err.strip().endswith("stay: this user may not delete claims")
    assert {name.partition("/")[0] for name in everything(api)} == {"PersistentVolumeClaim"}


def test_without_the_right_to_create_pods_they_are_not_asked_about(fino1, account, namespace):
    rules = [rule for rule in RULES["fino1"] if rule["verbs"] != ["create", "delete"]]
    code, _, err = fino1("submit", *TINY, kubeconfig=account(namespace, rules))
    assert code == exits.DONE
    assert "not asked whether the cluster admits the run's pods" in err


def test_with_the_role_that_only_reads(api, fino1, account, namespace):
    mine = account(namespace, RULES["fino1-view"])
    code, _, err = fino1("submit", *TINY, kubeconfig=mine)
    assert (code, everything(api)) == (exits.BUG, [])
    assert f"may not patch configmaps in namespace {namespace}; the Role in docs/rbac.md has it" in err
    assert "may not patch pytorchjobs (API group kubeflow.org)" in err
    assert fino1("diff", *TINY, kubeconfig=mine)[0] == 2


def test_an_api_server_that_goes_away_halfway(api, fino1, monkeypatch):
    """The connection is lost for good while objects are applied, and comes back for the removal."""
    apply = Api.apply

    def lose(self, obj, *, dry_run=False, **options):
        done = apply(self, obj, dry_run=dry_run, **options)
        if obj["kind"] == "PyTorchJob" and not dry_run:
            raise Lost("https://there cannot be reached", unsent=False)
        return done

    monkeypatch.setattr(Api, "apply", lose)
    code, _, err = fino1("submit", *TINY)
    assert (code, everything(api)) == (exits.BUG, [])
    assert "6 objects that this call had made are removed again" in err
