"""The guide "Clients" has the code that is tested, and the numbers of the code."""

import json
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from hangup import config
from hangup.core.connection import Connection, DurationMs, EpochMs
from hangup.core.limits import MAX_CONNECTION_S, MAX_FRAME_BYTES, MAX_MESSAGE_BYTES
from hangup.core.policy import Close, IdlePolicy, Keep, decide
from hangup.planner import quotas
from tests.support.documents import ROOT, table

GUIDE = (ROOT / "docs" / "guides" / "clients.md").read_text()
EXAMPLES = ROOT / "examples" / "clients"
LOCKS = sorted((ROOT / "examples").glob("*/package-lock.json"))
CODE = sorted([*EXAMPLES.glob("*.mjs"), *EXAMPLES.glob("*.py")])
SEEN_MS = EpochMs(1_699_500_000_000)


def code_blocks() -> dict[str, str]:
    """Return the guide's code: what its first line says, and the rest."""
    blocks = re.findall(r"(?ms)^```(?:js|python)\n(?://|#) (\S+)\n(.*?)^```$", GUIDE)
    assert len(blocks) == len(re.findall(r"(?m)^```(?:js|python)$", GUIDE))
    return dict(blocks)


def packages() -> dict[str, dict[str, Any]]:
    lock: dict[str, dict[str, Any]] = json.loads((EXAMPLES / "package-lock.json").read_text())
    return {path.removeprefix("node_modules/"): one for path, one in lock["packages"].items()}


def test_the_code_is_that_of_the_examples() -> None:
    def without_marks_for_the_linter(text: str) -> str:
        return re.sub(r"(?m)^# ruff: .*\n|  # noqa: .*$", "", text)

    assert code_blocks() == {
        f"examples/clients/{file.name}": without_marks_for_the_linter(file.read_text())
        for file in CODE
    }


def test_the_packages_are_those_that_the_lock_pins_and_the_tests_install() -> None:
    documented = [row[0].split() for row in table("Package", GUIDE)]
    versions = {name.strip("`"): number for name, number, *_ in documented}
    assert versions.pop("websockets") == version("websockets")
    assert json.loads((EXAMPLES / "package.json").read_text())["dependencies"] == versions
    locked = packages()
    assert {name: locked[name]["version"] for name in versions} == versions


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.parent.name)
def test_each_lock_has_a_hash_of_each_package_and_no_address(lock: Path) -> None:
    locked = json.loads(lock.read_text())["packages"]
    assert len(locked) > 5
    for name, package in locked.items():
        assert "resolved" not in package
        # What is bundled is in the file of another package.
        is_file = name != "" and not package.get("inBundle")
        assert not is_file or re.fullmatch(r"sha512-[A-Za-z0-9+/]{86}==", package["integrity"])


def test_the_limits_are_those_of_the_code() -> None:
    assert f"{MAX_CONNECTION_S // 3600} hours" in GUIDE
    assert f"{MAX_FRAME_BYTES // 1024} KB ({MAX_FRAME_BYTES:,} bytes)" in GUIDE
    assert f"{MAX_MESSAGE_BYTES // 1024} KB" in GUIDE
    assert f"admits {quotas._NEW_CONNECTIONS_PER_SECOND} new connections a second" in GUIDE
    assert f"closes at most {config.CLOSES_PER_SECOND.default} a second" in GUIDE
    assert f"timeout of {config.CONNECTION_IDLE_TIMEOUT_SECONDS.default} s" in GUIDE


def seconds(cell: str) -> int:
    return int(cell.removesuffix(" s"))


@pytest.mark.parametrize("row", table("Heartbeat every", GUIDE), ids=lambda row: row[0])
def test_the_timeouts_leave_an_interval_after_the_heartbeats_that_may_be_lost(
    row: list[str],
) -> None:
    assert "timeout >= (lost + 2) x interval" in GUIDE
    interval_ms, *timeouts_ms = (seconds(cell) * 1000 for cell in row)
    for lost, timeout_ms in enumerate(timeouts_ms, start=1):
        policy = IdlePolicy(
            idle_timeout_ms=DurationMs(timeout_ms), activity_resolution_ms=DurationMs(0)
        )
        connection = Connection(connection_id="c1", last_activity_ms=SEEN_MS)
        next_ms = SEEN_MS + (lost + 1) * interval_ms
        last_ms = EpochMs(next_ms + interval_ms)
        assert decide(connection, policy, last_ms) == Keep(last_ms)
        assert isinstance(decide(connection, policy, EpochMs(last_ms + 1)), Close)
