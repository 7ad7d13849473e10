"""Argo CD on this machine: its controllers and repo-server beside an API server with the controllers of Jobs, and a git server.

No root, no node, all on loopback but the application controller's metrics, whose address cannot be chosen. Pods are made by the
Job controller, and run by nobody (kubelet.py).
"""

import subprocess
import time

import yaml

from fino1.k8s.cluster.client import Api, connect
from tests.charts.applications import GITOPS, MANIFESTS
from tests.cluster.tools import gitops, programs
from tests.cluster.tools.instance import START_S, Instance, free_ports

APPLICATION = ("argoproj.io/v1alpha1", "Application")
NAMESPACE = "fino1"
PORTS = ("git", "redis", "repo", "repo-metrics", "metrics", "sets-metrics", "sets-probe", "sets-webhook", "manager")
CONTROLLERS = "job,garbagecollector,serviceaccount,ttl-after-finished"
REFRESH = "argocd.argoproj.io/refresh"
REFRESH_SET = "argocd.argoproj.io/application-set-refresh"


class ArgoCD(Instance):
    servers = (
        *("etcd", "kube-apiserver", "kube-controller-manager", "git", "redis", "repo-server"),
        *("application-controller", "applicationset-controller"),
    )

    def up(self):
        super().up()
        self.ports |= dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
        self._record()
        self.sets = connect(str(self.kubeconfig), namespace="argocd")
        self._install()
        self.sets = connect(str(self.kubeconfig), namespace="argocd")  # it asks once what is served
        self.runs = Api(self.sets.connection, NAMESPACE)
        manager = [f"--kubeconfig={self.kubeconfig}", f"--controllers={CONTROLLERS}", "--leader-elect=false"]
        manager += ["--bind-address=127.0.0.1", f"--secure-port={self.ports['manager']}", "--kube-api-qps=100"]
        self._start("kube-controller-manager", [str(programs.kubernetes() / "kube-controller-manager"), *manager])
        listen = ["--listen=127.0.0.1", f"--port={self.ports['git']}", "--reuseaddr"]
        bases = [f"--base-path={self.folder / 'git'}", "--export-all"]
        (self.folder / "git").mkdir()
        # Not `git daemon`, which would be left behind: it starts this as a child.
        told = subprocess.run(["/usr/bin/git", "--exec-path"], check=True, capture_output=True, text=True)
        self._start("git", [f"{told.stdout.strip()}/git-daemon", *listen, *bases])
        self._start_argocd()

    @property
    def url(self):
        """Where the git server's repository is."""
        return f"git://127.0.0.1:{self.ports['git']}/fino1.git"

    def _install(self):
        """What `kubectl apply` of Argo CD's install.yaml and docs/gitops.md's commands leave, without the pods."""
        for file in gitops.crds().glob("app*.yaml"):
            self.sets.apply(yaml.safe_load(file.read_text()), before={})
        self.until("the kinds are served", lambda: len(connect(str(self.kubeconfig)).discover(APPLICATION[0])) == 3)
        (namespace,) = yaml.safe_load_all((MANIFESTS / "namespace.yaml").read_text())
        assert namespace["metadata"]["name"] == NAMESPACE
        about = {"namespace": "argocd", "labels": {"app.kubernetes.io/part-of": "argocd"}}
        self.sets.create(namespace)
        self.sets.create(namespace | {"metadata": {"name": "argocd"}})
        settings = yaml.safe_load((GITOPS / "argocd" / "health.yaml").read_text())
        secret = {"apiVersion": "v1", "kind": "Secret", "stringData": {"server.secretkey": "of no server here"}}
        self.sets.create(settings | {"metadata": about | {"name": "argocd-cm"}})
        self.sets.create(secret | {"metadata": about | {"name": "argocd-secret"}})

    def _start_argocd(self):
        redis, repo = (f"127.0.0.1:{self.ports[name]}" for name in ("redis", "repo"))
        common = [f"--redis={redis}", "--loglevel=info"]
        controller = [f"--kubeconfig={self.kubeconfig}", "--namespace=argocd", "--loglevel=info"]
        self._start("redis", [str(gitops.argocd() / "redis"), redis])
        listen = ["--disable-tls", "--address=127.0.0.1", f"--port={self.ports['repo']}"]
        listen += ["--metrics-address=127.0.0.1", f"--metrics-port={self.ports['repo-metrics']}"]
        self._start_program("repo-server", [*common, *listen, "--revision-cache-expiration=1s"])
        repo = f"--repo-server={repo}", "--repo-server-plaintext", f"--metrics-port={self.ports['metrics']}"
        self._start_program("application-controller", [*controller, f"--redis={redis}", *repo])
        ports = [f"--{name}-addr=127.0.0.1:{self.ports[f'sets-{name}']}" for name in ("metrics", "probe", "webhook")]
        repo = [f"--argocd-repo-server=127.0.0.1:{self.ports['repo']}", "--repo-server-plaintext"]
        self._start_program("applicationset-controller", [*controller, *ports, *repo])

    def _start_program(self, name, arguments):
        home = self.folder / name
        (home / "tmp").mkdir(parents=True)
        for data in ("tls", "ssh", "gpg"):
            (home / data).mkdir()
        helm = self.folder / "bin"
        helm.mkdir(exist_ok=True)
        if not (helm / "helm").exists():
            (helm / "helm").symlink_to(programs.helm3())  # what Argo CD 3.2 comes with
        variables = {
            "ARGOCD_BINARY_NAME": f"argocd-{name}",
            "ARGOCD_FAKE_IN_CLUSTER": "true",
            "ARGOCD_GPG_ENABLED": "false",
            "ARGOCD_SSH_DATA_PATH": str(home / "ssh"),
            "ARGOCD_TLS_DATA_PATH": str(home / "tls"),
            "GNUPGHOME": str(home / "gpg"),
            "HOME": str(home),
            "KUBECONFIG": str(self.kubeconfig),
            "PATH": f"{helm}:/usr/bin:/bin",
            "TMPDIR": str(home / "tmp"),
        }
        words = [f"{key}={value}" for key, value in variables.items()]
        self._start(name, ["/usr/bin/env", "-i", *words, str(gitops.argocd() / "argocd"), *arguments])

    # What the tests ask

    def install_runs(self):
        """Apply our AppProject and ApplicationSet, with the repository's address."""
        for name in ("project", "runs"):
            text = (GITOPS / "argocd" / f"{name}.yaml").read_text()
            thing = yaml.safe_load(text.replace("https://git.example.com/team/fino1.git", self.url))
            self.sets.apply(thing, before={})

    def application(self, name):
        return self.sets.get(*APPLICATION, f"fino1-{name}")

    def refresh(self, commit, folders):
        """As a webhook does: have Argo CD look at the repository; return when it has done what `commit` asks for."""

        def has_applications():  # a controller that has only just started may miss the first look
            self._annotate("ApplicationSet", "fino1-runs", {REFRESH_SET: "true"})
            self.until("the ApplicationSet is up to date", lambda: not self._is_asked("ApplicationSet", REFRESH_SET))
            return self.names() == folders

        self.until(f"the Applications are {folders}", has_applications)
        for _ in range(2):  # a sync shows in the look after it
            self.look(*folders)
        for thing in self.sets.list(*APPLICATION):
            assert thing["status"]["sync"].get("revision") == commit or problems(thing), thing["status"]

    def names(self):
        """The folders that have an Application."""
        return {thing["metadata"]["name"].removeprefix("fino1-") for thing in self.sets.list(*APPLICATION)}

    def look(self, *names):
        """Have the application controller compare these Applications with the cluster; return when it has done what follows."""
        for name in names:
            self._annotate("Application", f"fino1-{name}", {REFRESH: "normal"})
        self.until("Applications are up to date", lambda: not self._is_asked("Application", REFRESH))
        self.until("no sync runs", self._is_idle)

    def _is_asked(self, kind, annotation):
        things = self.sets.list("argoproj.io/v1alpha1", kind)
        return any(annotation in (thing["metadata"].get("annotations") or {}) for thing in things)

    def _is_idle(self):
        things = self.sets.list(*APPLICATION)
        phases = [thing.get("status", {}).get("operationState", {}).get("phase") for thing in things]
        return "Running" not in phases and not any("operation" in thing for thing in things)

    def _annotate(self, kind, name, annotations):
        self.sets.patch("argoproj.io/v1alpha1", kind, name, {"metadata": {"annotations": annotations}})

    def until(self, what, is_true, seconds=START_S):
        deadline = time.monotonic() + seconds
        while not (found := is_true()):
            for name in list(self.processes):
                self._check(name, deadline)
            assert time.monotonic() < deadline, f"not after {seconds} s: {what}"
            time.sleep(0.2)
        return found


def problems(application):
    """What Argo CD says is wrong with it."""
    return [each["message"] for each in application.get("status", {}).get("conditions", []) if "Error" in each["type"]]
