"""A team's repository: the chart, what Argo CD reads beside it, and a folder for each run."""

import shutil
import subprocess
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
LINKED = "manifests/gitops/argocd/values.yaml"


class Repository:
    def __init__(self, place, bare):
        self.place = place
        subprocess.run(["git", "init", "--quiet", "--bare", "--initial-branch=main", bare], check=True)
        self._git("init", "--quiet", "--initial-branch=main", place, folder=bare)
        self._git("remote", "add", "origin", bare)
        shutil.copytree(ROOT / "charts" / "fino1", place / "charts" / "fino1")
        (place / LINKED).parent.mkdir(parents=True)
        shutil.copyfile(ROOT / LINKED, place / LINKED)
        self.commit("the chart", {"runs/README.md": "A folder for each run.\n"})

    def commit(self, message, files):
        """Write these files (a dict is a run file, None removes one) and push; the commit."""
        for name, content in files.items():
            path = self.place / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if content is None:
                path.unlink()
            else:
                path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
        return self._push(message)

    def folders(self):
        """Names of the runs' folders; git knows no empty ones."""
        return {path.name for path in (self.place / "runs").iterdir() if path.is_dir() and any(path.iterdir())}

    def move(self, before, after):
        """Rename a folder, and push; the commit."""
        self._git("mv", before, after)
        return self._push(f"{before} is called {after}")

    def _push(self, message):
        self._git("add", "--all")
        self._git("commit", "--quiet", "--message", message)
        self._git("push", "--quiet", "origin", "main")
        return self._git("rev-parse", "HEAD").strip()

    def _git(self, *arguments, folder=None):
        who = ["-c", "user.name=test", "-c", "user.email=test@example.com", "-c", "gc.auto=0"]
        command = ["git", *who, "-C", folder or self.place, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout
