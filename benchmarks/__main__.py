"""``make bench``, ``make bench-quick``: measure, print the table, write it down."""

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from benchmarks import measures, package
from benchmarks.endpoints import Endpoints
from benchmarks.lateness import lateness
from benchmarks.machine import cpu_limit, machine, versions
from benchmarks.measures import FULL, QUICK, Run
from benchmarks.messages import heartbeats
from benchmarks.results import (
    ROWS,
    Row,
    printed_table,
    read_results,
    row_of,
    write_results,
    write_table,
)
from benchmarks.tables import folder_for_tables

__all__ = ["main"]

_ROOT: Final = Path(__file__).parents[1]
_RESULTS: Final = _ROOT / "benchmarks" / "results.json"

_GROWTH: Final = tuple(name for name in ROWS if name.startswith("growth_"))

_MEASURES: Final[Mapping[Callable[[Run], None], tuple[str, ...]]] = {
    package.zip_size: ("zip_mb",),
    package.cold_start: ("cold_start_cpu_ms",),
    package.cold_start_message: ("cold_start_message_cpu_ms",),
    heartbeats: ("heartbeat_cpu_ms",),
    measures.closes: ("close_cpu_ms", "close_paced_cpu_ms"),
    measures.questions: ("question_cpu_ms",),
    measures.check: ("check_cpu_per_million", *_GROWTH),
    measures.check_of_schemas: ("schema_check_cpu", "schema_check_cpu_shape_d"),
    measures.large_sweep: ("sweep_s_256mb_1m", "peak_rss_mb", "peak_rss_mb_10k"),
    measures.closes_per_sweep: ("closes_per_sweep_256mb",),
    lateness: tuple(name for name in ROWS if name.startswith("lateness_")),
}
"""In the order of their running: what is quick first, and before what needs its samples."""

_DESCRIPTION: Final = """\
Measure what Hangup costs beside the naive way: the same work, in the same run, in turns.

Everything runs on this machine: AWS is DynamoDB Local (Java) and a stub over TLS, both in processes
of their own whose CPU does not count. Each run is checked for having done its work. The result is
printed, and written to benchmarks/results.json and the table of the page about them."""

_ROWS_HELP: Final = "rows:\n" + "\n".join(
    f"  {name:<26}  {kind.what}, {kind.unit}" for name, kind in ROWS.items()
)


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=_DESCRIPTION,
        epilog=_ROWS_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="small tables, one round, no minute-long rows, under a minute in all: shows that the "
        "benchmarks work, is no measurement, and writes nothing down",
    )
    parser.add_argument(
        "--rows",
        nargs="+",
        choices=ROWS,
        metavar="NAME",
        help="measure these rows (and those measured along with them) and keep the others as "
        "they were written down",
    )
    parser.add_argument(
        "--rounds", type=int, metavar="N", help=f"how often each side is measured: {FULL.rounds}"
    )
    arguments = parser.parse_args()
    scale = QUICK if arguments.quick else FULL
    if arguments.rounds is not None:
        scale = replace(scale, rounds=arguments.rounds)
    began = time.monotonic()
    # Ended from outside, too, it removes what it made.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))

    def say(text: str) -> None:
        print(f"{time.monotonic() - began:7.1f} s  {text}", file=sys.stderr, flush=True)

    with (
        tempfile.TemporaryDirectory() as certificates,
        folder_for_tables() as folder,
        Endpoints.start(Path(certificates)) as aws,
    ):
        with cpu_limit("look") as limit:
            about = machine(limit)
        before = {} if arguments.quick else read_results(_RESULTS)["samples"]
        run = Run(aws=aws, folder=folder, scale=scale, say=say, before=before)
        for measure, names in _MEASURES.items():
            wanted = set(names) & set(arguments.rows or names)
            if wanted and not (arguments.quick and measure is lateness):
                measure(run)
                if not arguments.quick:
                    # Each at once: what comes next takes minutes, and may fail.
                    _write_down(run, about)
    say(f"done; CPU limited by: {about['cpu_limited_by']}")
    print(printed_table(_rows(run), run.samples))


def _rows(run: Run) -> list[Row]:
    return [
        row_of(name, naive=run.samples[name]["naive"], hangup=run.samples[name]["hangup"])
        for name in ROWS
        if run.samples[name]["hangup"]
    ]


def _write_down(run: Run, about: Mapping[str, str | int]) -> None:
    rows = _rows(run)
    results = write_results(
        _RESULTS,
        rows=rows,
        samples={row.name: run.samples[row.name] for row in rows},
        machine=about,
        versions=versions(),
    )
    write_table(_ROOT / "docs" / "explanation" / "benchmarks.md", results)


if __name__ == "__main__":
    main()
