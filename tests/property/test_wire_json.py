"""JSON is the same with orjson and without."""

import sys
from importlib.util import module_from_spec, spec_from_file_location
from types import ModuleType
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hangup.aws.http import json as with_orjson
from tests.support.json_values import ANY_JSON


def loaded_without_orjson() -> ModuleType:
    spec = spec_from_file_location("json_without_orjson", with_orjson.__file__)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    with patch.dict(sys.modules, {"orjson": None}):
        spec.loader.exec_module(module)
        assert module.to_json(1) == b"1", "it asks for orjson"
    return module


without_orjson = loaded_without_orjson()

WHOLE = st.integers(-(2**70), 2**70) | st.sampled_from(
    [2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63)]
)


def outcome(read: Any, body: bytes) -> object:
    try:
        # Written out: a float is not the integer that it equals, and what is no number equals none.
        return repr(read(body))
    except ValueError:
        return ValueError


@given(ANY_JSON | WHOLE | st.lists(WHOLE))
@example(["é\u2028", {"a": float("nan")}])
@example(["\ud800", float("inf"), 2**64])
@example({1: "a", None: (1, 2)})
def test_a_value_is_written_alike(value: object) -> None:
    ours, theirs = without_orjson.to_json(value), with_orjson.to_json(value)
    assert repr(without_orjson.from_json(ours)) == repr(without_orjson.from_json(theirs))


@pytest.mark.parametrize("module", [with_orjson, without_orjson])
def test_is_utf8_without_spaces(module: ModuleType) -> None:
    assert module.to_json({"a": ["é\u2028", 1.5]}) == '{"a":["é\u2028",1.5]}'.encode()
    assert module.to_json("\ud83d") == b'"\\ud83d"'


@pytest.mark.parametrize("module", [with_orjson, without_orjson])
@pytest.mark.parametrize("beside", ["", "\ud800", float("nan")])
def test_bytes_are_base64_as_aws_has_them(module: ModuleType, beside: object) -> None:
    written = module.to_json([{"B": b"\x00\xff\x10"}, beside])
    assert module.from_json(written)[0] == {"B": "AP8Q"}


@pytest.mark.parametrize("value", [{"a": object()}, {(1, 2): 3}])
def test_what_has_no_json_is_refused_alike(value: object) -> None:
    for module in (with_orjson, without_orjson):
        with pytest.raises(TypeError):
            module.to_json(value)


@given(
    st.binary(max_size=12)
    | ANY_JSON.map(with_orjson.to_json)
    | WHOLE.map(lambda number: str(number).encode())
)
@example(b"")
@example(b"NaN")
@example(b"1e999")
@example(b"-0")
@example(b'{"a":1,"a":2}')
@example(b'"\\ud800"')
@example(b'"\xff"')
@example(b"\xef\xbb\xbf1")
@example(b"1" * 400)
@example(b"1" * 5_000)
@example(b"{} {}")
@example(b'"a\nb"')
def test_a_text_is_read_alike(body: bytes) -> None:
    assert outcome(without_orjson.from_json, body) == outcome(with_orjson.from_json, body)


def test_what_is_nested_too_deeply_is_refused_alike() -> None:
    for module in (with_orjson, without_orjson):
        with pytest.raises(RecursionError):
            module.from_json(b"[" * 100_000)
