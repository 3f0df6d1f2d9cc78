"""botocore clients with bounded patience and no retries of their own (``retries`` has those).

They are for the command line. The functions use ``http.services``, and of this module the session,
where the environment has no keys.
"""

from datetime import datetime
from functools import cache
from typing import Any, Final

from botocore.config import Config
from botocore.session import Session
from botocore.utils import parse_timestamp

from hangup.core.timing import CONNECT_S, READ_S, THREADS

_CONFIG: Final = Config(
    connect_timeout=CONNECT_S,
    read_timeout=READ_S,
    retries={"mode": "standard", "total_max_attempts": 1},
    # Nobody has more threads; a connection that finds no room in the pool is thrown away.
    max_pool_connections=THREADS,
)


def client(service: str, endpoint: str | None = None) -> Any:  # noqa: ANN401 - by the name
    """Return a client for a service, by botocore's name, at ``endpoint`` or where AWS has it."""
    return session().create_client(service, endpoint_url=endpoint, config=_CONFIG)


@cache
def session() -> Session:
    """Return the process's session: its clients share credentials and what was read of the data."""
    session = Session()
    session.get_component("response_parser_factory").set_parser_defaults(
        timestamp_parser=_parse_timestamp
    )
    return session


def _parse_timestamp(value: Any) -> datetime:  # noqa: ANN401 - botocore's
    """Return what botocore's own parser does, which takes 200 times as long for ISO 8601."""
    try:
        return datetime.fromisoformat(value)
    except (TypeError, ValueError):  # another form: seconds since the epoch, or that of a header
        parsed: datetime = parse_timestamp(value)
        return parsed
