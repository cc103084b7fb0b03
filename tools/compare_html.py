"""Compares ways to turn HTML into text on the pages of a folder: speed, and how many words are kept.

python tools/compare_html.py FOLDER
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path

from zen_pipeline.corpus.reading.html import html_to_text

SMALLEST = 20_000  # bytes: shorter pages are mostly redirects
PAGES = 200


class _Bare(HTMLParser):
    """All text of a page, without any layout."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []

    def handle_data(self, data: str) -> None:
        self.parts.append(data)


def bare(page: str) -> str:
    """The standard library's parser."""
    parser = _Bare()
    parser.feed(page)
    parser.close()
    return "".join(parser.parts)


def main(folder: Path) -> None:
    """Print one line for each way."""
    files = [path for path in sorted(folder.rglob("*.html")) if path.stat().st_size >= SMALLEST][:PAGES]
    pages = [path.read_text(encoding="utf-8", errors="replace") for path in files]
    megabytes = sum(len(page.encode()) for page in pages) / 1e6
    ways: dict[str, Callable[[str], str]] = {"html_to_text": html_to_text, "html.parser": bare}
    if find_spec("trafilatura") is not None:
        import trafilatura  # type: ignore[import-not-found]

        ways["trafilatura"] = lambda page: trafilatura.extract(page, favor_recall=True, output_format="markdown") or ""
    for name, convert in ways.items():
        began = time.perf_counter()
        words = sum(len(convert(page).split()) for page in pages)
        seconds = time.perf_counter() - began
        print(f"{name}: {len(pages)} pages, {megabytes:.1f} MB, {megabytes / seconds:.1f} MB/s, {words:,} words")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
