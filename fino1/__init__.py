"""Training and evaluating financial-reasoning language models on Kubernetes."""
