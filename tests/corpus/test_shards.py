"""Token streams: every document comes back, whatever the threads, the parts, and the moment of a kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.corpus.test_tokenizer import ANY_TEXT, TEXTS, TOKENIZER
from zen_pipeline.corpus.records import RECORD_SCHEMA, SPLITS, read_records
from zen_pipeline.corpus.texts import draw_texts, row_group_ranges, text_bytes
from zen_pipeline.corpus.tokens.shards import SplitWriter, TokenSplit, write_index, write_shards, write_split
from zen_pipeline.errors import StoreError


def write_records(path: Path, texts: list[str], *, rows: int = 7, kinds: tuple[str, ...] = ("document",)) -> Path:
    """Kept records in small row groups; splits and kinds take turns."""
    columns = {
        "id": [f"r{n}" for n in range(len(texts))],
        "text": texts,
        "split": [SPLITS[n % 5 % 3] for n in range(len(texts))],
        "kind": [kinds[n % len(kinds)] for n in range(len(texts))],
    }
    rest = {name: ["x"] * len(texts) for name in RECORD_SCHEMA.names if name not in columns}
    pq.write_table(pa.table({**columns, **rest}, schema=RECORD_SCHEMA), path, row_group_size=rows)
    return path


def digests(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir()) if p.suffix in (".bin", ".npy")}


def documents(folder: Path, split: str) -> list[str]:
    opened = TokenSplit.open(folder, split)
    found = [opened.document(i).tolist() for i in range(len(opened.bytes))]
    assert all(ids[0] == TOKENIZER.start_id for ids in found)
    return [TOKENIZER.decode(ids) for ids in found]


def lines(count: int) -> list[str]:
    return [f"Line {n} of {count}: 机器学习 {n * n} <|im_end|> {'ab' * (n % 40)}" for n in range(count)]


def test_shards_hold_every_document_behind_its_start_token(tmp_path: Path) -> None:
    counts = {name: write_split(tmp_path, name, texts, TOKENIZER) for name, texts in (("train", TEXTS), ("test", []))}
    write_index(tmp_path, TOKENIZER, counts)
    train, test = TokenSplit.open(tmp_path, "train"), TokenSplit.open(tmp_path, "test")
    assert train.tokens.dtype == np.uint16
    assert train.bytes.tolist() == [len(t.encode()) for t in TEXTS]
    for index, text in enumerate(TEXTS):
        start, *ids = train.document(index).tolist()
        assert (start, TOKENIZER.decode(ids)) == (0, text)
    assert (len(test.tokens), test.offsets.tolist(), len(test.bytes)) == (0, [0], 0)
    assert np.load(tmp_path / "token_bytes.npy").dtype == np.int32
    assert counts["train"]["tokens"] == len(train.tokens)


@settings(max_examples=30, deadline=None)
@given(st.lists(ANY_TEXT, max_size=12), st.integers(1, 5), st.integers(1, 400))
def test_any_text_comes_back_through_the_streams(texts: list[str], rows: int, part_bytes: int) -> None:
    with TemporaryDirectory() as folder:
        records = write_records(Path(folder, "records.parquet"), texts, rows=rows)
        tokens = Path(folder, "tokens")
        write_index(tokens, TOKENIZER, write_shards(records, tokens, TOKENIZER, part_bytes=part_bytes))
        for split in SPLITS:
            assert documents(tokens, split) == [r.text for r in read_records(records, split=split)]


def test_the_bytes_do_not_depend_on_how_many_parts_there_are(tmp_path: Path) -> None:
    records = write_records(tmp_path / "records.parquet", lines(200))
    counts = {size: write_shards(records, tmp_path / str(size), TOKENIZER, part_bytes=size) for size in (1, 900, 10**9)}
    assert [len(c["train"]["parts"]) for c in counts.values()] == [
        len(row_group_ranges(records, size)) for size in counts
    ]
    assert len(counts[1]["train"]["parts"]) == 29
    assert len(counts[10**9]["train"]["parts"]) == 1
    first, *others = (digests(tmp_path / str(size)) for size in counts)
    assert all(other == first for other in others)
    for split, found in counts[900].items():
        assert sum(p["tokens"] for p in found["parts"]) == found["tokens"] == len(first[f"{split}.bin"]) // 2
        assert found["sha256"] == counts[1][split]["sha256"]


def test_only_the_records_of_the_kind_are_encoded(tmp_path: Path) -> None:
    records = write_records(tmp_path / "records.parquet", lines(60), kinds=("document", "chat"))
    counts = {kind: write_shards(records, tmp_path / str(kind), TOKENIZER, kind=kind) for kind in ("chat", None)}
    total = {kind: sum(c["documents"] for c in found.values()) for kind, found in counts.items()}
    assert total == {"chat": 30, None: 60}


class Killed(BaseException):
    """Ends a run at a moment of the test's choosing, as a signal would."""


def kill_after(monkeypatch: pytest.MonkeyPatch, calls: int) -> None:
    """Let `SplitWriter.append` be called so many times before the process is 'killed' in the middle of a part."""
    real, left = SplitWriter.append, [calls]

    def append(self: SplitWriter, text: str, ids: list[int]) -> None:
        if not left[0]:
            raise Killed
        left[0] -= 1
        real(self, text, ids)

    monkeypatch.setattr(SplitWriter, "append", append)


def test_a_killed_run_goes_on_after_its_last_whole_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = write_records(tmp_path / "records.parquet", lines(200))
    write_shards(records, tmp_path / "whole", TOKENIZER, part_bytes=900)
    with monkeypatch.context() as patch:
        kill_after(patch, 100)
        with pytest.raises(Killed):
            write_shards(records, tmp_path / "resumed", TOKENIZER, part_bytes=900)
    done = json.loads((tmp_path / "resumed" / "progress.json").read_text())["row_groups"]
    assert 2 < len(done) < len(row_group_ranges(records, 900))
    left = 200 - done[-1][1] * 7
    with monkeypatch.context() as patch:
        kill_after(patch, left)  # one document more, and it would be killed again
        write_shards(records, tmp_path / "resumed", TOKENIZER, part_bytes=900)
    assert digests(tmp_path / "resumed") == digests(tmp_path / "whole")


@pytest.mark.parametrize("damage", ["stream flipped", "stream cut", "documents cut", "other parts", "progress broken"])
def test_parts_that_are_not_whole_are_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    records = write_records(tmp_path / "records.parquet", lines(200))
    write_shards(records, tmp_path / "whole", TOKENIZER, part_bytes=900)
    folder = tmp_path / "resumed"
    with monkeypatch.context() as patch:
        kill_after(patch, 100)
        with pytest.raises(Killed):
            write_shards(records, folder, TOKENIZER, part_bytes=450 if damage == "other parts" else 900)
    stream = bytearray((folder / "valid.bin").read_bytes())
    if damage == "stream flipped":
        stream[len(stream) // 3] ^= 1
        (folder / "valid.bin").write_bytes(stream)
    elif damage == "stream cut":
        (folder / "valid.bin").write_bytes(stream[:100])
    elif damage == "documents cut":
        os.truncate(folder / "train.documents", 24)
    elif damage == "progress broken":
        (folder / "progress.json").write_text('{"row_groups": [[0')
    write_shards(records, folder, TOKENIZER, part_bytes=900)
    assert digests(folder) == digests(tmp_path / "whole")


_WRITE = """
import sys
from pathlib import Path
from zen_pipeline.corpus.tokens.shards import write_shards
from zen_pipeline.corpus.tokens.tokenizer import Tokenizer
write_shards(Path(sys.argv[1]), Path(sys.argv[2]), Tokenizer.load(Path(sys.argv[3])), part_bytes=300_000)
"""


def test_kill_9_and_any_number_of_threads_give_the_same_bytes(
    tmp_path: Path, shared_data: Callable[[str], Path]
) -> None:
    text = (shared_data("wikitext-2") / "valid.txt").read_text()
    pieces = [text[i : i + 500] for i in range(0, len(text), 500)]
    records = write_records(tmp_path / "records.parquet", pieces, rows=100)
    TOKENIZER.save(tmp_path / "tokenizer")

    def start(name: str, threads: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", _WRITE, str(records), str(tmp_path / name), str(tmp_path / "tokenizer")]
        environment = {**os.environ, "RAYON_NUM_THREADS": threads, "TOKENIZERS_PARALLELISM": "true"}
        return subprocess.Popen(command, env=environment)

    for name, threads in (("one", "1"), ("four", "4")):
        assert start(name, threads).wait() == 0
    process = start("killed", "2")
    while process.poll() is None and not (tmp_path / "killed" / "progress.json").exists():
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert start("killed", "1").wait() == 0
    assert digests(tmp_path / "one") == digests(tmp_path / "four") == digests(tmp_path / "killed")
    write_index(tmp_path / "one", TOKENIZER, json.loads((tmp_path / "one" / "progress.json").read_text())["splits"])
    assert "".join(documents(tmp_path / "one", "valid")[:2]) == pieces[1] + pieces[4]


def test_a_cut_stream_is_refused(tmp_path: Path) -> None:
    write_index(tmp_path, TOKENIZER, {"train": write_split(tmp_path, "train", TEXTS, TOKENIZER)})
    path = tmp_path / "train.bin"
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(StoreError, match="does not fit"):
        TokenSplit.open(tmp_path, "train")
    with pytest.raises(StoreError, match="no readable valid tokens"):
        TokenSplit.open(tmp_path, "valid")


def test_a_sample_is_the_same_share_from_all_over_the_corpus_every_time(tmp_path: Path) -> None:
    texts = [f"{n:06d}" for n in range(4000)]
    records = write_records(tmp_path / "records.parquet", texts, rows=50)
    train = [r.text for r in read_records(records, split="train")]
    assert text_bytes(records, split="train") == 6 * len(train)
    assert list(draw_texts(records, 1.0)) == train
    drawn = list(draw_texts(records, 0.25))
    assert drawn == list(draw_texts(records, 0.25))
    assert drawn == [t for t in train if t in set(drawn)]
    assert 0.2 < len(drawn) / len(train) < 0.3
    assert 0.35 < sum(t < "002000" for t in drawn) / len(drawn) < 0.65
    assert set(draw_texts(records, 0.1)) < set(drawn)
