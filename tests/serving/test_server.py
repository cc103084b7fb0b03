"""The same registry behind a real MLflow server on loopback."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from zen_pipeline.serving import registry
from zen_pipeline.serving.bundle import Bundle, Release, model_files
from zen_pipeline.serving.decision import compare_units
from zen_pipeline.serving.promotion import Candidate, PreparedCandidate, ReleaseContext, release
from zen_pipeline.tasks.chat import TASK as CHAT
from zen_pipeline.tracking import experiment_id, mlflow_client
from zen_pipeline.workspace import Workspace


@pytest.fixture
def server(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    running_server: Callable[..., AbstractContextManager[None]],
    free_port: Callable[[], int],
) -> Iterator[str]:
    monkeypatch.setenv("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")
    address = f"http://127.0.0.1:{(port := free_port())}"
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{tmp_path / 'server.db'}"]
    command += ["--artifacts-destination", str(tmp_path / "served")]
    with running_server(command, f"{address}/health", tmp_path):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        yield address


def answers(f1: np.ndarray) -> np.ndarray:
    return np.stack([f1, np.ones_like(f1)], axis=1)


def candidate(folder: Path, f1: float) -> Callable[[], PreparedCandidate]:
    folder.mkdir()
    save_file({"weight": np.full((4, 8), f1, np.float32)}, folder / "model.safetensors")
    for name in ("config.json", "tokenizer.json"):
        (folder / name).write_text("{}")
    np.save(folder / "f1.npy", np.full(20, f1))

    def prepare() -> PreparedCandidate:
        held = Release(model="chat", task="chat", default="float", float_bytes=100, test_set="same")
        files = {f"float/{n}": p for n, p in model_files(folder).items()} | {"evaluation/f1.npy": folder / "f1.npy"}
        return PreparedCandidate(
            Bundle(held, files, written={"lineage.json": "{}"}),
            {registry.KIND: "chat"},
            "A test model.",
            lambda champion: compare_units(
                answers(np.full(20, f1)),
                answers(np.load(champion / "evaluation" / "f1.npy")),
                figure=CHAT.figure,
                metric=CHAT.metric,
            ),
        )

    return prepare


def test_a_version_is_uploaded_compared_and_downloaded_again(server: str, workspace: Workspace, tmp_path: Path) -> None:
    client = mlflow_client(workspace.mlflow_folder)
    experiment = experiment_id(client, "zen")
    context = ReleaseContext(client, workspace, experiment, client.create_run(experiment).info.run_id, tmp_path)
    for number, f1 in enumerate((0.5, 0.6)):
        prepare = candidate(tmp_path / str(number), f1)
        offered = Candidate("zen-chat", f"digest{number}", 0.02, 1.5, prepare().bundle.files, prepare)
        made = release(offered, context)
        assert (made.version, made.alias) == (str(number + 1), "champion")

    assert not release(offered, context).restored
    for weights in (tmp_path / "served").rglob("model.safetensors"):
        weights.unlink()
    assert release(offered, context).restored

    found = registry.resolve_model("champion", workspace)
    assert found.version == "2"
    assert (found.folder / "model.safetensors").read_bytes() == (tmp_path / "1" / "model.safetensors").read_bytes()
    assert found.folder.is_relative_to(workspace.models_folder)
    assert registry.show_model("zen-chat/1", workspace)["champions"] == ["1", "2"]
    assert registry.rollback("zen-chat", workspace).version == "1"
    assert not (workspace.mlflow_folder / "mlflow.db").exists()
