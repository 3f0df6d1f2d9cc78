"""What ``hangup.toml`` should say of a table, by its description and a page of its items."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from hangup.aws.discovery import FoundFunction, FoundTable
from hangup.aws.values import Item
from hangup.core.hand_over import HandOver
from hangup.core.limits import MAX_ROLES
from hangup.ops import inferred_filter, inferred_times
from hangup.ops.evidence import Confidence, Evidence, Proposal, by_count, how_many, sure, text_of
from hangup.ops.inferred_ids import (
    IdAttribute,
    Records,
    best,
    id_attributes,
    key_proposals,
    proposals,
    proposals_without_items,
)
from hangup.variables import is_role

_SESSION: Final = re.compile(
    r"(session|room|channel|chat|game|lobby|meeting|conversation|document|topic|group)"
    r"(_?(id|name))?",
    re.IGNORECASE,
)
_ROLE: Final = re.compile(r"(user_?|client_?|participant_?)?(role|kind|type)", re.IGNORECASE)


class Inferred(NamedTuple):
    """What is proposed for a table, and how many of its items are connections of the deployment."""

    proposals: Sequence[Proposal]
    connections: int
    known: int
    """How many of these API Gateway knows."""


def infer(evidence: Evidence, table: FoundTable, disconnect: FoundFunction | None) -> Inferred:
    """Return the settings of ``[table]`` and ``[timeout]``, in the order of the file."""
    ids = best(id_attributes(evidence.items, evidence.key), evidence)
    connections: Sequence[Item] = ()
    known = 0
    if ids is None:
        proposed = proposals_without_items(evidence)
        attribute = proposed[0].value
        proposed += key_proposals(attribute, evidence)
    else:
        attribute = ids.attribute
        records = Records.of(ids, evidence)
        told = inferred_filter.infer(ids, records, evidence)
        connections, known = told.connections, records.known
        proposed = [
            *proposals(ids, records, evidence),
            *key_proposals(attribute, evidence),
            *inferred_times.infer(ids, connections, evidence),
            *_labels(ids, connections, told),
            *told.proposals(),
        ]
    proposed += _of_table(table)
    proposed.append(_activity(proposed))
    is_in_key = attribute in {name for name, _ in evidence.key}
    proposed.append(_hand_over(disconnect, is_in_key=is_in_key))
    return Inferred(proposed, len(connections), known)


def settled(proposals: Sequence[Proposal], answers: Mapping[str, object]) -> list[Proposal]:
    """Return proposals with what was answered about the unsure ones, by their keys.

    None as an answer stands for no value: the setting is left out.
    """
    changed = {
        one.key: sure(one.key, answers[one.key], "as answered") if one.key in answers else one
        for one in proposals
        if answers.get(one.key, one) is not None
    }
    if inferred_times.LAST_ACTIVITY in answers:
        changed["timeout.activity"] = _activity(changed.values())
    return list(changed.values())


def _labels(
    ids: IdAttribute, connections: Sequence[Item], told: inferred_filter.Filter
) -> list[Proposal]:
    """Return which attributes hold the session and the role of a connection, by their names."""
    taken = {ids.attribute, *(one.condition.attribute for one in told.found)}
    names = sorted({name for item in connections for name in item} - taken)
    proposed = []
    for key, pattern, most in (
        ("table.session", _SESSION, None),
        ("table.role", _ROLE, MAX_ROLES),
    ):
        for name in filter(pattern.fullmatch, names):
            texts = [text for item in connections if (text := text_of(item, name)) is not None]
            is_many = most is not None and (len(set(texts)) > most or not all(map(is_role, texts)))
            if is_many or 2 * len(texts) <= len(connections):
                continue
            share = how_many(len(texts), len(connections))
            proposed.append(
                Proposal(
                    key=key,
                    value=name,
                    confidence=by_count(len(texts)),
                    why=f"`{name}`: a text in {share} records, by its name",
                )
            )
            break
    return proposed


def _of_table(table: FoundTable) -> list[Proposal]:
    """Return what the description of the table says."""
    found = (
        (
            "table.kms_key",
            table.kms_key,
            "the table is encrypted with this key; for AWS's own key the line can be left out",
        ),
        (
            "timeout.state_table",
            table.has_stream,
            "the table has a stream: what reads it would see each write",
        ),
    )
    return [sure(key, value, why) for key, value, why in found if value]


def _activity(proposed: Iterable[Proposal]) -> Proposal:
    """Return where activity comes from: the records, if an attribute of theirs moves."""
    time = next((one for one in proposed if one.key == inferred_times.LAST_ACTIVITY), None)
    if time is not None and time.confidence is not Confidence.UNSURE:
        return Proposal(
            key="timeout.activity",
            value="recorded",
            confidence=time.confidence,
            why="your functions write when a client was last active",
        )
    return Proposal(
        key="timeout.activity",
        value="gateway",
        confidence=Confidence.LIKELY if time else Confidence.SURE,
        why="no attribute shows when a client was last active, and API Gateway knows it",
    )


def _hand_over(disconnect: FoundFunction | None, *, is_in_key: bool) -> Proposal:
    """Return what becomes of a record, by who could remove it."""
    if disconnect is not None:
        rule, confidence = HandOver.IF_LEFT, Confidence.SURE
        why = (
            f"API Gateway calls {disconnect.name} after a close; Hangup calls it where the record"
            " is still there a minute later"
        )
    elif is_in_key:
        rule, confidence = HandOver.DELETE, Confidence.LIKELY
        why = "the API has no $disconnect function, so nobody else removes the record"
    else:
        rule, confidence = HandOver.NEVER, Confidence.SURE
        why = (
            "the API has no $disconnect function, and the id is not in the table's key: an item is"
            " more than a connection"
        )
    return Proposal(key="timeout.hand_over", value=str(rule), confidence=confidence, why=why)
