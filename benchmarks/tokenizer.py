"""What decides a tokenizer: how much text it is trained on, and how text is split before it merges.

    python benchmarks/tokenizer.py size [--megabytes 1 3 10 30 100]
    python benchmarks/tokenizer.py split ENGLISH_TRAIN ENGLISH_TEST CHINESE_TRAIN CHINESE_TEST

`size` trains on more and more of the Python source files of this installation and measures files that are in none of
the samples. `split` trains on both languages at once and compares patterns for what may be merged at all.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import resource
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path

from zen_pipeline.corpus.reading.dispatch import FilesReader
from zen_pipeline.corpus.reading.find import find_files
from zen_pipeline.corpus.reading.tables import Shape
from zen_pipeline.corpus.records import Record
from zen_pipeline.corpus.tokens import tokenizer as module
from zen_pipeline.corpus.tokens.tokenizer import Tokenizer, train_tokenizer

VOCAB_SIZE = 16_384


def source_files() -> list[Path]:
    """All Python files of the standard library and the installed packages, shuffled always alike."""
    roots = {sysconfig.get_paths()["stdlib"], sysconfig.get_paths()["purelib"]}
    found = sorted({path for root in roots for path in Path(root).rglob("*.py")}, key=str)
    random.Random(0).shuffle(found)
    return found


def texts_of(files: list[Path], size: float) -> Iterator[str]:
    """Their texts, until so many bytes are reached."""
    for path in files:
        text = path.read_text(encoding="utf-8", errors="ignore")
        yield text
        size -= len(text.encode())
        if size <= 0:
            return


def train_on(megabytes: float) -> tuple[float, float, float, float]:
    """Megabytes that there were, seconds, peak MiB of the process, and bytes per token of held-out files."""
    files = source_files()
    held_out, files = list(texts_of(files[:2000], 5e6)), files[2000:]
    texts = list(texts_of(files, megabytes * 1e6))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    trained = train_tokenizer(iter(texts), VOCAB_SIZE)
    seconds = time.process_time() - start
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    return sum(len(t.encode()) for t in texts) / 1e6, seconds, peak, bytes_per_token(trained, held_out)


def bytes_per_token(tokenizer: Tokenizer, texts: list[str]) -> float:
    return sum(len(t.encode()) for t in texts) / sum(map(len, tokenizer.encode_batch(texts)))


def size(megabytes: list[float]) -> None:
    print("| trained on, MB | processor seconds | memory beyond the text, MiB | bytes per token, held out |")
    print("|---|---|---|---|")
    spawn = multiprocessing.get_context("spawn")
    for wanted in megabytes:
        with spawn.Pool(1) as pool:
            found, seconds, peak, ratio = pool.apply(train_on, (wanted,))
        print(f"| {found:.1f} | {seconds:.1f} | {peak:.0f} | {ratio:.3f} |", flush=True)


# --- how text is split ------------------------------------------------------------------------------------------------

_QWEN2 = module.QWEN2_PATTERN
_NO_HAN = _QWEN2.replace(r"\p{L}+", r"[\p{L}&&[^\p{Han}]]+")
PATTERNS = {
    "Qwen2's, ours": _QWEN2,
    "digits in groups of up to three": _QWEN2.replace(r"|\p{N}|", r"|\p{N}{1,3}|"),
    "runs of Han by themselves": r"\p{Han}+|" + _NO_HAN,
    "single Han characters": r"\p{Han}|" + _NO_HAN,
}


def read(path: str) -> list[str]:
    """The texts of the records in a file or folder."""
    entries = FilesReader(Shape("text", None, {}), "auto").read(find_files([path]).files)
    return [entry.text for entry in entries if isinstance(entry, Record)]


def split(english: tuple[str, str], chinese: tuple[str, str]) -> None:
    (train_en, test_en), (train_zh, test_zh) = ([read(p) for p in pair] for pair in (english, chinese))
    print("| pattern | English, bytes per token | Chinese, characters per token | ids of 4 or more Han |")
    print("|---|---|---|---|")
    for name, pattern in PATTERNS.items():
        module.QWEN2_PATTERN = pattern
        trained = train_tokenizer([*train_en, *train_zh], VOCAB_SIZE)
        characters = sum(map(len, test_zh)) / sum(map(len, trained.encode_batch(test_zh)))
        long = sum(_han(trained.decode([i])) >= 4 for i in range(trained.vocab_size))
        print(f"| {name} | {bytes_per_token(trained, test_en):.3f} | {characters:.3f} | {long:,} |", flush=True)


def _han(text: str) -> int:
    return sum("\u4e00" <= character <= "\u9fff" for character in text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    sizes = commands.add_parser("size")
    sizes.add_argument("--megabytes", type=float, nargs="+", default=[1, 3, 10, 30, 100])
    splits = commands.add_parser("split")
    for name in ("english_train", "english_test", "chinese_train", "chinese_test"):
        splits.add_argument(name)
    arguments = parser.parse_args()
    if arguments.command == "size":
        size(arguments.megabytes)
    else:
        split((arguments.english_train, arguments.english_test), (arguments.chinese_train, arguments.chinese_test))


if __name__ == "__main__":
    main()
