"""MB/s per core of the steps from a file to tokens, beside `datasets` and datatrove where they do the same work.

    python benchmarks/data.py [FILE] [--steps read near encode] [--repeats 3]

FILE is a text in WikiText's form; default: wikitext-2/train.txt below ZEN_SHARED_DATA. Every figure comes from a
process of its own with one thread on one core: UTF-8 bytes of text by seconds of processor time, the best of
the repeats after one run that loads what is loaded lazily. What is not installed is left out. To add a step, write a
function for each way of doing it and name them in `STEPS`.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np

VOCAB_SIZE = 16_384


class Place(NamedTuple):
    """Where the inputs of a step lie, and an empty folder for what it writes."""

    rows: Path  # one JSON object with id and text per line
    records: Path  # the same as kept records
    tokenizer: Path
    scratch: Path


# --- read: JSON lines to parquet --------------------------------------------------------------------------------------


def read_ours(place: Place) -> None:
    from zen_pipeline.corpus.files import find_files
    from zen_pipeline.corpus.reading import FilesReader
    from zen_pipeline.corpus.records import Record, record_writer
    from zen_pipeline.corpus.tables import Shape

    with record_writer(place.scratch / "records.parquet") as writer:
        for entry in FilesReader(Shape("text", None, {}), "auto").read(find_files([str(place.rows)]).files):
            assert isinstance(entry, Record)
            writer.write(entry)


def read_datasets(place: Place) -> None:
    from datasets import Dataset

    rows = Dataset.from_json(str(place.rows), cache_dir=str(place.scratch / "cache"))
    rows.to_parquet(place.scratch / "rows.parquet")


def read_datatrove(place: Place) -> None:
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.pipeline.writers import ParquetWriter

    with ParquetWriter(str(place.scratch), compression="zstd") as writer:
        for document in JsonlReader(str(place.rows.parent), glob_pattern=place.rows.name)():
            writer.write(document)


# --- cleaning: parquet to texts, or to how many meet the rules --------------------------------------------------------


def _texts(place: Place) -> Iterator[str]:
    from zen_pipeline.corpus.texts import read_texts

    for rows in read_texts(place.records):
        yield from rows.texts


def _documents(place: Place) -> Any:
    from datatrove.pipeline.readers import ParquetReader

    return ParquetReader(str(place.records.parent), glob_pattern=place.records.name)()


def repair_ours(place: Place) -> None:
    from zen_pipeline.corpus.cleaning import Cleaner
    from zen_pipeline.corpus.records import read_records
    from zen_pipeline.settings.data import CleanSettings

    cleaner = Cleaner(CleanSettings(personal_data="ignore"))
    for record in read_records(place.records):
        cleaner.clean(record)


def repair_datatrove(place: Place) -> None:
    from datatrove.pipeline.formatters import FTFYFormatter

    for _ in FTFYFormatter().run(_documents(place)):
        pass


def personal_ours(place: Place) -> None:
    from zen_pipeline.corpus.cleaning.personal import find_personal, replace_personal

    for text in _texts(place):
        replace_personal(text, find_personal(text, ("email", "ip")))


def personal_datatrove(place: Place) -> None:
    from datatrove.pipeline.formatters import PIIFormatter

    for _ in PIIFormatter().run(_documents(place)):
        pass


def _rules_ours(place: Place, *names: str) -> None:
    from zen_pipeline.corpus.cleaning import quality

    for text in _texts(place):
        for name in names:
            quality.RULES[name](text, "en")


def gopher_ours(place: Place) -> None:
    _rules_ours(place, "gopher_quality", "gopher_repetition")


def gopher_datatrove(place: Place) -> None:
    from datatrove.pipeline.filters import GopherQualityFilter, GopherRepetitionFilter

    judges = GopherQualityFilter(), GopherRepetitionFilter()
    for document in _documents(place):
        for judge in judges:
            judge.filter(document)


def c4_ours(place: Place) -> None:
    from zen_pipeline.corpus.cleaning import quality

    for text in _texts(place):
        quality.RULES["c4"](quality.c4_lines(text, "en")[0], "en")


def c4_datatrove(place: Place) -> None:
    from datatrove.pipeline.filters import C4QualityFilter

    judge = C4QualityFilter()
    for document in _documents(place):
        judge.filter(document)


# --- near duplicates: parquet to which records go ---------------------------------------------------------------------


def near_ours(place: Place) -> None:
    from zen_pipeline.corpus.near_duplicates import MinHash, SignatureFiles
    from zen_pipeline.corpus.texts import read_texts
    from zen_pipeline.corpus.units import Texts, normal_form
    from zen_pipeline.settings.data import NearDuplicatesConfig

    minhash = MinHash(NearDuplicatesConfig())
    with SignatureFiles(place.scratch / "signatures", minhash) as signatures:
        count = 0
        for rows in read_texts(place.records):
            signatures.add(minhash.sign(Texts.of([normal_form(text) for text in rows.texts])), count)
            count += len(rows.texts)
        signatures.find(np.ones(count, bool), np.arange(count))


def near_datatrove(place: Place) -> None:
    from datatrove.pipeline.dedup import MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupSignature
    from datatrove.pipeline.dedup.minhash import MinhashConfig

    config = MinhashConfig()
    signatures, buckets = str(place.scratch / "signatures"), str(place.scratch / "buckets")
    MinhashDedupSignature(signatures, config).run(_documents(place))
    for bucket in range(config.num_buckets):
        MinhashDedupBuckets(signatures, buckets, config=config).run(None, bucket, config.num_buckets)
    MinhashDedupCluster(buckets, str(place.scratch / "removed"), config).run(None, 0, 1)


# --- encode: parquet to token ids in memory ---------------------------------------------------------------------------


def encode_ours(place: Place) -> None:
    from zen_pipeline.corpus.texts import read_texts
    from zen_pipeline.corpus.tokenizer import Tokenizer

    tokenizer = Tokenizer.load(place.tokenizer)
    for rows in read_texts(place.records):
        tokenizer.encode_batch(rows.texts)


def encode_datasets(place: Place) -> None:
    _mapped(place, keep_in_memory=True)


def _mapped(place: Place, **options: Any) -> Any:
    from datasets import Dataset
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(place.tokenizer / "tokenizer.json"))

    def encode(rows: dict[str, list[str]]) -> dict[str, list[list[int]]]:
        return {"ids": [e.ids for e in tokenizer.encode_batch_fast(rows["text"], add_special_tokens=False)]}

    rows = Dataset.from_parquet(str(place.records), cache_dir=str(place.scratch / "cache"))
    return rows.map(encode, batched=True, remove_columns=rows.column_names, load_from_cache_file=False, **options)


# --- tokenize: parquet to token files ---------------------------------------------------------------------------------


def tokenize_ours(place: Place) -> None:
    from zen_pipeline.corpus.shards import write_index, write_shards
    from zen_pipeline.corpus.tokenizer import Tokenizer

    tokenizer = Tokenizer.load(place.tokenizer)
    write_index(place.scratch, tokenizer, write_shards(place.records, place.scratch, tokenizer))


def tokenize_datasets(place: Place) -> None:
    _mapped(place, keep_in_memory=True).save_to_disk(place.scratch / "tokens")


def tokenize_datatrove(place: Place) -> None:
    from datatrove.pipeline.readers import ParquetReader
    from datatrove.pipeline.tokens import DocumentTokenizer

    reader = ParquetReader(str(place.records.parent), glob_pattern=place.records.name)
    model = str(place.tokenizer / "tokenizer.json")
    DocumentTokenizer(str(place.scratch), model, shuffle_documents=False, save_filename="tokens").run(reader())


def train_ours(place: Place) -> None:
    from zen_pipeline.corpus.texts import draw_texts
    from zen_pipeline.corpus.tokenizer import train_tokenizer

    train_tokenizer(draw_texts(place.records, 1.0), VOCAB_SIZE)


Way = Callable[[Place], None]
STEPS: dict[str, dict[str, Way]] = {
    "read": {"ours": read_ours, "datasets": read_datasets, "datatrove": read_datatrove},
    "repair": {"ours": repair_ours, "datatrove": repair_datatrove},
    "personal": {"ours": personal_ours, "datatrove": personal_datatrove},
    "gopher": {"ours": gopher_ours, "datatrove": gopher_datatrove},
    "c4": {"ours": c4_ours, "datatrove": c4_datatrove},
    "near": {"ours": near_ours, "datatrove": near_datatrove},
    "train-tokenizer": {"ours": train_ours},
    "encode": {"ours": encode_ours, "datasets": encode_datasets},
    "tokenize": {"ours": tokenize_ours, "datasets": tokenize_datasets, "datatrove": tokenize_datatrove},
}
WHAT = {
    "read": "JSON lines to parquet",
    "repair": "characters and encoding; ours with the language",
    "personal": "e-mail and IP addresses replaced",
    "gopher": "quality and repetition rules",
    "c4": "rules and lines",
    "near": "near duplicates by MinHash of 5-grams",
    "train-tokenizer": f"BPE of {VOCAB_SIZE:,} ids",
    "encode": "parquet to token ids in memory",
    "tokenize": "parquet to token files",
}


# --- measuring --------------------------------------------------------------------------------------------------------

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
        STEPS[step][way](place)
        times.append(time.process_time() - start)
    return min(times[1:])


def prepare(file: Path, folder: Path) -> tuple[Place, int]:
    """The inputs of all steps, and how many bytes of text they hold."""
    from zen_pipeline.corpus.records import Record, record_writer
    from zen_pipeline.corpus.texts import text_bytes

    place = Place(folder / "rows.jsonl", folder / "records.parquet", folder / "tokenizer", folder / "scratch")
    articles = re.split(r"\n(?= = [^=])", file.read_text(encoding="utf-8"))
    with record_writer(place.records) as writer, place.rows.open("w", encoding="utf-8") as rows:
        for number, text in enumerate(articles):
            rows.write(json.dumps({"id": str(number), "text": text}) + "\n")
            writer.write(Record(str(number), str(number), text, "wikitext", "en", "train"))
    from zen_pipeline.corpus.tokenizer import train_tokenizer

    train_tokenizer(articles, VOCAB_SIZE).save(place.tokenizer)
    return place, text_bytes(place.records)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(os.environ.get("ZEN_SHARED_DATA", "../shared/data")) / "wikitext-2" / "train.txt"
    parser.add_argument("file", nargs="?", type=Path, default=default)
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=list(STEPS))
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()

    ways = [w for w in ("ours", "datasets", "datatrove") if w == "ours" or find_spec(w)]
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
                if way not in STEPS[step]:
                    cells.append("")
                    continue
                with spawn.Pool(1) as pool:
                    seconds = pool.apply(measure, (step, way, place, arguments.repeats))
                cells.append(f"{size / seconds / 1e6:.1f}")
            print(f"| {step} | {WHAT[step]} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
