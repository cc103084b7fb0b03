"""The docstrings of Python files, read with `ast`: no file is ever imported.

Run as a script, it reads JSON lines `[module, path]` from stdin and writes one JSON line per file: the found
docstrings, or why the file could not be read. It uses the standard library only, so that a process that does nothing
else starts in a few milliseconds; parsing is what takes the time, and Python's lock allows one parser per process.
"""

from __future__ import annotations

import ast
import gc
import inspect
import json
import sys
import warnings
from collections.abc import Iterator
from typing import NamedTuple

_MAX_DEFAULT = 40  # characters of a default value that a signature shows


class Docstring(NamedTuple):
    """One documented object: `object` is `module`, `class`, `function` or `topic`."""

    object: str
    qualname: str
    signature: str
    doc: str


def docstrings(source: bytes, module: str) -> list[Docstring]:
    """The public docstrings of one file in the order of its lines.

    Functions inside functions, and names with a leading underscore (but not `__dunder__` names), are left out.

    Raises:
        SyntaxError: the file is not valid for this Python.
        ValueError: the file holds NUL bytes.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # invalid escapes in other people's code
        tree = ast.parse(source)
    found: list[Docstring] = []
    if doc := _doc(tree):
        found.append(Docstring("module", module, "", doc))
    found.extend(_members(tree.body, module))
    return found


def topics(source: bytes) -> list[Docstring]:
    """The texts of a `pydoc_data/topics.py`: the values of its one dict literal."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Dict):
            pairs = zip(node.value.keys, node.value.values, strict=True)
            return [
                Docstring("topic", str(key.value), "", inspect.cleandoc(value.value))
                for key, value in pairs
                if isinstance(key, ast.Constant) and isinstance(value, ast.Constant) and isinstance(value.value, str)
            ]
    return []


def _members(body: list[ast.stmt], parent: str) -> Iterator[Docstring]:
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            if _is_public(node.name) and (doc := _doc(node)):
                yield Docstring("function", f"{parent}.{node.name}", signature(node.args), doc)
        elif isinstance(node, ast.ClassDef):
            if not _is_public(node.name):
                continue
            name = f"{parent}.{node.name}"
            if doc := _doc(node):
                yield Docstring("class", name, _constructor(node), doc)
            yield from _members(node.body, name)
        elif isinstance(node, ast.If | ast.Try | ast.With):  # definitions that depend on the platform
            yield from _members(node.body, parent)
            if isinstance(node, ast.If | ast.Try):
                yield from _members(node.orelse, parent)
            for handler in getattr(node, "handlers", []):
                yield from _members(handler.body, parent)


def _doc(node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    return (ast.get_docstring(node) or "").strip()


def _is_public(name: str) -> bool:
    return not name.startswith("_") or (name.startswith("__") and name.endswith("__"))


def _constructor(node: ast.ClassDef) -> str:
    for member in node.body:
        if isinstance(member, ast.FunctionDef) and member.name == "__init__":
            return signature(member.args, skip_first=True)
    return ""


def signature(args: ast.arguments, *, skip_first: bool = False) -> str:
    """The parameters as `(self, name, /, default=1, *, flag=False, **kwargs)`, without annotations."""
    positional = [*args.posonlyargs, *args.args]
    defaults: list[ast.expr | None] = [None] * (len(positional) - len(args.defaults)) + list(args.defaults)
    parts = [_parameter(a, d) for a, d in zip(positional, defaults, strict=True)]
    if args.posonlyargs:
        parts.insert(len(args.posonlyargs), "/")
    if args.vararg:
        parts.append(f"*{args.vararg.arg}")
    elif args.kwonlyargs:
        parts.append("*")
    parts += [_parameter(a, d) for a, d in zip(args.kwonlyargs, args.kw_defaults, strict=True)]
    if args.kwarg:
        parts.append(f"**{args.kwarg.arg}")
    return f"({', '.join(parts[1:] if skip_first else parts)})"


def _parameter(argument: ast.arg, default: ast.expr | None) -> str:
    if default is None:
        return argument.arg
    text = ast.unparse(default)
    return f"{argument.arg}={text if len(text) <= _MAX_DEFAULT else '...'}"


def read_file(module: str, path: str) -> dict[str, object]:
    """The docstrings of one file, or the reason why it has none to give."""
    try:
        with open(path, "rb") as file:
            source = file.read()
        if module == "pydoc_data.topics":
            return {"docs": topics(source)}
        if b'"""' not in source and b"'''" not in source:
            return {"docs": []}
        return {"docs": docstrings(source, module)}
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        return {"error": f"not valid Python {version}: {type(error).__name__}", "line": getattr(error, "lineno", None)}
    except OSError as error:
        return {"error": f"cannot be read: {error.strerror}", "line": None}


def main() -> None:
    """Answer each line of stdin with one line on stdout."""
    gc.disable()  # syntax trees hold no cycles; collecting them took a third of the time
    for line in sys.stdin:
        module, path = json.loads(line)
        sys.stdout.write(json.dumps(read_file(module, path)) + "\n")


if __name__ == "__main__":
    main()
