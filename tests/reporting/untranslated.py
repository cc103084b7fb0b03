"""Labels of a Chinese page that have no translation."""

from __future__ import annotations

from typing import Any

import pytest

from zen_pipeline.reporting import wording


def record_untranslated(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """A set that fills with the labels that have no Chinese while a Chinese page is drawn."""
    missing: set[str] = set()

    class Recording(dict[str, str]):
        def get(self, key: str, default: Any = None) -> Any:
            if key not in self:
                missing.add(key)
            return super().get(key, default)

    monkeypatch.setattr(wording, "CHINESE", Recording(wording.CHINESE))
    return missing
