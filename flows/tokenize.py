"""Make tokens."""

from __future__ import annotations

from prefect import flow

from flows.parameters import DEFAULT, Settings
from flows.run import opened
from zen_pipeline.workspace import RunRecord


@flow(name="tokenize", persist_result=False)
def tokenize(
    config: Settings = DEFAULT, recalibrate: bool = False, wait: bool = True, verify: bool = False
) -> RunRecord:
    """Train the tokenizer and write the token shards, after what they need.

    Args:
        config: a preset with what differs from it, or every setting.
        recalibrate: measure the machine again and choose the sizes anew.
        wait: wait for another run that builds the same artifact, instead of failing.
        verify: check the digest of every stored artifact that is used.
    """
    with opened(config, target="tokenize", recalibrate=recalibrate, wait=wait, verify=verify) as run:
        run.up_to("tokenize")
    return run.record
