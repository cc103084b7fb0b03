"""Train the chat model."""

from __future__ import annotations

from prefect import flow

from flows.parameters import DEFAULT, Settings
from flows.run import opened
from zen_pipeline.workspace import RunRecord


@flow(name="finetune", persist_result=False)
def finetune(
    config: Settings = DEFAULT, recalibrate: bool = False, wait: bool = True, verify: bool = False
) -> RunRecord:
    """Teach the base model to answer, after what that needs.

    Args:
        config: a preset with what differs from it, or every setting.
        recalibrate: measure the machine again and choose the sizes anew.
        wait: wait for another run that builds the same artifact, instead of failing.
        verify: check the digest of every stored artifact that is used.
    """
    with opened(config, target="finetune", recalibrate=recalibrate, wait=wait, verify=verify) as run:
        run.up_to("finetune")
    return run.record
