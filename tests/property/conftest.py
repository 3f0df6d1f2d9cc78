"""How long the property tests look, and that they look the same way each time."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "hangup",
    max_examples=100,
    deadline=None,  # a slow machine is no counterexample
    derandomize=True,  # a build that fails must fail again
    database=None,
    # The stub of AWS is one for all examples, and each example resets it.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("hangup")
