"""The verb `run`: `fino1 run` under its other name."""

from fino1.local.recipe import main as main
