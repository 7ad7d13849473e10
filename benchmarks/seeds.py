"""Does PPO beat SFT on every seed, and does the control not? Run by hand: `make bench` (an hour on two cores).

Runs the demo's recipe on seeds 1, 2 and 3, then seed 1 with the rewards shuffled over the batch, each judged on 500 held-out
questions, greedily and sampled at temperature 1. Prints a Markdown table; its last line is JSON.
"""

import json
import resource
import subprocess
import sys
import time
from pathlib import Path

WORK = Path("out/bench")
FINO1_K8S = Path(sys.executable).with_name("fino1-k8s")
CASES = {
    "seed 1": ["seed=1"],
    "seed 2": ["seed=2"],
    "seed 3": ["seed=3"],
    "seed 1, rewards shuffled": ["seed=1", "ppo:ppo.reward.shuffle=true"],
}


def leaderboard(settings: list[str]) -> dict:
    """Run the demo with these settings; what is finished already is not run again."""
    options = [part for setting in settings for part in ("--set", setting)]
    subprocess.run([FINO1_K8S, "run", "demo", "--work", WORK, *options], check=True, stdout=subprocess.DEVNULL)
    return json.loads((WORK / "report" / "leaderboard.json").read_text())


def figures(board: dict) -> dict:
    """The two models' k of n on the ledger, and the paired p."""
    rows = {row["model"]: row for row in board["rows"] if row["task"] == "ledger"}
    p = next(pair["p"] for pair in board["pairs"] if pair["task"] == "ledger")
    return {"sft": rows["sft"]["k"], "ppo": rows["ppo"]["k"], "n": rows["ppo"]["n"], "p": p}


def main() -> None:
    """Print one line a case."""
    print("| case | greedy: SFT → PPO of 500 | p | sampled: SFT → PPO of 500 | p | seconds |")
    print("| :-- | --: | --: | --: | --: | --: |")
    found = {}
    for name, settings in CASES.items():
        started = time.monotonic()
        greedy = figures(leaderboard(settings))
        seconds = time.monotonic() - started
        sampled = figures(leaderboard([*settings, "eval:eval.temperature=1.0"]))
        found[name] = {"greedy": greedy, "sampled": sampled, "seconds": round(seconds)}
        cells = [f"{each['sft']} → {each['ppo']} | {each['p']:.2g}" for each in (greedy, sampled)]
        print(f"| {name} | {' | '.join(cells)} | {seconds:.0f} |", flush=True)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**10  # KiB → MiB, of the largest process
    print(f"largest process: {peak:.0f} MiB")
    print(json.dumps({**found, "peak_mib": round(peak)}))


if __name__ == "__main__":
    main()
