"""The whole chain: from text to registered models."""

from __future__ import annotations

from prefect import flow

from flows.parameters import DEFAULT, Settings
from flows.run import opened
from zen_pipeline.workspace import RunRecord


@flow(name="pipeline", persist_result=False)
def pipeline(
    config: Settings = DEFAULT,
    require_release: bool = False,
    recalibrate: bool = False,
    wait: bool = True,
    verify: bool = False,
) -> RunRecord:
    """Validate the data, train, evaluate, optimize and release; what has not changed is taken from the store.

    Args:
        config: a preset with what differs from it, or every setting.
        require_release: fail when the run ends without a new champion.
        recalibrate: measure the machine again and choose the sizes anew.
        wait: wait for another run that builds the same artifact, instead of failing.
        verify: check the digest of every stored artifact that is used.
    """
    with opened(config, require_release=require_release, recalibrate=recalibrate, wait=wait, verify=verify) as run:
        records = run.stage("collect")
        validated = run.stage("validate", records)
        sizes = run.stage("resolve", validated)
        tokens = run.stage("tokenize", validated, sizes)
        vectors = run.stage("embed", validated, sizes, tokens)
        base = run.stage("pretrain", sizes, tokens, vectors)
        chat = run.stage("finetune", validated, sizes, tokens, base)
        scores = run.stage("evaluate", validated, sizes, tokens, vectors, base, chat)
        optimized = run.stage("optimize", validated, sizes, tokens, base, chat, scores)
        run.stage("release", records, validated, sizes, tokens, vectors, base, chat, scores, optimized)
    return run.record
