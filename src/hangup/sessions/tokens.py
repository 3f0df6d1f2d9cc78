"""Join tokens: signed, expiring, for one session and one role (JWT, HS256)."""

from collections.abc import Mapping
from typing import Any, Final

from hangup.core.connection import DurationMs, EpochMs
from hangup.errors import ConfigurationError, InvalidRequest, MissingExtraError
from hangup.sessions.model import JoinRequest, Role

try:
    import jwt
except ModuleNotFoundError as error:
    raise MissingExtraError("hangup.sessions.tokens", "sessions") from error

AUDIENCE: Final = "hangup-join"
_ALGORITHM: Final = "HS256"
_MIN_SECRET_BYTES: Final = 32
"""HS256 keys shorter than its hash are weak. RFC 7518, section 3.2."""
_LAST_EPOCH_S: Final = 253_402_300_799
"""The last second of the year 9999. A later time is a mistake."""
_CLAIMS: Final = ("aud", "exp", "iat", "sessionId", "role")


def mint_join_token(
    *, session_id: str, role: Role, secret: str, now_ms: EpochMs, lifetime_ms: DurationMs
) -> str:
    """Return a token to join one session as ``role``, valid for ``lifetime_ms`` from now.

    Raises ``ConfigurationError`` for a secret of less than 32 bytes.
    """
    claims = {
        "aud": AUDIENCE,
        "iat": now_ms // 1000,
        "exp": (now_ms + lifetime_ms) // 1000,
        "sessionId": session_id,
        "role": str(role),
    }
    return jwt.encode(claims, _checked(secret), algorithm=_ALGORITHM)


def authorise_join(token: object, request: JoinRequest, *, secret: str, now_ms: EpochMs) -> None:
    """Return if the token allows the request; raise ``InvalidRequest`` if not.

    401 for a token that is missing, malformed, forged or expired; 403 for a genuine token of
    another session or role. A token is expired when ``now_ms >= exp``, and not yet valid when
    ``now_ms < nbf``, a claim that may be missing. Both are seconds, whole or not, up to the year
    9999 (``NumericDate`` of RFC 7519). Raises ``ConfigurationError`` for a secret of less than 32
    bytes.
    """
    if not isinstance(token, str) or not token:
        raise InvalidRequest(401, "a join token is required")
    try:
        claims = jwt.decode(
            token,
            _checked(secret),
            algorithms=[_ALGORITHM],
            audience=AUDIENCE,
            # The times are checked below, against ``now_ms``.
            options={
                "require": list(_CLAIMS),
                "verify_exp": False,
                "verify_iat": False,
                "verify_nbf": False,
            },
        )
    except (jwt.InvalidTokenError, RecursionError, UnicodeError):
        raise InvalidRequest(401, "the join token is not valid") from None
    if now_ms >= _seconds(claims, "exp") * 1000:
        raise InvalidRequest(401, "the join token has expired")
    if "nbf" in claims and now_ms < _seconds(claims, "nbf") * 1000:
        raise InvalidRequest(401, "the join token is not valid yet")
    if (claims["sessionId"], claims["role"]) != (request.session_id, request.role):
        raise InvalidRequest(403, "the join token is for another session or role")


def _seconds(claims: Mapping[str, Any], name: str) -> float:
    """Return a claim that is a time; raise ``InvalidRequest`` if it is not one."""
    value = claims[name]
    # It may be any JSON value. For Python bool is an int, and what JSON calls NaN is no number.
    if isinstance(value, int | float) and not isinstance(value, bool):
        seconds: float = value
        if abs(seconds) <= _LAST_EPOCH_S:
            return seconds
    raise InvalidRequest(401, "the join token is not valid")


def _checked(secret: str) -> str:
    if len(secret.encode()) < _MIN_SECRET_BYTES:
        raise ConfigurationError(f"the join secret must have at least {_MIN_SECRET_BYTES} bytes")
    return secret
