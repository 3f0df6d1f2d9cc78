"""A plan as text for a terminal, and as JSON."""

from collections.abc import Collection, Sequence
from dataclasses import asdict
from textwrap import wrap

from hangup.core.limits import MAX_SEGMENTS
from hangup.planner.assumptions import MONTH_S
from hangup.planner.costs import Group, subtotal_usd
from hangup.planner.model import sweep_of
from hangup.planner.plan import Plan

__all__ = ["as_json", "as_text"]

_WIDTH = 100


def as_text(plan: Plan) -> str:
    """Return the whole plan, lines of at most 100 characters where the numbers allow it."""
    parts = (_fleet(plan), _costs(plan), _sweep(plan), _delay(plan), _quotas(plan))
    return "\n\n".join("\n".join(lines) for lines in parts)


def as_json(plan: Plan) -> dict[str, object]:
    """Return the plan as one JSON object; names carry their units."""
    prices, items = plan.prices, plan.planned.items
    return {
        "fleet": asdict(plan.fleet),
        "costs": {
            "currency": prices.currency,
            "region": prices.region,
            "as_of": prices.as_of,
            "month_days": MONTH_S // 86_400,
            "own_prices": prices.own and asdict(prices.own),
            "items": [asdict(item) for item in items],
            "subtotals": {str(group): subtotal_usd(items, group) for group in Group},
            "total": plan.planned.total_usd,
        },
        "sweep": {
            "closes": plan.fleet.closes_per_sweep,
            "one_invocation_s": sweep_of(plan.fleet, shards=1).duration_s,
            **asdict(plan.planned.sweep),
            "duration_s": plan.planned.sweep.duration_s,
            "fits": plan.planned.sweep.fits,
        },
        "topologies": {
            topology.name: {
                "lateness_s": topology.late_s,
                "shards": topology.sweep.shards,
                "added_usd": topology.added_usd,
                "total_usd": topology.total_usd,
                "queue": topology.queue and asdict(topology.queue),
            }
            for topology in plan.topologies
        },
        "recommended": {
            "topology": plan.recommended.name,
            "shards": plan.recommended.sweep.shards,
            "because": plan.because,
        },
        "quotas": [{**asdict(quota), "share": quota.share} for quota in plan.quotas],
    }


def _fleet(plan: Plan) -> list[str]:
    fleet = plan.fleet
    text = (
        f"{fleet.connections:,} connections of {fleet.record_bytes} bytes, a heartbeat every"
        f" {fleet.heartbeat_s:g} s, each lasting {fleet.lifetime_s:g} s on average;"
        f" {fleet.idle_closes_per_second * 3600:,.0f} an hour fall silent"
        f" ({fleet.idle_share:.1%} of those that end). Idle timeout {fleet.idle_timeout_s:g} s,"
        f" a sweep every {fleet.sweep_interval_s:g} s."
    )
    return wrap(text, _WIDTH)


def _costs(plan: Plan) -> list[str]:
    prices, own = plan.prices, plan.prices.own
    lines = [
        f"COST, {prices.currency} for 30 days ({prices.region}, list prices of {prices.as_of}, no"
        " free tier)"
    ]
    if own is not None:
        names = ", ".join(own.names)
        lines += wrap(f"From your file of {own.as_of}, {own.region}: {names}.", _WIDTH)
    rows = []
    for group in Group:
        for item in plan.planned.items:
            if item.group is group:
                quantity = f"{item.quantity:,.0f} {item.unit}" if item.unit else ""
                rows.append((f"  {item.name}", quantity, f"{item.usd:,.2f}"))
        rows.append((f"{group}", "", f"{subtotal_usd(plan.planned.items, group):,.2f}"))
    rows.append(("total", "", f"{plan.planned.total_usd:,.2f}"))
    lines += _aligned(rows, right=(1, 2))
    if plan.fleet.heartbeats_per_write > 1:
        lines += wrap(
            f"An activity resolution of {plan.fleet.resolution_s:g} s saves no write unit: DynamoDB"
            " charges a write whose condition is false like one that takes effect.",
            _WIDTH,
        )
    return lines


def _sweep(plan: Plan) -> list[str]:
    sweep, one = plan.planned.sweep, sweep_of(plan.fleet, shards=1)
    verb = "queue" if sweep.precise else "close"
    at_most = f"{1000 / sweep.interval_ms:,.0f}"
    rows = [
        ("  pages of 1 MB", f"{sweep.pages:,}", ""),
        ("  closes per sweep", f"{plan.fleet.closes_per_sweep:,.1f}", ""),
        ("  queued per sweep", f"{sweep.found:,.1f}", ""),
        (f"  {verb}d a second at most", at_most, f"limited by {sweep.limited_by}"),
        ("  one invocation takes", f"{one.duration_s:,.1f} s", f"of at most {sweep.budget_s:g} s"),
    ]
    if not sweep.precise:
        del rows[2]
    verdict = "One sweep is enough: shards=1."
    if not sweep.fits:
        verdict = (
            f"Not even {MAX_SEGMENTS} sweeps in parallel can read and {verb} everything: sweeps"
            " fall behind, and closes come later and later."
        )
    elif sweep.shards > 1:
        with_one = (
            "the connections it queues last are closed late" if one.fits else "it falls behind"
        )
        verdict = (
            f"One sweep takes too long: run {sweep.shards} in parallel (shards={sweep.shards},"
            f" {sweep.duration_s:.1f} s each). Cost and delay here are for {sweep.shards}; with"
            f" one, {with_one}."
        )
    return ["SWEEP, on average", *_aligned(rows, right=(1,)), *wrap(verdict, _WIDTH)]


def _delay(plan: Plan) -> list[str]:
    rows = [("", "p50", "p95", "p99", "max", "adds", "shards")]
    for topology in plan.topologies:
        late_s = topology.late_s or dict.fromkeys(rows[0][1:5])
        seconds = ["-" if value is None else _seconds(value) for value in late_s.values()]
        shards = f"{topology.sweep.shards}" if topology.sweep.fits else "-"
        rows.append((f"  {topology.name}", *seconds, f"{topology.added_usd:,.2f}", shards))
    lines = [
        f"CLOSE DELAY, seconds after the deadline, and what it adds, {plan.prices.currency} for 30"
        " days",
        *_aligned(rows, right=range(1, 7)),
    ]
    if any(topology.late_s is None for topology in plan.topologies):
        lines.append("-: sweeps or close functions fall behind, and closes come later and later.")
    for topology in plan.topologies:
        if topology.queue is not None and topology.queue.live:
            lines += wrap(
                f"With precise, each sweep also queues {topology.queue.live:,.0f} connections whose"
                " clients are between two heartbeats.",
                _WIDTH,
            )
    taken = plan.recommended
    arguments = f"precise={taken.queue is not None}, shards={taken.sweep.shards}"
    return [*lines, *wrap(f"Take {taken.name} ({arguments}): {plan.because}.", _WIDTH)]


def _quotas(plan: Plan) -> list[str]:
    rows = [("", "load", "limit", "", "used", "reached at")]
    for quota in plan.quotas:
        load, limit = (f"{each:,.{0 if each >= 10 else 1}f}" for each in (quota.load, quota.limit))
        name = f"  {quota.name} (ours)" if quota.ours else f"  {quota.name}"
        rows.append((name, load, limit, quota.unit, f"{quota.share:.0%}", f"{quota.reached_at:,}"))
    first = plan.quotas[0]
    return [
        "QUOTAS, those of AWS first; reached at this number of connections",
        *_aligned(rows, right=(1, 2, 4, 5)),
        "(ours): set by Hangup, not by AWS. The stage is part of the reference stack only.",
        f"First: {first.name}, {'exceeded' if first.share > 1 else f'{first.share:.0%} used'}.",
    ]


def _seconds(value: float) -> str:
    return f"{value:,.1f}" if value >= 1 else f"{value:.2f}"


def _aligned(rows: Sequence[Sequence[str]], *, right: Collection[int]) -> list[str]:
    """Return the rows with their columns aligned, those in ``right`` to the right."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
