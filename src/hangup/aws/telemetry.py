"""Logs and metrics, as structured lines on standard output (CloudWatch reads both there)."""

import json
from collections.abc import Sequence
from functools import partial
from itertools import groupby
from typing import Final

from aws_lambda_powertools import Logger
from aws_lambda_powertools.metrics.provider.cloudwatch_emf.cloudwatch import (
    AmazonCloudWatchEMFProvider,
)

from hangup.core.report import NAMESPACE, Count, Metric

__all__ = ["EmfMetrics", "StructuredLog"]

_CALLER: Final = 3
"""Frames from Powertools to who logs: that is the ``location`` of a line, not this file."""


# ASCII only: readers that know Unicode take U+0085 and U+2028 for the end of a line.
_AS_JSON: Final = partial(json.dumps, separators=(",", ":"), default=str)


class StructuredLog:
    """``Log`` as one JSON object a line, each with the correlation id of the invocation."""

    def __init__(self, service: str, *, level: str | None = None) -> None:
        self._logger = Logger(service=service, level=level, json_serializer=_AS_JSON)

    def correlate(self, correlation_id: str) -> None:
        """Put this id on every line from here on."""
        self._logger.set_correlation_id(correlation_id)

    def info(self, event: str, **fields: object) -> None:
        """Log a normal outcome."""
        self._logger.info(event, extra=fields, stacklevel=_CALLER)

    def warning(self, event: str, **fields: object) -> None:
        """Log something that went wrong and does not stop the work."""
        self._logger.warning(event, extra=fields, stacklevel=_CALLER)

    def error(self, event: str, **fields: object) -> None:
        """Log something that failed."""
        self._logger.error(event, extra=fields, stacklevel=_CALLER)


class EmfMetrics:
    """``Metrics`` in CloudWatch Embedded Metric Format: one document per set of dimensions."""

    def emit(self, metrics: Sequence[Metric]) -> None:
        """Put every metric, each name once per set of dimensions.

        A document has at most 100 values of a metric (CloudWatch user guide, embedded metric format
        specification): Powertools writes one by itself whenever it is full.
        """

        def dimensions(metric: Metric) -> list[tuple[str, str]]:
            return sorted(metric.dimensions.items())

        for dimension_set, group in groupby(sorted(metrics, key=dimensions), key=dimensions):
            document = AmazonCloudWatchEMFProvider(
                namespace=NAMESPACE,
                dimension_set=dict(dimension_set),
                # Empty, not None: a service name from the environment would become a dimension,
                # and the alarms look at metrics without it.
                service="",
            )
            for metric in group:
                unit, values = (
                    ("Count", [metric.value])
                    if isinstance(metric, Count)
                    else ("Milliseconds", metric.values)
                )
                for value in values:
                    document.add_metric(name=metric.name, unit=unit, value=value)
            if document.metric_set:
                print(json.dumps(document.serialize_metric_set()))  # noqa: T201 - EMF is read here
