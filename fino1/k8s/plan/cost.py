"""What does a run cost? GPU-hours by a price book, which is the user's own file: no price is ours.

    currency: EUR
    prices: {NVIDIA-H100-80GB-HBM3: 2.4, nvidia.com/gpu: 1.9}

A price is for one GPU and one hour, by the node label `nvidia.com/gpu.product` that the run asks for, or else by the resource
that it counts. Storage, network, CPUs and what an endpoint charges for tokens are in no figure.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pydantic

from fino1.errors import SpecError
from fino1.spec import load, yamlfile
from fino1.spec.fields import Block, NonNegative, Text
from fino1.spec.run import RunSpec


class PriceBook(Block):
    """What does a GPU cost for an hour?"""

    currency: Text
    prices: dict[Text, NonNegative]
    """`nvidia.com/gpu.product` or name of a resource → price of one for an hour."""


@dataclass(frozen=True)
class Cost:
    """What a run costs, as far as it is known."""

    currency: str
    gpus: int
    """All that the run takes at once; of an evaluation, those of all its servers."""
    per_hour: float
    hours: float | None
    bound: Literal["at most", "estimated", "unknown"]
    """`at most`: the run is ended after so long; `estimated`: the hours were given; `unknown`: neither."""
    unpriced: tuple[str, ...]
    """What else will cost something."""

    @property
    def amount(self) -> float | None:
        """For the whole run; None where its length is not known."""
        return None if self.hours is None else self.per_hour * self.hours


def read(path: Path) -> PriceBook:
    """Which prices does a file hold? Raises SpecError with every problem."""
    try:
        return PriceBook.model_validate(yamlfile.read_yaml(path))
    except pydantic.ValidationError as error:
        raise SpecError(f"{path}: {load.problem(item, PriceBook)}" for item in error.errors()) from None


def cost(spec: RunSpec, book: PriceBook, source: str, hours: float | None = None) -> Cost:
    """What does a run cost in `hours`, or until its `activeDeadlineSeconds`?

    Time in a queue costs nothing and is not in the deadline; restarts are. Raises SpecError, naming the book's `source`, where
    it has no price for the run's GPUs.
    """
    endpoints = [model.name for model in spec.eval.models if model.base_url] if spec.method == "eval" else []
    servers = (len(spec.eval.models) - len(endpoints)) * spec.eval.shards  # each shard of a model has one of its own
    groups = servers if spec.method == "eval" else spec.nodes
    gpus = groups * spec.gpus_per_node
    per_hour = gpus * _price(spec, book, source) if gpus else 0.0
    bound: Literal["at most", "estimated", "unknown"] = "estimated"
    if hours is None:
        bound = "unknown" if spec.activeDeadlineSeconds is None else "at most"
        hours = None if spec.activeDeadlineSeconds is None else spec.activeDeadlineSeconds / 3600
    unpriced = [f"{name}: tokens of its endpoint" for name in endpoints]
    unpriced += [] if gpus else ["CPUs and memory: the run takes no GPU"]
    return Cost(book.currency, gpus, per_hour, hours, bound, tuple(unpriced))


def _price(spec: RunSpec, book: PriceBook, source: str) -> float:
    """What does one of the run's GPUs cost for an hour? Its product's price goes before its resource's."""
    names = [name for name in (spec.gpu.product, spec.gpu.resource) if name]
    for name in names:
        if name in book.prices:
            return book.prices[name]
    raise SpecError(
        f"{source}: prices: expected one for {' or '.join(names)}, got {', '.join(sorted(book.prices)) or 'none'}"
    )
