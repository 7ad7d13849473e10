"""Which Argo CD do the tests of manifests/gitops run, and what are Argo CD's and Flux's kinds?

python -m tests.cluster.tools.gitops        makes both (once; four minutes on two cores)
"""

import shutil
import sys
from pathlib import Path

from tests.cluster.tools import cache, golang

ARGOCD = "3.2.6"
CRDS = {  # module: (version, its sum as go.sum would hold it, where its CRDs are); Flux is that of 2.7
    "github.com/argoproj/argo-cd/v3": (
        f"v{ARGOCD}",
        "h1:nDCjBnHyxUf6JFuCKjuuXHS23LFj6/TjuO/APrS1ku4=",
        "manifests/crds/*-crd.yaml",
    ),
    "github.com/fluxcd/source-controller": (
        "v1.7.3",
        "h1:gFfeBiNUgF0kFFGap/rrMeJqz+0Tod0ARENJO8w/UA8=",
        "config/crd/bases/*_gitrepositories.yaml",
    ),
    "github.com/fluxcd/kustomize-controller": (
        "v1.7.3",
        "h1:SzNnGn/4ObAPEHHleM5U7y/AKxKXph3Vj6ZhteeXw8M=",
        "config/crd/bases/*_kustomizations.yaml",
    ),
    "github.com/fluxcd/helm-controller": (
        "v1.4.3",
        "h1:449LcGJXLCylvrNCq8ycevwa5mxE1Mn9vxTwlsj/no8=",
        "config/crd/bases/*_helmreleases.yaml",
    ),
}


def argocd() -> Path:
    """Which folder holds `argocd`, which is each of Argo CD's programs by ARGOCD_BINARY_NAME, and `redis` for it?"""

    def make(keep: Path) -> None:
        golang.build("argocd", ["github.com/argoproj/argo-cd/v3/cmd", "fino1.invalid/cluster/argocd/redis"], keep)
        (keep / "cmd").rename(keep / "argocd")

    return cache.entry(f"argocd-{ARGOCD}", make)


def crds() -> Path:
    """Which folder holds the CRDs of Argo CD and of Flux?"""

    def fetch(keep: Path) -> None:
        for module, (version, sum_, pattern) in CRDS.items():
            for file in golang.module_files(module, version, sum_, cache.scratch(keep)).glob(pattern):
                shutil.copyfile(file, keep / file.name)

    return cache.entry("crds-gitops-" + "-".join(version for version, *_ in CRDS.values()), fetch)


if __name__ == "__main__":
    try:
        print(argocd(), crds(), sep="\n")
    except cache.ToolError as error:
        sys.exit(f"gitops: {error}")
