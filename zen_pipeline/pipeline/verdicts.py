"""Stored verdicts on artifacts: `zen_pipeline.judging` makes them, plans and garbage collection read them."""

from __future__ import annotations

from zen_pipeline.artifacts import Store

JUDGEMENT = "judgement"  # the folder of verdicts in the store


def stored_refusal(store: Store, stage: str, fingerprint: str) -> str | None:
    """Why the newest verdict about an artifact refuses it; None where there is none, or it accepts."""
    about = [
        manifest
        for _, manifest in store.manifests()
        if manifest.stage == JUDGEMENT and (found := manifest.inputs.get(stage)) and found.fingerprint == fingerprint
    ]
    if not about:
        return None
    return str(max(about, key=lambda m: m.created).summary["refusal"]).partition("\n")[0] or None
