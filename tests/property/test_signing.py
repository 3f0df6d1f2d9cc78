"""The signatures of requests, as they come over the wire, are botocore's, whatever is signed."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import product
from typing import Any
from unittest.mock import patch
from urllib.parse import quote

import botocore.auth
import pytest
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given, settings
from hypothesis import strategies as st

from hangup.aws.http.account import Keys
from hangup.aws.http.botocore_transport import BotocoreTransport
from hangup.aws.http.signing import Signer
from hangup.aws.http.transport import CurlTransport
from tests.support.http_server import Request, Server, serving

SERVICE, REGION = "execute-api", "eu-central-1"

names = st.from_regex(r"[A-Za-z][A-Za-z0-9-]{0,20}", fullmatch=True).filter(
    lambda name: (
        name.lower()
        not in {
            # What the transport or libcurl sends itself, or goes by.
            "accept",
            "authorization",
            "connection",
            "content-length",
            "content-type",
            "expect",
            "host",
            "te",
            "transfer-encoding",
            "upgrade",
            "x-amz-content-sha256",
            "x-amz-date",
            "x-amz-security-token",
        }
        | {*botocore.auth.SIGNED_HEADERS_BLACKLIST}
    )
)
values = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=20)
headers = st.lists(
    st.tuples(names, st.lists(values, min_size=1, max_size=3).map(" ".join)),
    max_size=4,
    unique_by=lambda header: header[0].lower(),
)
# No segment is empty or made of dots: those have no path of their own.
segments = st.text(min_size=1, max_size=12).filter(lambda text: text.strip("."))
paths = st.lists(segments, max_size=3).map(
    lambda parts: "/" + "/".join(quote(part, safe="@") for part in parts)
)
# That of an endpoint may have whatever a URL's may.
bases = st.lists(segments, max_size=2).map(
    lambda parts: "".join("/" + quote(part, safe="!$&'()*+,;=:@") for part in parts)
)
secrets = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=40)
# An access key's id has letters, digits and underscores (IAM API reference, AccessKey).
key_ids = st.from_regex(r"[A-Za-z0-9_]{1,40}", fullmatch=True)
keys = st.builds(Keys, key_ids, secrets, st.none() | secrets)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving() as plain:
        yield plain


@contextmanager
def at(timestamp: str) -> Iterator[None]:
    when = datetime.strptime(timestamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    with patch.object(botocore.auth, "get_current_datetime", return_value=when):
        yield


def by_botocore(request: Request, headers: list[tuple[str, str]], its: Keys) -> str:
    signed = dict(headers)
    for name in ("content-type", "x-amz-content-sha256"):
        if name in request.headers:
            signed[name] = request.headers[name]
    again = AWSRequest(
        request.method,
        f"http://{request.headers['host']}{request.path}",
        data=request.body or None,
        headers=signed,
    )
    with at(request.headers["x-amz-date"]):
        botocore.auth.SigV4Auth(Credentials(*its), SERVICE, REGION).add_auth(again)
    return str(again.headers["Authorization"])


any_requests = given(
    base=bases,
    path=paths,
    headers=headers,
    body=st.binary(max_size=50),
    method=st.sampled_from(["GET", "POST", "DELETE"]),
    several=st.lists(keys, min_size=1, max_size=2),
)


@any_requests
def test_signs_as_botocore_does(server: Server, **request: Any) -> None:
    check_signature(server, CurlTransport, **request)


@any_requests
@settings(max_examples=20)
def test_botocore_sends_what_it_signed(server: Server, **request: Any) -> None:
    check_signature(server, BotocoreTransport, **request)


def check_signature(
    server: Server,
    make: type[CurlTransport | BotocoreTransport],
    *,
    base: str,
    path: str,
    headers: list[tuple[str, str]],
    body: bytes,
    method: str,
    several: list[Keys],
) -> None:
    server.requests.clear()
    at_hand = iter([*several, *several])
    transport = make(
        f"http://localhost:{server.port}{base}",
        service=SERVICE,
        region=REGION,
        keys=lambda: next(at_hand),
        ca_file="unused: the server speaks HTTP",
    )
    # What is kept from one request must be good for the next.
    for its in [*several, *several]:
        transport.send(
            method, path, headers=tuple(f"{name}: {value}" for name, value in headers), body=body
        )
        request = server.requests[-1]
        assert (request.method, request.path, request.body) == (method, base + path, body)
        assert all(request.headers[name.lower()] == value for name, value in headers)
        assert request.headers.get("x-amz-security-token") == its.token
        assert request.headers["authorization"] == by_botocore(request, headers, its)


@given(
    host=st.sampled_from(["", ":", ":80", ":443", ":0443", ":8443"]).map("a1.example{}".format),
    scheme=st.sampled_from(["https", "http"]),
    moments=st.lists(st.integers(0, 4_000_000_000), min_size=1, max_size=3),
    several=st.lists(keys, min_size=1, max_size=2),
    kinds=st.lists(headers, min_size=1, max_size=2),
)
def test_what_is_kept_is_good_for_its_second_keys_and_headers_alone(
    host: str,
    scheme: str,
    moments: list[int],
    several: list[Keys],
    kinds: list[list[tuple[str, str]]],
) -> None:
    signer = Signer(service=SERVICE, region=REGION, url=f"{scheme}://{host}")
    for now_s in [*moments, *moments]:
        for its, headers in product(several, kinds):
            lines = signer.lines(
                *("POST", "/@connections/c1%3D"),
                tuple(f"{name}: {value}" for name, value in headers),
                b"{}",
                keys=its,
                now_s=now_s,
            )
            again = AWSRequest(
                "POST", f"{scheme}://{host}/@connections/c1%3D", data=b"{}", headers=dict(headers)
            )
            timestamp = datetime.fromtimestamp(now_s, UTC).strftime("%Y%m%dT%H%M%SZ")
            with at(timestamp):
                botocore.auth.SigV4Auth(Credentials(*its), SERVICE, REGION).add_auth(again)
            assert lines[-1] == f"Authorization: {again.headers['Authorization']}"
            assert f"X-Amz-Date: {timestamp}" in lines
