"""Small plots over time as inline SVG; labels are HTML, so that they keep their size. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10

from loadtest.duration import clock

#: Of the drawing's own coordinates; the page stretches it to its width.
WIDTH, HEIGHT = 1000, 100

#: (seconds, value); None: not measured, the line has a hole there.
Points = Sequence[tuple[float, float | None]]


@dataclass(frozen=True, slots=True)
class Line:
    name: str
    points: Points
    bars: bool = False  #: counts of a second each


def plot(
    title: str,
    unit: str,
    lines: Sequence[Line],
    low: float = 0.0,
    limit: float | None = None,
    whole: bool = False,
) -> str:
    """A figure whose scale goes from `low`, or less, to the largest value, or `limit`.

    `whole`: the values are counts, a mark between two of them would say nothing.
    """
    values = [value for line in lines for _, value in line.points if value is not None]
    if not values:
        return ""
    low = min(low, *values)
    top = max(*values, low if limit is None else limit, low)
    low, high, step = _scale(low, top if top > low else low + 1, whole)
    end_s = max(at_s for line in lines for at_s, _ in line.points)
    drawn = "".join(_draw(line, index, low, high, end_s) for index, line in enumerate(lines))
    marks = [low + step * index for index in range(round((high - low) / step) + 1)]
    grid = "".join(
        f'<path class="grid" d="M0 {_y(mark, low, high):.2f}H{WIDTH}"/>' for mark in marks
    )
    if limit is not None:
        grid += f'<path class="limit" d="M0 {_y(limit, low, high):.2f}H{WIDTH}"/>'
    labels = "".join(
        f'<span style="top:{_y(mark, low, high):.2f}%">{_short(mark)}</span>' for mark in marks
    )
    return (
        f"<figure><figcaption><b>{escape(title)}</b> {escape(unit)}{_legend(lines, limit)}"
        f'</figcaption><div class="plot"><div class="y">{labels}</div>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(title)}">{grid}{drawn}</svg></div>'
        f'<div class="x"><span>0</span><span>{clock(end_s / 2)}</span>'
        f"<span>{clock(end_s)}</span></div></figure>"
    )


def _legend(lines: Sequence[Line], limit: float | None) -> str:
    names = [f'<i class="key c{index}"></i>{escape(each.name)}' for index, each in enumerate(lines)]
    if len(lines) == 1 and limit is None:
        return ""
    if limit is not None:
        names.append(f'<i class="key limit"></i>limit {_short(limit)}')
    return '<span class="legend">' + "".join(f"<span>{name}</span>" for name in names) + "</span>"


def _draw(line: Line, index: int, low: float, high: float, end_s: float) -> str:
    style = f"c{index}" + (" bar" if line.bars else "")
    d = _bars(line.points, low, high, end_s) if line.bars else _path(line.points, low, high, end_s)
    return f'<path class="{style}" d="{d}"/>'


def _path(points: Points, low: float, high: float, end_s: float) -> str:
    parts, pen = [], "M"
    for at_s, value in points:
        if value is None:
            pen = "M"
        else:
            parts.append(f"{pen}{_x(at_s, end_s):.2f} {_y(value, low, high):.2f}")
            pen = "L"
    # A point between two holes would not be seen: a line of no length with round ends is.
    return "".join(parts) + ("h0" if parts else "")


def _bars(points: Points, low: float, high: float, end_s: float) -> str:
    return "".join(
        f"M{_x(at_s, end_s):.2f} {HEIGHT}V{_y(value, low, high):.2f}"
        for at_s, value in points
        if value
    )


def _x(at_s: float, end_s: float) -> float:
    return WIDTH * at_s / end_s if end_s else 0.0


def _y(value: float, low: float, high: float) -> float:
    return HEIGHT * max(0.0, high - value) / (high - low)  # rounding must not leave the frame


def _scale(low: float, high: float, whole: bool) -> tuple[float, float, float]:
    """Round ends for the scale, and the step of its two to six marks."""
    # 1e-300: a quarter of the smallest floats is zero, which has no logarithm.
    rough = max((high - low) / 4, 1 if whole else 1e-300)
    power = 10.0 ** floor(log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * 0.999)
    low = step * floor(low / step + 1e-9)
    return low, low + step * max(1, ceil((high - low) / step - 1e-9)), step


def _short(value: float) -> str:
    return f"{value:.4g}"


def thinned(
    points: Points, fold: Callable[[list[float]], float] = max, most: int = 600
) -> list[tuple[float, float | None]]:
    """At most `most` points; those that fall together are folded into one, the worst of them."""
    together = max(1, ceil(len(points) / most))
    return [_folded(points[at : at + together], fold) for at in range(0, len(points), together)]


def _folded(points: Points, fold: Callable[[list[float]], float]) -> tuple[float, float | None]:
    values = [value for _, value in points if value is not None]
    return points[-1][0], fold(values) if values else None
