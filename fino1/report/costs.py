"""What does an accuracy cost? Dollars or tokens of a question against accuracy, a chart a table, as inline SVG."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from fino1.cells import Cell
from fino1.report.curves import BOTTOM, HEIGHT, LEFT, TOP, WIDTH, Scale, format_number, make_scale, push_apart, shorten
from fino1.report.leaderboard import Table

LEGEND = (
    "Filled: nothing cheaper is as accurate; only these models are named, all are in the values. Dollars are the "
    "tokens that were counted, at the run file's prices; a model without a price is not in that chart. Tokens are those of "
    "an answer, with its reasoning."
)
LINEAR_UP_TO = 5  # times the least cost
_RIGHT = WIDTH - 16


@dataclass(frozen=True)
class Point:
    """A model: what a question costs it, its accuracy in percent, and whether nothing cheaper is as accurate."""

    model: str
    cost: float
    accuracy: float
    is_best: bool = False


@dataclass(frozen=True)
class CostChart:
    """A finished chart: heading, SVG, and its values as rows (model, cost, accuracy, mark) under `head`, cheapest first."""

    table: str
    title: str
    svg: Markup
    head: tuple[str, ...]
    rows: list[tuple[str, ...]]


def draw_costs(tables: Sequence[Table], cells: Iterable[Cell]) -> list[CostChart]:
    """Draw for each table of several models the charts that its cells have figures for."""
    by_key = {(cell.key, cell.model): cell for cell in cells}
    found = []
    for table in tables:
        pairs = [(row, by_key[row["key"], row["model"]]) for row in table.rows]
        kinds = {
            f"Dollars per 1,000 {'answers' if table.k else 'questions'}": [_count_dollars(cell) for _, cell in pairs],
            "Tokens per answer": [_count_tokens(cell) for _, cell in pairs],
        }
        for unit, costs in kinds.items():
            points = [
                Point(row["model"], cost, 100 * row["accuracy"])
                for (row, _), cost in zip(pairs, costs, strict=True)
                if cost
            ]
            if len(points) > 1:
                found.append(_make_chart(table.name, unit, _mark_best(points)))
    return found


def _count_dollars(cell: Cell) -> float | None:
    dollars = cell.cost.get("dollars")
    return 1000 * dollars / cell.summary.n if isinstance(dollars, int | float) else None


def _count_tokens(cell: Cell) -> float:
    return cell.summary.completion_tokens / cell.summary.n


def _mark_best(points: Iterable[Point]) -> list[Point]:
    """Sort points from the cheapest on, and mark those that are more accurate than all cheaper ones."""
    found: list[Point] = []
    highest = -1.0
    for point in sorted(points, key=lambda point: (point.cost, -point.accuracy, point.model)):
        found.append(Point(point.model, point.cost, point.accuracy, point.accuracy > highest))
        highest = max(highest, point.accuracy)
    return found


def _make_chart(table: str, unit: str, points: Sequence[Point]) -> CostChart:
    rows = [
        (point.model, format_number(point.cost), f"{point.accuracy:.1f}", "yes" if point.is_best else "")
        for point in points
    ]
    head = ("Model", unit, "Accuracy, %", "Nothing cheaper is as accurate")
    return CostChart(table, f"{table}: accuracy against {unit.lower()}", _draw(unit, points), head, rows)


@dataclass(frozen=True)
class LogScale:
    """A logarithmic scale from costs to user units of the SVG."""

    ticks: tuple[float, ...]
    low: float
    high: float

    def __call__(self, value: float) -> float:
        """Convert a cost to user units."""
        share = (math.log(value) - math.log(self.low)) / (math.log(self.high) - math.log(self.low))
        return LEFT + 6 + share * (_RIGHT - LEFT - 6)

    def format(self, value: float) -> str:
        """Write a tick's label."""
        return format_number(value)


def _scale_costs(costs: Sequence[float]) -> LogScale | Scale:
    """Make a scale: linear for costs of the same size, else logarithmic, with ticks at round numbers, at most six."""
    if max(costs) < LINEAR_UP_TO * min(costs):
        return make_scale(min(costs), max(costs), LEFT + 6, _RIGHT, rounded=True)
    first, last = math.floor(math.log10(min(costs))), math.ceil(math.log10(max(costs)))
    for factors in ((1, 2, 5), (1, 3), (1,)):
        ticks = [factor * 10.0**power for power in range(first, last + 1) for factor in factors]
        low = max(tick for tick in ticks if tick <= min(costs) * (1 + 1e-9))
        high = min([tick for tick in ticks if tick >= max(costs) * (1 - 1e-9) and tick > low] or [10 * low])
        shown = tuple(tick for tick in ticks if low <= tick <= high)
        if len(shown) <= 6:
            break
    return LogScale(shown[:: -(-len(shown) // 6)], low, high)


def _draw(unit: str, points: Sequence[Point]) -> Markup:
    x = _scale_costs([point.cost for point in points])
    accuracies = [point.accuracy for point in points]
    y = make_scale(min(accuracies), max(accuracies), HEIGHT - BOTTOM, TOP + 4, rounded=True)
    best = [point for point in points if point.is_best]
    step = "".join(f"H{x(point.cost):.1f}V{y(point.accuracy):.1f}" for point in best[1:])
    start = f"M{x(best[0].cost):.1f} {y(best[0].accuracy):.1f}"
    dot = Markup('<circle class="{}" cx="{:.1f}" cy="{:.1f}" r="4"><title>{}</title></circle>')
    dots = [
        dot.format(
            "best" if point.is_best else "other",
            x(point.cost),
            y(point.accuracy),
            f"{point.model}: {format_number(point.cost)} {unit.lower()}, {point.accuracy:.1f} %",
        )
        for point in sorted(points, key=lambda point: point.is_best)
    ]
    words = "; ".join(f"{p.model} {format_number(p.cost)}, {p.accuracy:.1f} %" for p in best)
    head = Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">')
    parts = [*_draw_axes(x, y, unit), Markup('<path class="front" d="{}{}H{}"/>').format(start, step, _RIGHT), *dots]
    return (
        head.format(WIDTH, HEIGHT, f"Accuracy against {unit.lower()}; from the cheapest to the most accurate: {words}")
        + Markup("").join([*parts, *_draw_names(best, x, y)])
        + Markup("</svg>")
    )


def _draw_axes(x: LogScale | Scale, y: Scale, unit: str) -> Iterable[Markup]:
    base = HEIGHT - BOTTOM
    yield Markup('<text class="unit" x="4" y="14">right, %</text>')
    for tick in y.ticks:
        yield Markup('<path class="grid" d="M{} {:.1f}H{}"/>').format(LEFT, y(tick), _RIGHT)
        label = Markup('<text class="tick" x="{}" y="{:.1f}" dy="4" text-anchor="end">{}</text>')
        yield label.format(LEFT - 7, y(tick), y.format(tick))
    for tick in x.ticks:
        yield Markup('<path class="axis" d="M{:.1f} {}v5"/>').format(x(tick), base)
        label = Markup('<text class="tick" x="{:.1f}" y="{}" text-anchor="{}">{}</text>')
        is_last = x(tick) > _RIGHT - 12
        yield label.format(WIDTH - 2 if is_last else x(tick), base + 19, "end" if is_last else "middle", x.format(tick))
    yield Markup('<path class="axis" d="M{} {}V{}H{}"/>').format(LEFT, TOP, base, _RIGHT)
    name = Markup('<text class="unit" x="{:.1f}" y="{}" text-anchor="middle">{}</text>')
    yield name.format((LEFT + _RIGHT) / 2, HEIGHT - 4, unit + (", logarithmic" if isinstance(x, LogScale) else ""))


def _draw_names(best: Sequence[Point], x: LogScale | Scale, y: Scale) -> Iterable[Markup]:
    """Draw the names of the best models: right of their points and below the line, or left of it where that has no room."""
    text = Markup('<text class="name" x="{:.1f}" y="{:.1f}" dy="4" text-anchor="{}">{}</text>')
    for is_right in (False, True):
        side = [point for point in best if (x(point.cost) > (LEFT + _RIGHT) / 2) == is_right]
        side.sort(key=lambda point: y(point.accuracy))
        heights = push_apart([y(point.accuracy) + (0 if is_right else 12) for point in side])
        for point, height in zip(side, heights, strict=True):
            at, anchor = (x(point.cost) - 8, "end") if is_right else (x(point.cost) + 7, "start")
            yield text.format(at, height, anchor, shorten(point.model, 20))
