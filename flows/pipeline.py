"""The whole chain: from text to registered models."""

from __future__ import annotations

from prefect import flow

from flows.parameters import DEFAULT, Settings
from flows.run import opened
from zen_pipeline.pipeline.chain import all_steps
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
        for step in all_steps(run.config):
            run.step(step)
    return run.record
