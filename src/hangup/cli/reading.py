"""What one read of a large table costs: said before it is read."""

from typing import Final

from hangup.aws.table_size import TableSize
from hangup.cli.output import say_aside
from hangup.cli.questions import agreed
from hangup.planner.assumptions import READ_UNIT_BYTES
from hangup.planner.prices import list_prices

_LARGE_BYTES: Final = 1_000_000_000


def may_read(table: str, size: TableSize, *, yes: bool, consistently: bool = False) -> bool:
    """Say what the read of a large table costs, and ask; ``yes`` agrees."""
    if size.bytes < _LARGE_BYTES:
        return True
    # An eventually consistent read is half a unit.
    units = size.bytes / READ_UNIT_BYTES / (1 if consistently else 2)
    usd = units * list_prices().usd["dynamodb_reads"]
    beside = (
        "strongly consistent" if consistently else "as each sweep of the deployed function does"
    )
    say_aside(
        f"{table} has about {size.items:,} items and"
        f" {size.bytes / 1e9:,.1f} GB: one read of it costs about ${usd:.2f} on demand,"
        f" {beside}"
    )
    return agreed("Read it?", yes=yes)
