"""``hangup demo`` and ``hangup up`` on a terminal, with Ctrl-C typed there, and in pipes."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.support.terminal import HANGUP, on_terminal, plain_environment

pytestmark = pytest.mark.integration

CURSOR_HIDDEN, CURSOR_SHOWN = "\x1b[?25l", "\x1b[?25h"


@pytest.mark.lateness
def test_the_demo_has_columns_ticks_and_a_summary(tmp_path: Path) -> None:
    screen = on_terminal([*HANGUP, "demo"], cwd=tmp_path)
    assert screen.status == 0, screen.output
    lines = screen.lines
    assert max(map(len, lines)) <= 80
    assert "✔ Starting an AWS emulator on this machine (loopback only)" in lines
    header = next(line for line in lines if "WHO" in line)
    (row,) = (line for line in lines if "Dan" in line and "falls silent" in line)
    assert row.index("listener") == header.index("ROLE")
    assert row.index("falls silent") == header.index("WHAT")
    assert sum(line.startswith("  ✔    ") for line in lines) == 10
    assert any(line.startswith("  10  of 10 checks hold; ") for line in lines)
    assert "Everything is as promised: the silent clients were closed, and nobody else." in lines


@pytest.mark.lateness
def test_the_verdict_as_json_is_alone(tmp_path: Path) -> None:
    done = subprocess.run(
        [*HANGUP, "demo", "--json"],
        capture_output=True,
        check=False,
        cwd=tmp_path,
        env=plain_environment(),
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    verdict = json.loads(done.stdout)
    assert verdict["holds"] is True
    assert [check["holds"] for check in verdict["checks"]] == [True] * 10
    assert verdict["clients"] == {"silent": 3, "notified": 2, "talking": 3}
    assert (verdict["precise"], verdict["idleTimeoutSeconds"]) == (False, 4)
    assert verdict["sweeps"] > 0


@pytest.mark.parametrize("when", ["Starting", "Deploying", "joins", "sweep"])
def test_ctrl_c_ends_the_demo_without_a_word(when: str, tmp_path: Path) -> None:
    screen = on_terminal([*HANGUP, "demo"], cwd=tmp_path, type_when=lambda written: when in written)
    assert screen.status == 130, screen.output
    assert "Traceback" not in screen.output
    assert screen.output.count(CURSOR_HIDDEN) == screen.output.count(CURSOR_SHOWN)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("when", ["Starting", "Deploying", "Up: idle timeout"])
def test_ctrl_c_is_how_up_ends(when: str, tmp_path: Path) -> None:
    screen = on_terminal([*HANGUP, "up"], cwd=tmp_path, type_when=lambda written: when in written)
    assert screen.status == 0, screen.output
    assert "Traceback" not in screen.output
    assert "Stopped. The state is kept in .hangup for the next run." in screen.lines
    assert screen.output.count(CURSOR_HIDDEN) == screen.output.count(CURSOR_SHOWN)


def test_head_ends_the_demo_without_a_word(tmp_path: Path) -> None:
    command = f"{' '.join(HANGUP)} demo | head -3; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", command],
        capture_output=True,
        check=True,
        cwd=tmp_path,
        env=plain_environment(),
        text=True,
    )
    assert done.stderr == ""
    *lines, status = done.stdout.splitlines()
    assert status == "130"
    assert lines[0] == "Starting an AWS emulator on this machine (loopback only) ..."
    assert len(lines) == 3
