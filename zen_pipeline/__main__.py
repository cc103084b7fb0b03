"""The `zen` command, also as `python -m zen_pipeline`."""

import os
import sys


def main() -> None:
    """Run the command, with no module of the user's folder in the place of Python's own."""
    _forget_working_folder()
    from zen_pipeline.cli import main as run

    run()


def _forget_working_folder() -> None:
    """Import nothing from the working folder from now on, here and in all children.

    It stays where this package itself lies in it, or where `PYTHONPATH` names it.
    """
    os.environ["PYTHONSAFEPATH"] = "1"
    try:
        here = os.getcwd()
    except OSError:  # it was removed
        return
    named = [place for place in os.environ.get("PYTHONPATH", "").split(os.pathsep) if place]
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    if here not in {package, *map(os.path.abspath, named)}:
        sys.path[:] = [place for place in sys.path if os.path.abspath(place) != here]


if __name__ == "__main__":
    main()
