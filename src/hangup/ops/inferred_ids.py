"""Which attribute of a table holds the connection ids, as far as its items show it.

API Gateway's ids are 13 to 16 characters of base64 with ``=`` at the end. Emulators have 16
hexadecimal digits. Where API Gateway was asked, what it knows is an id whatever its form.
"""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from typing import Final, NamedTuple

from hangup.aws.values import Item
from hangup.core.events import is_connection_id
from hangup.ops.evidence import Confidence, Evidence, Proposal, by_count, how_many, sure, text_of

_WHOLE: Final = 16
_FORM: Final = re.compile(r"[A-Za-z0-9_+/-]{10,15}={1,2}|[0-9a-f]{16}", re.ASCII)
# A prefix ends with what is never in an id, such as "#".
_PREFIXED: Final = re.compile(rf"(.*[^A-Za-z0-9_=+/-])({_FORM.pattern})", re.ASCII | re.DOTALL)
_NAMED: Final = re.compile(r"(ws|web_?socket|socket|conn(ection)?|client)(_?id)?", re.IGNORECASE)
_AFTER_PREFIX: Final = "-_/"


class IdAttribute(NamedTuple):
    """An attribute that may hold the ids, the text before each, and the ids that it holds."""

    attribute: str
    prefix: str
    ids: Sequence[str]

    def id_in(self, item: Item) -> str | None:
        """Return what would be the id in an item; None where there is none."""
        text = text_of(item, self.attribute)
        if text is None or not text.startswith(self.prefix):
            return None
        return text.removeprefix(self.prefix)


def split(text: str) -> tuple[str, str] | None:
    """Return the prefix and the id in a text that looks like an id, None for any other."""
    if _FORM.fullmatch(text):
        return "", text
    found = _PREFIXED.fullmatch(text)
    if found:
        return found[1], found[2]
    # What may be in an id as well ends a prefix only where a whole id follows.
    prefix, rest = text[:-_WHOLE], text[-_WHOLE:]
    if prefix.endswith(tuple(_AFTER_PREFIX)) and _FORM.fullmatch(rest):
        return prefix, rest
    return None


def id_attributes(items: Iterable[Item], key: Sequence[tuple[str, str]]) -> list[IdAttribute]:
    """Return the attributes that may hold the ids, the likeliest first."""
    found: defaultdict[tuple[str, str], dict[str, None]] = defaultdict(dict)
    for item in items:
        for name, value in item.items():
            parts = split(value.get("S", ""))
            if parts is not None:
                found[name, parts[0]][parts[1]] = None
    names = [name for name, _ in key]
    candidates = (IdAttribute(name, prefix, list(ids)) for (name, prefix), ids in found.items())
    return sorted(candidates, key=lambda one: _rank(one, names, ()))


def best(candidates: Iterable[IdAttribute], evidence: Evidence) -> IdAttribute | None:
    """Return the one that holds the ids, by what API Gateway knows of them; None without any."""
    names = [name for name, _ in evidence.key]
    known = {an_id for an_id in evidence.answers if evidence.knows(an_id)}
    return min(candidates, key=lambda one: _rank(one, names, known), default=None)


def _rank(
    one: IdAttribute, key: Sequence[str], known: Collection[str]
) -> tuple[int, bool, int, bool, int, str, str]:
    """Return what sorts the likeliest attribute first."""
    place = key.index(one.attribute) if one.attribute in key else len(key)
    return (
        -len([an_id for an_id in one.ids if an_id in known]),
        not any("=" in an_id for an_id in one.ids),  # hexadecimal digits may be something else
        place,
        _NAMED.fullmatch(one.attribute) is None,
        -len(one.ids),
        one.attribute,
        one.prefix,
    )


class Records(NamedTuple):
    """The items of a table by what they are.

    ``connections`` are records of connections: those that API Gateway knows, or where it knows
    none, those whose id looks like one. ``gone`` look like records, and it does not know them.
    ``others`` have another text where the id should be.
    """

    connections: Sequence[Item]
    gone: Sequence[Item]
    others: Sequence[Item]
    known: int

    @classmethod
    def of(cls, found: IdAttribute, evidence: Evidence) -> "Records":
        """Tell the items apart that have the attribute with the prefix."""
        known, looking, others = [], [], []
        for item in evidence.items:
            an_id = found.id_in(item)
            if an_id is None:
                continue
            if evidence.knows(an_id):
                known.append(item)
            elif split(an_id) == ("", an_id):
                looking.append(item)
            elif is_connection_id(an_id):
                others.append(item)
        if not known:
            return cls(looking, [], others, 0)
        return cls(known, looking, others, len({found.id_in(item) for item in known}))


def proposals(found: IdAttribute, records: Records, evidence: Evidence) -> list[Proposal]:
    """Return the settings that say where the ids are."""
    some = how_many(len(records.connections) + len(records.gone), len(evidence.items))
    why = f"`{found.attribute}`: {some} items have what looks like an id there"
    if records.known:
        why += f"; API Gateway knows {records.known} of these connections"
    confidence = Confidence.SURE if records.known else by_count(len(found.ids))
    proposed = [
        Proposal(key="table.connection_id", value=found.attribute, confidence=confidence, why=why)
    ]
    if found.prefix:
        proposed.append(
            Proposal(
                key="table.id_prefix",
                value=found.prefix,
                confidence=confidence,
                why=f"`{found.attribute}` begins with {found.prefix!r} in front of the id",
            )
        )
    return proposed


def proposals_without_items(evidence: Evidence) -> list[Proposal]:
    """Return what the names of attributes say where no item has what looks like an id."""
    strings = dict.fromkeys(name for name, kind in evidence.key if kind == "S")
    strings |= dict.fromkeys(
        name for item in evidence.items for name, value in item.items() if "S" in value
    )
    named = next(filter(_NAMED.fullmatch, strings), None)
    nothing = "no item has what looks like an id" if evidence.items else "the table is empty"
    confidence = Confidence.UNSURE
    why = f"`{named}`: by its name alone, because {nothing}"
    if named is None:
        why = f"{nothing}, or is named so; connect a client, and run this again"
    elif named in {name for name, _ in evidence.key}:
        confidence = Confidence.LIKELY
    return [
        Proposal(
            key="table.connection_id",
            value=named,
            confidence=confidence,
            why=why,
            choices=list(strings),
        )
    ]


def key_proposals(attribute: object, evidence: Evidence) -> list[Proposal]:
    """Return the table's key, where it is not the id alone."""
    if list(evidence.key) == [(attribute, "S")]:
        return []
    value = [{"attribute": name, "type": kind} for name, kind in evidence.key]
    return [sure("table.key", value, "the table's own description")]
