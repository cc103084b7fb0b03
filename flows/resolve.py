"""Choose the sizes."""

from __future__ import annotations

from prefect import flow

from flows.parameters import DEFAULT, Settings
from flows.run import opened
from zen_pipeline.workspace import RunRecord


@flow(name="resolve", persist_result=False)
def resolve(
    config: Settings = DEFAULT, recalibrate: bool = False, wait: bool = True, verify: bool = False
) -> RunRecord:
    """Turn the budget into fixed sizes, steps and precision for this machine and corpus.

    Args:
        config: a preset with what differs from it, or every setting.
        recalibrate: measure the machine again and choose the sizes anew.
        wait: wait for another run that builds the same artifact, instead of failing.
        verify: check the digest of every stored artifact that is used.
    """
    with opened(config, target="resolve", recalibrate=recalibrate, wait=wait, verify=verify) as run:
        run.up_to("resolve")
    return run.record
