"""Which attributes hold times: of the connect, and of the last activity, as the items show it.

API Gateway's account of a connection (``connectedAt``, ``lastActiveAt``) tells them apart where a
client has been active since its connect: the attribute that stays with the one is the connect, the
one that goes with the other is the activity. Both may be ahead by the same number of seconds in all
records, as a time to live is. Without such an answer, their names and their order have to do.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from hangup.aws.schema import DEFAULT_SCHEMA
from hangup.aws.times import TimeCodec, TimeUnit
from hangup.aws.values import Item
from hangup.core.connection import ConnectionInfo, EpochMs
from hangup.ops.evidence import Confidence, Evidence, Proposal, by_count, how_many
from hangup.ops.inferred_ids import IdAttribute

CONNECTED_AT: Final = "table.connected_at"
LAST_ACTIVITY: Final = "table.last_activity"

_CONNECT: Final = re.compile(r"(?<!dis)connect|creat|join|since|start|open|login", re.IGNORECASE)
_ACTIVE: Final = re.compile(
    r"last|activ|seen|updat|beat|modif|report|touch|alive|refresh|message", re.IGNORECASE
)
_EXPIRY: Final = re.compile(r"ttl|expir|to_?live", re.IGNORECASE)
_OWN: Final = {
    DEFAULT_SCHEMA.gateway_active,
    DEFAULT_SCHEMA.noticed_at,
    DEFAULT_SCHEMA.claim_expires_at,
}

_NEAR_MS: Final = 2_000
"""How far a time may be from API Gateway's: whole seconds, two clocks, a function that starts."""

_EARLIER_MS: Final = 60_000
"""No clock is off by more, and no function writes a time from before the connect."""

_AHEAD_MS: Final = 30_000
"""No function takes longer to write that a client connected: what is later is ahead on purpose."""

_ROUND_S: Final = 5
_LATEST_MS: Final = 400 * 86_400_000
"""A time to live may be a year ahead."""

_NONE: Final = [(EpochMs(0), EpochMs(0), EpochMs(0))]

_WORDS: Final = {
    TimeUnit.MILLISECONDS: "epoch milliseconds",
    TimeUnit.SECONDS: "epoch seconds",
    TimeUnit.ISO8601: "ISO 8601 texts",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Time:
    """An attribute with times. ``held_ms`` are what it holds, in the order of the records."""

    name: str
    unit: TimeUnit
    held_ms: Sequence[EpochMs | None]
    is_expiry: bool

    @property
    def looks(self) -> str:
        """What its values look like, and in how many records."""
        fit = len([one for one in self.held_ms if one is not None])
        return f"`{self.name}`: {how_many(fit, len(self.held_ms))} look like {_WORDS[self.unit]}"


def time_setting(attribute: str, unit: TimeUnit, offset_s: int) -> dict[str, object]:
    """Return what the file says of an attribute with times."""
    setting: dict[str, object] = {"attribute": attribute, "unit": str(unit)}
    return setting | {"offset_seconds": offset_s} if offset_s else setting


class _Meaning(NamedTuple):
    """What an attribute is: the setting, seconds that it is ahead, how certain, and why."""

    key: str
    offset_s: int
    confidence: Confidence
    why: str


def times_in(items: Sequence[Item], evidence: Evidence) -> list[Time]:
    """Return the attributes that hold times in most of the records that have them."""
    keys = {name for name, _ in evidence.key}
    found = []
    for name in sorted({name for item in items for name in item} - keys - _OWN):
        has = [item for item in items if name in item]
        for unit in TimeUnit:
            decode = TimeCodec(unit, 0).decode
            held = [_plausible(decode(item.get(name)), evidence.now_ms) for item in items]
            if 2 * len([one for one in held if one is not None]) > len(has):
                is_expiry = name == evidence.ttl or _EXPIRY.search(name) is not None
                found.append(Time(name=name, unit=unit, held_ms=held, is_expiry=is_expiry))
                break
    return found


def _plausible(ms: EpochMs | None, now_ms: EpochMs) -> EpochMs | None:
    return ms if ms is not None and ms < now_ms + _LATEST_MS else None


def infer(ids: IdAttribute, connections: Sequence[Item], evidence: Evidence) -> list[Proposal]:
    """Return the settings of the two times, as far as the records show them."""
    infos = [evidence.info(ids.id_in(item) or "") for item in connections]
    times = [
        time for time in times_in(connections, evidence) if not _is_of_something_else(time, infos)
    ]
    meanings = {time.name: _by_account(time, infos) for time in times}
    if not any(meanings.values()):
        meanings = _by_order(times)
    for time in times:
        meanings[time.name] = meanings[time.name] or _by_name(time, times, meanings, infos)
    proposed = []
    for key in (CONNECTED_AT, LAST_ACTIVITY):
        candidates = [
            (time, meaning)
            for time in times
            if (meaning := meanings[time.name]) is not None and meaning.key == key
        ]
        # The most certain, one that is not ahead before one that is, the one in most records.
        order = list(Confidence)
        candidates.sort(
            key=lambda one: (order.index(one[1].confidence), one[0].is_expiry, one[1].offset_s > 0)
        )
        proposed += [_proposal(time, meaning) for time, meaning in candidates[:1]]
    return proposed


def _proposal(time: Time, meaning: _Meaning) -> Proposal:
    value = time_setting(time.name, time.unit, meaning.offset_s)
    return Proposal(
        key=meaning.key,
        value=value,
        confidence=meaning.confidence,
        why=f"{time.looks}; {meaning.why}",
        choices=[value, None],
    )


def _by_account(time: Time, infos: Sequence[ConnectionInfo | None]) -> _Meaning | None:
    """Return what an attribute is by API Gateway's account; None where that does not show it."""
    pairs = _pairs(time, infos)
    gap_ms = max((active_ms - connect_ms for _, connect_ms, active_ms in pairs), default=0)
    if gap_ms < _NEAR_MS:
        return None  # no client has been active since its connect: both would fit
    from_connect = _Distance.of([held_ms - connect_ms for held_ms, connect_ms, _ in pairs])
    from_active = _Distance.of([held_ms - active_ms for held_ms, _, active_ms in pairs])
    asked = f"of {len(pairs)} that API Gateway was asked about"
    near_ms = max(_NEAR_MS, gap_ms // 4)
    if from_active.off_ms <= near_ms < from_connect.off_ms or (
        from_active.off_ms < from_connect.off_ms and from_active.off_ms <= gap_ms // 2
    ):
        why = f"goes with the last activity {asked}{_ahead(from_active.offset_s)}"
        return _Meaning(LAST_ACTIVITY, from_active.offset_s, by_count(len(pairs) + 1), why)
    if from_connect.off_ms <= gap_ms // 2:
        why = f"stays with the connect {asked}{_ahead(from_connect.offset_s)}"
        return _Meaning(CONNECTED_AT, from_connect.offset_s, by_count(len(pairs) + 1), why)
    moved = [
        held_ms - connect_ms
        for held_ms, connect_ms, active_ms in pairs
        if _NEAR_MS < held_ms - connect_ms <= active_ms - connect_ms + _NEAR_MS
    ]
    if moved:
        why = f"later than the connect in {how_many(len(moved), len(pairs))} that were asked about"
        return _Meaning(LAST_ACTIVITY, 0, Confidence.LIKELY, why)
    return None


_Pairs = Sequence[tuple[EpochMs, EpochMs, EpochMs]]
"""What an attribute holds, when the client connected, and when it was last active."""


def _pairs(time: Time, infos: Sequence[ConnectionInfo | None]) -> _Pairs:
    return [
        (held_ms, info.connected_at_ms, info.last_active_ms)
        for held_ms, info in zip(time.held_ms, infos, strict=True)
        if held_ms is not None and info is not None and info.connected_at_ms is not None
    ]


def _is_of_something_else(time: Time, infos: Sequence[ConnectionInfo | None]) -> bool:
    """Return whether API Gateway's account rules an attribute out: it is from before a connect."""
    return any(held_ms < connect_ms - _EARLIER_MS for held_ms, connect_ms, _ in _pairs(time, infos))


class _Distance(NamedTuple):
    """How far an attribute is from a time: a constant offset, and how far off it is at most."""

    offset_s: int
    off_ms: int

    @classmethod
    def of(cls, differences_ms: Sequence[int]) -> "_Distance":
        """Return the offset that fits best."""
        least_ms = min(differences_ms)
        # A time to live is a round number of seconds ahead.
        round_s = round(least_ms / (_ROUND_S * 1000)) * _ROUND_S
        offset_s = round_s if least_ms > _AHEAD_MS else 0
        return cls(offset_s, max(abs(one - offset_s * 1000) for one in differences_ms))


def _ahead(offset_s: int) -> str:
    return f", {offset_s} s ahead" if offset_s else ""


def _by_order(times: Sequence[Time]) -> dict[str, _Meaning | None]:
    """Return what attributes are by their order: one that is later in some records moves."""
    meanings: dict[str, _Meaning | None] = {time.name: None for time in times}
    for first in times:
        for second in times:
            if first is second or first.is_expiry:
                continue
            later_ms = [
                two - one
                for one, two in zip(first.held_ms, second.held_ms, strict=True)
                if one is not None and two is not None
            ]
            if not later_ms or min(later_ms) < -_NEAR_MS:
                continue
            distance = _Distance.of(later_ms)
            moved = [one for one in later_ms if one - distance.offset_s * 1000 > _NEAR_MS]
            if moved and (distance.offset_s == 0 or second.is_expiry):
                meanings[second.name] = _Meaning(
                    LAST_ACTIVITY,
                    distance.offset_s,
                    _by_its_name(second, len(moved)),
                    f"later than `{first.name}` in {how_many(len(moved), len(later_ms))}",
                )
                meanings[first.name] = meanings[first.name] or _Meaning(
                    CONNECTED_AT,
                    0,
                    by_count(len(later_ms)),
                    f"never later than `{second.name}`",
                )
    return meanings


def _by_its_name(time: Time, moved: int) -> Confidence:
    if time.is_expiry:
        return Confidence.UNSURE
    return by_count(moved) if _ACTIVE.search(time.name) else Confidence.LIKELY


def _by_name(
    time: Time,
    times: Iterable[Time],
    meanings: Mapping[str, _Meaning | None],
    infos: Sequence[ConnectionInfo | None],
) -> _Meaning | None:
    """Return what an attribute is by its name."""
    if time.is_expiry:
        if any(meanings.values()) or not all(one.is_expiry for one in times):
            return None  # set with the connect, as far as anything shows
        pairs = _pairs(time, infos) or _NONE
        ahead = _Distance.of([held_ms - connect_ms for held_ms, connect_ms, _ in pairs])
        why = "is it set by each message, and how many seconds ahead?"
        return _Meaning(LAST_ACTIVITY, ahead.offset_s or 300, Confidence.UNSURE, why)
    if _ACTIVE.search(time.name):
        return _Meaning(LAST_ACTIVITY, 0, Confidence.LIKELY, "the last activity by its name")
    if _CONNECT.search(time.name):
        distances_ms = [held_ms - connect_ms for held_ms, connect_ms, _ in _pairs(time, infos)]
        if distances_ms and _Distance.of(distances_ms) <= (0, _NEAR_MS):
            why = "the connect by its name, and by API Gateway's account"
            return _Meaning(CONNECTED_AT, 0, by_count(len(distances_ms)), why)
        return _Meaning(CONNECTED_AT, 0, Confidence.LIKELY, "the connect by its name")
    return _Meaning(CONNECTED_AT, 0, Confidence.UNSURE, "is it the time of the connect?")
