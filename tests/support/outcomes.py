"""What each operation does under each fault: as documented, and as seen.

The table in docs/explanation/reliability.md is what the tests expect. A whole run of the matrix
writes it with ``HANGUP_UPDATE_DOCS=1``.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from tests.support.proxy import ANSWER_LOST

__all__ = [
    "CLEANUP",
    "FAULTS",
    "JOIN",
    "LASTING",
    "MESSAGE",
    "OUTLASTING",
    "QUEUE",
    "RETRIED",
    "SWEEP",
    "Outcomes",
    "fault_rule",
    "service_rule",
]

DOCUMENT: Final = Path(__file__).parents[2] / "docs" / "explanation" / "reliability.md"
BEGIN: Final = "<!-- written by tests/faults -->\n"
END: Final = "<!-- end -->\n"

RETRIED: Final = "tried again, succeeds"

FAULTS: Final[Mapping[str, Mapping[str, object]]] = {
    "throttling": {},  # its code is the service's own
    "500": {"error": {"code": "InternalServerError", "status": 500}},
    "503": {"error": {"code": "ServiceUnavailable", "status": 503}},
    # Half a second or more after the client has given up, the call takes effect.
    "no answer in time": {"latency": 4_500},
    "reset": {"reset": True},
    "answer lost": ANSWER_LOST,
    "403": {"error": {"code": "AccessDeniedException", "status": 403}},
}
OUTLASTING: Final = "503 at every attempt"
"""Not in the table: it ends like a 403."""

LASTING: Final = ("403", OUTLASTING)

THROTTLED: Final = {
    "dynamodb": {"code": "ProvisionedThroughputExceededException", "status": 400},
    "apigatewaymanagementapi": {"code": "LimitExceededException", "status": 429},
    "lambda": {"code": "TooManyRequestsException", "status": 429},
    "secretsmanager": {"code": "ThrottlingException", "status": 400},
    "sqs": {"code": "RequestThrottled", "status": 400},
}

SWEEP: Final = {
    "Scan": "`Scan`",
    "UpdateItem": "`UpdateItem`: claim",
    "GetConnection": "`GetConnection`: idle or not",
    "PostToConnection": "`PostToConnection`: notice",
    "DeleteConnection": "`DeleteConnection`: idle connection",
    "Invoke": "`Invoke`: hand-over",
}
QUEUE: Final = {
    "SendMessageBatch": "`SendMessageBatch`: due connections",
    "ChangeMessageVisibility": "`ChangeMessageVisibility`: delivered early",
}
CLEANUP: Final = {
    "GetItem": "`GetItem`",
    "UpdateItem": "`UpdateItem`: end of a session",
    "Query": "`Query`: its listeners",
    "PostToConnection": "`PostToConnection`: `sessionEnded`",
    "DeleteConnection": "`DeleteConnection`: listener",
    "DeleteItem": "`DeleteItem`: record",
}
JOIN: Final = {
    "GetSecretValue": "`GetSecretValue`",
    "TransactWriteItems": "`TransactWriteItems`: speaker",
    "GetItem": "`GetItem`: session",
    "PutItem": "`PutItem`: listener",
}
MESSAGE: Final = {
    "UpdateItem": "`UpdateItem`: activity",
    "GetItem": "`GetItem`: session of a listener",
    "DeleteConnection": "`DeleteConnection`: orphan",
}
FLOWS: Final = {
    "sweep": SWEEP,
    "queue": QUEUE,
    "cleanup": CLEANUP,
    "join": JOIN,
    "message": MESSAGE,
}


def fault_rule(operation: str, fault: str) -> dict[str, object]:
    """Return microburst's rule: the operation's next call, or all of them if the fault lasts."""
    service = {
        "GetConnection": "apigatewaymanagementapi",
        "PostToConnection": "apigatewaymanagementapi",
        "DeleteConnection": "apigatewaymanagementapi",
        "Invoke": "lambda",
        "GetSecretValue": "secretsmanager",
        "SendMessageBatch": "sqs",
        "ChangeMessageVisibility": "sqs",
    }.get(operation, "dynamodb")
    times = {} if fault in LASTING else {"times": 1}
    return {**service_rule(service, fault), "operation": operation, **times}


def service_rule(service: str, fault: str) -> dict[str, object]:
    """Return microburst's rule for every call of a service."""
    effect = {**FAULTS, OUTLASTING: FAULTS["503"]}[fault] or {"error": THROTTLED[service]}
    return {"service": service, **effect}


class Outcomes:
    """Compares what is seen with what is documented."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str], str] = {}
        self._updates = os.environ.get("HANGUP_UPDATE_DOCS") == "1"

    def saw(self, row: str, fault: str, outcome: str) -> None:
        """Take note of a cell; fail if the documentation says something else."""
        self._seen[row, fault] = outcome
        if not self._updates:
            documented = dict(_documented())[row]["403" if fault == OUTLASTING else fault]
            assert outcome == documented, "or run with HANGUP_UPDATE_DOCS=1"

    def write(self) -> None:
        """Write the table, if that is asked for; fail if the documented one has other cells."""
        if self._updates:
            text = DOCUMENT.read_text()
            before, _, rest = text.partition(BEGIN)
            _, _, after = rest.partition(END)
            table = "\n".join(self._table())
            DOCUMENT.write_text(f"{before}{BEGIN}\n{table}\n\n{END}{after}")
        rows = [(name, list(FAULTS)) for names in FLOWS.values() for name in names.values()]
        assert [(name, list(cells)) for name, cells in _documented()] == rows

    def _table(self) -> Iterator[str]:
        yield f"| in the | operation | {' | '.join(FAULTS)} |"
        yield f"|---|---|{'---|' * len(FAULTS)}"
        for flow, names in FLOWS.items():
            for name in names.values():
                cells = " | ".join(self._seen[name, fault] for fault in FAULTS)
                yield f"| {flow} | {name} | {cells} |"


def _documented() -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the rows of the documented table: the operation, and its cells by fault."""
    table = DOCUMENT.read_text().partition(BEGIN)[2].partition(END)[0]
    header, _, *rows = (_cells(line) for line in table.strip().splitlines())
    for row in rows:
        yield row[1], dict(zip(header[2:], row[2:], strict=True))


def _cells(line: str) -> list[Any]:
    return [cell.strip() for cell in line.strip("|").split("|")]
