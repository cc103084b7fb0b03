"""The cleaner of one record: what is repaired, what it says about the record, and whether it may be kept."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from zen_pipeline.corpus.cleaning import characters, names, quality
from zen_pipeline.corpus.cleaning.personal import DETECTORS, PLACEHOLDERS, Finding, find_personal, replace_personal
from zen_pipeline.corpus.cleaning.structured import CannotClean, clean_fields
from zen_pipeline.corpus.kinds.kinds import rendering
from zen_pipeline.corpus.language.identify import UNKNOWN, identify
from zen_pipeline.corpus.reading.html import html_to_text
from zen_pipeline.corpus.records import Record
from zen_pipeline.settings.data import CleanSettings, PersonalAction

_PAGE = re.compile(r"\s*(?:<\?xml[^>]*>\s*)?(?:<!--.{0,1000}?-->\s*)?(?:<!doctype\s+html|<html[\s>])", re.I | re.S)
_NOTHING: Counter[str] = Counter()
_ROUNDS = 10  # one step can uncover work for another; two rounds are usual, and only for a text that was changed


class Cleaned(NamedTuple):
    """A record after cleaning.

    Attributes:
        record: with its texts and its language as they are now.
        changes: how many places each step has changed, for steps that changed something.
        reason: why it must be set aside; empty when it is kept.
        personal: how much personal data of each type was found, replaced or not.
        language_score: how likely the language is, 0 to 1; also where it stayed `und`; 1 where the data names it.
        failed: all quality rules that are not met, also where they are only reported.
    """

    record: Record
    changes: Mapping[str, int]
    reason: str
    personal: Mapping[str, int]
    language_score: float
    failed: tuple[str, ...]


@dataclass(slots=True)
class _Tally:
    """What happens to the texts of one record."""

    changes: Counter[str] = field(default_factory=Counter)
    replaced: Counter[str] = field(default_factory=Counter)
    left: Counter[str] = field(default_factory=Counter)  # found, and not replaced


class Cleaner:
    """Cleans records, one at a time: a pure function of the settings, that can be sent to other processes.

    Raises:
        ConfigError: `names_model` cannot be used here.
    """

    def __init__(self, settings: CleanSettings) -> None:
        self._settings = settings
        if settings.names_model:
            names.check_model(settings.names_model)
        steps: dict[str, tuple[bool, characters.Step]] = {
            "encoding": (settings.encoding, characters.fix_encoding),
            "line_ends": (settings.line_ends, characters.fix_line_ends),
            "control": (settings.control, characters.remove_control),
            "invisible": (settings.invisible, characters.remove_invisible),
            "nfc": (settings.nfc, characters.compose),
        }
        self._steps = {name: step for name, (wanted, step) in steps.items() if wanted}
        self._actions: dict[str, PersonalAction] = {kind: settings.action(kind) for kind in PLACEHOLDERS}
        self._sought = [kind for kind in DETECTORS if self._actions[kind] != "ignore"]

    def clean(self, record: Record) -> Cleaned:
        """The record as it is after cleaning, and what was found; never raises because of a text."""
        tally = _Tally()
        if record.kind != "document":
            return self._clean_structured(record, tally)
        text, language, score = self._settle(record.text, tally, is_document=True)
        failed = [rule for rules in self._settings.quality for rule in quality.RULES[rules](text, language)]
        return self._judge(replace(record, text=text, language=language), score, tally, failed)

    def _clean_structured(self, record: Record, tally: _Tally) -> Cleaned:
        try:
            meta = json.loads(record.meta)
            cleaned = clean_fields(record.kind, meta, lambda text: self._settle(text, tally, is_document=False)[0])
            text = record.text if cleaned == meta else rendering(record.kind, cleaned)
        except (CannotClean, ValueError, LookupError, TypeError) as error:
            reason = str(error) if isinstance(error, CannotClean) else f"cleaning: unreadable fields ({error})"
            return self._result(record, reason, 0.0, tally, [])
        if cleaned != meta:
            record = replace(record, text=text, meta=json.dumps(cleaned, ensure_ascii=False))
        if record.kind == "translation" and record.language != UNKNOWN:
            return self._judge(record, 1.0, tally, [])  # that of one side; the text is in two languages
        language, score = identify(text, self._settings.min_language_score)
        return self._judge(replace(record, language=language), score, tally, [])

    def _settle(self, text: str, tally: _Tally, *, is_document: bool) -> tuple[str, str, float]:
        """Run all steps until none changes the text; the language and its score for a document."""
        remove_lines = is_document and "c4" in self._settings.quality and self._settings.quality_action == "set_aside"
        language, score = UNKNOWN, 0.0
        left = _NOTHING
        for _ in range(_ROUNDS):
            before = text
            text = characters.repair(text, self._steps, tally.changes)
            if is_document and self._settings.markup:
                text = _page_to_text(text, tally.changes)
            text, left = self._replace_personal(text, tally)
            if is_document:
                language, score = identify(text, self._settings.min_language_score)
            if remove_lines:
                text, removed = quality.c4_lines(text, language)
                tally.changes.update({"c4 lines": removed} if removed else {})
            if text == before:
                break
        if left:
            tally.left += left
        return text, language, score

    def _replace_personal(self, text: str, tally: _Tally) -> tuple[str, Counter[str]]:
        """The text with placeholders, and what was found and left as it is."""
        found: Sequence[Finding] = find_personal(text, self._sought, self._names(text))
        if not found:
            return text, _NOTHING
        hidden = [finding for finding in found if self._actions[finding.type] == "replace"]
        if hidden:
            text = replace_personal(text, hidden)
            tally.replaced.update(finding.type for finding in hidden)
            tally.changes["personal data"] += len(hidden)
        return text, Counter(f.type for f in found if self._actions[f.type] != "replace")

    def _names(self, text: str) -> list[Finding]:
        if not self._settings.names_model:
            return []
        found = names.find_names(text, self._settings.names_model)
        return [finding for finding in found if self._actions[finding.type] != "ignore"]

    def _judge(self, record: Record, score: float, tally: _Tally, failed: list[str]) -> Cleaned:
        dropped = [kind for kind in tally.left if self._actions[kind] == "drop"]
        reason = ""
        if dropped:
            reason = f"personal data: {dropped[0]}"
        elif self._settings.languages is not None and record.language not in self._settings.languages:
            reason = f"language: {record.language}"
        elif failed and self._settings.quality_action == "set_aside":
            reason = failed[0]
        return self._result(record, reason, score, tally, failed)

    def _result(self, record: Record, reason: str, score: float, tally: _Tally, failed: list[str]) -> Cleaned:
        personal = tally.replaced + tally.left if tally.replaced or tally.left else _NOTHING
        return Cleaned(record, tally.changes, reason, personal, score, tuple(failed))


def _page_to_text(text: str, changes: Counter[str]) -> str:
    if not _PAGE.match(text):
        return text
    try:
        found = html_to_text(text)
    except ValueError:  # nested too deep for the parser: better left as it is than lost
        return text
    changes["markup"] += 1
    return found
