"""Whatever is in a table, `hangup init` writes a file that can be read, or says what it lacks."""

import tomllib
from collections.abc import Mapping
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from hangup.aws.discovery import FoundFunction, FoundTable
from hangup.core.connection import ConnectionInfo, EpochMs, NoConnection
from hangup.ops.deployment_file import Deployment
from hangup.ops.evidence import Confidence, Evidence, Proposal
from hangup.ops.inference import infer
from hangup.ops.inferred_ids import split
from hangup.ops.init import draft
from hangup.ops.settings import BY_KEY
from hangup.ops.toml_text import in_toml

NOW_MS = EpochMs(1_760_000_000_000)
IDS = ["L0SM9cOFvHcCIhw=", "L0SM9cOFvHcCIhx=", "Fz9P_cZYoAMCJYA=", "0123456789abcdef"]

names = st.sampled_from(
    ["id", "pk", "sk", "connectionId", "ttl", "stage", "type", "room"]
) | st.text(min_size=1, max_size=12)
texts = (
    st.text(max_size=12)
    | st.sampled_from(["prod", "META", "CONN#", "2026-01-02T03:04:05Z", "a1b2c3", *IDS])
    | st.builds(lambda prefix, an_id: prefix + an_id, st.text(max_size=5), st.sampled_from(IDS))
)
times = st.integers(-100_000, 100_000).map(lambda ms: NOW_MS + ms)
numbers = (
    st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**20), max_value=10**20)
    | times
    | times.map(lambda ms: ms // 1000)
).map(str)
values: st.SearchStrategy[Mapping[str, Any]] = (
    texts.map(lambda text: {"S": text})
    | numbers.map(lambda number: {"N": number})
    | st.sampled_from([{"NULL": True}, {"BOOL": False}, {"B": b"x"}, {"L": []}, {"M": {}}])
)
infos = st.builds(
    lambda connected_ms, spoke_ms: ConnectionInfo(
        connected_at_ms=EpochMs(connected_ms), last_active_ms=EpochMs(connected_ms + spoke_ms)
    ),
    times,
    st.integers(0, 50_000),
)
answers = st.dictionaries(st.sampled_from(IDS), infos | st.just(NoConnection.GONE))


@st.composite
def tables(draw: st.DrawFn) -> tuple[FoundTable, list[dict[str, Any]]]:
    names_of_key = draw(st.lists(names, min_size=1, max_size=2, unique=True))
    key = [(name, draw(st.sampled_from(["S", "S", "N", "B"]))) for name in names_of_key]
    of_type = {
        "S": texts.map(lambda text: {"S": text or "x"}),
        "N": numbers.map(lambda number: {"N": number}),
        "B": st.just({"B": b"x"}),
    }
    items = draw(
        st.lists(
            st.builds(
                lambda others, parts: {**others, **parts},
                st.dictionaries(names, values, max_size=4),
                st.fixed_dictionaries({name: of_type[kind] for name, kind in key}),
            ),
            max_size=6,
        )
    )
    ttl = draw(st.none() | names)
    has_stream = draw(st.booleans())
    return FoundTable(name="table", key=key, ttl=ttl, has_stream=has_stream), items


def proposal(key: str, value: object) -> Proposal:
    return Proposal(key=key, value=value, confidence=Confidence.SURE, why="")


@given(
    tables(),
    answers,
    st.sampled_from(
        [None, FoundFunction(arn="arn:aws:lambda:eu-west-1:123456789012:function:f", variables={})]
    ),
)
def test_the_file_is_valid_or_says_what_is_missing(
    described: tuple[FoundTable, list[dict[str, Any]]],
    known: dict[str, Any],
    function: FoundFunction | None,
) -> None:
    table, items = described
    evidence = Evidence(
        key=table.key,
        ttl=table.ttl,
        items=items,
        answers=known,
        api_id="a1b2c3",
        stage="prod",
        now_ms=NOW_MS,
    )
    proposals = [*infer(evidence, table, function).proposals]
    for one in proposals:
        for value in (one.value, *one.choices):
            if value is not None:
                BY_KEY[one.key].kind.check(one.key, value)
    proposals += [
        proposal("stack.name", "s"),
        proposal("api.id", "a1b2c3"),
        proposal("api.stage", "prod"),
        proposal("table.name", "table"),
    ]
    if function:
        proposals.append(proposal("api.disconnect_function", function.arn))
    written = draft(proposals, {}, "hangup.toml")
    if written.problem is None:
        deployment = Deployment.from_text(written.text, "hangup.toml")
        said = {one.key: one.value for one in proposals if one.confidence is not Confidence.UNSURE}
        assert deployment.said == said
        # The table's key is the one that it has.
        assert list(deployment.table_schema.table_key.attributes) == [
            tuple(one) for one in table.key
        ]
    else:
        assert "table." in written.problem


@given(st.text())
def test_an_id_is_split_without_a_loss(text: str) -> None:
    parts = split(text)
    assert parts is None or "".join(parts) == text


toml = st.recursive(
    st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(toml)
def test_what_is_written_as_toml_is_read_again(value: object) -> None:
    assert tomllib.loads(f"value = {in_toml(value)}") == {"value": value}
