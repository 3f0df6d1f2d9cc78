"""Record the commands for an app that is there already, as the docs' pictures: ``make pictures``.

The app is a small chat on the local engine, which knows nothing of Hangup. Two clients are
connected; one of them talks. Each picture has what the command printed on this run.
"""

import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from websockets.sync.client import connect

from docs.pictures import draw, shown
from hangup.local.ministack.engine import Engine
from tests.support.chat_app import deployed
from tests.support.chat_user import User
from tests.support.repeated import repeated
from tests.support.terminal import HANGUP

__all__ = ["FOLDER", "NAMES"]

FOLDER: Final = Path(__file__).parent / "screens"
NAMES: Final = ("init", "sweep", "deploy", "doctor", "status", "explain")
"""The pictures, each of the command of that name."""

_COLOURS: Final = {"FORCE_COLOR": "1", "TTY_INTERACTIVE": "0", "COLUMNS": "100"}
_IDLE_S: Final = 4


def main() -> None:
    """Run the commands and write their pictures, if each ended as it should."""
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, Engine.start(enforce_iam=False) as engine:
        user = User(deployed(engine), Path(folder))
        user.environment.update(_COLOURS)
        for name, command in _commands(user):
            done = subprocess.run(  # noqa: S603 - our own command
                [*HANGUP, *command.split()[1:]],
                cwd=user.folder,
                env=user.environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
            # The status 1 of this one says that an alarm rings.
            if done.returncode and name != "status":
                raise SystemExit(f"hangup: `{command}` failed: {done.stdout}")
            picture = draw(shown(done.stdout.splitlines()), command=command, name=name)
            (FOLDER / f"{name}.svg").write_text(picture)
            print(f"docs/screens/{name}.svg shows this run.")


def _commands(user: User) -> Iterator[tuple[str, str]]:
    """Yield each picture's name and command, in the order in which somebody runs them."""
    with connect(user.app.address):
        (silent,) = (item["socket"]["S"].removeprefix("ws#") for item in user.items())
        with (
            connect(user.app.address) as talking,
            repeated(lambda: talking.send("{}"), every_s=0.5),
        ):
            settings = (
                f"--set api.endpoint={user.app.endpoint} --set timeout.idle_seconds={_IDLE_S}"
            )
            yield "init", f"hangup init --api chat --yes {settings}"
            time.sleep(_IDLE_S + 1.5)
            yield "sweep", "hangup sweep --dry-run"
            yield "deploy", "hangup deploy --mode observe --zip code.zip --yes"
            user.sweep()
            yield "doctor", "hangup doctor"
            yield "status", "hangup status"
            yield "explain", f"hangup explain {silent}"


if __name__ == "__main__":
    main()
