"""The client of ``hangup doctor --probe``: it connects, listens, and sends nothing."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from websockets.exceptions import ConnectionClosed, InvalidStatus, InvalidURI, WebSocketException
from websockets.sync.client import ClientConnection, connect

from hangup.errors import ProbeError
from hangup.ops.probe import Closed

_CONNECTS_S = 10.0


class SilentClient:
    """``ProbeClient`` on a real socket."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    def receive(self, within_s: float) -> str | Closed | None:
        """Return the next message, or the end; None where nothing came in time."""
        try:
            message = self._connection.recv(timeout=within_s)
        except TimeoutError:
            return None
        except ConnectionClosed as closed:
            end = closed.rcvd
            return Closed(code=end.code if end else 1006, reason=end.reason if end else "")
        return message if isinstance(message, str) else message.decode(errors="replace")


@contextmanager
def silent_client(
    url: str, *, headers: Mapping[str, str], user_agent: str
) -> Iterator[SilentClient]:
    """Connect to an API until the end of the block. Raises ``ProbeError``."""
    try:
        connection = connect(
            url,
            additional_headers=headers,
            user_agent_header=user_agent,
            open_timeout=_CONNECTS_S,
            # Nothing may come from the client, its library's pings included.
            ping_interval=None,
        )
    except InvalidStatus as error:
        raise ProbeError(
            f"{url} answers {error.response.status_code}: the client may not connect"
        ) from None
    except (OSError, WebSocketException, InvalidURI) as error:
        raise ProbeError(f"{url} cannot be connected to: {error}") from None
    with connection:
        yield SilentClient(connection)
