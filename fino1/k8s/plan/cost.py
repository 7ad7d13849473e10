"""What does a run cost? GPU-hours by a price book, which is the user's own file (docs/memory.md shows one): no price is ours.

A price is for one GPU and one hour, by the node label `nvidia.com/gpu.product` that the run asks for, or else by the resource
that it counts. Storage, network, CPUs and what an endpoint charges for tokens are in no figure.
"""

from pathlib import Path
from typing import Any

import pydantic

from fino1.errors import SpecError
from fino1.k8s.plan.outline import count_pods
from fino1.spec import load, yamlfile
from fino1.spec.fields import Block, NonNegative, Text
from fino1.spec.run import RunSpec


class PriceBook(Block):
    """Prices of GPUs by the hour."""

    currency: Text
    prices: dict[Text, NonNegative]
    """`nvidia.com/gpu.product` or name of a resource → price of one for an hour."""


def read(path: Path) -> PriceBook:
    """The prices in a file. Raises SpecError with every problem."""
    try:
        return PriceBook.model_validate(yamlfile.read_yaml(path))
    except pydantic.ValidationError as error:
        raise SpecError(f"{path}: {load.problem(item, PriceBook)}" for item in error.errors()) from None


def cost(spec: RunSpec, book: PriceBook, source: object, hours: float | None = None) -> dict[str, Any]:
    """What a run costs in `hours`, or until its `activeDeadlineSeconds` (`bound`: estimated, at most, unknown), as JSON data.

    `amount` is None where its length is not known, `unpriced` names what else costs something. Time in a queue costs nothing;
    restarts count. Raises SpecError, naming the book's `source`, where it has no price for the run's GPUs.
    """
    gpus, names = count_pods(spec)["gpus"], [name for name in (spec.gpu.product, spec.gpu.resource) if name]
    price = next((book.prices[name] for name in names if name in book.prices), None)
    if gpus and price is None:
        got = ", ".join(sorted(book.prices)) or "none"
        raise SpecError(f"{source}: prices: expected one for {' or '.join(names)}, got {got}")
    bound = "estimated" if hours is not None else "at most" if spec.activeDeadlineSeconds else "unknown"
    if bound == "at most":
        hours = spec.activeDeadlineSeconds / 3600
    asked = [
        *spec.asked.values(),
        *([spec.ppo.reward.judge] if spec.method == "ppo" and spec.ppo.reward.asks_judge else []),
    ]
    unpriced = [f"{model.name}: tokens of its endpoint" for model in asked if model.base_url]
    per_hour = gpus * (price or 0.0)
    return {
        "currency": book.currency,
        "gpus": gpus,
        "per_hour": per_hour,
        "hours": hours,
        "bound": bound,
        "unpriced": unpriced if gpus else [*unpriced, "CPUs and memory: the run takes no GPU"],
        "amount": None if hours is None else per_hour * hours,
    }
