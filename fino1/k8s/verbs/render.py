"""The verb `render`: which Kubernetes objects does a run have?"""

import argparse

from fino1 import exits
from fino1.k8s.objects.render import render
from fino1.k8s.text import print_structured
from fino1.spec import recipe
from fino1.spec.yamlfile import as_yaml


def main(arguments: argparse.Namespace) -> int:
    """Verb `render`: what `submit` applies; with --tests also the pod that `helm test` runs, which would start if applied."""
    spec, name = recipe.read_run(arguments.run, arguments.values, arguments.set, arguments.name)
    objects = render(spec, name, tests=arguments.tests)
    if arguments.output == "json":
        print_structured({"apiVersion": "v1", "kind": "List", "items": objects}, "json")
    else:
        print(as_yaml(objects), end="")
    return exits.DONE
