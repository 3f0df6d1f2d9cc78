"""The environment of each function: what is accepted, and what an error says."""

from collections.abc import Callable

import pytest

from hangup.aws.gateway import gateway_address
from hangup.aws.telemetry import log_level_to_start_with
from hangup.config import (
    ActivitySettings,
    CloseSettings,
    ConnectSettings,
    DisconnectSettings,
    MessageSettings,
    TimeoutSettings,
)
from hangup.core.events import GatewayAddress
from hangup.core.guard import Activity
from hangup.core.pacing import Pace
from hangup.errors import ConfigurationError

ENDPOINT = "https://abc123.execute-api.eu-west-1.amazonaws.com/prod"
COMPLETE = {
    "API_GATEWAY_ENDPOINT": ENDPOINT,
    "CONNECTIONS_TABLE": "Hangup-Connections-1ABC",
    "SESSIONS_TABLE": "Hangup-Sessions-1ABC",
    "DISCONNECT_HANDLER_FUNCTION": "arn:aws:lambda:eu-west-1:123456789012:function:disconnect",
    "JOIN_SECRET_ARN": "arn:aws:secretsmanager:eu-west-1:123456789012:secret:Join-AbCdEf",
    "CLOSE_QUEUE_URL": "https://sqs.eu-west-1.amazonaws.com/123456789012/Hangup-Due-1ABC",
}
NEEDS: list[tuple[Callable[[dict[str, str]], object], list[str]]] = [
    (
        TimeoutSettings.from_env,
        ["API_GATEWAY_ENDPOINT", "CONNECTIONS_TABLE", "DISCONNECT_HANDLER_FUNCTION"],
    ),
    (
        CloseSettings.from_env,
        [
            "API_GATEWAY_ENDPOINT",
            "CONNECTIONS_TABLE",
            "DISCONNECT_HANDLER_FUNCTION",
            "CLOSE_QUEUE_URL",
        ],
    ),
    (ConnectSettings.from_env, ["CONNECTIONS_TABLE", "SESSIONS_TABLE", "JOIN_SECRET_ARN"]),
    (ActivitySettings.from_env, ["CONNECTIONS_TABLE"]),
    (
        MessageSettings.from_env,
        ["CONNECTIONS_TABLE", "SESSIONS_TABLE", "API_GATEWAY_ENDPOINT"],
    ),
    (
        DisconnectSettings.from_env,
        ["CONNECTIONS_TABLE", "SESSIONS_TABLE", "API_GATEWAY_ENDPOINT"],
    ),
]
TABLE = (
    "the name of a DynamoDB table (3 to 255 letters, digits, dots, hyphens or underscores) or its"
    " ARN"
)
EXPECTS = {
    "API_GATEWAY_ENDPOINT": "an https:// URL that ends with the stage",
    "CONNECTIONS_TABLE": TABLE,
    "SESSIONS_TABLE": TABLE,
    "DISCONNECT_HANDLER_FUNCTION": "the name or ARN of a function",
    "JOIN_SECRET_ARN": "the ARN or name of a Secrets Manager secret",
    "CLOSE_QUEUE_URL": "the URL of an SQS queue",
}
MALFORMED = {
    "API_GATEWAY_ENDPOINT": "ftp://abc",
    "CONNECTIONS_TABLE": "my table",
    "SESSIONS_TABLE": "s",
    "DISCONNECT_HANDLER_FUNCTION": "dis connect",
    "JOIN_SECRET_ARN": "a secret",
    "CLOSE_QUEUE_URL": "arn:aws:sqs:eu-west-1:123456789012:due",
}
EACH_NEED = [(read, name) for read, names in NEEDS for name in names]


@pytest.mark.parametrize(("read", "names"), NEEDS)
def test_reads_what_it_needs_and_nothing_more(
    read: Callable[[dict[str, str]], object], names: list[str]
) -> None:
    read({name: COMPLETE[name] for name in names})


@pytest.mark.parametrize("value", [None, ""])
@pytest.mark.parametrize(("read", "name"), EACH_NEED)
def test_names_what_is_missing_and_what_it_must_be(
    read: Callable[[dict[str, str]], object], name: str, value: str | None
) -> None:
    env = {k: v for k, v in COMPLETE.items() if k != name}
    if value is not None:
        env[name] = value
    with pytest.raises(ConfigurationError) as error:
        read(env)
    assert str(error.value) == f"{name} is not set; it must be {EXPECTS[name]}"


@pytest.mark.parametrize(("read", "name"), EACH_NEED)
def test_names_what_is_malformed_what_it_must_be_and_what_it_is(
    read: Callable[[dict[str, str]], object], name: str
) -> None:
    with pytest.raises(ConfigurationError) as error:
        read(COMPLETE | {name: MALFORMED[name]})
    assert str(error.value) == f"{name} must be {EXPECTS[name]}, not '{MALFORMED[name]}'"


@pytest.mark.parametrize("table", ["t", "two words", "x" * 256, "a/b", "arn:aws:dynamodb table/x"])
def test_refuses_what_can_be_no_table(table: str) -> None:
    with pytest.raises(ConfigurationError, match="CONNECTIONS_TABLE must be the name of a Dynamo"):
        ActivitySettings.from_env(COMPLETE | {"CONNECTIONS_TABLE": table})


def test_takes_the_arn_of_a_table() -> None:
    arn = "arn:aws:dynamodb:eu-west-1:123456789012:table/chat"
    settings = ActivitySettings.from_env(COMPLETE | {"CONNECTIONS_TABLE": arn})
    assert settings.connections_table == arn


HANDLERS = [read for read, _ in NEEDS if read != ActivitySettings.from_env]


@pytest.mark.parametrize("read", HANDLERS)
def test_a_handler_refuses_a_level_that_there_is_not(
    read: Callable[[dict[str, str]], object],
) -> None:
    with pytest.raises(ConfigurationError) as error:
        read(COMPLETE | {"LOG_LEVEL": "TRACE"})
    assert str(error.value) == (
        "LOG_LEVEL must be one of DEBUG, INFO, WARNING, ERROR, CRITICAL, not 'TRACE'"
    )
    for level in ("debug", "CRITICAL", ""):
        read(COMPLETE | {"LOG_LEVEL": level})


@pytest.mark.parametrize(
    ("env", "level"),
    [
        ({}, None),
        ({"LOG_LEVEL": "warning"}, None),
        ({"LOG_LEVEL": "TRACE"}, "INFO"),
        ({"LOG_LEVEL": "INFO", "POWERTOOLS_LOG_LEVEL": "LOUD"}, "INFO"),
        ({"LOG_LEVEL": "TRACE", "POWERTOOLS_LOG_LEVEL": "ERROR"}, None),
    ],
)
def test_a_logger_starts_with_info_where_the_level_is_none(
    env: dict[str, str], level: str | None
) -> None:
    assert log_level_to_start_with(env) == level


def test_the_contracts_defaults() -> None:
    settings = TimeoutSettings.from_env(
        {name: value for name, value in COMPLETE.items() if name != "CLOSE_QUEUE_URL"}
    )
    assert settings.close_queue_url is None
    assert settings.policy.idle_timeout_ms == 120_000
    assert settings.policy.activity_resolution_ms == 0
    assert settings.total_segments == 16
    assert settings.acts is True
    assert settings.pace == Pace(200)
    assert settings.metric_roles == {"speaker", "listener"}
    assert (settings.counts_both, CloseSettings(COMPLETE).counts_both) == (False, False)
    assert settings.metrics_namespace == "Hangup"
    assert MessageSettings.from_env(COMPLETE).resolution_ms == 0


def test_seconds_come_in_and_milliseconds_leave() -> None:
    settings = TimeoutSettings.from_env(
        COMPLETE
        | {
            "CONNECTION_IDLE_TIMEOUT_SECONDS": "90",
            "ACTIVITY_RESOLUTION_SECONDS": "30",
            "SCAN_SEGMENTS": "64",
            "LAST_ACTIVE_COUNTS": "both",
            "MODE": "observe",
            "CLOSES_PER_SECOND": "50",
            "PACE_SHARED_BY": "4",
        }
    )
    assert settings.policy.idle_timeout_ms == 90_000
    assert settings.policy.activity_resolution_ms == 30_000
    assert settings.total_segments == 64
    assert settings.counts_both is True
    assert settings.acts is False
    assert settings.pace == Pace(50, shared_by=4)
    assert settings.close_queue_url == COMPLETE["CLOSE_QUEUE_URL"]


@pytest.mark.parametrize(
    ("name", "bounds", "accepted"),
    [
        ("CONNECTION_IDLE_TIMEOUT_SECONDS", "1 to 7200", ["1", "7200", "0120"]),
        ("ACTIVITY_RESOLUTION_SECONDS", "0 to 7200", ["0", "7200"]),
        ("SCAN_SEGMENTS", "1 to 1000000", ["1", "1000000"]),
        ("CLOSES_PER_SECOND", "0 to 1000", ["0", "1000"]),
        ("PACE_SHARED_BY", "1 to 1000", ["1", "1000"]),
    ],
)
class TestNumbers:
    def test_accepts_whole_numbers_up_to_the_bounds(
        self, name: str, bounds: str, accepted: list[str]
    ) -> None:
        for value in accepted:
            TimeoutSettings.from_env(COMPLETE | {name: value})

    @pytest.mark.parametrize(
        "value",
        ["", " ", "abc", "-1", "1.5", "1e3", " 30", "30\n", "0x1F", "٣", "1_0", "9" * 5_000],
    )
    def test_names_the_bounds_where_it_is_no_whole_number(
        self, name: str, bounds: str, accepted: list[str], value: str
    ) -> None:
        with pytest.raises(ConfigurationError) as error:
            TimeoutSettings.from_env(COMPLETE | {name: value})
        assert str(error.value) == f"{name} must be a whole number from {bounds}, not {value!r}"

    def test_names_the_bounds_where_it_is_outside_of_them(
        self, name: str, bounds: str, accepted: list[str]
    ) -> None:
        low, _, high = bounds.partition(" to ")
        for value in (int(low) - 1, int(high) + 1):
            with pytest.raises(ConfigurationError, match=f"{name} must be .* from {bounds}"):
                TimeoutSettings.from_env(COMPLETE | {name: str(value)})


@pytest.mark.parametrize(
    "roles", ["host", "host,guest", "a.b-c_D9," + "x" * 64, ",".join("abcdefghij")]
)
@pytest.mark.parametrize("settings", [TimeoutSettings, CloseSettings])
def test_metrics_name_up_to_ten_roles(
    settings: type[TimeoutSettings | CloseSettings], roles: str
) -> None:
    read = settings.from_env(COMPLETE | {"METRIC_ROLES": roles})
    assert read.metric_roles == set(roles.split(","))


@pytest.mark.parametrize(
    "roles", [",", "host,", "host, guest", "x" * 65, ",".join("abcdefghijk"), "hôte", "host\n"]
)
def test_refuses_what_is_no_list_of_roles(roles: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        CloseSettings.from_env(COMPLETE | {"METRIC_ROLES": roles})
    assert str(error.value) == (
        f"METRIC_ROLES must be up to 10 names of roles, separated by commas, not {roles!r}"
    )


def test_roles_may_have_timeouts_of_their_own() -> None:
    read = TimeoutSettings.from_env(
        COMPLETE | {"IDLE_TIMEOUTS_BY_ROLE": "speaker=7200,listener=1,a.b-c_D9=60"}
    )
    assert read.policy.by_role == {"speaker": 7_200_000, "listener": 1_000, "a.b-c_D9": 60_000}
    assert TimeoutSettings.from_env(COMPLETE | {"IDLE_TIMEOUTS_BY_ROLE": ""}).policy.by_role == {}


def test_ten_roles_may_have_timeouts_of_their_own() -> None:
    ten = ",".join(f"{role}=60" for role in "abcdefghij")
    read = TimeoutSettings.from_env(COMPLETE | {"IDLE_TIMEOUTS_BY_ROLE": ten})
    assert len(read.policy.by_role) == 10


@pytest.mark.parametrize(
    "roles",
    [
        ",",
        "speaker",
        "speaker=",
        "=60",
        "speaker=0",
        "speaker=7201",
        "speaker=1.5",
        "speaker=300,",
        "speaker=300, listener=60",
        "sp eaker=300",
        "speaker=300;listener=60",
        "speaker=60=60",
        "x" * 65 + "=60",
        ",".join(f"{role}=60" for role in "abcdefghijk"),
    ],
)
def test_refuses_what_does_not_give_seconds_by_role(roles: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        TimeoutSettings.from_env(COMPLETE | {"IDLE_TIMEOUTS_BY_ROLE": roles})
    assert str(error.value) == (
        "IDLE_TIMEOUTS_BY_ROLE must be 1 to 10 roles, separated by commas, each with = and a whole"
        f" number from 1 to 7200, not {roles!r}"
    )


def test_says_that_a_role_has_two_timeouts() -> None:
    with pytest.raises(ConfigurationError, match=r"not 'a=60,a=90': a role is named twice$"):
        TimeoutSettings.from_env(COMPLETE | {"IDLE_TIMEOUTS_BY_ROLE": "a=60,a=90"})


@pytest.mark.parametrize(
    ("name", "accepted", "expects"),
    [
        ("LAST_ACTIVE_COUNTS", ["unsettled", "client", "both"], "unsettled, client or both"),
        ("MODE", ["close", "observe"], "close or observe"),
    ],
)
def test_takes_one_of_some_words(name: str, accepted: list[str], expects: str) -> None:
    for word in ("", *accepted):
        TimeoutSettings.from_env(COMPLETE | {name: word})
    for other in ("Both", "close ", "true", "0"):
        with pytest.raises(ConfigurationError) as error:
            TimeoutSettings.from_env(COMPLETE | {name: other})
        assert str(error.value) == f"{name} must be {expects}, not {other!r}"


@pytest.mark.parametrize("settings", [TimeoutSettings, CloseSettings])
def test_each_deployment_may_have_a_namespace_of_its_own(
    settings: type[TimeoutSettings | CloseSettings],
) -> None:
    read = settings.from_env(COMPLETE | {"METRICS_NAMESPACE": "Hangup/Chat/IdleTimeout"})
    assert read.metrics_namespace == "Hangup/Chat/IdleTimeout"
    # AWS/ is for AWS's own (CloudWatch user guide, "Metrics concepts").
    for other in ("AWS/Hangup", "two words", "x" * 256, "é"):
        with pytest.raises(ConfigurationError, match="METRICS_NAMESPACE must be the name of a Clo"):
            settings.from_env(COMPLETE | {"METRICS_NAMESPACE": other})


@pytest.mark.parametrize("url", ["", None])
def test_without_a_queue_the_sweep_closes_by_itself(url: str | None) -> None:
    env = {name: value for name, value in COMPLETE.items() if name != "CLOSE_QUEUE_URL"}
    if url is not None:
        env["CLOSE_QUEUE_URL"] = url
    assert TimeoutSettings.from_env(env).close_queue_url is None


def test_a_malformed_queue_is_no_absent_one() -> None:
    with pytest.raises(ConfigurationError, match="CLOSE_QUEUE_URL must be the URL of an SQS queue"):
        TimeoutSettings.from_env(COMPLETE | {"CLOSE_QUEUE_URL": "due"})


class TestEndpoint:
    @pytest.mark.parametrize(
        "url",
        [
            ENDPOINT,
            f"{ENDPOINT}/",
            "https://ws.example.com/chat",
            "https://ws.example.com",  # a custom domain that stands for one stage
            "http://127.0.0.1:4566/_aws/execute-api/abc123/prod",
            "http://localhost:4566/_aws/execute-api/abc123/prod",
            "http://[::1]:4566/prod",
        ],
    )
    def test_accepts_https_anywhere_and_http_on_loopback(self, url: str) -> None:
        settings = DisconnectSettings.from_env(COMPLETE | {"API_GATEWAY_ENDPOINT": url})
        assert settings.endpoint == url.rstrip("/")

    @pytest.mark.parametrize(
        "url",
        [
            "abc123.execute-api.eu-west-1.amazonaws.com/prod",
            "https://abc123.execute-api.eu-west-1.amazonaws.com",  # no stage
            "https://abc123.execute-api.eu-west-1.amazonaws.com/",
            "wss://abc123.execute-api.eu-west-1.amazonaws.com/prod",
            "http://abc123.execute-api.eu-west-1.amazonaws.com/prod",
            "http://127.0.0.1.example.com/prod",
            "https:///prod",
            "https://ws.example.com:port/prod",
            "https://ws.example.com:99999/prod",
            "https://[::1/prod",
            "https://ws.example.com/prod?x=1",
            "https://ws.example.com/prod#x",
            "https://user@ws.example.com/prod",
            "https://:password@ws.example.com/prod",
            f"{ENDPOINT}/@connections",
            "https://ws.example.com/@connections/",
            "https://ws.example.com/%40connections/L0SM9cOFvHcCIhw%3D",
            "https://ws.example.com/prod\n",
            "https://ws.example .com/prod",
            "https://wś.example.com/prod",
        ],
    )
    def test_refuses_everything_else(self, url: str) -> None:
        with pytest.raises(ConfigurationError, match="API_GATEWAY_ENDPOINT must be an https://"):
            DisconnectSettings.from_env(COMPLETE | {"API_GATEWAY_ENDPOINT": url})

    @pytest.mark.parametrize(
        ("url", "fix"),
        [
            (
                "wss://abc123.execute-api.eu-west-1.amazonaws.com/prod",
                "that is the address for clients: write https:// in place of it",
            ),
            (f"{ENDPOINT}/@connections", "leave out /@connections and what follows it"),
            (
                "https://abc123.execute-api.eu-west-1.amazonaws.com",
                "add a slash and the name of the stage",
            ),
        ],
    )
    def test_says_what_to_change_where_the_mistake_is_known(self, url: str, fix: str) -> None:
        with pytest.raises(ConfigurationError) as error:
            DisconnectSettings.from_env(COMPLETE | {"API_GATEWAY_ENDPOINT": url})
        assert str(error.value) == (
            "API_GATEWAY_ENDPOINT must be an https:// URL that ends with the stage, not"
            f" {url!r}: {fix}"
        )

    @pytest.mark.parametrize(
        ("url", "domain_name", "stage", "api_id"),
        [
            (ENDPOINT, "abc123.execute-api.eu-west-1.amazonaws.com", "prod", "abc123"),
            ("http://127.0.0.1:1/_aws/execute-api/xyz/prod", "127.0.0.1:1", "prod", "xyz"),
            ("https://ws.example.com/chat", "ws.example.com", "chat", ""),
            ("https://ws.example.com", "ws.example.com", "", ""),
        ],
    )
    def test_says_where_the_api_is(
        self, url: str, domain_name: str, stage: str, api_id: str
    ) -> None:
        assert gateway_address(url) == GatewayAddress(
            domain_name=domain_name, stage=stage, api_id=api_id
        )


def test_the_environment_is_the_process_s_own_unless_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in COMPLETE.items():
        monkeypatch.setenv(name, value)
    assert vars(TimeoutSettings.from_env()) == vars(TimeoutSettings.from_env(COMPLETE))


class TestActivity:
    def test_is_recorded_unless_it_says_otherwise(self) -> None:
        assert TimeoutSettings.from_env(COMPLETE).activity is Activity.RECORDED
        gateway = COMPLETE | {"ACTIVITY": "gateway"}
        assert CloseSettings.from_env(gateway).activity is Activity.GATEWAY

    @pytest.mark.parametrize("read", [TimeoutSettings.from_env, CloseSettings.from_env])
    def test_records_cannot_decide_where_nobody_has_to_record(
        self, read: Callable[[dict[str, str]], object]
    ) -> None:
        env = COMPLETE | {"ACTIVITY": "gateway", "LAST_ACTIVE_COUNTS": "both"}
        with pytest.raises(ConfigurationError) as error:
            read(env)
        assert str(error.value) == (
            "LAST_ACTIVE_COUNTS must not be both: with ACTIVITY gateway nobody has to record"
            " activity, so the records cannot decide"
        )
        read(env | {"LAST_ACTIVE_COUNTS": "client"})

    def test_there_is_no_resolution_of_writes_that_nobody_makes(self) -> None:
        env = COMPLETE | {"ACTIVITY": "gateway", "ACTIVITY_RESOLUTION_SECONDS": "10"}
        with pytest.raises(ConfigurationError, match="ACTIVITY_RESOLUTION_SECONDS must be 0 with"):
            TimeoutSettings.from_env(env)
        TimeoutSettings.from_env(env | {"ACTIVITY_RESOLUTION_SECONDS": "0"})
