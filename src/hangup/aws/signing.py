"""AWS Signature Version 4 of the requests that ``transport`` sends.

libcurl and botocore sign, too, and derive the key and sort the headers anew for every request,
which costs a quarter of a close's CPU time (docs/decisions/0001-libcurl-for-closes.md). Here both
are kept for as long as they are good for, which is a second. The tests compare signatures with
botocore's.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from hmac import digest
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

if TYPE_CHECKING:
    from botocore.credentials import ReadOnlyCredentials

__all__ = ["Headers", "Signer"]

Headers = tuple[tuple[str, str], ...]

_ALGORITHM: Final = "AWS4-HMAC-SHA256"
_TERMINATOR: Final = "aws4_request"


@dataclass(frozen=True, slots=True)
class _Head:
    """The headers of a request, but for ``Authorization``."""

    lines: Sequence[str]
    canonical: str
    """What of them is signed, in the form in which it is."""
    names: str


@dataclass(frozen=True, slots=True)
class _Signing:
    """What the requests of one second have in common."""

    made_for: "tuple[ReadOnlyCredentials, int]"
    timestamp: str
    scope: str
    key: bytes
    heads: dict[Headers, _Head] = field(default_factory=dict)


class Signer:
    """Signs requests to one service in one Region.

    ``service`` is its name in signatures, ``authority`` the ``Host`` that requests go to, with the
    port if it is not the scheme's own.
    """

    def __init__(self, *, service: str, region: str, authority: str) -> None:
        self._service = service
        self._region = region
        self._authority = authority
        self._made: _Signing | None = None

    def lines(  # noqa: PLR0913 - the parts of a request
        self,
        method: str,
        path: str,
        headers: Headers,
        body: bytes,
        *,
        keys: "ReadOnlyCredentials",
        now_s: int,
    ) -> list[str]:
        """Return the lines of a request's head, signed at ``now_s``, epoch seconds; not ``Host``.

        ``path`` is percent-encoded, has no query, and no segment that is empty, ``.`` or ``..``.
        ``headers`` are all of the request's but ``Host``, each name once.
        """
        signing = self._signing(keys, now_s)
        head = signing.heads.get(headers)
        if head is None:
            head = signing.heads[headers] = self._head(headers, signing)
        body_hash = sha256(body).hexdigest()
        request = f"{method}\n{_quoted(path)}\n\n{head.canonical}\n{head.names}\n{body_hash}"
        request_hash = sha256(request.encode()).hexdigest()
        to_sign = f"{_ALGORITHM}\n{signing.timestamp}\n{signing.scope}\n{request_hash}"
        signature = digest(signing.key, to_sign.encode(), "sha256").hex()
        credential = f"Credential={keys.access_key}/{signing.scope}"
        signed = f"{credential}, SignedHeaders={head.names}, Signature={signature}"
        return [*head.lines, f"Authorization: {_ALGORITHM} {signed}"]

    def _signing(self, keys: "ReadOnlyCredentials", now_s: int) -> _Signing:
        made = self._made
        if made is None or made.made_for != (keys, now_s):
            timestamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now_s))
            scope = (timestamp[:8], self._region, self._service, _TERMINATOR)
            key = f"AWS4{keys.secret_key}".encode()
            for part in scope:
                key = digest(key, part.encode(), "sha256")
            made = self._made = _Signing((keys, now_s), timestamp, "/".join(scope), key)
        return made

    def _head(self, headers: Headers, signing: _Signing) -> _Head:
        sent = [*headers, ("X-Amz-Date", signing.timestamp)]
        token = signing.made_for[0].token
        if token:
            sent.append(("X-Amz-Security-Token", token))
        signed = {name.lower(): " ".join(value.split()) for name, value in sent}
        signed["host"] = self._authority
        names = sorted(signed)
        return _Head(
            lines=[f"{name}: {value}" for name, value in sent],
            canonical="".join(f"{name}:{signed[name]}\n" for name in names),
            names=";".join(names),
        )


@lru_cache(maxsize=256)
def _quoted(path: str) -> str:
    # A connection is written to and closed: two requests with one path, with others in between.
    return quote(path, safe="/~")
