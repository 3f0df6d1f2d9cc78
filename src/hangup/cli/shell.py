"""How one types a program in the shell, so that printed commands can be copied."""

import shlex
import shutil
import sys
from pathlib import Path


def this_program() -> str:
    """Return what to type here to call this program again, quoted for a shell."""
    called = Path(sys.argv[0])
    if called.parts[-2:] == ("cli", "__main__.py"):
        return f"{python_as_typed()} -m hangup.cli"
    if called.name != "hangup":  # called as a function
        return "hangup"
    found = shutil.which("hangup")
    on_path = found is not None and Path(found).resolve() == called.resolve()
    return "hangup" if on_path else _as_typed(called)


def python_as_typed() -> str:
    """Return what to type here to call this interpreter, quoted for a shell."""
    return _as_typed(Path(sys.executable))


def _as_typed(program: Path) -> str:
    path, here = program.absolute(), Path.cwd()
    if not path.is_relative_to(here):
        return shlex.quote(str(path))
    # With "./" a shell does not look for it on its PATH.
    within = path.relative_to(here)
    return shlex.quote(f"./{within}" if within.parent == Path() else str(within))
