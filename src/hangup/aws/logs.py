"""The log lines of some functions in CloudWatch Logs."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final, TypedDict

from hangup.aws.retries import Calls
from hangup.core.connection import EpochMs
from hangup.errors import BackendError

if TYPE_CHECKING:
    from mypy_boto3_logs import CloudWatchLogsClient
    from mypy_boto3_logs.type_defs import FilterLogEventsResponseTypeDef

_NO_GROUP: Final = "ResourceNotFoundException"


class _Token(TypedDict, total=False):
    nextToken: str


class FunctionLogs:
    """Some log groups. A group that is not there has no lines: its function never ran."""

    def __init__(self, client: "CloudWatchLogsClient", calls: Calls, groups: Sequence[str]) -> None:
        self._client = client
        self._calls = calls
        self._groups = groups

    def events(self, *, since_ms: EpochMs, phrase: str = "") -> Iterator[tuple[int, str, str]]:
        """Yield each line that was stored since then and has the phrase, group by group.

        A line is when it was stored, in epoch milliseconds, its stream and its text. Raises
        ``BackendError``, and ``ValueError`` for a phrase that has a quotation mark.
        """
        if '"' in phrase:
            raise ValueError("a phrase must have no quotation mark")
        pattern = f'"{phrase}"' if phrase else ""
        for group in self._groups:
            for page in self._pages(group, since_ms, pattern):
                for event in page["events"]:
                    if phrase in event["message"]:
                        yield event["timestamp"], event["logStreamName"], event["message"]

    def _pages(
        self, group: str, since_ms: EpochMs, pattern: str
    ) -> "Iterator[FilterLogEventsResponseTypeDef]":
        token: _Token = {}
        while True:
            try:
                page = self._page(group, since_ms, pattern, token)
            except BackendError as error:
                if error.code == _NO_GROUP:
                    return
                raise
            yield page
            if not page.get("nextToken"):
                return
            token = {"nextToken": page["nextToken"]}

    def _page(
        self, group: str, since_ms: EpochMs, pattern: str, token: _Token
    ) -> "FilterLogEventsResponseTypeDef":
        return self._calls(
            "FilterLogEvents",
            lambda: self._client.filter_log_events(
                logGroupName=group, startTime=since_ms, filterPattern=pattern, **token
            ),
        )
