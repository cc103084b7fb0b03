"""The verdict on an artifact: asked for on every run, kept apart from what it judges.

What a stage makes is found by what went into it; whether that may be used is another question, with another answer
whenever a threshold, the advice or the data set to compare with changes. So a verdict is an artifact of its own, found
by (judged artifact, suites, baseline, version of Great Expectations). A changed suite judges again and makes nothing
again, and `stop` stops also where everything was found in the store.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from logging import INFO, WARNING
from pathlib import Path
from types import MappingProxyType
from typing import Any

from zen_pipeline.artifacts import ArtifactRef, Built, Identity, read_manifest
from zen_pipeline.config import Config
from zen_pipeline.corpus.expectations import judging_process
from zen_pipeline.corpus.expectations.findings import Finding
from zen_pipeline.corpus.expectations.judge import Judge
from zen_pipeline.corpus.expectations.suites import Entry, load_suites, suite_digests
from zen_pipeline.errors import ValidationFailed
from zen_pipeline.logs import get_logger
from zen_pipeline.pipeline.stage import StageContext
from zen_pipeline.pipeline.verdicts import JUDGEMENT
from zen_pipeline.reporting.data_page import much_set_aside

JUDGEMENT_VERSION = 3  # raised when the same suites would judge the same artifact otherwise, or report it otherwise
REPORT_FILE, RESULT_FILE = "validation.html", "validation.json"
_SHOWN = 3  # records in a message

log = get_logger(__name__)


@dataclass(frozen=True)
class Outcome:
    """The result of judging, before it is written down.

    Attributes:
        findings: in the order of the suites.
        page: the report, as HTML.
        examples: (name, excerpt) of some records, for the message of a refusal that has no offenders of its own.
        excerpts: of the offenders, by name; shortened and masked.
        notes: what else is worth a line in the log.
    """

    findings: Sequence[Finding]
    page: str
    examples: Sequence[tuple[str, str]] = ()
    excerpts: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()


Suites = Mapping[str, Sequence[Entry]]


def judged(
    ref: ArtifactRef,
    config: Config,
    context: StageContext,
    *,
    suites: Sequence[str],
    judge: Callable[[Judge, Suites], Outcome],
    what: str,
    extra: Mapping[str, Any] = MappingProxyType({}),
) -> ArtifactRef:
    """The reference with the verdict in its summary (`judgement`), found in the store or asked for now.

    Args:
        ref: the artifact.
        config: names the pipeline and the folder of the suites.
        context: store and tracking.
        suites: names of the suites that judge it.
        judge: asks for the findings; called in another process (`judging_process`) when the verdict is not stored.
        what: the artifact in words, for messages: `the data`.
        extra: what else goes into the verdict, by dotted name.

    Raises:
        ValidationFailed: an expectation with the action `stop` is not met.
        ConfigError: a suite is wrong.
    """
    folder = config.validate_.suites
    parts: dict[str, Any] = {
        "version": JUDGEMENT_VERSION,
        "settings.pipeline": config.name,
        f"inputs.{ref.stage}": ref.fingerprint,
        "libraries.great-expectations": version("great-expectations"),
        **extra,
        **{f"sources.{name}": digest for name, digest in suite_digests(folder, suites).items()},
    }

    def build(output: Path) -> Built:
        (outcome, seconds), waited = judging_process.call(_judge, judge, folder, suites)
        (output / REPORT_FILE).write_text(outcome.page, encoding="utf-8")
        summary = _summary(ref.stage, outcome, what)
        held = {**summary, "expectations": [f.to_json() for f in outcome.findings]}
        (output / RESULT_FILE).write_text(json.dumps(held, indent=1), encoding="utf-8")
        _log_time(ref, waited, seconds)
        return Built(JUDGEMENT, summary)

    verdict = context.store.get_or_build(
        Identity(JUDGEMENT, parts), build, inputs={ref.stage: ref}, run_id=context.run_id, wait=context.wait
    )
    return _announce(ref, verdict, context)


def _judge(
    judge: Callable[[Judge, Suites], Outcome], folder: str | None, suites: Sequence[str]
) -> tuple[Outcome, float]:
    """The outcome, and the seconds that Great Expectations took for it."""
    asked = Judge()
    return judge(asked, load_suites(folder, suites)), asked.seconds


def _summary(stage: str, outcome: Outcome, what: str) -> dict[str, Any]:
    findings = outcome.findings
    return {
        "stage": stage,
        "met": sum(f.success for f in findings),
        "warnings": sum(f.warns for f in findings),
        "set_aside": sum(f.sets_aside for f in findings),
        "stops": sum(f.stops for f in findings),
        "notes": list(outcome.notes),
        "unmet": [_line(f) for f in findings if not f.success],
        "refusal": _refusal(outcome, what),
    }


def _announce(ref: ArtifactRef, verdict: ArtifactRef, context: StageContext) -> ArtifactRef:
    """Log the verdict, also to MLflow, stop when it says so, and put it into the summary."""
    held, page = verdict.summary, verdict.path / REPORT_FILE
    word = "refused" if held["stops"] else "accepted, with warnings" if held["warnings"] else "accepted"
    counts = {name: held[name] for name in ("met", "warnings", "set_aside", "stops")}
    aside = much_set_aside(ref.summary)
    counted = [f"{n} {name.replace('_', ' ')}" for name, n in counts.items()]
    log.log(
        WARNING if aside else INFO,
        "%s: %s; %s",
        ref.stage,
        word,
        ", ".join([*counted, *([str(aside)] if aside else [])]),
    )
    for note in held["notes"]:
        log.info("%s: %s", ref.stage, note)
    for line in held["unmet"]:
        log.warning("%s: %s", ref.stage, line)
    context.tracked.log_file(page)
    context.tracked.log_tags({"zen.validation": str(verdict.path), "zen.verdict": word})
    if held["stops"]:
        raise ValidationFailed(f"{held['refusal']}\nThe whole report: {page}", page)
    log.info("%s: the report is %s", ref.stage, page)
    shown = {**counts, "verdict": word, "report": str(page), "fingerprint": verdict.fingerprint, "run": context.run_id}
    return ref.model_copy(update={"summary": {**ref.summary, "judgement": shown}})


def _line(finding: Finding) -> str:
    what = "set aside" if finding.sets_aside else "stop" if finding.stops else "warning"
    return (
        f"{what}: {finding.suite}: {finding.expectation} on {finding.column} ({finding.expected}): "
        f"{finding.observed}; {finding.advice}"
    )


def _refusal(outcome: Outcome, what: str) -> str:
    """The message: the expectation, what was found, three records, what to do; empty when nothing stops."""
    stops = [f for f in outcome.findings if f.stops]
    if not stops:
        return ""
    first = stops[0]
    lines = [
        f"{what} failed validation: {first.expectation} on {first.suite}.{first.column}: "
        f"expected {first.expected}, found {first.observed}. {first.advice[:1].upper()}{first.advice[1:]}.",
    ]
    shown = [(name, outcome.excerpts.get(name, "")) for name in first.offenders[:_SHOWN]]
    lines += [f"  {name}: {text}".rstrip(": ") for name, text in shown or outcome.examples[:_SHOWN]]
    others = ", ".join(f"{f.expectation} on {f.suite}.{f.column}" for f in stops[1:])
    if others:
        lines.append(f"Also failed: {others}.")
    return "\n".join(lines)


def _log_time(ref: ArtifactRef, waited: float, seconds: float) -> None:
    """Log the share of the stage's time that went to Great Expectations."""
    made = read_manifest(ref.path).seconds
    spent = waited + seconds
    log.info(
        "%s: Great Expectations was waited for %.2f s and judged for %.2f s, %.0f %% of %.1f s",
        ref.stage,
        waited,
        seconds,
        100 * spent / (made + spent),
        made + spent,
    )
