"""Writes the README's pictures from the report of a run in this workspace: docs/images/measured.svg and training.svg.

python tools/picture.py [RUN]     # as `zen runs` lists it; default: the last one that was evaluated
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from zen_pipeline.blocks import Bars, Block, Curves, Section
from zen_pipeline.errors import DataError, ZenError
from zen_pipeline.files import read_json_lines
from zen_pipeline.reporting.evaluation_page import read_reports
from zen_pipeline.reporting.rendering import picture
from zen_pipeline.reporting.shared_sections import training_section
from zen_pipeline.workspace import RunRecord, Workspace

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"


def main(arguments: Sequence[str]) -> None:
    """Write both pictures of the run that the arguments name.

    Raises:
        DataError: there is no such run, or it evaluated nothing.
    """
    workspace = Workspace.find()
    wanted = arguments[0] if arguments else None
    for record in reversed(workspace.runs()):
        blocks = list(_blocks(record, workspace)) if wanted in (None, record.run_id) else []
        bars = next((block for block in blocks if isinstance(block, Bars)), None)
        if bars is None:
            continue
        IMAGES.mkdir(parents=True, exist_ok=True)
        for name, chart in ("measured", bars), ("training", next(b for b in blocks if isinstance(b, Curves))):
            (IMAGES / f"{name}.svg").write_text(picture(chart) or "", encoding="utf-8")
            print(f"{IMAGES / name}.svg: {record.run_id}")
        return
    raise DataError(f"{workspace.home}: {f'run {wanted!r}' if wanted else 'every run'} is without an evaluation")


def _blocks(record: RunRecord, workspace: Workspace) -> Iterator[Block]:
    """What the run's report shows, its models' evaluations and their trainings, in the order of the chain."""
    sections: list[Section] = []
    for stage in record.stages:
        ref = workspace.store.find(stage.name, stage.fingerprint) if stage.fingerprint else None
        if ref is None:
            continue
        sections += [section for report in read_reports(ref.path).values() for section in report.sections]
        if history := read_json_lines(ref.path / "history.jsonl", missing_ok=True):
            sections.append(training_section({stage.step: (history, {})}))
    for section in sections:
        yield from section.blocks


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except ZenError as error:
        sys.exit(str(error))
