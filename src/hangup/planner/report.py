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


def as_json(plan: Plan) -> dict[str, object]:
    """Return the plan as one JSON object; names carry their units."""
    prices, planned, sweep = plan.prices, plan.planned, plan.planned.sweep
    own = {"names": prices.own, "region": prices.own_region, "as_of": prices.own_as_of}
    return {
        "fleet": asdict(plan.fleet),
        "costs": {
            "currency": prices.currency,
            "region": prices.region,
            "as_of": prices.as_of,
            "month_days": MONTH_S // 86_400,
            "own_prices": own if prices.own else None,
            "items": [asdict(item) for item in planned.items],
            "subtotals": {str(group): subtotal_usd(planned.items, group) for group in Group},
            "total": planned.total_usd,
        },
        "sweep": {
            **asdict(sweep),
            "duration_s": sweep.duration_s,
            "fits": sweep.fits,
            "closes": plan.fleet.closes_per_sweep,
            "one_invocation_s": sweep_of(plan.fleet, shards=1).duration_s,
        },
        "topologies": {
            topology.name: {
                "lateness_s": topology.late_s,
                "shards": topology.sweep.shards,
                "queue": topology.queue and asdict(topology.queue),
                "added_usd": topology.added_usd,
                "total_usd": topology.total_usd,
            }
            for topology in plan.topologies
        },
        "recommended": {"topology": plan.recommended.name, "because": plan.because},
        "quotas": [{**asdict(quota), "share": quota.share} for quota in plan.quotas],
    }


def as_text(plan: Plan) -> str:
    """Return the whole plan, lines of at most 100 characters where the numbers allow it."""
    parts = (_fleet(plan), _costs(plan), _sweep(plan), _delay(plan), _quotas(plan))
    return "\n\n".join("\n".join(lines) for lines in parts)


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
    prices, items = plan.prices, plan.planned.items
    where = f"{prices.region}, list prices of {prices.as_of}, no free tier"
    lines = [f"COST, {prices.currency} for 30 days ({where})"]
    if prices.own:
        source = f"your file of {prices.own_as_of}, {prices.own_region}"
        lines += wrap(f"From {source}: {', '.join(prices.own)}.", _WIDTH)
    rows = []
    for group in Group:
        for item in (item for item in items if item.group is group):
            quantity = f"{item.quantity:,.0f} {item.unit}" if item.unit else ""
            rows.append((f"  {item.name}", quantity, f"{item.usd:,.2f}"))
        rows.append((f"{group}", "", f"{subtotal_usd(items, group):,.2f}"))
    rows.append(("total", "", f"{plan.planned.total_usd:,.2f}"))
    lines += _aligned(rows, right=(1, 2))
    if plan.fleet.heartbeats_per_recorded_time > 1:
        lines.append("An activity resolution saves no write unit: DynamoDB charges refused writes.")
    return lines


def _sweep(plan: Plan) -> list[str]:
    sweep, one = plan.planned.sweep, sweep_of(plan.fleet, shards=1)
    verb = "queue" if sweep.precise else "close"
    speed = f"{1000 / sweep.interval_ms:,.0f}", f"limited by {sweep.limited_by}"
    rows = [
        ("  pages of 1 MB", f"{sweep.pages:,}", ""),
        (f"  connections to {verb}", f"{sweep.found:,.1f}", ""),
        (f"  {verb}d a second at most", *speed),
        ("  one invocation takes", f"{one.duration_s:,.1f} s", f"of at most {sweep.budget_s:g} s"),
    ]
    verdict = "One sweep is enough: shards=1."
    if not sweep.fits:
        verdict = (
            f"{MAX_SEGMENTS} sweeps in parallel cannot read and {verb} everything: they fall"
            " behind, and closes come later and later."
        )
    elif sweep.shards > 1:
        late = "connections it queues last are closed late" if one.fits else "sweeps fall behind"
        verdict = (
            f"One sweep takes too long: run {sweep.shards} in parallel (shards={sweep.shards}),"
            f" {sweep.duration_s:.1f} s each. With one, {late}."
        )
    return ["SWEEP, on average", *_aligned(rows, right=(1,)), *wrap(verdict, _WIDTH)]


def _delay(plan: Plan) -> list[str]:
    names = ("p50", "p95", "p99", "max")
    rows: list[tuple[str, ...]] = [("", *names, "adds", "shards")]
    notes = []
    for topology in plan.topologies:
        late_s, queue = topology.late_s, topology.queue
        delays = [_seconds(late_s[name]) if late_s else "-" for name in names]
        added, shards = f"{topology.added_usd:,.2f}", f"{topology.sweep.shards}"
        rows.append((f"  {topology.name}", *delays, added, shards))
        if not late_s:
            notes.append(f"{topology.name} falls behind: closes come later and later.")
        if queue and queue.live:
            notes.append(
                f"With precise a sweep also queues {queue.live:,.0f} connections whose clients are"
                " between two heartbeats."
            )
    taken = plan.recommended
    arguments = f"precise={taken.queue is not None}, shards={taken.sweep.shards}"
    notes.append(f"Take {taken.name} ({arguments}): {plan.because}.")
    adds = f"what Hangup adds ({plan.prices.currency} for 30 days)"
    header = f"CLOSE DELAY in seconds after the deadline, and {adds}"
    table = _aligned(rows, right=range(1, 7))
    return [header, *table, *(line for note in notes for line in wrap(note, _WIDTH))]


def _quotas(plan: Plan) -> list[str]:
    rows = [("", "load", "limit", "", "used", "connections")]
    for quota in plan.quotas:
        name = f"  {quota.name} (ours)" if quota.ours else f"  {quota.name}"
        load, limit = _rounded(quota.load), _rounded(quota.limit)
        rows.append((name, load, limit, quota.unit, f"{quota.share:.0%}", f"{quota.reached_at:,}"))
    first = plan.quotas[0]
    return [
        "QUOTAS of AWS, and the number of connections that reaches each",
        *_aligned(rows, right=(1, 2, 4, 5)),
        "(ours): set by Hangup, not by AWS. The stage is part of the reference stack only.",
        f"First: {first.name}, {'exceeded' if first.share > 1 else f'{first.share:.0%} used'}.",
    ]


def _seconds(value: float) -> str:
    return f"{value:,.1f}" if value >= 1 else f"{value:.2f}"


def _rounded(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:,.1f}"  # noqa: PLR2004 - digits worth showing


def _aligned(rows: Sequence[Sequence[str]], *, right: Collection[int]) -> list[str]:
    """Return the rows with their columns aligned, those in ``right`` to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            f"{cell:{'>' if column in right else '<'}{width}}"
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
