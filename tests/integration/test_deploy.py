"""The whole way: found, deployed to observe, let close, and removed without a trace."""

import json
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from hangup.local.ministack.engine import Engine
from tests.support.chat_app import deployed
from tests.support.chat_user import STACK, User, found
from tests.support.repeated import repeated
from tests.support.terminal import HANGUP, on_terminal

pytestmark = pytest.mark.integration

_UNREADABLE = {"socket": "ws#Ab1cdefghijk=", "since": "soon", "env": "prod"}
_PATIENT = ("--set", "timeout.idle_seconds=12")
"""Longer than a command takes: whoever has spoken before it is not idle."""


@pytest.fixture
def user(tmp_path: Path) -> Iterator[User]:
    with Engine.start(enforce_iam=False) as engine:
        app = deployed(engine)
        yield User(app, tmp_path)


def test_the_way_in_and_out(user: User) -> None:
    with ExitStack() as clients:
        silent = clients.enter_context(connect(user.app.address))
        talking = clients.enter_context(connect(user.app.address))
        found(user)
        shown = user.hangup("deploy", "--zip", "code.zip")
        assert shown.returncode == 1
        assert "Add      Lambda::Function" in shown.stdout
        assert "add --yes" in shown.stderr
        assert (user.stacks, user.buckets) == ([], [])

        said = user.done("deploy", "--zip", "code.zip", "--mode", "observe", "--yes")
        assert f"The stack {STACK} is deployed." in said
        again = user.done("deploy", "--zip", "code.zip", "--mode", "observe", "--yes")
        assert "nothing to change" in again
        # What the probe has found, which the stack keeps.
        counts = ("--set", "timeout.last_active_counts=client")
        said = user.done("deploy", "--zip", "code.zip", "--mode", "observe", "--yes", *counts)
        assert "LastActiveCounts is unsettled, and becomes client." in said
        said = user.done("deploy", "--zip", "code.zip", "--mode", "observe", "--yes")
        assert "nothing to change" in said
        items = user.items()
        # However long a command takes: it has always just spoken.
        clients.enter_context(repeated(lambda: talking.send("{}"), every_s=0.2))
        time.sleep(2.5)
        assert user.sweep()["wouldClose"] == 1
        assert user.items() == items

        change = user.done("mode", "close", "--yes")
        assert "in the mode close now" in change
        assert user.sweep()["closed"] == 1
        assert json.loads(silent.recv(timeout=5))["type"] == "connectionTimeout"
        with pytest.raises(ConnectionClosed):
            silent.recv(timeout=5)
        assert _is_open(talking)

        (kept,) = user.items()
        assert "gatewayActiveAt" in kept
        assert f"The stack {STACK} is removed." in user.done("destroy", "--yes", "--clean")
        assert [one for one in items if one["socket"] == kept["socket"]] == user.items()
    assert (user.stacks, user.buckets) == ([], [])
    assert "no stack" in user.done("destroy", "--yes", "--clean")

    claimed = {
        **items[0],
        "claimToken": {"S": "of a cleanup that keeps failing"},
        "claimExpiresAt": {"N": str((round(time.time()) + 3_600) * 1000)},
    }
    user.app.engine.client("dynamodb").put_item(TableName="chat-sockets", Item=claimed)
    left = user.hangup("destroy", "--yes", "--clean")
    assert left.returncode == 1
    assert "Left, because the claim of a close or a cleanup holds: 1." in left.stdout
    assert re.search(r"Run it again in (1 h 0 min|59 min \d+ s)\.\n$", left.stdout)


def _is_open(client: ClientConnection) -> bool:
    """Return whether a client is connected, whatever it was sent."""
    try:
        while True:
            client.recv(timeout=0.3)
    except TimeoutError:
        return True
    except ConnectionClosed:
        return False


def test_who_declines_leaves_nothing(user: User) -> None:
    found(user)
    words = [*HANGUP, "deploy", "--zip", "code.zip"]
    screen = on_terminal(
        words,
        environment=user.environment,
        cwd=user.folder,
        type_when=lambda said: "Make these changes?" in said,
        typed=b"n\r",
    )
    assert screen.status == 1
    assert (user.stacks, user.buckets) == ([], [])


def test_attributes_that_stay_are_named(user: User) -> None:
    found(user)
    user.done("deploy", "--zip", "code.zip", "--yes")
    said = user.done("destroy", "--yes", "--keep-bucket")
    assert f"Its code is in the bucket {user.buckets[0]}." in said
    assert "gatewayActiveAt" in said
    assert "--clean" in said
    assert len(user.buckets) == 1


def test_a_sweep_by_hand_shows_who_is_idle_and_closes_them_when_told(user: User) -> None:
    with ExitStack() as clients:
        silent, other, talking = (
            clients.enter_context(connect(user.app.address)) for _ in range(3)
        )
        found(user)
        items = user.items()
        ids = {one["socket"]["S"].removeprefix("ws#"): one["since"]["N"] for one in items}
        user.app.engine.client("dynamodb").put_item(
            TableName="chat-sockets",
            Item={
                "socket": {"S": "ws#Ab1cdefghijk="},
                "since": {"S": "soon"},
                "env": {"S": "prod"},
            },
        )
        time.sleep(13)
        talking.send("{}")
        time.sleep(0.2)
        before = user.items()
        swept = json.loads(user.done("sweep", "--dry-run", "--json", *_PATIENT))
        decisions = {one["connectionId"]: one["decision"] for one in swept["connections"]}
        assert sorted(decisions.values()) == ["close", "close", "left", "unreadable"]
        (unreadable,) = [o for o in swept["connections"] if o["decision"] == "unreadable"]
        assert "since is" in unreadable["why"]
        assert decisions.keys() - {"Ab1cdefghijk="} == ids.keys()
        assert user.items() == before
        shown = user.done("sweep", "--dry-run", *_PATIENT)
        assert "4 records checked: 2 close, 1 left, 1 unreadable." in shown

        talking.send("{}")
        asked = user.hangup("sweep", *_PATIENT)
        assert asked.returncode == 1
        assert "Close 2 connections?" in asked.stderr
        assert user.items() == before
        talking.send("{}")
        done = user.done("sweep", "--max-closes", "1", "--yes", *_PATIENT)
        assert "1 closed" in done
        assert sum(map(_is_open, (silent, other, talking))) == 2
        talking.send("{}")
        assert "1 closed" in user.done("sweep", "--yes", *_PATIENT)
        assert _is_open(talking)


def test_who_declines_a_sweep_is_shown_it_once_and_closes_nobody(user: User) -> None:
    with connect(user.app.address) as silent:
        found(user)
        time.sleep(2.5)
        screen = on_terminal(
            [*HANGUP, "sweep"],
            environment=user.environment,
            cwd=user.folder,
            type_when=lambda said: "Close 1 connections?" in said,
            typed=b"n\r",
        )
        assert screen.status == 1
        assert sum("silent on record" in line for line in screen.lines) == 1
        assert _is_open(silent)


def test_a_sweep_by_hand_has_its_state_where_the_function_has_it(user: User) -> None:
    state = ("--set", "timeout.state_table=true")
    with connect(user.app.address) as silent:
        found(user)
        user.done("deploy", "--zip", "code.zip", "--mode", "observe", "--yes", *state)
        items = user.items()
        time.sleep(2.5)
        assert "1 closed" in user.done("sweep", "--yes", *state)
        assert json.loads(silent.recv(timeout=5))["type"] == "connectionTimeout"
    tables = user.app.engine.client("dynamodb").list_tables()["TableNames"]
    (name,) = [one for one in tables if "StateTable" in one]
    states = user.app.engine.client("dynamodb").scan(TableName=name)["Items"]
    assert ["claimToken" in one for one in states] == [True]
    assert [one for one in user.items() if one not in items] == []
