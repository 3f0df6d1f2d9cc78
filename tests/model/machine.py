"""The model test: any order of joins, words, silences, sweeps, late events and faults."""

from typing import Any, Final

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from hangup.core.timing import ATTEMPT_MS
from hangup.sessions.model import Role
from hangup.testing import Faults
from tests.model.stores import InMemoryStores, Stores
from tests.model.world import MAX_SKEW_MS, Fault, Script, World

SESSIONS: Final = ("s1", "s1", "s1", "s2")
"""Mostly one session, where things meet; now and then another, that must not be touched."""

_CROWD: Final = 24
"""More than the guard needs to doubt a sweep."""

skews = st.integers(-MAX_SKEW_MS, MAX_SKEW_MS)

# An actor other than a sweep makes few calls; a sweep makes many, the first of them to scan.
few = st.integers(0, 4)
many = st.integers(0, 14)
faults = st.dictionaries(few, st.sampled_from(Fault), max_size=1)
sweep_faults = st.dictionaries(many, st.sampled_from(Fault), max_size=3)
latencies = st.sampled_from([1, 1, 1, 50, 1_500, ATTEMPT_MS])
positions = st.integers(0, 9)


class ConnectionsMachine(RuleBasedStateMachine):
    """Rules that do things to a world; the world checks the invariants at every call."""

    def __init__(self) -> None:
        super().__init__()
        self.world = self.make_world()

    def make_world(self) -> World:
        faults = Faults()
        return World(self.make_stores(faults), faults)

    def make_stores(self, faults: Faults) -> Stores:
        return InMemoryStores(faults)

    def client(self, position: int) -> str | None:
        """Return one of the clients that ever connected, counted from the newest."""
        ids = list(self.world.clients)
        return ids[-1 - position % len(ids)] if ids else None

    def act(self, action: str, position: int) -> None:
        """Do something that can also happen in the middle of something else."""
        connection_id = self.client(position)
        if action == "sweep":
            self.world.sweep()
        elif action == "all talk":
            for open_id in sorted(self.world.gateway.open_ids):
                self.world.talk(open_id)
        elif action == "disconnect":
            self.world.disconnect(position)
        elif action == "join speaker":
            self.world.join("s1", Role.SPEAKER)
        elif action == "join listener":
            self.world.join("s1", Role.LISTENER)
        elif connection_id is not None and action == "talk":
            self.world.talk(connection_id)
        elif connection_id is not None and action == "vanish":
            self.world.vanish(connection_id, announced=True)
        elif connection_id is not None and action == "leave":
            self.world.vanish(connection_id, announced=True)
            self.world.disconnect(-1)

    @initialize(listeners=st.integers(0, 2))
    def begin_with_a_session(self, listeners: int) -> None:
        self.world.join("s1", Role.SPEAKER)
        for _ in range(listeners):
            self.world.join("s1", Role.LISTENER)

    @rule(session=st.sampled_from(SESSIONS), faults=faults, skew=skews)
    def join_speaker(self, session: str, faults: dict[int, Fault], skew: int) -> None:
        self.world.join(session, Role.SPEAKER, Script(faults=faults, skew_ms=skew))

    @rule(session=st.sampled_from(SESSIONS), faults=faults, skew=skews)
    def join_listener(self, session: str, faults: dict[int, Fault], skew: int) -> None:
        self.world.join(session, Role.LISTENER, Script(faults=faults, skew_ms=skew))

    @rule(
        position=positions,
        faults=faults,
        skew=skews,
        action=st.sampled_from(["", "sweep", "leave", "disconnect"]),
        other=positions,
    )
    def talk(
        self, position: int, faults: dict[int, Fault], skew: int, action: str, other: int
    ) -> None:
        connection_id = self.client(position)
        if connection_id is not None:
            meanwhile: dict[int, Any] = {0: lambda: self.act(action, other)} if action else {}
            self.world.talk(connection_id, Script(faults=faults, skew_ms=skew, meanwhile=meanwhile))

    @rule(position=positions, announced=st.booleans())
    def vanish(self, position: int, announced: bool) -> None:
        connection_id = self.client(position)
        if connection_id is not None:
            self.world.vanish(connection_id, announced=announced)

    @rule(seconds=st.sampled_from([0.5, 5, 30, 61, 119, 121, 125, 300]))
    def time_passes(self, seconds: float) -> None:
        self.world.clock.advance(seconds=seconds)

    @rule(
        faults=sweep_faults,
        skew=skews,
        latency=latencies,
        at=many,
        action=st.sampled_from(
            ["", "all talk", "sweep", "disconnect", "leave", "join speaker", "join listener"]
        ),
        position=positions,
    )
    def sweep(
        self,
        faults: dict[int, Fault],
        skew: int,
        latency: int,
        at: int,
        action: str,
        position: int,
    ) -> None:
        meanwhile: dict[int, Any] = {at: lambda: self.act(action, position)} if action else {}
        self.world.sweep(
            Script(faults=faults, skew_ms=skew, latency_ms=latency, meanwhile=meanwhile)
        )

    @rule(
        which=positions,
        again=st.booleans(),
        faults=st.dictionaries(few, st.sampled_from(Fault), max_size=2),
        skew=skews,
        at=few,
        action=st.sampled_from(
            ["", "sweep", "disconnect", "disconnect", "leave", "join speaker", "join listener"]
        ),
        position=positions,
    )
    def disconnect_arrives(
        self,
        which: int,
        again: bool,
        faults: dict[int, Fault],
        skew: int,
        at: int,
        action: str,
        position: int,
    ) -> None:
        # Half of the time it is the same event again that comes in between.
        other = which if again else position
        meanwhile: dict[int, Any] = {at: lambda: self.act(action, other)} if action else {}
        self.world.disconnect(
            which, again=again, script=Script(faults=faults, skew_ms=skew, meanwhile=meanwhile)
        )

    @rule(
        faults=st.dictionaries(st.integers(0, 9), st.sampled_from(Fault), max_size=1),
        at=few,
        action=st.sampled_from(["", "disconnect", "join speaker", "join listener"]),
        again=st.booleans(),
    )
    def speaker_leaves(self, faults: dict[int, Fault], at: int, action: str, again: bool) -> None:
        speakers = [i for i in self.world.gateway.open_ids if i.startswith("s")]
        if speakers:
            self.world.vanish(max(speakers), announced=True)
            meanwhile: dict[int, Any] = {at: lambda: self.act(action, -1)} if action else {}
            script = Script(faults=faults, meanwhile=meanwhile)
            self.world.disconnect(-1, again=again, script=script)

    @precondition(lambda self: len(self.world.clients) < _CROWD)
    @rule(faults=sweep_faults, skew=skews)
    def activity_is_not_recorded(self, faults: dict[int, Fault], skew: int) -> None:
        """A crowd talks, and nobody writes it down: the guard must hold the sweep."""
        world = self.world
        world.join("s1", Role.SPEAKER)
        for _ in range(_CROWD):
            world.join("s1", Role.LISTENER)
        world.recording = False
        for _ in range(3):
            world.clock.advance(seconds=45)
            for connection_id in sorted(world.gateway.open_ids):
                world.talk(connection_id)
        world.sweep(Script(faults=faults, skew_ms=skew))
        world.recording = True
        for connection_id in sorted(world.gateway.open_ids):
            world.talk(connection_id)

    @rule(which=positions)
    def disconnect_is_lost(self, which: int) -> None:
        self.world.lose(which)

    @invariant()
    def holds(self) -> None:
        self.world.check()

    def teardown(self) -> None:
        self.world.settle()
