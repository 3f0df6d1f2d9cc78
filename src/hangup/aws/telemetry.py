"""Logs and metrics, as structured lines on standard output (CloudWatch reads both there)."""

import json
import os
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import groupby
from typing import Final

from aws_lambda_powertools import Logger
from aws_lambda_powertools.metrics.provider.cloudwatch_emf.cloudwatch import (
    AmazonCloudWatchEMFProvider,
)

from hangup.config import LOG_LEVEL
from hangup.core.report import NAMESPACE, Count, Metric

_CALLER: Final = 3
"""Frames from Powertools to who logs: that is the ``location`` of a line, not this file."""

_MAX_VALUES: Final = 100
"""A document has at most this many values of a metric (CloudWatch user guide, embedded metric
format specification)."""

# ASCII only: readers that know Unicode take U+0085 and U+2028 for the end of a line.
_AS_JSON: Final = partial(json.dumps, separators=(",", ":"), default=str)


def log_level_to_start_with(env: Mapping[str, str] = os.environ) -> str | None:
    """Return INFO where the environment names no level that there is, None where it does.

    Loggers are made when a module is imported, and a wrong level must not break that: the settings
    of a handler refuse it by name when it is called, and a decorated function goes on.
    """
    # Powertools, which makes the loggers, reads these two in this order.
    level = env.get("POWERTOOLS_LOG_LEVEL") or env.get("LOG_LEVEL") or "INFO"
    return None if LOG_LEVEL.accepted.accepts(level) else "INFO"


class StructuredLog:
    """``Log`` as one JSON object a line, each with the correlation id of the invocation."""

    def __init__(self, service: str, *, level: str | None = None) -> None:
        self._logger = Logger(
            service=service, level=level or log_level_to_start_with(), json_serializer=_AS_JSON
        )

    def correlate(self, correlation_id: str) -> None:
        """Put this id on every line from here on."""
        self._logger.set_correlation_id(correlation_id)

    def debug(self, event: str, **fields: object) -> None:
        """Log what is worth a line only to somebody who looks for it."""
        self._logger.debug(event, extra=fields, stacklevel=_CALLER)

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
    """``Metrics`` in CloudWatch Embedded Metric Format, in one namespace.

    Each document has one set of dimensions, and up to 100 values of each metric.
    """

    def __init__(self, namespace: str = NAMESPACE) -> None:
        self._namespace = namespace

    def emit(self, metrics: Sequence[Metric]) -> None:
        """Put every metric; there is one of each name for a set of dimensions."""

        def dimensions(metric: Metric) -> list[tuple[str, str]]:
            return sorted(metric.dimensions.items())

        for dimension_set, group in groupby(sorted(metrics, key=dimensions), key=dimensions):
            document = AmazonCloudWatchEMFProvider(
                namespace=self._namespace,
                dimension_set=dict(dimension_set),
                # Empty, not None: a service name from the environment would become a dimension,
                # and the alarms look at metrics without it.
                service="",
            )
            # All values of a metric at once. ``add_metric`` takes one, and renders all that it has
            # taken before for a debug line of its own: 10 us for each close of a sweep.
            series = {metric.name: _series(metric) for metric in group}
            most = max(len(values) for _, values in series.values())
            for start in range(0, most, _MAX_VALUES):
                part = {
                    name: {"Unit": unit, "Value": values[start : start + _MAX_VALUES]}
                    for name, (unit, values) in series.items()
                    if start < len(values)
                }
                print(json.dumps(document.serialize_metric_set(part)))  # noqa: T201 - EMF is read here


def _series(metric: Metric) -> tuple[str, Sequence[int]]:
    """Return a metric's unit and its values."""
    if isinstance(metric, Count):
        return "Count", (metric.value,)
    return "Milliseconds", metric.values
