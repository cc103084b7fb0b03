"""MB/s per core of each step of cleaning, and what it finds; the filters of datatrove beside, if installed.

    python benchmarks/cleaning.py [FILE | python_docs]

FILE is text, divided at WikiText's headings when it has some, else at blank lines into pieces of 3,000 characters; or
anything else that a corpus can be, whose records are taken;
default: wikitext-2/train.txt below ZEN_SHARED_DATA. `python_docs` is the documentation of this Python.
"""

from __future__ import annotations

import argparse
import os
import re
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

from zen_pipeline.corpus.cleaning import Cleaner, characters, quality
from zen_pipeline.corpus.cleaning.personal import DETECTORS, find_personal
from zen_pipeline.corpus.language import identify
from zen_pipeline.corpus.python_docs.source import read_python_docs
from zen_pipeline.corpus.reading.dispatch import FilesReader
from zen_pipeline.corpus.reading.find import find_files
from zen_pipeline.corpus.reading.tables import Shape
from zen_pipeline.corpus.records import Record
from zen_pipeline.settings.data import CleanSettings

RULES = ["gopher_quality", "gopher_repetition", "c4"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(os.environ.get("ZEN_SHARED_DATA", "../shared/data")) / "wikitext-2" / "train.txt"
    parser.add_argument("file", nargs="?", default=str(default))
    texts = read_texts(parser.parse_args().file)
    size = sum(len(text.encode()) for text in texts)
    print(f"{len(texts)} texts, {size / 1e6:.1f} MB\n\n| step | MB/s | changed or found |\n|---|---|---|")
    for name, (step, inputs) in {**steps(texts), **datatrove(texts)}.items():
        for each in inputs[:20]:  # what is loaded lazily is loaded; the first ones may be empty
            step(each)
        start = time.process_time()
        found = sum(step(each) for each in inputs)
        print(f"| {name} | {size / (time.process_time() - start) / 1e6:.1f} | {found} |", flush=True)


def read_texts(name: str) -> list[str]:
    """Articles, pieces of a file, or the records of the Python documentation."""
    if name == "python_docs":
        return [record.text for record in read_python_docs([]) if isinstance(record, Record)]
    if not name.endswith(".txt"):
        entries = FilesReader(Shape("text", None, {}), "auto").read(find_files([name]).files)
        return [entry.text for entry in entries if isinstance(entry, Record)]
    whole = Path(name).read_text(encoding="utf-8")
    articles = re.split(r"\n(?= = [^=])", whole)
    if len(articles) > 1:
        return ["\n".join(line.strip() for line in article.split("\n")).strip() for article in articles]
    pieces = [""]
    for paragraph in whole.split("\n\n"):
        if len(pieces[-1]) > 3000:
            pieces.append("")
        pieces[-1] += paragraph + "\n\n"
    return pieces


def steps(texts: Sequence[str]) -> dict[str, tuple[Callable[..., int], Sequence[object]]]:
    """What is timed: a function that returns a count, and its inputs."""
    default, everything = Cleaner(CleanSettings()), Cleaner(CleanSettings(quality=RULES))
    records = [Record(str(number), "g", text, "wikitext", "und") for number, text in enumerate(texts)]
    timed: dict[str, tuple[Callable[..., int], Sequence[object]]] = {
        "encoding": (lambda text: characters.fix_encoding(text)[1], texts),
        "line ends": (lambda text: characters.fix_line_ends(text)[1], texts),
        "control characters": (lambda text: characters.remove_control(text)[1], texts),
        "invisible characters": (lambda text: characters.remove_invisible(text)[1], texts),
        "NFC": (lambda text: characters.compose(text)[1], texts),
        "language (not English)": (lambda text: identify(text).language != "en", texts),
        "personal data, all types": (lambda text: len(find_personal(text, DETECTORS)), texts),
    }
    for rules in RULES:
        judge = quality.RULES[rules]
        timed[rules.replace("_", ", ")] = (lambda text, judge=judge: bool(judge(text, "en")), texts)
    timed["C4, lines removed"] = (lambda text: quality.c4_lines(text, "en")[1], texts)
    timed["**the cleaner, default settings**"] = (lambda record: len(default.clean(record).changes), records)
    timed["**the cleaner, all rules**"] = (lambda record: bool(everything.clean(record).reason), records)
    return timed


def datatrove(texts: Sequence[str]) -> dict[str, tuple[Callable[..., int], Sequence[object]]]:
    """The filters of datatrove that do the same work; each has its own documents, as C4's changes them."""
    if find_spec("datatrove") is None:
        return {}
    from datatrove.data import Document
    from datatrove.pipeline.filters import C4QualityFilter, GopherQualityFilter, GopherRepetitionFilter

    filters = {"Gopher quality": GopherQualityFilter(), "Gopher repetition": GopherRepetitionFilter()}
    filters["C4"] = C4QualityFilter()
    return {
        f"datatrove: {name}": (
            lambda document, judge=judge: judge.filter(document) is not True,
            [Document(text=text, id=str(number)) for number, text in enumerate(texts)],
        )
        for name, judge in filters.items()
    }


if __name__ == "__main__":
    main()
