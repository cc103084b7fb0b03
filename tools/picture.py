"""Draws the README's picture of a run in this workspace: the base model among the n-gram models, and its training.

python tools/picture.py [RUN]     # as `zen runs` lists it; default: the last one that was evaluated
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

from zen_pipeline.errors import DataError, ZenError
from zen_pipeline.evaluation.scores import read_metrics
from zen_pipeline.files import read_json_lines
from zen_pipeline.workspace import RunRecord, Workspace

PICTURE = Path(__file__).resolve().parents[1] / "docs" / "images" / "run.png"
_GREEN, _GREY, _INK = "#0f7b6c", "#c9ccd1", "#1b1f24"
_SMOOTH = 10  # steps that one point of the dark curve is the mean of


def main(arguments: list[str]) -> None:
    """Draw the run that the arguments name."""
    workspace = Workspace.find()
    folders = _folders(workspace, arguments[0] if arguments else None)
    metrics = read_metrics(folders["evaluate"])
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    draw(metrics, read_json_lines(folders["pretrain"] / "history.jsonl", missing_ok=True), PICTURE)
    print(f"{PICTURE} is written")


def _folders(workspace: Workspace, run: str | None) -> dict[str, Path]:
    """The folders of the run's artifacts, by stage.

    Raises:
        DataError: there is no such run, or none was evaluated.
    """
    for record in reversed(workspace.runs()):
        folders = _artifacts(record, workspace)
        if run in (None, record.run_id) and "evaluate" in folders and read_metrics(folders["evaluate"]).get("base"):
            return folders
    raise DataError(f"{workspace.home}: {f'run {run!r}' if run else 'every run'} is without an evaluated base model")


def _artifacts(record: RunRecord, workspace: Workspace) -> dict[str, Path]:
    found = {
        stage.name: workspace.store.find(stage.name, stage.fingerprint) for stage in record.stages if stage.fingerprint
    }
    return {name: ref.path for name, ref in found.items() if ref is not None}


def draw(metrics: dict[str, Any], history: list[dict[str, float]], target: Path) -> None:
    """Write the picture.

    Args:
        metrics: of the evaluation; `base.bits_per_byte`, and the baselines by name.
        history: one entry per training step.
        target: a .png file.
    """
    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    plt.rcParams.update({"font.size": 11, "text.color": _INK, "axes.labelcolor": _INK, "savefig.facecolor": "white"})
    figure, (bars, curve) = plt.subplots(1, 2, figsize=(11, 3.8), width_ratios=[1, 1.15], layout="constrained")
    figures = {name.replace("_", " "): v for name, v in metrics["baselines"].items() if name != "tokens"}
    figures["this model"] = metrics["base"]["bits_per_byte"]
    names = sorted(figures, key=lambda name: figures[name])
    drawn = bars.barh(names, [figures[n] for n in names], color=[_GREEN if n == "this model" else _GREY for n in names])
    bars.bar_label(drawn, fmt="%.3f", padding=4)
    bars.set(title="Bits per byte of unseen text (less is better)", xticks=[])
    bars.margins(x=0.15)
    bars.spines[:].set_visible(False)
    bars.tick_params(length=0)

    steps, losses = (np.array([entry[key] for entry in history if "loss" in entry]) for key in ("step", "loss"))
    curve.plot(steps, losses, color=_GREY, linewidth=0.8, label="each step")
    if len(losses) > _SMOOTH:
        mean = np.convolve(losses, np.full(_SMOOTH, 1 / _SMOOTH), mode="valid")
        curve.plot(steps[_SMOOTH - 1 :], mean, color=_GREEN, label=f"mean of {_SMOOTH} steps")
    validated = [(e["step"], e["validation_loss"]) for e in history if "validation_loss" in e]
    if validated:
        curve.plot(*zip(*validated, strict=True), "o", color=_INK, label="validation")
    curve.set(title="Pretraining: loss, nats per token", xlabel="step")
    curve.spines[["top", "right"]].set_visible(False)
    curve.legend(frameon=False)
    figure.savefig(target, dpi=110)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except ZenError as error:
        sys.exit(str(error))
