"""Training and evaluating financial-reasoning language models on Kubernetes."""

__version__ = "0.1.0"
