"""What `hangup init` makes of tables as other people have them. The records are made up."""

from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from random import Random
from typing import Any, Final

import pytest

from hangup.aws.discovery import FoundFunction, FoundTable
from hangup.core.connection import ConnectionInfo, EpochMs, NoConnection
from hangup.ops.evidence import Confidence, Evidence, Proposal
from hangup.ops.inference import infer, settled
from hangup.ops.inferred_ids import split

NOW_MS: Final = 1_760_000_000_000
DISCONNECT: Final = FoundFunction(
    arn="arn:aws:lambda:eu-central-1:123456789012:function:bye", variables={}
)
GHOST: Final = "L0SM9cOFvHcCIhw="
PK_AND_SK: Final = (("pk", "S"), ("sk", "S"))

Item = dict[str, Any]


@dataclass(frozen=True)
class Client:
    """A client, as API Gateway has it: ``spoke_ms`` after its connect it was active last."""

    connection_id: str
    connected_ms: int
    spoke_ms: int

    @property
    def active_ms(self) -> int:
        return self.connected_ms + self.spoke_ms

    @property
    def info(self) -> ConnectionInfo:
        return ConnectionInfo(
            last_active_ms=EpochMs(self.active_ms), connected_at_ms=EpochMs(self.connected_ms)
        )


def clients(count: int, *, speaking: bool = True, seed: int = 1) -> list[Client]:
    random = Random(seed)  # noqa: S311 - ids of nobody
    return [
        Client(
            urlsafe_b64encode(random.randbytes(11)).decode(),
            NOW_MS - random.randrange(60_000, 3_600_000),
            random.randrange(3_000, 50_000) if speaking and number % 2 == 0 else 0,
        )
        for number in range(count)
    ]


def s(text: str) -> Item:
    return {"S": text}


def n(number: int) -> Item:
    return {"N": str(number)}


def iso(ms: int) -> Item:
    return s(datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds"))


# What each shape's app writes for a client, and the other items of its table.
def a_bare(one: Client) -> list[Item]:
    return [{"connectionId": s(one.connection_id)}]


def b_renamed(one: Client) -> list[Item]:
    ttl = one.connected_ms // 1000 + 7_200
    return [{"id": s(one.connection_id), "createdAt": n(one.connected_ms + 40), "ttl": n(ttl)}]


def c_composite(one: Client) -> list[Item]:
    return [
        {
            "pk": s("CONNECTIONS"),
            "sk": s(one.connection_id),
            "connectedAt": iso(one.connected_ms),
        }
    ]


def d_single_table(one: Client) -> list[Item]:
    key = f"CONN#{one.connection_id}"
    joined = n(one.connected_ms // 1000 + 1)
    return [
        {"pk": s(key), "sk": s("META"), "user": s("u"), "room": s("lobby"), "joined": joined},
        {"pk": s(key), "sk": s("PREFERENCES"), "language": s("en")},
        {"pk": s("ROOM#lobby"), "sk": s(key), "user": s("u")},
    ]


def e_rooms(one: Client) -> list[Item]:
    return [
        {"room": s(room), "connectionId": s(one.connection_id)}
        for room in ("hall", f"room {one.spoke_ms % 7}")
    ]


def f_users(one: Client) -> list[Item]:
    return [
        {
            "userId": s(f"user {one.connected_ms}"),
            "socket": s(one.connection_id),
            "lastSeen": iso(one.active_ms + 120),
            "registeredAt": iso(1_600_000_000_000),
        }
    ]


def g_ttl(one: Client) -> list[Item]:
    return [{"connectionId": s(one.connection_id), "ttl": n(one.active_ms // 1000 + 300)}]


def h_shared(one: Client) -> list[Item]:
    return [
        {
            "connectionId": s(one.connection_id),
            "stage": s("prod"),
            "connectedAt": n(one.connected_ms),
        }
    ]


def i_encrypted(one: Client) -> list[Item]:
    return [
        {
            "connectionId": s(one.connection_id),
            "connectedAt": n(one.connected_ms),
            "reportedAt": n(one.active_ms + 300),
        }
    ]


@dataclass(frozen=True)
class Shape:
    records: Any
    strangers: Sequence[Item]
    table: FoundTable
    expected: Mapping[str, object]
    disconnect: FoundFunction | None = DISCONNECT


def table(*key: tuple[str, str], **options: Any) -> FoundTable:
    return FoundTable(name="t", key=key, **options)


def time(attribute: str, unit: str, **options: int) -> Item:
    return {"attribute": attribute, "unit": unit, **options}


def a_key(*names: str) -> list[Item]:
    return [{"attribute": name, "type": "S"} for name in names]


ID_KEY: Final = ("connectionId", "S")
SHAPES: Final[Mapping[str, Shape]] = {
    "A": Shape(
        a_bare,
        [{"connectionId": s(GHOST)}],
        table(ID_KEY),
        {"table.connection_id": "connectionId", "timeout.activity": "gateway"},
    ),
    "B": Shape(
        b_renamed,
        [{"id": s("#schema"), "version": n(3), "createdAt": s("last spring")}],
        table(("id", "S"), ttl="ttl"),
        {
            "table.connection_id": "id",
            "table.connected_at": time("createdAt", "ms"),
            "timeout.activity": "gateway",
            "timeout.hand_over": "delete",
        },
        None,
    ),
    "C": Shape(
        c_composite,
        [
            {"pk": s("STATS"), "sk": s("online"), "connections": n(0)},
            {"pk": s("STATS"), "sk": s("2020-01-01"), "connectedAt": iso(1_577_836_800_000)},
            {"pk": s("ARCHIVE"), "sk": s(GHOST), "connectedAt": iso(1_577_836_800_000)},
        ],
        table(*PK_AND_SK),
        {
            "table.connection_id": "sk",
            "table.key": a_key("pk", "sk"),
            "table.connected_at": time("connectedAt", "iso8601"),
            "table.only": [{"attribute": "pk", "equals": "CONNECTIONS"}],
            "timeout.activity": "gateway",
        },
    ),
    "D": Shape(
        d_single_table,
        [
            {"pk": s("ROOM#lobby"), "sk": s("META"), "members": n(0)},
            {"pk": s("USER#ann"), "sk": s("PROFILE"), "joined": n(1_600_000_000)},
            {"pk": s(f"CONN#{GHOST}"), "sk": s("PREFERENCES"), "joined": n(1_600_000_000)},
        ],
        table(*PK_AND_SK),
        {
            "table.connection_id": "pk",
            "table.id_prefix": "CONN#",
            "table.key": a_key("pk", "sk"),
            "table.connected_at": time("joined", "s"),
            "table.session": "room",
            "table.only": [{"attribute": "sk", "equals": "META"}],
            "timeout.activity": "gateway",
        },
    ),
    "E": Shape(
        e_rooms,
        [{"room": s("hall"), "connectionId": s("#topic"), "text": s("Welcome")}],
        table(("room", "S"), ID_KEY),
        {
            "table.connection_id": "connectionId",
            "table.key": a_key("room", "connectionId"),
            "table.session": "room",
            "timeout.activity": "gateway",
            "timeout.hand_over": "delete",
        },
        None,
    ),
    "F": Shape(
        f_users,
        [
            {"userId": s("cleo"), "lastSeen": iso(1_577_836_800_000), "logins": n(7)},
            {"userId": s("ann"), "name": s("Ann")},
        ],
        table(("userId", "S")),
        {
            "table.connection_id": "socket",
            "table.key": a_key("userId"),
            "table.last_activity": time("lastSeen", "iso8601"),
            "timeout.activity": "recorded",
            "timeout.hand_over": "never",
        },
        None,
    ),
    "G": Shape(
        g_ttl,
        [{"connectionId": s("#lock"), "ttl": n(1_600_000_000), "holder": s("nobody")}],
        table(ID_KEY, ttl="ttl", has_stream=True),
        {
            "table.connection_id": "connectionId",
            "table.last_activity": time("ttl", "s", offset_seconds=300),
            "timeout.activity": "recorded",
            "timeout.state_table": True,
        },
    ),
    "H": Shape(
        h_shared,
        [
            {"connectionId": s(GHOST), "connectedAt": n(1_600_000_000_000)},
            {"connectionId": s("L0SM9cOFvHcCIhx="), "stage": s("test"), "connectedAt": n(1)},
            {"connectionId": s("L0SM9cOFvHcCIhy="), "stage": s("dev"), "connectedAt": n(NOW_MS)},
        ],
        table(ID_KEY),
        {
            "table.connection_id": "connectionId",
            "table.connected_at": time("connectedAt", "ms"),
            "table.only": [{"attribute": "stage", "equals": "prod"}],
            "timeout.activity": "gateway",
        },
    ),
    "I": Shape(
        i_encrypted,
        [{"connectionId": s("#fleet"), "connectedAt": n(1_600_000_000_000), "firmware": s("1")}],
        table(ID_KEY, kms_key="arn:aws:kms:eu-central-1:123456789012:key/k"),
        {
            "table.connection_id": "connectionId",
            "table.connected_at": time("connectedAt", "ms"),
            "table.last_activity": time("reportedAt", "ms"),
            "table.kms_key": "arn:aws:kms:eu-central-1:123456789012:key/k",
            "timeout.activity": "recorded",
        },
    ),
}


def evidence_of(shape: Shape, there: Sequence[Client], *, asked: bool = True) -> Evidence:
    items = [item for one in there for item in shape.records(one)] + list(shape.strangers)
    Random(2).shuffle(items)  # noqa: S311 - likewise
    answers: dict[str, ConnectionInfo | NoConnection] = {}
    if asked:
        answers = {one.connection_id: one.info for one in there} | {GHOST: NoConnection.GONE}
    return Evidence(
        key=shape.table.key,
        ttl=shape.table.ttl,
        items=items,
        answers=answers,
        api_id="a1b2c3",
        stage="prod",
        now_ms=EpochMs(NOW_MS),
    )


def proposed(shape: Shape, evidence: Evidence) -> list[Proposal]:
    return list(infer(evidence, shape.table, shape.disconnect).proposals)


def said(proposals: Sequence[Proposal]) -> dict[str, object]:
    """Return what would be in force in the file."""
    return {one.key: one.value for one in proposals if one.confidence is not Confidence.UNSURE}


def doubted(proposals: Sequence[Proposal]) -> dict[str, object]:
    return {one.key: one.value for one in proposals if one.confidence is Confidence.UNSURE}


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("count", [2, 3, 25])
def test_finds_every_shape_where_clients_are_connected(name: str, count: int) -> None:
    shape = SHAPES[name]
    proposals = proposed(shape, evidence_of(shape, clients(count)))
    assert said(proposals) == {"timeout.hand_over": "if_left"} | dict(shape.expected)
    assert doubted(proposals) == {}


@pytest.mark.parametrize("name", sorted(set(SHAPES) - {"G"}))
def test_finds_them_without_an_answer_of_api_gateway(name: str) -> None:
    shape = SHAPES[name]
    proposals = proposed(shape, evidence_of(shape, clients(25), asked=False))
    assert said(proposals) == {"timeout.hand_over": "if_left"} | dict(shape.expected)


@pytest.mark.parametrize("name", sorted(set(SHAPES) - {"G"}))
def test_finds_them_where_all_clients_are_silent(name: str) -> None:
    shape = SHAPES[name]
    proposals = proposed(shape, evidence_of(shape, clients(3, speaking=False)))
    assert said(proposals) == {"timeout.hand_over": "if_left"} | dict(shape.expected)


@pytest.mark.parametrize("asked", [True, False])
def test_a_time_to_live_alone_is_asked_about_while_all_clients_are_silent(asked: bool) -> None:
    shape = SHAPES["G"]
    proposals = proposed(shape, evidence_of(shape, clients(9, speaking=False), asked=asked))
    setting = time("ttl", "s", offset_seconds=300)
    assert doubted(proposals) == {"table.last_activity": setting}
    assert said(proposals)["timeout.activity"] == "gateway"
    accepted = said(settled(proposals, {"table.last_activity": setting}))
    assert (accepted["table.last_activity"], accepted["timeout.activity"]) == (setting, "recorded")
    declined = settled(proposals, {"table.last_activity": None})
    assert "table.last_activity" not in {one.key for one in declined}
    assert said(declined)["timeout.activity"] == "gateway"


def test_says_why_and_in_how_many_records() -> None:
    shape = SHAPES["B"]
    why = {one.key: one.why for one in proposed(shape, evidence_of(shape, clients(25)))}
    assert why["table.connected_at"] == (
        "`createdAt`: 25 of 25 look like epoch milliseconds; stays with the connect of 25 that API"
        " Gateway was asked about"
    )
    assert why["table.connection_id"] == (
        "`id`: 25 of 26 items have what looks like an id there; API Gateway knows 25 of these"
        " connections"
    )


class TestIds:
    @pytest.mark.parametrize(
        ("text", "parts"),
        [
            (GHOST, ("", GHOST)),
            ("Fz9P_cZYoAMCJYA=", ("", "Fz9P_cZYoAMCJYA=")),
            ("0123456789abcdef", ("", "0123456789abcdef")),
            (f"CONN#{GHOST}", ("CONN#", GHOST)),
            (f"a#b:{GHOST}", ("a#b:", GHOST)),
            (f"conn-{GHOST}", ("conn-", GHOST)),
            (f"ws_{GHOST}", ("ws_", GHOST)),
            ("online", None),
            ("2020-01-01", None),
            ("8c1f0b7e-6e0e-4a52-9f7c-0c3a4f3b2d1e", None),
            ("=", None),
            ("", None),
        ],
    )
    def test_are_told_by_their_form(self, text: str, parts: tuple[str, str] | None) -> None:
        assert split(text) == parts

    def test_of_an_emulator_are_found(self) -> None:
        there = [replace(one, connection_id=f"{n:016x}") for n, one in enumerate(clients(3))]
        for shape in SHAPES.values():
            proposals = proposed(shape, evidence_of(shape, there))
            assert said(proposals) == {"timeout.hand_over": "if_left"} | dict(shape.expected)

    def test_that_api_gateway_knows_win(self) -> None:
        """Another attribute has what looks like ids, and more of them."""
        shape = SHAPES["B"]
        evidence = evidence_of(shape, clients(3))
        items: list[Any] = [
            {**item, "trace": s(f"{number:016x}")} for number, item in enumerate(evidence.items)
        ]
        proposals = proposed(shape, replace(evidence, items=items))
        assert said(proposals)["table.connection_id"] == "id"

    def test_by_the_name_alone_are_said_to_be(self) -> None:
        shape = SHAPES["A"]
        (one, *_) = proposed(shape, replace(evidence_of(shape, []), items=[]))
        assert (one.value, one.confidence) == ("connectionId", Confidence.LIKELY)
        assert one.why == "`connectionId`: by its name alone, because the table is empty"

    def test_without_a_sign_of_them_there_is_a_choice(self) -> None:
        shape = Shape(a_bare, [{"pk": s("x"), "to": s("y"), "n": n(1)}], table(("pk", "S")), {})
        (one, *_) = proposed(shape, evidence_of(shape, []))
        assert (one.value, one.confidence) == (None, Confidence.UNSURE)
        assert set(one.choices) == {"pk", "to"}


class TestFilters:
    def test_rooms_are_not_a_kind_though_all_are_in_one(self) -> None:
        shape = replace(
            SHAPES["E"],
            records=lambda one: [{"room": s("HALL"), "connectionId": s(one.connection_id)}],
        )
        assert "table.only" not in said(proposed(shape, evidence_of(shape, clients(25))))

    def test_other_items_with_the_same_key_are_told_by_what_they_lack(self) -> None:
        shape = replace(
            SHAPES["B"], strangers=[{"id": s("order1"), "total": n(3), "createdAt": n(NOW_MS)}]
        )
        proposals = proposed(shape, evidence_of(shape, clients(3)))
        assert said(proposals)["table.only"] == [{"attribute": "ttl", "exists": True}]

    def test_a_name_of_the_kind_comes_first(self) -> None:
        shape = replace(
            SHAPES["B"],
            records=lambda one: [{**b_renamed(one)[0], "type": s("connection")}],
            strangers=[{"id": s("order1"), "type": s("order")}],
        )
        proposals = proposed(shape, evidence_of(shape, clients(3)))
        assert said(proposals)["table.only"] == [{"attribute": "type", "equals": "connection"}]

    def test_what_nothing_tells_apart_is_unsure(self) -> None:
        shape = replace(SHAPES["A"], strangers=[{"connectionId": s("order1")}])
        proposals = proposed(shape, evidence_of(shape, clients(3)))
        assert "table.only" in doubted(proposals)
        (why,) = [one.why for one in proposals if one.key == "table.only"]
        assert why == "1 item is not a connection, and nothing tells it apart"

    @pytest.mark.parametrize(
        ("attribute", "ours", "theirs"),
        [
            ("apiId", "a1b2c3", "zzz"),
            ("domainName", "a1b2c3.execute-api.eu-central-1.amazonaws.com", "zzz.execute-api.x"),
            ("environment", "prod", "dev"),
        ],
    )
    def test_connections_of_another_api_or_stage_are_left_out(
        self, attribute: str, ours: str, theirs: str
    ) -> None:
        shape = replace(
            SHAPES["A"],
            records=lambda one: [{**a_bare(one)[0], attribute: s(ours)}],
            strangers=[{"connectionId": s(GHOST), attribute: s(theirs)}],
        )
        for asked in (True, False):
            proposals = proposed(shape, evidence_of(shape, clients(3), asked=asked))
            assert said(proposals)["table.only"] == [{"attribute": attribute, "equals": ours}]


class TestTimes:
    def test_one_that_is_written_with_some_messages_only_moves_as_well(self) -> None:
        shape = replace(
            SHAPES["I"],
            records=lambda one: [
                {
                    "connectionId": s(one.connection_id),
                    "connectedAt": n(one.connected_ms),
                    "reportedAt": n(one.connected_ms + one.spoke_ms * 2 // 3),
                }
            ],
        )
        proposals = proposed(shape, evidence_of(shape, clients(25)))
        assert said(proposals)["table.last_activity"] == time("reportedAt", "ms")

    def test_a_connect_that_is_written_late_is_still_the_connect(self) -> None:
        shape = replace(
            SHAPES["B"],
            records=lambda one: [
                {"id": s(one.connection_id), "createdAt": n(one.connected_ms + 9_000)}
            ],
        )
        there = [replace(one, spoke_ms=one.spoke_ms * 20) for one in clients(9)]
        proposals = proposed(shape, evidence_of(shape, there))
        assert said(proposals)["table.connected_at"] == time("createdAt", "ms")

    def test_a_time_to_live_alone_may_say_when_the_client_connected(self) -> None:
        shape = replace(
            SHAPES["G"],
            records=lambda one: [
                {
                    "connectionId": s(one.connection_id),
                    "ttl": n(one.connected_ms // 1000 + 86_400),
                }
            ],
        )
        proposals = proposed(shape, evidence_of(shape, clients(25)))
        expected = time("ttl", "s", offset_seconds=86_400)
        assert said(proposals)["table.connected_at"] == expected
        assert said(proposals)["timeout.activity"] == "gateway"

    def test_a_time_without_a_name_that_says_it_is_asked_about(self) -> None:
        shape = replace(
            SHAPES["A"],
            records=lambda one: [{**a_bare(one)[0], "at": n(one.connected_ms)}],
        )
        proposals = proposed(shape, evidence_of(shape, clients(9), asked=False))
        assert doubted(proposals) == {"table.connected_at": time("at", "ms")}
        proposals = proposed(shape, evidence_of(shape, clients(9)))
        assert said(proposals)["table.connected_at"] == time("at", "ms")

    def test_what_hangup_writes_is_no_time_of_the_application(self) -> None:
        shape = replace(
            SHAPES["A"],
            records=lambda one: [{**a_bare(one)[0], "gatewayActiveAt": n(one.active_ms)}],
        )
        assert said(proposed(shape, evidence_of(shape, clients(9)))) == {
            "timeout.hand_over": "if_left",
            **shape.expected,
        }
