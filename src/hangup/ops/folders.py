"""Folders that are made inside somebody's repository."""

from pathlib import Path

_EVERYTHING = "*\n"


def make_ignored_folder(folder: Path, *, always_ours: bool = False) -> None:
    """Make a folder of which git sees nothing, by a ``.gitignore`` inside that names everything.

    A folder that is there already and holds something gets none, because ``*`` would hide files
    of somebody else; unless ``always_ours`` says that nobody else uses a folder of that name. A
    ``.gitignore`` that is there stays as it is. Raise OSError if something cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    ignore = folder / ".gitignore"
    if not ignore.exists() and (always_ours or not any(folder.iterdir())):
        ignore.write_text(_EVERYTHING)
