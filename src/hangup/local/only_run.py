"""One ``hangup up`` a folder: a second one names the first, and leaves it alone."""

import contextlib
import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from hangup.errors import LocalStackError
from hangup.local.ministack.engine import comes_true
from hangup.ops.folders import make_ignored_folder

_FILE: Final = "running.json"
_NOTED_WITHIN_S: Final = 1.0
"""How long the first may take from getting the lock to writing who it is."""


@contextmanager
def only_run(state_dir: Path) -> Iterator[Callable[[str], None]]:
    """Make ``state_dir``, and hold it for this process until the end of the block.

    Yield how to note the address at which the stack answers. The system lets go of the lock when
    the process ends, in whatever way, so what a killed process noted is never taken for a run.
    Raise LocalStackError if another process holds it, or if the folder cannot be written.
    """
    try:
        make_ignored_folder(state_dir, always_ours=True)
        # Not emptied by opening: the other one's note may be in it.
        file = (state_dir / _FILE).open("a+")
    except OSError as error:
        raise LocalStackError(
            f"{state_dir} cannot be used to keep state ({error.strerror}): "
            "start the stack in another folder."
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _taken(state_dir) from None

        def note(address: str | None) -> None:
            file.truncate(0)
            file.write(json.dumps({"pid": os.getpid(), "address": address}) + "\n")
            file.flush()

        note(None)
        try:
            yield note
        finally:
            file.truncate(0)


def _taken(state_dir: Path) -> LocalStackError:
    found: list[tuple[int, str | None]] = []

    def is_noted() -> bool:
        # Empty, half written, or still that of a process that was killed.
        with contextlib.suppress(ValueError, TypeError, KeyError, OSError):
            note = json.loads((state_dir / _FILE).read_text())
            os.kill(note["pid"], 0)
            found.append((note["pid"], note["address"]))
        return bool(found)

    if not comes_true(is_noted, within_s=_NOTED_WITHIN_S):
        return LocalStackError("Another `hangup up` has just started in this folder.")
    pid, address = found[0]
    where = f", at {address}" if address else " and is starting"
    return LocalStackError(
        f"`hangup up` already runs in this folder{where} (process {pid}): use that one, stop it, "
        "or start this one in another folder."
    )
