"""What is known of one connection: its records, API Gateway's account, and what was done about it.

It only reads. Log lines are those of Hangup's own functions, and of the reference application's.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

from hangup.core.connection import Connection, EpochMs
from hangup.core.events import is_connection_id
from hangup.core.guard import Seen, seen_of
from hangup.idle.guard import Answer, Confirmer
from hangup.ops.log_tail import LogEvent, in_order, in_words, object_in
from hangup.ops.next_sweep import NextSweep, Rules, next_sweep

MAX_CORRELATED: Final = 5
"""Sweeps and events whose lines are looked for, the latest: each takes a request for each log."""

_NAMES: Final = ("connectionId", "connectionIds", "records")
"""The fields of a log line that name connections."""


class Logs(Protocol):
    """The logs of some functions."""

    def events(self, *, since_ms: EpochMs, phrase: str = "") -> Iterable[LogEvent]:
        """Return what was stored since then and has the phrase. Raises ``BackendError``."""


class Records(Protocol):
    """The records of a deployment."""

    def records_of(self, connection_id: str) -> Sequence[tuple[Connection, EpochMs | None]]:
        """Return those of one connection, each with when the claim on it expires, if any.

        Raises ``BackendError``.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainedRecord:
    """A record, and what the next sweep would do about it."""

    connection: Connection
    next_sweep: NextSweep


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryLine:
    """A log line: when it was written, what it says in short, and its correlation id, if any."""

    at_ms: int
    words: str
    correlation_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """All that is known of one connection."""

    connection_id: str
    records: Sequence[ExplainedRecord]
    account: Answer
    history: Sequence[HistoryLine]

    @property
    def is_known(self) -> bool:
        """Whether anything at all is known of it."""
        return bool(self.records or self.account.info or self.history)

    @property
    def verdict(self) -> str:
        """What there is to say of it where it has no record."""
        seen = self.account.seen
        if self.account.info is not None:
            return (
                "It has no record, so no sweep sees it: the function of $connect did not write one,"
                " or it was removed."
            )
        if seen is Seen.NO_ANSWER:
            return f"It has no record, and API Gateway did not answer: {self.account.error}."
        if seen is Seen.INVALID:
            return "It has no record, and is not an id that API Gateway gives."
        if self.history:
            return "It is over: it has no record, and API Gateway does not know it."
        return "Nobody knows it: it has no record, and API Gateway does not know it."


def explain(  # noqa: PLR0913 - what an explanation needs
    connection_id: str,
    *,
    records: Records,
    confirmer: Confirmer,
    logs: Logs,
    rules: Rules,
    now_ms: EpochMs,
    since_ms: EpochMs,
) -> Explanation:
    """Return what is known of a connection, with its history since a time.

    Raises ``BackendError``; that API Gateway did not answer is part of the explanation.
    """
    found = records.records_of(connection_id)
    first = found[0][0] if found else Connection(connection_id=connection_id)
    account = confirmer.ask(first, silence_ms=rules.policy.timeout_ms(first.role))
    return Explanation(
        connection_id=connection_id,
        records=[
            ExplainedRecord(
                connection=connection,
                next_sweep=next_sweep(
                    connection,
                    claim_expires_ms,
                    _answer_for(connection, account, rules, now_ms),
                    rules,
                    now_ms=now_ms,
                ),
            )
            for connection, claim_expires_ms in found
        ],
        account=account,
        history=history_of(connection_id, logs, since_ms=since_ms),
    )


def _answer_for(connection: Connection, account: Answer, rules: Rules, now_ms: EpochMs) -> Answer:
    """Return what one answer about a connection means for one of its records."""
    if account.info is None:
        return account
    silence_ms = rules.policy.timeout_ms(connection.role)
    seen = seen_of(account.info, connection, silence_ms=silence_ms, now_ms=now_ms)
    return replace(account, seen=seen)


def history_of(connection_id: str, logs: Logs, *, since_ms: EpochMs) -> Sequence[HistoryLine]:
    """Return what the logs say of a connection since then, oldest first.

    These are the lines that name it, and those with the same correlation id that name nobody: what
    the sweep came to that closed it. Raises ``BackendError``.
    """
    if not is_connection_id(connection_id):
        return []
    naming = list(logs.events(since_ms=since_ms, phrase=connection_id))
    correlated = dict.fromkeys(
        one for _, text in reversed(in_order(naming)) if (one := _correlation_id(text)) is not None
    )
    events = dict.fromkeys(naming)
    for correlation_id in list(correlated)[:MAX_CORRELATED]:
        found = logs.events(since_ms=since_ms, phrase=correlation_id)
        events |= dict.fromkeys(one for one in found if _names_nobody(one[2]))
    return [
        HistoryLine(at_ms=at_ms, words=words, correlation_id=_correlation_id(text))
        for at_ms, text in in_order(sorted(events, key=lambda event: event[0]))
        if (words := in_words(text)) is not None
    ]


def _correlation_id(text: str) -> str | None:
    found = object_in(text).get("correlation_id")
    return found if isinstance(found, str) and found and '"' not in found else None


def _names_nobody(text: str) -> bool:
    line = object_in(text)
    return bool(line) and not any(name in line for name in _NAMES)
