"""The whole loop with real WebSocket clients on the deployed stack, IAM enforced."""

import asyncio
import json
import signal
import subprocess
import sys
import time
from uuid import uuid4

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from hangup.core.connection import Connection, DurationMs, EpochMs
from hangup.local.demo.checks import Metrics
from hangup.local.demo.clients import Client, join_url
from hangup.sessions.model import Role
from hangup.sessions.tokens import mint_join_token
from tests.support.local_stack import IDLE_TIMEOUT_S, Stack, be_idle, eventually

pytestmark = pytest.mark.integration


def now_ms() -> EpochMs:
    return EpochMs(time.time_ns() // 1_000_000)


def assert_hung_up_on(person: Client) -> None:
    (notice,) = person.messages("connectionTimeout")
    assert person.received[-1] == notice
    assert set(notice) == {"type", "message", "idleSeconds", "timestamp"}
    assert notice["type"] == "connectionTimeout"
    assert notice["message"] == "Connection closed due to inactivity"
    assert isinstance(notice["idleSeconds"], int)
    assert IDLE_TIMEOUT_S <= notice["idleSeconds"] < IDLE_TIMEOUT_S + 120
    assert isinstance(notice["timestamp"], int)
    assert abs(now_ms() - notice["timestamp"]) < 60_000
    assert person.close_code == 1000


def test_an_idle_listener_is_told_closed_and_cleaned_up(stack: Stack) -> None:
    async def play() -> None:
        async with stack.session(listeners=2) as (speaker, (silent, talking)):
            talking.talk()
            assert stack.listener_count(speaker.session_id) == 2
            await be_idle()
            counts = await asyncio.to_thread(stack.sweep)
            await silent.wait_closed()
            assert_hung_up_on(silent)
            assert counts["closed"] == 1
            await eventually(lambda: stack.listener_count(speaker.session_id) == 1)
            assert await talking.is_answered()
            assert await speaker.is_answered()

    asyncio.run(play())


def test_an_idle_speaker_ends_the_session_and_its_listeners_are_told(stack: Stack) -> None:
    async def play() -> None:
        async with stack.session(listeners=3, speaker_talks=False) as (speaker, listeners):
            for listener in listeners:
                listener.talk()
            await be_idle()
            await asyncio.to_thread(stack.sweep)
            await speaker.wait_closed()
            assert_hung_up_on(speaker)
            for listener in listeners:
                await listener.wait_closed()
                (ended,) = listener.messages("sessionEnded")
                assert ended["sessionId"] == speaker.session_id
                assert not listener.messages("connectionTimeout")
                assert listener.close_code == 1000
            await eventually(lambda: stack.listener_count(speaker.session_id) == 0)
            session = stack.sessions.get(speaker.session_id)
            assert session is not None
            assert not session.is_active
            assert session.ended_at_ms is not None
            await eventually(
                lambda: (
                    speaker.session_id
                    not in {c.session_id for c in stack.connections.scan_all_connections()}
                )
            )

    asyncio.run(play())


@pytest.mark.parametrize("action", ["heartbeat", "message"])
def test_whatever_a_client_says_keeps_its_connection(stack: Stack, action: str) -> None:
    async def play() -> None:
        async with stack.session(listeners=1) as (speaker, (listener,)):
            speaker.action = listener.action = action
            listener.talk()
            for _ in range(2):
                await be_idle()
                assert (await asyncio.to_thread(stack.sweep))["idle"] == 0
            assert await listener.is_answered()
            acks = listener.messages("heartbeatAck" if action == "heartbeat" else "messageAck")
            assert len(acks) > 2

    asyncio.run(play())


def test_fifty_idle_at_once_are_all_closed_by_one_sweep(stack: Stack) -> None:
    async def play() -> None:
        async with stack.session(listeners=50) as (speaker, listeners):
            assert stack.listener_count(speaker.session_id) == 50
            await be_idle()
            counts = await asyncio.to_thread(stack.sweep)
            assert counts["closed"] == 50
            assert counts["complete"]
            for listener in listeners:
                await listener.wait_closed()
                assert_hung_up_on(listener)
            await eventually(lambda: stack.listener_count(speaker.session_id) == 0, within_s=60)
            assert await speaker.is_answered()

    asyncio.run(play())


def test_a_client_that_vanished_without_a_close_is_cleaned_up(stack: Stack) -> None:
    async def play() -> None:
        async with stack.session(listeners=0) as (speaker, _):
            token = mint_join_token(
                session_id=speaker.session_id,
                role=Role.LISTENER,
                secret=stack.secret,
                now_ms=now_ms(),
                lifetime_ms=DurationMs(60_000),
            )
            url = join_url(
                stack.deployed.web_socket_url,
                session_id=speaker.session_id,
                role=Role.LISTENER,
                token=token,
            )
            client = subprocess.Popen(  # noqa: ASYNC220 - a process is the point
                [sys.executable, "-m", "websockets", url],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
            )
            try:
                await eventually(lambda: stack.listener_count(speaker.session_id) == 1)
                # Stopped, not ended: its socket stays open, and nothing ever comes from it again.
                client.send_signal(signal.SIGSTOP)
                await be_idle()
                assert (await asyncio.to_thread(stack.sweep))["closed"] == 1
                await eventually(lambda: stack.listener_count(speaker.session_id) == 0)
            finally:
                client.kill()
                client.communicate()

    asyncio.run(play())


def test_a_ghost_whose_disconnect_was_lost_is_cleaned_up_and_counted_as_gone(
    stack: Stack,
) -> None:
    metrics = Metrics(stack.engine, stack.deployed)
    before = metrics.total("ConnectionTimeout", Role="listener", Reason="GONE")

    async def play() -> None:
        async with stack.session(listeners=0) as (speaker, _):
            joined_ms = EpochMs(now_ms() - 60_000)
            ghost = Connection(
                connection_id=uuid4().hex[:16],
                session_id=speaker.session_id,
                role=Role.LISTENER,
                connected_at_ms=joined_ms,
                last_activity_ms=joined_ms,
            )
            stack.sessions.add(ghost)
            assert stack.listener_count(speaker.session_id) == 1
            assert (await asyncio.to_thread(stack.sweep))["gone"] == 1
            await eventually(lambda: stack.listener_count(speaker.session_id) == 0)
            assert stack.connections.get(ghost.connection_id) is None

    asyncio.run(play())
    assert metrics.total("ConnectionTimeout", Role="listener", Reason="GONE") == before + 1


def test_disconnect_and_hand_over_of_one_connection_count_it_once(stack: Stack) -> None:
    started_ms = now_ms()

    def cleanups(connection_id: str) -> list[str]:
        lines = stack.log_lines(stack.deployed.outputs["DisconnectFunction"], since_ms=started_ms)
        return sorted(
            # Whoever comes second finds no record, or removes none.
            "first" if line.get("outcome") == "LEFT" else "second"
            for line in lines
            if line.get("connectionId") == connection_id
        )

    async def play() -> None:
        async with stack.session(listeners=2) as (speaker, (silent, talking)):
            talking.talk()
            await be_idle()
            quiet_id = min(
                stack.sessions.listener_ids(speaker.session_id),
                key=lambda i: getattr(stack.connections.get(i), "last_seen_ms", 0),
            )
            await asyncio.to_thread(stack.sweep)
            await silent.wait_closed()
            # API Gateway's own event and the sweep's: both arrive, one of them does the work.
            await eventually(lambda: cleanups(quiet_id) == ["first", "second"])
            assert stack.listener_count(speaker.session_id) == 1

    asyncio.run(play())


def test_the_rule_itself_drives_a_sweep(stack: Stack) -> None:
    events = stack.engine.client("events")

    async def play() -> None:
        async with stack.session(listeners=1) as (_, (silent,)):
            events.enable_rule(Name=stack.deployed.outputs["SweepRule"])
            try:
                # Nobody invokes the function here: only the tick does, within a minute or so.
                await silent.wait_closed(timeout_s=130)
            finally:
                events.disable_rule(Name=stack.deployed.outputs["SweepRule"])
            assert_hung_up_on(silent)

    asyncio.run(play())


def test_an_orphan_that_talks_is_closed_so_that_it_comes_back(stack: Stack) -> None:
    async def play() -> None:
        async with stack.session(listeners=1) as (speaker, (orphan,)):
            (orphan_id,) = stack.sessions.listener_ids(speaker.session_id)
            stack.sessions.remove(orphan_id)
            await orphan.say("heartbeat")
            await orphan.wait_closed()
            assert stack.connections.get(orphan_id) is None
            assert stack.listener_count(speaker.session_id) == 0

    asyncio.run(play())


def test_a_listener_that_the_end_of_its_session_missed_is_closed_at_its_next_message(
    stack: Stack,
) -> None:
    async def play() -> None:
        async with stack.session(listeners=1) as (speaker, (missed,)):
            (listener_id,) = stack.sessions.listener_ids(speaker.session_id)
            session = stack.sessions.get(speaker.session_id)
            record = stack.connections.get(session.run if session else "")
            assert record is not None
            # The end of the session, as it is for an index that does not list the listener.
            stack.sessions.end(record, now_ms=now_ms(), claim_expires_ms=now_ms())
            stack.engine.client("dynamodb").update_item(
                TableName=stack.deployed.outputs["ConnectionsTable"],
                Key={"connectionId": {"S": listener_id}},
                UpdateExpression="SET lastActivityTime = :before",
                ExpressionAttributeValues={":before": {"N": str(now_ms() - 60_000)}},
            )
            await missed.say("heartbeat")
            await missed.wait_closed()
            assert len(missed.messages("sessionEnded")) == 1
            assert stack.connections.get(listener_id) is None

    asyncio.run(play())


class TestJoin:
    """Who gets in, and who does not."""

    @staticmethod
    def knock(stack: Stack, **changes: object) -> int:
        """Try to join as a listener, with something changed; return the refusal's HTTP status."""
        session_id = uuid4().hex
        wish: dict[str, object] = {
            "session_id": session_id,
            "role": Role.SPEAKER,
            "secret": stack.secret,
            "now_ms": now_ms(),
            "lifetime_ms": DurationMs(60_000),
        } | changes
        token = mint_join_token(**wish)  # type: ignore[arg-type]
        url = join_url(
            stack.deployed.web_socket_url, session_id=session_id, role=Role.SPEAKER, token=token
        )

        async def try_it() -> int:
            try:
                async with connect(url, ping_interval=None, proxy=None):
                    return 101
            except InvalidStatus as refusal:
                return refusal.response.status_code

        status = asyncio.run(try_it())
        if status != 101:
            assert stack.sessions.get(session_id) is None
        return status

    def test_a_valid_token_lets_in(self, stack: Stack) -> None:
        assert self.knock(stack) == 101

    def test_an_expired_token_is_refused(self, stack: Stack) -> None:
        assert self.knock(stack, lifetime_ms=DurationMs(-1000)) == 401

    def test_a_forged_token_is_refused(self, stack: Stack) -> None:
        assert self.knock(stack, secret="x" * 64) == 401

    def test_a_token_of_another_session_is_refused(self, stack: Stack) -> None:
        assert self.knock(stack, session_id="another") == 403

    def test_a_token_of_another_role_is_refused(self, stack: Stack) -> None:
        assert self.knock(stack, role=Role.LISTENER) == 403

    def test_a_second_speaker_is_refused_and_a_listener_needs_an_active_session(
        self, stack: Stack
    ) -> None:
        async def play() -> None:
            async with stack.session(listeners=0) as (speaker, _):
                second = Client("second", speaker.session_id, Role.SPEAKER)
                with pytest.raises(InvalidStatus):
                    await second.join(stack.deployed.web_socket_url, secret=stack.secret)
                stray = Client("stray", uuid4().hex, Role.LISTENER)
                with pytest.raises(InvalidStatus):
                    await stray.join(stack.deployed.web_socket_url, secret=stack.secret)
                assert stack.sessions.get(stray.session_id) is None
                assert await speaker.is_answered()

        asyncio.run(play())


def test_rubbish_is_refused_and_is_no_activity(stack: Stack) -> None:
    async def play() -> None:
        async with stack.session(listeners=1) as (_, (listener,)):
            (record,) = [
                c
                for c in stack.connections.scan_all_connections()
                if c.session_id == listener.session_id and c.role == Role.LISTENER
            ]
            for text in ["not json", "[]", '{"action": 7}', json.dumps({"action": "fly"}), "\0"]:
                await listener.send_text(text)
            await listener.wait_for(lambda: len(listener.messages("error")) == 5)
            assert {error["status"] for error in listener.messages("error")} == {400}
            after = stack.connections.get(record.connection_id)
            assert after is not None
            assert after.last_activity_ms == record.last_activity_ms

    asyncio.run(play())
