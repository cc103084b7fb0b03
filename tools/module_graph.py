"""Which module imports which, read from the source with `ast`; nothing is imported or run."""

from __future__ import annotations

import ast
import hashlib
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("zen_pipeline", "flows")


@cache
def modules(root: Path = ROOT) -> dict[str, Path]:
    """Dotted name and file of every module of the shipped packages."""
    found: dict[str, Path] = {}
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def tree(path: Path) -> ast.Module:
    """The parsed source of one file."""
    return ast.parse(path.read_bytes(), filename=str(path))


@cache
def imports(name: str, root: Path = ROOT) -> frozenset[str]:
    """Dotted names that a module imports anywhere in it, also inside functions and for type checking only.

    `from package import thing` gives `package.thing` when that is a module of ours, else `package`.
    """
    known = modules(root)
    found: set[str] = set()
    for node in ast.walk(tree(known[name])):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise ValueError(f"{known[name]}:{node.lineno}: write the import with the full name of the module")
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                found.add(full if full in known else str(node.module))
    return frozenset(found)


@cache
def named(name: str, root: Path = ROOT) -> frozenset[str]:
    """Modules of ours that a module names in strings: what a registry loads, or a process is started with."""
    known = modules(root)
    strings = (node.value for node in ast.walk(tree(known[name])) if isinstance(node, ast.Constant))
    return frozenset(value for value in strings if isinstance(value, str) and value in known)


def closure(name: str, root: Path = ROOT) -> list[str]:
    """The module and every module of `zen_pipeline` that it imports or names, directly or not, sorted."""
    known = modules(root)
    todo, reached = [name], set()
    while todo:
        current = todo.pop()
        if current in reached or current not in known or not current.startswith("zen_pipeline"):
            continue
        reached.add(current)
        todo += imports(current, root) | named(current, root)
        todo.append(current.rpartition(".")[0])  # importing a module runs its package
    return sorted(reached)


def closure_digest(name: str, root: Path = ROOT) -> str:
    """SHA-256 over the code of a module's closure; comments, docstrings and formatting do not count."""
    digest = hashlib.sha256()
    for each in closure(name, root):
        digest.update(f"{each}\0{_code(modules(root)[each])}\n".encode())
    return digest.hexdigest()


@cache
def _code(path: Path) -> str:
    """The code of one file, without comments, docstrings and formatting."""
    parsed = ast.parse(path.read_bytes())
    for node in ast.walk(parsed):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                node.body = node.body[1:] or [ast.Pass()]
    return ast.dump(parsed)
