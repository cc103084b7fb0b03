from __future__ import annotations

import random
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


def flipped(content: bytes, place: int, mask: int) -> bytes:
    return content[:place] + bytes([content[place] ^ mask]) + content[place + 1 :]


def assert_the_one_before_is_used(folder: CheckpointFolder, warnings: list[str], damaged: Path, content: bytes) -> None:
    damaged.write_bytes(content)
    warnings.clear()
    assert folder.newest() == (1, folder.path(1))
    assert len(warnings) == 1
    assert warnings[0].startswith(f"checkpoint {folder.path(2)} is not used: ")
    assert not folder.path(2).exists()


@pytest.mark.parametrize("suffix", [".ckpt", ".json"])
def test_any_damaged_byte_means_the_one_before(folder: CheckpointFolder, warnings: list[str], suffix: str) -> None:
    for step in (1, 2):
        save(folder, step, size=50)
    whole = {path: path.read_bytes() for path in (folder.path(2), folder.path(2).with_suffix(".json"))}
    path = folder.path(2).with_suffix(suffix)
    size = len(whole[path])
    places = range(size) if suffix == ".json" else [0, size // 2, size - 1, *random.Random(0).sample(range(size), 30)]
    for place in places:
        for mask in (1, 32, 255):  # among them another digit, another case, and what is no text
            for each, content in whole.items():
                each.write_bytes(content)
            assert_the_one_before_is_used(folder, warnings, path, flipped(whole[path], place, mask))


@pytest.mark.parametrize("suffix", [".ckpt", ".json"])
@pytest.mark.parametrize("kept", [None, 0, 100, -1])
def test_a_cut_empty_or_missing_file_means_the_one_before(
    folder: CheckpointFolder, warnings: list[str], suffix: str, kept: int | None
) -> None:
    for step in (1, 2):
        save(folder, step)
    path = folder.path(2).with_suffix(suffix)
    if kept is not None:
        assert_the_one_before_is_used(folder, warnings, path, path.read_bytes()[:kept])
        return
    path.unlink()
    assert folder.newest() == (1, folder.path(1))
    assert len(warnings) == 1


def test_the_manifest_of_another_step_is_not_believed(folder: CheckpointFolder, warnings: list[str]) -> None:
    for step in (1, 2, 3):
        save(folder, step)
    manifest = folder.path(2).with_suffix(".json").read_bytes()
    folder.path(3).with_suffix(".json").write_bytes(manifest)
    assert folder.newest() == (2, folder.path(2))
    assert warnings[0].endswith("step-00000003.json is that of step 2")


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
