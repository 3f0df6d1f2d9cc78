"""Which libraries make the calls: libcurl and greenlets where they are installed, else botocore.

The extra ``fast`` installs the first two, and the Lambda zip has them. They do the same for a
fraction of the CPU time (docs/decisions/0001-libcurl-for-closes.md). Both or neither: a loop waits
for libcurl alone. Each is loaded where it is needed, and not in functions that make no such call.
"""

from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hangup.aws.http.botocore_transport import BotocoreTransport
    from hangup.aws.http.transport import CurlTransport
    from hangup.ports import Concurrency


def has_libcurl() -> bool:
    """Return whether libcurl and greenlets are installed, be they broken or not."""
    return find_spec("pycurl") is not None and find_spec("greenlet") is not None


def transport_class() -> "type[CurlTransport | BotocoreTransport]":
    """Return the transport of choice."""
    if has_libcurl():
        from hangup.aws.http.transport import CurlTransport  # noqa: PLC0415 - see above

        return CurlTransport
    from hangup.aws.http.botocore_transport import BotocoreTransport  # noqa: PLC0415 - likewise

    return BotocoreTransport


def concurrency(in_flight: int) -> "Concurrency":
    """Return what has up to ``in_flight`` (at least 1) calls under way; threads have 16 at most."""
    if has_libcurl():
        from hangup.aws.http.loop import Loop  # noqa: PLC0415 - likewise

        return Loop(in_flight)
    from hangup.aws.http.threads import Threads  # noqa: PLC0415 - likewise

    return Threads(in_flight)
