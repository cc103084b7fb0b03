"""Zen Pipeline: from text that you own to language models that you can trust, again and again."""


def __getattr__(name: str) -> str:
    """`__version__`, looked up when it is asked for."""
    if name != "__version__":
        raise AttributeError(name)
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("zen-pipeline")
    except PackageNotFoundError:  # running from a source tree that was never installed
        return "0.0.0"
