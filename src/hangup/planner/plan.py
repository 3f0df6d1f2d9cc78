"""The plan of a fleet: both topologies, which one to take, and the quotas."""

from dataclasses import dataclass, replace

from hangup.core.limits import MAX_SEGMENTS
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
)
from hangup.planner.prices import PriceList, Prices
from hangup.planner.quotas import Quota, quotas

__all__ = ["Plan", "Topology", "make_plan"]

_WORTH_SHARE = 0.01
"""Of the whole bill: precise is recommended if it adds no more than this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """One way to deploy Hangup for a fleet; inline, ``queue`` is None.

    ``late_s`` is how long after its deadline a connection is closed, None if sweeps or close
    functions fall further and further behind. ``added_usd`` is what Hangup adds to the bill.
    """

    name: str
    sweep: Sweep
    queue: Queue | None
    late_s: Percentiles | None
    items: tuple[Item, ...]
    added_usd: float
    total_usd: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A fleet, and what follows from it at these prices.

    ``topologies`` are inline and, if sweeps come often enough for it, precise; ``planned`` is the
    one that the fleet asks for. ``because`` says why one of them is ``recommended``.
    """

    fleet: Fleet
    prices: PriceList
    topologies: tuple[Topology, ...]
    planned: Topology
    recommended: Topology
    because: str
    quotas: tuple[Quota, ...]


def make_plan(fleet: Fleet, prices: PriceList) -> Plan:
    """Return the plan of a fleet."""
    kinds = (False, True) if fleet.sweep_interval_s <= SWEEP_INTERVAL_S else (False,)
    topologies = tuple(_topology(replace(fleet, precise=kind), prices.prices) for kind in kinds)
    planned = topologies[fleet.precise]
    recommended, because = _advise(fleet, *topologies)
    return Plan(
        fleet=fleet,
        prices=prices,
        topologies=topologies,
        planned=planned,
        recommended=recommended,
        because=because,
        quotas=quotas(fleet, planned.queue),
    )


def _topology(fleet: Fleet, prices: Prices) -> Topology:
    sweep = estimate_sweep(fleet)
    queue = simulate_queue(fleet, sweep) if fleet.precise else None
    items = costs(fleet, sweep, queue, prices)
    return Topology(
        name="precise" if queue else "inline",
        sweep=sweep,
        queue=queue,
        late_s=queue.late_s if queue else inline_lateness_s(fleet, sweep),
        items=items,
        added_usd=subtotal_usd(items, Group.ADDED),
        total_usd=sum(item.usd for item in items),
    )


def _advise(
    fleet: Fleet, inline: Topology, precise: Topology | None = None
) -> tuple[Topology, str]:
    """Return the topology to take, and why: the first reason that holds."""
    if precise is None or precise.queue is None:
        return inline, f"precise needs a sweep every {SWEEP_INTERVAL_S} s"
    queue, more_usd = precise.queue, precise.added_usd - inline.added_usd
    earlier = "closes come earlier"
    if inline.late_s and precise.late_s:
        earlier_s = inline.late_s["p50"] - precise.late_s["p50"]
        earlier = f"the median close comes {earlier_s:,.0f} s earlier"
    too_short = f"precise needs an idle timeout of at least {LOOK_AHEAD_S} s"
    too_many = (
        f"{queue.per_second:,.0f} messages a second are more than the"
        f" {queue.per_second_at_most:,.0f} that {queue.functions} close functions can take"
    )
    worth_it = f"{earlier} for {more_usd:,.2f} more a month"
    reasons = (
        (fleet.idle_timeout_s < LOOK_AHEAD_S, inline, too_short),
        (not queue.keeps_up, inline, too_many),
        (not precise.sweep.fits, inline, f"{MAX_SEGMENTS} precise sweeps cannot queue everything"),
        (not inline.sweep.fits, precise, f"{MAX_SEGMENTS} inline sweeps cannot close everything"),
        (more_usd <= _WORTH_SHARE * inline.total_usd, precise, worth_it),
        (True, inline, f"precise adds over {_WORTH_SHARE:.0%} to the bill; with it {worth_it}"),
    )
    return next((topology, why) for holds, topology, why in reasons if holds)
