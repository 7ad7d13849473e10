"""How is a real Kubernetes API server brought up on this machine, and taken down, without root?

    python ci/cluster/cluster.py up   [--dir DIR]     etcd, kube-apiserver and the operators' CRDs, on 127.0.0.1
    eval "$(python ci/cluster/cluster.py env)"        KUBECONFIG, and helm and kubectl in PATH
    python ci/cluster/cluster.py down [--dir DIR]

There are no controllers, scheduler or kubelets: objects are admitted, stored and watched, and nothing runs.
Everything of an instance is in DIR; `down` ends the two processes recorded there and removes it.
"""

import argparse
import fcntl
import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import tools
from api import ApiError
from cache import ToolError, say
from instance import Instance

USER_MISTAKE = 2  # DESIGN C5; these scripts run without fino1 installed


def default_dir() -> Path:
    """Where does an instance live if nobody says?"""
    return Path(os.environ.get("XDG_RUNTIME_DIR") or "/tmp") / f"fino1-cluster-{os.getuid()}"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Make the folder ours alone for this block: owned by this user, closed to others, one command at a time."""
    while True:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            if os.fstat(handle).st_uid != os.getuid():
                raise ToolError(f"{folder} belongs to another user; choose another with --dir")
            fcntl.flock(handle, fcntl.LOCK_EX)
            if folder.exists() and os.path.samestat(os.fstat(handle), folder.stat()):
                yield
                return
        finally:  # else a `down` removed the folder while we waited for it
            os.close(handle)


def up(folder: Path) -> None:
    """Bring an instance up in `folder`, whatever an earlier one left there; print how to use it."""
    for make in (tools.etcd, tools.kube_apiserver, tools.crds):
        make()  # before the folder and the processes: the first time this takes minutes
    with locked(folder):
        instance = Instance(folder)
        if instance.running():
            instance.wait_ready()
            say("already running")
        else:
            if not instance.state_file.exists() and any(folder.iterdir()):
                raise ToolError(f"{folder} holds files that are not an instance's; choose another with --dir")
            instance.clear()
            instance = Instance(folder)
            try:
                instance.up()
            except BaseException:
                instance.down()
                raise
    here, option = Path(__file__), "" if folder == default_dir() else f" --dir {shlex.quote(str(folder))}"
    print(f"KUBECONFIG={instance.kubeconfig}\n{instance.server}, Kubernetes {tools.KUBERNETES}, no controllers")
    print(f'use:  eval "$({sys.executable} {here} env{option})"\nend:  {sys.executable} {here} down{option}')


def down(folder: Path) -> None:
    """Take the instance in `folder` down, if there is one."""
    if not (folder / "instance.json").exists():
        say(f"nothing runs from {folder}")
        return
    with locked(folder):
        Instance(folder).down()
    say(f"down; {folder} is removed")


def env(folder: Path) -> None:
    """Print the shell lines that make this instance, and our helm and kubectl, the current ones."""
    instance = Instance(folder)
    if not instance.running():
        raise ToolError(f"nothing runs from {folder}; `python {Path(__file__)} up` first")
    folders = dict.fromkeys(str(program.parent) for program in (tools.helm4(), tools.kubectl()))
    print(f"export KUBECONFIG={shlex.quote(str(instance.kubeconfig))}")
    print(f"export PATH={shlex.quote(':'.join(folders))}:$PATH")


def main() -> None:
    """Which command was asked?"""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["up", "down", "env"])
    parser.add_argument("--dir", type=Path, default=default_dir(), help="where the instance lives (%(default)s)")
    arguments = parser.parse_args()
    {"up": up, "down": down, "env": env}[arguments.command](arguments.dir.absolute())


if __name__ == "__main__":
    try:
        main()
    except (ToolError, ApiError, OSError) as error:
        sys.exit(f"cluster: {error}")
