"""The verb `doctor`: can runs be submitted from here, and what does the cluster offer?"""

import argparse

from fino1 import exits
from fino1.k8s.cluster.client import connect
from fino1.k8s.plan.cluster import survey
from fino1.k8s.text import print_structured


def main(arguments: argparse.Namespace) -> int:
    """Verb `doctor`: 0 where runs can be submitted from here, 1 where not."""
    report, lines = survey(connect(arguments.kubeconfig, arguments.context, arguments.namespace))
    if arguments.output != "text":
        print_structured(report, arguments.output)
    else:
        print("\n".join(f"{heading:<9}  {text}" for heading, text in lines.items()), end="\n\n")
        for text in report["notes"]:
            print(f"note: {text}")
        for number, text in enumerate(report["missing"], 1):
            print(f"{number}. missing: {text}")
        if not report["missing"]:
            print("nothing is missing")
    return exits.BUG if report["missing"] else exits.DONE
