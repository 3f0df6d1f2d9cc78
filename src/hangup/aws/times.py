"""How a table writes a time: the unit, and what is added to the time.

Numbers are compared exactly. ISO 8601 times are compared as texts, so a bound holds only for the
forms that sort by time: ``2026-11-28T18:51:53``, with or without a fraction, in UTC. What is
written in another form comes through the server's filter; it is read, and decided about here. A
text that is not a time may be kept by the filter for as long as it sorts like a recent time.
"""

import re
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final, cast

from hangup.aws.values import Item, Values, epoch_ms, number, scaled, string, text_in
from hangup.core.connection import Connection, DurationMs, EpochMs
from hangup.core.limits import MAX_CLOCK_LEAD_MS, MIN_PLAUSIBLE_EPOCH_MS
from hangup.errors import ConfigurationError

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.type_defs import (
        AttributeValueTypeDef,
        UniversalAttributeValueTypeDef,
    )

    from hangup.aws.expressions import Form

_SECONDS: Final = "%Y-%m-%dT%H:%M:%S"
_EARLIEST: Final = EpochMs(MIN_PLAUSIBLE_EPOCH_MS)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

_LONGEST_TEXT: Final = 64
"""Characters of an ISO 8601 time at most, so that it fits wherever a connection goes."""

_HAS_SECONDS: Final = re.compile(r"[Tt ]\d\d:?\d\d:?\d\d", re.ASCII)

_MOST_WEST: Final = timedelta(hours=-12)
"""West of Greenwich clocks show up to 12 hours less, so a text may stand for a later time."""

TEXT_VALUES: Final[Values] = {
    ":iso_size": number(len("2026-11-28T18:51:53")),
    ":iso_t": string("T"),
    ":iso_plus": string("+"),
    ":iso_utc": string("+00:00"),
    ":iso_odd": string("+00:00:"),
}
"""What ``aws.expressions`` compares texts with, beside their bounds."""

_ZONES: Final = (":iso_plus", ":iso_utc")


class TimeUnit(StrEnum):
    """What a time attribute holds."""

    MILLISECONDS = "ms"
    """A number of epoch milliseconds."""
    SECONDS = "s"
    """A number of epoch seconds, with or without a fraction."""
    ISO8601 = "iso8601"
    """A text such as ``2026-11-28T18:51:53.123Z``. One without a zone is in UTC."""

    @property
    def in_words(self) -> str:
        """What log lines call such a time."""
        return _IN_WORDS[self]


_IN_WORDS: Final = {
    TimeUnit.MILLISECONDS: "epoch ms",
    TimeUnit.SECONDS: "epoch seconds",
    TimeUnit.ISO8601: "ISO 8601 text",
}


class TimeCodec:
    """Reads and writes the times of one attribute, ``name``; None where the table has none.

    The attribute holds the time plus ``offset_s``: a TTL that is set to five minutes after each
    message has 300.
    """

    def __init__(self, unit: TimeUnit, offset_s: int, name: str | None = None) -> None:
        self.name: Final = name
        self.is_text: Final = unit is TimeUnit.ISO8601
        self.form: Form = None
        """How it is compared."""
        if name is not None:
            self.form = "text" if self.is_text else "number"
        self._per_ms: Final = 1_000 if unit is TimeUnit.SECONDS else 1
        self._offset_ms: Final = offset_s * 1000

    def in_item(self, item: Item) -> EpochMs | None:
        """Return the time in an item; None without one that is a time."""
        return None if self.name is None else self.decode(item.get(self.name))

    def decode(self, value: "AttributeValueTypeDef | None") -> EpochMs | None:
        """Return the time, rounded up to a millisecond; None for anything else."""
        if value is None:
            return None
        if self.is_text:
            return epoch_ms(_in_text(value.get("S", "")), self._offset_ms)
        return epoch_ms(scaled(value, self._per_ms), self._offset_ms)

    def encode(self, ms: EpochMs) -> "UniversalAttributeValueTypeDef":
        """Return a time as an application would write it: seconds are whole, and rounded up."""
        held_ms = ms + self._offset_ms
        if self.is_text:
            return string(f"{_text_of(held_ms // 1000)}.{held_ms % 1000:03}Z")
        return number(-(-held_ms // self._per_ms))

    def encode_exactly(self, ms: EpochMs) -> "UniversalAttributeValueTypeDef":
        """Return a time to compare with, to a millisecond."""
        return self.encode(ms) if self.is_text else self._exactly(ms + self._offset_ms)

    def at_least(self, ms: EpochMs) -> "UniversalAttributeValueTypeDef":
        """Return a bound: what is not below it, is at this time or later."""
        held_ms = ms + self._offset_ms
        return string(_text_of(-(-held_ms // 1000))) if self.is_text else self._exactly(held_ms)

    def at_most(self, ms: EpochMs) -> "UniversalAttributeValueTypeDef":
        """Return a bound: what is not above it, is at this time or earlier."""
        held_ms = ms + self._offset_ms
        if self.is_text:
            return string(_text_of(held_ms // 1000 + _MOST_WEST // timedelta(seconds=1)))
        return self._exactly(held_ms)

    def _exactly(self, held_ms: int) -> "UniversalAttributeValueTypeDef":
        whole, rest = divmod(held_ms, self._per_ms)
        return {"N": f"{whole}.{rest:03}"} if rest else number(whole)


def _text_of(epoch_s: int) -> str:
    return datetime.fromtimestamp(epoch_s, UTC).strftime(_SECONDS)


def _in_text(text: str) -> int | None:
    """Return the epoch milliseconds in an ISO 8601 text, rounded up; None for others.

    A day, an hour or a minute does not say when a client was last active.
    """
    if len(text) > _LONGEST_TEXT or not _HAS_SECONDS.search(text):
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    offset = time.utcoffset()
    if offset is None:
        time = time.replace(tzinfo=UTC)
    elif offset < _MOST_WEST:
        return None
    # Not timestamp(): a float has not every microsecond.
    return -(-((time - _EPOCH) // timedelta(microseconds=1)) // 1_000)


class Times:
    """The application's two times in one table: when a client connected, and was last active."""

    def __init__(self, *, activity: TimeCodec, connect: TimeCodec) -> None:
        self.activity: Final = activity
        self.connect: Final = connect
        self.forms: Final = (activity.form, connect.form)
        """How the activity and the connect are compared."""
        self._has_texts: Final = "text" in self.forms

    def recorded_text(self, item: Item, last_activity_ms: EpochMs | None) -> str | None:
        """Return the time that decides, as an item has it, where that is a text; else None."""
        if not self._has_texts:
            return None
        codec = self.connect if last_activity_ms is None else self.activity
        return text_in(item, codec.name) if codec.name is not None and codec.is_text else None

    def encoded(self, connected_ms: EpochMs, activity_ms: EpochMs) -> Values:
        """Return both as attributes of an item."""
        codecs = ((self.connect, connected_ms), (self.activity, activity_ms))
        return {codec.name: codec.encode(ms) for codec, ms in codecs if codec.name is not None}

    def as_recorded(self, now_ms: EpochMs) -> EpochMs:
        """Return what is read of an activity that was recorded at this time."""
        written = self.recording(now_ms, DurationMs(0))[":now"]
        activity_ms = self.activity.decode(cast("AttributeValueTypeDef", written))
        return now_ms if activity_ms is None else activity_ms

    def bounds(self, cutoff_ms: EpochMs, now_ms: EpochMs) -> Values:
        """Return what ``expressions.is_candidate`` compares with."""
        future_ms = EpochMs(now_ms + MAX_CLOCK_LEAD_MS)
        values: Values = {
            ":cutoff": number(cutoff_ms),
            ":from_now": number(now_ms + 1),
            ":future": number(future_ms),
        }
        for time, codec in (("activity", self.activity), ("connect", self.connect)):
            if codec.form is not None:
                values[f":cutoff_{time}"] = codec.at_least(cutoff_ms)
                values[f":earliest_{time}"] = codec.at_least(_EARLIEST)
                values[f":future_{time}"] = codec.at_most(future_ms)
        return values | TEXT_VALUES if self._has_texts else values

    def recorded(self, connection: Connection, seen_ms: EpochMs | None) -> Values:
        """Return what ``expressions.is_as_seen`` compares with; ``seen_ms`` is what was seen."""
        codec = self.connect if connection.last_activity_ms is None else self.activity
        recorded_ms, form = connection.recorded_ms, codec.form
        if recorded_ms is None or seen_ms is None or form is None:
            return {}
        if form == "number":
            return {":recorded": codec.at_most(seen_ms)}
        text = connection.recorded_as
        return {":recorded": string(text) if text else codec.encode(recorded_ms)}

    def recording(self, now_ms: EpochMs, resolution_ms: DurationMs) -> Values:
        """Return what ``expressions.may_record`` compares with, and the activity."""
        codec, form = self.activity, self.activity.form
        if form is None:
            raise ConfigurationError(
                "no activity is recorded where the table schema's last_activity is null: name an"
                " attribute"
            )
        return {
            ":now": codec.encode(now_ms),
            ":old": codec.encode_exactly(EpochMs(now_ms - resolution_ms)),
            ":future": codec.at_most(EpochMs(now_ms + MAX_CLOCK_LEAD_MS)),
            ":type": string("S" if form == "text" else "N"),
            **({one: TEXT_VALUES[one] for one in _ZONES} if form == "text" else {}),
        }
