from __future__ import annotations

import resource
from pathlib import Path

import pytest
import torch

from zen_pipeline.training.checkpoint import CheckpointFolder
from zen_pipeline.training.job import Setback


@pytest.fixture
def warnings() -> list[str]:
    return []


@pytest.fixture
def folder(tmp_path: Path, warnings: list[str]) -> CheckpointFolder:
    return CheckpointFolder(tmp_path / "checkpoints", "job", warnings.append)


def save(folder: CheckpointFolder, step: int, size: int = 1000) -> None:
    folder.io.save_checkpoint({"global_step": step, "weights": torch.full((size,), float(step))}, folder.path(step))


def test_the_newest_is_found_and_loads(folder: CheckpointFolder) -> None:
    assert folder.newest() is None
    for step in (5, 100, 20):
        save(folder, step)
    found = folder.newest()
    assert found is not None
    assert found[0] == 100
    assert float(folder.io.load_checkpoint(found[1])["weights"][0]) == 100.0


def test_the_two_newest_are_kept_and_leftovers_go(folder: CheckpointFolder) -> None:
    for step in (1, 2, 3, 4):
        save(folder, step)
    (folder.folder / "step-00000009.ckpt").write_bytes(b"killed before its manifest")
    (folder.folder / ".step-00000009.ckpt.tmp").write_bytes(b"killed while writing")
    folder.prune()
    names = sorted(path.name for path in folder.folder.iterdir())
    assert names == [f"step-0000000{s}.{kind}" for s in (3, 4) for kind in ("ckpt", "json")]


def test_a_third_one_is_kept_where_the_two_newest_are_too_close_to_go_back_to(folder: CheckpointFolder) -> None:
    for step in (5, 10, 15, 20, 25):
        save(folder, step)
        folder.prune()
    assert sorted(int(path.stem[5:]) for path in folder.folder.glob("*.json")) == [15, 20, 25]
    found = folder.newest(until=24 - 5)
    assert found is not None
    assert found[0] == 15


def test_checkpoints_of_steps_that_were_taken_back_are_not_used(folder: CheckpointFolder, warnings: list[str]) -> None:
    for step in (100, 200):
        save(folder, step)
    setback = Setback(failed_step=205, back_to=100, rate_factor=0.5, reason="the loss is nan")
    after = CheckpointFolder(folder.folder, "job", warnings.append, setback)
    found = after.newest()
    assert found is not None
    assert found[0] == 100
    assert warnings[0].endswith("training went back to step 100 after it was made")
    save(after, 150)
    assert after.newest() == (150, after.path(150))


@pytest.mark.parametrize("where", [0, 0.5, 0.999])
def test_one_damaged_byte_means_the_one_before(folder: CheckpointFolder, warnings: list[str], where: float) -> None:
    save(folder, 1)
    save(folder, 2)
    path = folder.path(2)
    content = bytearray(path.read_bytes())
    content[int(where * len(content))] ^= 1
    path.write_bytes(content)
    found = folder.newest()
    assert found is not None
    assert found[0] == 1
    assert warnings == [f"checkpoint {path} is not used: its SHA-256 is not the one in its manifest"]


def test_a_cut_file_and_an_unreadable_manifest_are_passed_over(folder: CheckpointFolder, warnings: list[str]) -> None:
    for step in (1, 2, 3):
        save(folder, step)
    folder.path(3).write_bytes(folder.path(3).read_bytes()[:-1])
    folder.path(2).with_suffix(".json").write_text("{")
    found = folder.newest()
    assert found is not None
    assert found[0] == 1
    assert len(warnings) == 2


def test_checkpoints_of_another_job_are_not_used(folder: CheckpointFolder, warnings: list[str]) -> None:
    save(folder, 1)
    assert CheckpointFolder(folder.folder, "another job", warnings.append).newest() is None
    assert "other settings" in warnings[0]


def test_a_write_that_fails_leaves_the_one_before(folder: CheckpointFolder) -> None:
    save(folder, 1)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))  # the kernel refuses to write on, as on a full disk
    try:
        with pytest.raises((OSError, RuntimeError)):
            save(folder, 2, size=100_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert sorted(p.name for p in folder.folder.iterdir()) == ["step-00000001.ckpt", "step-00000001.json"]
    assert folder.newest() is not None
