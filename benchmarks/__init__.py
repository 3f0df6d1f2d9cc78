"""What Hangup costs, measured beside the naive way: ``make bench``.

| module       | what                                                                         |
|--------------|------------------------------------------------------------------------------|
| ``naive``    | the obvious implementation of an idle timeout, the one to compare with        |
| ``side``     | runs one sweep of either side in a process of its own, and measures it        |
| ``stub``     | AWS's endpoints over TLS, in a process of their own                           |
| ``endpoints``| starts that process, and says what arrived there                              |
| ``records``  | the connection records                                                        |
| ``tables``   | a million of them in DynamoDB Local, in seconds                               |
| ``machine``  | the CPU limit, and what the numbers were measured on                          |
| ``trial``    | one measured run: its environment, its limit, its result                      |
| ``measures`` | what is measured, row by row; ``lateness`` and ``package`` are two of them    |
| ``results``  | medians, spread, ratios; ``results.json`` and the documented table            |

A benchmark is no test: nothing here asserts a time. But each run is checked for having done its
work, and ``tests/unit/test_benchmarks.py`` checks the parts.
"""
