"""Does fino1.k8s.cluster.client say and do the right thing with a real API server, also when it refuses or restarts?"""

import json
import subprocess
import sys
import threading
import time

import pytest

from fino1.errors import ClusterError, SpecError
from fino1.k8s.cluster.client import connect
from fino1.k8s.cluster.errors import ApiError, KindMissing, Lost

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.fixture
def api(kubeconfig, namespace):
    return connect(str(kubeconfig), namespace=namespace)


def config_map(name, **data):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def edited(kubeconfig, tmp_path, change):
    """A copy of the kubeconfig with `change` made to it."""
    content = json.loads(kubeconfig.read_text())
    change(content)
    path = tmp_path / "kubeconfig"
    path.write_text(json.dumps(content))
    return str(path)


# Which cluster, as whom?


def test_importing_it_loads_no_client():
    code = "import sys, fino1.k8s.cluster.client, fino1.k8s.state.logs\nprint({'kubernetes', 'urllib3', 'yaml'} & set(sys.modules))"  # noqa: E501
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "set()\n"


def test_no_kubeconfig(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    with pytest.raises(SpecError, match=rf"expected one at {tmp_path}/.kube/config \(KUBECONFIG is not set\)"):
        connect()
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path}/a:{tmp_path}/b")
    with pytest.raises(SpecError, match=rf"expected one at {tmp_path}/a or {tmp_path}/b \(KUBECONFIG is set\)"):
        connect()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a: [", r"kubeconfig: line \d: expected YAML, got: .*"),
        ("just text", "kubeconfig: expected a kubeconfig with lists of named clusters, contexts and users"),
        (
            "contexts: [{context: {}}]",
            "kubeconfig: expected a kubeconfig with lists of named clusters, contexts and users",
        ),
        ("contexts: [{name: a, context: {}}]", "kubeconfig: no context is current; choose one with --context: a"),
        (
            "{contexts: [{name: a, context: {cluster: b}}], current-context: a}",
            "context a of .*: Invalid kube-config file. Expected object with name b .*",
        ),
    ],
)
def test_a_broken_kubeconfig(tmp_path, content, message):
    path = tmp_path / "kubeconfig"
    path.write_text(content)
    with pytest.raises(SpecError, match=f"^.*{message}$"):
        connect(str(path))


def test_an_unknown_context(kubeconfig):
    with pytest.raises(SpecError, match=r"context: expected one of fino1, got prod"):
        connect(str(kubeconfig), "prod")


def test_the_first_file_that_names_a_context_has_it(kubeconfig, tmp_path, monkeypatch):
    other = tmp_path / "other"
    other.write_text("{contexts: [{name: else, context: {namespace: there}}], current-context: else}")
    monkeypatch.setenv("KUBECONFIG", f"{kubeconfig}:{other}:{tmp_path}/missing")
    assert connect().namespace == "default"


def test_a_credential_plugin_that_fails(kubeconfig, tmp_path):
    plugin = {"apiVersion": "client.authentication.k8s.io/v1", "command": "no-such-plugin"}
    path = edited(
        kubeconfig,
        tmp_path,
        lambda content: content["users"].__setitem__(0, {"name": "admin", "user": {"exec": plugin}}),
    )
    with pytest.raises(ClusterError, match="user admin: no-such-plugin gave no credentials: .*No such file"):
        connect(path)


def test_a_credential_plugin_that_works(kubeconfig, tmp_path):
    def change(content):
        token = content["users"][0]["user"]["token"]
        answer = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": token}}
        plugin = {"apiVersion": answer["apiVersion"], "command": "echo", "args": [json.dumps(answer)]}
        content["users"][0]["user"] = {"exec": plugin}

    assert connect(edited(kubeconfig, tmp_path, change)).get("v1", "Namespace", "default")


def test_a_token_that_is_not_accepted(kubeconfig, tmp_path):
    path = edited(kubeconfig, tmp_path, lambda content: content["users"][0]["user"].update(token="wrong"))
    with pytest.raises(
        ApiError, match=r"does not accept admin \(context fino1 of .*: the token or certificate has expired"
    ) as caught:
        connect(path).get("v1", "ConfigMap", "any")
    assert caught.value.status == 401 and "\n" not in str(caught.value)


def test_a_token_file_that_is_renewed(kubeconfig, tmp_path):
    token = tmp_path / "token"

    def change(content):
        token.write_text("expired")
        content["users"][0]["user"] = {"tokenFile": str(token)}

    api = connect(edited(kubeconfig, tmp_path, change))
    token.write_text(json.loads(kubeconfig.read_text())["users"][0]["user"]["token"])
    assert api.get("v1", "Namespace", "default")


def test_a_server_that_is_not_there(kubeconfig, tmp_path):
    path = edited(
        kubeconfig, tmp_path, lambda content: content["clusters"][0]["cluster"].update(server="https://127.0.0.1:9")
    )
    began = time.monotonic()
    with pytest.raises(Lost, match=r"https://127.0.0.1:9 cannot be reached: .*Connection refused"):
        connect(path).list("v1", "Pod")
    assert time.monotonic() - began < 10


def test_a_server_whose_certificate_is_not_trusted(kubeconfig, tmp_path):
    path = edited(kubeconfig, tmp_path, lambda content: content["clusters"][0]["cluster"].pop("certificate-authority"))
    with pytest.raises(ClusterError, match="TLS: .*certificate verify failed"):
        connect(path).list("v1", "Pod")


# Objects


def test_apply_says_what_it_did(api):
    assert api.apply(config_map("a", x="1"), dry_run=True).outcome == "created"
    assert api.get("v1", "ConfigMap", "a") is None
    assert api.apply(config_map("a", x="1")).outcome == "created"
    assert api.apply(config_map("a", x="1")).outcome == "unchanged"
    assert api.apply(config_map("a", x="2"), dry_run=True).outcome == "configured"
    assert api.get("v1", "ConfigMap", "a")["data"] == {"x": "1"}
    before = api.get("v1", "ConfigMap", "a")
    assert api.apply(config_map("a", x="2"), before=before).outcome == "configured"
    assert api.apply(config_map("b", x="2"), before={}).outcome == "created"


def test_apply_does_not_mistake_a_status_for_a_change(api):
    container = {"name": "main", "image": "image"}
    template = {"spec": {"restartPolicy": "Never", "containers": [container]}}
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "a"}, "spec": {"template": template}}
    before = api.apply(job).object
    api.patch("batch/v1", "Job", "a", {"status": {"ready": 0, "terminating": 0}}, subresource="status")
    assert api.apply(job, before=before).outcome == "unchanged"


def test_apply_refuses_unknown_and_mistyped_fields(api):
    with pytest.raises(ApiError, match=r"^ConfigMap .*/a: dota: field not declared in schema$"):
        api.apply({**config_map("a"), "dota": {}})
    job = {"apiVersion": "kubeflow.org/v1", "kind": "PyTorchJob", "metadata": {"name": "a"}}
    spec = {"nprocPerNode": 3, "pytorchReplicaSpecs": {"Worker": {"replica": 1}}}
    with pytest.raises(ApiError) as caught:
        api.apply({**job, "spec": spec})
    assert caught.value.status == 422 and "\n" not in str(caught.value)
    assert "spec.nprocPerNode: expected string" in str(caught.value)
    assert "spec.pytorchReplicaSpecs.Worker.replica: field not declared" in str(caught.value)


def test_an_invalid_object_lists_its_fields(api):
    template = {"spec": {"containers": [{"name": "main"}]}}
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "a"}, "spec": {"template": template}}
    with pytest.raises(
        ApiError, match=r"Job .*/a: spec.template.spec.containers\[0\].image: Required value; spec.template"
    ):
        api.apply(job)


def test_a_field_of_another_manager(api, cluster):
    applied = {**config_map("a", x="1"), "metadata": {"name": "a", "namespace": api.namespace}}
    cluster.ask("apply", "--server-side", "--field-manager=other", "-f", "-", stdin=applied)
    with pytest.raises(ApiError, match=r"ConfigMap .*/a: data.x is set by field manager 'other'") as caught:
        api.apply(config_map("a", x="2"))
    assert caught.value.status == 409
    assert api.apply(config_map("a", x="2"), force=True).outcome == "configured"


def test_create_patch_and_delete(api):
    uid = api.create(config_map("a", x="1"))["metadata"]["uid"]
    with pytest.raises(ApiError, match="already exists"):
        api.create(config_map("a", x="1"))
    assert api.patch("v1", "ConfigMap", "a", {"data": {"x": None, "y": "2"}})["data"] == {"y": "2"}
    with pytest.raises(ApiError, match=r"ConfigMap .*/b does not exist"):
        api.patch("v1", "ConfigMap", "b", {"data": {}})
    with pytest.raises(ApiError, match="UID") as caught:
        api.delete("v1", "ConfigMap", "a", uid="another")
    assert caught.value.status == 409
    assert api.delete("v1", "ConfigMap", "a", uid=uid) is True
    assert api.delete("v1", "ConfigMap", "a") is False


def test_a_namespace_that_is_not_there(kubeconfig):
    api = connect(str(kubeconfig), namespace="nowhere")
    with pytest.raises(ApiError, match=r"ConfigMap nowhere/a: namespace nowhere does not exist at https://"):
        api.apply(config_map("a"))


def test_quota_and_pod_security_speak_for_themselves(api):
    spec = {"hard": {"configmaps": "0"}}
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"}}
    api.apply({**quota, "spec": spec})
    api.patch("v1", "ResourceQuota", "none", {"status": {**spec, "used": {"configmaps": "0"}}}, subresource="status")
    deadline = time.monotonic() + 20
    with pytest.raises(ApiError, match=r"ConfigMap .*: exceeded quota: none, requested: configmaps=1"):
        while time.monotonic() < deadline:  # admission learns of a quota by a watch of its own
            api.apply(config_map("a"), dry_run=True)
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}}
    with pytest.raises(ApiError, match=r'Pod .*violates PodSecurity "restricted'):
        api.apply({**pod, "spec": {"containers": [{"name": "a", "image": "a"}]}})


def test_what_is_served(api):
    assert api.serves("kubeflow.org/v1", "PyTorchJob") and not api.serves("kubeflow.org/v2", "PyTorchJob")
    assert api.resource("batch/v1", "Job").plural == "jobs"
    assert api.versions("kueue.x-k8s.io")[0] == "kueue.x-k8s.io/v1beta1" and api.versions("example.org") == []
    with pytest.raises(
        KindMissing, match=r"does not serve Workload \(kueue.x-k8s.io/v9\); it comes with Kueue, https://"
    ):
        api.list("kueue.x-k8s.io/v9", "Workload")


def test_a_service_account_with_a_small_role(account, namespace):
    rule = {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list"]}
    api = connect(str(account(namespace, [rule])))
    assert api.list("v1", "ConfigMap") == []
    who = rf"forbidden: system:serviceaccount:{namespace}:account-\w+ may not"
    with pytest.raises(
        ApiError, match=rf"^{who} patch configmaps in namespace {namespace}; the Role in docs/rbac.md has it$"
    ):
        api.apply(config_map("a"))
    with pytest.raises(ApiError, match=rf"{who} list jobs \(API group batch\) in all namespaces"):
        api.list("batch/v1", "Job", namespace="")


def test_a_list_is_of_what_matches(api):
    for name in "ab":
        api.apply(config_map(name))
    (found,) = api.list("v1", "ConfigMap", field_selector="metadata.name=b")
    assert (found["apiVersion"], found["kind"], found["metadata"]["name"]) == ("v1", "ConfigMap", "b")


@pytest.mark.parametrize("signal", [9, 15])
def test_a_restricted_account_outlives_a_restart_of_the_server(account, namespace, instance, signal):
    rule = {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list", "create", "patch"]}
    api = connect(str(account(namespace, [rule])))
    api.apply(config_map("a", x="1"))
    instance.stop_apiserver(signal)
    threading.Timer(1, instance.start_apiserver).start()
    assert api.apply(config_map("a", x="2")).outcome == "configured"  # in the middle of the restart
    assert [each["data"] for each in api.list("v1", "ConfigMap", field_selector="metadata.name=a")] == [{"x": "2"}]
