"""Judge the data."""

from __future__ import annotations

from prefect import flow

from flows.parameters import DEFAULT, Settings
from flows.run import opened
from zen_pipeline.workspace import RunRecord


@flow(name="validate", persist_result=False)
def validate(
    config: Settings = DEFAULT, recalibrate: bool = False, wait: bool = True, verify: bool = False
) -> RunRecord:
    """Clean, judge and split the records; data that fails its expectations stops here.

    Args:
        config: a preset with what differs from it, or every setting.
        recalibrate: measure the machine again and choose the sizes anew.
        wait: wait for another run that builds the same artifact, instead of failing.
        verify: check the digest of every stored artifact that is used.
    """
    with opened(config, target="validate", recalibrate=recalibrate, wait=wait, verify=verify) as run:
        run.up_to("validate")
    return run.record
