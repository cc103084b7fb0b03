"""MB/s per core of the steps from a file to tokens, beside `datasets` and datatrove where they do the same work.

    python benchmarks/data.py [FILE] [--steps read near encode] [--repeats 3]

FILE is a text in WikiText's form; default: wikitext-2/train.txt below ZEN_SHARED_DATA. Every figure comes from a
process of its own with one thread on one core: UTF-8 bytes of text by seconds of processor time, the best of
the repeats after one run that loads what is loaded lazily. What is not installed is left out. The steps, and the ways
of doing each, are in `data_steps.py`.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import multiprocessing
import os
import re
import shutil
import time
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from data_steps import STEPS, VOCAB_SIZE, WAYS, Place

_ONE_THREAD = dict.fromkeys(("RAYON_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def measure(step: str, way: str, place: Place, repeats: int) -> float:
    """Processor seconds of the fastest run, measured in this process."""
    import pyarrow

    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    pyarrow.set_cpu_count(1)
    times = []
    for _ in range(repeats + 1):
        shutil.rmtree(place.scratch, ignore_errors=True)
        place.scratch.mkdir()
        start = time.process_time()
        STEPS[step].ways[way](place)
        times.append(time.process_time() - start)
    return min(times[1:])


def prepare(file: Path, folder: Path) -> tuple[Place, int]:
    """The inputs of all steps, and how many bytes of text they hold."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from zen_pipeline.corpus.records import Record, record_writer
    from zen_pipeline.corpus.texts import text_bytes

    place = Place(folder, folder / "records.parquet", folder / "tokenizer", folder / "scratch")
    articles = re.split(r"\n(?= = [^=])", file.read_text(encoding="utf-8"))
    with record_writer(place.records) as writer:
        for number, text in enumerate(articles):
            writer.write(Record(str(number), str(number), text, "wikitext", "en", "train"))
    rows = [{"id": str(number), "text": text} for number, text in enumerate(articles)]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    place.rows("jsonl").write_text(lines, encoding="utf-8")
    place.rows("jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    with place.rows("csv").open("w", encoding="utf-8", newline="") as table:
        writer_of_rows = csv.DictWriter(table, ["id", "text"])
        writer_of_rows.writeheader()
        writer_of_rows.writerows(rows)
    pq.write_table(pa.Table.from_pylist(rows), place.rows("parquet"))
    paragraphs = (line.strip() for text in articles for line in text.split("\n"))
    place.paragraphs.write_text("\n\n".join(filter(None, paragraphs)), encoding="utf-8")
    from zen_pipeline.corpus.tokens.tokenizer import train_tokenizer

    train_tokenizer(articles, VOCAB_SIZE).save(place.tokenizer)
    return place, text_bytes(place.records)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(os.environ.get("ZEN_SHARED_DATA", "../shared/data")) / "wikitext-2" / "train.txt"
    parser.add_argument("file", nargs="?", type=Path, default=default)
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=list(STEPS))
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()

    ways = [w for w in WAYS if w == "ours" or find_spec(w)]
    os.environ.update(
        _ONE_THREAD, TOKENIZERS_PARALLELISM="false", HF_HUB_OFFLINE="1", HF_DATASETS_DISABLE_PROGRESS_BARS="1"
    )
    spawn = multiprocessing.get_context("spawn")  # the children read the environment when they load their libraries
    with TemporaryDirectory() as folder:
        place, size = prepare(arguments.file, Path(folder))
        print(f"{size / 1e6:.1f} MB of text; MB/s of one core\n\n| step | what | {' | '.join(ways)} |")
        print("|---" * (len(ways) + 2) + "|")
        for step in arguments.steps:
            cells = []
            for way in ways:
                if way not in STEPS[step].ways:
                    cells.append("")
                    continue
                with spawn.Pool(1) as pool:
                    seconds = pool.apply(measure, (step, way, place, arguments.repeats))
                cells.append(f"{size / seconds / 1e6:.1f}")
            print(f"| {step} | {STEPS[step].what} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
