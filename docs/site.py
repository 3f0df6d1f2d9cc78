"""Build the docs site, strictly: ``make docs``. Show it on loopback: ``make docs-serve``.

1. Write what is generated: the tables of environment variables and of what the doctor finds, and
   the settings of ``hangup.toml``, into their pages, and the JSON Schema of ``hangup.toml`` into
   the package.
2. Lay out the sources in ``build/docs``: every page of ``docs/``, the pages of the repository's
   root (CHANGELOG, CONTRIBUTING, SECURITY, LICENSE), and ``hangup COMMAND --help`` in the page of
   the command line. Links to files that are not pages of the site become the names of those files.
3. Run MkDocs on them, which writes ``build/site``. A broken link, a missing anchor, a page that the
   navigation leaves out or a name that is not in the code fails the build.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from functools import cache, partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath
from typing import Final

from hangup import config
from hangup.ops import deployment_text, template, troubles

__all__ = ["COMMAND_LINE", "ROOT_PAGES", "SiteError", "help_of", "lay_out", "main"]

_ROOT: Final = Path(__file__).parents[1]
_BEGIN: Final = "<!-- configuration: written by make docs -->\n"
_END: Final = "\n<!-- /configuration -->"
_JSON_SCHEMA: Final = _ROOT / "src" / "hangup" / "ops" / "hangup-toml.schema.json"
_LINK: Final = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")
_HELP: Final = re.compile(r"^<!-- help of ([a-z]+): written by make docs -->$", re.MULTILINE)
_PORT: Final = 8000

COMMAND_LINE: Final = PurePosixPath("docs/reference/command-line.md")
"""The page that shows the help of each command."""

ROOT_PAGES: Final = {
    "README.md": "index.md",
    "CHANGELOG.md": "project/changelog.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "SECURITY.md": "project/security.md",
    "LICENSE": "project/licence.md",
}
"""Where the files of the repository's root are in the site. The README is the site's own first page
in short, so a link to it leads there."""


class SiteError(Exception):
    """A page cannot be laid out; the text says which, and why."""


def write_generated(page: Path, text: str) -> None:
    """Put what is generated of a page between its markers."""
    before, begin, rest = page.read_text().partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise SiteError(f"{page.name} has lost the markers of what is generated")
    page.write_text(f"{before}{begin}{text}{end}{after}")


@cache
def help_of(command: str) -> str:
    """Return what ``hangup COMMAND --help`` prints, 80 columns wide and without colours."""
    plain = {"NO_COLOR": "1", "COLUMNS": "80", "TERM": "dumb"}
    result = subprocess.run(  # noqa: S603 - our own command line
        [sys.executable, "-m", "hangup.cli", command, "--help"],
        env={**os.environ, **plain},
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        raise SiteError(f"hangup {command} --help failed: {result.stderr.strip()}")
    return "\n".join(line.rstrip() for line in result.stdout.strip("\n").splitlines())


def lay_out(root: Path, target: Path) -> None:
    """Write the sources of the site into ``target``, which is emptied first.

    ``root`` is the repository. Raises ``SiteError`` for a link to a file that does not exist.
    """
    shutil.rmtree(target, ignore_errors=True)
    for file in sorted((root / "docs").rglob("*")):
        path = PurePosixPath(file.relative_to(root).as_posix())
        if file.suffix == ".md":
            _write(target / path.relative_to("docs"), _page(root, path))
        elif file.suffix == ".svg":
            copy = target / path.relative_to("docs")
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
    for name, page in ROOT_PAGES.items():
        if page != ROOT_PAGES["README.md"]:
            text = _page(root, PurePosixPath(name))
            _write(target / page, text if name.endswith(".md") else f"# Licence\n\n{text}")


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def _page(root: Path, path: PurePosixPath) -> str:
    text = (root / path).read_text()
    if path == COMMAND_LINE:
        text = _HELP.sub(lambda found: f"```text\n{help_of(found[1])}\n```", text)
    return _LINK.sub(lambda found: _link(root, path, found), text)


def _link(root: Path, page: PurePosixPath, found: re.Match[str]) -> str:
    """Return a link as the site has it: to another page, or the name of a file."""
    picture, label, link = found.groups()
    if re.match(r"https?://|#", link):
        return found[0]
    to, hash_sign, anchor = link.partition("#")
    target = PurePosixPath(os.path.normpath(page.parent / to))
    if not (root / target).exists():
        raise SiteError(f"{page} links to {link}, which does not exist")
    there = _in_site(target)
    if there is None:
        name = label.strip("`")
        is_name = name in {target.name, str(target)}
        return f"`{target}`" if is_name else f"{label} (`{target}`)"
    here = _in_site(page)
    if here is None:
        raise SiteError(f"{page} is not a page of the site")
    relative = os.path.relpath(there, here.parent)
    return f"{picture}[{label}]({relative}{hash_sign}{anchor})"


def _in_site(path: PurePosixPath) -> PurePosixPath | None:
    """Return where a file of the repository is in the site, None if it is not there."""
    if str(path) in ROOT_PAGES:
        return PurePosixPath(ROOT_PAGES[str(path)])
    is_page = path.parts[0] == "docs" and path.suffix in {".md", ".svg"}
    return path.relative_to("docs") if is_page else None


def build() -> None:
    """Lay out the sources and build the site from them. Raises ``SiteError`` if either fails."""
    reference = _ROOT / "docs" / "reference"
    write_generated(reference / "environment.md", config.as_markdown())
    write_generated(_ROOT / "docs" / "operate" / "doctor.md", troubles.as_markdown())
    write_generated(reference / "hangup-toml.md", deployment_text.as_markdown())
    write_generated(reference / "template.md", template.as_markdown())
    _JSON_SCHEMA.write_text(deployment_text.json_schema_text())
    lay_out(_ROOT, _ROOT / "build" / "docs")
    result = subprocess.run(
        # Not with --quiet: it would hide the warnings that --strict counts.
        [sys.executable, "-m", "mkdocs", "build", "--strict"],
        cwd=_ROOT,
        # What it says is in docs/decisions/0002-mkdocs-material.md.
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        check=False,
    )
    if result.returncode:
        raise SiteError("mkdocs found what its lines above say")
    print("The site is in build/site.")


def serve() -> None:
    """Show the site on loopback until Ctrl-C, on a free port if the usual one is taken."""
    handler = partial(SimpleHTTPRequestHandler, directory=str(_ROOT / "build" / "site"))
    try:
        server = ThreadingHTTPServer(("127.0.0.1", _PORT), handler)
    except OSError:
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    print(f"http://127.0.0.1:{server.server_port}/ (Ctrl-C stops it)", flush=True)
    with server:
        server.serve_forever()


def main(arguments: Sequence[str] | None = None) -> None:
    """Build the site, and serve it if asked to."""
    parser = argparse.ArgumentParser(prog="docs.site", description=__doc__)
    parser.add_argument("--serve", action="store_true", help="show the site until Ctrl-C")
    options = parser.parse_args(arguments)
    try:
        build()
        if options.serve:
            serve()
    except SiteError as error:
        raise SystemExit(f"hangup: {error}") from error
    except KeyboardInterrupt:
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
