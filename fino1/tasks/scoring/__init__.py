"""Which answers are right? One scorer for the PPO reward and the evaluation (docs/scoring.md)."""

SCORER_VERSION = "3"
"""Part of a cell's key: raise it, by 1, when any decision of the scorer changes, so that completions on disk are judged again.

tests/tasks/test_decisions.py fails where the decisions on its table have changed and this has not.
"""
