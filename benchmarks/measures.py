"""What is measured: each function takes the samples of one or more rows, round by round.

CPU is that of the sweep without its process's start (``trial.Sample``), and where clients and TLS
are not what is measured, less that of a sweep with nothing to do, or of a process that has swept
before.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks.endpoints import Endpoints, WorkNotDoneError
from benchmarks.machine import CPU_SHARE, CpuLimit, cpu_limit
from benchmarks.records import Idle
from benchmarks.tables import SHAPE_D, Engine, Tables
from benchmarks.trial import Sample, Side, sweep
from hangup.aws.schema import DEFAULT_SCHEMA, TableSchema
from hangup.config import CLOSES_PER_SECOND
from hangup.core.guard import Activity

__all__ = [
    "FULL",
    "QUICK",
    "Run",
    "Scale",
    "check",
    "check_of_schemas",
    "close_ms",
    "closes",
    "closes_per_sweep",
    "large_sweep",
    "questions",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How much is measured; ``sizes`` are the tables, by the name that their rows have."""

    rounds: int
    cold_starts: int
    heartbeats: int
    sizes: Mapping[str, int]
    small: int
    closes_hangup: int
    closes_naive: int
    sweeps_by_the_clock: bool
    """Whether ``closes_per_sweep_256mb`` is counted in a real minute, where the CPU can be
    limited."""

    @property
    def large(self) -> int:
        """The size of the largest table."""
        return self.sizes["1m"]


FULL: Final = Scale(
    rounds=5,
    cold_starts=9,
    heartbeats=1_000,
    sizes={"10k": 10_000, "100k": 100_000, "1m": 1_000_000},
    small=10_000,
    closes_hangup=3_000,
    closes_naive=100,
    sweeps_by_the_clock=True,
)
QUICK: Final = Scale(
    rounds=1,
    cold_starts=2,
    heartbeats=20,
    sizes={"1m": 10_000},
    small=1_000,
    closes_hangup=200,
    closes_naive=10,
    sweeps_by_the_clock=False,
)

_TEN: Final = 10
"""The size of a table of which nothing but ``Idle.TEN`` is left."""
_FEWER_TIMES: Final = 4
"""A table that is a hundredth of the largest is swept a hundred times, less by this factor."""
_INVOCATION_S: Final = 60.0
"""Lambda's time limit of the timeout handler."""
_MORE_THAN_A_SWEEP: Final = 60_000
"""Idle connections: enough for a sweep to find no end of them."""
_NAIVE_TABLE: Final = 1_000
"""For the naive sweep of a minute a table that it reads in no time: it shall spend it closing."""


@dataclass(slots=True, kw_only=True)
class Run:
    """What all measures need, and the samples they took: row, side, values.

    ``before`` has those of earlier runs, as they were written down.
    """

    aws: Endpoints
    folder: Path
    scale: Scale
    say: Callable[[str], None]
    before: Mapping[str, Mapping[str, Sequence[float]]] = field(default_factory=dict)
    samples: dict[str, dict[str, list[float]]] = field(
        default_factory=lambda: defaultdict(lambda: {"naive": [], "hangup": []})
    )
    _tables: Tables | None = None

    def tables(self) -> Tables:
        """Return the tables in DynamoDB Local, made when they are first asked for."""
        if self._tables is None:
            sizes = sorted({_TEN, self.scale.small, *self.scale.sizes.values()})
            self.say(f"writing tables of {', '.join(f'{size:,}' for size in sizes)} records")
            self._tables = Tables.make(self.folder / "tables", sizes)
        return self._tables

    def rounds(self, what: str) -> Iterator[int]:
        """Yield the number of each round, and say that it begins."""
        for number in range(1, self.scale.rounds + 1):
            self.say(f"{what}: round {number} of {self.scale.rounds}")
            yield number

    def naive(self, name: str, measure: "Callable[[Run], None]") -> Sequence[float]:
        """Return the naive side's samples of a row: of this run, else as before, else measured."""
        now = self.samples[name]["naive"]
        if not now and name in self.before:
            return self.before[name]["naive"]
        if not now:
            measure(self)
        return now

    def take(self, name: str, side: str, value: float) -> None:
        """Keep a sample."""
        self.samples[name][side].append(value)


_MEMORY_ROWS: Final = {"1m": "peak_rss_mb", "10k": "peak_rss_mb_10k"}


# -- check_cpu_per_million and how it grows ---------------------------------------------------


def check(run: Run) -> None:
    """Measure the CPU of finding what is idle, and closing none, on tables of different sizes.

    Hangup's sweep runs in a process that has swept before, as an invocation in a minute does, and
    on small tables many times: there is too little to measure in one. The naive side's is less one
    over ten connections: clients, TLS.
    """
    sizes = run.scale.sizes
    with run.tables().served() as engine:
        for size in sizes.values():
            engine.read_s(size)  # a Java program is slow at first, and not the subject
        for _ in run.rounds("check"):
            naive_base_s = _check(run, engine, "naive-check", _TEN).cpu_s
            for suffix, size in sizes.items():
                naive = _check(run, engine, "naive-check", size)
                times = math.ceil(run.scale.large / size / _FEWER_TIMES)
                row = f"growth_check_cpu_{suffix}"
                for name, idle in ((row, Idle.TEN), (f"{row}_idle", Idle.THOUSANDTH)):
                    sample = _check(run, engine, "hangup-check", size, idle, warm=times)
                    run.take(name, "naive", naive.cpu_s - naive_base_s)
                    run.take(name, "hangup", sample.cpu_s)
                if suffix in _MEMORY_ROWS:
                    run.take(_MEMORY_ROWS[suffix], "naive", naive.peak_rss_mb)
    million = 1_000_000 / run.scale.large
    for side, values in run.samples["growth_check_cpu_1m_idle"].items():
        for value in values:
            run.take("check_cpu_per_million", side, value * million)


def check_of_schemas(run: Run) -> None:
    """Measure the CPU of checking the reference application's table, and one of shape D."""
    size = run.scale.sizes.get("100k", run.scale.small)
    times = math.ceil(run.scale.large / size / _FEWER_TIMES)
    rows = {"schema_check_cpu": DEFAULT_SCHEMA, "schema_check_cpu_shape_d": SHAPE_D}
    with run.tables().served() as engine:
        run.say(f"writing a table of {size:,} records of shape D")
        engine.write_shape_d(size)
        for _ in run.rounds("check of two schemas"):
            for row, schema in rows.items():
                sample = _check(
                    run, engine, "hangup-check", size, Idle.THOUSANDTH, warm=times, schema=schema
                )
                run.take(row, "hangup", sample.cpu_s)


def _check(  # noqa: PLR0913 - what the rows vary
    run: Run,
    engine: Engine,
    side: Side,
    records: int,
    idle: Idle = Idle.TEN,
    *,
    warm: int = 0,
    schema: TableSchema = DEFAULT_SCHEMA,
) -> Sample:
    run.aws.reset(records=0)
    sample = _completed(
        sweep(
            side,
            run.aws,
            table=engine,
            records=records,
            idle=idle,
            remaining_ms=300_000,
            warm=warm,
            schema=schema,
        )
    )
    run.aws.check(closes=0)
    expected = {"checked": records, "idle": idle.count(records)}
    found = {name: sample.report[name] for name in expected}
    if found != expected:
        raise WorkNotDoneError(f"the {side} sweep found {found} instead of {expected}")
    return sample


# -- close_cpu_ms, close_paced_cpu_ms ----------------------------------------------------------


def closes(run: Run) -> None:
    """Measure the CPU of closing, everything over TLS to the stub: claims, too.

    Hangup's with the pace lifted, and at the default one. The naive way is slower than either, so
    it has one sample for both.
    """
    paces = {"close_cpu_ms": 0, "close_paced_cpu_ms": CLOSES_PER_SECOND.default}
    for _ in run.rounds("close"):
        naive_ms = close_ms(run.aws, "naive", run.scale.closes_naive)
        for row, per_second in paces.items():
            run.take(row, "naive", naive_ms)
            ours_ms = close_ms(run.aws, "hangup", run.scale.closes_hangup, per_second=per_second)
            run.take(row, "hangup", ours_ms)


def close_ms(aws: Endpoints, side: Side, number: int, *, per_second: int = 0) -> float:
    """Return the CPU of one close, milliseconds: of so many, less that of a sweep over none.

    ``per_second`` is Hangup's pace, which 0 lifts.
    """
    nothing_s = _closing(aws, side, 0, per_second).cpu_s
    return (_closing(aws, side, number, per_second).cpu_s - nothing_s) / number * 1_000


def _closing(aws: Endpoints, side: Side, number: int, per_second: int) -> Sample:
    aws.reset(records=number)
    sample = _completed(sweep(side, aws, remaining_ms=900_000, closes_per_second=per_second))
    if side == "naive":
        aws.check(closes=number, metrics=number)
    else:
        aws.check(closes=number, claims=number)
    return sample


# -- question_cpu_ms ---------------------------------------------------------------------------


def questions(run: Run) -> None:
    """Measure the CPU of a question where API Gateway's account is the source of activity.

    Every connection is kept, so each question is followed by a write. The naive way has no such.
    """
    for _ in run.rounds("question"):
        nothing_s, all_s = (_asking(run.aws, n).cpu_s for n in (0, run.scale.closes_hangup))
        each_ms = (all_s - nothing_s) / run.scale.closes_hangup * 1_000
        run.take("question_cpu_ms", "hangup", each_ms)


def _asking(aws: Endpoints, number: int) -> Sample:
    aws.reset(records=number, talking=True)
    sample = _completed(sweep("hangup", aws, remaining_ms=900_000, activity=Activity.GATEWAY))
    aws.check(closes=0, claims=number, questions=number)
    return sample


# -- closes_per_sweep_256mb --------------------------------------------------------------------


def closes_per_sweep(run: Run) -> None:
    """Count what a sweep of a minute closes with Lambda's part of a CPU.

    With a quota the two sides run at the same time, each with one and with a stub of its own.
    Hangup's sweep stops by itself, the naive one is ended after the minute, as Lambda ends it.
    Without, it is the CPU of a minute through the CPU of a close.
    """
    with cpu_limit("naive") as naive_limit, cpu_limit("hangup") as hangup_limit:
        if not run.scale.sweeps_by_the_clock or naive_limit is None or hangup_limit is None:
            if not run.samples["close_cpu_ms"]["hangup"]:
                closes(run)
            for side, values in run.samples["close_cpu_ms"].items():
                for close_ms in values:
                    value = _INVOCATION_S * CPU_SHARE * 1_000 / close_ms
                    run.take("closes_per_sweep_256mb", side, math.floor(value))
            return
        with _another_stub(run) as for_naive, ThreadPoolExecutor(2) as threads:
            for _ in run.rounds("closes per sweep, a minute"):
                naive = threads.submit(_naive_minute, for_naive, naive_limit)
                hangup = threads.submit(_hangup_minute, run.aws, hangup_limit)
                run.take("closes_per_sweep_256mb", "naive", naive.result())
                run.take("closes_per_sweep_256mb", "hangup", hangup.result())


@contextmanager
def _another_stub(run: Run) -> Iterator[Endpoints]:
    folder = run.folder / "another"
    folder.mkdir(exist_ok=True)
    with Endpoints.start(folder) as endpoints:
        yield endpoints


def _naive_minute(aws: Endpoints, limit: CpuLimit) -> int:
    aws.reset(records=_NAIVE_TABLE)
    if sweep("naive", aws, limit=limit, dies_after_s=_INVOCATION_S) is not None:
        raise WorkNotDoneError("the naive sweep closed everybody: give it a larger table")
    return aws.counts.get("handovers", 0)


def _hangup_minute(aws: Endpoints, limit: CpuLimit) -> int:
    aws.reset(records=_MORE_THAN_A_SWEEP)
    sample = sweep(
        "hangup",
        aws,
        remaining_ms=round(_INVOCATION_S * 1_000),
        limit=limit,
        dies_after_s=_INVOCATION_S,
    )
    if sample is None:
        raise WorkNotDoneError("Hangup's sweep did not end in time")
    closed = int(sample.report["closed"])
    aws.check(closes=closed, claims=closed)
    if closed == _MORE_THAN_A_SWEEP:
        raise WorkNotDoneError("the sweep closed everybody: give it a larger table")
    return closed


# -- sweep_s_256mb_1m, peak_rss_mb -------------------------------------------------------------


def large_sweep(run: Run) -> None:
    """Measure a whole sweep over the large table, 1 % idle, with Lambda's part of a CPU.

    The invocation has no time limit here: a sweep that needs more than a minute shows how much.
    The naive side's seconds are its CPU for reading and for as many closes, through the part, since
    that is more than an hour. Its memory is that of reading the table.
    """
    scale = run.scale
    million_s = median(run.naive("check_cpu_per_million", check))
    close_ms = median(run.naive("close_cpu_ms", closes))
    for row in _MEMORY_ROWS.values():
        if not run.samples[row]["naive"] and row in run.before:
            run.samples[row]["naive"] += run.before[row]["naive"]
    with cpu_limit("sweep") as limit:
        for _ in run.rounds("sweep over the large table"):
            with run.tables().served() as engine:
                engine.read_s(scale.large)  # a Java program is slow at first, and not the subject
                sample = _large_sweep(run, engine, scale.large, limit)
                run.take("sweep_s_256mb_1m", "hangup", _limited_s(sample, limit))
                run.take("peak_rss_mb", "hangup", sample.peak_rss_mb)
                sample = _large_sweep(run, engine, scale.small, limit)
                run.take("peak_rss_mb_10k", "hangup", sample.peak_rss_mb)
    number = Idle.HUNDREDTH.count(scale.large)
    cpu_s = million_s * scale.large / 1_000_000 + number * close_ms / 1_000
    run.take("sweep_s_256mb_1m", "naive", cpu_s / CPU_SHARE)


def _large_sweep(run: Run, engine: Engine, records: int, limit: CpuLimit | None) -> Sample:
    number = Idle.HUNDREDTH.count(records)
    run.aws.reset(records=0)
    sample = _completed(
        sweep(
            "hangup",
            run.aws,
            table=engine,
            records=records,
            idle=Idle.HUNDREDTH,
            remaining_ms=900_000,
            limit=limit,
        )
    )
    if (sample.report["checked"], sample.report["idle"]) != (records, number):
        raise WorkNotDoneError(f"the sweep did not check {records} records: {sample.report}")
    run.aws.check(closes=number)
    return sample


def _limited_s(sample: Sample, limit: CpuLimit | None) -> float:
    return sample.wall_s if limit else max(sample.wall_s, sample.cpu_s / CPU_SHARE)


def _completed(sample: Sample | None) -> Sample:
    if sample is None:
        raise WorkNotDoneError("the sweep was ended before its end")
    return sample
