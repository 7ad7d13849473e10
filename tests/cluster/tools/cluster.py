"""How is a real Kubernetes brought up on this machine, and taken down?

    python -m tests.cluster.tools.cluster up   [--dir DIR]     etcd, kube-apiserver and the operators' CRDs, on 127.0.0.1; no root
    python -m tests.cluster.tools.cluster up   --node          a whole cluster of one node (root; see node.py for what it takes)
    python -m tests.cluster.tools.cluster build                our images, with the CPU's torch; needs no cluster
    python -m tests.cluster.tools.cluster images               the same, put where its pods find them
    python -m tests.cluster.tools.cluster operator NAME...     into it: training-operator, jobset, kueue, trainer
    eval "$(python -m tests.cluster.tools.cluster env)"        KUBECONFIG, helm and kubectl in PATH (--node: the whole cluster's)
    python -m tests.cluster.tools.cluster down [--dir DIR]     (--node: the whole cluster)

Without --node there are no controllers, scheduler or kubelets: objects are admitted, stored and watched, and nothing runs.
Everything of an instance is in DIR; `down` ends the processes recorded there, puts the machine back and removes it.
"""

import argparse
import fcntl
import os
import shlex
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from ci.images import engine, images
from ci.images.engine import Engine
from tests.cluster.tools import cache, machine, operators, programs
from tests.cluster.tools.api import ApiError
from tests.cluster.tools.cache import ToolError, say
from tests.cluster.tools.instance import Instance
from tests.cluster.tools.node import REGISTRY, Node

ROOT = Path(__file__).parents[3]
COMMAND = f"{sys.executable} -m tests.cluster.tools.cluster"  # typed in ROOT


def default_dir(kind: type[Instance]) -> Path:
    """Where does an instance live if nobody says? A whole cluster on the disk: it holds images."""
    if kind is Node:
        return cache.root().parent / "node"
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


def up(folder: Path, kind: type[Instance]) -> None:
    """Bring an instance up in `folder`, whatever an earlier one left there; print how to use it."""
    for make in (programs.etcd, programs.kubernetes, programs.crds):
        make()  # before the folder and the processes: the first time this takes minutes
    if kind is Node:
        machine.install()
        programs.make_node()
    with locked(folder):
        instance = kind(folder)
        if instance.running():
            instance.wait_ready()
            say("already running")
        else:
            if not instance.state_file.exists() and any(folder.iterdir()):
                raise ToolError(f"{folder} holds files that are not an instance's; choose another with --dir")
            instance.clear()
            instance = kind(folder)
            try:
                instance.up()
            except BaseException:
                instance.down()
                raise
    option = " --node" if kind is Node else ""
    if folder != default_dir(kind):
        option += f" --dir {shlex.quote(str(folder))}"
    print(
        f"KUBECONFIG={instance.kubeconfig}\n{instance.server}, Kubernetes {programs.KUBERNETES}: {', '.join(kind.servers)}"
    )
    print(f'in {ROOT}\nuse:  eval "$({COMMAND} env{option})"\nend:  {COMMAND} down{option}')


def whole(folder: Path) -> Node:
    """The whole cluster that runs from `folder`."""
    node = Node(folder)
    if not node.running():
        raise ToolError(f"no whole cluster runs from {folder}; `{COMMAND} up --node` first")
    return node


def operator(folder: Path, names: list[str]) -> None:
    """Install operators in the whole cluster of `folder`, side by side: each is mostly waited for.

    Kueue comes after the others: as soon as its webhook is registered, no Deployment can be made until Kueue answers.
    """
    node = whole(folder)
    others = [name for name in names if name != "kueue"]
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda name: operators.install(node, name), others))
    if "kueue" in names:
        operators.install(node, "kueue")


def build_images(builder: Engine) -> dict[str, str]:
    """Build our images; by part, their references in the engine's storage."""
    return {part: images.build(part, "cpu", builder=builder) for part in images.PARTS}


def push_images(folder: Path) -> None:
    """Build our images and push them to the registry of the whole cluster; print their references by digest."""
    whole(folder)
    builder = engine.find(among=engine.OF_OUR_STORAGE)
    for part, reference in build_images(builder).items():
        tag = reference.rpartition(":")[2].removesuffix("-cpu")
        print(images.push(reference, f"{REGISTRY}/fino1/{part}:{tag}", builder), flush=True)


def down(folder: Path, kind: type[Instance]) -> None:
    """Take the instance in `folder` down, if there is one."""
    if not (folder / "instance.json").exists():
        say(f"nothing runs from {folder}")
        return
    with locked(folder):
        kind(folder).down()
    say(f"down; {folder} is removed")


def env(folder: Path, kind: type[Instance]) -> None:
    """Print the shell lines that make this instance, and our helm and kubectl, the current ones."""
    instance = kind(folder)
    if not instance.running():
        raise ToolError(f"nothing runs from {folder}; `{COMMAND} up` first")
    folders = dict.fromkeys(str(program.parent) for program in (programs.helm4(), programs.kubectl()))
    print(f"export KUBECONFIG={shlex.quote(str(instance.kubeconfig))}")
    print(f"export PATH={shlex.quote(':'.join(folders))}:$PATH")


def main() -> None:
    """Which command was asked?"""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["up", "down", "env", "build", "images", "operator"])
    parser.add_argument("names", nargs="*", choices=[[], *programs.OPERATORS], metavar="NAME", help="of an operator")
    parser.add_argument("--node", action="store_true", help="the whole cluster")
    parser.add_argument("--dir", type=Path, help="where the instance lives")
    arguments = parser.parse_args()
    kind = Node if arguments.node or arguments.command in ("images", "operator") else Instance
    folder = (arguments.dir or default_dir(kind)).absolute()
    if arguments.command == "operator":
        operator(folder, arguments.names)
    elif arguments.command == "build":
        build_images(engine.find(among=engine.OF_OUR_STORAGE))
    elif arguments.command == "images":
        push_images(folder)
    else:
        {"up": up, "down": down, "env": env}[arguments.command](folder, kind)


if __name__ == "__main__":
    try:
        main()
    except (ToolError, ApiError, OSError) as error:
        sys.exit(f"cluster: {error}")
