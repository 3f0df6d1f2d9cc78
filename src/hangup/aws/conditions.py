"""Which items of a table are connections of this deployment: the ``only`` of a ``TableSchema``."""

from collections.abc import Collection, Sequence
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from hangup.aws.expressions import EXISTS, IS_SAME_ID, IS_TEXT, all_of
from hangup.aws.values import Item, Values, string

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.type_defs import UniversalAttributeValueTypeDef


TEXT_TYPE: Final[Values] = {":text": {"S": "S"}}


class Rule(StrEnum):
    """What is said of an attribute."""

    BEGINS_WITH = "begins_with"
    EXISTS = "attribute_exists"
    EQUALS = "equals"


class Condition(NamedTuple):
    """One condition on an item. ``value`` is what it begins with, or equals; None where it exists.

    Make one with ``begins_with``, ``attribute_exists`` or ``equals``.
    """

    rule: Rule
    attribute: str
    value: str | int | None = None

    def as_expression(self, alias: str, value: str) -> str:
        """Return the condition for DynamoDB, in an alias and a placeholder."""
        return _EXPRESSIONS[self.rule].format(alias=alias, value=value)

    def as_value(self) -> "UniversalAttributeValueTypeDef":
        """Return what the placeholder stands for; there must be a value."""
        if isinstance(self.value, bool):
            return {"BOOL": self.value}
        return {"N": str(self.value)} if isinstance(self.value, int) else string(self.value or "")

    def holds_for(self, item: Item) -> bool:
        """Return whether an item is so, as DynamoDB compares."""
        held = item.get(self.attribute)
        if held is None or self.rule is Rule.EXISTS:
            return held is not None
        if self.rule is Rule.BEGINS_WITH:
            return held.get("S", "").startswith(str(self.value)) and "S" in held
        if "N" in held:
            is_number = isinstance(self.value, int) and not isinstance(self.value, bool)
            return is_number and Decimal(held["N"]) == self.value
        return held == self.as_value()

    def excludes(self, other: "Condition") -> bool:
        """Return whether no item can meet both."""
        if self.attribute != other.attribute or Rule.EXISTS in (self.rule, other.rule):
            return False
        if self.rule is other.rule is Rule.EQUALS:
            return self.as_value() != other.as_value()
        if not (isinstance(self.value, str) and isinstance(other.value, str)):
            return True
        if self.rule is Rule.EQUALS:
            return not self.value.startswith(other.value)
        if other.rule is Rule.EQUALS:
            return not other.value.startswith(self.value)
        return not (self.value.startswith(other.value) or other.value.startswith(self.value))


_EXPRESSIONS: Final = {
    Rule.BEGINS_WITH: "begins_with({alias}, {value})",
    Rule.EXISTS: "attribute_exists({alias})",
    Rule.EQUALS: "{alias} = {value}",
}


def begins_with(attribute: str, prefix: str) -> Condition:
    """Only items in which this attribute is a text that begins so."""
    return Condition(Rule.BEGINS_WITH, attribute, prefix)


def attribute_exists(attribute: str) -> Condition:
    """Only items that have this attribute, whatever it holds."""
    return Condition(Rule.EXISTS, attribute)


def equals(attribute: str, value: str | int) -> Condition:
    """Only items in which this attribute is this text, whole number or truth value."""
    return Condition(Rule.EQUALS, attribute, value)


class Selection:
    """Which items are read, and which may be written, of one table.

    Reads have ``key_condition`` (empty: a scan) and ``filter`` (empty: all), with ``values``.
    Writes have ``is_ours`` with ``write_values`` and, where ``needs_id``, the id as ``:id``; what
    a key says needs no condition in a write. ``names`` are the aliases of them all.

    An item may have been a connection and have lost its id, where ``needs_id``, or have dropped out
    of the index: it meets ``filter_but_id`` and, in a write, ``is_selected`` with
    ``selected_values``. ``names_id``, which has ``id_values``, says that it still has its id.
    """

    def __init__(  # noqa: PLR0913 - fields of TableSchema
        self,
        *,
        id_attribute: str,
        id_prefix: str,
        key_names: Sequence[str],
        only: Sequence[Condition],
        index: str | None,
        partition: Condition | None,
    ) -> None:
        terms = [_Term(f"only_{place}", condition) for place, condition in enumerate(only)]
        self.needs_id: Final = id_attribute not in key_names
        written = [term for term in terms if term.condition.attribute not in key_names]
        self.is_selected: Final = all_of(*(term.expression for term in written))
        self.selected_values: Final = _values_of(written)
        if partition is not None and index is not None:
            written.append(_Term("partition", partition))
        self.is_ours: Final = all_of(
            IS_SAME_ID if self.needs_id else EXISTS, *(term.expression for term in written)
        )
        self.write_values: Final = _values_of(written)
        of_id = _Term("id_prefix", begins_with(id_attribute, id_prefix))
        self.names_id: Final = of_id.expression if id_prefix else IS_TEXT
        self.id_values: Final = _values_of([of_id]) if id_prefix else TEXT_TYPE
        keyed, is_text = [], ""
        if index is None or partition is None:
            # The id may be the sort key of an index, and then there is no filter on it.
            if id_prefix:
                terms.append(of_id)
            elif self.needs_id:
                is_text = IS_TEXT
        if partition is not None:
            # A query takes no filter on what is in the key that it goes by.
            keys = {partition.attribute, *(key_names if index is None else ())}
            keyed = [_Term("partition", partition)]
            keyed += [term for term in terms if _is_of_sort_key(term.condition, keys, partition)]
            terms = [term for term in terms if term.condition.attribute not in keys]
        self.has_sort_term: Final = len(keyed) > 1
        """Whether a query says something of the sort key too."""
        self.key_condition: Final = all_of(*(term.expression for term in keyed))
        self.filter: Final = all_of(*(term.expression for term in terms), is_text)
        self.filter_but_id: Final = all_of(*(one.expression for one in terms if one is not of_id))
        self.values: Final = _values_of([*keyed, *terms]) | (TEXT_TYPE if is_text else {})
        self.names: Final = {
            term.name: term.condition.attribute for term in (*keyed, *terms, *written, of_id)
        }
        every = [*only, *([partition] if partition is not None and index is None else [])]
        self.known: Final = {
            one.attribute: one.as_value() for one in every if one.rule is Rule.EQUALS
        }
        """The attributes whose value is the same in every item of this deployment."""
        self._every: Final = [*only, *([] if partition is None else [partition])]

    def excludes(self, other: "Selection") -> bool:
        """Return whether it is certain that no item is selected by both."""
        return any(one.excludes(two) for one in self._every for two in other._every)  # noqa: SLF001 - its own class

    def holds_for(self, item: Item) -> bool:
        """Return whether all conditions hold for an item, and it is in the partition."""
        return all(condition.holds_for(item) for condition in self._every)


def _is_of_sort_key(condition: Condition, keys: Collection[str], partition: Condition) -> bool:
    return (
        condition.attribute in keys
        and condition.attribute != partition.attribute
        and condition.rule is not Rule.EXISTS
    )


class _Term(NamedTuple):
    """A condition, and what its alias and its placeholder are called."""

    name: str
    condition: Condition

    @property
    def expression(self) -> str:
        return self.condition.as_expression(f"#{self.name}", f":{self.name}")


def _values_of(terms: Sequence[_Term]) -> Values:
    return {
        f":{term.name}": term.condition.as_value()
        for term in terms
        if term.condition.rule is not Rule.EXISTS
    }
