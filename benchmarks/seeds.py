"""What does each stage of the demo gain, on every seed, and does the control gain nothing? By hand: `make bench` (an hour).

Runs the demo's recipe on seeds 1, 2 and 3, then seed 1 with the rewards shuffled over the batch, each judged on 500 held-out
questions, greedily. Prints a Markdown table; its last line is JSON. CPU seconds are those of all its processes.
"""

import json
import resource
import subprocess
import sys
import time
from pathlib import Path

WORK = Path("out/bench")
FINO1 = Path(sys.executable).with_name("fino1")
MODELS = ("writer", "sft", "ppo")
CASES = {
    "seed 1": ["seed=1"],
    "seed 2": ["seed=2"],
    "seed 3": ["seed=3"],
    "seed 1, rewards shuffled": ["seed=1", "ppo:ppo.reward.shuffle=true"],
}


def leaderboard(settings: list[str]) -> dict:
    """Run the demo with these settings; what is finished already is not run again."""
    options = [part for setting in settings for part in ("--set", setting)]
    subprocess.run([FINO1, "run", "demo", "--work", WORK, *options], check=True, stdout=subprocess.DEVNULL)
    return json.loads((WORK / "report" / "leaderboard.json").read_text())


def figures(board: dict) -> dict:
    """Each model's k of n on the ledger, and the paired p of each two that follow one another."""
    rows = {row["model"]: row for row in board["rows"] if row["task"] == "ledger"}
    p = {frozenset((pair["a"], pair["b"])): pair["p"] for pair in board["pairs"] if pair["task"] == "ledger"}
    steps = zip(MODELS, MODELS[1:], strict=False)
    return {
        "k": [rows[name]["k"] for name in MODELS],
        "n": rows["ppo"]["n"],
        "p": [p[frozenset(step)] for step in steps],
    }


def _spend() -> float:
    """Return the CPU seconds of the processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Print one line a case."""
    print("| case | writer → SFT → PPO of 500 | p of SFT | p of PPO | seconds | CPU seconds |")
    print("| :-- | --: | --: | --: | --: | --: |")
    found = {}
    for name, settings in CASES.items():
        started, spent = time.monotonic(), _spend()
        found[name] = figures(leaderboard(settings))
        found[name] |= {"seconds": round(time.monotonic() - started), "cpu_seconds": round(_spend() - spent)}
        case = found[name]
        right, p = " → ".join(map(str, case["k"])), " | ".join(f"{each:.2g}" for each in case["p"])
        print(f"| {name} | {right} | {p} | {case['seconds']} | {case['cpu_seconds']} |", flush=True)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**10  # KiB → MiB, of the largest process
    print(f"largest process: {peak:.0f} MiB")
    print(json.dumps({**found, "peak_mib": round(peak)}))


if __name__ == "__main__":
    main()
