"""The rules: values and functions without I/O, clock, environment or logging."""
