"""Turn the EMF lines of a function's log into metrics.

CloudWatch reads them from the log group by itself. In MiniStack 1.5.33 they stay lines.
``embedded_metrics`` is pure: text in, values out.

Specification: Amazon CloudWatch user guide, "Embedded metric format specification".
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from ministack.services import cloudwatch, lambda_svc

Datum = tuple[str, str, float, str, Mapping[str, str]]
"""One value of one metric: namespace, name, value, unit, dimensions."""


def install() -> None:
    """Record the metrics of a log where it is written."""
    emit_logs = lambda_svc._emit_lambda_logs  # noqa: SLF001

    def emit_logs_and_metrics(
        func: object, request_id: str, log_text: str, *arguments: object, **options: object
    ) -> None:
        emit_logs(func, request_id, log_text, *arguments, **options)
        for datum in embedded_metrics(log_text):
            cloudwatch.record_metric(*datum)

    lambda_svc._emit_lambda_logs = emit_logs_and_metrics  # noqa: SLF001


def embedded_metrics(log_text: str) -> Iterator[Datum]:
    """Yield every metric value that the lines of ``log_text`` embed, in order.

    A line that is not an EMF document, or is malformed, is skipped: CloudWatch does the same, and
    no log line may break the invocation that wrote it.
    """
    for line in log_text.splitlines():
        if '"_aws"' in line:
            with suppress(ValueError, TypeError, LookupError, AttributeError):
                yield from list(_values(json.loads(line)))


def _values(document: Any) -> Iterator[Datum]:  # noqa: ANN401 - JSON
    for directive in document["_aws"]["CloudWatchMetrics"]:
        # An empty list of dimension sets means the same as one empty set: no dimensions.
        for dimension_set in directive.get("Dimensions") or [[]]:
            for metric in directive["Metrics"]:
                values = document[metric["Name"]]
                for value in values if isinstance(values, list) else [values]:
                    yield (
                        str(directive["Namespace"]),
                        metric["Name"],
                        float(value),
                        metric.get("Unit", "None"),
                        {name: str(document[name]) for name in dimension_set},
                    )
