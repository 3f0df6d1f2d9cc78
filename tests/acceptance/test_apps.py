"""Apps of all shapes that other people have, each with the timeout beside it, and real clients.

No app knows Hangup. Each is deployed from its own template, and the template of the timeout alone
beside it, by a user who may deploy and no more. All functions run with the roles of the templates.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Final

import pytest
from botocore.exceptions import ClientError

from tests.support.apps import App, Cloud, Item, deployed, timeout_settings
from tests.support.local_stack import be_idle, eventually

pytestmark = pytest.mark.acceptance

Message = Mapping[str, Any]


def unchanged(others: Sequence[Item], _gone: Sequence[Item]) -> Sequence[Item]:
    return others


def with_one_less_online(others: Sequence[Item], _gone: Sequence[Item]) -> Sequence[Item]:
    """What one call of the disconnect handler of ``c_composite`` leaves."""
    left = {"connections": {"N": str(online(others) - 1)}}
    return [item | left if item["sk"] == {"S": "online"} else item for item in others]


def without_the_member(others: Sequence[Item], gone: Sequence[Item]) -> Sequence[Item]:
    """What one call of the disconnect handler of ``d_single_table`` leaves."""
    (key,) = (record["pk"] for record in gone)
    left = [item for item in others if key not in (item["pk"], item["sk"])]
    assert len(others) - len(left) == 2
    number = {"members": {"N": str(members(others) - 1)}}
    return [item | number if is_lobby(item) else item for item in left]


def with_the_user(others: Sequence[Item], gone: Sequence[Item]) -> Sequence[Item]:
    """What one call of the disconnect handler of ``f_users`` leaves: the user stays."""
    (record,) = gone
    user = {name: value for name, value in record.items() if name != "socket"}
    return [*others, user | {"logouts": {"N": "1"}}]


def online(items: Sequence[Item]) -> int:
    return next(int(item["connections"]["N"]) for item in items if item["sk"] == {"S": "online"})


def is_lobby(item: Item) -> bool:
    return (item["pk"], item["sk"]) == ({"S": "ROOM#lobby"}, {"S": "META"})


def members(items: Sequence[Item]) -> int:
    return next(int(item["members"]["N"]) for item in items if is_lobby(item))


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """How the clients of an app behave, and what its disconnect handler is to leave.

    ``silent`` and ``talking`` are what two clients connect with, ``first`` is what the silent one
    says before it falls silent, ``says`` what the other goes on saying, and ``hears`` is in the
    app's answers to that. ``left`` returns the items that are not connections as they must be after
    the silent one has left, from what they were, and from the records of the silent one.
    """

    silent: Mapping[str, str] = field(default_factory=dict)
    talking: Mapping[str, str] = field(default_factory=dict)
    first: Sequence[Message] = ()
    says: Message = field(default_factory=lambda: {"action": "here"})
    hears: str | None = None
    records: int = 1
    left: Callable[[Sequence[Item], Sequence[Item]], Sequence[Item]] = unchanged
    counter: Callable[[Sequence[Item]], int] | None = None
    """Reads how many are there from the app's own counter."""
    told: Callable[[Message, str], bool] | None = None
    """Whether a message is what the app tells others of somebody who has left."""
    bystanders: Sequence[Mapping[str, str]] = ()
    """Other places where silent clients connect, which must stay."""


CASES: Final[Mapping[str, Case]] = {
    "a_bare": Case(says={"action": "sendmessage", "data": "hello"}, hears="said"),
    "b_renamed": Case(),
    "c_composite": Case(hears="online", left=with_one_less_online, counter=online),
    "d_single_table": Case(
        silent={"user": "bob", "room": "lobby"},
        talking={"user": "ann", "room": "lobby"},
        says={"action": "say", "room": "lobby", "text": "hello"},
        hears="said",
        left=without_the_member,
        counter=members,
        told=lambda message, _connection_id: message == {"left": "bob"},
    ),
    "e_rooms": Case(
        silent={"room": "kitchen"},
        talking={"room": "hall"},
        first=[{"enter": ["attic", "garden"]}],
        says={"room": "hall", "text": "hello"},
        hears="said",
        records=3,
    ),
    "f_users": Case(silent={"user": "bob"}, talking={"user": "ann"}, left=with_the_user),
    "g_ttl": Case(
        hears="change",
        told=lambda message, connection_id: (
            (message.get("change"), message.get("who")) == ("REMOVE", connection_id)
        ),
    ),
    "h_shared": Case(
        bystanders=[{"stage": "dev"}, {"api": "AdminApiId", "stage": "admin"}],
    ),
    "i_encrypted": Case(),
}


@pytest.fixture(scope="module")
def apps(cloud: Cloud) -> Callable[[str], App]:
    """Return what deploys an app, once."""
    known: dict[str, App] = {}

    def app(folder: str) -> App:
        if folder not in known:
            known[folder] = deployed(cloud, folder)
        return known[folder]

    return app


@pytest.mark.parametrize("folder", CASES)
def test_a_silent_client_is_closed_a_talking_one_stays_and_nothing_else_is_written(
    apps: Callable[[str], App], folder: str
) -> None:
    app, case = apps(folder), CASES[folder]

    async def play() -> None:
        async with AsyncExitStack() as clients:
            bystanders = [
                await clients.enter_async_context(app.client({}, **place))
                for place in case.bystanders
            ]
            silent = await clients.enter_async_context(app.client(case.silent))
            for message in case.first:
                await silent.say(message)
            await eventually(lambda: len(app.records()) == case.records)
            gone = app.records()
            (silent_id,) = set(app.connection_ids())
            talking = await clients.enter_async_context(app.client(case.talking))
            talking.talk(case.says)
            await eventually(lambda: len(app.records()) == case.records + 1)
            await eventually(lambda: counted(app) == 2)
            expected = ordered(case.left(app.others(), gone))
            await be_idle()
            counts = await asyncio.to_thread(sweep_until_closed, app)
            await silent.wait_closed()
            await eventually(lambda: silent_id not in app.connection_ids())
            await eventually(lambda: now(app, gone) == expected)
            # What comes too often, or too late, is there after two more sweeps.
            counts += [await asyncio.to_thread(app.sweep) for _ in range(2)]
            assert (silent.close_code, len(silent.notices())) == (1000, 1)
            assert [sum(one[name] for one in counts) for name in ("closed", "gone")] == [1, 0]
            assert await talking.is_open()
            assert talking.notices() == []
            if case.hears is not None:
                await talking.hears(case.hears)
            for bystander in bystanders:
                assert await bystander.is_open()
                assert bystander.notices() == []
            assert (len(app.records()), counted(app)) == (1, 1)
            if app.parameters.get("StateTable") == "true":
                # Nothing but the app writes into the table, and so the app tells nobody about it.
                changed = [one["attributes"] for one in talking.received if one.get("attributes")]
                assert changed
                assert changed.count(["connectionId", "ttl"]) == len(changed)
                assert [record.keys() for record in app.records()] == [{"connectionId", "ttl"}]
            if case.told is not None:
                assert [case.told(one, silent_id) for one in talking.received].count(True) == 1
            assert now(app, gone) == expected
            assert [app.invocations(name, "Errors") for name in app.functions()].count(0) == (
                len(app.functions())
            )

    asyncio.run(play())


def counted(app: App) -> int:
    """Return how many clients there are by the app's own counter, or else by its records."""
    counter = CASES[app.folder].counter
    return len(set(app.connection_ids())) if counter is None else counter(app.others())


def ordered(items: Sequence[Item]) -> Sequence[Item]:
    return sorted(items, key=lambda item: repr(sorted(item.items())))


def now(app: App, gone: Sequence[Item]) -> Sequence[Item]:
    """Return what is in the table beside connections, without the marks of a close.

    Those are in what was a record of a connection that is gone, and nowhere else.
    """
    keys = [app.key_of(record) for record in gone]
    return ordered(
        [app.without_marks(item) if app.key_of(item) in keys else item for item in app.others()]
    )


def sweep_until_closed(app: App) -> list[Mapping[str, Any]]:
    """Sweep until a connection is closed; return the counts of each sweep.

    The first sweep may note when a client that has no time on record was last active.
    """
    counts = [app.sweep()]
    while not counts[-1]["closed"]:
        assert len(counts) < 3, counts
        counts.append(app.sweep())
    return counts


def test_a_handler_that_must_run_once_is_called_where_api_gateway_lost_its_event(
    apps: Callable[[str], App],
) -> None:
    lost = [apps(folder) for folder in ("c_composite", "d_single_table")]

    async def leave_unheard(app: App) -> None:
        with app.without_disconnects():
            async with app.client(CASES[app.folder].silent):
                await eventually(lambda: counted(app) == len(app.records()) == 1)
                (connection_id,) = app.connection_ids()
            await eventually(lambda: app.is_gone(connection_id))

    async def cleaned_up(app: App) -> None:
        await eventually(lambda: counted(app) == len(app.records()) == 0)
        await eventually(lambda: now(app, []) == ordered(app.strangers))

    async def play() -> None:
        for app in lost:
            await leave_unheard(app)
        await be_idle()
        for app in lost:
            counts = await asyncio.to_thread(app.sweep)
            # Not handed over yet: the event may only be late.
            assert (counts["closed"], counts["gone"], counted(app)) == (0, 1, 1)
        for app in lost:
            (record,) = app.records()
            await asyncio.sleep(app.claimed_for_s(record))
            # The second of these finds nothing, and calls nobody.
            for _ in range(2):
                await asyncio.to_thread(app.sweep)
                await cleaned_up(app)

    asyncio.run(play())


def test_the_rule_sweeps_by_itself(apps: Callable[[str], App]) -> None:
    app = apps("b_renamed")

    async def play() -> None:
        # Clients that have left are on record still: nothing ran when they did.
        before = app.connection_ids()
        async with app.client({}) as silent:
            await eventually(lambda: len(app.connection_ids()) > len(before))
            with app.swept_by_its_rule():
                # Once a minute.
                await eventually(lambda: silent.close_code is not None, within_s=100)
            assert len(silent.notices()) == 1
            await eventually(lambda: not app.records())

    asyncio.run(play())


def test_who_deploys_may_do_nothing_else(cloud: Cloud, apps: Callable[[str], App]) -> None:
    app = apps("b_renamed")
    with pytest.raises(ClientError, match="AccessDenied"):
        cloud.client("dynamodb").scan(TableName=app.parameters["TableName"])
    with pytest.raises(ClientError, match="AccessDenied"):
        cloud.client("lambda").invoke(FunctionName=app.timeout["TimeoutFunctionName"])


@pytest.mark.parametrize(("folder", "decision"), [("i_encrypted", "allowed"), ("b_renamed", "")])
def test_the_timeout_may_use_the_key_of_the_table_where_there_is_one(
    cloud: Cloud, apps: Callable[[str], App], folder: str, decision: str
) -> None:
    key = apps("i_encrypted").parameters["TableKeyArn"]
    function = cloud.engine.client("lambda").get_function_configuration(
        FunctionName=apps(folder).timeout["TimeoutFunctionName"]
    )
    answer = cloud.engine.client("iam").simulate_principal_policy(
        PolicySourceArn=function["Role"],
        ActionNames=["kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKey"],
        ResourceArns=[key],
    )
    decisions = {one["EvalDecision"] for one in answer["EvaluationResults"]}
    assert decisions == {decision or "implicitDeny"}


@pytest.mark.parametrize(
    ("parameter", "values"),
    [
        ("Activity", {"recorded", "gateway"}),
        ("HandOver", {"always", "if_left", "delete", "never"}),
    ],
)
def test_each_choice_is_shown_by_two_apps_or_more(parameter: str, values: set[str]) -> None:
    chosen = Counter(timeout_settings(folder)[parameter] for folder in CASES)
    assert chosen.keys() == values
    assert min(chosen.values()) >= 2
