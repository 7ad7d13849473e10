"""How did a model's metrics change during training? Learning curves as inline SVG, readable without colour."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from markupsafe import Markup

WIDTH, HEIGHT = 340, 230  # user units, about the pixels of a card, so that text keeps its nominal size
LEFT, TOP, BOTTOM = 62, 26, 44
POINTS = 240  # per line; longer runs are averaged in buckets, their spread drawn as a band
MARKERS = 8  # per line
ROWS = 40  # per line in the table of a chart's values
STYLES = 6  # line styles (colour, dash, marker) before they repeat
_DASHES = ("", "7 4", "2 3", "10 3 2 3", "5 2", "1 4")
_LABEL = 12  # characters of a run's name that fit beside its line


class Metric(NamedTuple):
    """A metric with a chart: its key in metrics.jsonl, heading, unit of the y axis; `share` where values are fractions 0…1."""

    key: str
    title: str
    unit: str
    share: bool = False


METRICS = (
    Metric("eval/accuracy", "Held-out accuracy", "right, %", share=True),
    Metric("objective/scores", "Reward", "mean score of a response"),
    Metric("objective/kl", "Distance from the reference policy", "KL, nats per response"),
    Metric("loss", "Training loss", "nats per token; verifier: per row"),
    Metric("loss/policy_avg", "Policy loss", "clipped objective"),
    Metric("loss/value_avg", "Value loss", "squared error"),
)


class Point(NamedTuple):
    """A place on a line; `low` and `high` are the extremes of what `y` is the mean of."""

    x: float
    y: float
    low: float
    high: float


@dataclass(frozen=True)
class Line:
    """One run's values of one metric, in order of x."""

    run: str
    style: int
    points: tuple[Point, ...]
    caption: str


@dataclass(frozen=True)
class Chart:
    """A finished chart: heading, SVG, a caption for each line (style, run, text), and its values as a table.

    The table has `head` and `rows`; `note`, the unit, follows the heading as the table's caption.
    """

    title: str
    svg: Markup
    captions: list[tuple[int, str, str]]
    head: list[str]
    rows: list[list[str]]
    note: str


@dataclass(frozen=True)
class Scale:
    """A linear scale from data to user units of the SVG, along one axis."""

    ticks: tuple[float, ...]
    low: float
    high: float
    start: float
    stop: float

    def __call__(self, value: float) -> float:
        """Convert a value to user units."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.stop - self.start)

    def format(self, value: float) -> str:
        """Write a tick's label, with as many decimals as tell it from its neighbours."""
        step = self.ticks[1] - self.ticks[0]
        decimals = max(0, -math.floor(math.log10(step) + 1e-9))
        return f"{value:.1e}" if decimals > 6 else f"{value:,.{decimals}f}".replace("-", "−")


def draw_charts(runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Chart]:
    """Draw the charts of these runs' metrics. Runs counted in the same unit share one, the others stand side by side.

    `runs` maps a display name to the lines of metrics.jsonl. x is `update` for a run that logs updates (PPO), else
    `step`. Charts of one metric have one y range, so that SFT and PPO can be compared by eye.
    """
    made = []
    for metric in METRICS:
        groups: dict[str, list[Line]] = {}
        for style, (run, lines) in enumerate(runs.items()):
            unit = "update" if any("update" in line for line in lines) else "step"
            if line := _make_line(run, style % STYLES, lines, unit, metric):
                groups.setdefault(unit, []).append(line)
        spans = [span for group in groups.values() for line in group for span in line.points]
        for unit, group in groups.items():
            title = metric.title if len(groups) == 1 else f"{metric.title}: {', '.join(line.run for line in group)}"
            svg = _draw(group, unit, metric, min(p.low for p in spans), max(p.high for p in spans), title)
            captions = [(line.style, line.run, line.caption) for line in group]
            made.append(Chart(title, svg, captions, *_tabulate(group, unit), f": {metric.unit}"))
    return made


def format_number(value: float) -> str:
    """Write a measured number: three significant digits, and no exponent from 1e-4 up to 1e9."""
    size = abs(value)
    if size and not 1e-4 <= size < 1e9:
        text = f"{value:.2e}"
    else:
        decimals = 0 if size >= 1000 else 2 - math.floor(math.log10(size)) if size else 0
        text = f"{value:,.{max(0, min(decimals, 6))}f}"
        text = text.rstrip("0").rstrip(".") if "." in text else text
    return text.replace("-", "−")


def _make_line(run: str, style: int, lines: Sequence[Mapping[str, Any]], unit: str, metric: Metric) -> Line | None:
    values: dict[float, float] = {}
    lost = 0
    for line in lines:
        x, y = line.get(unit), line.get(metric.key)
        if _is_number(x) and _is_number(y):
            lost += not math.isfinite(y)
            if math.isfinite(x) and math.isfinite(y):
                values[x] = y * (100 if metric.share else 1)  # a step done again after a restart: its last line counts
    if not values:
        return None
    ordered = sorted(values.items())
    points, bucket = _average(ordered)
    caption = _describe(ordered, unit, metric.share)
    if bucket > 1:
        caption += f"; drawn as means of {bucket} values, the band is their range"
    if lost:
        caption += f"; {lost} value{'s' if lost > 1 else ''} not finite and not drawn"
    return Line(run, style, points, caption)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _tabulate(lines: Sequence[Line], unit: str) -> tuple[list[str], list[list[str]]]:
    """Return head and rows of a table of the chart's values: of a long line every k-th point, counted from the last."""
    columns = []
    for line in lines:
        every = -(-len(line.points) // ROWS)
        columns.append({point.x: format_number(point.y) for point in line.points[::-1][::every]})
    xs = sorted({x for column in columns for x in column})
    rows = [[f"{x:,g}", *(column.get(x, "–") for column in columns)] for x in xs]
    return [unit, *(line.run for line in lines)], rows


def _describe(ordered: Sequence[tuple[float, float]], unit: str, share: bool) -> str:
    def value(y: float) -> str:
        return f"{y:.1f}\N{NO-BREAK SPACE}%" if share else format_number(y)

    (x0, y0), (x1, y1) = ordered[0], ordered[-1]
    if len(ordered) == 1:
        return f"{value(y0)} at {unit} {x0:,g}"
    low, high = min(y for _, y in ordered), max(y for _, y in ordered)
    ends = f"{value(y0)} at {unit} {x0:,g} → {value(y1)} at {unit} {x1:,g}"
    return f"{ends}; lowest {value(low)}, highest {value(high)}"


def _average(ordered: Sequence[tuple[float, float]]) -> tuple[tuple[Point, ...], int]:
    bucket = -(-len(ordered) // POINTS)
    points = []
    for start in range(0, len(ordered), bucket):
        xs, ys = zip(*ordered[start : start + bucket], strict=True)
        points.append(Point(sum(xs) / len(xs), sum(ys) / len(ys), min(ys), max(ys)))
    return tuple(points), bucket


def make_scale(low: float, high: float, start: float, stop: float, rounded: bool, whole: bool = False) -> Scale:
    """Set ticks at round numbers. `rounded` widens the range to whole ticks, `whole` keeps the ticks to integers."""
    if high - low < 1e-12 * max(1.0, abs(low)):
        pad = abs(low) / 10 or 1.0
        low, high = low - pad, high + pad
    rough = (high - low) / (5 if whole else 4)
    power = 10.0 ** math.floor(math.log10(rough))
    factors = (1, 2, 2.5, 5, 10) if whole and power >= 10 else (1, 2, 5, 10)
    step = next(factor * power for factor in factors if factor * power >= rough * 0.999)
    step = max(step, 1.0) if whole else step
    if rounded:
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    else:
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    ticks = tuple(i * step for i in range(first, last + 1))
    if len(ticks) < 2:
        ticks = (math.floor(low / step) * step, math.floor(low / step) * step + step)
        rounded = True
    return Scale(ticks, min(low, ticks[0]) if rounded else low, max(high, ticks[-1]) if rounded else high, start, stop)


def _draw(lines: Sequence[Line], unit: str, metric: Metric, low: float, high: float, title: str) -> Markup:
    names = [shorten(line.run) for line in lines]
    right = WIDTH - 14 - 8.5 * max(map(len, names))
    xs = [point.x for line in lines for point in line.points]
    x = make_scale(min(xs), max(xs), LEFT + 6, right, rounded=False, whole=True)
    y = make_scale(min(low, 0) if metric.share else low, high, HEIGHT - BOTTOM, TOP + 4, rounded=True)
    parts = [
        _draw_axes(x, y, right, unit, metric.unit),
        *(_draw_line(line, x, y) for line in lines),
        _draw_labels(lines, x, y),
    ]
    words = "; ".join(f"{line.run}: {line.caption}" for line in lines)
    head = Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">')
    return head.format(WIDTH, HEIGHT, f"{title}. {words}") + Markup("").join(parts) + Markup("</svg>")


def _draw_axes(x: Scale, y: Scale, right: float, unit: str, y_unit: str) -> Markup:
    base = HEIGHT - BOTTOM
    parts = [Markup('<text class="unit" x="4" y="14">{}</text>').format(y_unit)]
    for tick in y.ticks:
        at = f"{y(tick):.1f}"
        parts.append(Markup('<path class="grid" d="M{} {}H{:.1f}"/>').format(LEFT, at, right))
        label = Markup('<text class="tick" x="{}" y="{}" dy="4" text-anchor="end">{}</text>')
        parts.append(label.format(LEFT - 7, at, y.format(tick)))
    for tick in x.ticks:
        at = f"{x(tick):.1f}"
        parts.append(Markup('<path class="axis" d="M{} {}v5"/>').format(at, base))
        label = Markup('<text class="tick" x="{}" y="{}" text-anchor="middle">{}</text>')
        parts.append(label.format(at, base + 19, x.format(tick)))
    parts.append(Markup('<path class="axis" d="M{} {}V{}H{:.1f}"/>').format(LEFT, TOP, base, right))
    name = Markup('<text class="unit" x="{:.1f}" y="{}" text-anchor="middle">{}</text>')
    parts.append(name.format((LEFT + right) / 2, HEIGHT - 4, unit))
    return Markup("").join(parts)


def _draw_line(line: Line, x: Scale, y: Scale) -> Markup:
    places = [(x(p.x), y(p.y)) for p in line.points]
    parts = []
    if any(p.low < p.high for p in line.points):
        rim = [(x(p.x), y(p.high)) for p in line.points] + [(x(p.x), y(p.low)) for p in reversed(line.points)]
        parts.append(Markup('<path class="band s{}" d="M{}Z"/>').format(line.style, _join(rim)))
    stroke = Markup('<path class="line s{}" stroke-dasharray="{}" d="M{}"/>')
    parts.append(stroke.format(line.style, _DASHES[line.style], _join(places)))
    every = max(1, -(-len(places) // MARKERS))
    parts += [draw_marker(line.style, *place) for place in places[::-1][::every]]
    return Markup("").join(parts)


def _join(places: Sequence[tuple[float, float]]) -> Markup:
    return Markup("L").join(f"{x:.1f} {y:.1f}" for x, y in places)


def draw_marker(style: int, x: float, y: float) -> Markup:
    """Draw the shape that marks a point of a line style: circle, square, triangle, diamond, cross or bar."""
    shapes = ("m-3.5 0a3.5 3.5 0 1 0 7 0a3.5 3.5 0 1 0 -7 0Z", "m-3 -3h6v6h-6Z", "m0 -4.5l4.2 7.5h-8.4Z")
    shapes += ("m0 -4.5l4.5 4.5l-4.5 4.5l-4.5 -4.5Z", "m-3.5 -3.5l7 7m0 -7l-7 7", "m0 -5v10")
    return Markup('<path class="marker s{}" d="M{:.1f} {:.1f}{}"/>').format(style, x, y, shapes[style])


def draw_swatch(style: int) -> Markup:
    """Draw the piece of line that stands beside a run's name in a caption."""
    line = Markup('<path class="line s{}" stroke-dasharray="{}" d="M1 7H33"/>').format(style, _DASHES[style])
    svg = Markup('<svg class="swatch" viewBox="0 0 34 14" aria-hidden="true">{}{}</svg>')
    return svg.format(line, draw_marker(style, 17, 7))


def _draw_labels(lines: Sequence[Line], x: Scale, y: Scale) -> Markup:
    """Draw the runs' names right of all lines, at the heights where theirs end, pushed apart where they would overlap."""
    right = max(x(line.points[-1].x) for line in lines) + 9
    ordered = sorted(lines, key=lambda line: y(line.points[-1].y))
    text = Markup('<text class="label s{}" x="{:.1f}" y="{:.1f}" dy="4">{}</text>')
    heights = push_apart([y(line.points[-1].y) for line in ordered])
    parts = [
        text.format(line.style, right, height, shorten(line.run)) for line, height in zip(ordered, heights, strict=True)
    ]
    return Markup("").join(parts)


def push_apart(heights: Sequence[float], gap: float = 16) -> list[float]:
    """Set ascending heights at least `gap` apart: down as far as needed, then up again from the bottom of the chart."""
    down: list[float] = []
    for height in heights:
        down.append(max(height, down[-1] + gap) if down else height)
    up: list[float] = []
    for height in reversed(down):
        up.append(min(height, up[-1] - gap if up else HEIGHT - BOTTOM))
    return up[::-1]


def shorten(name: str, most: int = _LABEL) -> str:
    """Cut a name to so many characters."""
    return name if len(name) <= most else name[: most - 1] + "…"
