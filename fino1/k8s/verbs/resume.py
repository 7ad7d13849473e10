"""The verb `resume`: a suspended run's pods start again, or it waits in its queue again."""

import argparse

from fino1.k8s.change.suspend import set_suspended
from fino1.k8s.cluster.client import connect


def main(arguments: argparse.Namespace) -> int:
    """Verb `resume`: its pods start again, or it waits in its queue again."""
    return set_suspended(connect(arguments.kubeconfig, arguments.context, arguments.namespace), arguments.name, False)
