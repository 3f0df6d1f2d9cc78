"""Everything that ``hangup plan`` says, as values."""

from dataclasses import asdict, dataclass

from hangup.planner import assumptions
from hangup.planner.costs import Group, Item, by_kind, costs, subtotal_usd
from hangup.planner.fleet import Fleet
from hangup.planner.lateness import (
    Distribution,
    SweepEstimate,
    estimate_sweep,
    lateness,
    silence_at_close,
)
from hangup.planner.prices import PriceList
from hangup.planner.quotas import Quota, quotas
from hangup.planner.topology import Advice, Topology, advise

__all__ = ["PERCENTILES", "Plan", "as_json", "as_seconds", "make_plan"]

PERCENTILES = (50, 95, 99)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A fleet, and what follows from it at these prices."""

    fleet: Fleet
    prices: PriceList
    items: tuple[Item, ...]
    sweep: SweepEstimate
    late: Distribution
    silence: Distribution
    advice: Advice
    quotas: tuple[Quota, ...]

    @property
    def total_usd(self) -> float:
        """The whole bill, dollars a month."""
        return sum(item.usd for item in self.items)


def make_plan(fleet: Fleet, prices: PriceList) -> Plan:
    """Return the plan of a fleet."""
    sweep = estimate_sweep(fleet)
    late = lateness(fleet, sweep)
    items = costs(fleet, sweep, prices.prices)
    return Plan(
        fleet=fleet,
        prices=prices,
        items=items,
        sweep=sweep,
        late=late,
        silence=silence_at_close(fleet, late),
        advice=advise(fleet, prices.prices),
        quotas=quotas(fleet, sweep),
    )


def as_seconds(seconds: float) -> str:
    """Return a lateness as text: below a second in hundredths, above in tenths."""
    return f"{seconds:,.1f}" if seconds >= 1 else f"{seconds:.2f}"


def as_json(plan: Plan) -> dict[str, object]:
    """Return the plan as one JSON object; names carry their units."""
    sweep = plan.sweep
    return {
        "fleet": asdict(plan.fleet),
        "costs": {
            "currency": plan.prices.currency,
            "region": plan.prices.region,
            "as_of": plan.prices.as_of,
            "month_days": assumptions.MONTH_S // 86_400,
            "own_prices": None if plan.prices.own is None else asdict(plan.prices.own),
            "items": [_item(item) for item in plan.items],
            "subtotals": {str(group): subtotal_usd(plan.items, group) for group in Group},
            "by_kind": {str(kind): usd for kind, usd in by_kind(plan.items).items()},
            "total": plan.total_usd,
        },
        "sweep": {
            "pages": sweep.pages,
            "closes": sweep.closes,
            "queued": sweep.found if plan.fleet.precise else 0.0,
            "single_invocation_s": sweep.single.duration_s,
            "one_invocation_is_enough": sweep.one_is_enough,
            "segments": sweep.segments,
            "segments_are_enough": sweep.fits,
            "scan_s": sweep.scan_s,
            "close_or_queue_s": sweep.act_s,
            "duration_s": sweep.duration_s,
            "per_second_at_most": 1000 / sweep.interval_ms,
            "limited_by": sweep.limited_by,
            "per_invocation_at_most": sweep.found_at_most,
        },
        "topology": _advice(plan.advice),
        "lateness_s": _percentiles(plan.late),
        "silence_at_close_s": _percentiles(plan.silence),
        "quotas": [{**asdict(quota), "share": quota.share} for quota in plan.quotas],
    }


def _item(item: Item) -> dict[str, object]:
    return {
        "name": item.name,
        "group": str(item.group),
        "quantity": item.quantity,
        "unit": item.unit,
        "usd": item.usd,
        "by_kind": {str(kind): usd for kind, usd in item.charges.items()},
    }


def _advice(advice: Advice) -> dict[str, object]:
    queue = advice.queue
    return {
        "recommended": advice.taken.name,
        "segments": advice.taken.sweep.segments,
        "because": advice.why,
        "inline": _topology(advice.inline),
        "precise": None if advice.precise is None else _topology(advice.precise),
        "queue": None
        if queue is None
        else {
            "messages_of_closes_per_sweep": queue.closing,
            "messages_of_live_per_sweep": queue.live,
            "messages_per_second": queue.messages_per_second,
            "messages_per_second_at_most": queue.messages_per_second_at_most,
            "limited_by": queue.limited_by,
            "keeps_up": queue.keeps_up,
            "messages_per_invocation": queue.batch,
            "requests_per_month": queue.requests_per_month,
        },
    }


def _topology(topology: Topology) -> dict[str, object]:
    return {
        "lateness_s": _percentiles(topology.late),
        "keeps_up": topology.keeps_up,
        "segments": topology.sweep.segments,
        "segments_are_enough": topology.sweep.fits,
        "added_usd": topology.adds_usd,
        "total_usd": topology.total_usd,
    }


def _percentiles(distribution: Distribution) -> dict[str, float]:
    found = {f"p{percent}": distribution.percentile_s(percent) for percent in PERCENTILES}
    return {**found, "max": distribution.max_s}
