"""A session that ends with 500 listeners, on the deployed stack."""

import asyncio
import json
import time
from uuid import uuid4

import pytest

from hangup.core.connection import Connection, EpochMs
from hangup.sessions.model import Role
from tests.support.local_stack import Stack, eventually

pytestmark = pytest.mark.integration

LISTENERS = 500


def test_a_session_with_five_hundred_listeners_ends_within_one_invocation(stack: Stack) -> None:
    async def play() -> None:
        async with stack.session(listeners=10) as (speaker, listeners):
            for listener in listeners:
                listener.talk()
            # The others are ghosts: records whose sockets were lost without a word.
            now_ms = EpochMs(time.time_ns() // 1_000_000)
            for _ in range(LISTENERS - len(listeners)):
                ghost = Connection(
                    connection_id=uuid4().hex[:16],
                    session_id=speaker.session_id,
                    role=Role.LISTENER,
                    connected_at_ms=now_ms,
                    last_activity_ms=now_ms,
                )
                stack.sessions.add(ghost)
            assert stack.listener_count(speaker.session_id) == LISTENERS
            (record,) = [
                c
                for c in stack.connections.scan_all_connections()
                if c.session_id == speaker.session_id and c.role == Role.SPEAKER
            ]
            event = {
                "requestContext": {
                    "routeKey": "$disconnect",
                    "eventType": "DISCONNECT",
                    "connectionId": record.connection_id,
                }
            }
            minute = time.time() // 60
            answer = await asyncio.to_thread(
                stack.engine.client("lambda").invoke,
                FunctionName=stack.deployed.outputs["DisconnectFunction"],
                Payload=json.dumps(event).encode(),
            )
            assert "FunctionError" not in answer
            for listener in listeners:
                await listener.wait_closed()
                # A listener's first word in a minute looks by itself, and may find the same.
                at_most = 1 if time.time() // 60 == minute else 2
                assert 1 <= len(listener.messages("sessionEnded")) <= at_most
            await eventually(lambda: stack.listener_count(speaker.session_id) == 0)
            assert list(stack.sessions.listener_ids(speaker.session_id)) == []

    asyncio.run(play())
