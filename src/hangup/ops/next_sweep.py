"""What the next sweep would do about one record, and why, by the rules of the sweep.

``core.policy`` decides by the record, and ``core.guard`` by API Gateway's account. What a sweep
finds of the table as a whole (a wrong clock, another stage's table) can still hold it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Self, assert_never

from hangup.config import TimeoutSettings
from hangup.core.connection import Connection, EpochMs, RecordedTime, TimeAttribute, is_claimed
from hangup.core.guard import Activity, Seen
from hangup.core.hand_over import HandOver
from hangup.core.policy import (
    Close,
    IdlePolicy,
    Ignore,
    Keep,
    Unreadable,
    WithoutTime,
    decide,
    looks_like,
)
from hangup.core.timing import LOOK_AHEAD_MS
from hangup.idle.guard import Answer


class Fate(StrEnum):
    """What the next sweep would do."""

    CLOSE = "closes it"
    HAND_OVER = "hands it over"
    REPORT = "reports it"
    QUEUE = "queues its close"
    KEEP = "keeps it"
    LEAVE = "leaves it open"
    START_CLOCK = "starts its clock"
    SKIP = "skips it"
    IGNORE = "ignores it"


@dataclass(frozen=True, slots=True, kw_only=True)
class NextSweep:
    """What it would do, and why. ``deadline_ms`` is the last moment at which it is not idle."""

    fate: Fate
    why: str
    deadline_ms: EpochMs | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What a deployment goes by.

    ``times`` is what the table calls its times. ``is_precise``: closes are queued.
    """

    policy: IdlePolicy
    times: Mapping[RecordedTime, TimeAttribute]
    acts: bool
    activity: Activity
    counts_both: bool
    is_precise: bool
    hand_over: HandOver

    @classmethod
    def of(cls, settings: TimeoutSettings, times: Mapping[RecordedTime, TimeAttribute]) -> Self:
        """Return what the timeout function goes by."""
        return cls(
            policy=settings.policy,
            times=times,
            acts=settings.acts,
            activity=settings.activity,
            counts_both=settings.counts_both,
            is_precise=settings.close_queue_url is not None and settings.acts,
            hand_over=settings.hand_over,
        )


def next_sweep(
    connection: Connection,
    claim_expires_ms: EpochMs | None,
    answer: Answer,
    rules: Rules,
    *,
    now_ms: EpochMs,
) -> NextSweep:
    """Return what a sweep that begins now would do about a record.

    ``answer`` is API Gateway's account.
    """
    if claim_expires_ms is not None and is_claimed(claim_expires_ms, now_ms=now_ms):
        return NextSweep(
            fate=Fate.LEAVE,
            why=f"another invocation has claimed it, until {at_utc(claim_expires_ms)} at the"
            " latest",
        )
    match decide(connection, rules.policy, now_ms):
        case Ignore():
            return NextSweep(fate=Fate.IGNORE, why="its id is not one that API Gateway gives")
        case Unreadable(time):
            attribute = rules.times[time.time]
            return NextSweep(
                fate=Fate.SKIP,
                why=f"{attribute.name} is {time.value}, which looks like {looks_like(time.value)};"
                f" expected: {attribute.written_as}",
            )
        case WithoutTime():
            return _without_time(answer, rules)
        case Keep(deadline_ms):
            return _not_idle(deadline_ms, answer, rules, now_ms)
        case Close(idle_ms):
            return _idle(connection, idle_ms, answer, rules)
        case unexpected:
            assert_never(unexpected)


def _without_time(answer: Answer, rules: Rules) -> NextSweep:
    if answer.info is None:
        why = "it has no time on record, and API Gateway does not know it"
        if answer.seen is Seen.NO_ANSWER:
            why = f"it has no time on record, and API Gateway did not answer: {answer.error}"
        return NextSweep(fate=Fate.IGNORE, why=why)
    seen = at_utc(answer.info.last_active_ms)
    if not rules.acts:
        # Nothing is written down, so API Gateway's account decides at once.
        why = f"it has no time on record, and API Gateway saw it at {seen}; the mode is observe"
        return NextSweep(fate=Fate.REPORT if answer.seen is Seen.QUIET else Fate.KEEP, why=why)
    return NextSweep(
        fate=Fate.START_CLOCK,
        why=f"it has no time on record: its timeout counts from {seen}, when API Gateway saw it",
    )


def _not_idle(deadline_ms: EpochMs, answer: Answer, rules: Rules, now_ms: EpochMs) -> NextSweep:
    left = in_words(deadline_ms - now_ms)
    if rules.is_precise and deadline_ms < now_ms + LOOK_AHEAD_MS:
        return NextSweep(
            fate=Fate.QUEUE,
            why=f"it is idle in {left}, unless it is active before",
            deadline_ms=deadline_ms,
        )
    why = f"it is not idle on record for another {left}"
    if answer.seen is Seen.GONE:
        why = f"{why}; it has left, which a sweep finds out after that"
    return NextSweep(fate=Fate.KEEP, why=why, deadline_ms=deadline_ms)


def _idle(connection: Connection, silence_ms: int, answer: Answer, rules: Rules) -> NextSweep:
    fate, why = _fate_of_idle(connection, answer, rules)
    if not rules.acts and fate in (Fate.CLOSE, Fate.HAND_OVER):
        fate, why = Fate.REPORT, f"{why}; the mode is observe, so it closes nobody"
    elif rules.is_precise and fate in (Fate.CLOSE, Fate.HAND_OVER):
        fate = Fate.QUEUE
    return NextSweep(
        fate=fate,
        why=f"silent for {in_words(silence_ms)} on record, and {why}",
        deadline_ms=rules.policy.deadline_of(connection),
    )


def _fate_of_idle(  # noqa: PLR0911 - one for each answer
    connection: Connection, answer: Answer, rules: Rules
) -> tuple[Fate, str]:
    """Return the same as ``Closer.reason_to_leave``, of a connection that is idle on record."""
    active = "" if answer.info is None else at_utc(answer.info.last_active_ms)
    match answer.seen:
        case Seen.GONE:
            return Fate.HAND_OVER, f"API Gateway does not know it: {_cleanup(connection, rules)}"
        case Seen.QUIET:
            return Fate.CLOSE, f"by API Gateway's account too, since {active}"
        case Seen.INVALID:
            return Fate.IGNORE, "API Gateway calls its id invalid"
        case Seen.NO_ANSWER:
            return Fate.LEAVE, f"API Gateway did not answer: {answer.error}"
        case Seen.NOT_YET | Seen.ACTIVE if rules.counts_both:
            return Fate.CLOSE, (
                f"active by API Gateway's account at {active}, where messages to it count: the"
                " record decides if activity is being recorded, else the sweep is held"
            )
        case Seen.NOT_YET:
            return Fate.KEEP, f"by API Gateway's account it was active at {active}, a moment later"
        case Seen.ACTIVE if rules.activity is Activity.GATEWAY:
            return Fate.KEEP, f"API Gateway saw it active at {active}: that is written down"
        case Seen.ACTIVE:
            return Fate.LEAVE, (
                f"API Gateway saw it active at {active}: its activity is not recorded"
            )
        case unexpected:
            assert_never(unexpected)


def _cleanup(connection: Connection, rules: Rules) -> str:
    if rules.hand_over is HandOver.DELETE:
        return "its record is deleted"
    if rules.hand_over.calls_handler_after(connection.handovers):
        return "the disconnect handler is called"
    return (
        "nobody is called for its record yet"
        if rules.hand_over.calls_handler
        else ("its record is left to its owner")
    )


def at_utc(at_ms: EpochMs) -> str:
    """Return a time as ``2026-11-28 21:26:25Z``."""
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%d %H:%M:%SZ}"


def in_words(duration_ms: int) -> str:
    """Return a duration in its two largest units, rounded down: ``1 h 4 min``, ``12 s``."""
    minutes, seconds = divmod(max(0, duration_ms) // 1000, 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
