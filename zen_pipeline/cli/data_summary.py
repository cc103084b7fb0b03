"""What `zen data validate` prints: on one screen what was read, kept and set aside, and why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zen_pipeline.cli import common
from zen_pipeline.reporting.data_page import much_set_aside

_MOST = 8  # lines of one list


def print_summary(summary: Mapping[str, Any], *, refusal: str | None = None, json: bool) -> None:
    """The validation stage's summary, as a table or as JSON; `refusal` is why the data may not be used."""
    if json:
        common.print_json({"accepted": refusal is None, "refusal": refusal, "summary": summary})
        return
    verdict = "may be used" if refusal is None else "may not be used"
    aside = much_set_aside(summary)
    common.print_table(
        f"the data {verdict}{f'; {aside}' if aside else ''}", ["", "records", "share"], _rows(summary), right=[1, 2]
    )


def _rows(summary: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    total = max(1, int(summary["records_in"]))

    def row(name: str, count: int) -> tuple[str, str, str]:
        return name, f"{count:,}", f"{count / total:.1%}"

    rows = [row("read", summary["records_in"]), row("kept", summary["records"])]
    rows += [row(f"  {kind}", count) for kind, count in summary["kinds"].items()]
    rows += [row(f"  language {name}", count) for name, count in summary.get("languages", {}).items()]
    rows += [row(f"  {name} split", split["records"]) for name, split in summary.get("splits", {}).items()]
    rows.append(row("set aside", summary["set_aside"]))
    if unreadable := summary.get("unreadable", 0):
        rows.append(row("  could not be read", unreadable))
    if not_learnt := summary.get("not_learnt", 0):
        rows.append(row("  not to be learnt", not_learnt))
    rows += [row(f"  {reason}", count) for reason, count in summary.get("reasons", {}).items()]
    files = summary.get("files", {})
    rows += [(f"files {name}".replace("_", " "), f"{count:,}", "") for name, count in files.items()]
    rows += [(f"  {reason}", f"{count:,}", "") for reason, count in summary.get("left_out", {}).items()]
    rows += [(f"  in {charset}", f"{count:,}", "") for charset, count in summary.get("charsets", {}).items()]
    rows += [(f"  {name}: {role}", "", "") for name, role in list(summary.get("roles", {}).items())[:_MOST]]
    rows += [(f"taken for {what}", f"{count:,}", "") for what, count in most_frequent(summary.get("taken_for", {}))]
    unused = summary.get("unused_fields", {})
    rows += [(f"field not used: {name}", f"{count:,}", "") for name, count in most_frequent(unused)]
    if len(unused) > _MOST:
        rows.append((f"other fields not used: {len(unused) - _MOST}", "", ""))
    return rows


def most_frequent(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    """The highest counts, highest first: as many as one screen has room for."""
    return sorted(counts.items(), key=lambda item: -item[1])[:_MOST]
