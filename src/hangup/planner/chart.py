"""A plan as a picture: the bill by item, and how late closes are."""

import importlib
import importlib.util
import io
import math
from typing import Final
from xml.sax.saxutils import escape

from hangup.errors import ConfigurationError
from hangup.planner.plan import PERCENTILES, Plan, as_seconds

__all__ = ["as_png", "as_svg", "require_png"]

_WIDTH: Final = 900
_NAMES: Final = 250
_BAR: Final = 500
_ROW: Final = 26
_TOP: Final = 60
_CURVE: Final = 240
_LEGEND: Final = 170
_INK, _FAINT, _FILL, _CURVE_INK = "#1f2933", "#cbd2d9", "#3e7cb1", "#b1493e"
_MARKS: Final = dict(zip(PERCENTILES, ("circle", "square", "diamond"), strict=True))
_PNG_MARKS: Final = {"circle": "o", "square": "s", "diamond": "D"}
_MARK_INK: Final = "#7c2d22"
_POINTS: Final = 240
_TICKS_AT_MOST: Final = 8
_CENTS_BELOW: Final = 1_000_000
_LATENESS: Final = "Share of closes by seconds after the deadline"


def as_svg(plan: Plan) -> str:
    """Return the chart as an SVG document that needs nothing else."""
    bars, bars_end = _bars(plan)
    curve, height = _curve(plan, bars_end + 70)
    return "\n".join(
        [
            (
                f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}"'
                f' viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif" font-size="13"'
                f' fill="{_INK}" role="img">'
            ),
            f"<title>{escape(_title(plan))}</title>",
            f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
            *bars,
            *curve,
            "</svg>",
            "",
        ]
    )


def require_png() -> None:
    """Raise ``ConfigurationError`` if there is no matplotlib here."""
    if importlib.util.find_spec("matplotlib") is None:
        raise ConfigurationError(
            "a PNG needs matplotlib: pip install 'hangup[plan]', or ask for an .svg, which needs"
            " nothing"
        )


def as_png(plan: Plan) -> bytes:
    """Return the chart as PNG. Raises ``ConfigurationError`` if there is no matplotlib here."""
    require_png()
    # By name: it is an extra, and whoever does not have it can use and check everything else.
    figure_module = importlib.import_module("matplotlib.figure")
    figure = figure_module.Figure(figsize=(9, 7.5), layout="constrained")
    bars, curve = figure.subplots(2, 1, height_ratios=(1.2, 1))
    items = plan.items[::-1]
    drawn = bars.barh([item.name for item in items], [item.usd for item in items], color=_FILL)
    bars.bar_label(drawn, [_money(item.usd) for item in items], padding=3)
    # The name of a currency is the user's, and no formula, whatever signs it has.
    bars.set_title(_title(plan), parse_math=False)
    bars.set_xlabel(f"{plan.prices.currency} for 30 days", parse_math=False)
    bars.xaxis.set_major_formatter("{x:,.0f}" if _largest_usd(plan) >= _TICKS_AT_MOST else "{x:g}")
    bars.margins(x=0.25)
    bars.locator_params(axis="x", nbins=6)
    # A bill of nothing has no width of its own.
    bars.set_xlim(left=0, right=None if _largest_usd(plan) else 1)
    ticks = _ticks(plan.late.max_s)
    seconds = _seconds(plan)
    curve.plot(seconds, [100 * plan.late.share_within(s) for s in seconds], color=_CURVE_INK)
    for percent, mark in _MARKS.items():
        curve.plot(
            plan.late.percentile_s(percent),
            percent,
            _PNG_MARKS[mark],
            color=_MARK_INK,
            label=_label(plan, percent),
        )
    curve.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    curve.set_title(_LATENESS)
    curve.set_xlim(0, ticks[-1])
    curve.set_xticks(ticks)
    curve.set_yticks((0, 25, 50, 75, 100))
    curve.set_xlabel("seconds after the deadline")
    curve.set_ylabel("% closed")
    curve.grid(visible=True, color=_FAINT)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    return buffer.getvalue()


def _bars(plan: Plan) -> tuple[list[str], int]:
    largest_usd = _largest_usd(plan)
    lines = [_text(20, 30, _title(plan), size=16)]
    y = _TOP
    for item in plan.items:
        width = max(1.0, _BAR * item.usd / largest_usd) if item.usd else 0.0
        lines += [
            _text(_NAMES - 8, y + 15, item.name, anchor="end"),
            (
                f'<rect x="{_NAMES}" y="{y + 3}" width="{width:.1f}" height="{_ROW - 8}"'
                f' fill="{_FILL}"/>'
            ),
            _text(round(_NAMES + width + 6), y + 15, _money(item.usd)),
        ]
        y += _ROW
    return lines, y


def _curve(plan: Plan, top: int) -> tuple[list[str], int]:
    late, left, bottom = plan.late, 70, top + _CURVE
    ticks = _ticks(late.max_s)
    # The legend has the right-hand side to itself: wherever the curve runs, it is not over it.
    width, end_s = _WIDTH - left - _LEGEND, ticks[-1]

    def x(seconds: float) -> float:
        return left + width * seconds / end_s

    def y(share: float) -> float:
        return bottom - _CURVE * share

    lines = [_text(20, top - 26, _LATENESS, size=16)]
    for percent in (0, 25, 50, 75, 100):
        at = y(percent / 100)
        lines += [
            (
                f'<line x1="{left}" y1="{at:.1f}" x2="{left + width}" y2="{at:.1f}"'
                f' stroke="{_FAINT}"/>'
            ),
            _text(left - 8, round(at + 4), f"{percent} %", anchor="end"),
        ]
    for seconds in ticks:
        at = x(seconds)
        lines += [
            (
                f'<line x1="{at:.1f}" y1="{bottom}" x2="{at:.1f}" y2="{bottom + 5}"'
                f' stroke="{_INK}"/>'
            ),
            _text(round(at), bottom + 20, f"{seconds:,.9g} s", anchor="middle"),
        ]
    points = " ".join(f"{x(s):.1f},{y(late.share_within(s)):.1f}" for s in _seconds(plan))
    lines.append(
        f'<polyline points="{points}" fill="none" stroke="{_CURVE_INK}" stroke-width="2"/>'
    )
    for row, (percent, mark) in enumerate(_MARKS.items()):
        legend_x, legend_y = left + width + 20, top + 80 + row * _ROW
        lines += [
            _mark(mark, x(late.percentile_s(percent)), y(percent / 100)),
            _mark(mark, legend_x, legend_y),
            _text(legend_x + 12, legend_y + 4, _label(plan, percent)),
        ]
    return lines, bottom + 40


def _ticks(end_s: float) -> list[float]:
    """Return round numbers of seconds from 0 to the first that is not below ``end_s``.

    They are 1, 2 or 5, or ten, a hundred, a tenth of those apart, and eight steps at most.
    """
    exponent = math.floor(math.log10(end_s / _TICKS_AT_MOST))
    steps_s = (float(f"{digit}e{exponent + more}") for more in (0, 1) for digit in (1, 2, 5))
    step_s = next(step_s for step_s in steps_s if end_s <= step_s * _TICKS_AT_MOST)
    digits = max(0, -exponent)
    return [round(number * step_s, digits) for number in range(math.ceil(end_s / step_s) + 1)]


def _seconds(plan: Plan) -> list[float]:
    """Return where the curve is drawn: evenly, and where it begins to rise and has a mark."""
    late = plan.late
    evenly = (late.max_s * point / _POINTS for point in range(_POINTS + 1))
    marked = (late.percentile_s(percent) for percent in PERCENTILES)
    first_s = min(late.offsets_s)
    return sorted({*evenly, *marked, first_s, min(late.max_s, first_s + late.period_s)})


def _largest_usd(plan: Plan) -> float:
    return max(item.usd for item in plan.items)


def _label(plan: Plan, percent: int) -> str:
    return f"p{percent}: {as_seconds(plan.late.percentile_s(percent))} s"


def _money(usd: float) -> str:
    return f"{usd:,.2f}" if usd < _CENTS_BELOW else f"{usd:,.0f}"


def _title(plan: Plan) -> str:
    return (
        f"{plan.fleet.connections:,} connections: {plan.total_usd:,.0f} {plan.prices.currency}"
        " for 30 days, by item"
    )


def _mark(mark: str, x: float, y: float) -> str:
    if mark == "circle":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{_MARK_INK}"/>'
    turned = f' transform="rotate(45 {x:.1f} {y:.1f})"' if mark == "diamond" else ""
    return (
        f'<rect x="{x - 4:.1f}" y="{y - 4:.1f}" width="8" height="8" fill="{_MARK_INK}"{turned}/>'
    )


def _text(x: int, y: int, text: str, *, anchor: str = "start", size: int = 13) -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" font-size="{size}">{escape(text)}</text>'
