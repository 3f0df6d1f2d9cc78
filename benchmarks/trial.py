"""One measured run: a sweep of one side in a process of its own, and what it took."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from benchmarks.endpoints import Endpoints, WorkNotDoneError
from benchmarks.machine import CpuLimit
from benchmarks.records import Idle
from benchmarks.tables import PAGE_RECORDS, Engine, table_name
from hangup.aws.schema import DEFAULT_SCHEMA, TableSchema
from hangup.core.guard import Activity

__all__ = ["Sample", "Side", "sweep"]

Side = Literal[
    "naive",
    "naive-check",
    "naive-heartbeat",
    "hangup",
    "hangup-check",
    "hangup-heartbeat",
    "closes",
    "closes-in-batches",
]

_ROOT: Final = Path(__file__).parents[1]
_MAX_RUN_S: Final = 1_800


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What one sweep took.

    ``cpu_s`` is the CPU time of the sweep, user and system, of all its threads; ``start_cpu_s``
    that of the process before it, imports above all. ``peak_rss_mb`` is of the whole process.
    ``report`` is what the handler returned.
    """

    start_cpu_s: float
    cpu_s: float
    wall_s: float
    peak_rss_mb: float
    report: dict[str, Any]


def sweep(  # noqa: PLR0913 - what a trial varies
    side: Side,
    aws: Endpoints,
    *,
    table: Engine | None = None,
    records: int = 0,
    idle: Idle = Idle.THOUSANDTH,
    remaining_ms: int = 60_000,
    limit: CpuLimit | None = None,
    dies_after_s: float | None = None,
    warm: int = 0,
    closes_per_second: int = 0,
    schema: TableSchema = DEFAULT_SCHEMA,
    activity: Activity = Activity.RECORDED,
) -> Sample | None:
    """Run one sweep and return what it took; None if it was ended after ``dies_after_s``.

    With ``table`` it is a sweep over that engine's table of so many ``records`` of a ``schema``, of
    which ``idle`` are; else over the stub's own table, whose connections all are. ``remaining_ms``
    is what the handler is told it may go on for; ``closes_per_second`` is Hangup's pace, which 0
    lifts, and ``activity`` its source of activity. With ``warm`` a sweep comes before those that
    count, and of so many the mean is returned. Raises ``WorkNotDoneError`` with the end of what the
    process said if it failed.
    """
    about_table = (
        {}
        if table is None
        else {
            "AWS_ENDPOINT_URL_DYNAMODB": table.endpoint,
            "CONNECTIONS_TABLE": table_name(records, schema),
            "TABLE_SCHEMA": schema.as_json(),
            "CONNECTION_IDLE_TIMEOUT_SECONDS": str(table.timeout_s(idle)),
            "SCAN_SEGMENTS": str(records // PAGE_RECORDS + 1),
        }
    )
    with tempfile.TemporaryDirectory() as folder:
        result, output = Path(folder, "result.json"), Path(folder, "output.txt")
        command = [sys.executable, "-m", "benchmarks.side", side, str(result)]
        command += ["--remaining-ms", str(remaining_ms), "--warm", str(warm)]
        if limit is not None:
            command += ["--cgroup", str(limit.entrance)]
        if dies_after_s is not None:
            command += ["--dies-after-s", str(dies_after_s)]
        with output.open("wb") as said:
            ended = subprocess.run(  # noqa: S603 - fixed words and our own paths
                command,
                cwd=_ROOT,
                env=_environment(aws, closes_per_second) | {"ACTIVITY": activity} | about_table,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                timeout=_MAX_RUN_S,
                check=False,
            )
        if ended.returncode == -signal.SIGALRM:
            return None
        if ended.returncode:
            tail = output.read_bytes()[-3_000:].decode(errors="replace")
            raise WorkNotDoneError(f"the {side} sweep ended with {ended.returncode}:\n{tail}")
        return Sample(**json.loads(result.read_text()))


def _environment(aws: Endpoints, closes_per_second: int) -> dict[str, str]:
    """Return a function's environment, and nothing else of this process's than its path."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "API_GATEWAY_ENDPOINT": f"{aws.urls['execute-api']}/prod",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_CA_BUNDLE": str(aws.ca_file),
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ENDPOINT_URL_CLOUDWATCH": aws.urls["monitoring"],
        "AWS_ENDPOINT_URL_DYNAMODB": aws.urls["dynamodb"],
        "AWS_ENDPOINT_URL_LAMBDA": aws.urls["lambda"],
        "AWS_REGION": "us-east-1",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "CLOSES_PER_SECOND": str(closes_per_second),
        "CONNECTIONS_TABLE": "connections",
        "SESSIONS_TABLE": "sessions",
        "CONNECTION_IDLE_TIMEOUT_SECONDS": "1200",
        "DISCONNECT_HANDLER_FUNCTION": "disconnect-handler",
        # Settled, so that no notice is followed by another question.
        "LAST_ACTIVE_COUNTS": "client",
        "NO_PROXY": "localhost,127.0.0.1",
    }
