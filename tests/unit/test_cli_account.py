"""``--profile``, ``--region`` and ``--endpoint-url``: who asks AWS, and where, on the wire."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from hangup.aws.clients import session
from hangup.aws.http.account import account
from hangup.cli.app import main
from hangup.cli.deployments import Where
from tests.support.aws_stub import JOIN_SECRET
from tests.support.cloudformation_stub import CloudFormation, assert_one_sentence
from tests.support.http_server import Request, Server, serving

pytestmark = pytest.mark.usefixtures("signals_as_before")

COMMANDS = [["check"], ["redrive"], ["token", "--session", "s1", "--role", "speaker"]]
CONFIGURATION = """
[profile other]
region = eu-central-1
aws_access_key_id = key-of-other
aws_secret_access_key = secret-of-other
"""


def answer(status: int, body: str) -> bytes:
    return f"HTTP/1.1 {status} -\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


@pytest.fixture
def elsewhere(stack: CloudFormation) -> Iterator[Server]:
    """All of AWS at one address that the environment does not name."""

    def answer_to(request: Request) -> bytes:
        if b"DescribeStacks" in request.body:
            return answer(*stack.answer(request.body))
        if "getsecretvalue" in request.headers.get("x-amz-target", "").lower():
            return answer(200, f'{{"Name": "s", "SecretString": "{JOIN_SECRET}"}}')
        return answer(200, '{"Items": [], "Count": 0, "ScannedCount": 0}')

    with serving() as server:
        server.answer = answer_to
        stack.outputs["ManagementEndpoint"] = f"http://127.0.0.1:{server.port}/prod"
        yield server


def url(server: Server) -> str:
    return f"http://127.0.0.1:{server.port}"


def signed_for(server: Server) -> set[tuple[str, str]]:
    """Return the access key and the Region of each request's signature."""
    scopes = [
        request.headers["authorization"].partition("Credential=")[2].split("/")
        for request in server.requests
    ]
    return {(scope[0], scope[2]) for scope in scopes}


@pytest.mark.parametrize("command", COMMANDS)
class TestAccount:
    def test_an_endpoint_wins_over_what_the_environment_says(
        self, stack: CloudFormation, elsewhere: Server, command: list[str]
    ) -> None:
        before = dict(os.environ)
        assert main([*command, "--endpoint-url", url(elsewhere)]) == 0
        assert stack.asked == ["Hangup"]
        assert len(elsewhere.requests) > 1
        assert signed_for(elsewhere) == {("unit-test", "us-east-1")}
        assert dict(os.environ) == before

    def test_a_region_is_the_one_that_is_asked(self, elsewhere: Server, command: list[str]) -> None:
        options = ["--region", "ap-south-1", "--endpoint-url", url(elsewhere)]
        assert main([*command, *options]) == 0
        assert signed_for(elsewhere) == {("unit-test", "ap-south-1")}

    def test_a_profile_wins_over_keys_in_the_environment(
        self,
        elsewhere: Server,
        command: list[str],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        (tmp_path / "config").write_text(CONFIGURATION)
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
        monkeypatch.delenv("AWS_DEFAULT_REGION")
        assert main([*command, "--profile", "other", "--endpoint-url", url(elsewhere)]) == 0
        assert signed_for(elsewhere) == {("key-of-other", "eu-central-1")}

    def test_a_profile_that_does_not_exist_is_one_sentence(
        self, elsewhere: Server, command: list[str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main([*command, "--profile", "nobody", "--endpoint-url", url(elsewhere)]) == 1
        out, err = capsys.readouterr()
        assert out == ""
        assert_one_sentence(err)
        assert "nobody" in err

    @pytest.mark.parametrize("wrong", ["aws", "ftp://host", "http://", "http://host:port"])
    def test_what_is_no_url_is_wrong_usage(
        self, command: list[str], wrong: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(SystemExit) as left:
            main([*command, "--endpoint-url", wrong])
        assert left.value.code == 2
        assert f"Invalid value for '--endpoint-url': '{wrong}' is not" in capsys.readouterr().err

    @pytest.mark.parametrize(
        "option", ["--profile", "--region", "--stack", "--endpoint-url=http://h"]
    )
    def test_the_local_stack_excludes_what_is_about_aws(
        self, command: list[str], option: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        words = [option] if "=" in option else [option, "a"]
        with pytest.raises(SystemExit) as left:
            main([*command, "--local", *words])
        assert left.value.code == 2
        name = option.partition("=")[0]
        assert f"Invalid value for '--local': it excludes {name}" in capsys.readouterr().err


def where(**options: str) -> Where:
    given: dict[str, str | None] = dict.fromkeys(
        ("stack", "profile", "region", "endpoint_url"), None
    )
    return Where(local=False, **{**given, **options})


def test_it_reaches_the_calls_through_libcurl_too(elsewhere: Server) -> None:
    there = where(region="ap-south-1", endpoint_url=url(elsewhere))
    with there.deployed():
        ours = account()
        assert (ours.region, ours.url_of("sqs")) == ("ap-south-1", url(elsewhere))
    assert account().region == "us-east-1"
    assert session().get_config_variable("region") == "us-east-1"


def test_the_repair_is_of_the_same_stack(elsewhere: Server) -> None:
    there = where(stack="A b", region="eu-west-1", endpoint_url=url(elsewhere))
    assert there.again == [
        *("--stack", "A b"),
        *("--region", "eu-west-1"),
        *("--endpoint-url", url(elsewhere)),
    ]
