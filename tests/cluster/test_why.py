"""Does `why` find the cause on a real API server, for each main case? (the test plays controllers and kubelets)"""

import json
import secrets

import pytest

from fino1.k8s import cli
from tests.cluster.stage import now, terminated

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(120)]
KUEUE = "kueue.x-k8s.io/v1beta1"


@pytest.fixture
def why(cluster, namespace, capsys):
    """`why()`: the printed lines, and the same as data: that of the worst run, and all."""

    def ask(*words, name="run", kubeconfig=cluster.kubeconfig):
        asked = ["why", "--kubeconfig", str(kubeconfig), "-n", namespace, name, *words]
        assert cli.main(asked) == 0
        text = capsys.readouterr().out
        assert cli.main([*asked, "-o", "json"]) == 0
        data = json.loads(capsys.readouterr().out)
        assert len(text.splitlines()) <= 50, text
        return text, data["runs"][0], data

    return ask


@pytest.fixture
def claims(stage):
    """The claims of a run, bound."""
    for name in ("fino1-work", "fino1-models"):
        claim(stage, name, "Bound")


def claim(stage, name, phase, storage_class=None):
    spec = {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}}
    spec |= {"storageClassName": storage_class} if storage_class is not None else {}
    metadata = {"name": name, "namespace": stage.namespace}
    stage.api.create({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec})
    status = {"status": {"phase": phase}}
    stage.api.patch("v1", "PersistentVolumeClaim", name, status, subresource="status")


def refuse(stage, pod, message, reason="Unschedulable"):
    condition = {"type": "PodScheduled", "status": "False", "reason": reason, "message": message}
    stage.pod_status(pod, "Pending", conditions=[condition])
    stage.event("Pod", pod, "FailedScheduling", message)


@pytest.fixture
def node(admin):
    """`node(gpus, product)`: a node with GPUs."""
    names = []

    def make(gpus, product):
        names.append(f"gpu-{secrets.token_hex(4)}")
        labels = {"nvidia.com/gpu.product": product}
        admin.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": names[-1], "labels": labels}})
        admin.patch("v1", "Node", names[-1], {"spec": {"taints": None}})  # not-ready, which a kubelet would end
        room = {"nvidia.com/gpu": str(gpus), "cpu": "96", "memory": "1Ti", "pods": "110"}
        admin.patch("v1", "Node", names[-1], {"status": {"capacity": room, "allocatable": room}}, subresource="status")
        return names[-1]

    yield make
    for name in names:
        admin.delete("v1", "Node", name)


def test_a_pod_that_no_node_takes(stage, claims, why, node):
    product = f"H200-{secrets.token_hex(4)}"
    busy, _ = node(8, product), node(4, product)
    (other,) = stage.submit(name="other", gpus_per_node=4)
    stage.pod(other, node=busy)
    (run,) = stage.submit(gpus_per_node=8, gpu={"product": product})
    stage.conditions(run, "Created")
    pod = stage.pod(run)
    message = (
        "0/3 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, 2 Insufficient nvidia.com/gpu."
        " preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."
    )
    refuse(stage, pod, message)
    text, told, _ = why()
    assert told["verdict"].startswith(f"{run.full} is pending (")
    assert f"no node takes it: {message.partition('. preemption')[0]}\n" in text
    assert f"asked: 8 nvidia.com/gpu on nodes with nvidia.com/gpu.product={product}\n" in text
    assert f"{product}: 2 with nvidia.com/gpu, at most 8 each, free 4, 4" in text
    assert "→ it starts when other pods end" in text
    (finding,) = told["findings"]
    assert finding["numbers"]["asked"]["nvidia.com/gpu"] == "8"


def test_a_pod_that_no_node_can_ever_take_and_nodes_that_may_not_be_read(stage, claims, why, node, account):
    product = f"H200-{secrets.token_hex(4)}"
    node(4, product)
    (run,) = stage.submit(gpus_per_node=8, gpu={"product": product})
    stage.conditions(run, "Created")
    refuse(stage, stage.pod(run), "0/1 nodes are available: 1 Insufficient nvidia.com/gpu.")
    text, _, _ = why()
    assert "→ waiting does not help: no node is that large, even when empty; ask for less" in text
    resources = {"": ["pods", "events", "persistentvolumeclaims"], "kubeflow.org": ["pytorchjobs"]}
    resources |= {"batch": ["jobs"], "jobset.x-k8s.io": ["jobsets"], "trainer.kubeflow.org": ["trainjobs"]}
    rules = [{"apiGroups": [group], "resources": names, "verbs": ["get", "list"]} for group, names in resources.items()]
    text, told, data = why(kubeconfig=account(stage.namespace, rules))
    assert told["verdict"].endswith("no node takes it: 0/1 nodes are available: 1 Insufficient nvidia.com/gpu")
    assert "asked: 8 nvidia.com/gpu" in text
    assert "may not list nodes in the cluster" in data["unread"][0]
    assert "not read: forbidden: " in text
    rules[0]["resources"] = ["pods", "persistentvolumeclaims"]
    _, told, data = why(kubeconfig=account(stage.namespace, rules))
    assert "no node takes it" in told["verdict"]
    assert [line for line in data["unread"] if "may not list events" in line]


def test_a_claim_that_nobody_provides_for(stage, why):
    claim(stage, "fino1-work", "Pending", "fast")
    claim(stage, "fino1-models", "Bound")
    (run,) = stage.submit()
    stage.conditions(run, "Created")
    refuse(stage, stage.pod(run), "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims.")
    _, told, _ = why()
    assert "claim fino1-work is not bound: storage class fast does not exist" in told["verdict"]
    assert told["findings"][1]["cause"] == "UnboundClaim"


def test_a_claim_that_cannot_be_provided(stage, why, admin):
    name = f"block-{secrets.token_hex(4)}"
    body = {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": name}}
    admin.create({**body, "provisioner": "example.com/block", "volumeBindingMode": "Immediate"})
    claim(stage, "fino1-work", "Pending", name)
    claim(stage, "fino1-models", "Bound")
    message = "failed to provision volume with StorageClass: rpc error: multi-node access is not supported"
    stage.event("PersistentVolumeClaim", "fino1-work", "ProvisioningFailed", message)
    (run,) = stage.submit()
    stage.conditions(run, "Created")
    stage.pod(run)
    _, told, _ = why()
    admin.delete("storage.k8s.io/v1", "StorageClass", name)
    assert "claim fino1-work is not bound: ProvisioningFailed: failed to provision" in told["verdict"]
    assert "ReadWriteMany" in told["advice"]


@pytest.mark.parametrize(
    ("reason", "message", "says"),
    [
        ("ImagePullBackOff", 'Back-off pulling image "x"', "image ghcr.io/fino1/train:{version} cannot be pulled"),
        ("CreateContainerConfigError", 'secret "hub" not found', "Secret hub does not exist"),
        ("CreateContainerConfigError", "couldn't find key token in Secret ns/hub", "Secret hub has no key token"),
        ("CreateContainerConfigError", 'configmap "x" not found', "ConfigMap x does not exist"),
    ],
)
def test_a_container_that_cannot_start(stage, claims, why, reason, message, says):
    from fino1 import __version__

    (run,) = stage.submit(nodes=2)
    stage.conditions(run, "Created")
    for rank in (0, 1):
        stage.waiting(stage.pod(run, rank), reason, message)
    text, told, _ = why()
    assert told["verdict"].endswith(says.format(version=__version__))
    (finding,) = told["findings"]
    assert len(finding["about"]) == 2 and finding["cause"] == reason
    assert text.count("\n") < 8


def test_out_of_memory(stage, claims, why):
    (run,) = stage.submit(resources={"limits": {"memory": "16Gi"}})
    stage.conditions(run, "Created", "Restarting")
    stage.running(stage.pod(run), restarts=1, last=terminated(137, reason="OOMKilled"))
    _, told, _ = why()
    assert "rank 0 ran out of memory (limit 16Gi)" in told["verdict"]
    assert told["advice"].startswith("raise resources.limits.memory")


def test_the_rank_that_failed_first_and_its_last_lines(stage, claims, why, start):
    (run,) = stage.submit(nodes=2)
    pods = [start(run, 0), start(run, 1)]
    pods[0].write("rank 1 has gone")
    for number in range(20):
        pods[1].write(f"line {number}")
    pods[1].write("rows.jsonl:7: Question: expected text, got null")
    pods[0].end(145, "Failed")
    pods[1].end(2, "Failed")
    stage.conditions(run, "Created", ("Failed", "PyTorchJobFailed", "1 Worker replica(s) failed"))
    text, told, _ = why()
    assert told["verdict"].startswith(f"{run.full} has failed (")
    assert "rank 1 ended with exit code 2: the user's mistake" in told["verdict"]
    assert told["lastLines"]["lines"][-1] == "rows.jsonl:7: Question: expected text, got null"
    assert len(told["lastLines"]["lines"]) == 10
    assert "exit code 145" in text


def test_the_last_lines_of_the_start_before(stage, claims, why, start):
    (run,) = stage.submit()
    pod = start(run, 0)
    pod.write("Segmentation fault")
    pod.restart(139)
    pod.write("here I am again")
    stage.conditions(run, "Created", "Restarting")
    _, told, _ = why()
    assert "exit code 139: ended by signal 11" in told["verdict"]
    assert told["lastLines"]["lines"] == ["Segmentation fault"]


def created(cluster, stage, run, thing=None):
    """What the real server says against a pod of the run, as its controller would pass it on."""
    if thing:
        cluster.apply({"metadata": {"name": "limits", "namespace": stage.namespace}, **thing})
    if thing and thing["kind"] == "ResourceQuota":
        hard = thing["spec"]["hard"]
        status = {"status": {"hard": hard, "used": dict.fromkeys(hard, "0")}}
        stage.api.patch("v1", "ResourceQuota", "limits", status, subresource="status")
    template = stage.template(run)
    metadata = {"name": f"{run.full}-worker-0", "namespace": stage.namespace, "labels": template["metadata"]["labels"]}
    spec = template["spec"] | {"serviceAccountName": "default", "restartPolicy": "Never"}
    body = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
    refused = cluster.kubectl("create", "-f", "-", stdin=body).stderr.strip()
    assert "forbidden" in refused, refused
    message = f"Error creating: {refused.partition('(Forbidden): ')[2].partition(': ')[2]}"
    stage.event(run.kind, run.full, "FailedCreatePod", message, count=7)
    stage.conditions(run, "Created")


def test_a_quota_that_is_used_up(cluster, stage, claims, why):
    (run,) = stage.submit(gpus_per_node=8)
    hard = {"requests.nvidia.com/gpu": "4"}
    created(cluster, stage, run, {"apiVersion": "v1", "kind": "ResourceQuota", "spec": {"hard": hard}})
    _, told, _ = why()
    gpus = "requests.nvidia.com/gpu"
    says = f"exceeded quota: limits, requested: {gpus}=8, used: {gpus}=0, limited: {gpus}=4"
    assert told["verdict"].endswith(f"its pods cannot be made: {says}")
    assert told["findings"][0]["cause"] == "QuotaExceeded"


def test_a_limit_range(cluster, stage, claims, why):
    (run,) = stage.submit(resources={"limits": {"memory": "16Gi"}})
    limits = [{"type": "Container", "max": {"memory": "1Gi"}}]
    created(cluster, stage, run, {"apiVersion": "v1", "kind": "LimitRange", "spec": {"limits": limits}})
    _, told, _ = why()
    assert "its pods cannot be made: maximum memory usage per Container is 1Gi, but limit is 16Gi" in told["verdict"]
    assert told["findings"][0]["cause"] == "LimitRange" and told["advice"] == "change resources"


def test_pod_security(cluster, stage, claims, why):
    (run,) = stage.submit(rdma={"resource": "rdma/hca"}, gpus_per_node=8)
    created(cluster, stage, run)
    _, told, _ = why()
    says = 'violates PodSecurity "restricted:latest": unrestricted capabilities'
    assert f"its pods cannot be made: {says}" in told["verdict"] and told["findings"][0]["cause"] == "PodSecurity"


def test_nobody_is_there_to_run_it(stage, claims, why, monkeypatch):
    from fino1.k8s import times

    (run,) = stage.submit()
    assert "has not answered yet" in why()[1]["verdict"]
    later = times.now().replace(year=times.now().year + 1)
    monkeypatch.setattr(times, "now", lambda: later)
    _, told, _ = why()
    assert "no controller has touched it for" in told["verdict"]
    assert "the Kubeflow Training Operator does not run" in told["verdict"]


def test_suspended_by_its_user(stage, claims, why):
    (run,) = stage.submit(suspend=True)
    stage.conditions(run, "Created", "Suspended")
    text, told, _ = why()
    assert told["phase"] == "Suspended" and "→ fino1-k8s resume run" in text


def test_the_deadline(stage, claims, why):
    (run,) = stage.submit(backend="job", activeDeadlineSeconds=3600)
    stage.conditions(run, ("Failed", "DeadlineExceeded", "Job was active longer than specified deadline"))
    _, told, _ = why()
    assert "it ran for longer than its deadline (1h0m, activeDeadlineSeconds)" in told["verdict"]


def test_started_again_as_often_as_it_may(stage, claims, why):
    (run,) = stage.submit(backend="job", backoffLimit=2)
    stage.ended(stage.pod(run), 137)
    stage.conditions(run, ("Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit"))
    _, told, _ = why()
    assert (
        "started again as often as it may (backoffLimit 2); at last rank 0 ended with exit code 137" in told["verdict"]
    )
    assert told["advice"].startswith("`fino1-k8s retry`")


def test_a_node_that_is_lost(stage, claims, why):
    (run,) = stage.submit(backend="job")
    lost = {"type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager", "message": "not-ready"}
    stage.container(stage.pod(run), terminated(143), "Failed", conditions=[lost])
    stage.status(run, active=1, failed=1, startTime=now())
    _, told, _ = why()
    assert "a pod was put off its node by a taint" in told["verdict"]


def test_an_evaluation_in_which_models_fare_unlike(stage, claims, why):
    one, two = stage.submit("eval", "marks")
    stage.conditions(one, "Complete")
    stage.ended(stage.pod(two), 2)
    stage.conditions(two, ("Failed", "PodFailurePolicy", "Container evaluate failed with exit code 2"))
    text, told, data = why(name="marks")
    assert told["run"] == two.full and len(data["runs"]) == 2
    assert f"the others\n  Succeeded: {one.full}: nothing is wrong" in text


# Kueue


def kueue(stage, *, nominal="8", used="0"):
    """Its queues, as an administrator makes them and Kueue keeps them."""
    name = f"cq-{secrets.token_hex(4)}"
    resources = [{"name": "nvidia.com/gpu", "nominalQuota": nominal}]
    group = {"coveredResources": ["nvidia.com/gpu"], "flavors": [{"name": "h200", "resources": resources}]}
    spec = {"namespaceSelector": {}, "resourceGroups": [group]}
    stage.api.create({"apiVersion": KUEUE, "kind": "ClusterQueue", "metadata": {"name": name}, "spec": spec})
    taken = [{"name": "h200", "resources": [{"name": "nvidia.com/gpu", "total": used}]}]
    status = {"flavorsReservation": taken, "flavorsUsage": taken}
    stage.api.patch(KUEUE, "ClusterQueue", name, {"status": status}, subresource="status")
    metadata = {"name": "gpus", "namespace": stage.namespace}
    stage.api.create({"apiVersion": KUEUE, "kind": "LocalQueue", "metadata": metadata, "spec": {"clusterQueue": name}})
    return name


def workload(stage, run, *conditions, priority=0, **spec):
    """The Workload that Kueue makes of a run."""
    metadata = {"name": f"pytorchjob-{run.full}", "namespace": stage.namespace}
    uid, owner = run.object["metadata"]["uid"], {"kind": run.kind, "name": run.full, "controller": True}
    metadata["ownerReferences"] = [{"apiVersion": run.object["apiVersion"], "uid": uid, **owner}]
    template = {"spec": {**stage.template(run)["spec"], "restartPolicy": "Never"}}
    sets = [{"name": "worker", "count": run.expected_pods, "template": template}]
    body = {"apiVersion": KUEUE, "kind": "Workload", "metadata": metadata}
    stage.api.create({**body, "spec": {"queueName": "gpus", "podSets": sets, "priority": priority, **spec}})
    every = [
        {"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": now()}
        for kind, status, reason, message in conditions
    ]
    status = {"status": {"conditions": every}}
    stage.api.patch(KUEUE, "Workload", metadata["name"], status, subresource="status")


def test_waiting_for_quota(stage, claims, why, admin):
    name = kueue(stage, nominal="16", used="12")
    (run,) = stage.submit(queue="gpus", suspend=True, gpus_per_node=8)
    message = "couldn't assign flavors to pod set worker: insufficient unused quota for nvidia.com/gpu, 4 more needed"
    workload(stage, run, ("QuotaReserved", "False", "Pending", message))
    text, told, _ = why()
    assert "is queued" in told["verdict"] and told["verdict"].endswith("it waits for quota (next in line)")
    assert "flavor h200: 12 of 16 nvidia.com/gpu reserved, it asks for 8" in text and message in text
    assert told["findings"][0]["numbers"]["quota"][0]["nominal"] == 16
    admin.delete(KUEUE, "ClusterQueue", name)


def test_more_than_the_quota(stage, claims, why, admin):
    name = kueue(stage, nominal="8")
    (run,) = stage.submit(queue="gpus", suspend=True, gpus_per_node=8, nodes=2)
    workload(
        stage, run, ("QuotaReserved", "False", "Pending", "insufficient quota, request > maximum capacity (16 > 8)")
    )
    _, told, _ = why()
    assert "Kueue can never admit it" in told["verdict"] and told["advice"] == "ask for less, or use another queue"
    admin.delete(KUEUE, "ClusterQueue", name)


def test_preempted_in_the_queue(stage, claims, why, admin):
    name = kueue(stage)
    (run,) = stage.submit(queue="gpus", suspend=True, gpus_per_node=8)
    by = "Preempted to accommodate a workload (UID: 1) due to prioritization in the ClusterQueue"
    workload(
        stage,
        run,
        ("QuotaReserved", "False", "Pending", "waits"),
        ("Evicted", "True", "Preempted", by),
        ("Preempted", "True", "InClusterQueue", by),
    )
    text, told, _ = why()
    assert f"Kueue has ended its pods (Preempted): {by}" in told["verdict"] and by in text
    assert told["findings"][0]["numbers"] == {"preemption": "InClusterQueue"}
    admin.delete(KUEUE, "ClusterQueue", name)


def test_a_queue_that_is_not_there(stage, claims, why):
    stage.submit(queue="gpus", suspend=True)
    _, told, _ = why()
    assert told["verdict"].endswith("LocalQueue gpus does not exist in its namespace")


def test_who_may_not_read_the_cluster_queue(stage, claims, why, admin, account):
    name = kueue(stage, nominal="16", used="12")
    (run,) = stage.submit(queue="gpus", suspend=True, gpus_per_node=8)
    workload(stage, run, ("QuotaReserved", "False", "Pending", "insufficient unused quota"))
    resources = {"": ["pods", "events", "persistentvolumeclaims"], "kubeflow.org": ["pytorchjobs"], "batch": ["jobs"]}
    resources |= {"jobset.x-k8s.io": ["jobsets"], "trainer.kubeflow.org": ["trainjobs"]}
    resources |= {"kueue.x-k8s.io": ["workloads", "localqueues"]}
    rules = [{"apiGroups": [group], "resources": names, "verbs": ["get", "list"]} for group, names in resources.items()]
    text, told, data = why(kubeconfig=account(stage.namespace, rules))
    assert "it waits for quota (next in line)" in told["verdict"]
    assert f"the quota of ClusterQueue {name} could not be read" in text
    assert "may not get clusterqueues" in data["unread"][0]
    admin.delete(KUEUE, "ClusterQueue", name)


def test_status_says_the_place_in_the_queue(cluster, stage, admin, namespace, capsys):
    name = kueue(stage)
    for number, priority in (("one", 5), ("two", 0)):
        (run,) = stage.submit(name=number, queue="gpus", suspend=True, gpus_per_node=8)
        workload(stage, run, ("QuotaReserved", "False", "Pending", "insufficient quota"), priority=priority)
    assert cli.main(["status", "--kubeconfig", str(cluster.kubeconfig), "-n", namespace, "two"]) == 0
    assert "queue     gpus, 1 of 2 waiting here are before it: insufficient quota" in capsys.readouterr().out
    admin.delete(KUEUE, "ClusterQueue", name)
