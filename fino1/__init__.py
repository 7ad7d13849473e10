"""Training and evaluating financial-reasoning language models on Kubernetes."""

import os

__version__ = "0.1.0"

os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # the search for plugins takes 0.03 s at each start
