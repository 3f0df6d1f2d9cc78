"""``hangup demo`` as a user runs it: what it prints, and that it leaves nothing behind."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.documents import picture_lines

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks processes up in /proc"),
]

ROOT = Path(__file__).parents[2]
LEAVES_WITHIN_S = 15.0

# Not the console script alone: a shell that runs the tests in the background has SIGINT ignored,
# and Python would leave it so.
PROGRAM = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from hangup.cli.app import main
sys.exit(main())
"""


@dataclass(frozen=True, kw_only=True)
class Engine:
    """The engine that one demo started."""

    pid: int
    port: int
    run_dir: Path

    def remains(self) -> list[str]:
        """Return what is still there of it, in words."""
        left = [f"process {pid}" for pid in _pids() if _session(pid) == self.pid]
        with closing(socket.socket()) as probe:
            if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                left.append(f"port {self.port}")
        if self.run_dir.exists():
            left.append(str(self.run_dir))
        return left

    def is_gone(self) -> bool:
        deadline = time.monotonic() + LEAVES_WITHIN_S
        while self.remains() and time.monotonic() < deadline:
            time.sleep(0.1)
        return not self.remains()


@contextmanager
def hangup(*arguments: str, cwd: Path = ROOT) -> Iterator["subprocess.Popen[str]"]:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *arguments],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def engine_of(process: "subprocess.Popen[str]") -> Engine:
    """Return the engine that the process has started, once it listens."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        for pid in _pids():
            words = _read(pid, "cmdline").split("\0")
            if "hangup.local.ministack.process" in words and str(process.pid) in words:
                found = re.search(r"GATEWAY_PORT=(\d+)", _read(pid, "environ"))
                assert found is not None
                run_dir = Path(words[words.index(str(process.pid)) + 1])
                return Engine(pid=pid, port=int(found.group(1)), run_dir=run_dir)
        time.sleep(0.05)
    pytest.fail("the demo has started no engine")


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _session(pid: int) -> int | None:
    # "pid (name) state ppid pgrp session ...": the name may hold anything, so from its end.
    fields = _read(pid, "stat").rpartition(")")[2].split()
    return int(fields[3]) if fields and fields[0] != "Z" else None


def _read(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_text(errors="replace")
    except OSError:  # ended meanwhile, or somebody else's
        return ""


def documented(command: str, document: str) -> list[str]:
    """Return what a document says that a command prints, without what it leaves out."""
    text = (ROOT / document).read_text()
    block = re.search(
        rf"```console\n(?:\$ [^\n]*\n)?\$ {re.escape(command)}\n(.*?)```", text, re.DOTALL
    )
    assert block is not None, f"{document} shows no output of {command}"
    return [line.rstrip() for line in block.group(1).splitlines() if line.strip(" .")]


def masked(line: str) -> str:
    """Return a line without its numbers, which are times and counts of sweeps."""
    return re.sub(r"\d+(\.\d+)?", "N", line).strip()


def verdict(lines: list[str]) -> list[str]:
    return [line for line in lines if re.match(r"  (ok|FAIL) ", line)]


@pytest.mark.lateness
def test_prints_what_the_docs_say_and_leaves_nothing_behind() -> None:
    with hangup("demo") as demo:
        engine = engine_of(demo)
        output, errors = demo.communicate(timeout=120)
    assert (demo.returncode, errors) == (0, ""), output
    lines = output.splitlines()
    promised = documented("make demo", "docs/get-started.md")
    short = documented("make demo", "README.md")
    assert verdict(lines) == verdict(promised)
    assert set(verdict(short)) <= set(verdict(lines))
    assert {masked(line) for line in [*promised, *short]} <= {masked(line) for line in lines}
    assert lines[-1] == promised[-1] == short[-1]
    prompt, *pictured = picture_lines((ROOT / "docs" / "demo.svg").read_text())
    assert prompt == "$ make demo"
    assert {masked(line) for line in pictured} <= {masked(line) for line in lines}
    assert verdict(pictured) == verdict(lines)
    assert engine.remains() == []


@pytest.mark.lateness
def test_with_a_queue_the_silent_are_hung_up_on_to_the_second() -> None:
    with hangup("demo", "--precise") as demo:
        engine = engine_of(demo)
        output, errors = demo.communicate(timeout=120)
    assert (demo.returncode, errors) == (0, ""), output
    judged = verdict(output.splitlines())
    assert "  ok    metric CloseLateness has 3 values" in judged
    # All that is promised without a queue, but for how the sweeps count.
    assert {
        masked(line) for line in verdict(documented("make demo", "docs/get-started.md"))[:-1]
    } <= {masked(line) for line in judged}
    assert engine.remains() == []


@pytest.mark.parametrize("after_s", [0, 3])
def test_interrupted_it_ends_in_order_and_leaves_nothing_behind(after_s: int) -> None:
    with hangup("demo") as demo:
        engine = engine_of(demo)
        time.sleep(after_s)
        demo.send_signal(signal.SIGINT)
        _, errors = demo.communicate(timeout=LEAVES_WITHIN_S)
    assert (demo.returncode, errors) == (130, "")
    assert engine.remains() == []


def test_when_nobody_reads_on_it_ends_in_order_and_leaves_nothing_behind() -> None:
    with hangup("demo") as demo:
        engine = engine_of(demo)
        assert demo.stdout is not None
        assert demo.stderr is not None
        assert any("joins" in line for line in demo.stdout), demo.stderr.read()
        demo.stdout.close()
        errors = demo.stderr.read()
        assert (demo.wait(LEAVES_WITHIN_S), errors) == (130, "")
    assert engine.remains() == []


def test_terminated_it_leaves_nothing_behind() -> None:
    with hangup("demo") as demo:
        engine = engine_of(demo)
        time.sleep(3)
        demo.terminate()
        demo.communicate(timeout=LEAVES_WITHIN_S)
    assert demo.returncode == 130
    assert engine.remains() == []


def test_killed_it_leaves_nothing_behind() -> None:
    with hangup("demo") as demo:
        engine = engine_of(demo)
        time.sleep(3)
        os.kill(demo.pid, signal.SIGKILL)
        demo.communicate(timeout=LEAVES_WITHIN_S)
    assert engine.is_gone(), engine.remains()


def test_a_taken_port_is_one_clear_sentence(tmp_path: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        port = other.getsockname()[1]
        with hangup("up", "--port", str(port), cwd=tmp_path) as up:
            _, errors = up.communicate(timeout=LEAVES_WITHIN_S)
    assert up.returncode == 1
    (line,) = errors.splitlines()
    assert line.startswith(f"hangup: Port {port} on 127.0.0.1 is taken: ")


def test_the_console_script_is_installed() -> None:
    script = Path(sys.executable).with_name("hangup")
    answer = subprocess.run([script, "--version"], capture_output=True, text=True, check=True)
    assert re.fullmatch(r"hangup \d+\.\d+\.\d+\n", answer.stdout)
