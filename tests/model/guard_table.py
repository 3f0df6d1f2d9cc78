"""``make guard``: simulate all, and write what it came to into ``docs/explanation/guard.md``.

With names of tables as arguments, only those.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Final

from tests.model.guard_cases import (
    FAULTS,
    Case,
    Sum,
    breaker_cases,
    cases,
    fleets_with_roles,
    gateway_cases,
    other_fleets,
)

_DOCUMENT: Final = Path(__file__).parents[2] / "docs" / "explanation" / "guard.md"
_HEAD: Final = (
    "cut, 19 clients and more | cut, 1 and 5 | idle, closed | idle, left | longest delay |"
    " in sweeps, outside outages | most questions in a sweep | sweeps held |"
)

Row = tuple[str, Case]


def tables() -> dict[str, tuple[str, list[Row]]]:
    """Return what is simulated: the first cells of a table's head and its rows, by its name."""
    rows = [
        (f"{fault.name} | {case.setting.value}, {_pushes(case)}", case)
        for fault in FAULTS
        for case in cases(fault)
    ]
    return {
        "outages": ("fault | setting | runs | ", rows),
        "others": ("fleet | runs | ", list(other_fleets())),
        "roles": ("fleet | runs | ", list(fleets_with_roles())),
        "breaker": ("fleet | runs | ", list(_named_breakers())),
        "gateway": ("recording | setting | runs | ", list(_by_gateway())),
    }


def main(*names: str) -> int:
    """Return 0 if every promise was kept."""
    chosen = tables()
    if unknown := set(names) - chosen.keys():
        raise SystemExit(f"hangup: there is no table {min(unknown)}: {', '.join(chosen)}")
    if names:
        chosen = {name: chosen[name] for name in names}
    for name in chosen:
        around(name)
    broken: list[str] = []
    with ProcessPoolExecutor(os.cpu_count()) as processes:
        for name, (head, of_table) in chosen.items():
            sums = _sums(of_table, processes)
            _write(name, "\n".join(_lines(head + _HEAD, sums)))
            broken += [text for total in sums.values() for text in total.broken]
    for text in broken:
        sys.stderr.write(f"{text}\n")
    return 1 if broken else 0


def _pushes(case: Case) -> str:
    return f"a push each {case.habits.push_s:.0f} s" if case.habits.push_s else "no pushes"


def _named_breakers() -> Iterator[Row]:
    for name, case in breaker_cases():
        yield f"{name}, {'with a breaker' if case.has_breaker else 'as it is'}", case


def _by_gateway() -> Iterator[Row]:
    for case in gateway_cases():
        yield f"{case.fault.name} | {case.setting.value}, {_pushes(case)}", case


def _sums(rows: Sequence[Row], processes: ProcessPoolExecutor) -> dict[str, Sum]:
    sums: dict[str, Sum] = {}
    outcomes = processes.map(Case.run, (case for _, case in rows))
    for (name, case), outcome in zip(rows, outcomes, strict=True):
        sums.setdefault(name, Sum()).add(case, outcome)
        if sys.stderr.isatty():
            sys.stderr.write(f"\r{name[:100]:100}")
    return sums


def _lines(head: str, sums: dict[str, Sum]) -> Iterator[str]:
    yield f"| {head}"
    yield f"|{'---|' * (head.count('|'))}"
    for name, total in sums.items():
        cells = (
            name,
            total.runs,
            f"{total.cut:,}",
            f"{total.cut_of_few:,}",
            f"{total.closed:,}",
            f"{total.unclosed:,}",
            f"{total.delay_ms / 1000:.0f} s",
            total.delay_sweeps_in_peace or "-",
            f"{total.most_questions:,}",
            f"{total.held:,} of {total.sweeps:,}",
        )
        yield f"| {' | '.join(map(str, cells))} |"


def around(name: str) -> tuple[str, str]:
    """Return the page before and after a table, with the table's markers."""
    begin, end = f"<!-- {name}: written by make guard -->\n", f"\n<!-- /{name} -->"
    before, found, rest = _DOCUMENT.read_text().partition(begin)
    _, ends, after = rest.partition(end)
    if not found or not ends:
        raise SystemExit(
            f"hangup: docs/explanation/guard.md has lost the markers of the table {name}"
        )
    return before + begin, end + after


def _write(name: str, table: str) -> None:
    before, after = around(name)
    _DOCUMENT.write_text(before + table + after)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
