"""Which topology to take, and how many sweeps side by side: what each costs and gains."""

from dataclasses import dataclass, replace

from hangup.planner.assumptions import LOOK_AHEAD_S, MAX_SEGMENTS, PRECISE_INTERVAL_S
from hangup.planner.costs import Group, costs, subtotal_usd
from hangup.planner.fleet import Fleet
from hangup.planner.lateness import Distribution, SweepEstimate, estimate_sweep, lateness
from hangup.planner.prices import Prices
from hangup.planner.queueing import QueueEstimate, estimate_queue

__all__ = ["WORTH_SHARE", "Advice", "Topology", "advise"]

WORTH_SHARE = 0.01
"""Of the whole bill: up to so much more a month, precise is recommended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """One way to deploy Hangup for a fleet. ``adds_usd`` is what Hangup adds, dollars a month."""

    fleet: Fleet
    sweep: SweepEstimate
    late: Distribution
    adds_usd: float
    total_usd: float

    @property
    def keeps_up(self) -> bool:
        """Whether sweeps and, with precise, close functions have time for all there is to do."""
        queue = estimate_queue(self.fleet) if self.fleet.precise else None
        return self.sweep.fits and (queue is None or queue.keeps_up)

    @property
    def name(self) -> str:
        """What the documentation calls it."""
        return "precise" if self.fleet.precise else "inline"


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """Both topologies, and which one to take.

    ``precise`` and ``queue`` are None if the sweep interval rules them out. ``why`` is a sentence.
    """

    inline: Topology
    precise: Topology | None
    queue: QueueEstimate | None
    take_precise: bool
    why: str

    @property
    def taken(self) -> Topology:
        """The recommended one."""
        return self.precise if self.precise is not None and self.take_precise else self.inline

    @property
    def arguments(self) -> str:
        """The construct's arguments for the recommended topology."""
        precise = "precise=True" if self.take_precise else "precise=False"
        return f"{precise}, segments={self.taken.sweep.segments}"


def advise(fleet: Fleet, prices: Prices) -> Advice:
    """Return what both topologies come to for this fleet, whichever of them it is planned with."""
    inline = _topology(replace(fleet, precise=False), prices)
    if fleet.sweep_interval_s > PRECISE_INTERVAL_S:
        why = (
            f"precise looks {LOOK_AHEAD_S:g} s ahead and needs a sweep every"
            f" {PRECISE_INTERVAL_S} s, not every {fleet.sweep_interval_s:g} s"
        )
        return Advice(inline=inline, precise=None, queue=None, take_precise=False, why=why)
    precise = _topology(replace(fleet, precise=True), prices)
    queue = estimate_queue(precise.fleet)
    take, why = _judge(inline, precise, queue)
    return Advice(inline=inline, precise=precise, queue=queue, take_precise=take, why=why)


def _topology(fleet: Fleet, prices: Prices) -> Topology:
    sweep = estimate_sweep(fleet)
    items = costs(fleet, sweep, prices)
    return Topology(
        fleet=fleet,
        sweep=sweep,
        late=lateness(fleet, sweep),
        adds_usd=subtotal_usd(items, Group.ADDED),
        total_usd=sum(item.usd for item in items),
    )


def _judge(inline: Topology, precise: Topology, queue: QueueEstimate) -> tuple[bool, str]:
    """Return whether to take precise, and why, the first reason that holds."""
    timeout_s = precise.fleet.idle_timeout_s
    if timeout_s < LOOK_AHEAD_S:
        return False, (
            f"precise needs an idle timeout of at least {LOOK_AHEAD_S:g} s, not {timeout_s:g} s:"
            " no sweep may see a connection before its deadline"
        )
    if not queue.keeps_up:
        nor = "" if inline.sweep.fits else ", and inline sweeps fall behind as well"
        return False, (
            f"{queue.messages_per_second:,.0f} messages a second are more than the"
            f" {queue.messages_per_second_at_most:,.0f} that the close functions can take"
            f" (limited by {queue.limited_by}){nor}"
        )
    if not precise.sweep.fits:
        return False, f"not even {MAX_SEGMENTS} sweeps side by side can queue what falls due"
    more_usd = precise.adds_usd - inline.adds_usd
    gain_s = inline.late.percentile_s(50) - precise.late.percentile_s(50)
    gain = f"the median close comes {gain_s:,.0f} s earlier"
    costs_more = f"for {more_usd:,.2f} more a month" if more_usd > 0 else "and costs no more"
    if not inline.sweep.fits:
        return True, f"not even {MAX_SEGMENTS} inline sweeps side by side can close what is idle"
    if more_usd <= WORTH_SHARE * inline.total_usd:
        # Nothing is no share of a bill of nothing.
        share = more_usd / inline.total_usd if inline.total_usd else 0.0
        return True, f"{gain} {costs_more} ({share:.2%} of the bill)"
    return False, (
        f"precise costs {more_usd:,.2f} more a month, over {WORTH_SHARE:.0%} of the bill;"
        f" it is worth that if seconds matter: the median close would come {gain_s:,.0f} s"
        " earlier"
    )
