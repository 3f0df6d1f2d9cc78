"""``make`` that is ended in the middle of an install: the next one makes the virtualenv whole."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.clone import WAITS, WITHIN_S, Clone, cloned, sentence, until

pytestmark = [pytest.mark.slow, pytest.mark.install]

STAGES: dict[str, Callable[[Clone], object]] = {
    "virtualenv": lambda clone: (clone.venv / "pyvenv.cfg").exists(),
    "download": lambda clone: [*clone.venv.glob("wheels/*.whl")],
    "install": lambda clone: clone.installed("many_files/m*.py"),
    "project": lambda clone: clone.installed("hangup-*.dist-info"),
}
"""By what one sees that the install has come that far."""
INTERRUPTED = "hangup: stopped before .venv was complete; run make again to go on"


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    return cloned(tmp_path)


def end_at(stage: str, clone: Clone, number: signal.Signals) -> str:
    """Send a signal to make and to all that it started, as a terminal does; return the errors."""
    with clone.making() as making:
        until(lambda: STAGES[stage](clone))
        os.killpg(making.pid, number)
        _, errors = making.communicate(timeout=WITHIN_S)
        assert making.returncode != 0, stage
    state = clone.state()
    assert state["begun"] or not state["sets"], stage
    return errors


def test_killed_at_each_stage_it_is_whole_after_the_next_make(clone: Clone) -> None:
    # Each make finds what the kill before it has left, and has to get further.
    for stage in STAGES:
        end_at(stage, clone, signal.SIGKILL)
    made = clone.make()
    assert (made.returncode, made.stderr) == (0, "")
    assert made.stdout.startswith("Making .venv anew, because an install was interrupted ...\n")
    clone.assert_whole()


def test_ctrl_c_at_each_stage_is_one_sentence_and_the_next_make_goes_on(clone: Clone) -> None:
    for stage in STAGES:
        assert sentence(end_at(stage, clone, signal.SIGINT)) == INTERRUPTED, stage
    made = clone.make()
    assert (made.returncode, made.stderr) == (0, "")
    clone.assert_whole()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks processes up in /proc")
def test_a_pip_that_outlives_its_make_is_waited_for(clone: Clone) -> None:
    with clone.making() as first:
        until(lambda: STAGES["install"](clone))
        # Held, so that it cannot end before the next make has come.
        os.killpg(first.pid, signal.SIGSTOP)
        pip = pips_of(first.pid)
        for pid in members_of(first.pid) - pip:
            os.kill(pid, signal.SIGKILL)
        with clone.making() as second:
            assert second.stdout is not None
            assert second.stdout.readline() == WAITS
            for pid in pip:
                os.kill(pid, signal.SIGCONT)
            said, errors = second.communicate(timeout=WITHIN_S)
            assert (second.returncode, errors) == (0, "")
    assert said.startswith("Making .venv anew, because an install was interrupted ...\n")
    clone.assert_whole()


def members_of(group: int) -> set[int]:
    """Return the processes of a process group."""
    found = set()
    for entry in Path("/proc").iterdir():
        # "pid (name) state ppid pgrp ...": the name may hold anything, so from its end.
        fields = read(entry / "stat").rpartition(")")[2].split()
        if entry.name.isdigit() and fields and int(fields[2]) == group:
            found.add(int(entry.name))
    return found


def pips_of(group: int) -> set[int]:
    lines = {pid: read(Path(f"/proc/{pid}/cmdline")).split("\0") for pid in members_of(group)}
    return {pid for pid, words in lines.items() if "pip" in words and "install" in words}


def read(file: Path) -> str:
    try:
        return file.read_text(errors="replace")
    except OSError:  # ended meanwhile, or no process at all
        return ""
