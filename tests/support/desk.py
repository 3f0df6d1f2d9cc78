"""The command line in this process, whose requests to the engine pass a relay."""

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from hangup.aws import clients
from hangup.cli.app import main
from tests.support.chat_user import User
from tests.support.relay import Relay, relay_to


@contextmanager
def behind_relay(user: User, monkeypatch: pytest.MonkeyPatch) -> Iterator[Relay]:
    """Yield the relay. Commands run in the user's folder, as the user, and do not wait."""
    monkeypatch.chdir(user.folder)
    with relay_to(user.app.engine.port) as relay:
        for name, value in user.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("AWS_ENDPOINT_URL", relay.endpoint)
        monkeypatch.setattr("hangup.aws.runtime.sleep", lambda _seconds: None)
        yield relay
        clients.session.cache_clear()


def run(words: Sequence[str], output: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """Run a command; return its status, and what it wrote to its output and its errors."""
    clients.session.cache_clear()
    output.readouterr()
    try:
        status = main(words)
    finally:
        # As a new process has it.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    printed, said = output.readouterr()
    assert "Traceback" not in said
    return status, printed, said
