"""The verb `suspend`: a run's pods end with a checkpoint, its place in the cluster stays."""

import argparse

from fino1.k8s.change.suspend import set_suspended
from fino1.k8s.cluster.client import connect


def main(arguments: argparse.Namespace) -> int:
    """Verb `suspend`: its pods end (with a checkpoint), its place in the cluster stays."""
    return set_suspended(connect(arguments.kubeconfig, arguments.context, arguments.namespace), arguments.name, True)
