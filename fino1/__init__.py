"""Training and evaluating financial-reasoning language models on Kubernetes."""

import os

__version__ = "0.1.0"

os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # looking for some costs each start 0.03 s
