"""What the samples come to: medians, spread, ratios, ``results.json``, and the documented table."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

__all__ = ["ROWS", "TABLE_BEGIN", "TABLE_END", "Row", "RowKind", "documented_table", "row_of"]

TABLE_BEGIN: Final = "<!-- benchmarks: written by make bench -->"
_WHOLE_FROM: Final = 100
"""From here on three digits have no decimals."""
TABLE_END: Final = "<!-- /benchmarks -->"


@dataclass(frozen=True, slots=True, kw_only=True)
class RowKind:
    """What a row says: its unit, in words, and which way is better."""

    unit: str
    what: str
    target: str = ""
    more_is_better: bool = False


_CHECK: Final = "client CPU to check {} connections, {} idle"

ROWS: Final[Mapping[str, RowKind]] = {
    "check_cpu_per_million": RowKind(
        unit="s", what=_CHECK.format("1 M", "0.1 %"), target="≥ 80 times less, ≤ 0.5"
    ),
    "close_cpu_ms": RowKind(
        unit="ms",
        what="CPU of one close: question, claim, notice, delete, hand-over, over TLS",
        target="≥ 120 times less, ≤ 0.42",
    ),
    "close_paced_cpu_ms": RowKind(
        unit="ms",
        what="the same at the default pace of 200 a second; the naive way is slower",
    ),
    "question_cpu_ms": RowKind(
        unit="ms",
        what="CPU of a question with `ACTIVITY` = `gateway`: asked, and the time written, over TLS",
    ),
    "closes_per_sweep_256mb": RowKind(
        unit="closes",
        what="closes in one 60 s sweep at 0.15 CPU, pace lifted",
        target="≥ 15,000",
        more_is_better=True,
    ),
    "sweep_s_256mb_1m": RowKind(
        unit="s",
        what="a sweep over 1 M records at 0.15 CPU, 10,000 closes included; naive: computed",
        target="≤ 36",
    ),
    "peak_rss_mb": RowKind(unit="MB", what="peak memory of that sweep", target="≤ 128"),
    "peak_rss_mb_10k": RowKind(
        unit="MB", what="the same at 10,000 records", target="within 10 % of the one above"
    ),
    "cold_start_cpu_ms": RowKind(
        unit="ms",
        what="CPU of the timeout handler's import and first client",
        target="≤ half of naive",
    ),
    "cold_start_message_cpu_ms": RowKind(
        unit="ms",
        what="CPU of the message handler's import and first message, over TLS",
        target="≤ half of naive",
    ),
    "heartbeat_cpu_ms": RowKind(
        unit="ms",
        what="CPU of a heartbeat: recorded and acknowledged, over TLS",
        target="≤ a third of naive",
    ),
    "lateness_p50_ms": RowKind(
        unit="ms", what="close after the deadline, median, a sweep a minute, real sockets"
    ),
    "lateness_p99_ms": RowKind(unit="ms", what="the same, 99th percentile"),
    "lateness_precise_p50_ms": RowKind(
        unit="ms", what="close after the deadline, median, `precise`, real sockets"
    ),
    "lateness_precise_p99_ms": RowKind(
        unit="ms", what="the same, 99th percentile", target="≤ 1,500"
    ),
    "zip_mb": RowKind(unit="MB", what="size of the Lambda zip", target="≤ 10"),
    "schema_check_cpu": RowKind(
        unit="s", what=_CHECK.format("100 k", "0.1 %") + ", in the reference application's table"
    ),
    "schema_check_cpu_shape_d": RowKind(
        unit="s",
        what="the same in a table with prefixes, a sort key, and times in seconds",
        target="≤ 1.5 times the one above",
    ),
    "growth_check_cpu_10k": RowKind(
        unit="s", what=_CHECK.format("10 k", "10"), target="flat per page"
    ),
    "growth_check_cpu_100k": RowKind(unit="s", what=_CHECK.format("100 k", "10")),
    "growth_check_cpu_1m": RowKind(unit="s", what=_CHECK.format("1 M", "10")),
    "growth_check_cpu_10k_idle": RowKind(
        unit="s", what=_CHECK.format("10 k", "0.1 %"), target="linear in idle connections"
    ),
    "growth_check_cpu_100k_idle": RowKind(unit="s", what=_CHECK.format("100 k", "0.1 %")),
    "growth_check_cpu_1m_idle": RowKind(unit="s", what=_CHECK.format("1 M", "0.1 %")),
}
"""All rows, in the order of the table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Medians of both sides, and how many times better Hangup's is (None without a naive side)."""

    name: str
    unit: str
    naive: float | None
    hangup: float
    ratio: float | None


def row_of(name: str, *, naive: Sequence[float], hangup: Sequence[float]) -> Row:
    """Return the row of these samples; ``naive`` may be empty."""
    kind = ROWS[name]
    ours = _rounded(median(hangup))
    theirs = _rounded(median(naive)) if naive else None
    ratio = None
    if theirs and ours > 0:  # what is subtracted may be more than a small measure itself
        ratio = _rounded(ours / theirs if kind.more_is_better else theirs / ours)
    return Row(name=name, unit=kind.unit, naive=theirs, hangup=ours, ratio=ratio)


def spread(samples: Sequence[float]) -> str:
    """Return the least and the most of the samples, as text."""
    return f"{_text(min(samples))} - {_text(max(samples))}" if samples else ""


def printed_table(rows: Iterable[Row], samples: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
    """Return the rows as a table for a terminal."""
    lines = [("row", "unit", "naive", "(spread)", "hangup", "(spread)", "ratio", "target")]
    for row in rows:
        of = samples[row.name]
        lines.append((
            row.name, row.unit, _text(row.naive), spread(of["naive"]), _text(row.hangup),
            spread(of["hangup"]), _text(row.ratio), ROWS[row.name].target,
        ))  # fmt: skip
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def documented_table(results: Mapping[str, Any]) -> str:
    """Return ``results.json`` as the page has it, between its markers."""
    machine, versions = results["machine"], results["versions"]
    lines = [
        "| Row | What | Unit | Naive | Hangup | Ratio | Target |",
        "|---|---|---|---|---|---|---|",
    ]
    for entry in results["rows"]:
        row = Row(**entry)
        kind = ROWS[row.name]
        lines.append(
            f"| `{row.name}` | {kind.what} | {row.unit} | {_text(row.naive)} | {_text(row.hangup)}"
            f" | {_text(row.ratio)} | {kind.target} |"
        )
    counts = [
        len(samples["hangup"]) for name, samples in results["samples"].items() if name != "zip_mb"
    ] or [1]
    measured_on = (
        f"Medians of {min(counts)} to {max(counts)} rounds, of 100 clients each for the lateness,"
        f" measured on {machine['cores']} cores of {machine['cpu']}, {machine['memory_gb']} GB,"
        f" {machine['system']}; CPU limited by: {machine['cpu_limited_by']}. Python"
        f" {versions['python']}, boto3 {versions['boto3']}."
    )
    lines += ["", measured_on]
    return "\n".join(lines)


def read_results(file: Path) -> dict[str, Any]:
    """Return what was written down, or nothing yet."""
    results: dict[str, Any] = {"rows": [], "samples": {}}
    return json.loads(file.read_text()) if file.exists() else results


def write_results(
    file: Path,
    *,
    rows: Iterable[Row],
    samples: Mapping[str, Mapping[str, Sequence[float]]],
    machine: Mapping[str, object],
    versions: Mapping[str, str],
) -> dict[str, Any]:
    """Write ``results.json`` and return it; rows that were not measured now stay as they were."""
    before = read_results(file)
    by_name = {row["name"]: row for row in before["rows"]}
    by_name |= {row.name: asdict(row) for row in rows}
    all_samples = {**before["samples"], **samples}
    results = {
        "rows": [by_name[name] for name in ROWS if name in by_name],
        "machine": machine,
        "versions": versions,
        "samples": {name: all_samples[name] for name in ROWS if name in all_samples},
    }
    file.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    return results


def write_table(page: Path, results: Mapping[str, Any]) -> None:
    """Put the table between the page's markers."""
    text = page.read_text()
    before, begin, rest = text.partition(TABLE_BEGIN)
    _, end, after = rest.partition(TABLE_END)
    if not begin or not end:
        raise ValueError(f"{page.name} has no place for the benchmarks' table")
    page.write_text(f"{before}{begin}\n{documented_table(results)}\n{end}{after}")


def _rounded(value: float) -> float:
    """Return three significant digits of a number: no benchmark is better than that."""
    return float(f"{value:.3g}")


def _text(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{_rounded(value):,.0f}" if abs(value) >= _WHOLE_FROM else f"{_rounded(value):g}"
