"""A plan as text for a terminal: aligned tables, and the sentences that they need."""

from collections.abc import Sequence
from textwrap import wrap

from hangup.planner.assumptions import MAX_SEGMENTS
from hangup.planner.costs import Group, by_kind, subtotal_usd
from hangup.planner.lateness import Distribution
from hangup.planner.plan import PERCENTILES, Plan, as_seconds

__all__ = ["as_text"]

_WIDTH = 100

Row = Sequence[str]


def as_text(plan: Plan) -> str:
    """Return the whole plan, lines of at most 100 characters where the numbers allow it."""
    parts = [
        _fleet(plan),
        _costs(plan),
        _kinds(plan),
        _sweep(plan),
        _lateness(plan),
        _topology(plan),
        _quotas(plan),
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
    if prices.own is not None:
        own = prices.own
        lines += wrap(
            f"Of {own.as_of}, {own.region}, from your file: {', '.join(own.names)}.", _WIDTH
        )
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


def _kinds(plan: Plan) -> list[str]:
    total = plan.total_usd
    rows: list[Row] = [
        (f"  {kind}", _usd(usd), f"{usd / total:.1%}")
        for kind, usd in by_kind(plan.items).items()
        if usd
    ]
    lines = [f"COST BY KIND OF CHARGE, {plan.prices.currency} for 30 days"]
    return lines + _aligned([*rows, ("all of it", _usd(total), "")], right=(1, 2))


def _sweep(plan: Plan) -> list[str]:
    sweep, precise = plan.sweep, plan.fleet.precise
    rows = [
        ("  pages of 1 MB", f"{sweep.pages:,}", ""),
        ("  closes per sweep", f"{sweep.closes:,.1f}", ""),
        (
            f"  {'queued' if precise else 'closes'} a second at most",
            f"{1000 / sweep.interval_ms:,.0f}",
            f"limited by {sweep.limited_by}",
        ),
        (
            "  all in one invocation",
            f"{sweep.single.duration_s:,.1f} s",
            f"of at most {sweep.budget_s:g} s",
        ),
    ]
    if precise:
        rows.insert(2, ("  queued per sweep", f"{sweep.found:,.1f}", ""))
    lines = ["SWEEP, on average", *_aligned(rows, right=(1,))]
    if sweep.one_is_enough:
        return [*lines, "One sweep is enough: segments=1."]
    if not sweep.fits:
        what = "queue" if precise else "close"
        return [
            *lines,
            *wrap(
                f"Not even {MAX_SEGMENTS} sweeps side by side can read and {what} it all. Sweeps"
                f" fall behind, and closes come later and later; cost and lateness here are those"
                f" of {MAX_SEGMENTS} that had the time.",
                _WIDTH,
            ),
        ]
    with_one = (
        "what it comes to last is late by more"
        if precise and sweep.single.fits
        else "the sweep falls behind, and closes later and later"
    )
    return [
        *lines,
        *wrap(
            f"One sweep takes too long, {sweep.segments} side by side do not:"
            f" segments={sweep.segments}, {sweep.duration_s:.1f} s each. Cost and lateness here are"
            f" those of {sweep.segments}; with one, {with_one}.",
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
    lines = ["A CLOSE COMES, seconds", *_aligned(rows, right=(1, 2, 3, 4))]
    queue = plan.advice.queue
    if plan.fleet.precise and queue is not None and not queue.keeps_up:
        lines += wrap(
            f"The close functions get {queue.messages_per_second:,.0f} messages a second, and can"
            f" take {queue.messages_per_second_at_most:,.0f} (limited by {queue.limited_by}):"
            " closes come later and later.",
            _WIDTH,
        )
    return lines


def _topology(plan: Plan) -> list[str]:
    advice = plan.advice
    rows: list[Row] = [("", "p50", "p99", "max", "adds", "segments")]
    for topology in (advice.inline, advice.precise):
        if topology is None:
            continue
        late = topology.late
        seconds = (late.percentile_s(50), late.percentile_s(99), late.max_s)
        # What falls behind is later every minute.
        rows.append(
            (
                f"  {topology.name}",
                *(as_seconds(value) if topology.keeps_up else "-" for value in seconds),
                _usd(topology.adds_usd),
                str(topology.sweep.segments) if topology.sweep.fits else "-",
            )
        )
    lines = [
        f"TOPOLOGY, seconds after the deadline, {plan.prices.currency} for 30 days",
        *_aligned(rows, right=(1, 2, 3, 4, 5)),
    ]
    queue = advice.queue
    if queue is not None and queue.live:
        lines += wrap(
            f"Precise would queue {queue.live:,.0f} connections in each sweep whose clients are"
            " merely between two heartbeats.",
            _WIDTH,
        )
    return [*lines, *wrap(f"Take {advice.taken.name} ({advice.arguments}): {advice.why}.", _WIDTH)]


def _percentiles(distribution: Distribution) -> Row:
    found = [distribution.percentile_s(percent) for percent in PERCENTILES]
    return [as_seconds(seconds) for seconds in (*found, distribution.max_s)]


def _quotas(plan: Plan) -> list[str]:
    rows: list[Row] = [("", "load", "limit", "", "used", "reached at")]
    for quota in plan.quotas:
        at = "-" if quota.reached_at is None else f"{quota.reached_at:,}"
        numbers = (_number(quota.load), _number(quota.limit))
        name = f"  {quota.name} (ours)" if quota.ours else f"  {quota.name}"
        rows.append((name, *numbers, quota.unit, f"{quota.share:.0%}", at))
    first = plan.quotas[0]
    verdict = "exceeded" if first.share > 1 else f"{first.share:.0%} used"
    return [
        "QUOTAS, the first of AWS to be met first",
        *_aligned(rows, right=(1, 2, 4, 5)),
        *wrap(
            "(ours): a limit that Hangup sets; the stage's is the reference stack's, and not there"
            " for the construct alone.",
            _WIDTH,
        ),
        f"First: {first.name}, {verdict}.",
    ]


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
