"""What one read of a large table costs: said before it is read."""

from typing import Final

from hangup.aws.table_size import TableSize
from hangup.cli.output import say_aside
from hangup.cli.questions import agreed

_LARGE_BYTES: Final = 1_000_000_000
_USD_PER_READ_UNIT: Final = 0.125 / 1_000_000
_BYTES_PER_READ_UNIT: Final = 8_192
"""On demand, us-east-1, as in ``planner/prices.json``. Such a scan costs half of that unit."""


def may_read(table: str, size: TableSize, *, yes: bool) -> bool:
    """Say what the read of a large table costs, and ask; ``yes`` agrees."""
    if size.bytes < _LARGE_BYTES:
        return True
    usd = size.bytes / _BYTES_PER_READ_UNIT * _USD_PER_READ_UNIT
    say_aside(
        f"{table} has about {size.items:,} items and"
        f" {size.bytes / 1e9:,.1f} GB: one read of it costs about ${usd:.2f} on demand, as each"
        " sweep of the deployed function does"
    )
    return agreed("Read it?", yes=yes)
