"""`team`: Argo CD, a repository that it follows, a kubelet, and models that count; one of each for all tests."""

import tempfile
from pathlib import Path

import pytest

from tests.cluster.tools import gitops, programs
from tests.gitops.argocd import ArgoCD
from tests.gitops.kubelet import Kubelet, Models
from tests.gitops.repository import Repository
from tests.gitops.team import Team
from tests.needs import needed


@pytest.fixture(scope="session")
def team():
    for make in (programs.etcd, programs.kubernetes, programs.crds, programs.helm3, gitops.crds, gitops.argocd):
        needed(make)
    with tempfile.TemporaryDirectory(prefix="fino1-gitops-") as folder:
        argocd = ArgoCD(Path(folder) / "argocd", die_with_parent=True)
        argocd.folder.mkdir()
        kubelet = None
        try:
            argocd.up()
            kubelet = Kubelet(argocd.runs, Path(folder) / "kubelet")
            repository = Repository(Path(folder) / "clone", argocd.folder / "git" / "fino1.git")
            argocd.install_runs()
            kubelet.start()
            team = Team(argocd, repository, kubelet, Models())
            yield team
            print(team.transcript)
        finally:
            if kubelet and kubelet.is_alive():
                kubelet.close()
            argocd.clear()
