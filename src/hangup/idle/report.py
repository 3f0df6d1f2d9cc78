"""What closes came to, and the last line of a sweep, in the log. The values: ``core.report``."""

from typing import Final

from hangup.core.outcomes import CloseCounter
from hangup.core.report import ClosesReport, CloseStatus, SweepReport
from hangup.ports import Log

_LEFT: Final = {
    CloseStatus.ACTIVE: "left connections that API Gateway saw active, though not on record",
    CloseStatus.HELD: "left connections that API Gateway saw active: recording may be broken",
    CloseStatus.UNCONFIRMED: "left connections that API Gateway did not answer about in time",
    CloseStatus.IGNORED: "ignored records whose id API Gateway calls invalid",
}

SOCKETS_LOST: Final = "found kept sockets closed"

_CLOSED: Final = {
    CloseStatus.CLOSED: "closed idle connections",
    CloseStatus.ALREADY_GONE: "found idle connections that had left",
}


def _log_closed(counter: CloseCounter, log: Log) -> None:
    """Log one line about those that were closed, and one about those that had left."""
    for status, event in _CLOSED.items():
        if fields := counter.examples(status):
            log.info(event, **fields)


def log_lost(report: ClosesReport, log: Log) -> None:
    """Log how many kept sockets were found closed, if any were: ``hangup doctor`` looks for it."""
    if report.sockets_lost:
        log.warning(SOCKETS_LOST, count=report.sockets_lost)


def log_left(counter: CloseCounter, log: Log) -> None:
    """Log one line for each reason for which connections were left as they are."""
    for status, event in _LEFT.items():
        if fields := counter.examples(status):
            log.warning(event, **fields)


def log_sweep(report: SweepReport, closes: CloseCounter, log: Log) -> None:
    """Log what a sweep came to; its line comes last."""
    _log_closed(closes, log)
    log_left(closes, log)
    log_lost(report.closes, log)
    if report.hold is not None:
        log.error("sweep held", reason=report.hold, advice=report.hold.advice)
    if report.complete:
        log.info("sweep done", **report.as_json())
    else:
        log.warning(
            "sweep incomplete: the next sweep starts at another segment", **report.as_json()
        )
