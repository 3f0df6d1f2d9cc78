"""A plan as text for a terminal: aligned tables, and the sentences that they need."""

from collections.abc import Sequence
from textwrap import wrap

from hangup.planner.assumptions import SWEEP_BUDGET_S
from hangup.planner.costs import Group, subtotal_usd
from hangup.planner.lateness import Distribution
from hangup.planner.plan import PERCENTILES, Plan

__all__ = ["as_text"]

_WIDTH = 100

Row = Sequence[str]


def as_text(plan: Plan) -> str:
    """Return the whole plan, lines of at most 100 characters where the numbers allow it."""
    parts = [
        _fleet(plan),
        _costs(plan),
        _sweep(plan),
        _lateness(plan),
        _quotas(plan),
        _alternatives(plan),
    ]
    return "\n\n".join("\n".join(lines) for lines in parts)


def _fleet(plan: Plan) -> list[str]:
    fleet = plan.fleet
    text = (
        f"{fleet.connections:,} connections of {fleet.record_bytes} bytes, a heartbeat every"
        f" {fleet.heartbeat_s:g} s, each lasting {fleet.lifetime_s:g} s on average;"
        f" {fleet.idle_closes_per_hour:,.0f} an hour fall silent"
        f" ({fleet.idle_share:.1%} of those that end). Idle timeout {fleet.idle_timeout_s:g} s,"
        f" a sweep every {fleet.sweep_interval_s:g} s."
    )
    return wrap(text, _WIDTH)


def _costs(plan: Plan) -> list[str]:
    prices = plan.prices
    lines = [
        (
            f"COST, {prices.currency} for 30 days ({prices.region}, list prices of {prices.as_of},"
            " no free tier)"
        )
    ]
    rows: list[Row] = []
    for group in Group:
        for item in plan.items:
            if item.group is group:
                quantity = f"{item.quantity:,.0f} {item.unit}" if item.unit else ""
                rows.append((f"  {item.name}", quantity, _usd(item.usd)))
        rows.append((f"{group}", "", _usd(subtotal_usd(plan.items, group))))
    rows.append(("all of it", "", _usd(plan.total_usd)))
    lines += _aligned(rows, right=(1, 2))
    if plan.fleet.heartbeats_per_write > 1:
        lines += wrap(
            f"An activity resolution of {plan.fleet.resolution_s:g} s saves no write unit: DynamoDB"
            " charges a write whose condition is false like one that takes effect.",
            _WIDTH,
        )
    return lines


def _sweep(plan: Plan) -> list[str]:
    sweep = plan.sweep
    rows = [
        ("  pages of 1 MB", f"{sweep.pages:,}", ""),
        ("  closes per sweep", f"{sweep.closes:,.1f}", ""),
        (
            "  closes a second at most",
            f"{1000 / sweep.close_interval_ms:,.0f}",
            f"limited by {sweep.limited_by}",
        ),
        ("  all in one invocation", f"{sweep.single_s:,.1f} s", f"of at most {SWEEP_BUDGET_S:g} s"),
    ]
    lines = ["SWEEP, on average", *_aligned(rows, right=(1,))]
    if sweep.one_is_enough:
        return [*lines, "One invocation is enough."]
    share = f"a {_ordinal(sweep.invocations)} of the segments"
    return [
        *lines,
        *wrap(
            f"One invocation cannot do it. It would take {sweep.invocations} side by side, each"
            f" over {share}, for {sweep.duration_s:.1f} s. Cost and lateness here are those of"
            f" {sweep.invocations}; with one the sweep falls behind, and closes later and later.",
            _WIDTH,
        ),
    ]


def _lateness(plan: Plan) -> list[str]:
    header = ("", *(f"p{percent}" for percent in PERCENTILES), "max")
    rows = [
        header,
        ("  after the deadline", *_percentiles(plan.late)),
        ("  after the last message", *_percentiles(plan.silence)),
    ]
    return ["A CLOSE COMES, seconds", *_aligned(rows, right=(1, 2, 3, 4))]


def _percentiles(distribution: Distribution) -> Row:
    found = [distribution.percentile_s(percent) for percent in PERCENTILES]
    return [f"{seconds:,.1f}" for seconds in (*found, distribution.max_s)]


def _quotas(plan: Plan) -> list[str]:
    rows: list[Row] = [("", "load", "limit", "", "used", "reached at")]
    for quota in plan.quotas:
        at = "-" if quota.reached_at is None else f"{quota.reached_at:,}"
        numbers = (_number(quota.load), _number(quota.limit))
        rows.append((f"  {quota.name}", *numbers, quota.unit, f"{quota.share:.0%}", at))
    first = plan.quotas[0]
    verdict = "exceeded" if first.share > 1 else f"{first.share:.0%} used"
    lines = ["QUOTAS, the first to be met first", *_aligned(rows, right=(1, 2, 4, 5))]
    return [*lines, f"First: {first.name}, {verdict}."]


def _alternatives(plan: Plan) -> list[str]:
    lines = [f"WHAT ELSE, {plan.prices.currency} for 30 days on top of being there"]
    rows = [(f"  {a.name}", _usd(a.usd), a.late) for a in plan.alternatives]
    for row, alternative in zip(_aligned(rows, right=(1,)), plan.alternatives, strict=True):
        lines += [row, *(f"      {line}" for line in wrap(alternative.catch, _WIDTH - 6))]
    return lines


def _aligned(rows: Sequence[Row], *, right: Sequence[int]) -> list[str]:
    """Return the rows with their columns under one another, those in ``right`` flush right."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _usd(value: float) -> str:
    return f"{value:,.2f}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:,.1f}"  # noqa: PLR2004 - digits worth showing


def _ordinal(number: int) -> str:
    return {2: "half", 3: "third", 4: "quarter"}.get(number, f"1/{number}")
