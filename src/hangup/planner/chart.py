"""A plan as a picture: the bill by item, and how late closes are."""

import importlib
import importlib.util
import io
from typing import Final
from xml.sax.saxutils import escape

from hangup.errors import ConfigurationError
from hangup.planner.plan import PERCENTILES, Plan, as_seconds

__all__ = ["as_png", "as_svg", "require_png"]

_WIDTH: Final = 900
_NAMES: Final = 250
_BAR: Final = 520
_ROW: Final = 26
_TOP: Final = 60
_CURVE: Final = 240
_INK, _FAINT, _FILL, _CURVE_INK = "#1f2933", "#cbd2d9", "#3e7cb1", "#b1493e"
_POINTS: Final = 120
_WHOLE_TICKS_FROM_S: Final = 12


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
    bars.bar_label(drawn, [f"{item.usd:,.2f}" for item in items], padding=3)
    bars.set_title(_title(plan))
    bars.margins(x=0.2)
    seconds = _seconds(plan)
    curve.plot(seconds, [100 * plan.late.share_within(s) for s in seconds], color=_CURVE_INK)
    curve.set_xlabel("seconds after the deadline")
    curve.set_ylabel("% closed")
    curve.grid(visible=True, color=_FAINT)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    return buffer.getvalue()


def _bars(plan: Plan) -> tuple[list[str], int]:
    largest = max(item.usd for item in plan.items)
    lines = [_text(20, 30, _title(plan), size=16)]
    y = _TOP
    for item in plan.items:
        width = max(1.0, _BAR * item.usd / largest)
        lines += [
            _text(_NAMES - 8, y + 15, item.name, anchor="end"),
            (
                f'<rect x="{_NAMES}" y="{y + 3}" width="{width:.1f}" height="{_ROW - 8}"'
                f' fill="{_FILL}"/>'
            ),
            _text(round(_NAMES + width + 6), y + 15, f"{item.usd:,.2f}"),
        ]
        y += _ROW
    return lines, y


def _curve(plan: Plan, top: int) -> tuple[list[str], int]:
    late, left, bottom = plan.late, 70, top + _CURVE
    width, end_s = _WIDTH - left - 40, late.max_s

    def x(seconds: float) -> float:
        return left + width * seconds / end_s

    def y(share: float) -> float:
        return bottom - _CURVE * share

    lines = [_text(20, top - 26, "Share of closes by seconds after the deadline", size=16)]
    for percent in (0, 25, 50, 75, 100):
        at = y(percent / 100)
        lines += [
            (
                f'<line x1="{left}" y1="{at:.1f}" x2="{left + width}" y2="{at:.1f}"'
                f' stroke="{_FAINT}"/>'
            ),
            _text(left - 8, round(at + 4), f"{percent} %", anchor="end"),
        ]
    digits = 0 if end_s > _WHOLE_TICKS_FROM_S else 2
    for step in range(7):
        seconds = end_s * step / 6
        lines.append(
            _text(round(x(seconds)), bottom + 20, f"{seconds:.{digits}f} s", anchor="middle")
        )
    points = " ".join(f"{x(s):.1f},{y(late.share_within(s)):.1f}" for s in _seconds(plan))
    lines.append(
        f'<polyline points="{points}" fill="none" stroke="{_CURVE_INK}" stroke-width="2"/>'
    )
    for percent in PERCENTILES:
        seconds = late.percentile_s(percent)
        at_x, at_y = x(seconds), y(percent / 100)
        label = f"p{percent}: {as_seconds(seconds)} s"
        # Left of the point and below it, where the curve is not; p95 and p99 lie close together.
        below = {95: 44, 99: 18}.get(percent, 18)
        lines += [
            f'<circle cx="{at_x:.1f}" cy="{at_y:.1f}" r="4" fill="{_CURVE_INK}"/>',
            _text(min(round(at_x + 8), _WIDTH - 110), round(at_y + below), label),
        ]
    return lines, bottom + 40


def _seconds(plan: Plan) -> list[float]:
    return [plan.late.max_s * point / _POINTS for point in range(_POINTS + 1)]


def _title(plan: Plan) -> str:
    return (
        f"{plan.fleet.connections:,} connections: {plan.total_usd:,.0f} {plan.prices.currency}"
        " for 30 days, by item"
    )


def _text(x: int, y: int, text: str, *, anchor: str = "start", size: int = 13) -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" font-size="{size}">{escape(text)}</text>'
