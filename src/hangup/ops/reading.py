"""What it costs to read a table once, said before it is read."""

from dataclasses import dataclass
from typing import Final

from hangup.planner.prices import list_prices

LARGE_BYTES: Final = 100_000_000
"""From this size on, whoever reads all of a table is asked first. It takes some 12,000 units, as
many as a new on-demand table gives in a second, and about a hundred pages."""

_BYTES_PER_UNIT: Final = 8_192
"""Of a read that is eventually consistent (DynamoDB developer guide)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One read of a whole table, by DynamoDB's own count, which is up to six hours old."""

    items: int
    size_bytes: int

    @property
    def units(self) -> int:
        """Read units that it takes."""
        return -(-self.size_bytes // _BYTES_PER_UNIT)

    @property
    def usd(self) -> float:
        """What they cost on demand."""
        return self.units * list_prices().usd["dynamodb_reads"]

    @property
    def is_large(self) -> bool:
        """Whether to ask first."""
        return self.size_bytes >= LARGE_BYTES

    def __str__(self) -> str:
        """Return it in words."""
        megabytes = self.size_bytes / 1_000_000
        return (
            f"{self.items:,} items, {megabytes:,.0f} MB: {self.units:,} read units,"
            f" about ${self.usd:.2f} on demand"
        )
