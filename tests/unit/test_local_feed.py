"""What ``hangup up`` makes of the functions' log lines."""

import json

import pytest

from hangup.local.feed import in_words


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (
            {"message": "sweep done", "checked": 3, "idle": 1, "closed": 1, "queued": 0},
            "sweep done: 3 checked, 1 idle, 1 closed, 0 gone, 0 closeFailures, 0 handoverFailures",
        ),
        (
            {"message": "sweep done", "checked": 3, "idle": 0, "queued": 2},
            "sweep done: 3 checked, 2 queued, 0 queueFailures",
        ),
        (
            {"message": "sweep done", "checked": 3, "queued": 0, "queueFailures": 2},
            "sweep done: 3 checked, 0 queued, 2 queueFailures",
        ),
        (
            {"message": "due connections done", "received": 2, "claimsLost": 1, "closed": 1},
            (
                "due connections done: 2 received, 1 claimsLost, 1 closed, 0 gone, 0 closeFailures,"
                " 0 handoverFailures"
            ),
        ),
        (
            {"message": "connection joined", "connectionId": "c1", "role": "speaker"},
            "connection joined: connectionId=c1, role=speaker",
        ),
        ({"message": "message refused"}, "message refused"),
        ({"message": "activity recorded", "connectionId": "c1"}, None),
        ({"_aws": {}}, None),
    ],
)
def test_says_what_a_line_says_in_short(line: dict[str, object], words: str | None) -> None:
    assert in_words(json.dumps(line)) == words


def test_leaves_lambda_s_own_lines_out_and_others_as_they_are() -> None:
    assert in_words("START RequestId: 1 Version: $LATEST") is None
    assert in_words("Traceback (most recent call last):\n") == "Traceback (most recent call last):"
