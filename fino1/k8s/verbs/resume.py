"""The verb `resume`: a suspended run's pods start again, or it waits in its queue again."""

import argparse

from fino1 import exits
from fino1.k8s.change.suspend import set_suspended
from fino1.k8s.cluster.client import connect


def main(arguments: argparse.Namespace) -> int:
    """Resume the newest run objects of a name; prints a line for each."""
    api = connect(arguments.kubeconfig, arguments.context, arguments.namespace)
    for line in set_suspended(api, arguments.name, False):
        print(line)
    return exits.DONE
