"""How long the property tests look, and that they look the same way each time.

``HANGUP_EXAMPLES`` makes them look longer, and elsewhere each time: see ``make soak``.
"""

import os

from hypothesis import HealthCheck, settings

settings.register_profile(
    "hangup",
    max_examples=int(os.environ.get("HANGUP_EXAMPLES", "40")),
    deadline=None,  # a slow machine is no counterexample
    derandomize="HANGUP_EXAMPLES" not in os.environ,  # a build that fails must fail again
    database=None,
    # The stub of AWS is one for all examples, and each example resets it.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("hangup")
