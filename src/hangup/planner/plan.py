"""The plan of a fleet: its bill, its quotas, and both topologies compared."""

from dataclasses import dataclass, replace

from hangup.core.due import LOOK_AHEAD_S
from hangup.core.limits import MAX_SEGMENTS
from hangup.planner.assumptions import PRECISE_INTERVAL_S
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

__all__ = ["WORTH_SHARE", "Plan", "Topology", "make_plan"]

WORTH_SHARE = 0.01
"""Of the whole bill: precise is recommended if it adds no more than this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """One way to deploy Hangup for a fleet; inline, ``queue`` is None.

    ``late_s`` is how long after its deadline a connection is closed, None if the sweeps or the
    close functions fall further and further behind.
    """

    name: str
    sweep: Sweep
    queue: Queue | None
    late_s: Percentiles | None
    items: tuple[Item, ...]

    @property
    def added_usd(self) -> float:
        """What Hangup adds to the bill, dollars a month."""
        return subtotal_usd(self.items, Group.ADDED)

    @property
    def total_usd(self) -> float:
        """The whole bill, dollars a month."""
        return sum(item.usd for item in self.items)


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
    inline = _topology(replace(fleet, precise=False), prices.prices)
    recommended, because = (
        inline,
        (
            f"precise looks {LOOK_AHEAD_S} s ahead and needs a sweep every {PRECISE_INTERVAL_S} s, not"
            f" every {fleet.sweep_interval_s:g} s"
        ),
    )
    topologies = (inline,)
    if fleet.sweep_interval_s <= PRECISE_INTERVAL_S:
        ahead = replace(fleet, precise=True)
        queue = simulate_queue(ahead, estimate_sweep(ahead))
        precise = _topology(ahead, prices.prices, queue)
        recommended, because = _advise(fleet, inline, precise, queue)
        topologies = (inline, precise)
    planned = topologies[-1] if fleet.precise else inline
    return Plan(
        fleet=fleet,
        prices=prices,
        topologies=topologies,
        planned=planned,
        recommended=recommended,
        because=because,
        quotas=quotas(fleet, planned.queue),
    )


def _topology(fleet: Fleet, prices: Prices, queue: Queue | None = None) -> Topology:
    sweep = estimate_sweep(fleet)
    return Topology(
        name="inline" if queue is None else "precise",
        sweep=sweep,
        queue=queue,
        late_s=inline_lateness_s(fleet, sweep) if queue is None else queue.late_s,
        items=costs(fleet, sweep, queue, prices),
    )


def _advise(
    fleet: Fleet, inline: Topology, precise: Topology, queue: Queue
) -> tuple[Topology, str]:
    """Return the topology to take, and the first reason that holds."""
    as_well = "" if inline.sweep.fits else "; inline sweeps fall behind as well"
    more_usd = precise.added_usd - inline.added_usd
    # Nothing is no share of a bill of nothing.
    share = more_usd / inline.total_usd if inline.total_usd else 0.0
    earlier = "the median close comes {:,.0f} s earlier".format(
        inline.late_s["p50"] - precise.late_s["p50"] if inline.late_s and precise.late_s else 0
    )
    reasons = (
        (
            fleet.idle_timeout_s < LOOK_AHEAD_S,
            inline,
            f"precise needs an idle timeout of at least {LOOK_AHEAD_S} s, not"
            f" {fleet.idle_timeout_s:g} s, to queue a connection before its deadline",
        ),
        (
            not queue.keeps_up,
            inline,
            f"{queue.per_second:,.0f} messages a second are more than the"
            f" {queue.per_second_at_most:,.0f} that {queue.functions} close functions can take"
            f" (limited by {queue.limited_by}){as_well}",
        ),
        (
            not precise.sweep.fits,
            inline,
            f"not even {MAX_SEGMENTS} precise sweeps in parallel can queue every connection",
        ),
        (
            not inline.sweep.fits,
            precise,
            f"not even {MAX_SEGMENTS} inline sweeps in parallel can close every idle connection",
        ),
        (
            share <= WORTH_SHARE,
            precise,
            f"{earlier} for {more_usd:,.2f} more a month ({share:.2%} of the bill)",
        ),
    )
    otherwise = (
        f"precise costs {more_usd:,.2f} more a month, over {WORTH_SHARE:.0%} of the bill; take it"
        f" if seconds matter: {earlier}"
    )
    found = ((topology, why) for holds, topology, why in reasons if holds)
    return next(found, (inline, otherwise))
