"""AWS Signature Version 4 of the requests that ``transport`` sends.

libcurl and botocore sign, too, and derive the key and sort the headers anew for every request.
Here both are kept for as long as they are good for, which is a second: that saves 7 % of a close's
CPU time (docs/decisions/0001-libcurl-for-closes.md).
"""

import re
from collections.abc import Sequence
from hashlib import sha256
from hmac import HMAC, digest
from time import gmtime, strftime
from typing import Final, NamedTuple
from urllib.parse import quote, urlsplit

from hangup.aws.http.account import Keys
from hangup.aws.http.answer import Headers

_ALGORITHM: Final = "AWS4-HMAC-SHA256"
_TERMINATOR: Final = "aws4_request"
_DEFAULT_PORTS: Final = {"https": 443, "http": 80}


class _Head(NamedTuple):
    """The headers of a request, without ``Authorization``."""

    lines: Sequence[str]
    canonical: str
    """What the canonical request says of them."""
    authorization: str
    """The missing header, up to the signature."""


class _Signing(NamedTuple):
    """What the requests of one second have in common."""

    keys: Keys
    now_s: int
    timestamp: str
    scope: str
    begun: HMAC
    """The signature of any request, up to that request's hash."""
    heads: dict[Headers, _Head]


class Signer:
    """Signs requests to one service in one Region, safe to use from several threads.

    ``service`` is its name in signatures, ``url`` what comes before the path of each request.
    """

    def __init__(self, *, service: str, region: str, url: str) -> None:
        self._service = service
        self._region = region
        parts = urlsplit(url)
        # As it is sent: without the port that goes without saying.
        self._authority = re.sub(r":\d*$", "", parts.netloc)
        if parts.port not in (None, _DEFAULT_PORTS.get(parts.scheme)):
            self._authority += f":{parts.port}"
        self._base_path = quote(parts.path, safe="/~")
        self._made: _Signing | None = None

    def lines(  # noqa: PLR0913 - the parts of a request
        self, method: str, path: str, headers: Headers, body: bytes, *, keys: Keys, now_s: int
    ) -> list[str]:
        """Return the lines of a request's head, signed at ``now_s``, epoch seconds; not ``Host``.

        ``path`` is percent-encoded except for ``@``, has no query, and no segment that is empty,
        ``.`` or ``..``. ``headers`` are all of the request's except ``Host``, each name once.
        """
        signing = self._signing(keys, now_s)
        head = signing.heads.get(headers)
        if head is None:
            head = signing.heads[headers] = self._head(headers, signing)
        # The path is signed encoded once more. Of what it has, that changes these two.
        quoted = self._base_path + path.replace("%", "%25").replace("@", "%40")
        request = f"{method}\n{quoted}\n\n{head.canonical}\n{sha256(body).hexdigest()}"
        signature = signing.begun.copy()
        signature.update(sha256(request.encode()).hexdigest().encode())
        return [*head.lines, head.authorization + signature.hexdigest()]

    def _signing(self, keys: Keys, now_s: int) -> _Signing:
        made = self._made
        if made is None or made.now_s != now_s or made.keys != keys:
            timestamp = strftime("%Y%m%dT%H%M%SZ", gmtime(now_s))
            parts = (timestamp[:8], self._region, self._service, _TERMINATOR)
            key = f"AWS4{keys.secret_key}".encode()
            for part in parts:
                key = digest(key, part.encode(), "sha256")
            scope = "/".join(parts)
            begun = HMAC(key, f"{_ALGORITHM}\n{timestamp}\n{scope}\n".encode(), "sha256")
            made = self._made = _Signing(keys, now_s, timestamp, scope, begun, {})
        return made

    def _head(self, headers: Headers, signing: _Signing) -> _Head:
        sent = [*headers, f"X-Amz-Date: {signing.timestamp}"]
        if signing.keys.token:
            sent.append(f"X-Amz-Security-Token: {signing.keys.token}")
        signed = {"host": self._authority}
        for line in sent:
            name, _, value = line.partition(": ")
            signed[name.lower()] = " ".join(value.split())
        names = sorted(signed)
        listed = ";".join(names)
        credential = f"Credential={signing.keys.access_key}/{signing.scope}"
        return _Head(
            # The first has no value: libcurl sends none of its own.
            lines=["Content-Type:", *sent],
            canonical="".join(f"{name}:{signed[name]}\n" for name in names) + f"\n{listed}",
            authorization=(
                f"Authorization: {_ALGORITHM} {credential}, SignedHeaders={listed}, Signature="
            ),
        )
