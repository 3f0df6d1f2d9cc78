"""Signed HTTPS requests through botocore: what ``transport`` does, where libcurl is not installed.

This is the part of botocore that signs, and the one that sends. Its clients do more, and first read
a megabyte about each service.
"""

import time
from collections.abc import Callable
from typing import Any, Final

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest, AWSResponse
from botocore.credentials import Credentials
from botocore.exceptions import BotoCoreError
from botocore.httpsession import URLLib3Session
from botocore.utils import get_environ_proxies

from hangup.aws.errors import UnansweredError
from hangup.aws.http.account import Keys
from hangup.aws.http.answer import Answer, Headers
from hangup.aws.http.threads import MOST_THREADS, others_go_on
from hangup.core.timing import CONNECT_S, READ_S, REST_S, SEGMENTS_AT_ONCE

_NAMES: Final = {
    "ConnectTimeoutError": "ConnectTimeoutError",
    "EndpointConnectionError": "EndpointConnectionError",
    "ProxyConnectionError": "EndpointConnectionError",
    "ReadTimeoutError": "ReadTimeoutError",
    "SSLError": "SSLError",
}
"""botocore's errors, and what each is here. Any other is one after which nobody can tell."""


class BotocoreTransport:
    """Requests to one service; the arguments are those of ``CurlTransport``.

    botocore's time-outs are for each wait on the socket. A server that sends its answer in small
    pieces, each just in time, can take longer than ``ATTEMPT_MS``.
    """

    def __init__(
        self, url: str, *, service: str, region: str, keys: Callable[[], Keys], ca_file: str
    ) -> None:
        self._url = url.rstrip("/")
        self._keys = keys
        self._service = service
        self._region = region
        self._proxies = get_environ_proxies(self._url)
        # Its type stubs know less of what it takes than its documentation does.
        options: dict[str, Any] = {
            "verify": ca_file or True,  # never empty: that would trust anybody
            "proxies": self._proxies,
            "timeout": (CONNECT_S, READ_S),
            "max_pool_connections": MOST_THREADS + SEGMENTS_AT_ONCE,
        }
        self._session = URLLib3Session(**options)
        self._used_at_s = time.time()

    def send(self, method: str, path: str, *, headers: Headers = (), body: bytes = b"") -> Answer:
        """Send one request, and return its answer: see ``Transport``."""
        request = AWSRequest(
            method,
            self._url + path,
            headers=dict(line.split(": ", 1) for line in headers) | {"User-Agent": "hangup"},
            data=body,
        )
        SigV4Auth(Credentials(*self._keys()), self._service, self._region).add_auth(request)
        if abs(time.time() - self._used_at_s) > REST_S:
            self._session.close()  # the connections, not the session
        try:
            with others_go_on():
                answer: AWSResponse = self._session.send(request.prepare())
        except BotoCoreError as error:
            # Not from botocore's own: a traceback would show what is left out there.
            raise self._unanswered(error) from None
        finally:
            self._used_at_s = time.time()
        head = [f"{name}: {value}".encode("latin-1") for name, value in answer.headers.items()]
        return Answer(answer.status_code, head, answer.content)

    def _unanswered(self, error: BotoCoreError) -> UnansweredError:
        kind = _NAMES.get(type(error).__name__, "ConnectionClosedError")
        # What failed may name the proxy, and with it the password.
        by_proxy = f"{type(error).__name__}, through the proxy that the environment names"
        reason = by_proxy if self._proxies else error.kwargs.get("error", error)
        return UnansweredError(kind, f"no answer from {self._url}: {reason}")
