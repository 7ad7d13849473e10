"""With which arguments does vLLM serve a run's model? The same in a pod and on this machine (docs/design.md C9)."""

from fino1.spec import canonical


def list_vllm_arguments(
    model: str, name: str, revision: str | None, context_length: int | None, *, port: int, gpus: int
) -> list[str]:
    """List the arguments of vLLM's server but those of the run file. `model` is a folder or hub id, served as `name`."""
    return [
        *("--model", model, *(["--revision", revision] if revision else []), "--served-model-name", name),
        *(["--max-model-len", canonical.dumps(context_length)] if context_length else []),
        *("--host", "127.0.0.1", "--port", str(port), "--tensor-parallel-size", str(max(gpus, 1))),
    ]
