"""What clients of the reference stack cannot do by a message, whatever they send."""

import asyncio
import json

import pytest

from hangup.local.demo.clients import Client
from tests.support.local_stack import Stack

pytestmark = pytest.mark.integration

MESSAGES = {
    "disconnect": json.dumps({"action": "$disconnect"}),
    "connect": json.dumps({"action": "$connect"}),
    "deep": "[" * 30_000,
}


@pytest.mark.parametrize("message", MESSAGES.values(), ids=list(MESSAGES))
def test_message_is_refused_nothing_is_written_and_the_socket_stays(
    stack: Stack, message: str
) -> None:
    async def refused(client: Client) -> None:
        await client.send_text(message)
        await client.wait_for(lambda: bool(client.messages("error")))
        # A message has no status of its own: what the client sees is in the answer's body.
        assert [error["status"] for error in client.messages("error")] == [400]

    async def play() -> None:
        async with stack.session(listeners=1, speaker_talks=False) as (speaker, listeners):

            def records() -> list[object]:
                found = stack.connections.scan_all_connections()
                return [c for c in found if c.session_id == speaker.session_id]

            before = records()
            assert len(before) == 2
            for client in (speaker, *listeners):
                await refused(client)
            assert records() == before
            session = stack.sessions.get(speaker.session_id)
            assert session is not None
            assert session.is_active
            for client in (speaker, *listeners):
                assert await client.is_answered()

    asyncio.run(play())
