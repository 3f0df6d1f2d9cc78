"""Signed HTTPS requests through libcurl, which brings HTTP, TLS and the pool of connections.

All calls of a function go this way: one costs a fraction of the CPU time that it costs through
botocore (docs/decisions/0001-libcurl-for-closes.md). ``signing`` signs them; ``retries`` has the
retries.
"""

from collections import defaultdict
from collections.abc import Callable
from functools import partial
from time import time
from typing import Final

import pycurl

from hangup.aws.errors import KeptSocketClosedError, UnansweredError
from hangup.aws.http.account import Keys
from hangup.aws.http.answer import Answer, Headers
from hangup.aws.http.loop import perform
from hangup.aws.http.signing import Signer
from hangup.core.timing import CONNECT_S, READ_S, REST_S

_UNREACHED: Final = {
    pycurl.E_COULDNT_CONNECT,
    pycurl.E_COULDNT_RESOLVE_HOST,
    pycurl.E_COULDNT_RESOLVE_PROXY,
}
_UNTRUSTED: Final = {
    pycurl.E_PEER_FAILED_VERIFICATION,
    pycurl.E_SSL_CACERT_BADFILE,
    pycurl.E_SSL_CONNECT_ERROR,
}


class CurlTransport:
    """Requests to one service, safe to use from several threads.

    ``url`` is the service's endpoint, whose path comes before that of each request. ``service`` is
    its name in signatures. ``keys`` is called for every request, so that they may be refreshed at
    any time. ``ca_file`` has the certificates, as PEM, that a server's must come from.
    ``HTTPS_PROXY`` and its kin are libcurl's to read. A child of a fork needs a new process.
    """

    def __init__(
        self, url: str, *, service: str, region: str, keys: Callable[[], Keys], ca_file: str
    ) -> None:
        self._url = url.rstrip("/")
        self._keys = keys
        self._signer = Signer(service=service, region=region, url=self._url)
        self._ca_file = ca_file
        # By what they have in common. Taken from the end, so that few do the work.
        self._resting: dict[tuple[str, bool], list[_Exchange]] = defaultdict(list)

    def send(self, method: str, path: str, *, headers: Headers = (), body: bytes = b"") -> Answer:
        """Send one request, and return its answer: see ``Transport``.

        Besides, it raises what ``keys`` does. One without a body may be sent again by libcurl
        itself, where a connection that rested turns out to be closed.
        """
        keys, now_s = self._keys(), int(time())
        lines = self._signer.lines(method, path, headers, body, keys=keys, now_s=now_s)
        kind = (method, bool(body))
        resting = self._resting[kind]
        exchange = resting.pop() if resting else _Exchange(*kind, self._ca_file)
        try:
            answer = exchange.run(self._url + path, lines, body)
        except pycurl.error as error:
            # Not from libcurl's own: a traceback would show what is left out there.
            raise self._unanswered(error, exchange) from None
        resting.append(exchange)
        return answer

    def _unanswered(self, error: pycurl.error, exchange: "_Exchange") -> UnansweredError:
        code = error.args[0]
        if code == pycurl.E_ABORTED_BY_CALLBACK:
            # By ``_begin_once``: libcurl would have sent it again, as nothing came back.
            return KeptSocketClosedError(self._url)
        if "Unsupported proxy" in str(error):  # and then its URL as a whole, with the password
            error = pycurl.error(code, "the proxy that the environment names cannot be used")
        kind = "ConnectionClosedError"
        # Unreached it may be at libcurl's second attempt, and the first may have taken effect.
        if code in _UNREACHED and not exchange.is_sent:
            kind = "EndpointConnectionError"
        elif code in _UNTRUSTED:
            kind = "SSLError"
        elif code == pycurl.E_OPERATION_TIMEDOUT:
            kind = "ReadTimeoutError" if exchange.is_sent else "ConnectTimeoutError"
        return UnansweredError(kind, f"no answer from {self._url} {error}")


class _Exchange:
    """A request and its answer, again and again: libcurl keeps what does not change."""

    def __init__(self, method: str, has_body: bool, ca_file: str) -> None:
        self._head: list[bytes] = []
        self._body: list[bytes] = []
        self._begun: list[bool] = []
        self._curl = pycurl.Curl()
        options: dict[int, object] = {
            pycurl.PROTOCOLS: pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS,
            pycurl.HTTP_VERSION: pycurl.CURL_HTTP_VERSION_1_1,
            pycurl.CAINFO: ca_file,
            pycurl.NOSIGNAL: 1,
            pycurl.CONNECTTIMEOUT_MS: round(CONNECT_S * 1000),
            pycurl.TIMEOUT_MS: round((CONNECT_S + READ_S) * 1000),
            pycurl.MAXAGE_CONN: REST_S,
            pycurl.USERAGENT: "hangup",
            pycurl.CUSTOMREQUEST: method,
            pycurl.HEADERFUNCTION: self._head.append,
            pycurl.WRITEFUNCTION: self._body.append,
        }
        if has_body:
            options |= {
                pycurl.POST: 1,
                pycurl.PREREQFUNCTION: partial(_begin_once, self._begun),
            }
        for option, value in options.items():
            self._curl.setopt(option, value)

    @property
    def is_sent(self) -> bool:
        """Whether anything of the last request may have been sent."""
        return bool(self._begun or self._curl.getinfo(pycurl.REQUEST_SIZE))

    def run(self, url: str, lines: list[str], body: bytes) -> Answer:
        curl = self._curl
        curl.setopt(pycurl.URL, url)
        curl.setopt(pycurl.HTTPHEADER, lines)
        if body:
            self._begun.clear()
            curl.setopt(pycurl.POSTFIELDS, body)
        perform(curl)
        answer = Answer(curl.getinfo(pycurl.RESPONSE_CODE), self._head[:], b"".join(self._body))
        self._head.clear()
        self._body.clear()
        return answer


def _begin_once(begun: list[bool], *_addresses: object) -> int:
    """Let libcurl send a request, and not send it again by itself: see ``send``."""
    if begun:
        return pycurl.PREREQFUNC_ABORT
    begun.append(True)
    return pycurl.PREREQFUNC_OK
