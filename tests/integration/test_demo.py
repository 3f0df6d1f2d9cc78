"""``hangup demo`` as a user runs it: what it prints, and that it leaves nothing behind."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.command import LEAVES_WITHIN_S, engine_of, hangup
from tests.support.documents import ROOT, picture_lines

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks processes up in /proc"),
]


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
