"""Each AWS operation under each fault: what happens, and that everything comes right."""

import asyncio
import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import product
from types import ModuleType
from typing import Any
from uuid import uuid4

import pytest

from hangup.core.connection import Connection, DurationMs, EpochMs
from hangup.core.scheduled_close import ScheduledClose, as_message
from hangup.errors import HangupError
from hangup.handlers import (
    close_handler,
    connect_handler,
    disconnect_handler,
    message_handler,
    timeout_handler,
)
from hangup.local.demo.clients import Client
from hangup.sessions.model import JoinOutcome, Role
from hangup.sessions.tokens import mint_join_token
from tests.support.faulty_stack import Site, event_of
from tests.support.lambda_process import start_cold
from tests.support.local_stack import eventually
from tests.support.outcomes import (
    CLEANUP,
    FAULTS,
    JOIN,
    LASTING,
    MESSAGE,
    OUTLASTING,
    QUEUE,
    RETRIED,
    SWEEP,
    Outcomes,
    fault_rule,
)

pytestmark = pytest.mark.integration

REFUSED = ("AccessDeniedException", "ServiceUnavailable")
UNCONFIRMED = "not confirmed, left to the next sweep"
UNHEARD = "closed all the same; "
LEFT_TO_THE_NEXT_SWEEP = {
    "claim failed": "not claimed, left to the next sweep",
    "close failed": "not closed, left to the next sweep",
    "hand-over failed": "closed, handed over by the next sweep",
    "page not read: the rest of its segment is skipped": "sweep fails, nobody is closed",
}
UNREAD = "session of a listener not read"
REFUSED_MESSAGE = {
    "UpdateItem": "message fails, no activity is recorded",
    "DeleteConnection": "message fails, orphan is closed at its next",
}


@pytest.fixture(scope="module")
def outcomes() -> Outcomes:
    return Outcomes()


@contextmanager
def fault(site: Site, operation: str, kind: str) -> Iterator[None]:
    """Have the operation fail within the block, and see that it did."""
    site.proxy.plan(fault_rule(operation, kind))
    yield
    met = [event["operation"] for event in site.proxy.faults()]
    assert met
    assert set(met) == {operation}
    assert kind in LASTING or len(met) == 1
    site.proxy.plan()


def logged(capsys: pytest.CaptureFixture[str]) -> list[Mapping[str, Any]]:
    """Return the log lines since the last look."""
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return [line for line in lines if "message" in line]


def answer_of(site: Site, handler: ModuleType, event: object) -> Any:
    """Return what a handler answers or raises."""
    try:
        return site.handle(handler, event)
    except HangupError as error:
        return error


def sweep(site: Site) -> Any:
    """Sweep; return the counts, or what it raised."""
    return answer_of(site, timeout_handler, {"id": "tick"})


def is_refused(answer: object) -> bool:
    """Say whether a handler raised an error of the proxy's; it may not raise anything else."""
    if not isinstance(answer, HangupError):
        return False
    assert any(code in str(answer) for code in REFUSED)
    return True


def seen_of_a_sweep(lines: list[Mapping[str, Any]], silent: Client) -> str:
    """Say what a sweep under a fault came to, by its own account and by the client's."""
    (report,) = [line for line in lines if "noticesFailed" in line]
    failures = [line["message"] for line in lines if line["message"] in LEFT_TO_THE_NEXT_SWEEP]
    if report["unconfirmed"]:
        return UNCONFIRMED
    if failures:
        (failure,) = failures
        return LEFT_TO_THE_NEXT_SWEEP[failure]
    assert report["closed"] + report["gone"] == 1
    assert not silent.is_open
    if report["noticesFailed"]:
        arrived = bool(silent.messages("connectionTimeout"))
        return UNHEARD + ("the notice arrives" if arrived else "the notice is lost")
    return RETRIED


@pytest.mark.parametrize(
    ("operation", "kind"),
    [*product(SWEEP, FAULTS), ("DeleteConnection", OUTLASTING), ("Invoke", OUTLASTING)],
)
def test_a_sweep(
    site: Site,
    outcomes: Outcomes,
    capsys: pytest.CaptureFixture[str],
    operation: str,
    kind: str,
) -> None:
    async def play() -> None:
        async with site.session(listeners=2) as (speaker, (silent, talking)):
            talking.talk()
            assert await talking.is_answered()
            records = [r for r in site.records(speaker.session_id) if r.role == Role.LISTENER]
            # The one that has not spoken since it joined.
            site.make_idle(min(records, key=lambda r: r.last_activity_ms or 0))
            logged(capsys)
            with fault(site, operation, kind):
                refused = is_refused(await asyncio.to_thread(sweep, site))
            lines = logged(capsys)
            if not refused and not any(line.get("unconfirmed") for line in lines):
                await silent.wait_closed()
            seen = seen_of_a_sweep(lines, silent)
            outcomes.saw(SWEEP[operation], kind, seen)
            # Lambda's own metric of errors, and its alarm, are to see what is left undone.
            assert refused is (seen in LEFT_TO_THE_NEXT_SWEEP.values())
            # A minute later, and nothing wrong any more.
            site.let_claims_expire()
            assert not is_refused(await asyncio.to_thread(sweep, site))
            await silent.wait_closed()
            assert len(silent.messages("connectionTimeout")) <= 1
            await eventually(lambda: site.listener_count(speaker.session_id) == 1)
            assert await talking.is_answered()
            assert await speaker.is_answered()
            assert len(site.records(speaker.session_id)) == 2
            assert (await asyncio.to_thread(site.check)).violations == ()

    asyncio.run(play())


@pytest.mark.parametrize("kind", FAULTS)
def test_a_hand_over_that_nobody_else_makes(site: Site, kind: str) -> None:
    """A closed connection is cleaned up by API Gateway's own event too; a ghost is not."""

    async def play() -> None:
        async with site.session(listeners=1) as (speaker, (listener,)):
            of_listener = site.record(speaker.session_id, Role.LISTENER)
            ghost = replace(of_listener, connection_id=uuid4().hex[:16])
            assert site.sessions.add(ghost) == ghost
            site.make_idle(ghost)
            with fault(site, "Invoke", kind):
                refused = is_refused(await asyncio.to_thread(sweep, site))
            if refused:
                site.let_claims_expire()
                assert not is_refused(await asyncio.to_thread(sweep, site))
            await eventually(lambda: site.connections.get(ghost.connection_id) is None)
            assert site.record(speaker.session_id, Role.LISTENER) == of_listener
            assert await listener.is_answered()

    asyncio.run(play())


@dataclass(frozen=True)
class DelayQueue:
    """A queue of the engine, and what Lambda does with it."""

    site: Site
    url: str

    def deliver(self) -> Sequence[str]:
        """Hand what the queue has now to the close function; return what is to come again."""
        queues = self.site.engine.client("sqs")
        received = queues.receive_message(QueueUrl=self.url, MaxNumberOfMessages=10)
        records = [
            {
                "messageId": message["MessageId"],
                "receiptHandle": message["ReceiptHandle"],
                "body": message["Body"],
            }
            for message in received.get("Messages", [])
        ]
        assert records
        answer = self.site.handle(close_handler, {"Records": records})
        return [failure["itemIdentifier"] for failure in answer["batchItemFailures"]]


@pytest.fixture
def queue(
    site: Site, kind: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> DelayQueue:
    name = re.sub("[^a-z0-9]+", "-", f"{request.function.__name__} {kind}")
    url = site.engine.client("sqs").create_queue(QueueName=name)["QueueUrl"]
    monkeypatch.setenv("CLOSE_QUEUE_URL", url)
    return DelayQueue(site, url)


@pytest.mark.parametrize("kind", FAULTS)
def test_a_sweep_that_queues(
    site: Site,
    outcomes: Outcomes,
    capsys: pytest.CaptureFixture[str],
    queue: DelayQueue,
    kind: str,
) -> None:
    async def play() -> None:
        async with site.session(listeners=1) as (speaker, (silent,)):
            site.make_idle(site.record(speaker.session_id, Role.LISTENER))
            logged(capsys)
            with fault(site, "SendMessageBatch", kind):
                answer = await asyncio.to_thread(sweep, site)
            failures = [line for line in logged(capsys) if line["message"] == "queueing failed"]
            assert is_refused(answer) == bool(failures)
            seen = "not queued, left to the next sweep" if failures else RETRIED
            outcomes.saw(QUEUE["SendMessageBatch"], kind, seen)
            if failures:
                answer = await asyncio.to_thread(sweep, site)
            assert answer["queued"] == 1
            # What was sent and not answered may be there twice: it is closed once.
            assert await asyncio.to_thread(queue.deliver) == []
            await silent.wait_closed()
            assert len(silent.messages("connectionTimeout")) == 1
            await eventually(lambda: site.listener_count(speaker.session_id) == 0)
            assert await speaker.is_answered()

    asyncio.run(play())


@pytest.mark.parametrize("kind", FAULTS)
def test_a_message_that_comes_early(
    site: Site,
    outcomes: Outcomes,
    capsys: pytest.CaptureFixture[str],
    queue: DelayQueue,
    kind: str,
) -> None:
    async def play() -> None:
        async with site.session(listeners=1) as (speaker, (talking,)):
            record = site.record(speaker.session_id, Role.LISTENER)
            assert record.last_seen_ms is not None
            body = as_message(
                ScheduledClose(
                    silence_ms=DurationMs(120_000),
                    judged_at_ms=EpochMs(1_700_000_000_000),
                    connection=record,
                    deadline_ms=EpochMs(record.last_seen_ms + 120_000),
                    correlation_id="tick",
                )
            )
            site.engine.client("sqs").send_message(QueueUrl=queue.url, MessageBody=body)
            logged(capsys)
            with fault(site, "ChangeMessageVisibility", kind):
                assert len(await asyncio.to_thread(queue.deliver)) == 1
            failures = [line for line in logged(capsys) if line["message"] == "not postponed"]
            seen = "comes again when the queue stops hiding it" if failures else RETRIED
            outcomes.saw(QUEUE["ChangeMessageVisibility"], kind, seen)
            assert await talking.is_answered()
            assert talking.messages("connectionTimeout") == []

    asyncio.run(play())


@pytest.mark.parametrize("kind", FAULTS)
@pytest.mark.parametrize("operation", CLEANUP)
def test_a_cleanup(
    site: Site,
    outcomes: Outcomes,
    capsys: pytest.CaptureFixture[str],
    operation: str,
    kind: str,
) -> None:
    async def play() -> None:
        async with site.session(listeners=2) as (speaker, listeners):
            event = event_of("$disconnect", site.record(speaker.session_id, Role.SPEAKER))
            logged(capsys)
            with fault(site, operation, kind):
                answer = await asyncio.to_thread(answer_of, site, disconnect_handler, event)
            untold = [line for line in logged(capsys) if line["message"] == "message failed"]
            if refused := is_refused(answer):
                # What Lambda does a minute later.
                await asyncio.to_thread(site.let_claims_expire)
                answer = await asyncio.to_thread(answer_of, site, disconnect_handler, event)
            assert answer == {"statusCode": 200}
            for listener in listeners:
                await listener.wait_closed()
                assert not listener.messages("connectionTimeout")
                assert len(listener.messages("sessionEnded")) <= 1 + refused
            told = all(listener.messages("sessionEnded") for listener in listeners)
            assert told or untold
            seen = "cleanup fails, repeated" if refused else RETRIED
            if untold:
                seen = UNHEARD + ("the message arrives" if told else "the message is lost")
            outcomes.saw(CLEANUP[operation], kind, seen)
            await eventually(lambda: site.listener_count(speaker.session_id) == 0)
            await eventually(lambda: site.records(speaker.session_id) == [])
            assert (await asyncio.to_thread(site.check)).violations == ()

    asyncio.run(play())


@pytest.mark.parametrize("kind", FAULTS)
@pytest.mark.parametrize("operation", JOIN)
def test_a_join(site: Site, outcomes: Outcomes, operation: str, kind: str) -> None:
    start_cold()  # a secret is kept for five minutes
    now_ms = EpochMs(time.time_ns() // 1_000_000)
    session_id = f"s{now_ms}"
    role = Role.LISTENER if operation in ("GetItem", "PutItem") else Role.SPEAKER
    others = []
    if role is Role.LISTENER:
        speaker = Connection(connection_id="there=", session_id=session_id, role=Role.SPEAKER)
        others = [replace(speaker, connected_at_ms=now_ms, last_activity_ms=now_ms)]
        assert site.sessions.start(others[0]) is JoinOutcome.JOINED
    joining = Connection(connection_id=f"c{now_ms}", session_id=session_id, role=role)
    query = {
        "sessionId": session_id,
        "role": str(role),
        "token": mint_join_token(
            session_id=session_id,
            role=role,
            secret=site.secret,
            now_ms=now_ms,
            lifetime_ms=DurationMs(60_000),
        ),
    }
    event = event_of("$connect", joining, queryStringParameters=query)
    with fault(site, operation, kind):
        answer = answer_of(site, connect_handler, event)
    if refused := is_refused(answer):
        assert site.records(session_id) == others
        assert others or site.sessions.get(session_id) is None
        answer = answer_of(site, connect_handler, event)
    outcomes.saw(JOIN[operation], kind, "join fails, nothing is written" if refused else RETRIED)
    assert answer == {"statusCode": 200}
    assert site.listener_count(session_id) == len(others)
    records = site.records(session_id)
    assert len(records) == 1 + len(others)
    if kind == "no answer in time":
        # Until the attempt that was given up is refused: it would write the record again.
        time.sleep(5)
    for record in records:
        if record.role == Role.SPEAKER:
            site.sessions.end(record, now_ms=now_ms, claim_expires_ms=now_ms)
        site.sessions.remove(record.connection_id)


@pytest.mark.parametrize("kind", FAULTS)
@pytest.mark.parametrize("operation", MESSAGE)
def test_a_message(
    site: Site,
    outcomes: Outcomes,
    capsys: pytest.CaptureFixture[str],
    operation: str,
    kind: str,
) -> None:
    async def play() -> None:
        async with site.session(listeners=1) as (speaker, (listener,)):
            record = site.record(speaker.session_id, Role.LISTENER)
            is_orphan = operation == "DeleteConnection"
            if is_orphan:
                site.sessions.remove(record.connection_id)
            else:
                site.make_idle(record)
            event = event_of("heartbeat", record, body='{"action": "heartbeat"}')
            logged(capsys)
            with fault(site, operation, kind):
                answer = await asyncio.to_thread(answer_of, site, message_handler, event)
            if refused := is_refused(answer):
                assert listener.is_open
                answer = await asyncio.to_thread(answer_of, site, message_handler, event)
            unread = [line for line in logged(capsys) if line["message"] == UNREAD]
            seen = "answered, session read a minute later" if unread else RETRIED
            if refused:
                seen = REFUSED_MESSAGE[operation]
            outcomes.saw(MESSAGE[operation], kind, seen)
            assert answer["statusCode"] == (410 if is_orphan else 200)
            if is_orphan:
                await listener.wait_closed()
            else:
                now = site.record(speaker.session_id, Role.LISTENER)
                assert (now.last_activity_ms or 0) > time.time() * 1000 - 30_000
                assert listener.is_open
            assert await speaker.is_answered()
            assert (await asyncio.to_thread(site.check)).violations == ()

    asyncio.run(play())


def test_the_documented_table_has_these_rows_and_columns(outcomes: Outcomes) -> None:
    outcomes.write()
