"""The checks of a deployed stack: is it as the file says, and does what is in it work together."""

import json
from collections.abc import Iterator
from itertools import islice
from typing import Final

from hangup import __version__
from hangup.aws.inspected import Function
from hangup.aws.stacks import NEW
from hangup.config import CloseSettings, TimeoutSettings
from hangup.errors import ConfigurationError
from hangup.ops.deploy import TAG
from hangup.ops.doctor_case import Case, Finding, aws, found, hangup, may_do, well
from hangup.ops.drift import CODE, differences, other_version

_MOST_NAMED: Final = 4
_SECTIONS: Final = ("Parameters", "Conditions", "Resources", "Outputs")
_RULE: Final = "AWS::Events::Rule"
_ALARM: Final = "AWS::CloudWatch::Alarm"
_NO_SWEEP: Final = "ConnectionsChecked"


def name_is_free(case: Case) -> Iterator[Finding]:
    """Check that no other stack has the name of this one."""
    if case.stack is None or case.stack.status == NEW or TAG.items() <= case.stack.tags.items():
        return
    yield found(
        "stack-name-taken",
        f"there is a stack {case['stack.name']} that hangup deploy did not make",
        fix=hangup("deploy", "--set", f"stack.name={case['stack.name']}-hangup"),
    )


def stack(case: Case) -> Iterator[Finding]:
    """Check that the stack is deployed and well, and as the file and this version say."""
    name, state = case["stack.name"], case.stack
    if state is None or state.status == NEW:
        yield found("no-stack", f"there is no stack {name} in {case.region}", fix=hangup("deploy"))
        return
    if not state.is_well:
        fix = hangup("deploy")
        if state.status == "UPDATE_ROLLBACK_FAILED":
            fix = aws("cloudformation", "continue-update-rollback", "--stack-name", name)
        yield found("stack-failed", f"the stack {name} is {state.status}", fix=fix)
        return
    yield well("no-stack", f"The stack {name} is {state.status}")
    differs = list(differences(case.deployment, state, case.template))
    if differs:
        more = len(differs) - _MOST_NAMED
        and_more = f", and {more} more" if more > 0 else ""
        fix = hangup("deploy")
        if [one.name for one in differs] == ["Mode"]:
            fix = hangup("mode", differs[0].said)
        yield found("drift", f"{', '.join(map(str, differs[:_MOST_NAMED]))}{and_more}", fix=fix)
    else:
        yield well("drift", "Its parameters are what the file says")
    template = case.inspection.template(state.stack_id)
    # A change of its description alone is no change for CloudFormation.
    if any(template.get(one) != case.template.get(one) for one in _SECTIONS):
        cause = "its template is not that of the installed package"
        if version := other_version(state):
            cause = f"it is of {version}, and {__version__} is installed"
        yield found("other-version", cause, fix=hangup("deploy"))
    else:
        yield well("other-version", "Its template is that of the installed package")


def environment(case: Case) -> Iterator[Finding]:
    """Check that the functions can read their environment, and may run."""
    for place, function in enumerate(case.functions):
        settings = CloseSettings if place else TimeoutSettings
        try:
            settings.from_env(function.variables)
        except ConfigurationError as error:
            yield found(
                "environment", f"{function.name}: {error}", fix=_as_deployed(case, function)
            )
        else:
            yield well("environment", f"The environment of {function.name} is valid")
        if case.inspection.reserved(function.name) == 0:
            yield found(
                "no-executions",
                f"{function.name} has 0 reserved executions",
                fix=aws(
                    *("lambda", "put-function-concurrency", "--function-name", function.name),
                    *("--reserved-concurrent-executions", str(case["timeout.shards"])),
                ),
            )


def _as_deployed(case: Case, function: Function) -> str:
    """Return the command that gives a function the endpoint that the file says."""
    variables = {**function.variables, "API_GATEWAY_ENDPOINT": case.endpoint}
    return aws(
        *("lambda", "update-function-configuration", "--function-name", function.name),
        *("--environment", json.dumps({"Variables": variables})),
    )


def code(case: Case) -> Iterator[Finding]:
    """Check that the functions' zip has bytecode."""
    if case.stack is None:
        return
    bucket, key = (case.stack.parameters.get(name, "") for name in CODE)
    end = case.inspection.end_of_object(bucket, key)
    if end is None or b".pyc" in end:
        yield well("no-bytecode", "The functions' code is there, with bytecode")
    else:
        yield found(
            "no-bytecode",
            f"s3://{bucket}/{key} has no .pyc files",
            fix=hangup("deploy"),
        )


_Grant = tuple[list[str], str]
"""Actions, and the resource."""


def grants(case: Case) -> Iterator[Finding]:
    """Check that the functions' roles may do what the functions do, each method by itself."""
    for place, function in enumerate(case.functions):
        refused = [
            (list(missing), resource)
            for actions, resource in _needed(
                case, function, closes=place > 0 or not case["timeout.precise"]
            )
            if (missing := case.inspection.refused(function.role, actions, resource))
        ]
        if refused:
            said = "; ".join(f"{', '.join(actions)} on {resource}" for actions, resource in refused)
            yield found(
                "no-grant",
                f"the role of {function.name} may not {said}",
                fix=may_do(function.role, refused),
            )
        else:
            yield well("no-grant", f"The role of {function.name} has every grant")


def _needed(case: Case, function: Function, *, closes: bool) -> Iterator[_Grant]:
    _, partition, _, region, account, *_ = function.arn.split(":")
    table = f"arn:{partition}:dynamodb:{region}:{account}:table/{case['table.name']}"
    is_sweep = function is case.functions[0]
    writes = [] if case["timeout.state_table"] else ["dynamodb:UpdateItem"]
    if closes and case["timeout.hand_over"] == "delete":
        writes.append("dynamodb:DeleteItem")
    schema = case.deployment.table_schema
    reads = "dynamodb:Query" if schema.partition else "dynamodb:Scan"
    if is_sweep and schema.index is not None:
        yield [reads], f"{table}/index/{schema.index}"
        reads = "dynamodb:Query"
    yield [reads if is_sweep else "dynamodb:GetItem", *writes], table
    state = function.variables.get("STATE_TABLE")
    if state is not None:
        yield ["dynamodb:UpdateItem"], f"arn:{partition}:dynamodb:{region}:{account}:table/{state}"
    api = f"arn:{partition}:execute-api:{region}:{account}:{case['api.id']}/{case['api.stage']}"
    for method in ("GET", "POST", "DELETE") if closes else ("GET",):
        yield ["execute-api:ManageConnections"], f"{api}/{method}/@connections/x"
    handler = case["api.disconnect_function"]
    if closes and handler is not None:
        yield ["lambda:InvokeFunction"], handler
    if case["table.kms_key"] is not None:
        yield ["kms:Decrypt"], case["table.kms_key"]
    queue = function.variables.get("CLOSE_QUEUE_URL")
    if queue is not None:
        arn = f"arn:{partition}:sqs:{region}:{account}:{queue.rpartition('/')[2]}"
        yield ["sqs:SendMessage" if is_sweep else "sqs:ReceiveMessage"], arn


def schedule(case: Case) -> Iterator[Finding]:
    """Check that the rules are enabled, start the function, and may do so."""
    if not case.functions:
        return
    function = case.functions[0]
    is_well = True
    for name in case.of_kind(_RULE):
        rule = case.inspection.rule(name)
        if rule is None or not any(one.startswith(function.arn) for one in rule.targets):
            is_well = False
            target = f"Id=hangup,Arn={function.arn}"
            yield found(
                "no-target",
                f"the rule {name} has no target {function.name}",
                fix=aws("events", "put-targets", "--rule", name, "--targets", target),
            )
        if rule is None:
            continue
        if not rule.is_enabled:
            is_well = False
            yield found(
                "rule-off",
                f"the rule {name} is disabled",
                fix=aws("events", "enable-rule", "--name", name),
            )
        if not case.inspection.may_be_started_by(function.name, rule.arn):
            is_well = False
            yield found(
                "no-permission",
                f"the policy of {function.name} does not let {rule.arn} invoke it",
                fix=aws(
                    *("lambda", "add-permission", "--function-name", function.name),
                    *("--statement-id", "hangup-doctor", "--action", "lambda:InvokeFunction"),
                    *("--principal", "events.amazonaws.com", "--source-arn", rule.arn),
                ),
            )
    if is_well:
        yield well("rule-off", f"The schedule starts {function.name} once a minute")


def queue(case: Case) -> Iterator[Finding]:
    """Check that the close function gets the messages of its queue."""
    for function in islice(case.functions, 1, None):
        mappings = case.inspection.mappings(function.name)
        off = [(uuid, state) for uuid, state in mappings if state not in ("Enabled", "Creating")]
        for uuid, state in off:
            yield found(
                "mapping-off",
                f"the event source mapping of {function.name} is {state}",
                fix=aws("lambda", "update-event-source-mapping", "--uuid", uuid, "--enabled"),
            )
        if not mappings:
            yield found(
                "mapping-off",
                f"{function.name} has no event source mapping",
                fix=f"{hangup('destroy')} && {hangup('deploy')}",
            )
        elif not off:
            yield well("mapping-off", f"{function.name} gets the messages of its queue")


def alarms(case: Case) -> Iterator[Finding]:
    """Check that the alarms are quiet, and tell somebody when they are not."""
    there = list(case.inspection.alarms(case.of_kind(_ALARM)))
    if not there:
        return
    silent = [one for one in there if not one.has_actions]
    off = [one for one in there if not one.actions_enabled]
    if silent:
        yield found(
            "silent-alarms",
            f"{len(silent)} of {len(there)} alarms have no action",
            fix=hangup("deploy", "--set", "operation.alarm_topic=TOPIC_ARN"),
        )
    if off:
        yield found(
            "silent-alarms",
            f"the actions of {len(off)} of {len(there)} alarms are off",
            fix=aws(
                "cloudwatch", "enable-alarm-actions", "--alarm-names", *(one.name for one in off)
            ),
        )
    # The alarm that no sweep ended rings until the first ones have.
    ringing = [one for one in there if one.is_on and not (case.is_new and one.metric == _NO_SWEEP)]
    for one in ringing:
        yield found("alarm", one.about or one.name, fix=case.read_log)
    if not (silent or off or ringing):
        yield well("alarm", f"{len(there)} alarms are quiet, and have actions")
