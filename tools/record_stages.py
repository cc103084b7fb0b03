"""Write `tests/stage_versions.json`: the version and the digest of the code of every stage. Run by `make record`."""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path

if __name__ == "__main__":  # run as a file: find the package that this file belongs to
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tools.module_graph import ROOT, closure_digest, modules, tree

RECORD = ROOT / "tests" / "stage_versions.json"


def stage_versions(root: Path = ROOT) -> dict[str, dict[str, int | str]]:
    """Version and digest of every module in `zen_pipeline/stages` that defines `STAGE_VERSION`, by its name."""
    record: dict[str, dict[str, int | str]] = {}
    for module, path in modules(root).items():
        if module.startswith("zen_pipeline.stages.") and (version := _stage_version(path)) is not None:
            record[module.rpartition(".")[2]] = {"version": version, "code": closure_digest(module, root)}
    return record


def _stage_version(path: Path) -> int | None:
    """The number that a module assigns to `STAGE_VERSION`; None when it assigns none."""
    for node in tree(path).body:
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        if any(isinstance(t, ast.Name) and t.id == "STAGE_VERSION" for t in targets):
            return int(ast.literal_eval(node.value))
    return None


def main() -> None:
    """Write the record and say what changed."""
    before = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    after = stage_versions()
    RECORD.write_text(json.dumps(after, indent=1, sort_keys=True) + "\n")
    changed = sorted(n for n in {*before, *after} if before.get(n) != after.get(n))
    print(f"recorded: {', '.join(changed) or 'nothing had changed'}")


if __name__ == "__main__":
    main()
