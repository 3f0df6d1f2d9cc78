"""How an account is read: operation by operation, by botocore's names, each through ``retries``."""

from functools import partial
from typing import Any, Final

from botocore import xform_name

from hangup.aws import clients
from hangup.aws.gateway import ManagementApiGateway
from hangup.aws.retries import Calls
from hangup.errors import BackendError

_NOT_FOUND: Final = ("NotFoundException", "ResourceNotFoundException", "NoSuchKey", "404")


class AccountReads:
    """An account in one Region, as the caller's credentials see it.

    Every refusal is a ``BackendError`` with the name of the operation.
    """

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._clients: dict[tuple[str, str | None], Any] = {}

    def connections_at(self, endpoint: str) -> ManagementApiGateway:
        """Return who knows the connections of a stage, by its ``@connections`` URL."""
        return ManagementApiGateway(self._client("apigatewaymanagementapi", endpoint), self._calls)

    def _ask(self, service: str, operation: str, **request: Any) -> Any:  # noqa: ANN401 - botocore's
        call = getattr(self._client(service), xform_name(operation))
        return self._calls(operation, partial(call, **request))

    def _found(self, service: str, operation: str, **request: Any) -> Any | None:  # noqa: ANN401
        """Return the answer; None where AWS says that there is no such thing."""
        try:
            return self._ask(service, operation, **request)
        except BackendError as error:
            if error.code in _NOT_FOUND:
                return None
            raise

    def _listed(self, service: str, operation: str, members: str, **request: Any) -> list[Any]:  # noqa: ANN401
        """Return what all pages of an answer list under one name."""
        paginator = self._client(service).get_paginator(xform_name(operation))
        pages = self._calls(operation, lambda: list(paginator.paginate(**request)))
        return [one for page in pages for one in page[members]]

    def _client(self, service: str, endpoint: str | None = None) -> Any:  # noqa: ANN401 - botocore's
        if (service, endpoint) not in self._clients:
            # Made within a call, so that a missing Region is an error like any other.
            made = self._calls("CreateClient", lambda: clients.client(service, endpoint))
            self._clients[service, endpoint] = made
        return self._clients[service, endpoint]
