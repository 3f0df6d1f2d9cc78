"""Embedded metrics in what a function logs."""

import json
from typing import Any

import pytest

from hangup.local.ministack.patches.embedded_metrics import Datum, embedded_metrics


def _document(**changes: object) -> dict[str, Any]:
    directive = {
        "Namespace": "Hangup",
        "Dimensions": [["Role", "Reason"]],
        "Metrics": [{"Name": "ConnectionTimeout", "Unit": "Count"}],
    }
    return {
        "_aws": {"Timestamp": 1, "CloudWatchMetrics": [directive]},
        "Role": "speaker",
        "Reason": "GONE",
        "ConnectionTimeout": [2.0],
        **changes,
    }


def _datum(value: float, **dimensions: str) -> Datum:
    return ("Hangup", "ConnectionTimeout", value, "Count", dimensions)


def test_reads_metrics_among_other_lines() -> None:
    log = "\n".join(["START", json.dumps(_document()), '{"message": "sweep done"}', "END"])
    assert list(embedded_metrics(log)) == [_datum(2, Role="speaker", Reason="GONE")]


def test_reads_every_value_of_an_array_and_a_single_number() -> None:
    for values, expected in (([1, 0], [1, 0]), (3, [3])):
        document = _document(ConnectionTimeout=values)
        found = [value for _, _, value, _, _ in embedded_metrics(json.dumps(document))]
        assert found == expected


def test_keeps_the_unit_of_each_metric() -> None:
    document = _document(CloseLateness=[12.0, 700.0])
    directive = document["_aws"]["CloudWatchMetrics"][0]
    directive["Metrics"].append({"Name": "CloseLateness", "Unit": "Milliseconds"})
    found = [
        (name, unit, value) for _, name, value, unit, _ in embedded_metrics(json.dumps(document))
    ]
    assert found == [
        ("ConnectionTimeout", "Count", 2),
        ("CloseLateness", "Milliseconds", 12),
        ("CloseLateness", "Milliseconds", 700),
    ]


@pytest.mark.parametrize("dimensions", [[], [[]]])
def test_no_dimension_set_means_no_dimensions(dimensions: list[list[str]]) -> None:
    document = _document()
    document["_aws"]["CloudWatchMetrics"][0]["Dimensions"] = dimensions
    assert list(embedded_metrics(json.dumps(document))) == [_datum(2)]


@pytest.mark.parametrize(
    "line",
    [
        '{"_aws": ',
        '["_aws"]',
        '{"_aws": 1}',
        '{"_aws": {"CloudWatchMetrics": 1}}',
        '{"_aws": {"CloudWatchMetrics": [1, {"Namespace": 1}]}}',
        '{"_aws": {"CloudWatchMetrics": [{"Namespace": "N", "Metrics": [1, {"Name": 1}]}]}}',
        '{"_aws": {"CloudWatchMetrics": [{"Namespace": "N", "Metrics": [{"Name": "A"}]}]}}',
    ],
)
def test_malformed_document_is_skipped(line: str) -> None:
    assert list(embedded_metrics(line)) == []
