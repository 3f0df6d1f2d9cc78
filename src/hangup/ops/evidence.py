"""What ``hangup init`` goes by, and what it proposes. Pure: nothing is asked for here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from hangup.aws.values import Item
from hangup.core.connection import ConnectionInfo, EpochMs, NoConnection


class Confidence(StrEnum):
    """How certain a proposal is."""

    SURE = "sure"
    LIKELY = "likely"
    UNSURE = "unsure"


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A setting for ``hangup.toml``, by its dotted key.

    ``choices`` are all values that it may have where it is unsure; None among them stands for no
    value.
    """

    key: str
    value: object
    confidence: Confidence
    why: str
    choices: Sequence[object] = ()


def sure(key: str, value: object, why: str) -> Proposal:
    """Return a setting that is certain."""
    return Proposal(key=key, value=value, confidence=Confidence.SURE, why=why)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What was found of one table, and of the API whose connections may be in it.

    ``key`` are the names and types of the table's key, the partition key first, and ``ttl`` the
    attribute of its time to live. ``answers`` are what API Gateway said of some connections, by
    their ids.
    """

    key: Sequence[tuple[str, str]]
    ttl: str | None
    items: Sequence[Item]
    answers: Mapping[str, ConnectionInfo | NoConnection]
    api_id: str
    stage: str
    now_ms: EpochMs

    def knows(self, connection_id: str) -> bool:
        """Return whether API Gateway says that it has this connection."""
        return self.info(connection_id) is not None

    def info(self, connection_id: str) -> ConnectionInfo | None:
        """Return what API Gateway says of a connection that it has."""
        answer = self.answers.get(connection_id)
        return answer if isinstance(answer, ConnectionInfo) else None


def text_of(item: Item, name: str) -> str | None:
    """Return a string attribute, None for anything else."""
    return item.get(name, {}).get("S")


def how_many(some: int, of: int) -> str:
    """Return ``3 of 25``."""
    return f"{some} of {of}"


def by_count(count: int) -> Confidence:
    """Return how certain it is what holds for all of this many connections."""
    enough = 3
    return Confidence.SURE if count >= enough else Confidence.LIKELY
