"""Calls to AWS with retries that fit the error and the time that is left.

What may succeed later (see ``errors``) is tried again
with capped exponential backoff and full jitter, as long as the invocation has time for another
attempt. botocore's own retries are off: they know no deadline.
"""

import random
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from typing import Any, Final, TypeVar

from hangup.aws.errors import (
    KeptSocketClosedError,
    ServiceError,
    Table,
    UnansweredError,
    in_our_terms,
)
from hangup.core.connection import DurationMs
from hangup.core.timing import ATTEMPT_MS, REPORT_MS
from hangup.errors import BackendError
from hangup.ports import Clock

_FIRST_PAUSE_MS: Final = 50
_LONGEST_PAUSE_MS: Final = 2_000
_MAX_ATTEMPTS: Final = 6
"""At most 1.6 s of pauses, and half of that in the mean: after that another layer (the next sweep,
Lambda, the client) tries again."""

Result = TypeVar("Result")


class CallFailed(BackendError):
    """A ``BackendError`` with its ``reason``. One that AWS answered names the table."""

    def __init__(
        self, operation: str, reason: ServiceError | UnansweredError, table: Table | None
    ) -> None:
        message = str(reason)
        if table is not None and isinstance(reason, ServiceError):
            message = table.explain(message)
        super().__init__(operation, reason.code, message, retryable=reason.is_retryable)
        self.reason = reason


class Deadline:
    """Until when an invocation may go on. One per process: it serves one invocation at a time."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ends_at_ms: int | None = None

    def start(self, remaining_ms: int | None) -> None:
        """Begin an invocation that has this long; None for one without an end."""
        # Not by the wall clock: it may be set while the invocation goes on.
        now_ms = self._clock.monotonic_ms()
        self._ends_at_ms = None if remaining_ms is None else now_ms + remaining_ms - REPORT_MS

    def left_ms(self) -> DurationMs:
        """Return how long calls may go on; an hour if the invocation has no end."""
        if self._ends_at_ms is None:
            return DurationMs(3_600_000)
        return DurationMs(self._ends_at_ms - self._clock.monotonic_ms())


class Calls:
    """Makes the calls of one process; safe to use from several threads."""

    def __init__(
        self,
        clock: Clock,
        deadline: Deadline,
        *,
        max_attempts: int = _MAX_ATTEMPTS,
        always_tries: bool = False,
    ) -> None:
        """``always_tries``: the first attempt is made however little time is left."""
        self._clock = clock
        self._deadline = deadline
        self._max_attempts = max_attempts
        self._always_tries = always_tries
        self._sockets_lost = 0

    def sockets_lost(self) -> int:
        """Return how many calls so far found the socket of an earlier call closed.

        Only those count that are not sent again below this: calls with a body, through libcurl.
        """
        return self._sockets_lost

    def __call__(  # noqa: PLR0913 - what calls differ in
        self,
        operation: str,
        call: Callable[[], Result],
        *,
        table: Table | None = None,
        max_attempts: int | None = None,
        repeat_unanswered: bool = True,
        repeat_until_ms: DurationMs = ATTEMPT_MS,
    ) -> Result:
        """Return what ``call`` returns. Raises ``BackendError``: ``CallFailed`` if it was called.

        ``table`` is the one that it is about: an error that AWS answers names it. ``call`` is made
        up to ``max_attempts`` times (None: as often as these calls are by default), and not again
        with less than ``repeat_until_ms`` (at least ``ATTEMPT_MS``) left. It must be safe to repeat
        after an attempt that took effect and was not answered, unless ``repeat_unanswered`` is
        False. One that was refused for the time of its signature is made once more.
        """
        max_attempts = max_attempts or self._max_attempts
        is_signed_again = False
        for attempt in range(max_attempts):
            is_free = self._always_tries and not attempt
            if not is_free and self._deadline.left_ms() < ATTEMPT_MS:
                # A call that hangs now would take the report, and the whole invocation, with it.
                raise BackendError(
                    operation, "NoTimeLeft", "the invocation is about to end", retryable=True
                )
            try:
                return call()
            except Exception as raised:  # noqa: BLE001 - raised again if no call to AWS raises it
                error = in_our_terms(raised)
                self._sockets_lost += isinstance(error, KeptSocketClosedError)
                failure = CallFailed(operation, error, table)
                failure.__cause__ = error
                repeated = failure.retryable and (
                    repeat_unanswered or isinstance(error, ServiceError) or error.is_unsent
                )
                # Once: where the clock is wrong, the next signature is no better.
                if error.is_of_another_time and not is_signed_again:
                    repeated = is_signed_again = True
            # Full jitter avoids synchronised retries; not security-sensitive.
            longest_ms = min(_FIRST_PAUSE_MS << attempt, _LONGEST_PAUSE_MS)
            pause_ms = DurationMs(random.randint(0, longest_ms))  # noqa: S311
            last = attempt + 1 == max_attempts
            if last or not repeated or self._deadline.left_ms() < pause_ms + repeat_until_ms:
                raise failure
            self._clock.sleep(pause_ms)
        raise AssertionError("max_attempts is at least 1")


def none_for(
    codes: Collection[str], calls: Calls, operation: str, call: Callable[[], Result]
) -> Result | None:
    """Return what ``call`` returns, None for an error that has one of these codes."""
    try:
        return calls(operation, call)
    except BackendError as error:
        if error.code in codes:
            return None
        raise


def pages(  # noqa: PLR0913 - what listings differ in
    calls: Callable[..., Any],
    operation: str,
    call: Callable[..., Any],
    request: Mapping[str, Any],
    *,
    more: str = "NextToken",
    start: str | None = None,
) -> Iterator[Any]:
    """Yield every page of a listing, each asked for by ``calls``.

    ``more`` is what an answer calls the place where the next page begins, and ``start`` what a
    request does, if it calls that otherwise. Page by page here, not by botocore's paginator, which
    could not go on after a failed page.
    """
    while True:
        page = calls(operation, partial(call, **request))
        yield page
        if not page.get(more):
            return
        request = {**request, start or more: page[more]}
