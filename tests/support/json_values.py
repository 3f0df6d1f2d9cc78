"""Strategies for what may arrive: any JSON value, and events that are nearly right."""

from typing import Any, Final

from hypothesis import strategies as st

from tests.support.recorded import recorded

__all__ = ["ANY_JSON", "ANY_TEXT", "nearly_right"]

ANY_TEXT: Final = st.text(st.characters(exclude_categories=()), max_size=40)
"""Lone surrogates too: JSON can spell them."""

_SCALARS: Final = st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT
ANY_JSON: Final = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ANY_TEXT, inner, max_size=4),
    max_leaves=12,
)

_HOSTILE: Final = ANY_JSON | st.sampled_from(
    ["", "$connect", "$disconnect", "heartbeat", "s1", "speaker", "x" * 5_000, "a\nb", "'; --"]
)


@st.composite
def nearly_right(draw: st.DrawFn, *names: str) -> Any:
    """Return a recorded event with some of its members, at any depth, replaced or left out."""
    event = recorded(draw(st.sampled_from(names)))
    for _ in range(draw(st.integers(1, 3))):
        target: Any = event
        while True:
            key = draw(st.sampled_from([*sorted(target), "sessionId", "correlationId", "body"]))
            inner = target.get(key)
            if not isinstance(inner, dict) or not inner or draw(st.booleans()):
                break
            target = inner
        if key in target and draw(st.booleans()):
            del target[key]
        else:
            target[key] = draw(_HOSTILE)
        if not event:
            break
    return event
