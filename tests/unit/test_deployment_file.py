"""``hangup.toml``: read, checked, written and said as JSON Schema."""

import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from hangup.aws.conditions import Rule
from hangup.aws.schema import DEFAULT_SCHEMA, TableSchema
from hangup.cli.deployments import described
from hangup.core.pacing import close_functions
from hangup.errors import ConfigurationError
from hangup.ops import deployment_text
from hangup.ops.deployment_file import (
    CLOSE_FUNCTIONS_PARAMETER,
    SCHEMA_PARAMETER,
    Deployment,
    as_parameter,
    find,
)
from hangup.ops.deployment_text import commented_file, json_schema, json_schema_text
from hangup.ops.kinds import Setting
from hangup.ops.settings import BY_KEY, SETTINGS
from hangup.ops.toml_text import in_toml, line_of
from tests.support.documents import ROOT, page
from tests.support.schemas import SHAPES

FUNCTION = "arn:aws:lambda:eu-central-1:123456789012:function:bye"
BARE = f"""\
[stack]
name = "chat-hangup"

[api]
id = "a1b2c3"
stage = "prod"
disconnect_function = "{FUNCTION}"

[table]
name = "connections"
connection_id = "id"
"""
NEVER = 'timeout.hand_over = "never"\n'


PARAMETERS: Mapping[str, Any] = json.loads(
    (ROOT / "src" / "hangup" / "ops" / "timeout.template.json").read_text()
)["Parameters"]


def is_accepted(parameter: Mapping[str, Any], value: str) -> bool:
    """Return whether CloudFormation takes a value for a parameter of the template."""
    if "AllowedValues" in parameter:
        return value in parameter["AllowedValues"]
    return re.search(parameter["AllowedPattern"], value) is not None


def said_of(schema: TableSchema) -> dict[str, Any]:
    """Return the settings that make up a schema."""

    def time(name: str) -> dict[str, Any] | None:
        attribute = getattr(schema, name)
        return attribute and {
            "attribute": attribute,
            "unit": str(getattr(schema, f"{name}_unit")),
            "offset_seconds": getattr(schema, f"{name}_offset_s"),
        }

    def condition(one: Any) -> dict[str, Any]:
        rules = {Rule.EQUALS: "equals", Rule.BEGINS_WITH: "begins_with", Rule.EXISTS: "exists"}
        return {
            "attribute": one.attribute,
            rules[one.rule]: True if one.value is None else one.value,
        }

    said = {
        "connection_id": schema.connection_id,
        "id_prefix": schema.id_prefix,
        "key": [{"attribute": name, "type": kind} for name, kind in schema.key_attributes] or None,
        "connected_at": time("connected_at"),
        "last_activity": time("last_activity"),
        "session": schema.session_id,
        "role": schema.role,
        "only": [condition(one) for one in schema.only],
        "partition": schema.partition and condition(schema.partition),
    }
    return {f"table.{name}": value for name, value in said.items() if value is not None}


def read(text: str, *overrides: str) -> Deployment:
    return Deployment.from_text(text, "hangup.toml", overrides)


def error_of(text: str, *overrides: str) -> str:
    with pytest.raises(ConfigurationError) as raised:
        read(text, *overrides)
    return str(raised.value)


class TestReading:
    def test_what_is_not_said_has_its_default(self) -> None:
        deployment = read(BARE)
        assert deployment["timeout.idle_seconds"] == 120
        assert deployment["stack.region"] is None
        assert deployment.shortest_timeout_s == 120

    def test_a_table_has_only_the_attributes_that_are_said(self) -> None:
        assert read(BARE).table_schema == TableSchema(
            connection_id="id", session_id=None, role=None, connected_at=None, last_activity=None
        )

    @pytest.mark.parametrize("shape", SHAPES)
    def test_says_every_shape_of_table(self, shape: str) -> None:
        schema = SHAPES[shape]
        said = {
            "stack.name": "s",
            "api.id": "a",
            "api.stage": "prod",
            "api.disconnect_function": FUNCTION,
            "table.name": "connections",
            **said_of(schema),
        }
        deployment = read(commented_file(said))
        assert deployment.table_schema == schema
        assert deployment.said == said
        assert TableSchema.from_json(deployment.parameters()["TableSchema"]) == schema

    def test_own_names_are_those_of_the_schema(self) -> None:
        text = f'{BARE}[table.names]\nhandovers = "h"\nclaim_token = "t"\n'
        schema = read(text).table_schema
        assert (schema.handovers, schema.claim_token) == ("h", "t")
        assert schema.noticed_at == DEFAULT_SCHEMA.noticed_at

    def test_the_command_line_wins(self) -> None:
        deployment = read(
            BARE,
            "api.stage=3",
            "timeout.idle_seconds=300",
            "timeout.precise=true",
            "timeout.roles={ speaker = 90 }",
            "table.role=role",
            "table.session=room",
            "timeout.idle_seconds=200",
            "operation.log_retention_days=7",
        )
        assert deployment["api.stage"] == "3"
        assert deployment["timeout.idle_seconds"] == 200
        assert deployment.shortest_timeout_s == 90
        assert deployment["timeout.precise"] is True
        assert deployment["operation.log_retention_days"] == 7
        assert deployment.table_schema.session_id == "room"

    def test_line_ends_and_a_mark_at_the_start_do_not_matter(self) -> None:
        assert read("\ufeff" + BARE.replace("\n", "\r\n")).said == read(BARE).said


class TestParameters:
    def test_are_what_is_said_as_the_template_takes_it(self) -> None:
        text = f"""{BARE}
        role = "role"
        [timeout]
        roles = {{ speaker = 300, listener = 60 }}
        precise = false
        closes_per_second = 0
        [operation]
        metric_roles = ["speaker", "other"]
        """
        parameters = read(text).parameters()
        assert parameters.pop("TableSchema") == read(text).table_schema.as_json()
        assert parameters == {
            "ApiId": "a1b2c3",
            "StageName": "prod",
            "DisconnectFunctionArn": FUNCTION,
            "TableName": "connections",
            "TimeoutsByRole": "speaker=300,listener=60",
            "Precise": "false",
            "ClosesPerSecond": "0",
            "MetricRoles": "speaker,other",
        }

    def test_leave_out_the_schema_of_the_reference_application(self) -> None:
        text = f"""{BARE.replace('"id"', '"connectionId"')}
        session = "sessionId"
        role = "role"
        connected_at = {{ attribute = "connectedAt" }}
        last_activity = {{ attribute = "lastActivityTime" }}
        """
        assert "TableSchema" not in read(text).parameters()

    def test_there_is_a_setting_for_each(self) -> None:
        names = [one.parameter for one in SETTINGS if one.parameter]
        assert len(names) == len(set(names))
        assert {*names, SCHEMA_PARAMETER, CLOSE_FUNCTIONS_PARAMETER} == set(PARAMETERS)

    @pytest.mark.parametrize(
        "setting", [one for one in SETTINGS if one.parameter in PARAMETERS], ids=lambda one: one.key
    )
    def test_are_accepted_by_the_template_as_the_settings_are(self, setting: Setting) -> None:
        parameter = PARAMETERS[setting.parameter]
        default = parameter.get("Default")
        assert (default in (None, "")) == (setting.default is None)
        if setting.default is not None:
            assert as_parameter(setting.default) == default
        schema = setting.kind.json_schema()
        values = [setting.example, setting.default, *schema.get("enum", [])]
        values += [schema[bound] for bound in ("minimum", "maximum") if bound in schema]
        for value in values:
            if value is not None:
                assert is_accepted(parameter, as_parameter(value)), value
        if "enum" in schema:
            assert list(map(str, schema["enum"])) == parameter["AllowedValues"]
        for bound, beyond in (("minimum", -1), ("maximum", 1)):
            if bound in schema:
                assert not is_accepted(parameter, str(schema[bound] + beyond))

    def test_the_functions_behind_the_queue_follow_from_the_pace(self) -> None:
        assert CLOSE_FUNCTIONS_PARAMETER not in read(BARE).parameters()
        parameters = read(BARE, "timeout.precise=true", "timeout.closes_per_second=1000")
        assert parameters.parameters()[CLOSE_FUNCTIONS_PARAMETER] == str(close_functions(1_000))

    def test_each_can_be_said_on_the_command_line(self) -> None:
        for one in SETTINGS:
            value = next(v for v in (one.example, one.default) if v is not None)
            text = value if isinstance(value, str) else in_toml(value)
            assert one.kind.parse(text) == value, one.key
            one.kind.check(one.key, one.kind.parse(text))


WRONG = [
    # what is in the file, what the error says
    ("x = 1", "hangup.toml:1: x is unknown; there are api, code, operation, stack, table, timeout"),
    ("[stack]\nname = 1", "hangup.toml:2: stack.name must be the name of a stack"),
    ("api = 3", "hangup.toml:1: api must be a table, which begins with a line [api]"),
    ("[api]\n# id\n\nid = '''\n\n'''", "hangup.toml:4: api.id must be the id of a WebSocket API"),
    ("[timeout]\nidle_second = 3", "hangup.toml:2: timeout.idle_second is unknown; did you mean"),
    ("[timeout]\nidle_seconds = 0", "hangup.toml:2: timeout.idle_seconds must be a whole number"),
    ("[timeout]\nidle_seconds = true", "from 1 to 7200, not true"),
    ("[timeout]\nidle_seconds = 2.5", "from 1 to 7200, not 2.5"),
    ("[timeout]\nprecise = 'yes'", 'timeout.precise must be true or false, not "yes"'),
    ("[timeout]\nroles = { a = 1, b = 0 }", "hangup.toml:2: timeout.roles.b must be a whole"),
    ("[timeout]\nroles = { 'a b' = 1 }", "timeout.roles must be a table of up to 10 roles"),
    ("[timeout]\nroles = {}", "timeout.roles must be a table of up to 10 roles with seconds"),
    ("[timeout.roles]\n\na = 1\nb = 'x'", "hangup.toml:4: timeout.roles.b must be a whole"),
    ("[api]\nendpoint = 'wss://a.b/c'", "that is the address for clients: write https://"),
    ("[table]\nkey = []", "hangup.toml:2: table.key must be the table's key: one or two"),
    ("[table]\nkey = [\n{ attribute = 'a', type = 'X' }]", "hangup.toml:2: table.key[0].type must"),
    ("[table]\nonly = [{ attribute = 'a' }]", "table.only[0] must be a condition: attribute"),
    ("[table]\nonly = [{ attribute = 'a', equals = 1.5 }]", "table.only[0].equals must be a text"),
    ("[table]\nonly = [{ equals = 1 }]", "table.only[0] must be a condition: attribute"),
    ("[table]\nconnected_at = 'x'", "hangup.toml:2: table.connected_at must be a time: { attrib"),
    ("[table]\nconnected_at = { attribute = 'x', units = 's' }", "did you mean unit?"),
    ("[table]\nconnected_at = { unit = 's' }", "attribute is missing"),
    ("[operation]\nlog_retention_days = 2", "a number of days: 1, 3, 5, "),
    ("[operation]\nmetric_roles = ['a,b']", "operation.metric_roles[0] must be the name of a role"),
    ("[operation]\nlog_level = 'info'", "operation.log_level must be one of DEBUG"),
    ("[code]\narchitecture = 'x86'", 'code.architecture must be arm64 or x86_64, not "x86"'),
]  # fmt: skip


class TestErrors:
    @pytest.mark.parametrize(("text", "says"), WRONG)
    def test_name_the_file_the_line_the_key_and_the_fix(self, text: str, says: str) -> None:
        assert says in error_of(text)

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("[stack\n", "hangup.toml:1: not TOML: Expected ']'"),
            ("a = 1\n\nb = \n", "hangup.toml:3: not TOML: Invalid value"),
            ("[stack]\n[stack]\n", "hangup.toml:2: not TOML: Cannot declare"),
            ('a = "', "hangup.toml: not TOML: Unterminated string (at end of document)"),
            ("a = " + "[" * 5000, "hangup.toml: not TOML: "),
        ],
    )
    def test_say_where_it_is_not_toml(self, text: str, says: str) -> None:
        assert error_of(text).startswith(says)

    @pytest.mark.parametrize(
        ("line", "says"),
        [
            (
                'name = "chat-hangup"',
                "hangup.toml:1: stack.name is missing: it must be the name of",
            ),
            ('id = "a1b2c3"', "hangup.toml:4: api.id is missing: it must be the id of a WebSocket"),
            ('stage = "prod"', "hangup.toml:4: api.stage is missing: it must be the name of"),
            ('name = "connections"', "hangup.toml:9: table.name is missing: it must be the name"),
            ('connection_id = "id"', "hangup.toml:9: table.connection_id is missing: it must be"),
        ],
    )
    def test_say_what_is_missing(self, line: str, says: str) -> None:
        assert error_of(BARE.replace(f"{line}\n", "\n")).startswith(says)

    @pytest.mark.parametrize(
        ("said", "says"),
        [
            ("connected_at = { attribute = 'id' }", "table.connected_at.attribute is 'id', and so"),
            (
                "last_activity = { attribute = 'a', offset_seconds = 99999999 }",
                "offset_seconds must",
            ),
            (
                "key = [{ attribute = 'a' }, { attribute = 'a' }]",
                "hangup.toml:13: table.key must be",
            ),
            (
                "id_prefix = 'x'\nonly = [{ attribute = 'x', begins_with = '' }]",
                ":14: table.only m",
            ),
            (
                "names.handovers = 'claimToken'",
                "table.names.claim_token is 'claimToken', and so is",
            ),
            ("session = ''", "hangup.toml:13: table.session must be the name of an attribute"),
        ],
    )
    def test_of_the_schema_name_the_setting(self, said: str, says: str) -> None:
        assert says in error_of(f"{BARE}\n{said}\n")

    def test_a_schema_that_is_too_long_is_one(self) -> None:
        conditions = [{"attribute": f"a{n}", "equals": "x" * 300} for n in range(10)]
        text = error_of(f"{BARE}\nonly = {in_toml(conditions)}\n")
        assert text.startswith("hangup.toml:9: table is too long: the table schema has ")

    @pytest.mark.parametrize(
        ("overrides", "says"),
        [
            (["timeout.hand_over=delete"], "api.disconnect_function is never called"),
            (["timeout.last_active_counts=both"], "timeout.last_active_counts must not be both"),
            (["timeout.precise=true", "timeout.idle_seconds=74"], "75 seconds, and the shortest"),
            (["timeout.activity_resolution_seconds=120"], "less than the shortest timeout (120)"),
            (["timeout.roles={ speaker = 90 }"], "timeout.roles needs table.role"),
            (
                ["timeout.activity=gateway", "timeout.activity_resolution_seconds=1"],
                "timeout.activity_resolution_seconds must be 0 where timeout.activity is gateway",
            ),
            (
                [
                    "timeout.activity=gateway",
                    "timeout.last_active_counts=both",
                    'table.connected_at={ attribute = "at" }',
                    'table.last_activity={ attribute = "last" }',
                ],
                "timeout.last_active_counts must not be both: with ACTIVITY gateway",
            ),
            (
                ["timeout.shards=2", 'table.partition={ attribute = "id", equals = "x" }'],
                "timeout.shards must be 1",
            ),
        ],
    )  # fmt: skip
    def test_what_contradicts_is_one(self, overrides: list[str], says: str) -> None:
        assert says in error_of(BARE, *overrides)

    def test_a_rule_that_calls_the_function_needs_it(self) -> None:
        text = BARE.replace(f'disconnect_function = "{FUNCTION}"\n', "")
        assert error_of(text) == (
            "hangup.toml:4: api.disconnect_function is missing: timeout.hand_over is always; name"
            " it, or choose delete or never"
        )
        assert read(NEVER + text).parameters()["HandOver"] == "never"

    def test_an_item_that_is_more_than_a_connection_is_not_deleted(self) -> None:
        text = BARE.replace(f'disconnect_function = "{FUNCTION}"\n', "")
        key = 'table.key=[{ attribute = "user" }]'
        says = "--set: timeout.hand_over must not be delete: with this schema the id is not in"
        assert says in error_of(text, "timeout.hand_over=delete", key)
        assert read(text, "timeout.hand_over=delete").parameters()["HandOver"] == "delete"

    @pytest.mark.parametrize(
        ("override", "says"),
        [
            ("timeout.idle_seconds", "--set timeout.idle_seconds: must be KEY=VALUE"),
            ("timeout.idle=1", "--set timeout.idle=1: timeout.idle is unknown; did you mean"),
            (
                "timeout.idle_seconds=x",
                "--set timeout.idle_seconds=x: timeout.idle_seconds must be",
            ),
            ("timeout.idle_seconds=0", "timeout.idle_seconds must be a whole number from 1"),
            ("timeout.precise=1", "--set timeout.precise=1: timeout.precise must be true or false"),
            ("table.only=[", "--set table.only=[: table.only must be up to 10 conditions"),
            ("table.only=[]\nx=1", "table.only must be up to 10 conditions"),
            (
                "timeout.mode=x",
                '--set timeout.mode=x: timeout.mode must be close or observe, not "x"',
            ),
            ("table.only=[{ attribute = 'a' }]", ": table.only[0] must be a condition"),
            ("table.session=id", "--set: table.session is 'id', and so is connection_id"),
        ],
    )
    def test_of_the_command_line_name_the_option(self, override: str, says: str) -> None:
        assert says in error_of(BARE, override)

    def test_a_file_that_cannot_be_read_is_one_sentence(self, tmp_path: Path) -> None:
        file = tmp_path / "hangup.toml"
        with pytest.raises(ConfigurationError, match=r"hangup.toml cannot be read: No such file"):
            Deployment.from_file(file)
        file.write_bytes(b"\xff")
        with pytest.raises(ConfigurationError, match=r"hangup.toml is not UTF-8"):
            Deployment.from_file(file)
        file.write_bytes(b"#" * 100_001)
        with pytest.raises(ConfigurationError, match="more than 100,000 bytes: shorten it"):
            Deployment.from_file(file)


class TestFinding:
    def test_the_nearest_above_wins(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        below = tmp_path / "a" / "b"
        below.mkdir(parents=True)
        monkeypatch.chdir(below)
        assert find(Path()) is None
        (tmp_path / "hangup.toml").write_text(BARE)
        assert described(None, None)["api.stage"] == "prod"
        (tmp_path / "a" / "hangup.toml").write_text(BARE.replace("prod", "dev"))
        assert described(None, None)["api.stage"] == "dev"
        assert described(tmp_path / "hangup.toml", None)["api.stage"] == "prod"
        assert described(None, ["api.stage=x"])["api.stage"] == "x"

    def test_an_error_names_the_file_as_short_as_it_can(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "hangup.toml").write_text("x = 1")
        with pytest.raises(ConfigurationError, match=r"^hangup.toml:1: x is unknown"):
            described(None, None)
        (tmp_path / "below").mkdir()
        monkeypatch.chdir(tmp_path / "below")
        with pytest.raises(ConfigurationError, match=rf"^{tmp_path}/hangup.toml:1: x is unknown"):
            described(None, None)

    def test_without_one_it_says_what_to_do(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        with pytest.raises(ConfigurationError, match=r"run `hangup init`, or name a file with"):
            described(None, None)

    def test_the_command_line_can_say_it_all(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        said = [
            "stack.name=s",
            "api.id=a",
            "api.stage=p",
            "table.name=ttt",
            "timeout.hand_over=never",
        ]
        with pytest.raises(
            ConfigurationError, match=r"^no hangup.toml: table.connection_id is mis"
        ):
            described(None, said)
        assert described(None, [*said, "table.connection_id=id"])["table.name"] == "ttt"


class TestWriting:
    def test_every_setting_is_in_the_file(self) -> None:
        text = commented_file({})
        sections = ("stack", "api", "table", "timeout", "operation", "code")
        assert tomllib.loads(text) == {key: {} for key in sections} | {"table": {"names": {}}}
        # Each line that is not in force is one once its # is removed.
        lines = [line.removeprefix("#") if line[:2] != "# " else line for line in text.splitlines()]
        document = tomllib.loads("\n".join(lines))
        in_it: dict[str, object] = {}

        def walk(table: Mapping[str, Any], before: str) -> None:
            for name, value in table.items():
                key = f"{before}{name}"
                if key in BY_KEY:
                    in_it[key] = value
                else:
                    walk(value, f"{key}.")

        walk(document, "")
        assert set(in_it) == set(BY_KEY)
        for key, value in in_it.items():
            BY_KEY[key].kind.check(key, value)

    def test_notes_are_comments_whatever_they_hold(self) -> None:
        said = {"api.id": "x"}
        text = commented_file(said, notes={"api.id": 'a\nstage = "b"\x00 \u2028' + "word " * 40})
        assert tomllib.loads(text)["api"] == {"id": "x"}
        assert max(map(len, text.splitlines())) <= 120

    def test_a_doubt_is_shown_and_not_in_force(self) -> None:
        text = commented_file({}, doubts={"table.session": "room"})
        assert '\n#session = "room"\n' in text

    def test_a_line_is_found_in_any_spelling(self) -> None:
        text = 'a.b = 1\n[c]\n"d" = """\nx\n"""\n\n# e\ne = [\n1,\n2]\nf = { g = 1 }\n'
        places = {("a", "b"): 1, ("c",): 2, ("c", "d"): 3, ("c", "e"): 8, ("c", "f", "g"): 11}
        assert {path: line_of(text, path) for path in places} == places
        assert line_of(text, ("c", "x")) == 2
        assert line_of(text, ("x",)) is None


class TestJsonSchema:
    def test_the_one_in_the_package_is_up_to_date(self) -> None:
        file = ROOT / "src" / "hangup" / "ops" / "hangup-toml.schema.json"
        assert file.read_text() == json_schema_text()

    def test_it_is_one(self) -> None:
        jsonschema.Draft202012Validator.check_schema(json.loads(json_schema_text()))

    def test_it_takes_what_is_taken(self) -> None:
        said = {one.key: v for one in SETTINGS if (v := one.example or one.default) is not None}
        jsonschema.validate(tomllib.loads(BARE), json_schema())
        jsonschema.validate(tomllib.loads(commented_file(said)), json_schema())

    @pytest.mark.parametrize(("text", "says"), WRONG)
    def test_it_refuses_what_is_refused(self, text: str, says: str) -> None:
        if "address for clients" not in says:  # a pattern does not know every mistake
            errors = jsonschema.Draft202012Validator(json_schema()).iter_errors(tomllib.loads(text))
            assert any(error.validator != "required" or error.path for error in errors)


def test_the_reference_is_the_one_of_the_code() -> None:
    _, _, rest = page("reference/hangup-toml").partition(
        "<!-- configuration: written by make docs -->\n"
    )
    assert rest.partition("\n<!-- /configuration -->")[0] == deployment_text.as_markdown()


def test_the_file_in_the_reference_is_valid_and_its_error_is_real() -> None:
    text = page("reference/hangup-toml").split("```toml\n")[1].split("```")[0]
    deployment = read(text)
    assert deployment.parameters()["HandOver"] == "if_left"
    wrong = error_of(text.replace("idle_seconds = 300", "idle_seconds = 0"))
    assert f"`{wrong}`" in " ".join(page("reference/hangup-toml").split())
