"""How fast is `fino1-k8s`, next to helm and kubectl in the same run? By hand: `python -m benchmarks.cli`.

It starts its own etcd and kube-apiserver (tests/cluster/tools). CPU seconds are user and system of the process and its children,
the median of several runs; apply is wall-clock time. The last line is JSON.
"""

import contextlib
import io
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.cluster.tools import instance, programs

ROOT = Path(__file__).parents[1]
CLI = str(Path(sys.executable).with_name("fino1-k8s"))
REPEATS = 9
TURNS = 3
MODELS = 1200


def main() -> None:
    """Measure everything, print a line for each, then JSON."""
    found: dict[str, float] = {"help_cpu_s": cpu([CLI, "--help"])}
    document = ROOT / "manifests" / "runs" / "sft-tiny.yaml"
    found["render_cpu_s"] = cpu([CLI, "render", str(document), "--name", "abc"])
    helm = cpu([str(programs.helm4()), "template", "abc", str(ROOT / "charts" / "train"), "-f", str(document)])
    found["render_vs_helm"] = found["render_cpu_s"] / helm
    print(f"--help {found['help_cpu_s']:.3f} s CPU; render {found['render_cpu_s']:.3f}, helm template {helm:.3f}")
    with tempfile.TemporaryDirectory() as folder:
        server = instance.Instance(Path(folder))
        server.up()
        try:
            found["apply_vs_kubectl"] = apply(server.kubeconfig, Path(folder))
            found["status_1000_s"] = status(server.kubeconfig)
        finally:
            server.down()
    print(json.dumps({key: round(value, 4) for key, value in found.items()}))


def cpu(command: Sequence[str]) -> float:
    """Median CPU seconds of a command."""
    seconds = []
    for _ in range(REPEATS):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return statistics.median(seconds)


def apply(kubeconfig: Path, folder: Path) -> float:
    """`submit` of an evaluation of 1,200 models against `kubectl apply --server-side` of the same objects, alternating."""
    environment = {**os.environ, "KUBECONFIG": str(kubeconfig)}
    ratios = []
    for turn in range(TURNS):
        run, manifests = folder / "many.yaml", folder / "many-objects.json"
        models = [{"name": f"m{i}", "base_url": "https://api.example.com/v1"} for i in range(MODELS)]
        run.write_text(json.dumps({"method": "eval", "eval": {"models": models, "tasks": [{"task": "ledger"}]}}))
        manifests.write_bytes(subprocess.check_output([CLI, "render", str(run), "--name", "many", "-o", "json"]))
        seconds = {}
        for who in ("kubectl", "fino1"):
            namespace = f"{who}-{turn}"
            for made in (["namespace", namespace], ["serviceaccount", "default", "-n", namespace]):
                subprocess.run(
                    [programs.kubectl(), "create", *made], check=True, env=environment, stdout=subprocess.DEVNULL
                )
            command = {
                "kubectl": [programs.kubectl(), "apply", "--server-side", "-n", namespace, "-f", manifests],
                "fino1": [CLI, "submit", run, "--name", "many", "-n", namespace],
            }[who]
            start = time.monotonic()
            subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
            seconds[who] = time.monotonic() - start
        print(f"{MODELS} evaluation Jobs: submit {seconds['fino1']:.1f} s, kubectl apply {seconds['kubectl']:.1f} s")
        ratios.append(seconds["fino1"] / seconds["kubectl"])
    return statistics.median(ratios)


def status(kubeconfig: Path) -> float:
    """CPU seconds of `ps` and of `status` for the 1,200 Jobs just submitted, without asking for lists: the larger one."""
    from fino1.k8s import cli
    from fino1.k8s.cluster.client import Api, Listing

    listing, waited = Api.list, [0.0]

    def list_and_time(*arguments: Any, **options: Any) -> Listing:
        start = time.process_time()
        try:
            return listing(*arguments, **options)
        finally:
            waited[0] += time.process_time() - start

    Api.list = list_and_time  # type: ignore[method-assign]
    seconds = {}
    for verb in (["ps"], ["status", "many"]):
        for _ in range(2):  # the first loads what is loaded once
            waited[0], start = 0.0, time.process_time()
            with contextlib.redirect_stdout(io.StringIO()) as printed:
                cli.main([*verb, "--kubeconfig", str(kubeconfig), "-n", "fino1-0"])
            seconds[verb[0]] = time.process_time() - start - waited[0]
        print(f"{verb[0]} of {MODELS} runs: {seconds[verb[0]]:.2f} s CPU, {len(printed.getvalue().splitlines())} lines")
    return max(seconds.values())


if __name__ == "__main__":
    main()
