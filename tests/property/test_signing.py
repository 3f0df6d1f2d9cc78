"""The transport's signatures are botocore's, whatever is signed."""

from datetime import UTC, datetime
from unittest.mock import patch
from urllib.parse import quote

import botocore.auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from hangup.aws.http.signing import Headers, Signer

SERVICE, REGION = "execute-api", "eu-central-1"

names = st.from_regex(r"[A-Za-z][A-Za-z0-9-]{0,20}", fullmatch=True).filter(
    # botocore adds the first four itself, and leaves the others unsigned.
    lambda name: (
        name.lower()
        not in {"host", "authorization", "x-amz-date", "x-amz-security-token"}
        | {*botocore.auth.SIGNED_HEADERS_BLACKLIST}
    )
)
values = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30)
headers = st.lists(
    st.tuples(names, values), max_size=4, unique_by=lambda header: header[0].lower()
).map(tuple)
# No segment is empty or made of dots: those have no path of their own.
segments = st.text(min_size=1, max_size=12).filter(lambda text: text.strip("."))
paths = st.lists(segments, max_size=3).map(
    lambda parts: "/" + "/".join(quote(part, safe="@") for part in parts)
)
# That of an endpoint may have whatever a URL's may.
endpoints = st.builds(
    lambda host, parts: "/".join([host, *(quote(part, safe="!$&'()*+,;=:@") for part in parts)]),
    st.builds(
        "{}://a1.example{}".format,
        st.sampled_from(["https", "http"]),
        st.sampled_from(["", ":", ":80", ":443", ":0443", ":8443"]),
    ),
    st.lists(segments, max_size=2),
)
secrets = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=40)
credentials = st.builds(Credentials, secrets, secrets, st.none() | secrets)
moments = st.lists(st.integers(0, 4_000_000_000), min_size=1, max_size=3)


def by_botocore(
    method: str, url: str, headers: Headers, body: bytes, keys: Credentials, now_s: int
) -> str:
    request = AWSRequest(method, url, data=body or None, headers=dict(headers))
    when = datetime.fromtimestamp(now_s, UTC)
    with patch.object(botocore.auth, "get_current_datetime", return_value=when):
        botocore.auth.SigV4Auth(keys, SERVICE, REGION).add_auth(request)
    return str(request.headers["Authorization"])


@given(
    endpoint=endpoints,
    method=st.sampled_from(["GET", "POST", "DELETE"]),
    path=paths,
    headers=headers,
    body=st.binary(max_size=50),
    several=st.lists(credentials, min_size=1, max_size=2),
    moments=moments,
)
def test_signs_as_botocore_does(
    endpoint: str,
    method: str,
    path: str,
    headers: Headers,
    body: bytes,
    several: list[Credentials],
    moments: list[int],
) -> None:
    signer = Signer(service=SERVICE, region=REGION, endpoint=endpoint)
    # What is kept from one request must be good for the next.
    for now_s in [*moments, *moments]:
        for keys in several:
            lines = signer.lines(
                method, path, headers, body, keys=keys.get_frozen_credentials(), now_s=now_s
            )
            sent = dict(line.split(": ", 1) for line in lines)
            assert sent["Authorization"] == by_botocore(
                method, endpoint + path, headers, body, keys, now_s
            )
            assert sent.get("X-Amz-Security-Token") == keys.token
            assert all(sent[name] == value for name, value in headers)
