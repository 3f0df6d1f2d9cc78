"""Signed HTTPS requests through awscrt, AWS's own C runtime.

The calls that a sweep makes for each close go this way: one costs a fraction of the CPU time that
it costs through botocore (docs/decisions/0001-awscrt-for-closes.md). The runtime brings the signer,
TLS and HTTP; the pool of connections and the time-outs are here, and ``calls`` has the retries.

What got no answer raises what botocore raises for it, so that callers need not know the difference.
"""

import ctypes
import io
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from awscrt.auth import (
    AwsCredentialsProvider,
    AwsSignatureType,
    AwsSigningAlgorithm,
    AwsSigningConfig,
    aws_sign_request,
)
from awscrt.exceptions import AwsCrtError
from awscrt.http import HttpClientConnection, HttpHeaders, HttpRequest
from awscrt.io import (
    ClientBootstrap,
    ClientTlsContext,
    DefaultHostResolver,
    EventLoopGroup,
    SocketOptions,
    TlsConnectionOptions,
    TlsContextOptions,
)
from botocore.exceptions import (
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    ReadTimeoutError,
    SSLError,
)

from hangup.aws.clients import CONNECT_S, READ_S
from hangup.aws.interleaving import Signal

if TYPE_CHECKING:
    from concurrent.futures import Future

    from botocore.credentials import Credentials, ReadOnlyCredentials

__all__ = ["Answer", "Transport"]

Headers = Sequence[tuple[str, str]]

_REST_S: Final = 5.0
"""A connection that rested for longer is not used again. Servers close what rests, and a function
that was frozen in between does not hear of it; a sweep's calls follow one another much faster."""

_HTTPS: Final = 443
_HTTP: Final = 80


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server answered, whatever its status."""

    status: int
    headers: Headers
    body: bytes


class Transport:
    """Requests to one service, safe to use from several threads.

    ``url`` is the service's endpoint, whose path comes before that of each request. ``service`` is
    its name in signatures. ``credentials`` (None: requests raise ``NoCredentialsError``) are asked
    anew for every request, so that they may be refreshed at any time. ``ca_file`` has the
    certificates, as PEM, that a server's must come from. A child of a fork needs a new process.
    """

    def __init__(
        self,
        url: str,
        *,
        service: str,
        region: str,
        credentials: "Credentials | None",
        ca_file: str,
    ) -> None:
        parts = urlsplit(url)
        self._url = url
        self._is_tls = parts.scheme == "https"
        self._host = parts.hostname or ""
        self._port = parts.port or (_HTTPS if self._is_tls else _HTTP)
        self._authority = parts.netloc
        self._base_path = parts.path.rstrip("/")
        self._service = service
        self._region = region
        self._credentials = credentials
        self._ca_file = ca_file
        self._signing_made: tuple[tuple[ReadOnlyCredentials, int], AwsSigningConfig] | None = None
        # Taken from the end, so that few connections do the work and the others may rest.
        self._resting: list[tuple[HttpClientConnection, float]] = []

    def send(self, method: str, path: str, *, headers: Headers = (), body: bytes = b"") -> Answer:
        """Send one request, and return its answer.

        ``path`` is percent-encoded. Raises what botocore raises: ``NoCredentialsError``,
        ``SSLError``, ``EndpointConnectionError``, ``ConnectTimeoutError``; and
        ``ConnectionClosedError`` or ``ReadTimeoutError`` if the request may have taken effect.
        """
        request = self._signed(method, path, headers, body)
        connection = self._connection()
        exchange = _Exchange()
        try:
            stream = connection.request(request, exchange.on_response, exchange.on_body)
            stream.completion_future.add_done_callback(exchange.on_complete)
            stream.activate()
        except RuntimeError as error:
            # It was closed a moment ago, and nothing was sent.
            connection.close()
            raise EndpointConnectionError(endpoint_url=self._url, error=error) from error
        if not exchange.over.wait(READ_S):
            connection.close()
            raise ReadTimeoutError(endpoint_url=self._url)
        broken = stream.completion_future.exception()
        if broken is not None:
            connection.close()
            raise ConnectionClosedError(endpoint_url=self._url, error=broken) from broken
        self._resting.append((connection, time.monotonic()))
        return Answer(exchange.status, exchange.headers, bytes(exchange.body))

    def _connection(self) -> HttpClientConnection:
        """Return a connection that rests, or a new one."""
        while True:
            try:
                connection, since_s = self._resting.pop()
            except IndexError:  # another thread may have taken the last one
                break
            if connection.is_open() and time.monotonic() - since_s < _REST_S:
                return connection
            connection.close()
        return self._connected()

    def _connected(self) -> HttpClientConnection:
        with _making:
            bootstrap, socket_options = _runtime()
        tls = self._tls() if self._is_tls else None
        opening = HttpClientConnection.new(
            self._host, self._port, bootstrap, socket_options, tls_connection_options=tls
        )
        opened = Signal()
        opening.add_done_callback(lambda _: opened.give())
        if not opened.wait(CONNECT_S):
            opening.add_done_callback(_close_unwanted)
            # The runtime keeps a failure of TLS to itself for a while, so that the time tells an
            # attacker nothing: a certificate that is not trusted looks like this, too.
            reason = "no network, or no trust in its certificate" if self._is_tls else None
            raise ConnectTimeoutError(endpoint_url=self._url, error=reason)
        try:
            connection: HttpClientConnection = opening.result()
        except (AwsCrtError, RuntimeError) as error:
            raise EndpointConnectionError(endpoint_url=self._url, error=error) from error
        return connection

    def _tls(self) -> TlsConnectionOptions:
        try:
            with _making:
                context = _tls_context(self._ca_file)
        except (OSError, RuntimeError) as error:
            # No file, or none of certificates.
            raise SSLError(endpoint_url=self._url, error=error) from error
        options = context.new_connection_options()
        options.set_server_name(self._host)
        return options

    def _signed(self, method: str, path: str, headers: Headers, body: bytes) -> HttpRequest:
        fields = [("Host", self._authority), ("User-Agent", "hangup"), *headers]
        if body:
            fields.append(("Content-Length", str(len(body))))
        request = HttpRequest(
            method,
            self._base_path + path,
            HttpHeaders(fields),
            io.BytesIO(body) if body else None,
        )
        aws_sign_request(request, self._signing()).result()
        return request

    def _signing(self) -> AwsSigningConfig:
        """Return how to sign now: the time is part of it, in whole seconds."""
        if self._credentials is None:
            raise NoCredentialsError
        keys = self._credentials.get_frozen_credentials()
        made_for = (keys, int(time.time()))
        made = self._signing_made
        if made is None or made[0] != made_for:
            config = AwsSigningConfig(
                algorithm=AwsSigningAlgorithm.V4,
                signature_type=AwsSignatureType.HTTP_REQUEST_HEADERS,
                credentials_provider=AwsCredentialsProvider.new_static(
                    keys.access_key, keys.secret_key, keys.token
                ),
                region=self._region,
                service=self._service,
            )
            self._signing_made = made = (made_for, config)
        return made[1]


class _Exchange:
    """One answer as it arrives, on the runtime's thread."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: Headers = ()
        self.body = bytearray()
        # Waiting for this costs half of what waiting for the runtime's future does.
        self.over = Signal()

    def on_response(self, *, http_stream: object, status_code: int, headers: Headers) -> None:
        del http_stream
        _keep_thread_state()
        self.status = status_code
        self.headers = headers

    def on_body(self, *, http_stream: object, chunk: bytes) -> None:
        del http_stream
        self.body += chunk

    def on_complete(self, _future: "Future[int]") -> None:
        self.over.give()


# ``cache`` alone lets two threads make the same thing, at 20 ms of CPU time each.
_making = threading.Lock()

_thread = threading.local()


def _keep_thread_state() -> None:
    """Let Python keep what it knows of the runtime's thread between two callbacks.

    It would forget the thread after each, and build and map its state anew for the next: a third
    of the CPU time of a request.
    """
    if not hasattr(_thread, "kept"):
        _thread.kept = True
        # The counterpart is never called: the state lives as long as the thread.
        ctypes.pythonapi.PyGILState_Ensure()


def _close_unwanted(opening: "Future[HttpClientConnection]") -> None:
    if opening.exception() is None:
        opening.result().close()


@cache
def _runtime() -> tuple[ClientBootstrap, SocketOptions]:
    # One thread: more would compete for the interpreter's lock.
    event_loops = EventLoopGroup(1)
    options = SocketOptions()
    options.connect_timeout_ms = round(CONNECT_S * 1000)
    return ClientBootstrap(event_loops, DefaultHostResolver(event_loops)), options


@cache
def _tls_context(ca_file: str) -> ClientTlsContext:
    options = TlsContextOptions()
    options.override_default_trust_store_from_path(None, ca_file)
    return ClientTlsContext(options)
