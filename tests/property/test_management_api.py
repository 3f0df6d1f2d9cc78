"""A connection's id is one segment of the path, whatever is in it."""

from typing import Any
from urllib.parse import quote

from hypothesis import example, given
from hypothesis import strategies as st

from hangup.aws.http.answer import Answer
from hangup.aws.http.services import DirectManagementApi


class Sent:
    """A transport that sends nothing, and keeps where it would have sent it."""

    def __init__(self) -> None:
        self.paths: list[str] = []

    def send(self, method: str, path: str, **_rest: Any) -> Answer:
        self.paths.append(path)
        return Answer(status=204, head=[], body=b"")


@given(st.text(min_size=1))
@example("L0SM9cOFvHcCIhw=")
@example("a/../=%3D=")
def test_each_character_that_means_something_in_a_url_is_quoted(connection_id: str) -> None:
    sent = Sent()
    DirectManagementApi(lambda: sent).delete_connection(ConnectionId=connection_id)
    assert sent.paths == ["/@connections/" + quote(connection_id, safe="")]
