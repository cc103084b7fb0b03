"""Zen Pipeline: from text that you own to language models that you can trust, again and again."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("zen-pipeline")
except PackageNotFoundError:  # running from a source tree that was never installed
    __version__ = "0.0.0"
