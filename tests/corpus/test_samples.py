"""The samples that are shipped are read without a word of configuration."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from zen_pipeline.config import load_config
from zen_pipeline.corpus.records import read_records
from zen_pipeline.stages import collect
from zen_pipeline.stages.base import StageContext
from zen_pipeline.workspace import Workspace

SAMPLES = Path(__file__).resolve().parents[2] / "data" / "samples"


def test_every_sample_becomes_records_and_nothing_is_set_aside(workspace: Workspace) -> None:
    ref = collect.run(load_config(data=[str(SAMPLES)]), {}, StageContext(workspace, "run"))
    records = list(read_records(ref.path / "records.parquet"))
    assert ref.summary["aside"] == 0
    assert Counter(r.kind for r in records)["chat"] == 5
    assert {Path(r.source).name for r in records} == {p.name for p in SAMPLES.iterdir()}
    assert {r.language for r in records} >= {"en", "zh"}
