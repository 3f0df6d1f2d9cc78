"""Compile Python files to bytecode: a script that runs in the interpreter that Lambda will run.

It may be another one than the build's own, without any package: hence only the standard library.

Standard input is a JSON list of ``[source, target, path at run time]``. The bytecode is written to
``target``, with unchecked hashes (PEP 552): at run time Python loads it without looking at the
source, and it holds no time of this machine.
"""

import json
import py_compile
import sys

__all__: list[str] = []

if __name__ == "__main__":
    for source, target, runtime_path in json.load(sys.stdin):
        py_compile.compile(
            source,
            cfile=target,
            dfile=runtime_path,
            doraise=True,
            optimize=0,
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        )
