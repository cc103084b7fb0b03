"""Judge the validated records: their measures, the whole corpus, and how far it drifted from the last accepted one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zen_pipeline.artifacts import ArtifactRef
from zen_pipeline.blocks import Table, phrase
from zen_pipeline.config import Config
from zen_pipeline.corpus.expectations.findings import Finding, set_aside_finding
from zen_pipeline.corpus.expectations.judge import Judge
from zen_pipeline.corpus.expectations.suites import DATA_SUITES, KIND_SUITES, ROW_SUITES, Entry
from zen_pipeline.corpus.profile.drift import drift_frame, largest_moves
from zen_pipeline.corpus.profile.profile import PROFILE_FILE, Profile
from zen_pipeline.corpus.records import excerpt, read_columns
from zen_pipeline.files import file_digest, files_named
from zen_pipeline.judging.judgement import Outcome, Suites, judged
from zen_pipeline.judging.personal_tables import cleaning_tables, detector_tables
from zen_pipeline.pipeline.stage import Inputs, StageContext
from zen_pipeline.reporting.data_page import DataReport, Drift, Reason, data_page
from zen_pipeline.workspace import Workspace

if TYPE_CHECKING:
    import pandas as pd

_EXAMPLES = 3
_TABLE_ROWS = 30
# Columns with few different texts, which are stored once each.
_FEW = ("kind", "split", "language", "reason", "source", "duplicate_of", "classification.label")


def judge_data(config: Config, inputs: Inputs, ref: ArtifactRef, context: StageContext) -> ArtifactRef:
    """The validate artifact with its verdict.

    Raises:
        ValidationFailed: the data must not be used.
    """
    baseline = last_accepted(context.workspace, config.name, ref.fingerprint)
    labelled = files_named(config.validate_.personal_labels, "validate.personal_labels")
    return judged(
        ref,
        config,
        context,
        suites=DATA_SUITES,
        judge=_DataJudge(config, ref, inputs["collect"], baseline, labelled).judge,
        what="the data",
        extra={
            "inputs.compared_with": baseline.name if baseline else "",
            **{f"sources.personal_labels.{path.name}": file_digest(path) for path in labelled},
        },
    )


def last_accepted(workspace: Workspace, pipeline: str, fingerprint: str) -> Path | None:
    """The folder of the records that this pipeline accepted last, other than those of this fingerprint; None for none.

    A run is on record with its `validate` only when no expectation stopped it.
    """
    for record in reversed(workspace.runs(pipeline)):
        for done in record.stages:
            if done.name != "validate" or not done.fingerprint or done.status == "failed":
                continue
            folder = workspace.store.folder("validate", done.fingerprint)
            if done.fingerprint != fingerprint and (folder / PROFILE_FILE).is_file():
                return folder
    return None


class _DataJudge:
    """The measures, the corpus and the drift of one artifact, judged by the suites of the data."""

    def __init__(
        self, config: Config, ref: ArtifactRef, collected: ArtifactRef, baseline: Path | None, labelled: list[Path]
    ) -> None:
        self._config, self._ref, self._collected, self._baseline = config, ref, collected, baseline
        self._labelled, self._folder = labelled, ref.path

    def judge(self, asked: Judge, suites: Suites) -> Outcome:
        frame = self._frame(suites)
        drift = None if self._baseline is None else drift_frame(Profile.load(self._baseline), self._profile)
        findings: list[Finding] = []
        for name, entries in suites.items():
            findings += self._suite(asked, name, entries, frame, drift)
        findings = self._named(findings)
        reasons = [*_set_aside(self._folder, self._ref.summary["reasons"]), *_unreadable(self._collected.path)]
        excerpts = _excerpts(self._folder, {i for f in findings for i in f.offenders[:_EXAMPLES]})
        notes = [f"split: {note}" for note in self._ref.summary.get("notes", [])]
        if drift is None:
            notes.append("drift was not judged: this pipeline has accepted no other data set before")
        report = DataReport(
            title=phrase("Validation of {name}", name=self._config.name),
            summary=self._ref.summary,
            findings=findings,
            reasons=reasons,
            lengths=self._profile.lengths,
            kept={n.capitalize(): _table(frame, n) for n in ("kind", "split", "language", "source")},
            excerpts=excerpts,
            drift=None if drift is None or self._baseline is None else _drift(self._baseline, drift),
            more=[
                *_row_tables(self._collected.summary),
                *cleaning_tables(
                    self._ref.summary["changes"], self._ref.summary["personal"], self._config.validate_.clean
                ),
                *detector_tables(self._labelled),
            ],
            notes=notes,
        )
        examples = [(f"{i} ({r.reason})", text) for r in reasons for i, text in r.examples]
        return Outcome(findings, data_page(report), examples, excerpts, notes)

    @cached_property
    def _profile(self) -> Profile:
        return Profile.load(self._folder)

    def _frame(self, suites: Suites) -> pd.DataFrame:
        """The measures that the suites look at, and those of the report; texts that repeat are stored once."""
        import pandas as pd
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = self._folder / "measures.parquet"
        there = pq.read_schema(path).names
        kinds = pq.read_table(path, columns=["kind"], read_dictionary=["kind"]).column("kind").unique().to_pylist()
        absent = set(KIND_SUITES) - set(kinds)
        named = {n: {c for e in suites[n] for c in e.columns} for n in ("incoming", *ROW_SUITES)}
        needed = {c for n, columns in named.items() if n not in absent for c in columns}
        wanted = [c for c in there if c in needed or c in _FEW or c == "bytes"]
        few = [c for c in wanted if c in _FEW]
        if not set().union(*named.values()) <= set(there):  # the message then lists every measure that there is
            wanted, few = there, []
        table = pq.read_table(path, columns=wanted, read_dictionary=few)
        frame: pd.DataFrame = table.to_pandas(types_mapper={pa.string(): pd.StringDtype("pyarrow")}.get)
        # Great Expectations is fast with numbers of 64 bits only.
        wide = {c: "float64" if t.kind == "f" else "int64" for c, t in frame.dtypes.items() if t.kind in "fiu"}
        return frame.astype(wide)

    def _suite(
        self, asked: Judge, name: str, entries: Sequence[Entry], frame: pd.DataFrame, drift: pd.DataFrame | None
    ) -> list[Finding]:
        """The findings of one suite; none when what it judges is not there."""
        kept = frame["reason"] == ""
        match name:
            case "incoming":
                return asked.findings(frame, entries)
            case "corpus":
                return asked.findings(_corpus_row(self._ref.summary, self._folder), entries)
            case "drift":
                return [] if drift is None else asked.findings(drift, entries)
        mine = frame["kind"] == name if name in KIND_SUITES else frame["kind"] != ""
        reasons = frame.loc[mine, "reason"].astype(str).value_counts()
        candidates = int(sum(reasons.get(r, 0) for r in {"", *(e.reason for e in entries)}))
        if not candidates:
            return []
        aside = [
            set_aside_finding(e, int(reasons.get(e.reason, 0)), candidates) for e in entries if e.action == "set_aside"
        ]
        return [*aside, *asked.findings(frame, entries, rows=mine & kept)]

    def _named(self, findings: Sequence[Finding]) -> list[Finding]:
        """The findings about records with the ids of the offenders in place of their row numbers."""
        numbers = {int(o) for f in findings if f.suite in ("incoming", *ROW_SUITES) for o in f.offenders}
        if not numbers:
            return list(findings)
        names: dict[str, str] = {}
        start = 0
        for (ids,) in read_columns(self._folder / "measures.parquet", "id"):
            names.update({str(n): ids[n - start] for n in numbers if start <= n < start + len(ids)})
            start += len(ids)
        rows = ("incoming", *ROW_SUITES)
        return [replace(f, offenders=[names[o] for o in f.offenders]) if f.suite in rows else f for f in findings]


def _row_tables(collected: dict[str, Any]) -> list[Table]:
    """Kinds that the rows of files were taken for, and fields that no record was made from."""
    named = (("What rows were taken for", "kind, and what told it"), ("Fields that were not used", "field"))
    counts = (collected.get("taken_for", {}), collected.get("unused_fields", {}))
    return [
        Table((column, "rows"), Counter(each).most_common(_TABLE_ROWS), title)
        for (title, column), each in zip(named, counts, strict=True)
    ]


def _corpus_row(summary: dict[str, Any], folder: Path) -> pd.DataFrame:
    """One row with the numbers of the summary, and how many ids are not the first of their name."""
    import pandas as pd

    row = {name: value for name, value in summary.items() if isinstance(value, int | float)}
    return pd.DataFrame([row | {"repeated_ids": _repeated_ids(folder)}])


def _repeated_ids(folder: Path) -> int:
    """Counted by 64-bit hashes: 8 bytes for each record, and one false alarm in 300,000 corpora of ten million."""
    import numpy as np
    import pandas as pd

    groups = (np.asarray(ids, dtype=object) for (ids,) in read_columns(folder / "measures.parquet", "id"))
    hashes = [pd.util.hash_array(ids, categorize=False) for ids in groups]
    every = np.concatenate([np.empty(0, np.uint64), *hashes])
    return len(every) - len(np.unique(every))


def _drift(baseline: Path, frame: pd.DataFrame) -> Drift:
    names = dict.fromkeys(frame["distribution"])
    return Drift(compared_with=baseline.name, moves={name: largest_moves(frame, name) for name in names})


def _set_aside(folder: Path, known: Iterable[str]) -> list[Reason]:
    """By the reasons of the summary; those of the records begin with them and go on with the record's figures."""
    longest_first = sorted(known, key=len, reverse=True)
    columns = read_columns(folder / "set_aside.parquet", "id", "reason", "excerpt")
    rows = (row for group in columns for row in zip(*group, strict=True))
    named = ((i, r, next(k for k in longest_first if r.startswith(k)), t) for i, r, t in rows)
    # What is known of one record beyond the reason, such as the run of words that is in the test data.
    return _reasons(
        "validate", ((i, k, f"{more}: {t}" if (more := r[len(k) :].strip(": ")) else t) for i, r, k, t in named)
    )


def _unreadable(collected: Path) -> list[Reason]:
    columns = read_columns(collected / "aside.parquet", "source", "where", "reason", "excerpt")
    rows = (row for group in columns for row in zip(*group, strict=True))
    named = ((f"{s}, {w}", r.partition(" (")[0].partition(":")[0], t or r) for s, w, r, t in rows)
    return _reasons("collect", named)


def _reasons(stage: str, rows: Iterable[tuple[str, str, str]]) -> list[Reason]:
    """Counts and examples by reason, the most frequent first; rows are (name, reason, excerpt)."""
    counts: Counter[str] = Counter()
    examples: dict[str, list[tuple[str, str]]] = {}
    for name, reason, text in rows:
        counts[reason] += 1
        if len(shown := examples.setdefault(reason, [])) < _EXAMPLES:
            shown.append((name, text))
    return [Reason(reason, stage, count, examples[reason]) for reason, count in counts.most_common()]


def _excerpts(folder: Path, wanted: set[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    if wanted:
        for ids, texts in read_columns(folder / "records.parquet", "id", "text"):
            found.update((i, excerpt(t)) for i, t in zip(ids, texts, strict=True) if i in wanted)
    return found


def _table(frame: pd.DataFrame, column: str) -> list[tuple[str, int, int]]:
    """(value, records, bytes) of the kept records, for the values with the most text."""
    kept = frame[frame["reason"] == ""]
    sizes = kept.groupby(column, observed=True)["bytes"].agg(["count", "sum"])
    sizes = sizes.sort_values(["sum", "count"], ascending=False).head(_TABLE_ROWS)
    return [(str(name), int(row["count"]), int(row["sum"])) for name, row in sizes.iterrows()]
