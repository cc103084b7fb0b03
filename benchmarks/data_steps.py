"""The steps of `data.py`: for each what it is, and a function for every way of doing it.

What a step reads lies in a `Place`; what it writes goes into the place's empty folder.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

VOCAB_SIZE = 16_384
WAYS = ("ours", "datasets", "datatrove", "tokenizers")


class Place(NamedTuple):
    """Where the inputs of a step lie, and an empty folder for what it writes."""

    folder: (
        Path  # rows.jsonl, .jsonl.gz, .csv, .parquet, each with id and text; paragraphs.txt with blank lines between
    )
    records: Path  # the same as kept records
    tokenizer: Path
    scratch: Path

    def rows(self, suffix: str) -> Path:
        """The rows in one format."""
        return self.folder / f"rows.{suffix}"

    @property
    def paragraphs(self) -> Path:
        """The text alone."""
        return self.folder / "paragraphs.txt"


Way = Callable[[Place], None]

# --- read: a file of some format to parquet ---------------------------------------------------------------------------


def read_ours(file: Path, place: Place) -> None:
    from zen_pipeline.corpus.reading.dispatch import FilesReader
    from zen_pipeline.corpus.reading.find import find_files
    from zen_pipeline.corpus.reading.tables import Shape
    from zen_pipeline.corpus.records import Record, record_writer

    with record_writer(place.scratch / "records.parquet") as writer:
        for entry in FilesReader(Shape("text", None, {}), "blank_lines").read(find_files([str(file)]).files):
            assert isinstance(entry, Record)
            writer.write(entry)


def read_datasets(file: Path, place: Place) -> None:
    import pyarrow.parquet as pq
    from datasets import Dataset

    cache = str(place.scratch / "cache")
    if file.suffix == ".txt":
        rows = Dataset.from_text(str(file), cache_dir=cache, sample_by="paragraph")
    else:
        read = {".csv": Dataset.from_csv, ".parquet": Dataset.from_parquet}.get(file.suffix, Dataset.from_json)
        rows = read(str(file), cache_dir=cache)
    pq.write_table(rows.data.table, place.scratch / "rows.parquet", compression="zstd")  # its own writer takes no zstd


def read_datatrove(file: Path, place: Place) -> None:
    from datatrove.pipeline import readers
    from datatrove.pipeline.writers import ParquetWriter

    reader = {".csv": readers.CSVReader, ".parquet": readers.ParquetReader}.get(file.suffix, readers.JsonlReader)
    with ParquetWriter(str(place.scratch), compression="zstd") as writer:
        for document in reader(str(file.parent), glob_pattern=file.name)():
            writer.write(document)


def _reading(suffix: str) -> dict[str, Way]:
    ways = {"ours": read_ours, "datasets": read_datasets, "datatrove": read_datatrove}
    return {name: lambda place, way=way: way(place.rows(suffix), place) for name, way in ways.items()}


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


# --- exact duplicates: parquet to which records repeat another, but for case, spaces and Unicode form -----------------


def _plain_form(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def exact_ours(place: Place) -> None:
    from zen_pipeline.corpus.duplicates.exact import exact_duplicates, text_keys
    from zen_pipeline.corpus.duplicates.normal_form import Texts, normal_form
    from zen_pipeline.corpus.texts import read_texts

    keys = [text_keys(Texts.of([normal_form(text) for text in rows.texts])) for rows in read_texts(place.records)]
    columns = np.concatenate(keys, axis=1)
    exact_duplicates(list(columns), np.arange(columns.shape[1]))


def exact_datasets(place: Place) -> None:
    from datasets import Dataset

    def key(rows: dict[str, list[str]]) -> dict[str, list[bytes]]:
        return {"key": [blake2b(_plain_form(t).encode(), digest_size=16).digest() for t in rows["text"]]}

    rows = Dataset.from_parquet(str(place.records), cache_dir=str(place.scratch / "cache"), columns=["text"])
    keys = rows.map(key, batched=True, remove_columns=["text"], load_from_cache_file=False, keep_in_memory=True)
    keys.to_pandas().duplicated()


def exact_datatrove(place: Place) -> None:
    from datatrove.data import Document
    from datatrove.pipeline.dedup import ExactDedupSignature, ExactFindDedups
    from datatrove.pipeline.dedup.exact_dedup import ExactDedupConfig

    def content(document: Document) -> str:
        return _plain_form(document.text)

    content.__annotations__["return"] = str  # it is asked for the class
    config = ExactDedupConfig(content_getter=content)
    signatures = str(place.scratch / "signatures")
    ExactDedupSignature(signatures, config).run(_documents(place))
    ExactFindDedups(signatures, str(place.scratch / "found"), config).run()


# --- near duplicates: parquet to which records go ---------------------------------------------------------------------


def near_ours(place: Place) -> None:
    from zen_pipeline.corpus.duplicates.minhash import MinHash, SignatureFiles
    from zen_pipeline.corpus.duplicates.normal_form import Texts, normal_form
    from zen_pipeline.corpus.texts import read_texts
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
    from zen_pipeline.corpus.tokens.tokenizer import Tokenizer

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
    from zen_pipeline.corpus.tokens.shards import write_index, write_shards
    from zen_pipeline.corpus.tokens.tokenizer import Tokenizer

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


# --- train-tokenizer: parquet to a byte-level BPE ---------------------------------------------------------------------


def train_ours(place: Place) -> None:
    from zen_pipeline.corpus.texts import draw_texts
    from zen_pipeline.corpus.tokens.tokenizer import train_tokenizer

    train_tokenizer(draw_texts(place.records, 1.0), VOCAB_SIZE).save(place.scratch)


def train_plain(place: Place) -> None:
    import pyarrow.parquet as pq
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

    from zen_pipeline.corpus.tokens.tokenizer import QWEN2_PATTERN, SPECIAL_TOKENS

    raw = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(QWEN2_PATTERN), behavior="isolated")
    raw.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(False, use_regex=False)])
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = list(SPECIAL_TOKENS)
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    raw.train_from_iterator(pq.read_table(place.records, columns=["text"]).column("text").to_pylist(), trainer)
    raw.save(str(place.scratch / "tokenizer.json"))


class Step(NamedTuple):
    """What is timed: what it does, in words, and the ways of doing it."""

    what: str
    ways: dict[str, Way]


STEPS = {
    "read": Step("JSON lines to parquet", _reading("jsonl")),
    "read-gz": Step("JSON lines with gzip to parquet", _reading("jsonl.gz")),
    "read-csv": Step("CSV to parquet", _reading("csv")),
    "read-parquet": Step("parquet to parquet", _reading("parquet")),
    "read-text": Step(
        "plain text to parquet, at blank lines",
        {"ours": lambda p: read_ours(p.paragraphs, p), "datasets": lambda p: read_datasets(p.paragraphs, p)},
    ),
    "repair": Step(
        "characters and encoding; ours with the language", {"ours": repair_ours, "datatrove": repair_datatrove}
    ),
    "personal": Step("e-mail and IP addresses replaced", {"ours": personal_ours, "datatrove": personal_datatrove}),
    "gopher": Step("quality and repetition rules", {"ours": gopher_ours, "datatrove": gopher_datatrove}),
    "c4": Step("rules and lines", {"ours": c4_ours, "datatrove": c4_datatrove}),
    "exact": Step(
        "exact duplicates, but for case, spaces and Unicode form",
        {"ours": exact_ours, "datasets": exact_datasets, "datatrove": exact_datatrove},
    ),
    "near": Step("near duplicates by MinHash of 5-grams", {"ours": near_ours, "datatrove": near_datatrove}),
    "train-tokenizer": Step(f"BPE of {VOCAB_SIZE:,} ids", {"ours": train_ours, "tokenizers": train_plain}),
    "encode": Step("parquet to token ids in memory", {"ours": encode_ours, "datasets": encode_datasets}),
    "tokenize": Step(
        "parquet to token files",
        {"ours": tokenize_ours, "datasets": tokenize_datasets, "datatrove": tokenize_datatrove},
    ),
}
