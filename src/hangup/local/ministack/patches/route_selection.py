"""Select the route of a message as API Gateway does.

Observed in MiniStack 1.5.33:

- ``{"action": "$disconnect"}`` selects the route ``$disconnect``: the client's own cleanup runs
  while its socket stays open. ``$connect`` likewise. What AWS does is not documented. Here such an
  action is like an unknown one: ``$default`` if there is one, with ``eventType`` MESSAGE.
- JSON of many thousand levels ends the connection with an exception. Here it is a body in which
  nothing selects a route.
- ``$default`` gets the events of ``$connect`` and ``$disconnect`` where those routes are missing.
  On AWS it only gets messages.

Each of the three can go when MiniStack does it itself.
"""

from typing import Any, Final

from ministack.services import apigateway

_DEFAULT: Final = "$default"
_OF_THE_CONNECTION: Final = frozenset({"$connect", "$disconnect"})
"""Routes that API Gateway runs by itself."""


def install() -> None:
    """Change how MiniStack evaluates a message, and how it looks up a route."""
    evaluate = apigateway._evaluate_route_selection  # noqa: SLF001
    match = apigateway._match_ws_route  # noqa: SLF001

    def route_key_of(expression: str, body: str) -> str:
        try:
            route_key: str = evaluate(expression, body)
        except RecursionError:
            return _DEFAULT
        return _DEFAULT if route_key in _OF_THE_CONNECTION else route_key

    def route_of(api_id: str, route_key: str) -> dict[str, Any] | None:
        route: dict[str, Any] | None = match(api_id, route_key)
        is_stand_in = route is not None and route["routeKey"] != route_key
        return None if is_stand_in and route_key in _OF_THE_CONNECTION else route

    apigateway._evaluate_route_selection = route_key_of  # noqa: SLF001
    apigateway._match_ws_route = route_of  # noqa: SLF001
