"""The model test: any order of joins, words, silences, sweeps, late events and faults."""

from typing import TYPE_CHECKING, Any, Final

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from hangup.core.timing import ATTEMPT_MS
from hangup.sessions.model import Role
from hangup.testing import Faults
from tests.model.stores import InMemoryStores, Stores
from tests.model.world import MAX_SKEW_MS, Fault, Script, World

if TYPE_CHECKING:
    from collections.abc import Callable

SESSIONS: Final = ("s1", "s1", "s1", "s2")
"""Mostly one session, where things meet; now and then another, that must not be touched."""

_CROWD: Final = 24
"""Enough to judge the recording of activity by."""

skews = st.integers(-MAX_SKEW_MS, MAX_SKEW_MS)

# An actor other than a sweep makes few calls; a sweep makes many, the first of them to scan.
few = st.integers(0, 4)
many = st.integers(0, 14)
# Where races are: between an answer and the claim, and between the claim and the close.
moments = many | st.sampled_from(["GetConnection", "UpdateItem", "DeleteConnection"])
faults = st.dictionaries(few, st.sampled_from(Fault), max_size=1)
sweep_faults = st.dictionaries(many, st.sampled_from(Fault), max_size=3)
latencies = st.sampled_from([1, 1, 1, 50, 1_500, ATTEMPT_MS])
positions = st.integers(0, 9)

# In calls. Mostly the index lists a listener at once; else while its session ends, or never.
index_lags = st.sampled_from([0, 0, 0, 2, 5, 8, 100_000])


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
        world, connection_id = self.world, self.client(position)
        actions: dict[str, Callable[[], object]] = {
            "sweep": world.sweep,
            "all talk": self.all_talk,
            "disconnect": lambda: world.disconnect(position),
            "join speaker": lambda: world.join("s1", Role.SPEAKER),
            "join listener": lambda: world.join("s1", Role.LISTENER),
            "speaker leaves": self.speaker_of_s1_leaves,
            "speaker restarts": self.speaker_of_s1_restarts,
        }
        if connection_id is not None:
            actions |= {
                "talk": lambda: world.talk(connection_id),
                "vanish": lambda: world.vanish(connection_id, announced=True),
                "leave": lambda: self.leave(connection_id),
            }
        if action in actions:
            actions[action]()

    def all_talk(self) -> None:
        for connection_id in sorted(self.world.gateway.open_ids):
            self.world.talk(connection_id)

    def leave(self, connection_id: str) -> None:
        self.world.vanish(connection_id, announced=True)
        self.world.disconnect(-1)

    def speaker_of_s1_leaves(self) -> None:
        """Let it leave, and clean up after it at once."""
        clients = self.world.clients
        speakers = [i for i in self.world.gateway.open_ids if clients[i].role is Role.SPEAKER]
        for connection_id in speakers:
            if clients[connection_id].session_id == "s1":
                self.leave(connection_id)

    def speaker_of_s1_restarts(self) -> None:
        self.speaker_of_s1_leaves()
        self.world.join("s1", Role.SPEAKER)

    @initialize(listeners=st.integers(0, 2), strangers=st.booleans())
    def begin_with_a_session(self, listeners: int, strangers: bool) -> None:
        if strangers:
            self.world.put_stranger("room#lobby", None)
            self.world.put_stranger("user#7", self.world.clock.ms - 3_600_000)
        self.world.join("s1", Role.SPEAKER)
        for _ in range(listeners):
            self.world.join("s1", Role.LISTENER)

    @rule(session=st.sampled_from(SESSIONS), faults=faults, skew=skews)
    def join_speaker(self, session: str, faults: dict[int, Fault], skew: int) -> None:
        self.world.join(session, Role.SPEAKER, Script(faults=faults, skew_ms=skew))

    @rule(
        session=st.sampled_from(SESSIONS),
        faults=faults,
        skew=skews,
        index_lag=index_lags,
        at=few,
        action=st.sampled_from(["", "", "speaker leaves", "speaker restarts"]),
    )
    def join_listener(
        self,
        session: str,
        faults: dict[int, Fault],
        skew: int,
        index_lag: int,
        at: int,
        action: str,
    ) -> None:
        meanwhile: dict[int | str, Any] = {at: lambda: self.act(action, -1)} if action else {}
        script = Script(faults=faults, skew_ms=skew, meanwhile=meanwhile)
        self.world.join(session, Role.LISTENER, script, index_lag=index_lag)

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
            meanwhile: dict[int | str, Any] = {0: lambda: self.act(action, other)} if action else {}
            self.world.talk(connection_id, Script(faults=faults, skew_ms=skew, meanwhile=meanwhile))

    @rule(position=positions)
    def ask_to_disconnect(self, position: int) -> None:
        connection_id = self.client(position)
        if connection_id is not None:
            self.world.ask_to_disconnect(connection_id)

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
        at=moments,
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
        at: int | str,
        action: str,
        position: int,
    ) -> None:
        meanwhile: dict[int | str, Any] = {at: lambda: self.act(action, position)} if action else {}
        self.world.sweep(
            Script(faults=faults, skew_ms=skew, latency_ms=latency, meanwhile=meanwhile)
        )

    @rule(skew=skews, at=moments)
    def everybody_speaks_at_the_last_moment(self, skew: int, at: int | str) -> None:
        """All have been silent for long, and speak while a sweep is about to close them."""
        self.world.clock.advance(seconds=125)
        script = Script(skew_ms=skew, meanwhile={at: lambda: self.act("all talk", 0)})
        self.world.sweep(script)

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
        meanwhile: dict[int | str, Any] = {at: lambda: self.act(action, other)} if action else {}
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
            meanwhile: dict[int | str, Any] = {at: lambda: self.act(action, -1)} if action else {}
            script = Script(faults=faults, meanwhile=meanwhile)
            self.world.disconnect(-1, again=again, script=script)

    @precondition(lambda self: len(self.world.clients) < _CROWD)
    @rule(faults=sweep_faults, skew=skews)
    def activity_is_not_recorded(self, faults: dict[int, Fault], skew: int) -> None:
        """A crowd talks, and nobody writes it down: nobody may be closed."""
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
