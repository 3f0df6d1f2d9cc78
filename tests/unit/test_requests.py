"""What clients may send, and what is refused with which status."""

import json

import pytest

from hangup.core.limits import MAX_MESSAGE_BYTES
from hangup.errors import InvalidRequest
from hangup.sessions.model import JoinRequest, Role
from hangup.sessions.requests import parse_join, parse_message
from tests.support.recorded import recorded

ODD_SESSION_IDS = [
    None,
    "",
    "s" * 65,
    "a b",
    "a/b",
    "a\nb",
    "a\n",
    "é",
    "٣",  # a digit, but not an ASCII one
    "s;DROP",
    "\ud800",
    7,
    ["s1"],
    {"S": "s1"},
]


class TestJoin:
    def test_accepts_a_speaker(self) -> None:
        assert parse_join({"sessionId": "s1", "role": "speaker"}) == JoinRequest(
            session_id="s1", role=Role.SPEAKER
        )

    def test_accepts_a_listener_with_a_language(self) -> None:
        query = recorded("connect")["queryStringParameters"]
        assert parse_join(query) == JoinRequest(
            session_id="monday-standup", role=Role.LISTENER, target_language="pt-BR"
        )

    @pytest.mark.parametrize("session_id", ["a", "A-b_9", "s" * 64, "-"])
    def test_accepts_session_ids_up_to_their_bounds(self, session_id: str) -> None:
        request = parse_join({"sessionId": session_id, "role": "listener"})
        assert request.session_id == session_id

    @pytest.mark.parametrize("language", ["de", "DE", "fil", "pt-BR", "zh-Hans-CN", "de-CH-1996"])
    def test_accepts_language_tags(self, language: str) -> None:
        query = {"sessionId": "s1", "role": "listener", "targetLanguage": language}
        assert parse_join(query).target_language == language

    @pytest.mark.parametrize("session_id", ODD_SESSION_IDS)
    def test_refuses_odd_session_ids(self, session_id: object) -> None:
        with pytest.raises(InvalidRequest, match="sessionId must be") as refusal:
            parse_join({"sessionId": session_id, "role": "listener"})
        assert refusal.value.status == 400

    @pytest.mark.parametrize("role", [None, "", "Speaker", "unknown", "speaker ", 1, ["speaker"]])
    def test_refuses_other_roles(self, role: object) -> None:
        with pytest.raises(InvalidRequest, match="role must be") as refusal:
            parse_join({"sessionId": "s1", "role": role})
        assert refusal.value.status == 400

    @pytest.mark.parametrize(
        "language", ["", "d", "deutsch", "de_CH", "de-", "-de", "de\n", "de-a-b-c-d", 1, ["de"]]
    )
    def test_refuses_what_is_no_language(self, language: object) -> None:
        with pytest.raises(InvalidRequest, match="targetLanguage must be") as refusal:
            parse_join({"sessionId": "s1", "role": "listener", "targetLanguage": language})
        assert refusal.value.status == 400

    def test_refuses_a_language_for_a_speaker(self) -> None:
        with pytest.raises(InvalidRequest, match="for listeners only") as refusal:
            parse_join({"sessionId": "s1", "role": "speaker", "targetLanguage": "de"})
        assert refusal.value.status == 400

    @pytest.mark.parametrize("query", [None, {}])
    def test_refuses_a_join_without_parameters(self, query: dict[str, object] | None) -> None:
        with pytest.raises(InvalidRequest, match="sessionId must be"):
            parse_join(query)

    def test_a_refusal_does_not_repeat_what_was_sent(self) -> None:
        with pytest.raises(InvalidRequest) as refusal:
            parse_join({"sessionId": "<script>", "role": "listener"})
        assert "<script>" not in str(refusal.value)


class TestMessage:
    @pytest.mark.parametrize("action", ["heartbeat", "message", "", "unknown"])
    def test_accepts_any_object_with_an_action(self, action: str) -> None:
        assert parse_message(json.dumps({"action": action, "n": 1})) == {"action": action, "n": 1}

    def test_accepts_a_message_of_exactly_the_longest_length(self) -> None:
        body = _padded("a", MAX_MESSAGE_BYTES)
        assert parse_message(body)["action"] == "message"

    @pytest.mark.parametrize("character", ["a", "é", "\ud800"])
    def test_refuses_a_message_one_byte_longer(self, character: str) -> None:
        with pytest.raises(InvalidRequest, match="131072 bytes at most") as refusal:
            parse_message(_padded(character, MAX_MESSAGE_BYTES + 1))
        assert refusal.value.status == 413

    @pytest.mark.parametrize(
        "body",
        [
            None,
            b'{"action": "heartbeat"}',
            {"action": "heartbeat"},
            7,
            "",
            "heartbeat",
            "{",
            "[]",
            "null",
            '"heartbeat"',
            "1" * 10_000,  # longer than Python turns into a number
            "[" * 100_000,  # deeper than Python goes
        ],
    )
    def test_refuses_what_is_no_json_object(self, body: object) -> None:
        with pytest.raises(InvalidRequest, match="must be a JSON object") as refusal:
            parse_message(body)
        assert refusal.value.status == 400

    @pytest.mark.parametrize("message", [{}, {"action": None}, {"action": 1}, {"Action": "x"}])
    def test_refuses_an_object_without_an_action(self, message: dict[str, object]) -> None:
        with pytest.raises(InvalidRequest, match="string member 'action'") as refusal:
            parse_message(json.dumps(message))
        assert refusal.value.status == 400


def _padded(character: str, size: int) -> str:
    """Return a message of ``size`` bytes as UTF-8."""
    head, tail = '{"action": "message", "text": "', '"}'
    room = size - len(head) - len(tail)
    width = len(character.encode("utf-8", "surrogatepass"))
    return f"{head}{character * (room // width)}{'a' * (room % width)}{tail}"
