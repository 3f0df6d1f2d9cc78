"""The key of a table whose records are connections: read from an item, or made from an id."""

from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from os import urandom
from typing import TYPE_CHECKING, Final

from hangup.aws.values import Item, Values, number, string
from hangup.core.connection import Connection, KeyPart
from hangup.errors import ConfigurationError

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.type_defs import UniversalAttributeValueTypeDef

_RANDOM_BYTES: Final = 9
_IN_WORDS: Final = {"S": "string", "N": "number", "B": "binary"}


class TableKey:
    """The attributes of a table's key.

    ``known`` are those whose value every connection has, since the schema says so. Where the id
    makes up the rest, a record is found by it. Else its key has to be read first. It is carried
    with each connection, and used as it was read.
    """

    def __init__(
        self,
        attributes: Sequence[tuple[str, str]],
        *,
        id_attribute: str,
        id_prefix: str,
        known: Values,
    ) -> None:
        self.attributes: Final = list(attributes)
        self._id_attribute: Final = id_attribute
        self._id_prefix: Final = id_prefix
        self._known: Final = known
        # Nothing to carry where the id says all of it.
        self.is_carried: Final = self.names != [id_attribute]
        self._unknown: Final = [
            name for name, _ in attributes if name != id_attribute and name not in known
        ]

    def __str__(self) -> str:
        """Return what the key must be, for people."""
        partition, *sort = (f"{name} ({_IN_WORDS[kind]})" for name, kind in self.attributes)
        rest = f"the sort key {sort[0]}" if sort else "no sort key"
        return f"partition key {partition} and {rest}"

    @property
    def names(self) -> Sequence[str]:
        """The names of the attributes, the partition key first."""
        return [name for name, _ in self.attributes]

    @property
    def has_id(self) -> bool:
        """Whether the id is in the key: else another connection may take its item over."""
        return any(name == self._id_attribute for name, _ in self.attributes)

    @property
    def follows_from_id(self) -> bool:
        """Whether a connection has one record, which is found by its id."""
        return self.has_id and not self._unknown

    def of_id(self, connection_id: str) -> Values:
        """Return the key of a connection's record. Raises ``ConfigurationError`` without one."""
        if not self.follows_from_id:
            missing = ", ".join(self._unknown) or self._id_attribute
            raise ConfigurationError(
                f"no record is found by its id alone, as the table schema does not say {missing}:"
                " record activity where the key is known, or say in `only` what it equals"
            )
        the_id = {self._id_attribute: string(f"{self._id_prefix}{connection_id}")}
        if not self.is_carried:
            return the_id
        return {name: (the_id.get(name) or self._known[name]) for name, _ in self.attributes}

    def of(self, connection: Connection) -> Values:
        """Return the key of a connection's record, as it was read."""
        if not connection.key:
            return self.of_id(connection.connection_id)
        return {
            name: {"B": b64decode(text)} if kind == "B" else _value(kind, text)
            for name, kind, text in connection.key
        }

    def in_item(self, item: Item) -> tuple[KeyPart, ...]:
        """Return what to carry of an item: nothing where the id says it all."""
        if not self.is_carried:
            return ()
        return tuple([_part(name, kind, item[name]) for name, kind in self.attributes])

    def anywhere(self) -> Values:
        """Return a key from which on to read: it need not be that of an item."""
        return {
            name: self._known.get(name) or self._any(name, kind) for name, kind in self.attributes
        }

    def _any(self, name: str, kind: str) -> "UniversalAttributeValueTypeDef":
        random = urandom(_RANDOM_BYTES)
        if kind == "B":
            return {"B": random}
        if kind == "N":
            return number(int.from_bytes(random))
        # Like an id of API Gateway's: in a partition, the place is by the text.
        prefix = self._id_prefix if name == self._id_attribute else ""
        return string(f"{prefix}{b64encode(random).decode()}")


def _part(name: str, kind: str, value: Mapping[str, object]) -> KeyPart:
    held = value[kind]
    # botocore reads bytes, our own client the base64 that is on the wire.
    return KeyPart(name, kind, b64encode(held).decode() if isinstance(held, bytes) else str(held))


def _value(kind: str, text: str) -> "UniversalAttributeValueTypeDef":
    return {"N": text} if kind == "N" else string(text)
