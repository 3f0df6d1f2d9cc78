"""JSON as it goes over the wire. orjson takes a quarter of the standard library's CPU time.

It refuses lone surrogates, which JavaScript leaves where it cuts a character in two, and DynamoDB
keeps. What has any goes the standard library's way.
"""

import json
from typing import Any


def to_json(value: object) -> bytes:
    """Return a value as JSON, in UTF-8 and without spaces."""
    import orjson  # noqa: PLC0415 - not before it is needed: it is machine code, as libcurl is

    try:
        return orjson.dumps(value)
    except TypeError:
        return json.dumps(value, separators=(",", ":")).encode()


def from_json(body: bytes) -> Any:  # noqa: ANN401 - JSON
    """Return the value in some JSON.

    Raises ``ValueError`` if it is not one, ``RecursionError`` if it is nested too deeply.
    """
    import orjson  # noqa: PLC0415 - likewise

    try:
        return orjson.loads(body)
    except ValueError:
        return json.loads(body)
