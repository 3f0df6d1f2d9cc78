"""CloudWatch Embedded Metric Format, as far as Lambda functions use it.

On AWS, CloudWatch reads these lines from a function's log group by itself. MiniStack does not, so
the local runner does it (see ``engine_functions``). Pure: text in, values out.

Specification: Amazon CloudWatch user guide, "Embedded metric format specification".
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import cast

__all__ = ["Datum", "embedded_metrics"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Datum:
    """One value of one metric: what PutMetricData takes."""

    namespace: str
    name: str
    value: float
    unit: str
    dimensions: Mapping[str, str]


def embedded_metrics(log_text: str) -> Iterator[Datum]:
    """Yield every metric value that the lines of ``log_text`` embed, in order.

    A line that is no EMF document, or a malformed one, is skipped: CloudWatch does the same, and
    an ordinary log line must never be able to break the invocation that wrote it.
    """
    for line in log_text.splitlines():
        if '"_aws"' not in line:
            continue
        try:
            document = json.loads(line)
        except ValueError:
            continue
        if isinstance(document, dict):
            yield from _document_metrics(cast("dict[str, object]", document))


def _document_metrics(document: dict[str, object]) -> Iterator[Datum]:
    header = document.get("_aws")
    directives = header.get("CloudWatchMetrics") if isinstance(header, dict) else None
    for directive in _objects(directives):
        namespace = directive.get("Namespace")
        if not isinstance(namespace, str):
            continue
        # An empty list of dimension sets means the same as one empty set: no dimensions.
        for dimension_set in _lists(directive.get("Dimensions")) or [[]]:
            names = [name for name in dimension_set if isinstance(name, str)]
            dimensions = {name: str(document[name]) for name in names if name in document}
            for metric in _objects(directive.get("Metrics")):
                name, unit = metric.get("Name"), metric.get("Unit")
                if not isinstance(name, str):
                    continue
                for value in _numbers(document.get(name)):
                    yield Datum(
                        namespace=namespace,
                        name=name,
                        value=value,
                        unit=unit if isinstance(unit, str) else "None",
                        dimensions=dimensions,
                    )


def _objects(value: object) -> list[dict[str, object]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _lists(value: object) -> list[list[object]]:
    return [item for item in value if isinstance(item, list)] if isinstance(value, list) else []


def _numbers(value: object) -> list[float]:
    """Return the value, or the values of an array, that are numbers (``bool`` is none)."""
    values = value if isinstance(value, list) else [value]
    return [
        float(item)
        for item in values
        if isinstance(item, (int, float)) and not isinstance(item, bool)
    ]
