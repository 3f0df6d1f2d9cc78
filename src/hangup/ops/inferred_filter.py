"""Which items are connections of this deployment: the conditions ``only``, as the items show them.

1. An attribute that holds the stage or the API, where several may share a table.
2. A part of the key that is the same in all connections (``pk = "CONNECTIONS"``), or that names the
   kind of an item, where a connection has several (``sk = "META"``).
3. What connections have and other items with the same form of key have not.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from hangup.aws.conditions import Condition, Rule, attribute_exists, equals
from hangup.aws.values import Item
from hangup.ops.evidence import Confidence, Evidence, Proposal, by_count, how_many, text_of
from hangup.ops.inferred_ids import IdAttribute, Records

_STAGES: Final = re.compile(r"(api_?)?(stage|env|environment)(_?name)?", re.IGNORECASE)
_GENERIC: Final = re.compile(
    r"(pk|sk|hk|rk|(gsi|lsi)\d*_?(pk|sk)|partition_?key|sort_?key|hash_?key|range_?key"
    r"|kind|type|entity|entity_?type|item_?type|record_?type)",
    re.IGNORECASE,
)
"""Names of attributes that say nothing of what they hold: what is the same in all tells a kind."""

_CAPITALS: Final = re.compile(r"[#$@]?[A-Z][A-Z0-9_#:.-]*")
_LONG_NUMBER: Final = re.compile(r"\d{4}")
_MOST_KINDS: Final = 5
_NEARLY_ALL: Final = 0.8


class Found(NamedTuple):
    """A condition, how certain it is, and why."""

    condition: Condition
    confidence: Confidence
    why: str


class Filter(NamedTuple):
    """What tells connections of this deployment apart, and the items for which it holds."""

    found: Sequence[Found]
    connections: Sequence[Item]
    undecided: int
    """How many other items look the same as connections do."""

    def proposals(self) -> Sequence[Proposal]:
        """Return the setting; none where nothing has to be told apart."""
        why = "; ".join(one.why for one in self.found)
        value = [_as_setting(one.condition) for one in self.found]
        if self.undecided:
            more = (
                "1 item is not a connection, and nothing tells it apart"
                if self.undecided == 1
                else f"{self.undecided} items are not connections, and nothing tells them apart"
            )
            value = value or [{"attribute": "kind", "equals": "connection"}]
            why = f"{why}; {more}" if why else more
            confidence = Confidence.UNSURE
        elif all(one.confidence is Confidence.SURE for one in self.found):
            confidence = Confidence.SURE
        else:
            confidence = Confidence.LIKELY
        only = Proposal(key="table.only", value=value, confidence=confidence, why=why)
        return [only] if value else []


def infer(ids: IdAttribute, records: Records, evidence: Evidence) -> Filter:
    """Return what tells the connections of this deployment from the other items."""
    found: list[Found] = []
    connections = list(records.connections)
    for one in _of_deployment(connections, [*connections, *records.gone], ids, evidence):
        found.append(one)
        connections = _that_meet([one.condition], connections)
    names = [name for name, _ in evidence.key]
    if ids.attribute in names:
        for name in names:
            if name != ids.attribute and connections:
                kind = _kind(name, ids, connections, is_sort_key=name == names[-1])
                if kind is not None:
                    found.append(kind)
                    connections = _that_meet([kind.condition], connections)
    left = _that_meet([one.condition for one in found], records.others)
    if left and connections:
        told = _discriminator(ids, connections, left)
        if told is not None:
            found.append(told)
            left = []
    return Filter(found, connections, len(left))


def _of_deployment(
    connections: Sequence[Item], every: Sequence[Item], ids: IdAttribute, evidence: Evidence
) -> Iterable[Found]:
    """Yield what says of which stage, or of which API, a connection is."""
    place = f"{evidence.api_id}.execute-api."

    def is_place(name: str, text: str) -> bool:
        is_stage = text == evidence.stage and _STAGES.fullmatch(name) is not None
        return is_stage or text == evidence.api_id or text.startswith(place)

    for name in sorted({name for item in every for name in item} - {ids.attribute}):
        texts = Counter(text for item in every if (text := text_of(item, name)) is not None)
        ours = [text for text in texts if is_place(name, text)]
        here = [item for item in connections if text_of(item, name) in ours]
        if len(ours) == 1 and here:
            why = f"`{name}` is {ours[0]!r} in {how_many(texts[ours[0]], len(every))} records"
            confidence = Confidence.SURE if len(texts) > 1 else by_count(len(here))
            yield Found(equals(name, ours[0]), confidence, why)


def _kind(
    name: str, ids: IdAttribute, connections: Sequence[Item], *, is_sort_key: bool
) -> Found | None:
    """Return the condition on the part of the key that is not the id, if that tells a kind."""
    if _GENERIC.fullmatch(name) is None:
        return None  # a room, a user, a tenant: it may have other values tomorrow
    values: defaultdict[str, set[str | None]] = defaultdict(set)
    for item in connections:
        values[text_of(item, name) or ""].add(ids.id_in(item))
    if len(values) > _MOST_KINDS or not all(
        _is_kind(value, count=len(some)) for value, some in values.items()
    ):
        return None
    every = {an_id for some in values.values() for an_id in some}
    has_several = len(every) < sum(map(len, values.values()))
    # Some connections may be left over that do not have all of their items.
    most = max(map(len, values.values()))
    usual = [value for value, some in values.items() if len(some) >= _NEARLY_ALL * most]
    if len(usual) > 1 and not (has_several and is_sort_key):
        return None  # several kinds of connections
    value = max(usual, key=lambda one: (_size(name, one, connections), one))
    share = how_many(len(values[value]), len(every))
    confidence = by_count(len(values[value]))
    if len(usual) > 1:
        why = f"a connection has several items, and `{name}` is {value!r} in one of each ({share})"
    else:
        why = f"`{name}` is {value!r} in the records of {share} connections"
        if len(values) > 1:
            confidence = Confidence.LIKELY
    return Found(equals(name, value), confidence, why)


def _is_kind(value: str, *, count: int) -> bool:
    """Return whether a text that this many connections have names a kind of item."""
    if not value:
        return False  # a number or bytes
    return bool(_CAPITALS.fullmatch(value)) or count > 1 or not _LONG_NUMBER.search(value)


def _size(name: str, value: str, items: Iterable[Item]) -> int:
    """Return how many attributes the items of a kind have at most."""
    return max(len(item) for item in items if text_of(item, name) == value)


def _discriminator(
    ids: IdAttribute, connections: Sequence[Item], others: Sequence[Item]
) -> Found | None:
    """Return what all connections have, and none of the others."""
    shared = sorted(set.intersection(*(set(item) for item in connections)) - {ids.attribute})
    conditions = [
        *(_same(name, connections) for name in filter(_GENERIC.fullmatch, shared)),
        *map(attribute_exists, shared),
    ]
    for one in conditions:
        if one is not None and not any(map(one.holds_for, others)):
            why = (
                f"other items ({len(others)} of those read) have a text where the id is; all"
                f" connections have `{one.attribute}`, and they do not"
            )
            return Found(one, Confidence.LIKELY, why)
    return None


def _same(name: str, items: Sequence[Item]) -> Condition | None:
    text, *more = {text_of(item, name) for item in items}
    return equals(name, text) if text is not None and not more else None


def _that_meet(conditions: Sequence[Condition], items: Iterable[Item]) -> list[Item]:
    return [item for item in items if all(one.holds_for(item) for one in conditions)]


def _as_setting(condition: Condition) -> dict[str, object]:
    if condition.rule is Rule.EXISTS:
        return {"attribute": condition.attribute, "exists": True}
    return {"attribute": condition.attribute, str(condition.rule): condition.value}
