"""Each command is met by a fault at each of its requests: it says one sentence, and goes on later.

The first run fails at its first request, the second at its second, and so on, until one comes
through. So each run but the first goes on from what the run before has left. The faults take turns;
they come from a relay in front of the engine, and Ctrl-C from the system, as on a terminal.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from websockets.sync.client import connect

from hangup.cli.app import INTERRUPTED
from hangup.local.ministack.engine import Engine
from tests.support.chat_app import App, deployed
from tests.support.chat_user import STACK, User
from tests.support.cloudformation_stub import assert_one_sentence
from tests.support.desk import behind_relay, run
from tests.support.relay import Fault, Relay

pytestmark = pytest.mark.integration

_FAULTS: Final = (*Fault, None)
"""None is Ctrl-C."""


@dataclass
class Desk:
    """Somebody at the command line, whose requests pass the relay."""

    user: User
    relay: Relay
    output: pytest.CaptureFixture[str]
    printed: str = ""
    """What the last command wrote to standard output."""

    def run(self, *words: str) -> tuple[int, str]:
        """Run a command; return its status and what it said in the end."""
        status, self.printed, said = run(words, self.output)
        return status, said

    def through(self, *words: str) -> int:
        """Run a command until it comes through; return how many runs failed before."""
        for number in range(150):
            fault = _FAULTS[number % len(_FAULTS)]
            self.relay.plan(fault, number)
            if fault is None:
                self.relay.before = interrupts(number)
            status, said = self.run(*words)
            # Status 1 without a word on the errors: an alarm is on.
            if status == 0 or (status == 1 and not said):
                assert len(self.relay.operations) <= number + 1, self.relay.operations
                self.relay.plan(None)
                return number
            about = (number, self.relay.operations, said)
            # The doctor does not take a fault for what it looks for.
            assert "broken" not in self.printed, self.printed
            assert status == (INTERRUPTED if fault is None else 1), about
            *progress, sentence = said.splitlines(keepends=True)
            assert_one_sentence(sentence)
            assert all(line.startswith("hangup: ") for line in progress), about
            assert "interrupted: " in sentence if fault is None else "failed" in sentence, about
        raise AssertionError("it does not come through")


def interrupts(request: int) -> Callable[[int], object]:
    def interrupt(number: int) -> None:
        if number == request:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.05)

    return interrupt


@pytest.fixture(scope="module")
def app() -> Iterator[App]:
    with Engine.start(enforce_iam=False) as engine:
        yield deployed(engine)


@pytest.fixture
def desk(
    app: App,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Desk]:
    user = User(app, tmp_path)
    with behind_relay(user, monkeypatch) as relay:
        yield Desk(user, relay, capsys)


def items(app: App) -> Sequence[Any]:
    return sorted(app.engine.client("dynamodb").scan(TableName="chat-sockets")["Items"], key=repr)


def test_each_command_goes_on_after_each_fault(desk: Desk, app: App) -> None:
    file = desk.user.folder / "hangup.toml"
    with ExitStack() as connected:
        for _ in range(2):
            connected.enter_context(connect(app.address))
        before = items(app)
        init = ("init", "--api", "chat", "--yes", "--set", f"api.endpoint={app.endpoint}")
        assert desk.through(*init, "--set", "timeout.idle_seconds=2") > 5
        assert file.read_text()

        time.sleep(2.5)
        assert desk.through("sweep", "--dry-run") >= 1
        assert items(app) == before

        through_relay = app.endpoint.replace(app.engine.endpoint, desk.relay.endpoint)
        doctor = ("doctor", "--set", f"api.endpoint={through_relay}")
        assert desk.through(*doctor, "--before") > 10
        assert desk.through("deploy", "--zip", "code.zip", "--mode", "observe", "--yes") > 20
        assert desk.through(*doctor) > 20
        assert desk.user.stacks == [STACK]
        assert len(desk.user.buckets) == 1
        s3 = app.engine.client("s3")
        (bucket,) = desk.user.buckets
        assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"
        assert s3.get_bucket_policy(Bucket=bucket)["Policy"]
        assert desk.user.sweep()["wouldClose"] == 2
        assert items(app) == before

        connection_id = before[0]["socket"]["S"].removeprefix("ws#")
        for look in (("status",), ("explain", connection_id), ("package", "--bucket", bucket)):
            assert desk.through(*look) >= 2, look
        assert items(app) == before

        assert desk.through("mode", "close", "--yes") > 3
        assert "in the mode close already" in said(desk, "mode", "close")
        assert desk.user.sweep()["closed"] == 2

        assert desk.through("destroy", "--clean", "--yes") > 5
        assert (desk.user.stacks, desk.user.buckets) == ([], [])


def said(desk: Desk, *words: str) -> str:
    status, printed, _ = run(words, desk.output)
    assert status == 0
    return printed
