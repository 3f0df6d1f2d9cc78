"""The machine: its part of a CPU that Lambda gives 256 MB, and what it is."""

import os
import platform
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

__all__ = ["CPU_SHARE", "CpuLimit", "cpu_limit", "machine", "versions"]

CPU_SHARE: Final = 0.15
"""Of one CPU, what Lambda gives 256 MB: 1,769 MB have a whole one (Lambda developer guide)."""

_PERIOD_US: Final = 100_000
_ROOT: Final = Path("/sys/fs/cgroup")


class CpuLimit:
    """A cgroup with a CPU quota; a process that writes itself to ``entrance`` is limited by it."""

    def __init__(self, folder: Path, kind: str) -> None:
        self.entrance = folder / "cgroup.procs"
        self.kind = kind


@contextmanager
def cpu_limit(name: str) -> Iterator[CpuLimit | None]:
    """Make a cgroup with ``CPU_SHARE`` of a CPU, or yield None where the machine does not let us.

    Its processes must have ended before it does.
    """
    quota_us = round(CPU_SHARE * _PERIOD_US)
    wanted = (
        (_ROOT / "cpu", "v1", {"cpu.cfs_period_us": _PERIOD_US, "cpu.cfs_quota_us": quota_us}),
        (_ROOT, "v2", {"cpu.max": f"{quota_us} {_PERIOD_US}"}),
    )
    for parent, kind, settings in wanted:
        folder = parent / f"hangup-bench-{os.getpid()}-{name}"
        try:
            if kind == "v2":
                (parent / "cgroup.subtree_control").write_text("+cpu")
            folder.mkdir()
        except OSError:
            continue
        try:
            for setting, value in settings.items():
                # Only files that are there: anywhere but in a cgroup this would make new ones.
                with (folder / setting).open("r+") as file:
                    file.write(str(value))
        except OSError:
            with suppress(OSError):
                folder.rmdir()
            continue
        try:
            yield CpuLimit(folder, kind)
        finally:
            folder.rmdir()
        return
    yield None


def machine(limit: CpuLimit | None) -> dict[str, str | int]:
    """Say what the numbers were measured on, and how the CPU was limited."""
    info = Path("/proc/cpuinfo").read_text()
    model = re.search(r"^model name\s*: (.+)$", info, re.MULTILINE)
    memory_kb = re.search(r"^MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text(), re.MULTILINE)
    how = f"cgroup {limit.kind} quota" if limit else f"CPU seconds / {CPU_SHARE}"
    return {
        "cpu": model[1] if model else platform.machine(),
        "cores": os.cpu_count() or 0,
        "memory_gb": round(int(memory_kb[1]) / 2**20) if memory_kb else 0,
        "system": f"{platform.system()} {platform.release()}",
        "cpu_limited_by": how,
    }


def versions() -> dict[str, str]:
    """Return the versions of what was measured."""
    found = {"python": platform.python_version()}
    for package in ("hangup", "boto3", "botocore", "pycurl"):
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found
