"""One flow for each stage: `flows.stages.pretrain` runs what pretraining needs, and pretraining."""

from __future__ import annotations

from functools import cache

from prefect import Flow

from flows.parameters import DEFAULT, Settings
from flows.run import opened
from zen_pipeline.pipeline import STAGES
from zen_pipeline.pipeline.chain import steps_up_to
from zen_pipeline.workspace import RunRecord


@cache
def stage_flow(stage: str) -> Flow[..., RunRecord]:
    """The flow of one stage, under the stage's name.

    Raises:
        KeyError: there is no such stage.
    """

    def run_up_to(
        config: Settings = DEFAULT,
        require_release: bool = False,
        recalibrate: bool = False,
        wait: bool = True,
        verify: bool = False,
    ) -> RunRecord:
        """Run one stage, after what it needs; what has not changed is taken from the store.

        Args:
            config: a preset with what differs from it, or every setting.
            require_release: fail when the run ends without a new champion.
            recalibrate: measure the machine again and choose the sizes anew.
            wait: wait for another run that builds the same artifact, instead of failing.
            verify: check the digest of every stored artifact that is used.
        """
        with opened(
            config,
            target=stage,
            require_release=require_release,
            recalibrate=recalibrate,
            wait=wait,
            verify=verify,
        ) as run:
            for step in steps_up_to(stage, run.config):
                run.step(step)
        return run.record

    return Flow(run_up_to, name=stage, description=STAGES[stage], persist_result=False)


def __getattr__(name: str) -> Flow[..., RunRecord]:
    """`flows.stages.NAME`, as the entrypoints of deployments and their workers look it up."""
    if name not in STAGES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return stage_flow(name)
