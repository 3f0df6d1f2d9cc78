"""Tables of up to a million connections in DynamoDB Local, without the minutes of writing them.

DynamoDB Local writes some 2,000 records a second. Its database is a SQLite file, though, and a
file is written in seconds: the engine makes each table and one record, that record is compared with
what this module would have written (so another release of the engine is found out at once), and
the others follow by SQL. The engine is then started again on a copy of the file.
"""

import hashlib
import json
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from benchmarks.records import Idle, Item, record_of_table, timeout_s
from hangup.aws.schema import DEFAULT_SCHEMA, TableSchema
from hangup.local.ministack.aws_client import aws_client
from tests.support.dynamodb_local import DynamoDbLocal
from tests.support.schemas import SHAPES, table_of
from tests.support.stores import table_definition

__all__ = [
    "PAGE_RECORDS",
    "SHAPE_D",
    "Engine",
    "Tables",
    "folder_for_tables",
    "size_of",
    "table_name",
]

PAGE_RECORDS: Final = 7_000
"""To be read at once. For a page, DynamoDB Local reads *all* that is left of the segment, unlike
DynamoDB, and so it takes the square of a segment's size to read one. Whoever reads a large table
here asks for this many: a little less than the 1 MB that a page has by itself."""

SHAPE_D: Final = SHAPES["D, prefixes"]
"""A table that was not made for Hangup: keys with prefixes, a sort key, times in seconds."""

_BATCH: Final = 25
"""Items of a BatchWriteItem at most (DynamoDB API reference)."""

_DATABASE: Final = "test_us-east-1.db"
"""DynamoDB Local keeps a database for each access key and Region: those of ``local.client``."""
_SALT: Final = b"LocalDdb"
"""What DynamoDB Local puts before a key to hash it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """DynamoDB Local with the tables in it."""

    endpoint: str
    made_at_ms: int

    def timeout_s(self, idle: Idle) -> int:
        """Return the idle timeout, seconds, by which just those are idle."""
        return timeout_s(idle, made_at_ms=self.made_at_ms)

    def write_shape_d(self, records: int) -> None:
        """Make the table of so many records of shape D; its file is as unlike as its key."""
        dynamodb = aws_client("dynamodb", self.endpoint)
        name = table_name(records, SHAPE_D)
        dynamodb.create_table(TableName=name, **table_of(SHAPE_D))
        for first in range(0, records, _BATCH):
            items: Iterator[Any] = (
                record_of_table(number, records=records, made_at_ms=self.made_at_ms)
                for number in range(first, min(first + _BATCH, records))
            )
            puts = [
                {"PutRequest": {"Item": SHAPE_D.encode(DEFAULT_SCHEMA.decode(item))}}
                for item in items
            ]
            dynamodb.batch_write_item(RequestItems={name: puts})

    def read_s(self, records: int) -> float:
        """Read a whole table once; return how long that took. The next time is no slower.

        Raises RuntimeError if it does not have its ``records``.
        """
        dynamodb = aws_client("dynamodb", self.endpoint)
        began, found = time.monotonic(), 0
        start: dict[str, Any] = {}
        while True:
            page = dynamodb.scan(
                TableName=table_name(records), Limit=PAGE_RECORDS, Select="COUNT", **start
            )
            found += page["ScannedCount"]
            if "LastEvaluatedKey" not in page:
                break
            start = {"ExclusiveStartKey": page["LastEvaluatedKey"]}
        if found != records:
            raise RuntimeError(f"the table has {found} records instead of {records}")
        return time.monotonic() - began


@dataclass(frozen=True, slots=True, kw_only=True)
class Tables:
    """The file of tables with different numbers of records, at ``folder``."""

    folder: Path
    made_at_ms: int

    @classmethod
    def make(cls, folder: Path, sizes: Sequence[int]) -> Self:
        """Make the file, with a table of each size. Raises ``Unavailable`` where Java is not."""
        folder.mkdir()
        made_at_ms = time.time_ns() // 1_000_000
        with DynamoDbLocal.start(database=folder) as engine:
            dynamodb = aws_client("dynamodb", engine.endpoint)
            for records in sizes:
                name = table_name(records)
                dynamodb.create_table(TableName=name, **table_definition("connectionId"))
                if records:
                    first = record_of_table(0, records=records, made_at_ms=made_at_ms)
                    dynamodb.put_item(TableName=name, Item=first)
        with closing(sqlite3.connect(folder / _DATABASE)) as database:
            for records in filter(None, sizes):
                _fill(database, records, made_at_ms)
        return cls(folder=folder, made_at_ms=made_at_ms)

    @contextmanager
    def served(self) -> Iterator[Engine]:
        """Run DynamoDB Local on a copy of the file: what is written to it is gone afterwards."""
        with tempfile.TemporaryDirectory(dir=self.folder.parent) as temporary:
            copy = Path(temporary, "database")
            shutil.copytree(self.folder, copy)
            with DynamoDbLocal.start(database=copy) as engine:
                yield Engine(endpoint=engine.endpoint, made_at_ms=self.made_at_ms)


@contextmanager
def folder_for_tables() -> Iterator[Path]:
    """Make a folder in memory where there is one: DynamoDB Local waits for each write to arrive."""
    memory = Path("/dev/shm")  # noqa: S108 - a folder of our own in it
    with tempfile.TemporaryDirectory(
        prefix="hangup-bench-", dir=memory if memory.is_dir() else None
    ) as folder:
        yield Path(folder)


def table_name(records: int, schema: TableSchema = DEFAULT_SCHEMA) -> str:
    """Return the name of the table of so many."""
    return f"connections-{records}" + ("" if schema == DEFAULT_SCHEMA else "-d")


Row = tuple[bytes, bytes, int, bytes, bytes, bytes]
"""An item as DynamoDB Local stores it, in the order of ``_COLUMNS``."""

_COLUMNS: Final = "hashKey, hashValue, itemSize, ObjectJSON, indexKey_0, indexKey_1"


def _row(item: Item) -> Row:
    key = item["connectionId"]["S"].encode()
    return (
        key,
        hashlib.sha1(_SALT + key, usedforsecurity=False).digest(),
        sum(len(name) + size_of(value) for name, value in item.items()),
        json.dumps(item, separators=(",", ":")).encode(),
        item["sessionId"]["S"].encode(),
        item["role"]["S"].encode(),
    )


def size_of(value: dict[str, str]) -> int:
    """Return the size of a string or number as DynamoDB counts it, bytes."""
    if "S" in value:
        return len(value["S"])
    # Two digits a byte, without the pairs of zeros at the end, and one byte for the exponent.
    digits = value["N"]
    while digits.endswith("00"):
        digits = digits[:-2]
    return (len(digits) + 1) // 2 + 1


def _fill(database: sqlite3.Connection, records: int, made_at_ms: int) -> None:
    rows = (
        _row(record_of_table(number, records=records, made_at_ms=made_at_ms))
        for number in range(records)
    )
    first = next(rows)
    table = f'"{table_name(records)}"'
    (stored,) = database.execute(f"SELECT {_COLUMNS} FROM {table}")  # noqa: S608 - our own names
    if not _are_same(stored, first):
        raise RuntimeError(f"DynamoDB Local stores a record as {stored}, not as {first}")
    others = sorted(rows, key=_hash)
    # In the order of its index: a tree that is written in order is written fast.
    database.executemany(
        f"INSERT INTO {table} ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)",  # noqa: S608
        others,
    )
    database.commit()


def _hash(row: Row) -> bytes:
    return row[1]


def _are_same(one: Row, other: Row) -> bool:
    def parsed(row: Row) -> tuple[Any, ...]:
        return (*row[:3], json.loads(row[3]), *row[4:])

    return parsed(one) == parsed(other)
