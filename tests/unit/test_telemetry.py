"""Log lines and metric documents, byte for byte where somebody else reads them."""

import io
import json
import logging
from typing import Any
from uuid import uuid4

import pytest

from hangup.aws.telemetry import EmfMetrics, StructuredLog
from hangup.core.connection import DurationMs
from hangup.core.report import Count, Durations
from hangup.handlers import close_handler, timeout_handler
from tests.support.aws_stub import AwsStub
from tests.support.idle_world import Context


class Captured:
    """A log with a stream of its own, and the lines in it."""

    def __init__(self) -> None:
        service = f"service-{uuid4().hex}"
        self.log = StructuredLog(service)
        self._stream = io.StringIO()
        (handler,) = logging.getLogger(service).handlers
        assert isinstance(handler, logging.StreamHandler)
        handler.setStream(self._stream)

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._stream.getvalue().splitlines()]


@pytest.fixture
def captured() -> Captured:
    return Captured()


class TestLog:
    def test_a_line_is_one_json_object_with_the_fields_and_the_correlation_id(
        self, captured: Captured
    ) -> None:
        captured.log.correlate("tick-1")
        captured.log.info("connection cleaned up", connectionId="c1=", sessionId=None, n=3)
        (line,) = captured.lines
        assert line["level"] == "INFO"
        assert line["message"] == "connection cleaned up"
        assert line["correlation_id"] == "tick-1"
        assert (line["connectionId"], line["n"]) == ("c1=", 3)

    def test_each_level_is_said(self, captured: Captured) -> None:
        captured.log.info("a")
        captured.log.warning("b")
        captured.log.error("c")
        assert [line["level"] for line in captured.lines] == ["INFO", "WARNING", "ERROR"]

    def test_an_id_stays_until_the_next_one(self, captured: Captured) -> None:
        for correlation_id in ("first", "second"):
            captured.log.correlate(correlation_id)
            captured.log.info("a")
            captured.log.info("b")
        assert [line["correlation_id"] for line in captured.lines] == ["first"] * 2 + ["second"] * 2

    @pytest.mark.parametrize(
        "text",
        [
            'x\n{"level":"INFO","message":"forged"}',
            "a\r\nb",
            "a\u2028b\u0085c",
            '", "level": "x',
            "\x00\x1b[2J",
        ],
    )
    def test_nothing_in_a_field_makes_a_line_of_its_own(
        self, captured: Captured, text: str
    ) -> None:
        captured.log.correlate(text)
        captured.log.error(text, error=text)
        (line,) = captured.lines
        assert line["message"] == line["error"] == line["correlation_id"] == text
        assert line["level"] == "ERROR"

    def test_a_line_says_where_it_was_logged(self, captured: Captured) -> None:
        captured.log.info("a")
        assert captured.lines[0]["location"].startswith("test_a_line_says_where_it_was_logged:")

    def test_the_level_comes_from_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("POWERTOOLS_LOG_LEVEL", "ERROR")
        captured = Captured()
        captured.log.warning("not said")
        captured.log.error("said")
        assert [line["message"] for line in captured.lines] == ["said"]

    def test_a_level_that_there_is_not_breaks_no_import(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("LOG_LEVEL", "TRACE")
        captured = Captured()
        captured.log.info("said")
        assert [line["message"] for line in captured.lines] == ["said"]


COUNTS = [
    Count(name="ConnectionsChecked", value=7),
    Count(name="ConnectionTimeout", value=1, dimensions={"Role": "speaker", "Reason": "GONE"}),
    Count(name="IdleConnectionsDetected", value=0),
    Count(name="ConnectionTimeout", value=2, dimensions={"Role": "listener", "Reason": "GONE"}),
]


class TestMetrics:
    @pytest.fixture(params=[None, "somebody-elses-service"])
    def documents(
        self,
        request: pytest.FixtureRequest,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> list[dict[str, Any]]:
        if request.param is not None:
            monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", request.param)
            monkeypatch.setenv("POWERTOOLS_METRICS_NAMESPACE", request.param)
        EmfMetrics().emit(COUNTS)
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    def test_one_document_for_each_set_of_dimensions_and_no_dimension_more(
        self, documents: list[dict[str, Any]]
    ) -> None:
        for document in documents:
            document["_aws"].pop("Timestamp")
        counts = [
            {"Name": name, "Unit": "Count"}
            for name in ("ConnectionsChecked", "IdleConnectionsDetected")
        ]
        timeout = {"Name": "ConnectionTimeout", "Unit": "Count"}
        assert documents == [
            {
                "_aws": {
                    "CloudWatchMetrics": [
                        {"Namespace": "Hangup", "Dimensions": [[]], "Metrics": counts}
                    ]
                },
                "ConnectionsChecked": [7.0],
                "IdleConnectionsDetected": [0.0],
            },
            *(
                {
                    "_aws": {
                        "CloudWatchMetrics": [
                            {
                                "Namespace": "Hangup",
                                "Dimensions": [["Reason", "Role"]],
                                "Metrics": [timeout],
                            }
                        ]
                    },
                    "Reason": "GONE",
                    "Role": role,
                    "ConnectionTimeout": [float(value)],
                }
                for role, value in (("listener", 2), ("speaker", 1))
            ),
        ]

    def test_the_time_is_in_epoch_milliseconds(self, documents: list[dict[str, Any]]) -> None:
        for document in documents:
            assert 1_600_000_000_000 < document["_aws"]["Timestamp"] < 10**13

    def test_all_go_to_the_namespace_of_the_deployment(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        EmfMetrics("Hangup/Chat").emit(COUNTS)
        documents = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        (namespace,) = {d["_aws"]["CloudWatchMetrics"][0]["Namespace"] for d in documents}
        assert namespace == "Hangup/Chat"

    def test_nothing_to_say_is_nothing_said(self, capsys: pytest.CaptureFixture[str]) -> None:
        EmfMetrics().emit([])
        assert capsys.readouterr().out == ""

    @pytest.mark.parametrize("number", [1, 99, 100, 101, 250])
    def test_durations_are_arrays_of_100_values_at_most_and_none_is_lost(
        self, number: int, capsys: pytest.CaptureFixture[str]
    ) -> None:
        values = [DurationMs(n) for n in range(number)]
        EmfMetrics().emit(
            [
                Count(name="ConnectionsClosed", value=number),
                Durations(name="CloseLateness", values=values),
                Count(name="ConnectionTimeout", value=2, dimensions={"Role": "speaker"}),
            ]
        )
        documents = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        arrays = [document.get("CloseLateness", []) for document in documents]
        assert [value for array in arrays for value in array] == values
        assert max(map(len, arrays)) <= 100
        assert sum(sum(d.get("ConnectionsClosed", [])) for d in documents) == number
        assert sum(sum(d.get("ConnectionTimeout", [])) for d in documents) == 2
        units = {
            metric["Name"]: metric["Unit"]
            for document in documents
            for metric in document["_aws"]["CloudWatchMetrics"][0]["Metrics"]
        }
        assert units == {
            "ConnectionsClosed": "Count",
            "CloseLateness": "Milliseconds",
            "ConnectionTimeout": "Count",
        }


@pytest.mark.parametrize("handler", ["timeout", "close"])
def test_both_functions_that_close_measure_in_the_namespace_of_their_deployment(
    aws: AwsStub,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    handler: str,
) -> None:
    monkeypatch.setenv("METRICS_NAMESPACE", "Hangup/Chat")
    if handler == "timeout":
        timeout_handler.lambda_handler({}, Context())
    else:
        monkeypatch.setenv("CLOSE_QUEUE_URL", "https://sqs.us-east-1.amazonaws.com/1/due")
        close_handler.lambda_handler({"Records": []}, Context())
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    (namespace,) = {
        directive["Namespace"]
        for line in lines
        for directive in line.get("_aws", {}).get("CloudWatchMetrics", [])
    }
    assert namespace == "Hangup/Chat"
