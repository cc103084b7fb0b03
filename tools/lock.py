"""Write `requirements.lock`: exact versions of everything that is installed, as a constraints file for pip.

Resolves the core and the dev requirements of pyproject.toml together in a clean environment with the newest pip,
adds what only another supported Python needs, and measures what has to be downloaded by downloading it once.
Run by `make lock`; needs nothing but Python and a network.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import tempfile
import tomllib
import venv
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements.lock"

# The first release of each supported minor version: markers on the micro version then apply as often as they can.
PYTHONS = ("3.11.0", "3.12.0", "3.13.0")
# These come with a CUDA build of torch, by its own requirements, in the versions that it was built against.
WITH_CUDA = ("nvidia-", "cuda-", "triton")
# What the installation itself uses: setuptools builds this package, uv fetches a CPU build of torch on request.
TOOLS = ("setuptools>=77", "uv")

Metadata = Mapping[str, Any]


def main() -> None:
    """Make a clean environment, and do the work with the Python and the pip in it."""
    if sys.argv[1:] == ["--inside"]:
        write_lock()
        return
    with tempfile.TemporaryDirectory(prefix="zen-lock-") as folder:
        venv.create(folder, with_pip=True)
        python = Path(folder) / "bin" / "python"
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--upgrade", "pip"], check=True)
        subprocess.run([python, __file__, "--inside"], check=True)


def write_lock() -> None:
    """Resolve, measure and write; to be run in the clean environment."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    core, dev = project["dependencies"], project["optional-dependencies"]["dev"]
    packages = resolve([*core, *dev, *TOOLS])
    for extra in missing_elsewhere(packages, [*core, *dev, *TOOLS]):
        packages.update(resolve([extra], packages))

    in_core = set().union(*(closure(packages, [*core, TOOLS[0]], python)[0] for python in PYTHONS))
    torch = {name for name in packages if name == "torch" or name.startswith(WITH_CUDA)}
    kind = "torch-cpu" if torch == {"torch"} else "torch-cuda"
    groups = {"core": in_core - torch, kind: torch, "dev": set(packages) - in_core - torch - {"uv"}, "uv": {"uv"}}

    pins = {n: str(m["version"]).partition("+")[0] for n, m in packages.items() if n == "torch" or n not in torch}
    pins["pip"] = pip_version()
    sizes = [f"# download {name}: {measure(packages, members)}" for name, members in groups.items()]
    made = f"{datetime.now(UTC):%Y-%m-%d} with Python {platform.python_version()} and pip {pins['pip']}"
    header = [
        "# Exact versions of everything that `make run` and `make test` install: a constraints file for pip.",
        f"# Written by `make lock` on {made}, {platform.system()} {platform.machine()}.",
        *sizes,
    ]
    LOCK.write_text("\n".join([*header, *(f"{name}=={pins[name]}" for name in sorted(pins))]) + "\n")
    print(*header, f"{len(pins)} packages in {LOCK.name}", sep="\n")


# --- resolution -------------------------------------------------------------------------------------------------------


def resolve(requirements: Iterable[str], fixed: Mapping[str, Metadata] | None = None) -> dict[str, Metadata]:
    """What pip would install for `requirements`, by canonical name; versions in `fixed` are kept."""
    from pip._vendor.packaging.utils import canonicalize_name

    with tempfile.TemporaryDirectory() as folder:
        constraints, report = Path(folder, "fixed.txt"), Path(folder, "report.json")
        constraints.write_text("".join(f"{n}=={m['version']}\n" for n, m in (fixed or {}).items()))
        pip("install", "--dry-run", "--ignore-installed", "--report", report, "-c", constraints, *requirements)
        found = [item["metadata"] for item in json.loads(report.read_text())["install"]]
    return {str(canonicalize_name(metadata["name"])): metadata for metadata in found}


def missing_elsewhere(packages: Mapping[str, Metadata], roots: Iterable[str]) -> list[str]:
    """Requirements that only apply to another supported Python, so that this resolution did not meet them."""
    return sorted(set().union(*(closure(packages, roots, python)[1] for python in PYTHONS)))


def closure(packages: Mapping[str, Metadata], roots: Iterable[str], python: str) -> tuple[set[str], set[str]]:
    """The names that `roots` need on this Python, and the requirements among them that `packages` lacks."""
    from pip._vendor.packaging.markers import default_environment
    from pip._vendor.packaging.requirements import Requirement
    from pip._vendor.packaging.utils import canonicalize_name

    environment = dict(default_environment())
    environment.update(python_version=python.rpartition(".")[0], python_full_version=python)
    todo = [Requirement(text) for text in roots]
    reached: set[tuple[str, str]] = set()
    lacking: set[str] = set()
    while todo:
        wanted = todo.pop()
        name = str(canonicalize_name(wanted.name))
        if name not in packages:
            lacking.add(f"{wanted.name}{wanted.specifier}")
            continue
        for extra in ("", *wanted.extras):
            if (name, extra) in reached:
                continue
            reached.add((name, extra))
            for text in packages[name].get("requires_dist", []):
                needed = Requirement(text)
                if needed.marker is None or needed.marker.evaluate({**environment, "extra": extra}):
                    todo.append(needed)
    return {name for name, _ in reached}, lacking


# --- pip --------------------------------------------------------------------------------------------------------------


def pip(*arguments: str | Path) -> None:
    """Run the clean environment's pip; its own words tell what went wrong."""
    done = subprocess.run([sys.executable, "-m", "pip", *arguments], stdout=subprocess.DEVNULL, check=False)
    if done.returncode != 0:
        sys.exit(f"pip {' '.join(map(str, arguments[:1]))} failed: the lines above say why; {LOCK.name} is unchanged")


def pip_version() -> str:
    """The version of the pip in use."""
    from importlib.metadata import version

    return version("pip")


def measure(packages: Mapping[str, Metadata], names: Iterable[str]) -> str:
    """Bytes to download for these packages on this machine, in words."""
    with tempfile.TemporaryDirectory() as folder:
        pip("download", "--no-deps", "--dest", folder, *(f"{n}=={packages[n]['version']}" for n in sorted(names)))
        sizes = [path.stat().st_size for path in Path(folder).iterdir()]
    return f"{sum(sizes) / 1e6:.0f} MB in {len(sizes)} files"


if __name__ == "__main__":
    main()
