"""The memory of the local engine's processes."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


def resident_mb(pid: str) -> float:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0.0  # it has just ended
    return pages * PAGE_BYTES / 2**20


def worker_pids(engine_dir: Path) -> Iterator[str]:
    """Yield the processes that run the deployed functions."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if str(engine_dir) in command and "_worker.py" in command:
            yield process.name
