"""What a transport is sent and answers, whichever library carries it."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

Headers = tuple[str, ...]
"""Lines of a request's head: ``Name: value``."""


class Answer(NamedTuple):
    """What a server answered, whatever its status; ``head`` has the lines before the body."""

    status: int
    head: Sequence[bytes]
    body: bytes

    def header(self, name: str) -> str:
        """Return the value of a header, whatever the case of its name; empty if there is none."""
        prefix = f"{name.lower()}:".encode()
        found = next((line for line in self.head if line.lower().startswith(prefix)), b"")
        return found.decode("latin-1").partition(":")[2].strip()


class Transport(Protocol):
    """Signed requests to one service, safe to use from several threads."""

    def send(self, method: str, path: str, *, headers: Headers = (), body: bytes = b"") -> Answer:
        """Send one request, and return its answer.

        ``path`` is percent-encoded but for ``@``, and has no query. Raises ``UnansweredError``, by
        botocore's names: ``SSLError``, ``EndpointConnectionError``, ``ConnectTimeoutError``; and
        ``ConnectionClosedError`` or ``ReadTimeoutError`` if the request may have taken effect. One
        with a body is never sent twice.
        """
        ...
