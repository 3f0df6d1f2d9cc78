"""What a fleet of connections costs, how late its closes are, and which quota it meets first.

``fleet`` holds the values that are planned for, ``model`` the sweep, the queue and the lateness,
``costs`` the bill, ``quotas`` the limits, and ``plan`` puts them together for both topologies and
writes them down. The command is in ``hangup.cli.plan``.
"""
