"""The verb `init`: a run file to start from."""

import argparse

from fino1 import exits
from fino1.errors import SpecError
from fino1.spec import load, recipe
from fino1.spec.yamlfile import as_yaml, read_yaml


def main(arguments: argparse.Namespace) -> int:
    """Verb `init`: a built-in run file with its comments, to be changed."""
    path = recipe.find(arguments.run)
    text = path.read_text(encoding="utf-8")
    if arguments.values or arguments.set:
        document = load.layered([read_yaml(path), *map(read_yaml, arguments.values), load.parse_set(arguments.set)])
        load.build(document, str(path))
        text = f"# From {path.stem}\n{as_yaml([document])}"
    if arguments.out is None:
        print(text, end="")
    elif (out := arguments.out).exists():
        raise SpecError(f"--out: {out}: expected a new file, got one that exists")
    else:
        try:
            out.write_text(text, encoding="utf-8")
        except OSError as error:
            raise SpecError(f"--out: {out}: expected a file that can be written, got {error.strerror}") from error
        print(f"{out}: change it, then `fino1-k8s plan {out}` and `fino1-k8s submit {out}`")
    return exits.DONE
