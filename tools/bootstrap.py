"""Make `.venv` and install this project into it from the committed versions; do nothing when that is done already.

Needs only Python 3.11 to 3.13 with venv. `make run` and `make test` call it each time; see `--help`.
Older Pythons must be able to read this file up to the version check, so the syntax stays plain.
"""

import argparse
import fcntl
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

SUPPORTED = ((3, 11), (3, 12), (3, 13))

VERSION = f"{sys.version_info[0]}.{sys.version_info[1]}"

if sys.version_info[:2] not in SUPPORTED:
    others = [name for name in ("python3.11", "python3.12", "python3.13") if shutil.which(name)]
    advice = f"use `make run PYTHON={others[0]}`" if others else "install one and name it: `make run PYTHON=python3.11`"
    sys.exit(f"{sys.executable} is Python {VERSION}, and Python 3.11 to 3.13 is needed: {advice}")

ROOT = Path(__file__).resolve().parents[1]
TORCH = "torch==2.13.0"  # exactly this spelling: an index may map it to the small CPU build
CUDA_PACKAGES = ("nvidia-", "cuda-", "triton")


class Stop(Exception):
    """A failure with one message that says what to do."""


# --- what is there ----------------------------------------------------------------------------------------------------


class Place:
    """The files that one installation is made of."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.venv = root / ".venv"
        self.lock = root / "requirements.lock"
        self.project = root / "pyproject.toml"
        self.python = self.venv / "bin" / "python"
        self.stamp = self.venv / "installed.json"

    def key(self) -> str:
        """SHA-256 of what decides the versions: the lock and the project file."""
        digest = hashlib.sha256()
        for path in (self.lock, self.project):
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        return digest.hexdigest()

    def installed(self) -> dict:
        """What the stamp says of the last installation that ended well; empty when there is none."""
        try:
            stamp = json.loads(self.stamp.read_text())
        except (OSError, ValueError):
            return {}
        return stamp if isinstance(stamp, dict) and self.python.exists() else {}

    def downloads(self) -> dict[str, str]:
        """What is downloaded for each group of packages, from the lock's header."""
        lines = (line for line in self.lock.read_text().splitlines() if line.startswith("# download "))
        return dict(line.removeprefix("# download ").split(": ", 1) for line in lines)


def has_nvidia_driver() -> bool:
    """True if an NVIDIA driver answers and lists a card."""
    try:
        done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0 and "GPU" in done.stdout


def choose_torch(switch: str, installed: dict, same_python: bool) -> str:
    """`cpu` or `cuda`: what the switch names; by default what is installed, else what the driver allows."""
    if switch != "auto":
        return switch
    if same_python and installed.get("torch") in ("cpu", "cuda"):
        return installed["torch"]
    return "cuda" if has_nvidia_driver() else "cpu"


# --- the environment --------------------------------------------------------------------------------------------------


def venv_version(place: Place) -> str:
    """The minor version of the environment's Python, such as `3.11`; empty when it does not work."""
    code = "import pip, sys; print('%d.%d' % sys.version_info[:2])"
    try:
        done = subprocess.run([place.python, "-c", code], capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def make_venv(place: Place) -> None:
    """Create the environment, or create it anew.

    Raises:
        Stop: the folder is something else, or Python lacks what is needed.
    """
    if place.venv.exists() and any(place.venv.iterdir()) and not (place.venv / "pyvenv.cfg").exists():
        raise Stop(f"{place.venv} is there but is not a virtual environment: move it away and start again")
    if importlib.util.find_spec("ensurepip") is None or importlib.util.find_spec("venv") is None:
        raise Stop(
            f"{sys.executable} cannot make virtual environments (venv or ensurepip is missing): "
            f"on Debian and Ubuntu install python{VERSION}-venv, or name another Python with PYTHON=…"
        )
    say(f"making {place.venv} with Python {sys.version.split()[0]}")
    done = subprocess.run([sys.executable, "-m", "venv", "--clear", place.venv], check=False)
    if done.returncode != 0:
        raise Stop(f"the virtual environment in {place.venv} could not be made: the lines above say why")


def pip(place: Place, *arguments: object, quiet: bool = False) -> None:
    """Run the environment's pip with the committed versions as constraints.

    Raises:
        Stop: pip failed; it has said why.
    """
    run([place.python, "-m", "pip", *arguments, "-c", place.lock], quiet=quiet)


def run(command: list, quiet: bool = False) -> None:
    """Run one step of the installation; nothing of the caller's Python settings reaches it."""
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
    environment.update(PIP_USER="0", PIP_DISABLE_PIP_VERSION_CHECK="1", PIP_NO_INPUT="1")
    output = subprocess.DEVNULL if quiet else None
    if subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, stdout=output, check=False).returncode != 0:
        raise Stop(
            f"the installation stopped at `{' '.join(map(str, command))}`: the lines above say why.\n"
            "Without a network it cannot go on; behind a proxy set HTTPS_PROXY, for another index PIP_INDEX_URL.\n"
            "Start the same command again: what has been downloaded is kept, and a half-made installation is finished."
        )


# --- torch ------------------------------------------------------------------------------------------------------------


def torch_from_pip(place: Place) -> str:
    """`cpu` or `cuda`: the build of torch that pip would install, as told by what it requires here."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        pip(place, "install", "--dry-run", "--ignore-installed", "--report", report, TORCH, quiet=True)
        names = [item["metadata"]["name"] for item in json.loads(report.read_text())["install"]]
    return "cuda" if any(comes_with_cuda(name) for name in names) else "cpu"


def comes_with_cuda(name: str) -> bool:
    """True if a package or a requirement is one that only a CUDA build of torch brings."""
    return name.lower().replace("_", "-").startswith(CUDA_PACKAGES)


def torch_in_venv(place: Place) -> tuple[str, list[str]]:
    """The build of torch that is installed (`cpu`, `cuda` or nothing), and what would have to go with it."""
    code = (
        "import json\n"
        "from importlib.metadata import distributions\n"
        "print(json.dumps({(d.metadata['Name'] or '').lower(): d.requires or [] for d in distributions()}))"
    )
    done = subprocess.run([place.python, "-I", "-c", code], capture_output=True, text=True, check=True)
    requires = json.loads(done.stdout)
    if "torch" not in requires:
        return "", []
    cuda = sys.platform == "linux" and any(comes_with_cuda(r) for r in requires["torch"])
    return "cuda" if cuda else "cpu", ["torch", *(n for n in requires if comes_with_cuda(n))]


def install_torch(place: Place, kind: str) -> None:
    """Install the CPU or the CUDA build, replacing the other one when it is there."""
    present, packages = torch_in_venv(place)
    if present and present != kind:
        say(f"replacing the {present} build of torch by the {kind} build")
        run([place.python, "-m", "pip", "uninstall", "--yes", "--quiet", *packages])
    if kind == "cuda" or torch_from_pip(place) == "cpu":
        pip(place, "install", "--progress-bar", "off", TORCH)
        return
    say(f"pip would take the CUDA build of torch, so uv ({place.downloads().get('uv', 'small')}) fetches the CPU build")
    pip(place, "install", "--progress-bar", "off", "uv")
    uv = [place.venv / "bin" / "uv", "pip", "install", "--python", place.python, "--constraint", place.lock]
    run([*uv, "--torch-backend=cpu", TORCH])


# --- all of it --------------------------------------------------------------------------------------------------------


def install(place: Place, kind: str, dev: bool) -> None:
    """Everything into an environment that works; the stamp is written last."""
    place.stamp.unlink(missing_ok=True)
    pip(place, "install", "--quiet", "pip", "setuptools")
    install_torch(place, kind)
    target = f"{place.root}[dev]" if dev else str(place.root)
    pip(place, "install", "--progress-bar", "off", "--no-build-isolation", "--editable", target)
    stamp = {"key": place.key(), "python": venv_version(place), "torch": kind, "dev": dev}
    temporary = place.stamp.with_suffix(".tmp")
    temporary.write_text(json.dumps(stamp))
    os.replace(temporary, place.stamp)


def announce(place: Place, kind: str, dev: bool, present: dict) -> None:
    """Say beforehand how much is downloaded beyond what the stamp says is `present`."""
    sizes = place.downloads()
    parts = []
    if not present:
        parts.append(f"packages {sizes.get('core', 'unknown')}")
    if present.get("torch") != kind:
        several = "several GB, with its NVIDIA libraries"
        size = sizes.get("torch-cpu", "unknown") if kind == "cpu" else sizes.get("torch-cuda", several)
        parts.append(f"torch for {kind.upper()} {size}")
    if dev and not present.get("dev"):
        parts.append(f"tools for the tests {sizes.get('dev', 'unknown')}")
    if parts:
        say("to download, unless pip has it in its cache: " + ", ".join(parts))


def ensure(place: Place, *, switch: str, dev: bool, python_named: bool) -> bool:
    """Bring the environment to the wanted state; returns whether anything had to be done.

    Args:
        place: where.
        switch: `auto`, `cpu` or `cuda`.
        dev: with the tools for the tests.
        python_named: the user has chosen this Python, so an environment of another version is made anew.
    """
    stamp = place.installed()
    same_python = bool(stamp) and (not python_named or stamp.get("python") == VERSION)
    kind = choose_torch(switch, stamp, same_python)
    dev = dev or bool(stamp.get("dev") and same_python)  # never take the tools away again
    if same_python and stamp.get("key") == place.key() and stamp.get("torch") == kind and stamp.get("dev") == dev:
        return False
    present = venv_version(place)
    if present not in {f"{major}.{minor}" for major, minor in SUPPORTED} or (python_named and present != VERSION):
        make_venv(place)
        stamp = {}
    announce(place, kind, dev, stamp)
    install(place, kind, dev)
    return True


def say(text: str) -> None:
    """One line for the user, on stderr: stdout belongs to the command that follows."""
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    """Parse the command line and install under a lock, so that two `make` at once do not meet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--torch", choices=["auto", "cpu", "cuda"], default="auto", help="which build of torch")
    parser.add_argument("--dev", action="store_true", help="with the tools for the tests")
    parser.add_argument("--python-named", action="store_true", help="make the environment anew for another Python")
    options = parser.parse_args()
    place = Place(ROOT)
    with place.project.open() as guard:
        try:
            fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            say("another installation is running in this folder; waiting for it")
            fcntl.flock(guard, fcntl.LOCK_EX)
        try:
            done = ensure(place, switch=options.torch, dev=options.dev, python_named=options.python_named)
        except Stop as problem:
            say(f"make: {problem}")
            return 1
        except KeyboardInterrupt:
            say("interrupted: start the same command again, the installation goes on where it can")
            return 130
    if done:
        say(f"installed in {place.venv}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
