"""The local engine's process: start, stop, crash, ports, state."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from hangup.errors import LocalStackError
from hangup.local.deploy import deploy
from hangup.local.ministack.engine import Engine
from tests.support.engine_stack import (
    close_code,
    code,
    connect,
    connection_ids,
    invoke,
    port_is_free,
    processes,
    template,
    until,
)

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with Engine.start() as running:
        yield running


def test_listens_on_loopback_only(engine: Engine) -> None:
    tables = [Path(f"/proc/{engine._process.pid}/net/{table}") for table in ("tcp", "tcp6")]
    inodes = set()
    for link in Path(f"/proc/{engine._process.pid}/fd").iterdir():
        # A descriptor may be closed again while this looks at it.
        with suppress(FileNotFoundError):
            inodes.add(str(link.readlink()).removeprefix("socket:[").rstrip("]"))
    listening = []
    for table in tables:
        for line in table.read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                listening.append(fields[1])
    assert listening == [f"0100007F:{engine.port:04X}"]


def test_taken_port_is_said_in_one_sentence(engine: Engine) -> None:
    with pytest.raises(LocalStackError, match=f"Port {engine.port} on 127.0.0.1 is taken"):
        Engine.start(port=engine.port)


def test_impossible_port_is_said_in_one_sentence() -> None:
    with pytest.raises(LocalStackError, match="invalid port 70000"):
        Engine.start(port=70_000)


def test_stop_with_open_sockets_cleans_up_and_a_restart_restores(tmp_path: Path) -> None:
    with Engine.start(state_dir=tmp_path) as first:
        deployed = deploy(first, template=template(), code=code())
        first.client("dynamodb").put_item(
            TableName=deployed.outputs["ConnectionsTable"], Item={"connectionId": {"S": "kept"}}
        )
        with connect(deployed) as client:
            assert len(connection_ids(first, deployed)) == 2
            started = time.monotonic()
            first.stop()
            assert time.monotonic() - started < 5
            assert close_code(client) == 1001
    assert processes(first._run_dir) == []
    assert port_is_free(first.port)
    assert not first._run_dir.exists()
    first.stop()  # again: harmless

    with Engine.start(state_dir=tmp_path) as second:
        again = deploy(second, template=template(), code=code())
        assert again.outputs == deployed.outputs
        # The open connection's $disconnect function ran before the state was saved.
        assert connection_ids(second, again) == ["kept"]
        with connect(again) as client:
            client.send("{}")
            assert json.loads(client.recv(timeout=10))["env"]["AWS_ENDPOINT_URL"] == second.endpoint


PARENT = """
import signal, sys, time
from pathlib import Path
from hangup.local.ministack.engine import Engine

# A shell has its background commands ignore it.
signal.signal(signal.SIGINT, signal.default_int_handler)
with Engine.start(state_dir=Path(sys.argv[1])) as engine:
    print(engine.port, engine._run_dir, flush=True)
    time.sleep(60)
"""


@contextmanager
def _parent(state_dir: Path) -> Iterator[tuple["subprocess.Popen[bytes]", int, Path]]:
    """Run an engine under a process of its own; yield that process, the port, the directory."""
    command = [sys.executable, "-c", PARENT, str(state_dir)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        try:
            port, run_dir = parent.stdout.readline().decode().split()
            yield parent, int(port), Path(run_dir)
        finally:
            parent.kill()


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_end_of_the_parent_ends_everything(sent: signal.Signals, tmp_path: Path) -> None:
    with _parent(tmp_path) as (parent, port, run_dir):
        reached = Engine(parent, port=port, run_dir=run_dir, log_file=run_dir / "engine.log")
        deployed = deploy(reached, template=template(), code=code())
        # A function that would run for long, and an open socket: neither may hold up the end.
        invoke(reached, deployed.outputs["TimeoutFunction"], {"sleep": 60}, "Event")
        with connect(deployed):
            assert len(processes(run_dir)) >= 3
            parent.send_signal(sent)
            until(lambda: not processes(run_dir), timeout_s=8)
        parent.wait(timeout=10)
    assert port_is_free(port)
    assert not run_dir.exists()
    assert (tmp_path / "services" / "dynamodb.json").exists()


@pytest.mark.parametrize("has_waitid", [True, False], ids=["linux", "macos before 3.13"])
def test_crash_of_the_engine_is_seen_and_leaves_no_workers(
    has_waitid: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not has_waitid:
        monkeypatch.delattr(os, "waitid")
    with Engine.start(enforce_iam=False) as crashing:
        assert crashing.running
        deployed = deploy(crashing, template=template(), code=code())
        invoke(crashing, deployed.outputs["TimeoutFunction"], {"sleep": 60}, "Event")
        until(lambda: len(processes(crashing._run_dir)) == 2)
        os.kill(crashing._process.pid, signal.SIGKILL)
        until(lambda: not crashing.running)
        killed = str(crashing.ended_by_itself())
        assert ("was killed (SIGKILL)" in killed) == has_waitid
    # They were killed on the way out, which takes the system a moment.
    until(lambda: not processes(crashing._run_dir), timeout_s=2)
    assert port_is_free(crashing.port)


def test_state_is_used_by_one_engine_at_a_time(tmp_path: Path) -> None:
    with Engine.start(state_dir=tmp_path), pytest.raises(LocalStackError, match="is in use"):
        Engine.start(state_dir=tmp_path)


def test_unusable_state_directory_is_said_in_one_sentence(tmp_path: Path) -> None:
    file = tmp_path / "state"
    file.write_text("")
    with pytest.raises(LocalStackError, match=f"{file} cannot be used to keep state"):
        Engine.start(state_dir=file)


def test_engine_that_cannot_start_shows_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho 'no such luck' >&2\nexit 1\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    with pytest.raises(LocalStackError, match=r"did not start\. Its log:\n  no such luck"):
        Engine.start()
