"""Repair of characters: how many right documents it changes (none should), and how many broken ones it makes right.

    python benchmarks/repair.py [FOLDER]

FOLDER holds `xquad` (paragraphs in German, English, Spanish and Chinese), `tatoeba-anki` (French sentences, here twenty
to a document), `wikitext-2` and `kdconv`. Broken are documents with letters beyond ASCII: their UTF-8 read as
Windows-1252 or Latin-1, and, where it can hold them, Windows-1252 read as Latin-1.
"""

from __future__ import annotations

import argparse
import json
import os
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from cleaning import read_texts

from zen_pipeline.corpus.cleaning import characters

STEPS: dict[str, characters.Step] = {
    "encoding": characters.fix_encoding,
    "line ends": characters.fix_line_ends,
    "control": characters.remove_control,
    "invisible": characters.remove_invisible,
    "NFC": characters.compose,
}
SENTENCES = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(os.environ.get("ZEN_SHARED_DATA", "../shared/data"))
    parser.add_argument("folder", nargs="?", type=Path, default=default)
    folder = parser.parse_args().folder
    print("| documents | number | changed by `encoding` | by other steps | " + " | ".join(ACCIDENTS) + " |")
    print("|---" * (4 + len(ACCIDENTS)) + "|")
    for name, texts in documents(folder).items():
        changes, changed = Counter[str](), []
        for text in texts:
            if characters.repair(text, STEPS, steps := Counter()) != text:
                changes.update(dict.fromkeys(steps, 1))
                changed.append(text)
        others = ", ".join(f"{step} {count}" for step, count in changes.items() if step != "encoding") or "0"
        right = [made_right(texts, accident) for accident in ACCIDENTS.values()]
        print(f"| {name} | {len(texts):,} | {changes['encoding']} | {others} | " + " | ".join(right) + " |", flush=True)
        for text in changed[:5]:
            print(f"    changed: {text[:100]!r}")


def documents(folder: Path) -> dict[str, list[str]]:
    """By name the right documents."""
    found = {}
    for language in ("de", "en", "es", "zh"):
        articles = json.loads((folder / "xquad" / f"xquad.{language}.json").read_text(encoding="utf-8"))["data"]
        found[f"XQuAD, {language}"] = [p["context"] for article in articles for p in article["paragraphs"]]
    with zipfile.ZipFile(folder / "tatoeba-anki" / "fra-eng.zip") as archive:
        lines = [line.split("\t")[1] for line in archive.read("fra.txt").decode("utf-8").strip().split("\n")]
    found["Tatoeba, fr"] = ["\n".join(lines[n : n + SENTENCES]) for n in range(0, len(lines), SENTENCES)]
    found["WikiText-2, en"] = read_texts(str(folder / "wikitext-2" / "train.txt"))
    found["KdConv, zh"] = read_texts(str(folder / "kdconv"))
    return found


def _as_windows(data: bytes) -> str:
    """Bytes as Windows-1252, the five that it lacks as controls."""
    return "".join(bytes([byte]).decode("cp1252", "ignore") or chr(byte) for byte in data)


# What happens to a text; an empty one where it cannot.
ACCIDENTS: dict[str, Callable[[str], str]] = {
    "UTF-8 as Windows-1252": lambda text: _as_windows(text.encode()),
    "UTF-8 as Latin-1": lambda text: text.encode().decode("latin-1"),
    "Windows-1252 as Latin-1": lambda text: text.encode("cp1252", "ignore").decode("latin-1"),
}


def made_right(texts: list[str], accident: Callable[[str], str]) -> str:
    """`made right of broken`."""
    broken = [(text, accident(text)) for text in texts if not text.isascii()]
    broken = [(text, shown) for text, shown in broken if shown != text and len(shown) >= len(text)]
    right = sum(characters.repair(shown, STEPS, Counter()) == text for text, shown in broken)
    return f"{right:,} of {len(broken):,}"


if __name__ == "__main__":
    main()
