"""The connections table: what its attributes are called, what its items mean, how it is written.

The only place, beside ``session_schema``, that knows an attribute's name. The requests are in
``aws.table_requests``; what a schema may say is checked in ``aws.schema_checks``.

**Several items for one connection.** Where the id is not the whole key, a connection may have many
items: one for each room that it is in. They are one connection: ``part_records`` in ``core.policy``
says what holds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from decimal import Decimal, InvalidOperation
from typing import Final, Self

from hangup.aws.conditions import Condition, Selection
from hangup.aws.expressions import OWN
from hangup.aws.keys import TableKey
from hangup.aws.schema_checks import checked, fields_in, in_json, key_of
from hangup.aws.times import TimeCodec, Times, TimeUnit
from hangup.aws.values import Item, Values, count_in, number, start_of, string, text_in, time_in
from hangup.config import TABLE_SCHEMA
from hangup.core.connection import (
    Connection,
    EpochMs,
    InvalidTime,
    RecordedTime,
    TimeAttribute,
    is_epoch_ms,
)
from hangup.core.limits import MAX_CONNECTION_S
from hangup.errors import ConfigurationError

_TTL_SLACK_S: Final = 3_600
_READ_BY_SWEEPS: Final = (
    "connection_id",
    "session_id",
    "role",
    "connected_at",
    "last_activity",
    "gateway_active",
    "noticed_at",
    "handovers",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSchema:
    """The attributes of a connections table by what they mean, each with its name in the table.

    ``connection_id`` is a text: ``id_prefix`` and the id. ``key_attributes`` are names and types
    (S, N or B) of the table's key, the partition key first; without any it is ``connection_id``.
    ``session_id``, ``role`` and the application's two times may be None: the table has none. A time
    is in ``ms``, ``s`` or ``iso8601``, and may be some seconds ahead: a TTL that is set to five
    minutes after each message is a ``last_activity`` with an offset of 300.

    Items that do not meet every condition in ``only`` are not of this deployment: they are never
    written. What is read is the table, or its ``index``; with a ``partition``, that alone. An index
    must project all attributes, and the sort key of one that is read by partition must not be an
    attribute that is named here, except ``connection_id``.

    A sweep writes ``gateway_active``, ``noticed_at``, ``handovers`` and the claim, in milliseconds.
    Recording activity writes ``last_activity``; the others are written only when a connection joins
    the reference application. Raises ``ConfigurationError``, which names the field and the fix.
    """

    connection_id: str = "connectionId"
    id_prefix: str = ""
    key_attributes: tuple[tuple[str, str], ...] = ()
    session_id: str | None = "sessionId"
    role: str | None = "role"
    session_run: str = "sessionRun"
    connected_at: str | None = "connectedAt"
    connected_at_unit: TimeUnit = TimeUnit.MILLISECONDS
    connected_at_offset_s: int = 0
    last_activity: str | None = "lastActivityTime"
    last_activity_unit: TimeUnit = TimeUnit.MILLISECONDS
    last_activity_offset_s: int = 0
    gateway_active: str = "gatewayActiveAt"
    noticed_at: str = "noticedAt"
    handovers: str = "handovers"
    claim_expires_at: str = "claimExpiresAt"
    claim_token: str = "claimToken"  # noqa: S105 - a name
    expires_at: str = "expiresAt"
    target_language: str = "targetLanguage"
    only: tuple[Condition, ...] = ()
    index: str | None = None
    partition: Condition | None = None

    # Worked out from the fields above, for ``aws.table_requests``.
    aliases: Mapping[str, str] = field(init=False, repr=False, compare=False)
    """What stands in expressions for attributes that have no field here."""
    table_key: TableKey = field(init=False, repr=False, compare=False)
    _hash: int = field(init=False, repr=False, compare=False)
    selection: Selection = field(init=False, repr=False, compare=False)
    times: Times = field(init=False, repr=False, compare=False)
    swept: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Check what was given, and work out what each request needs."""
        given = checked({name: getattr(self, name) for name in _FIELDS})
        for name, value in given.items():
            object.__setattr__(self, name, value)
        key = key_of(self.key_attributes, self.connection_id)
        selection = Selection(
            id_attribute=self.connection_id,
            id_prefix=self.id_prefix,
            key_names=[name for name, _ in key],
            only=self.only,
            index=self.index,
            partition=self.partition,
        )
        table_key = TableKey(
            key,
            id_attribute=self.connection_id,
            id_prefix=self.id_prefix,
            known=selection.known,
        )
        read = {one: name for one in _READ_BY_SWEEPS if (name := getattr(self, one)) is not None}
        # DynamoDB refuses to return an attribute twice.
        others = [name for name, _ in key if name not in read.values()]
        keys = {f"key_{place}": name for place, name in enumerate(others)}
        worked_out = {
            "aliases": selection.names | keys,
            "table_key": table_key,
            # Made once: it is asked for at each request.
            "_hash": hash(tuple(given.values())),
            "selection": selection,
            "times": Times(
                activity=TimeCodec(
                    self.last_activity_unit, self.last_activity_offset_s, self.last_activity
                ),
                connect=TimeCodec(
                    self.connected_at_unit, self.connected_at_offset_s, self.connected_at
                ),
            ),
            "swept": ", ".join(f"#{one}" for one in (*read, *keys)),
        }
        for name, value in worked_out.items():
            object.__setattr__(self, name, value)

    def __hash__(self) -> int:
        """Return the same for equal schemas."""
        return self._hash

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return the schema in its JSON, which leaves out what is as in the reference."""
        return cls(**fields_in(text, _FIELDS))

    def as_json(self) -> str:
        """Return what differs from the reference application, as JSON of up to 2,048 bytes."""
        return in_json(
            {
                one: value
                for one in _FIELDS
                if (value := getattr(self, one)) != getattr(DEFAULT_SCHEMA, one)
            }
        )

    @property
    def records_decide(self) -> bool:
        """Whether the one record of a connection shows when its client was last active.

        It needs the time of the connect as well: without it, what ``$connect`` writes looks like
        recorded activity, and hides that none is recorded.
        """
        return (
            self.table_key.follows_from_id
            and self.connected_at is not None
            and self.last_activity is not None
        )

    @property
    def own_attributes(self) -> Sequence[str]:
        """The attributes that a sweep writes, as they are called in the table."""
        return [getattr(self, one) for one in OWN]

    # -- items ---------------------------------------------------------------------------------

    def key(self, connection_id: str) -> Values:
        """Return the key of a connection's item. Raises as ``TableKey.of_id`` does."""
        return self.table_key.of_id(connection_id)

    def names_id(self, item: Item) -> bool:
        """Return whether an item names a connection."""
        text = text_in(item, self.connection_id)
        return text is not None and text.startswith(self.id_prefix)

    def matches(self, item: Item) -> bool:
        """Return whether an item is a connection of this deployment."""
        return self.names_id(item) and self.selection.holds_for(item)

    def decode(self, item: Item) -> Connection:
        """Return the connection in an item of any shape that names one, else KeyError."""
        times = self.times
        connected_at_ms = times.connect.in_item(item)
        last_activity_ms = times.activity.in_item(item)
        return Connection(
            connection_id=item[self.connection_id]["S"].removeprefix(self.id_prefix),
            session_id=self.session_id and text_in(item, self.session_id),
            role=self.role and text_in(item, self.role),
            session_run=text_in(item, self.session_run),
            connected_at_ms=connected_at_ms,
            last_activity_ms=last_activity_ms,
            gateway_active_ms=time_in(item, self.gateway_active),
            noticed_at_ms=time_in(item, self.noticed_at),
            handovers=count_in(item, self.handovers),
            target_language=text_in(item, self.target_language),
            malformed=self._malformed(item, connected_at_ms, last_activity_ms)
            if (connected_at_ms is None and self.connected_at in item)
            or (last_activity_ms is None and self.last_activity in item)
            else (),
            key=self.table_key.in_item(item),
            recorded_as=times.recorded_text(item, last_activity_ms),
        )

    def _malformed(self, item: Item, *times_ms: EpochMs | None) -> tuple[InvalidTime, ...]:
        times = (RecordedTime.CONNECTED_AT, RecordedTime.LAST_ACTIVITY)
        names = (self.connected_at, self.last_activity)
        return tuple(
            InvalidTime(time, start_of(item[name]))
            for time, name, time_ms in zip(times, names, times_ms, strict=True)
            if time_ms is None and name is not None and name in item
        )

    def decode_claim(self, item: Item) -> EpochMs | None:
        """Return when the claim in an item expires, ``None`` if there is none that is a time."""
        try:
            expires_ms = int(Decimal(item[self.claim_expires_at]["N"]))
        except (KeyError, InvalidOperation):
            return None
        return EpochMs(expires_ms) if is_epoch_ms(expires_ms) else None

    def encode(self, connection: Connection) -> Values:
        """Return the item of a connection that has just joined: ``connected_at_ms`` is set."""
        connected_at_ms = connection.connected_at_ms
        assert connected_at_ms is not None  # noqa: S101 - the type cannot say it
        texts = {
            self.session_id: connection.session_id,
            self.role: connection.role,
            self.session_run: connection.session_run,
            self.target_language: connection.target_language,
        }
        return {
            **self.selection.known,
            **self.key(connection.connection_id),
            **{name: string(text) for name, text in texts.items() if name and text is not None},
            **self.times.encoded(connected_at_ms, connection.last_activity_ms or connected_at_ms),
            self.expires_at: number(connected_at_ms // 1000 + MAX_CONNECTION_S + _TTL_SLACK_S),
        }

    def time_attribute(self, time: RecordedTime) -> TimeAttribute:
        """Return what the table calls a time, and how it is written; the name may be empty."""
        name, unit = {
            RecordedTime.CONNECTED_AT: (self.connected_at, self.connected_at_unit),
            RecordedTime.LAST_ACTIVITY: (self.last_activity, self.last_activity_unit),
            RecordedTime.GATEWAY_ACTIVE: (self.gateway_active, TimeUnit.MILLISECONDS),
        }[time]
        return TimeAttribute(name or "", unit.in_words)


_FIELDS: Final = tuple(one.name for one in fields(TableSchema) if one.init)

DEFAULT_SCHEMA: Final = TableSchema()
"""The table of the reference application."""


def schema_of(variable: str | None) -> TableSchema:
    """Return the schema in ``TABLE_SCHEMA``, the default if that is not set.

    Raises ``ConfigurationError``.
    """
    if variable is None:
        return DEFAULT_SCHEMA
    try:
        return TableSchema.from_json(variable)
    except ConfigurationError as error:
        raise ConfigurationError(f"{TABLE_SCHEMA.name} is malformed: {error}") from None
