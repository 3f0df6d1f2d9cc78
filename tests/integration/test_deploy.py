"""The whole way: found, deployed to observe, let close, and removed without a trace."""

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from hangup.local.ministack.engine import Engine
from tests.support.chat_app import deployed
from tests.support.chat_user import User
from tests.support.terminal import HANGUP, on_terminal

pytestmark = pytest.mark.integration

_STACK = "chat-hangup"


@pytest.fixture
def user(tmp_path: Path) -> Iterator[User]:
    with Engine.start(enforce_iam=False) as engine:
        app = deployed(engine)
        yield User(app, tmp_path)


def found(user: User) -> None:
    endpoint = f"api.endpoint={user.app.endpoint}"
    user.done(
        "init", "--api", "chat", "--yes", "--set", endpoint, "--set", "timeout.idle_seconds=2"
    )


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
        assert f"The stack {_STACK} is deployed." in said
        again = user.done("deploy", "--zip", "code.zip", "--mode", "observe", "--yes")
        assert "nothing to change" in again
        items = user.items()
        time.sleep(2.5)
        talking.send("{}")
        assert user.sweep()["wouldClose"] == 1
        assert user.items() == items

        change = user.done("mode", "close", "--yes")
        assert "in the mode close now" in change
        talking.send("{}")
        assert user.sweep()["closed"] == 1
        assert json.loads(silent.recv(timeout=5))["type"] == "connectionTimeout"
        with pytest.raises(ConnectionClosed):
            silent.recv(timeout=5)
        assert _is_open(talking)

        (kept,) = user.items()
        assert "gatewayActiveAt" in kept
        assert f"The stack {_STACK} is removed." in user.done("destroy", "--yes", "--clean")
        assert [one for one in items if one["socket"] == kept["socket"]] == user.items()
    assert (user.stacks, user.buckets) == ([], [])
    assert "no stack" in user.done("destroy", "--yes", "--clean")


def _is_open(client: ClientConnection) -> bool:
    client.send("{}")
    try:
        client.recv(timeout=0.3)
    except TimeoutError:
        return True
    except ConnectionClosed:
        return False
    return True


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
    assert "gatewayActiveAt" in said
    assert "--clean" in said
    assert len(user.buckets) == 1
