"""Release the models."""

from __future__ import annotations

from prefect import flow

from flows.parameters import DEFAULT, Settings
from flows.run import opened
from zen_pipeline.workspace import RunRecord


@flow(name="release", persist_result=False)
def release(
    config: Settings = DEFAULT,
    require_release: bool = False,
    recalibrate: bool = False,
    wait: bool = True,
    verify: bool = False,
) -> RunRecord:
    """Register the models, and promote what is better, after what that needs.

    Args:
        config: a preset with what differs from it, or every setting.
        require_release: fail when the run ends without a new champion.
        recalibrate: measure the machine again and choose the sizes anew.
        wait: wait for another run that builds the same artifact, instead of failing.
        verify: check the digest of every stored artifact that is used.
    """
    with opened(
        config,
        target="release",
        require_release=require_release,
        recalibrate=recalibrate,
        wait=wait,
        verify=verify,
    ) as run:
        run.up_to("release")
    return run.record
