"""The plan of a fleet: both topologies, which one to take, the quotas; and all of it as text."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from textwrap import wrap

from hangup.core.guard import Activity
from hangup.core.limits import MAX_SHARDS
from hangup.core.timing import LOOK_AHEAD_S, SWEEP_INTERVAL_S
from hangup.planner.costs import Group, Item, costs, subtotal_usd
from hangup.planner.fleet import Fleet
from hangup.planner.model import (
    Percentiles,
    Queue,
    Sweep,
    estimate_sweep,
    inline_lateness_s,
    simulate_queue,
    sweep_of,
)
from hangup.planner.prices import PriceList, Prices
from hangup.planner.quotas import Quota, quotas

_WORTH_SHARE = 0.01
"""Of the whole bill: precise is recommended if it adds no more than this."""

_WIDTH = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """One way to deploy Hangup for a fleet; inline, ``queue`` is None.

    ``sweep_s`` is how long each sweep runs. ``late_s`` is how long after its deadline a connection
    is closed, None if sweeps or close functions fall further and further behind. ``items`` are the
    bill of 30 days, ``added_usd`` what Hangup adds to it.
    """

    sweep: Sweep
    sweep_s: float
    queue: Queue | None
    late_s: Percentiles | None
    items: tuple[Item, ...]
    added_usd: float
    total_usd: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A fleet, and what follows from it at these prices.

    ``topologies`` are ``inline`` and, if sweeps come often enough for it, ``precise``; ``planned``
    is the one that the fleet asks for. ``by_activity_usd`` is the whole bill by the source of
    activity, that of ``gateway`` without an activity resolution and inline. ``because`` says why
    one of them is ``recommended``. As ``--json`` prints it: names carry their units.
    """

    fleet: Fleet
    prices: PriceList
    by_activity_usd: Mapping[str, float]
    topologies: Mapping[str, Topology]
    planned: str
    recommended: str
    because: str
    quotas: tuple[Quota, ...]


def make_plan(fleet: Fleet, prices: PriceList) -> Plan:
    """Return the plan of a fleet."""
    topologies = {"inline": _topology(replace(fleet, precise=False), prices.usd)}
    if fleet.sweep_interval_s <= SWEEP_INTERVAL_S and not fleet.is_asked:
        topologies["precise"] = _topology(replace(fleet, precise=True), prices.usd)
    planned = "precise" if fleet.precise else "inline"
    recommended, because = _advise(fleet, **topologies)
    return Plan(
        fleet=fleet,
        prices=prices,
        by_activity_usd={
            one.activity: _topology(one, prices.usd).total_usd
            for one in (
                replace(fleet, activity=Activity.RECORDED),
                replace(fleet, activity=Activity.GATEWAY, activity_resolution_s=0, precise=False),
            )
        },
        topologies=topologies,
        planned=planned,
        recommended=recommended,
        because=because,
        quotas=quotas(fleet, topologies[planned].queue),
    )


def _topology(fleet: Fleet, prices: Prices) -> Topology:
    sweep = estimate_sweep(fleet)
    queue = simulate_queue(fleet, sweep) if fleet.precise else None
    items = costs(fleet, sweep, queue, prices)
    return Topology(
        sweep=sweep,
        sweep_s=sweep.duration_s,
        queue=queue,
        late_s=queue.late_s if queue else inline_lateness_s(fleet, sweep),
        items=items,
        added_usd=subtotal_usd(items, Group.ADDED),
        total_usd=sum(item.usd for item in items),
    )


def _advise(fleet: Fleet, inline: Topology, precise: Topology | None = None) -> tuple[str, str]:
    """Return the topology to take, and why: the first reason that holds."""
    if fleet.is_asked:
        return "inline", "with precise every connection would be queued once a timeout"
    if precise is None or precise.queue is None:
        return "inline", f"precise needs a sweep every {SWEEP_INTERVAL_S} s"
    queue, more_usd = precise.queue, precise.added_usd - inline.added_usd
    inline_s, precise_s = (way.late_s["p50"] if way.late_s else 0 for way in (inline, precise))
    worth = f"the median close comes {inline_s - precise_s:,.0f} s earlier for {more_usd:,.2f} more"
    reasons = (
        (
            fleet.shortest_timeout_s < LOOK_AHEAD_S,
            "inline",
            f"precise needs an idle timeout of at least {LOOK_AHEAD_S} s",
        ),
        (
            not queue.keeps_up,
            "inline",
            (
                f"{queue.per_second:,.0f} messages a second are more than the"
                f" {queue.per_second_at_most:,.0f} that {queue.functions} close functions can take"
            ),
        ),
        (not precise.late_s, "inline", f"{MAX_SHARDS} precise sweeps cannot queue everything"),
        (not inline.late_s, "precise", f"{MAX_SHARDS} inline sweeps cannot close everything"),
        (more_usd <= _WORTH_SHARE * inline.total_usd, "precise", f"{worth} a month"),
        (True, "inline", f"precise adds over {_WORTH_SHARE:.0%} to the bill; {worth} a month"),
    )
    return next((name, why) for holds, name, why in reasons if holds)


def as_text(plan: Plan) -> str:
    """Return the whole plan, lines of at most 100 characters where the numbers allow it."""
    parts = (_fleet(plan.fleet), _costs(plan), _sweep(plan), _delay(plan), _quotas(plan.quotas))
    return "\n\n".join("\n".join(lines) for lines in parts)


def _fleet(fleet: Fleet) -> list[str]:
    return wrap(
        f"{fleet.connections:,} connections of {fleet.record_bytes} bytes, a heartbeat every"
        f" {fleet.heartbeat_s:g} s, each lasting {fleet.lifetime_s:g} s on average;"
        f" {fleet.idle_closes_per_second * 3600:,.0f} an hour fall silent"
        f" ({fleet.idle_share:.1%} of those that end)."
        f" Idle timeout {fleet.idle_timeout_s:g} s{_by_role(fleet)},"
        f" a sweep every {fleet.sweep_interval_s:g} s.",
        _WIDTH,
    )


def _by_role(fleet: Fleet) -> str:
    return "".join(
        f", {role} ({one.share:.1%}) {one.idle_timeout_s:g} s"
        for role, one in fleet.timeouts_by_role.items()
    )


def _costs(plan: Plan) -> list[str]:
    prices, planned = plan.prices, plan.topologies[plan.planned]
    rows = []
    for group in Group:
        for item in (item for item in planned.items if item.group is group):
            quantity = f"{item.quantity:,.0f} {item.unit}" if item.unit else ""
            rows.append((f"  {item.name}", quantity, f"{item.usd:,.2f}"))
        rows.append((f"{group}", "", f"{subtotal_usd(planned.items, group):,.2f}"))
    rows.append(("total", "", f"{planned.total_usd:,.2f}"))
    note = "An activity resolution saves no write unit: DynamoDB charges refused writes."
    return [
        f"COST, USD for 30 days ({prices.region}, list prices of {prices.as_of}, no free tier)",
        *_aligned(rows, right=(1, 2)),
        *[note] * (plan.fleet.heartbeats_per_recorded_time > 1),
        *(_beside(plan) if plan.fleet.is_asked else ()),
    ]


def _beside(plan: Plan) -> list[str]:
    recorded, gateway = (plan.by_activity_usd[one] for one in (Activity.RECORDED, Activity.GATEWAY))
    return wrap(
        f"Recorded, with the reference application's heartbeat, the total is {recorded:,.2f}:"
        f" activity=gateway saves {recorded - gateway:,.2f} a month. It needs a heartbeat route"
        " without a function and without an answer (MOCK), whose messages move lastActiveAt."
        " AWS does not document that they do: try it on your API first. Nor does its price list"
        " name a price for questions.",
        _WIDTH,
    )


def _sweep(plan: Plan) -> list[str]:
    sweep, one = plan.topologies[plan.planned].sweep, sweep_of(plan.fleet, shards=1)
    verb = "queue" if sweep.precise else "close"
    done = f"{verb}d"
    if plan.fleet.is_asked:
        verb, done = "ask about", "asked about"
    rows = [
        ("  pages of 1 MB", f"{sweep.pages:,}", ""),
        (f"  connections to {verb}", f"{sweep.found:,.1f}", ""),
        (
            f"  {done} a second at most",
            f"{1000 / sweep.interval_ms:,.0f}",
            f"limited by {sweep.limited_by}",
        ),
        ("  one invocation takes", f"{one.duration_s:,.1f} s", f"of at most {sweep.budget_s:g} s"),
    ]
    if plan.fleet.timeouts_by_role:
        kept = f"{plan.fleet.silent_kept:,.1f}"
        rows.insert(2, ("  silent, kept until their own timeout", kept, ""))
    verdict = "One sweep is enough: shards=1."
    if not sweep.fits:
        verdict = (
            f"{MAX_SHARDS} sweeps in parallel cannot read and {verb} everything: they fall"
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
    for name, way in plan.topologies.items():
        delays = [_rounded(way.late_s[percent]) if way.late_s else "-" for percent in names]
        rows.append((f"  {name}", *delays, f"{way.added_usd:,.2f}", f"{way.sweep.shards}"))
        if not way.late_s:
            notes.append(f"{name} falls behind: closes come later and later.")
        if way.queue and way.queue.live:
            notes.append(
                f"With precise a sweep also queues {way.queue.live:,.0f} connections whose clients"
                " are between two heartbeats."
            )
    shards = plan.topologies[plan.recommended].sweep.shards
    arguments = f"precise={plan.recommended == 'precise'}, shards={shards}"
    notes.append(f"Take {plan.recommended} ({arguments}): {plan.because}.")
    return [
        "CLOSE DELAY in seconds after the deadline, and what Hangup adds (USD for 30 days)",
        *_aligned(rows, right=range(1, 7)),
        *(line for note in notes for line in wrap(note, _WIDTH)),
    ]


def _quotas(found: Sequence[Quota]) -> list[str]:
    rows = [
        (
            f"  {quota.name}{' (ours)' if quota.ours else ''}",
            _rounded(quota.load),
            _rounded(quota.limit),
            quota.unit,
            f"{quota.share:.0%}",
            f"{quota.reached_at:,}",
        )
        for quota in found
    ]
    first = found[0]
    return [
        "QUOTAS of AWS, and the number of connections that reaches each",
        *_aligned([("", "load", "limit", "", "used", "connections"), *rows], right=(1, 2, 4, 5)),
        "(ours): set by Hangup, not by AWS. The stage is part of the reference stack only.",
        f"First: {first.name}, {'exceeded' if first.share > 1 else f'{first.share:.0%} used'}.",
    ]


def _rounded(value: float) -> str:
    digits = 2 if value < 1 else 1 if value < 100 else 0  # noqa: PLR2004 - digits worth showing
    return f"{value:,.{digits}f}"


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
