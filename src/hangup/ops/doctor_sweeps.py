"""The checks of what the sweeps of the last hour did, by their metrics, AWS's own, and logs."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from hangup.aws.inspected import Metric
from hangup.core.connection import EpochMs
from hangup.idle.report import SOCKETS_LOST
from hangup.ops.doctor_case import (
    LATELY_MIN,
    LOG_GROUP,
    Case,
    Finding,
    aws,
    found,
    hangup,
    out_of_vpc,
    setting,
    well,
)
from hangup.ops.log_tail import object_in

_MINUTES: Final = 60
_FEW_LOST: Final = 5
"""Kept sockets that may be found closed in these minutes without something being wrong."""

_OURS: Final = {
    "SweepsHeld": "held",
    "SweepsIncomplete": "incomplete",
    "RecordsUnreadable": "unreadable-times",
    "ActivityUnrecorded": "unrecorded",
    "ConnectionsUnconfirmed": "unconfirmed",
    "CloseFailures": "closes-failed",
    "HandoversRepeated": "handed-over-again",
}
"""The trouble that each metric of Hangup's own shows where it is not 0."""

_LAMBDAS: Final = {
    "Errors": "function-errors",
    "Throttles": "function-throttled",
    "AsyncEventsDropped": "events-dropped",
}
_WRITES: Final = "WriteThrottleEvents"


def ticks(case: Case) -> Sequence[Finding]:
    """Check that sweeps have started lately."""
    if not case.functions:
        return []
    function, now_ms = case.functions[0], case.clock.now_ms()
    if case.is_new:
        return [well("no-ticks", f"{function.name} is new: its sweeps begin within a minute")]
    started = Metric("AWS/Lambda", "Invocations", ("FunctionName", function.name))
    count = case.inspection.sums([started], until_ms=now_ms, minutes=LATELY_MIN)[started]
    if count:
        said = f"{count:,.0f} sweeps have started in the last {LATELY_MIN} minutes"
        return [well("no-ticks", said)]
    return [
        found(
            "no-ticks",
            f"{function.name} was not started in the last {LATELY_MIN} minutes",
            fix=aws("lambda", "invoke", "--function-name", function.name, "/dev/stdout"),
        )
    ]


def metrics(case: Case) -> Iterator[Finding]:
    """Check the metrics of the last hour: of the sweeps, of their functions, of the table."""
    if case.stack is None or not case.functions:
        return
    namespace = case.stack.outputs.get("MetricsNamespace", "")
    asked: dict[Metric, tuple[str, str]] = {
        Metric(namespace, name): (trouble, "")
        for name, trouble in _OURS.items()
        # Where API Gateway's account is the source, nobody records.
        if (name, case["timeout.activity"]) != ("ActivityUnrecorded", "gateway")
    }
    for function in case.functions:
        for name, trouble in _LAMBDAS.items():
            metric = Metric("AWS/Lambda", name, ("FunctionName", function.name))
            asked[metric] = (trouble, function.name)
    table = case["table.name"]
    asked[Metric("AWS/DynamoDB", _WRITES, ("TableName", table))] = ("writes-throttled", table)
    sums = case.inspection.sums(list(asked), until_ms=case.clock.now_ms(), minutes=_MINUTES)
    fixes = _fixes(case)
    for metric, (trouble, whose) in asked.items():
        if sums[metric]:
            yield found(
                trouble,
                f"{metric.name}{f' of {whose}' if whose else ''} was {sums[metric]:,.0f} in the"
                " last hour",
                fix=fixes.get(trouble, case.read_log),
            )
    if not any(sums.values()):
        yield well("sweeps", "The metrics of the last hour show no failure")


def sockets(case: Case) -> Sequence[Finding]:
    """Check that few sockets that were kept were found closed in the last hour, by the logs."""
    if not case.functions:
        return []
    lines = case.inspection.log_lines(
        case.of_kind(LOG_GROUP),
        since_ms=EpochMs(case.clock.now_ms() - _MINUTES * 60_000),
        phrase=SOCKETS_LOST,
    )
    count = sum(map(_count_in, lines))
    if count == 0:
        return [well("sockets-lost", "No kept socket was found closed in the last hour")]
    if count <= _FEW_LOST:
        said = f"Few kept sockets were found closed in the last hour: {count}"
        return [well("sockets-lost", said)]
    networks = [one.name for one in case.functions if one.subnets]
    between = f"; {networks[0]} is in a VPC, whose network may close them" if networks else ""
    return [
        found(
            "sockets-lost",
            f"{count:,} requests of the last hour met a socket that was closed: a notice among"
            f" them is lost, all others were sent again{between}",
            fix=out_of_vpc(networks[0]) if networks else case.read_log,
        )
    ]


def _count_in(line: str) -> int:
    """Return the count of a log line, 0 for a line of another form."""
    count = object_in(line).get("count")
    return count if isinstance(count, int) else 0


def _fixes(case: Case) -> Mapping[str, str]:
    pace = max(1, case["timeout.closes_per_second"] // 2)
    return {
        "incomplete": setting("timeout.shards", min(2 * case["timeout.shards"], 20)),
        "unrecorded": setting("timeout.activity", "gateway"),
        "unreadable-times": hangup("init", "--api", case["api.id"], "--force"),
        "unconfirmed": setting("timeout.closes_per_second", pace),
        "writes-throttled": f"aws dynamodb update-table --table-name {case['table.name']}"
        " --billing-mode PAY_PER_REQUEST",
    }
