"""Each AWS operation under each fault: what happens, and that everything comes right."""

import asyncio
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from hangup.core.model import DurationMs, EpochMs, Role
from hangup.errors import HangupError
from hangup.handlers import (
    close_handler,
    connect_handler,
    disconnect_handler,
    timeout_handler,
)
from hangup.tokens import mint_join_token
from tests.faults.conftest import Site, disconnect_of
from tests.integration.conftest import eventually

pytestmark = pytest.mark.integration

SERVICES = {
    "Scan": "dynamodb",
    "UpdateItem": "dynamodb",
    "GetItem": "dynamodb",
    "Query": "dynamodb",
    "TransactWriteItems": "dynamodb",
    "GetConnection": "apigatewaymanagementapi",
    "PostToConnection": "apigatewaymanagementapi",
    "DeleteConnection": "apigatewaymanagementapi",
    "Invoke": "lambda",
    "GetSecretValue": "secretsmanager",
    "SendMessageBatch": "sqs",
}
THROTTLED = {
    "dynamodb": {"code": "ProvisionedThroughputExceededException", "status": 400},
    "apigatewaymanagementapi": {"code": "LimitExceededException", "status": 429},
    "lambda": {"code": "TooManyRequestsException", "status": 429},
    "secretsmanager": {"code": "ThrottlingException", "status": 400},
    "sqs": {"code": "RequestThrottled", "status": 400},
}
RETRIED = "tried again, succeeds"
FAULTS: dict[str, Mapping[str, Any]] = {
    "throttling": {},  # its code is the service's own
    "500": {"error": {"code": "InternalServerError", "status": 500}},
    "503": {"error": {"code": "ServiceUnavailable", "status": 503}},
    "no answer in time": {"latency": 3_500},
    "reset": {"reset": True},
    "403": {"error": {"code": "AccessDeniedException", "status": 403}},
}
REFUSED = {
    "Scan": "sweep fails, nobody is closed",
    "UpdateItem": "not claimed, left to the next sweep",
    "GetConnection": "guard holds the sweep",
    "PostToConnection": "notice fails, closed all the same",
    "DeleteConnection": "left to the next sweep",
    "Invoke": "closed, handed over by the next sweep",
    "GetItem": "cleanup fails, repeated",
    "Query": "cleanup fails, repeated",
    "TransactWriteItems": "cleanup fails, repeated",
    "GetSecretValue": "join fails, nothing is written",
    "SendMessageBatch": "not queued, left to the next sweep",
}
UNANSWERED = {"PostToConnection": "notice may be lost, closed all the same"}
SWEEP = ("Scan", "UpdateItem", "GetConnection", "PostToConnection", "DeleteConnection", "Invoke")
CLEANUP = ("GetItem", "Query", "TransactWriteItems")


def expected(operation: str, fault: str) -> str:
    if fault == "403":
        return REFUSED[operation]
    if fault in ("no answer in time", "reset"):
        return UNANSWERED.get(operation, RETRIED)
    return RETRIED


def plan(site: Site, operation: str, fault: str) -> None:
    service = SERVICES[operation]
    effect = FAULTS[fault] or {"error": THROTTLED[service]}
    # What is refused is refused as long as the policy is wrong; the rest passes.
    times = {} if fault == "403" else {"times": 1}
    site.proxy.plan({"service": service, "operation": operation, **effect, **times})


def sweep(site: Site) -> Mapping[str, Any] | HangupError:
    try:
        counts: Mapping[str, Any] = site.handle(timeout_handler, {"id": "tick"})
    except HangupError as error:
        return error
    return counts


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("operation", SWEEP)
def test_a_sweep(site: Site, operation: str, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    guarded = operation == "GetConnection"
    if guarded:
        # Every sweep is doubted, so the silence must be a real one.
        monkeypatch.setenv("GUARD_AT_LEAST", "1")
        monkeypatch.setenv("GUARD_SHARE_PERCENT", "1")
        monkeypatch.setenv("CONNECTION_IDLE_TIMEOUT_SECONDS", "2")

    async def play() -> None:
        async with site.session(listeners=2) as (speaker, (silent, talking)):
            talking.talk()
            assert await talking.is_answered()
            records = [r for r in site.records(speaker.session_id) if r.role is Role.LISTENER]
            if guarded:
                await asyncio.sleep(3.5)
            else:
                # The one that has not spoken since it joined.
                site.make_idle(min(records, key=lambda r: r.last_activity_ms or 0))
            plan(site, operation, fault)
            result = await asyncio.to_thread(sweep, site)
            site.proxy.plan()
            match expected(operation, fault):
                case "tried again, succeeds" | "notice may be lost, closed all the same":
                    assert not isinstance(result, HangupError), result
                    assert result["closed"] + result["gone"] == 1
                case "notice fails, closed all the same":
                    assert not isinstance(result, HangupError), result
                    assert (result["closed"], result["noticesFailed"]) == (1, 1)
                case "guard holds the sweep":
                    assert not isinstance(result, HangupError), result
                    assert (result["held"], result["closed"]) == (True, 0)
                case _:
                    assert isinstance(result, HangupError), result
            # A minute later, and nothing wrong any more.
            site.let_claims_expire()
            again = await asyncio.to_thread(sweep, site)
            assert not isinstance(again, HangupError), again
            await silent.wait_closed()
            assert len(silent.messages("connectionTimeout")) <= 1
            await eventually(lambda: site.listener_count(speaker.session_id) == 1)
            assert await talking.is_answered()
            assert await speaker.is_answered()

    asyncio.run(play())


@pytest.mark.parametrize("fault", FAULTS)
def test_a_sweep_that_queues(site: Site, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    queues = site.engine.client("sqs")
    url = queues.create_queue(QueueName=f"due-{fault.replace(' ', '-')}")["QueueUrl"]
    monkeypatch.setenv("DUE_QUEUE_URL", url)

    def deliver() -> None:
        """Do what Lambda does with what is in the queue."""
        received = queues.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
        records = [
            {
                "messageId": message["MessageId"],
                "receiptHandle": message["ReceiptHandle"],
                "body": message["Body"],
            }
            for message in received
        ]
        assert records
        answer = site.handle(close_handler, {"Records": records})
        assert answer == {"batchItemFailures": []}

    async def play() -> None:
        async with site.session(listeners=1) as (speaker, (silent,)):
            site.make_idle(site.record(speaker.session_id, Role.LISTENER))
            plan(site, "SendMessageBatch", fault)
            result = await asyncio.to_thread(sweep, site)
            if expected("SendMessageBatch", fault) == RETRIED:
                assert not isinstance(result, HangupError), result
                assert result["queued"] == 1
            else:
                assert isinstance(result, HangupError), result
                site.proxy.plan()
                again = await asyncio.to_thread(sweep, site)
                assert not isinstance(again, HangupError), again
            # What was sent and not answered may be there twice: it is closed once.
            await asyncio.to_thread(deliver)
            await silent.wait_closed()
            assert len(silent.messages("connectionTimeout")) == 1
            await eventually(lambda: site.listener_count(speaker.session_id) == 0)
            assert await speaker.is_answered()

    asyncio.run(play())


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("operation", CLEANUP)
def test_a_cleanup(site: Site, operation: str, fault: str) -> None:
    async def play() -> None:
        async with site.session(listeners=2) as (speaker, listeners):
            for listener in listeners:
                listener.talk()
            event = disconnect_of(site.record(speaker.session_id, Role.SPEAKER))
            plan(site, operation, fault)
            if expected(operation, fault) == RETRIED:
                answer = await asyncio.to_thread(site.handle, disconnect_handler, event)
                assert answer == {"statusCode": 200}
            else:
                with pytest.raises(HangupError, match="AccessDenied"):
                    await asyncio.to_thread(site.handle, disconnect_handler, event)
                site.proxy.plan()
                site.let_claims_expire()
                await asyncio.to_thread(site.handle, disconnect_handler, event)
            for listener in listeners:
                await listener.wait_closed()
                assert listener.messages("sessionEnded")
                assert not listener.messages("connectionTimeout")
            await eventually(lambda: site.listener_count(speaker.session_id) == 0)
            await eventually(lambda: site.records(speaker.session_id) == [])

    asyncio.run(play())


@pytest.mark.parametrize("fault", FAULTS)
def test_a_join(site: Site, fault: str) -> None:
    session_id = f"join-{fault.replace(' ', '-')}"
    now_ms = EpochMs(time.time_ns() // 1_000_000)
    token = mint_join_token(
        session_id=session_id,
        role=Role.SPEAKER,
        secret=site.secret,
        now_ms=now_ms,
        lifetime_ms=DurationMs(60_000),
    )
    event = {
        "requestContext": {"routeKey": "$connect", "connectionId": f"c{now_ms}"},
        "queryStringParameters": {"sessionId": session_id, "role": "speaker", "token": token},
    }
    plan(site, "GetSecretValue", fault)
    if expected("GetSecretValue", fault) == RETRIED:
        assert site.handle(connect_handler, event) == {"statusCode": 200}
        (record,) = site.records(session_id)
        site.sessions.leave(record, now_ms=now_ms)
    else:
        with pytest.raises(HangupError, match="AccessDenied"):
            site.handle(connect_handler, event)
        assert site.records(session_id) == []
        assert site.sessions.get(session_id) is None


def table() -> list[str]:
    lines = [f"| operation | {' | '.join(FAULTS)} |", f"|---|{'---|' * len(FAULTS)}"]
    for operation in (*SWEEP, "SendMessageBatch", *CLEANUP, "GetSecretValue"):
        cells = [expected(operation, fault) for fault in FAULTS]
        lines.append(f"| `{operation}` | {' | '.join(cells)} |")
    return lines


def test_the_documented_table_is_the_one_that_is_tested() -> None:
    text = (Path(__file__).parents[2] / "docs" / "reliability.md").read_text()
    documented = re.search(r"(\| operation \|.*?)\n\n", text, re.DOTALL)
    assert documented is not None
    assert documented[1].splitlines() == table()
