"""The verb `suspend`: a run's pods end with a checkpoint, the run object stays. Its function is that of `resume` too."""

import argparse

from fino1 import exits
from fino1.k8s.change.suspend import set_suspended
from fino1.k8s.cluster.client import connect


def main(arguments: argparse.Namespace) -> int:
    """Suspend or resume the newest run objects of a name; prints a line for each."""
    api = connect(arguments.kubeconfig, arguments.context, arguments.namespace)
    for line in set_suspended(api, arguments.name, arguments.verb == "suspend"):
        print(line)
    return exits.DONE
