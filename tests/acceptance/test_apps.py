"""Apps of all shapes that other people have, each with the timeout beside it, and real clients.

No app knows Hangup. Each is deployed from its own template, and the template of the timeout alone
beside it, by a user who may deploy and no more. All functions run with the roles of the templates.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Final

import pytest

from tests.support.apps import App, Client, Cloud, deployed, started_cloud
from tests.support.local_stack import be_idle, eventually

pytestmark = pytest.mark.acceptance

Item = dict[str, Any]
Message = Mapping[str, Any]


def unchanged(items: Sequence[Item], _connection_id: str) -> Sequence[Item]:
    return items


def with_one_less_online(items: Sequence[Item], _connection_id: str) -> Sequence[Item]:
    """What one call of the disconnect handler of ``c_composite`` leaves."""
    (counter,) = (item for item in items if item["sk"] == {"S": "online"})
    number = str(int(counter["connections"]["N"]) - 1)
    return [
        item | {"connections": {"N": number}} if item is counter else item for item in items
    ]


def without_the_member(items: Sequence[Item], connection_id: str) -> Sequence[Item]:
    """What one call of the disconnect handler of ``d_single_table`` leaves."""
    key = {"S": f"CONN#{connection_id}"}
    left = [item for item in items if key not in (item["pk"], item["sk"])]
    assert len(items) - len(left) == 2
    (room,) = (item for item in left if item["pk"] == {"S": "ROOM#lobby"} and "members" in item)
    number = str(int(room["members"]["N"]) - 1)
    return [item | {"members": {"N": number}} if item is room else item for item in left]


def with_the_user_offline(items: Sequence[Item], _connection_id: str) -> Sequence[Item]:
    return items


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """How the clients of an app behave, and what its disconnect handler is to leave.

    ``silent`` and ``talking`` are what two clients connect with, ``first`` is what the silent one
    says before it falls silent, ``says`` what the other goes on saying, and ``hears`` is in the
    app's answers to that. ``left`` returns the items that are not connections as they must be after
    the silent one has left, from what they were.
    """

    silent: Mapping[str, str] = field(default_factory=dict)
    talking: Mapping[str, str] = field(default_factory=dict)
    first: Sequence[Message] = ()
    says: Message = field(default_factory=lambda: {"action": "here"})
    hears: str | None = None
    records: int = 1
    left: Callable[[Sequence[Item], str], Sequence[Item]] = unchanged
    bystanders: Sequence[Mapping[str, str]] = ()
    """Other places where silent clients connect, which must stay."""


CASES: Final[Mapping[str, Case]] = {
    "a_bare": Case(says={"action": "sendmessage", "data": "hello"}, hears="said"),
    "b_renamed": Case(),
    "c_composite": Case(hears="online", left=with_one_less_online),
    "d_single_table": Case(
        silent={"user": "bob", "room": "lobby"},
        talking={"user": "ann", "room": "lobby"},
        says={"action": "say", "room": "lobby", "text": "hello"},
        hears="said",
        left=without_the_member,
    ),
    "e_rooms": Case(
        silent={"room": "kitchen"},
        talking={"room": "hall"},
        first=[{"enter": ["attic", "garden"]}],
        says={"room": "hall", "text": "hello"},
        hears="said",
        records=3,
    ),
    "f_users": Case(silent={"user": "bob"}, talking={"user": "ann"}, left=with_the_user_offline),
    "g_ttl": Case(hears="change"),
    "h_shared": Case(
        bystanders=[{"stage": "dev"}, {"api": "AdminApiId", "stage": "admin"}],
    ),
    "i_encrypted": Case(),
}


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    with started_cloud() as started:
        yield started


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
            await eventually(lambda: len(app.connection_ids()) == case.records)
            (silent_id,) = set(app.connection_ids())
            talking = await clients.enter_async_context(app.client(case.talking))
            talking.talk(case.says)
            await eventually(lambda: len(app.connection_ids()) == case.records + 1)
            before = app.others()
            await be_idle()
            counts = await asyncio.to_thread(sweep_until_closed, app, silent)
            await eventually(lambda: silent_id not in app.connection_ids())
            await eventually(lambda: app.others() == case.left(before, silent_id))
            # What comes too often, or too late, is there after two more sweeps.
            counts += [await asyncio.to_thread(app.sweep) for _ in range(2)]
            assert (silent.close_code, len(silent.notices())) == (1000, 1)
            assert [sum(one[name] for one in counts) for name in ("closed", "gone")] == [1, 0]
            await stays(talking, case)
            for bystander in bystanders:
                assert await bystander.is_open()
                assert bystander.notices() == []
            assert len(app.connection_ids()) == 1
            assert app.others() == case.left(before, silent_id)
            assert {name: app.invocations(name, "Errors") for name in app.functions()} == (
                dict.fromkeys(app.functions(), 0)
            )

    import sys; sys.path.insert(0,"/tmp/h")
    try: asyncio.run(play())
    finally:
        from importlib import import_module
        print(*app.items(), sep="\n"); import_module("acc-logs").dump(app.cloud.engine, app.name)


async def stays(talking: Client, case: Case) -> None:
    assert await talking.is_open()
    assert talking.notices() == []
    if case.hears is not None:
        await talking.hears(lambda message: case.hears in message)


def sweep_until_closed(app: App, silent: Client) -> list[Mapping[str, Any]]:
    """Sweep until a client is closed; return the counts of each sweep.

    The first sweep may note when a client that has no time on record was last active.
    """
    counts = [app.sweep()]
    while not counts[-1]["closed"]:
        assert len(counts) < 3, counts
        counts.append(app.sweep())
    return counts
