"""The join secret, from Secrets Manager."""

from typing import TYPE_CHECKING, Final

from hangup.aws.retries import Calls
from hangup.core.connection import DurationMs, EpochMs
from hangup.errors import BackendError

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient

    from hangup.aws.http.services import DirectSecrets

_FRESH_FOR_MS: Final = DurationMs(300_000)
"""A secret that was rotated is used after five minutes at the latest, without a cold start."""


class SecretsManagerSecret:
    """A secret's current value, read when first asked for and again every five minutes."""

    def __init__(
        self, client: "SecretsManagerClient | DirectSecrets", calls: Calls, secret: str
    ) -> None:
        self._client = client
        self._calls = calls
        self._secret = secret
        self._value = ""
        self._read_at_ms: EpochMs | None = None

    def value(self, now_ms: EpochMs) -> str:
        """Return the value. Raises ``BackendError`` if it cannot be read."""
        if self._read_at_ms is None or now_ms - self._read_at_ms > _FRESH_FOR_MS:
            try:
                answer = self._calls(
                    "GetSecretValue", lambda: self._client.get_secret_value(SecretId=self._secret)
                )
                self._value, self._read_at_ms = answer["SecretString"], now_ms
            except BackendError:
                # What was right five minutes ago is better than letting nobody in.
                if self._read_at_ms is None:
                    raise
        return self._value
