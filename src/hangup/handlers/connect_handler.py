"""The ``$connect`` route: who may join, and the record of those who do."""

from functools import cache
from typing import assert_never

from hangup.aws.http.services import DirectDynamoDb, DirectSecrets
from hangup.aws.runtime import Invocation, calls, clock
from hangup.aws.secrets import SecretsManagerSecret
from hangup.aws.sessions import DynamoDbSessions
from hangup.aws.telemetry import StructuredLog
from hangup.config import ConnectSettings
from hangup.core.events import parse_connect
from hangup.errors import InvalidRequest
from hangup.handlers.responses import Answer, accept, begin, refuse
from hangup.sessions.lifecycle import join
from hangup.sessions.model import JoinOutcome
from hangup.sessions.requests import parse_join
from hangup.sessions.tokens import authorise_join

_log = StructuredLog("connect_handler")


def lambda_handler(event: object, context: Invocation | None = None) -> Answer:
    """Answer 200 and record the connection, or refuse it and leave nothing written.

    400 malformed request, 401 no valid token, 403 token for another session or role, 404 session
    not active (listeners), 409 session has a speaker (speakers) or the id is taken.
    """
    begin(event, context, _log)
    sessions, secret = _parts()
    now_ms = clock.now_ms()
    connection_id = None
    try:
        connection_id = parse_connect(event)
        query = event.get("queryStringParameters") if isinstance(event, dict) else None
        query = query if isinstance(query, dict) else {}
        request = parse_join(query)
        authorise_join(query.get("token"), request, secret=secret.value(now_ms), now_ms=now_ms)
        match join(request, connection_id, sessions=sessions, now_ms=now_ms):
            case JoinOutcome.JOINED:
                pass
            case JoinOutcome.SESSION_NOT_ACTIVE:
                raise InvalidRequest(404, "the session is not active")
            case JoinOutcome.SPEAKER_PRESENT:
                raise InvalidRequest(409, "the session has a speaker")
            case JoinOutcome.ID_TAKEN:
                raise InvalidRequest(409, "this connection is on record for another join")
            case unexpected:
                assert_never(unexpected)
    except InvalidRequest as error:
        return refuse(error, _log, connection_id=connection_id)
    _log.info(
        "connection joined",
        connectionId=connection_id,
        sessionId=request.session_id,
        role=request.role,
    )
    return accept()


@cache
def _parts() -> tuple[DynamoDbSessions, SecretsManagerSecret]:
    settings = ConnectSettings.from_env()
    sessions = DynamoDbSessions(
        DirectDynamoDb(),
        calls,
        connections_table=settings.connections_table,
        sessions_table=settings.sessions_table,
    )
    return sessions, SecretsManagerSecret(DirectSecrets(), calls, settings.join_secret)
