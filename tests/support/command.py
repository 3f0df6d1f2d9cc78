"""``hangup`` as a process of its own, and the engine that it starts."""

import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.documents import ROOT

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
    pytest.fail("it has started no engine")


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
