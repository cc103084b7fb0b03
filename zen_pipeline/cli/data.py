"""`zen data`: public sets by name, the corpus of the last run, and a look at any files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from zen_pipeline.cli import common
from zen_pipeline.cli.common import ConfigFile, Json, Overrides, Pipeline
from zen_pipeline.cli.rows import row_options
from zen_pipeline.files import expanded

if TYPE_CHECKING:
    from zen_pipeline.artifacts import ArtifactRef
    from zen_pipeline.corpus.catalogue.entries import Entry
    from zen_pipeline.workspace import Workspace

_OTHERWISE = "--kind KIND, --text FIELD, --label FIELD, --source FIELD, --target FIELD, --no-header"

app = typer.Typer(help="Public data sets by name, and the corpus of the last run.", no_args_is_help=True)


@app.command("list")
def list_sets(json: Json = False) -> None:
    """List the public data sets that have a name here."""
    from zen_pipeline.corpus.catalogue.local import LocalSets

    catalogue, workspace = common.catalogue()
    sets = None if workspace is None else LocalSets(workspace.data_folder)
    rows = [(entry, sets is not None and sets.is_complete(entry)) for entry in catalogue.values()]
    if json:
        common.print_json({"sets": [{**_described(entry), "downloaded": here} for entry, here in rows]})
        return
    shown = [
        (
            e.name,
            e.kind,
            " ".join(e.languages),
            common.byte_size(e.bytes),
            e.licence,
            _yes_no(e.commercial),
            _here(here),
        )
        for e, here in rows
    ]
    columns = ["name", "kind", "languages", "size", "licence", "commercial", ""]
    common.print_table("public data sets", columns, shown, right=[3])


@app.command()
def get(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Names that `zen data list` shows.")],
    mirror: Annotated[
        str | None, typer.Option(help="Address of a folder that holds NAME/FILE, instead of the public homes.")
    ] = None,
    repin: Annotated[
        bool, typer.Option("--repin", help="Download again, and take what comes as the set from now on.")
    ] = False,
    json: Json = False,
) -> None:
    """Download public data sets into the workspace; what was cut off goes on where it ended."""
    from zen_pipeline.cli.bars import download_progress
    from zen_pipeline.corpus.catalogue.entries import find_entry, read_catalogue
    from zen_pipeline.corpus.catalogue.local import LocalSets
    from zen_pipeline.workspace import Workspace

    common.show_logs()
    workspace = Workspace.find_or_create()
    catalogue = read_catalogue(workspace.catalogue_folder)
    entries = [find_entry(catalogue, name) for name in names]
    sets = LocalSets(workspace.data_folder)
    done = []
    for entry in entries:
        if entry.caution and not sets.is_complete(entry):
            common.say(f"caution: {entry.caution}")
        with download_progress() as progress:
            files = sets.get(entry, progress, mirror=mirror, repin=repin)
        done.append((entry, files))
    if json:
        common.print_json(
            {
                "sets": [
                    {
                        "name": entry.name,
                        "folder": str(sets.folder(entry)),
                        "files": [{**f._asdict(), "path": str(f.path)} for f in files],
                    }
                    for entry, files in done
                ]
            }
        )
        return
    for entry, files in done:
        size = common.byte_size(sum(f.bytes for f in files))
        new = sum(f.downloaded for f in files)
        what = f"{new} of {len(files)} files downloaded" if new else "was there already"
        common.show(f"{entry.name}: {what}, {size} in {sets.folder(entry)}; licence: {entry.licence}")


@app.command()
@row_options
def show(
    what: Annotated[
        str | None, typer.Argument(metavar="[NAME|PATH]", help="A public set, or files to look at.")
    ] = None,
    pipeline: Pipeline = None,
    count: Annotated[int, typer.Option("--count", "-n", min=0, help="How many records.")] = 5,
    json: Json = False,
    *,
    rows: dict[str, Any],
) -> None:
    """Show a catalogue entry, the first records of files, or (without an argument) the corpus of the last run."""
    if what is None:
        _show_last(pipeline, count, json=json)
    elif not expanded(what).exists() and what in (catalogue := common.catalogue()[0]):
        _show_entry(catalogue[what], json=json)
    else:
        _show_files(what, count, rows, json=json)


@app.command()
@row_options
def validate(
    paths: Annotated[list[str], typer.Argument(metavar="PATH...", help="Files, folders, globs, or a public set.")],
    config: ConfigFile = None,
    overrides: Overrides = None,
    json: Json = False,
    *,
    rows: dict[str, Any],
) -> None:
    """Read and judge files as a run would, and say what would be kept; exit code 3 when they may not be used."""
    from zen_pipeline.cli.data_summary import print_summary
    from zen_pipeline.errors import ValidationFailed
    from zen_pipeline.pipeline.chain import Step, load_stage
    from zen_pipeline.pipeline.runner import run_step
    from zen_pipeline.pipeline.stage import StageContext
    from zen_pipeline.stages.validate import STAGE
    from zen_pipeline.workspace import Workspace

    settings = common.settings(None, config, common.corpus(paths, None), None, None, overrides, rows)
    common.show_logs()
    workspace = Workspace.find_or_create()
    context = StageContext(workspace=workspace, run_id="data-validate")
    collected = run_step(Step(load_stage("collect")), settings, {}, context)
    workspace.note_checked_data(STAGE.identity(settings, {"collect": collected.fingerprint}, workspace).fingerprint)
    try:
        validated = run_step(Step(STAGE), settings, {"collect": collected}, context)
    except ValidationFailed as refusal:
        print_summary(_refused(workspace, settings, collected), refusal=str(refusal), json=json)
        raise
    print_summary({**validated.summary, **_of_files(collected)}, json=json)


def _refused(workspace: Workspace, settings: Any, collected: ArtifactRef) -> dict[str, Any]:
    """The summary of data that was refused: it is stored all the same, with its verdict beside it."""
    from zen_pipeline.stages.validate import STAGE

    identity = STAGE.identity(settings, {"collect": collected.fingerprint}, workspace)
    validated = workspace.store.find("validate", identity.fingerprint)
    summary = {} if validated is None else validated.summary
    return {**summary, **_of_files(collected)}


def _of_files(collected: ArtifactRef) -> dict[str, Any]:
    """What collection says of files and rows besides records: roles, charsets, what was left out, what was not used."""
    names = ("files", "left_out", "roles", "charsets", "page_elements_left_out", "taken_for", "unused_fields")
    return {name: collected.summary[name] for name in names if name in collected.summary}


def _show_last(pipeline: str | None, count: int, *, json: bool) -> None:
    import pyarrow.parquet as pq

    ref = common.last_artifact("validate", pipeline)
    file = pq.ParquetFile(ref.path / "records.parquet")
    batch = next(file.iter_batches(max(count, 1)), None)
    records = batch.to_pylist()[:count] if batch is not None else []
    if json:
        common.print_json({"artifact": ref.folder, "summary": ref.summary, "records": records})
        return
    common.print_yaml(ref.summary)
    rows = [(r["id"], r["group"], r["split"], r["text"][:200]) for r in records]
    common.print_table("records", ["id", "group", "split", "text"], rows)


def _show_entry(entry: Entry, *, json: bool) -> None:
    from zen_pipeline.corpus.catalogue.local import LocalSets

    workspace = common.catalogue()[1]
    sets = None if workspace is None else LocalSets(workspace.data_folder)
    pins = {} if sets is None else {path: p.model_dump() for path, p in sets.pins().get(entry.name, {}).items()}
    folder = str(sets.folder(entry)) if sets is not None and sets.is_complete(entry) else None
    shown = {**_described(entry), "folder": folder, "pins": pins}
    if json:
        common.print_json(shown)
    else:
        common.print_yaml(shown)


def _show_files(path: str, count: int, rows: dict[str, Any], *, json: bool) -> None:
    from collections import Counter
    from dataclasses import asdict
    from itertools import islice

    from zen_pipeline.corpus.language.identify import UNKNOWN, guess_language
    from zen_pipeline.corpus.reading.dispatch import FilesReader
    from zen_pipeline.corpus.reading.find import find_files
    from zen_pipeline.corpus.reading.tally import Tally
    from zen_pipeline.corpus.records import Aside
    from zen_pipeline.settings.data import FilesSource

    (source,) = common.settings(None, None, common.corpus([path], None), None, None, None, rows).collect.sources
    assert isinstance(source, FilesSource)
    found = find_files(source.paths, languages=source.languages)
    tally = Tally(left_out=Counter(found.left_out))
    entries = list(islice(FilesReader.of(source, tally).read(found.files), count))
    aside = [asdict(e) for e in entries if isinstance(e, Aside)]
    records = [asdict(e) for e in entries if not isinstance(e, Aside)]
    for record in records:
        if record["language"] == UNKNOWN:  # validation finds it out, as it is done here
            record["language"] = guess_language(record["text"])
    if json:
        shown = {"files": [f.name for f in found.files], "left_out": dict(tally.left_out)}
        shown |= {"taken_for": tally.taken_for, "unused_fields": tally.unused}
        common.print_json({**shown, "records": records, "aside": aside})
        return
    shown_rows = [(r["id"], r["kind"], r["language"], r["split"], r["text"][:200]) for r in records]
    common.print_table(f"first records of {path}", ["id", "kind", "language", "split", "text"], shown_rows)
    if aside:
        common.print_table(
            "set aside", ["file", "where", "reason"], [(a["source"], a["where"], a["reason"]) for a in aside]
        )
    taken = [(name, what, f"{n:,}") for name, counts in tally.taken_for.items() for what, n in counts.most_common()]
    if taken:
        common.print_table("taken for", ["file", "kind, and what told it", "rows"], taken, right=[2])
        common.show(f"to say otherwise: {_OTHERWISE}")
    if tally.unused:
        common.print_table("fields not used", ["field", "rows"], tally.unused.most_common(), right=[1])


@app.command("aside")
def aside(
    pipeline: Pipeline = None,
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="How many records.")] = 20,
    json: Json = False,
) -> None:
    """Show records that the last run, or `zen data validate` since, set aside, and why."""
    import pyarrow.parquet as pq

    from zen_pipeline.workspace import Workspace

    workspace = Workspace.find()
    checked = None if pipeline else workspace.checked_data()
    found = workspace.store.find("validate", checked) if checked else None
    ref = found or common.last_artifact("validate", pipeline)
    rows = pq.read_table(ref.path / "set_aside.parquet").slice(0, count).to_pylist()
    if json:
        common.print_json({"records": rows})
        return
    common.print_table("set aside", ["id", "reason", "excerpt"], [(r["id"], r["reason"], r["excerpt"]) for r in rows])


def _described(entry: Entry) -> dict[str, Any]:
    return {**entry.model_dump(mode="json"), "bytes": entry.bytes}


def _yes_no(value: bool | str) -> str:
    return value if isinstance(value, str) else "yes" if value else "no"


def _here(downloaded: bool) -> str:
    return "downloaded" if downloaded else ""
