"""JSON as it goes over the wire. orjson takes a quarter of the standard library's CPU time.

Where orjson is not installed, and for the little that it refuses, the standard library does the
same. orjson refuses lone surrogates, which JavaScript leaves where it cuts a character in two, and
DynamoDB keeps.
"""

import json
from base64 import b64encode
from functools import partial
from importlib.util import find_spec
from typing import Any, Final

# Looked up and not imported: it is machine code, as libcurl is.
_HAS_ORJSON: Final = find_spec("orjson") is not None


def _plain(value: object) -> str:
    if not isinstance(value, bytes):
        raise TypeError(f"{type(value).__name__} is not JSON")
    return b64encode(value).decode()


_as_text: Final = partial(json.dumps, separators=(",", ":"), allow_nan=False, default=_plain)


def to_json(value: object) -> bytes:
    """Return a value as JSON, in UTF-8 and without spaces.

    NaN and infinities become null, and bytes become base64, as AWS writes them.
    """
    if not _HAS_ORJSON:
        return _to_json(value)
    import orjson  # noqa: PLC0415 - not before it is needed

    try:
        return orjson.dumps(value, default=_plain)
    except TypeError:
        return _to_json(value)


def from_json(body: bytes) -> Any:  # noqa: ANN401 - JSON
    """Return the value in some JSON. A whole number that takes more than 64 bits becomes a float.

    Raises ``ValueError`` if it is not one, ``RecursionError`` if it is nested too deeply.
    """
    if not _HAS_ORJSON:
        return _from_json(body)
    import orjson  # noqa: PLC0415 - likewise

    try:
        return orjson.loads(body)
    except ValueError:
        return _from_json(body)


def _to_json(value: object) -> bytes:
    try:
        text = _as_text(value, ensure_ascii=False)
    except ValueError:  # there are no such floats in JSON
        value = json.loads(json.dumps(value, default=_plain), parse_constant=lambda _: None)
        text = _as_text(value, ensure_ascii=False)
    try:
        return text.encode()
    except UnicodeEncodeError:  # a lone surrogate has an escape, and no UTF-8
        return _as_text(value).encode()


def _from_json(body: bytes) -> Any:  # noqa: ANN401 - JSON
    return json.loads(body, parse_int=_whole_number)


def _whole_number(digits: str) -> float:
    number = int(digits)
    return number if -(2**63) <= number < 2**64 else float(digits)
