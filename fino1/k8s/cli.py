"""Script `fino1-k8s`: which command was asked? Parse, call, print.

Verb v is the function `main(arguments) -> exit code` of fino1/k8s/verbs/VERB.py; only that module is imported.
"""

import argparse
import importlib
import os
import signal
import sys

from fino1 import commandline, errors, exits
from fino1.commandline import path

_OUTPUT = ("text", "json", "yaml")
_RUN = "built-in name (see `fino1-k8s runs`), or path of a YAML file"
_GROUPS = {  # in the order of a run's life
    "write a run file": {
        "runs": "list the built-in run files and recipes",
        "init": "write a commented run file to start from",
    },
    "before it runs": {
        "doctor": "check this machine's access to the cluster and what the cluster offers",
        "render": "print the Kubernetes objects of a run",
        "lint": "check run files for what the API server does not catch",
        "plan": "say what would run, whether it fits, what is missing, and what it costs",
        "diff": "compare a run's objects with those on the cluster; exit 1 where something differs",
    },
    "run it": {
        "submit": "check a run file, ask the API server, and create the run's objects",
        "run": "run a run file or a recipe on this machine, as `fino1 run` does",
    },
    "while it runs": {
        "ps": "list the runs on the cluster",
        "status": "say how a run stands",
        "logs": "print the logs of all pods of a run",
        "why": "say in one screen why a run is pending or failed",
        "wait": "wait until a run is over; exit with its code",
        "suspend": "stop a run's pods and keep its place",
        "resume": "start a suspended run again",
        "retry": "start a failed run again from its newest checkpoint",
        "cancel": "end a run and delete its objects; results stay",
    },
    "afterwards": {
        "fetch": "copy a run's results here",
        "report": "copy runs' results here and write the leaderboard and curves of them",
        "prune": "delete what finished runs have left in the cluster; results stay",
    },
    "your shell": {"completion": "print the completion script of a shell"},
}


def main(argv: list[str] | None = None) -> int:
    """Run one verb; return its exit code (fino1/exits.py), after Ctrl-C 130."""
    commands = parser()
    if "_ARGCOMPLETE" in os.environ:  # set by the script that `completion` prints
        importlib.import_module("fino1.k8s.verbs.completion").answer(commands)
    arguments = commands.parse_args(argv)
    try:
        return errors.guarded(lambda: importlib.import_module(f"fino1.k8s.verbs.{arguments.verb}").main(arguments))
    except KeyboardInterrupt:
        return exits.of_signal(signal.SIGINT)


def parser() -> argparse.ArgumentParser:
    """The whole command line; `generate` prints it into docs/cli.md, `completion` completes it."""
    top, commands = commandline.parser(
        "fino1-k8s", "Train and evaluate financial-reasoning language models on a Kubernetes cluster.", _GROUPS
    )
    for verb in ("init", "render", "lint", "plan", "diff", "submit"):
        commandline.add_run_file(commands[verb])
        if verb != "lint":
            commands[verb].add_argument("run", metavar="RUN", help=_RUN)
    commands["lint"].add_argument("run", nargs="+", metavar="RUN", help=_RUN)
    for verb in commands.keys() - {"runs", "init", "render", "lint", "run", "completion"}:
        command = commands[verb]
        command.add_argument("--kubeconfig", metavar="FILE", help="(default: $KUBECONFIG, or ~/.kube/config)")
        command.add_argument("--context", metavar="NAME", help="context of the kubeconfig (default: its current one)")
        command.add_argument("-n", "--namespace", metavar="NAME", help="(default: the context's)")
    for verb in ("status", "logs", "why", "wait", "suspend", "resume", "retry", "cancel", "fetch"):
        commandline.add_name(commands[verb])
    for verb in ("runs", "lint", "plan", "diff", "ps", "status", "why", "doctor"):
        commands[verb].add_argument("-o", "--output", choices=_OUTPUT, default="text", help="format (default: text)")
    _of_single_verbs(commands)
    return top


def _of_single_verbs(commands: dict[str, argparse.ArgumentParser]) -> None:
    """What only one verb needs."""
    commandline.add_run(commands["run"])
    render = commands["render"]
    render.add_argument("-o", "--output", choices=("yaml", "json"), default="yaml", help="format (default: yaml)")
    render.add_argument("--tests", action="store_true", help="the pod of `helm test` too")
    commands["init"].add_argument("--out", type=path, metavar="FILE", help="(default: standard output)")
    submit = commands["submit"]
    submit.add_argument("--dry-run", action="store_true", help="ask the server, change nothing")
    submit.add_argument("--wait", action="store_true", help="wait until the run is over, showing its progress")
    plan = commands["plan"]
    plan.add_argument("--offline", action="store_true", help="ask no cluster")
    plan.add_argument("--prices", type=path, metavar="FILE", help="price book: what a GPU-hour costs")
    plan.add_argument("--hours", type=commandline.amount, metavar="H", help="how long the run takes; needs --prices")
    commands["ps"].add_argument("-A", "--all-namespaces", action="store_true")
    logs = commands["logs"]
    logs.add_argument("-f", "--follow", action="store_true", help="go on until the run is over")
    logs.add_argument("--since", metavar="TIME", help="seconds ago (90s, 5m, 2h), or RFC 3339")
    logs.add_argument("--tail", type=commandline.whole(0), metavar="N", help="the last N lines of each pod")
    logs.add_argument("--rank", type=commandline.whole(0), metavar="N", help="only of pod N")
    logs.add_argument("-c", "--container", metavar="NAME", help="(default: the one that trains or asks)")
    logs.add_argument("-o", "--output", choices=("text", "json"), default="text", help="format (default: text)")
    commands["wait"].add_argument("--timeout", type=commandline.amount, metavar="S", help="seconds (default: none)")
    for verb in ("fetch", "report"):
        commands[verb].add_argument("--to", type=path, metavar="DIR", help="work directory to copy into (default: out)")
    report = commands["report"]
    report.add_argument("names", nargs="+", metavar="NAME", help="a run's name, or its object's full name")
    report.add_argument("--title", default="Fino1", help="heading of the page (default: Fino1)")
    commands["fetch"].add_argument("--all", action="store_true", help="checkpoints too")
    patience = "seconds to wait for its pods (default: their grace period and a minute)"
    commands["cancel"].add_argument("--timeout", type=commandline.amount, metavar="S", help=patience)
    prune = commands["prune"]
    prune.add_argument("--older-than", default="7d", metavar="TIME", help="finished so long ago (default: 7d)")
    prune.add_argument("--dry-run", action="store_true", help="say what would go")
    commands["completion"].add_argument("shell", choices=("bash", "zsh", "fish"))


if __name__ == "__main__":
    sys.exit(main())
