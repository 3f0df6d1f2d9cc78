"""JSON as it goes over the wire. orjson takes a quarter of the standard library's CPU time."""

from typing import Any

__all__ = ["from_json", "to_json"]


def to_json(value: object) -> bytes:
    """Return a value as JSON, in UTF-8 and without spaces; no string in it has lone surrogates."""
    import orjson  # noqa: PLC0415 - not before it is needed: it is machine code, as libcurl is

    return orjson.dumps(value)


def from_json(body: bytes) -> Any:  # noqa: ANN401 - JSON
    """Return the value in some JSON. Raises ``ValueError`` if it is none."""
    import orjson  # noqa: PLC0415 - likewise

    return orjson.loads(body)
