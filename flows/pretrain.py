"""Train the base model."""

from __future__ import annotations

from prefect import flow

from flows.parameters import DEFAULT, Settings
from flows.run import opened
from zen_pipeline.workspace import RunRecord


@flow(name="pretrain", persist_result=False)
def pretrain(
    config: Settings = DEFAULT, recalibrate: bool = False, wait: bool = True, verify: bool = False
) -> RunRecord:
    """Train the base model, after what it needs; a run that was killed goes on from its checkpoint.

    Args:
        config: a preset with what differs from it, or every setting.
        recalibrate: measure the machine again and choose the sizes anew.
        wait: wait for another run that builds the same artifact, instead of failing.
        verify: check the digest of every stored artifact that is used.
    """
    with opened(config, target="pretrain", recalibrate=recalibrate, wait=wait, verify=verify) as run:
        run.up_to("pretrain")
    return run.record
