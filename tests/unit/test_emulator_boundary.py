"""Only ``hangup.local.ministack`` imports the emulator or changes it."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
INSIDE = ROOT / "src" / "hangup" / "local" / "ministack"
OUTSIDE = sorted(
    path
    for folder in ("src", "infra", "examples", "benchmarks")
    for path in (ROOT / folder).rglob("*.py")
    if not path.is_relative_to(INSIDE)
)


def imports(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Yield each module that is imported, and the name that is bound by it ("" if none is)."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((a.name, a.asname or a.name.partition(".")[0]) for a in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.module or "", a.asname or a.name) for a in node.names)
        elif isinstance(node, ast.Call) and called(node) in {"import_module", "__import__"}:
            yield from ((ast.unparse(argument).strip("'"), "") for argument in node.args[:1])


def changes(tree: ast.AST) -> Iterator[ast.expr]:
    """Yield each expression whose attribute is set or deleted."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store | ast.Del):
            yield node
        elif isinstance(node, ast.Call) and called(node) in {"setattr", "delattr"}:
            yield node.args[0]


def violations(code: str) -> list[str]:
    """Return where code imports the emulator, or changes what comes from its folder."""
    if "ministack" not in code:
        return []
    tree = ast.parse(code)
    imported = list(imports(tree))
    borrowed = {name for module, name in imported if module.startswith("hangup.local.ministack")}
    return [
        *(f"imports {module}" for module, _ in imported if module.split(".")[0] == "ministack"),
        *(f"changes {ast.unparse(node)}" for node in changes(tree) if root(node) in borrowed),
    ]


def called(node: ast.Call) -> str:
    return ast.unparse(node.func).rpartition(".")[2]


def root(node: ast.expr) -> str:
    """Return the name that an expression like ``a.b.c`` begins with."""
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Call):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""


def test_only_its_folder_imports_or_changes_the_emulator() -> None:
    found = [
        f"{path.relative_to(ROOT)} {violation}"
        for path in OUTSIDE
        for violation in violations(path.read_text())
    ]
    assert found == []


@pytest.mark.parametrize(
    "code",
    [
        "import ministack",
        "import ministack.app as app",
        "def f():\n    from ministack.core import lambda_runtime",
        "import importlib\nimportlib.import_module('ministack.services.sqs')",
        "__import__('ministack')",
        "from hangup.local.ministack import patches\npatches.MINISTACK_VERSION = '2'",
        "from hangup.local.ministack.patches import whole_logs as w\nw.lambda_runtime.Worker.x = 1",
        "import hangup.local.ministack.process\nhangup.local.ministack.process.GRACE_S += 1",
        "from hangup.local.ministack import process\nsetattr(process.uvicorn, 'Server', None)",
        "from hangup.local.ministack import process\ndel process.uvicorn.Server",
    ],
)
def test_what_imports_or_changes_it_is_found(code: str) -> None:
    assert len(violations(code)) == 1


def test_what_only_uses_the_folder_is_fine() -> None:
    code = "from hangup.local.ministack.engine import Engine\nport = Engine.start().port"
    assert violations(code) == []
