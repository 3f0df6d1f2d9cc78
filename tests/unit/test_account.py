"""Who calls AWS, and where: as botocore finds it, with botocore and without."""

import io
import json
import os
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.compat import HTTPHeaders
from botocore.endpoint_provider import EndpointProvider
from botocore.loaders import create_loader
from botocore.session import Session

from hangup.aws import clients
from hangup.aws.errors import UnansweredError
from hangup.aws.http.account import Keys, account
from hangup.aws.http.endpoints import endpoint_url
from hangup.aws.http.services import DirectDynamoDb
from hangup.aws.retries import Calls
from hangup.errors import BackendError
from tests.support.aws_stub import AwsStub
from tests.support.http_server import Request, serving

SERVICES = ("dynamodb", "lambda", "secretsmanager", "sqs")
LOADER = create_loader()
"""Reads each of botocore's models once for all sessions here: that takes half a second."""

IN_A_FUNCTION = {
    "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "a-secret",
    "AWS_SESSION_TOKEN": "a-token",
    "AWS_REGION": "eu-west-1",
    "AWS_DEFAULT_REGION": "eu-west-1",
}


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An environment without anything of AWS's, and a session that has not read another."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    clients.session.cache_clear()
    yield
    clients.session.cache_clear()


@pytest.fixture
def unasked() -> Iterator[None]:
    """Nobody asks botocore."""
    yield
    assert clients.session.cache_info().currsize == 0


def set_all(monkeypatch: pytest.MonkeyPatch, variables: Mapping[str, str]) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def called_by_botocore(service: str) -> str:
    """Return where a request of botocore's goes, which its client alone does not know."""
    sent: list[str] = []

    def keep(request: AWSPreparedRequest, **_: object) -> Any:
        sent.append(request.url)
        return AWSResponse(request.url, 200, HTTPHeaders(), Raw(b"{}"))

    session = Session()
    session.register_component("data_loader", LOADER)
    client = session.create_client(service)
    client.meta.events.register("before-send", keep)
    list_all = {
        "dynamodb": "list_tables",
        "lambda": "list_functions",
        "secretsmanager": "list_secrets",
        "sqs": "list_queues",
    }
    getattr(client, list_all[service])()
    return sent[0].removesuffix("/2015-03-31/functions").removesuffix("/")


class Raw(io.BytesIO):
    """A body as botocore reads it."""

    def stream(self) -> Iterator[bytes]:
        yield self.read()


class TestEndpoints:
    @pytest.mark.parametrize("service", SERVICES)
    @pytest.mark.parametrize("fips", [False, True])
    @pytest.mark.parametrize("dual_stack", [False, True])
    def test_are_botocores_in_every_region_of_every_partition(
        self, service: str, fips: bool, dual_stack: bool
    ) -> None:
        partitions = LOADER.load_data("partitions")
        rules = LOADER.load_service_model(service, "endpoint-rule-set-1")
        botocores = EndpointProvider(rules, partitions)
        regions = [
            region
            for partition in partitions["partitions"]
            # A partition's services that have no Region are none of these.
            for region in partition["regions"]
            if not region.endswith("-global")
        ]
        assert {"us-east-1", "cn-north-1", "us-gov-west-1", "us-iso-east-1"} < {*regions}
        # Whatever Region comes next.
        regions += [f"{region.rpartition('-')[0]}-9" for region in regions]
        for region in regions:
            expected = botocores.resolve_endpoint(
                Region=region, UseFIPS=fips, UseDualStack=dual_stack
            ).url
            assert endpoint_url(service, region, fips=fips, dual_stack=dual_stack) == expected

    @pytest.mark.parametrize(
        "variables",
        [
            {},
            {"AWS_DEFAULT_REGION": "ap-south-1"},
            {"AWS_ENDPOINT_URL": "http://localhost:4566"},
            {"AWS_ENDPOINT_URL_DYNAMODB": "http://localhost:8000"},
            {"AWS_ENDPOINT_URL_SECRETS_MANAGER": "https://vpce-1.example/x"},
            {"AWS_ENDPOINT_URL": "http://all:1", "AWS_ENDPOINT_URL_SQS": "http://sqs:2"},
            {"AWS_ENDPOINT_URL": "http://all:1", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"},
            {"AWS_ENDPOINT_URL": "http://all:1", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "TRUE"},
            {"AWS_ENDPOINT_URL": "http://all:1", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "false"},
            {"AWS_ENDPOINT_URL_LAMBDA": "", "AWS_ENDPOINT_URL": ""},
            {"AWS_USE_FIPS_ENDPOINT": "true", "AWS_DEFAULT_REGION": "us-east-1"},
            {"AWS_USE_FIPS_ENDPOINT": "True", "AWS_DEFAULT_REGION": "us-gov-west-1"},
            {"AWS_USE_DUALSTACK_ENDPOINT": "true", "AWS_DEFAULT_REGION": "cn-north-1"},
            {"AWS_USE_FIPS_ENDPOINT": "no", "AWS_USE_DUALSTACK_ENDPOINT": "false"},
        ],
    )
    @pytest.mark.parametrize("service", SERVICES)
    def test_follow_the_variables_that_botocore_follows(
        self, monkeypatch: pytest.MonkeyPatch, variables: Mapping[str, str], service: str
    ) -> None:
        set_all(monkeypatch, IN_A_FUNCTION | dict(variables))
        assert account().url_of(service) == called_by_botocore(service)

    def test_one_that_is_named_need_not_have_fips(self, monkeypatch: pytest.MonkeyPatch) -> None:
        variables = {"AWS_USE_FIPS_ENDPOINT": "true", "AWS_ENDPOINT_URL": "http://all:1"}
        set_all(monkeypatch, IN_A_FUNCTION | variables)
        assert account().url_of("lambda") == "http://all:1"


@pytest.mark.usefixtures("unasked")
class TestWithKeysInTheEnvironment:
    @pytest.mark.parametrize(
        ("variables", "token"),
        [
            ({}, "a-token"),
            ({"AWS_SESSION_TOKEN": ""}, None),
            ({"AWS_SECURITY_TOKEN": "older"}, "older"),
            ({"AWS_SECURITY_TOKEN": ""}, "a-token"),
        ],
    )
    def test_they_are_the_ones(
        self, monkeypatch: pytest.MonkeyPatch, variables: Mapping[str, str], token: str | None
    ) -> None:
        set_all(monkeypatch, IN_A_FUNCTION | dict(variables))
        assert account().keys() == Keys("AKIDEXAMPLE", "a-secret", token)
        credentials = Session().get_credentials()
        assert credentials is not None
        assert credentials.get_frozen_credentials()[:3] == account().keys()

    @pytest.mark.parametrize("name", ["AWS_REGION", "AWS_DEFAULT_REGION"])
    def test_the_region_is_by_either_name(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        set_all(monkeypatch, IN_A_FUNCTION)
        monkeypatch.delenv(name)
        assert account().region == "eu-west-1"

    def test_the_certificates_are_botocores_or_those_that_are_named(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        set_all(monkeypatch, IN_A_FUNCTION)
        assert "BEGIN CERTIFICATE" in Path(account().ca_file).read_text()
        monkeypatch.setenv("AWS_CA_BUNDLE", "/ours.pem")
        assert account().ca_file == "/ours.pem"

    @pytest.mark.parametrize("home", ["/nowhere", ""])
    def test_a_user_without_a_configuration_has_none(
        self, monkeypatch: pytest.MonkeyPatch, home: str
    ) -> None:
        set_all(monkeypatch, IN_A_FUNCTION | {"HOME": home})
        monkeypatch.delenv("AWS_CONFIG_FILE")
        assert account().region == "eu-west-1"


class TestWithoutKeysInTheEnvironment:
    @pytest.mark.parametrize("missing", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
    def test_there_are_none_where_botocore_finds_none(
        self, monkeypatch: pytest.MonkeyPatch, aws: AwsStub, calls: Calls, missing: str
    ) -> None:
        monkeypatch.setenv(missing, "")
        with pytest.raises(BackendError, match="CredentialsError") as error:
            calls("Scan", lambda: DirectDynamoDb().scan(TableName="connections"))
        whole = missing == "AWS_ACCESS_KEY_ID"
        assert error.value.code == ("NoCredentialsError" if whole else "PartialCredentialsError")
        assert error.value.retryable is not whole
        assert aws.log == []

    def test_those_of_a_container_are_fetched_and_refreshed(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        names = iter(["first", "second", "third"])

        def answer(request: Request) -> bytes:
            assert request.headers["authorization"] == "the-function"
            name = next(names)
            # Fetched again with less than ten minutes left.
            expires = datetime.now(UTC) + timedelta(minutes=5 if name == "first" else 60)
            body = json.dumps(
                {
                    "AccessKeyId": name,
                    "SecretAccessKey": f"secret of {name}",
                    "Token": f"token of {name}",
                    "Expiration": expires.isoformat(),
                }
            ).encode()
            return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)

        with serving() as server:
            server.answer = answer
            set_all(
                monkeypatch,
                {
                    "AWS_DEFAULT_REGION": "eu-west-1",
                    "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"http://127.0.0.1:{server.port}/keys",
                    "AWS_CONTAINER_AUTHORIZATION_TOKEN": "the-function",
                },
            )
            ours = account()
            assert ours.keys() == Keys("second", "secret of second", "token of second")
            assert ours.keys().access_key == "second"
            assert len(server.requests) == 2

    def test_a_configuration_file_is_botocores_to_read(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        file = tmp_path / "config"
        file.write_text(
            "[default]\nregion = ap-south-1\nca_bundle = /theirs.pem\nservices = local\n"
            "use_fips_endpoint = true\n"
            "aws_access_key_id = of-the-file\naws_secret_access_key = of-the-file\n"
            "[services local]\ndynamodb =\n  endpoint_url = http://localhost:8000\n"
            "secrets_manager =\n  endpoint_url = http://localhost:8001\n"
        )
        monkeypatch.setenv("AWS_CONFIG_FILE", str(file))
        ours = account()
        assert (ours.region, ours.ca_file) == ("ap-south-1", "/theirs.pem")
        assert ours.url_of("dynamodb") == "http://localhost:8000"
        assert ours.url_of("secretsmanager") == "http://localhost:8001"
        assert ours.url_of("sqs") == "https://sqs-fips.ap-south-1.amazonaws.com"
        assert ours.keys().access_key == "of-the-file"
        monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", "http://localhost:9324")
        assert ours.url_of("sqs") == "http://localhost:9324"
        monkeypatch.delenv("AWS_ENDPOINT_URL_SQS")
        # Keys of the environment come before those of the file, and so does its Region.
        set_all(monkeypatch, IN_A_FUNCTION)
        clients.session.cache_clear()
        ours = account()
        assert (ours.region, ours.ca_file) == ("eu-west-1", "/theirs.pem")
        assert ours.url_of("dynamodb") == "http://localhost:8000"
        assert ours.keys() == Keys("AKIDEXAMPLE", "a-secret", "a-token")

    def test_keys_that_end_are_botocores_to_refresh(self, monkeypatch: pytest.MonkeyPatch) -> None:
        soon = (datetime.now(UTC) + timedelta(minutes=5)).isoformat()
        set_all(monkeypatch, IN_A_FUNCTION | {"AWS_CREDENTIAL_EXPIRATION": soon})
        ours = account()
        late = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
        set_all(monkeypatch, {"AWS_CREDENTIAL_EXPIRATION": late, "AWS_ACCESS_KEY_ID": "AKID2"})
        assert ours.keys() == Keys("AKID2", "a-secret", "a-token")


@pytest.mark.parametrize("keys", [True, False])
def test_a_call_without_a_region_fails_by_name(
    monkeypatch: pytest.MonkeyPatch, keys: bool, calls: Calls
) -> None:
    if keys:
        set_all(monkeypatch, IN_A_FUNCTION | {"AWS_REGION": "", "AWS_DEFAULT_REGION": ""})
    with pytest.raises(UnansweredError, match="specify a region"):
        account()
    with pytest.raises(BackendError, match="NoRegionError") as error:
        calls("Scan", lambda: DirectDynamoDb().scan(TableName="connections"))
    assert (error.value.code, error.value.retryable) == ("NoRegionError", False)
