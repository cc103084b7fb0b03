"""Registration and aliases in a real registry, with real files and real comparisons of small arrays."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow import MlflowClient
from safetensors.numpy import save_file

from zen_pipeline.errors import ConfigError, StageBusy
from zen_pipeline.evaluation.scores import Score
from zen_pipeline.files import file_digest
from zen_pipeline.serving import aliases, registry
from zen_pipeline.serving.bundle import Bundle, Release, model_files
from zen_pipeline.serving.decision import Comparison, compare_units
from zen_pipeline.serving.promotion import Candidate, PreparedCandidate, ReleaseContext, Released, release
from zen_pipeline.tasks.chat import TASK as CHAT
from zen_pipeline.tracking import experiment_id, mlflow_client
from zen_pipeline.workspace import Workspace

QUESTIONS = 50


@pytest.fixture
def context(workspace: Workspace, empty_database: Path, tmp_path: Path) -> Iterator[ReleaseContext]:
    workspace.mlflow_folder.mkdir()
    shutil.copy(empty_database, workspace.mlflow_folder / "mlflow.db")
    client = mlflow_client(workspace.mlflow_folder)
    experiment = experiment_id(client, "zen")
    run_id = client.create_run(experiment).info.run_id
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    return ReleaseContext(client, workspace, experiment, run_id, scratch, wait=False)


Make = Callable[..., Candidate]


@pytest.fixture
def make(workspace: Workspace) -> Make:
    """A candidate with a real model folder in the store; its answers have the F1 that is asked for."""

    def build(f1: float, *, tag: int = 0, rows: int = 4, spread: float = 0.0, int8: bool = False) -> Candidate:
        folder = workspace.store.root / "finetune" / f"{f1}-{tag}-{rows}"
        folder.mkdir(parents=True, exist_ok=True)
        weights = {"model.embed_tokens.weight": np.full((rows, 8), f1 + tag, np.float32)}
        save_file(weights, folder / "model.safetensors")
        for name in ("config.json", "tokenizer.json"):
            (folder / name).write_text("{}")
        (folder / "answers.txt").write_text("\n".join(str(v) for v in f1 + np.tile([spread, -spread], QUESTIONS // 2)))
        forms = {"float": folder, **({"int8": folder} if int8 else {})}

        def read(path: Path) -> np.ndarray[Any, np.dtype[np.float64]]:
            return np.array([float(line) for line in path.read_text().split()])

        def compare(champion: Path) -> Comparison:
            found = (read(folder / "answers.txt"), read(champion / "evaluation" / "answers.txt"))
            ours, theirs = (np.stack([f1, np.ones_like(f1)], axis=1) for f1 in found)
            return compare_units(ours, theirs, figure=CHAT.figure, metric=CHAT.metric)

        def prepare() -> PreparedCandidate:
            files = {f"{form}/{n}": p for form, where in forms.items() for n, p in model_files(where).items()}
            files["evaluation/answers.txt"] = folder / "answers.txt"
            size = (folder / "model.safetensors").stat().st_size
            held = Release(
                model="chat", task="chat", default="int8" if int8 else "float", float_bytes=size, test_set="same"
            )
            bundle = Bundle(held, files, written={"lineage.json": '{"collect": {"fingerprint": "f00d"}}'})
            tags = {registry.KIND: "chat", registry.METRICS: f'{{"answer_f1": {f1}}}'}
            return PreparedCandidate(bundle, tags, "A test model.", compare)

        return Candidate(
            "zen-chat",
            file_digest(folder / "model.safetensors"),
            seed_noise=0.02,
            max_growth=1.5,
            files=prepare().bundle.files,
            prepare=prepare,
        )

    return build


def champion(context: ReleaseContext) -> str | None:
    model = aliases.registered_model(context.client, "zen-chat")
    return model.champion if model else None


def challenger(context: ReleaseContext) -> str | None:
    model = aliases.registered_model(context.client, "zen-chat")
    return model.aliases.get("challenger") if model else None


def versions(context: ReleaseContext) -> int:
    return len(context.client.search_model_versions("name='zen-chat'"))


def test_the_first_version_is_the_champion(context: ReleaseContext, make: Make) -> None:
    assert release(make(0.5), context) == Released(
        model="zen-chat", version="1", alias="champion", reason="the first version", new=True
    )
    assert champion(context) == "1"


def test_the_same_artifact_is_not_registered_twice(context: ReleaseContext, make: Make) -> None:
    release(make(0.5), context)
    again = release(make(0.5), context)

    assert (again.version, again.alias, again.new) == ("1", "champion", False)
    assert versions(context) == 1


def test_a_better_model_takes_the_alias(context: ReleaseContext, make: Make) -> None:
    release(make(0.5), context)
    better = release(make(0.6), context)

    assert (better.version, better.alias) == ("2", "champion")
    assert champion(context) == "2"
    assert context.client.get_model_version("zen-chat", "2").tags["zen.reason"] == better.reason


@pytest.mark.parametrize(
    ("f1", "spread", "why"),
    [(0.4, 0.0, "not better"), (0.51, 0.0, "noise of the seed"), (0.55, 0.4, "two standard errors")],
)
def test_other_models_become_challengers_and_say_why(
    context: ReleaseContext, make: Make, f1: float, spread: float, why: str
) -> None:
    release(make(0.5), context)
    other = release(make(f1, spread=spread), context)

    assert other.alias == "challenger"
    assert why in other.reason
    assert (champion(context), challenger(context)) == ("1", "2")


def test_a_challenger_that_is_found_again_stays_one_without_another_comparison(
    context: ReleaseContext, make: Make
) -> None:
    release(make(0.5), context)
    first = release(make(0.4), context)
    again = release(make(0.4), context)

    assert again == first.model_copy(update={"new": False})
    assert versions(context) == 2


def test_a_model_that_grew_too_much_is_not_promoted(context: ReleaseContext, make: Make) -> None:
    release(make(0.5, rows=100), context)
    grown = release(make(0.9, rows=200), context)

    assert grown.alias == "challenger"
    assert grown.reason.startswith("too large")


def test_rollback_goes_back_step_by_step_and_is_not_undone_by_the_next_run(context: ReleaseContext, make: Make) -> None:
    for f1 in (0.5, 0.6, 0.7):
        release(make(f1), context)

    assert registry.rollback("zen-chat", context.workspace).version == "2"
    assert registry.rollback("zen-chat", context.workspace).version == "1"
    with pytest.raises(ConfigError, match="zen-chat/1 is its first champion"):
        registry.rollback("zen-chat", context.workspace)

    again = release(make(0.7), context)
    assert again.alias == "challenger"
    assert "rolled back to version 2" in again.reason
    assert champion(context) == "1"


def test_a_promotion_by_hand_stands_until_it_is_rolled_back(context: ReleaseContext, make: Make) -> None:
    release(make(0.5), context)
    release(make(0.4), context)

    promoted = registry.promote("zen-chat@challenger", context.workspace)
    assert (promoted.version, promoted.aliases) == ("2", ["champion"])
    assert release(make(0.5), context).alias == "challenger"
    assert champion(context) == "2"

    assert registry.rollback("zen-chat", context.workspace).version == "1"
    assert release(make(0.5), context).alias == "champion"


def fail_once(monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    """The next call of this client method fails before it does anything, as when the process is killed there."""
    real = getattr(MlflowClient, method)
    calls = []

    def once(self: MlflowClient, *args: Any, **kwargs: Any) -> Any:
        if not calls:
            calls.append(method)
            raise ConnectionError("cut off")
        return real(self, *args, **kwargs)

    monkeypatch.setattr(MlflowClient, method, once)


@pytest.mark.parametrize(
    "method", ["create_model_version", "set_registered_model_tag", "set_registered_model_alias", "log_outputs"]
)
def test_an_interrupted_release_leaves_the_old_champion_and_goes_on(
    context: ReleaseContext, make: Make, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    release(make(0.5), context)
    fail_once(monkeypatch, method)
    with pytest.raises(ConnectionError):
        release(make(0.6), context)
    assert champion(context) == "1"

    assert release(make(0.6), context).alias == "champion"
    assert champion(context) == "2"
    assert versions(context) == 2
    assert registry.rollback("zen-chat", context.workspace).version == "1"


def test_an_interrupted_rollback_can_be_repeated(
    context: ReleaseContext, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    for f1 in (0.5, 0.6, 0.7):
        release(make(f1), context)
    fail_once(monkeypatch, "set_registered_model_tag")
    with pytest.raises(ConnectionError):
        registry.rollback("zen-chat", context.workspace)
    assert champion(context) == "2"

    assert registry.rollback("zen-chat", context.workspace).version == "1"


def test_two_releases_at_once_do_not_mix(context: ReleaseContext, make: Make) -> None:
    with (
        aliases.hold_name(context.workspace, "zen-chat", run_id="other"),
        pytest.raises(StageBusy, match="release of zen-chat"),
    ):
        release(make(0.5), context)


def test_the_weights_are_links_and_outlive_the_store(context: ReleaseContext, make: Make) -> None:
    release(make(0.5, int8=True), context)
    stored = workspace_weights(context.workspace)
    found = registry.resolve_model("zen-chat@champion", context.workspace)

    assert found.form == "int8"
    assert found.folder.name == "int8"
    for form in ("float", "int8"):
        assert os.path.samefile(stored, found.folder.parent / form / "model.safetensors")

    shutil.rmtree(context.workspace.store.root)
    shutil.rmtree(context.scratch)
    assert (found.folder / "model.safetensors").stat().st_size > 0
    assert registry.export("zen-chat", context.workspace.home / "out", workspace=context.workspace).is_dir()


def workspace_weights(workspace: Workspace) -> Path:
    return next((workspace.store.root / "finetune").glob("*/model.safetensors"))


def test_weights_are_copied_where_links_are_impossible(
    context: ReleaseContext, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    release(make(0.5), context)

    found = registry.resolve_model("zen-chat", context.workspace).folder / "model.safetensors"
    stored = workspace_weights(context.workspace)
    assert not os.path.samefile(stored, found)
    assert found.read_bytes() == stored.read_bytes()


def test_what_cannot_be_compared_is_registered_all_the_same(context: ReleaseContext, make: Make) -> None:
    release(make(0.5), context)
    shutil.rmtree(registry.resolve_model("zen-chat", context.workspace).folder.parent)

    other = release(make(0.6), context)
    assert (other.version, other.alias, champion(context)) == ("2", "challenger", "1")
    assert "zen-chat/1 is registered, but its files are gone" in other.reason
    assert "zen models promote zen-chat/2" in other.reason
    assert registry.promote("zen-chat/2", context.workspace).aliases == ["champion"]


def flip_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.unlink()
    path.write_bytes(data)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "the weights are damaged": lambda bundle: flip_a_byte(bundle / "float" / "model.safetensors"),
    "one file is gone": lambda bundle: (bundle / "float" / "tokenizer.json").unlink(),
    "all files are gone": lambda bundle: shutil.rmtree(bundle.parent.parent),
    "the experiment's files are gone": lambda bundle: shutil.rmtree(bundle.parents[3]),
}


@pytest.mark.parametrize("what", DAMAGES)
def test_the_files_of_a_registered_version_are_put_back(context: ReleaseContext, make: Make, what: str) -> None:
    candidate = make(0.5)
    release(candidate, context)
    DAMAGES[what](registry.resolve_model("zen-chat", context.workspace).folder.parent)

    again = release(candidate, context)
    assert (again.version, again.alias, again.new, again.restored) == ("1", "champion", False, True)
    folder = registry.resolve_model("zen-chat", context.workspace).folder
    assert (folder / "model.safetensors").read_bytes() == workspace_weights(context.workspace).read_bytes()
    assert registry.show_model("zen-chat", context.workspace)["lineage"]
    assert not release(candidate, context).restored


def test_damage_that_leaves_size_and_time_is_found_when_digests_are_asked_for(
    context: ReleaseContext, make: Make
) -> None:
    candidate = make(0.5)
    release(candidate, context)
    registered = registry.resolve_model("zen-chat", context.workspace).folder / "model.safetensors"
    stored = workspace_weights(context.workspace)
    flip_a_byte(registered)
    os.utime(registered, ns=(stored.stat().st_mtime_ns,) * 2)

    assert not release(candidate, context).restored
    assert release(candidate, replace(context, verify=True)).restored
    assert registered.read_bytes() == stored.read_bytes()


@pytest.mark.parametrize(("f1", "alias"), [(0.3, "challenger"), (0.4, "challenger"), (0.5, "champion")])
def test_a_first_version_is_champion_only_above_its_plain_baseline(
    context: ReleaseContext, make: Make, f1: float, alias: str
) -> None:
    score = Score("f1", f1, "F1 of 7 answers", "most frequent answer", 0.4)
    candidate = make(f1)
    judged = replace(candidate, prepare=lambda: replace(candidate.prepare(), score=score, above_baseline=True))

    first = release(judged, context)
    assert first.alias == alias
    assert str(score) in first.reason
    assert release(judged, context).alias == alias
    if alias == "challenger":
        with pytest.raises(ConfigError, match=r"zen-chat has no champion: .*zen models promote zen-chat/1"):
            registry.resolve_model("zen-chat", context.workspace)
    assert registry.resolve_model("champion", context.workspace, kind="chat").alias == alias
    with pytest.raises(ConfigError, match="has no champion"):
        registry.resolve_model("champion", context.workspace, kind="base")


def test_a_later_version_is_not_called_the_first(context: ReleaseContext, make: Make) -> None:
    release(make(0.5), context)
    context.client.delete_registered_model_alias("zen-chat", "champion")
    second = release(make(0.3), context)
    assert (second.version, second.alias, second.reason) == ("2", "champion", "there was no champion")


def test_the_run_and_the_version_point_at_each_other(context: ReleaseContext, make: Make) -> None:
    release(make(0.5), context)
    version = context.client.get_model_version("zen-chat", "1")
    run = context.client.get_run(context.run_id)

    assert version.run_id == context.run_id
    [logged] = run.outputs.model_outputs
    model = context.client.get_logged_model(logged.model_id)
    assert model.status == "READY"
    assert model.artifact_location == version.source
    assert json.loads(model.tags["mlflow.modelVersions"]) == [{"name": "zen-chat", "version": "1"}]


@pytest.mark.parametrize("name", ["zen-chat@champion", "zen-chat/1", "zen-chat", "champion"])
def test_a_registered_model_is_found_by_each_of_its_names(context: ReleaseContext, make: Make, name: str) -> None:
    release(make(0.5), context)
    found = registry.resolve_model(name, context.workspace)

    assert (found.name, found.version, found.kind) == ("zen-chat", "1", "chat")
    assert (found.folder / "config.json").is_file()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("zen-chta@champion", r"did you mean 'zen-chat@champion'\?.*zen-chat@champion \(version 1\)"),
        ("zen-chat/9", "zen-chat has the versions 1"),
        ("zen-chat@challenger", "zen-chat has no challenger: it has the versions 1"),
        ("challenger", "the pipeline 'zen' has no challenger"),
        ("./nowhere", "no config.json"),
    ],
)
def test_an_unknown_name_says_what_there_is(context: ReleaseContext, make: Make, name: str, message: str) -> None:
    release(make(0.5), context)
    with pytest.raises(ConfigError, match=message):
        registry.resolve_model(name, context.workspace)


def test_a_folder_needs_no_workspace(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "qwen3"}')
    (folder / "tokenizer_config.json").write_text('{"chat_template": "x"}')
    monkeypatch.chdir(tmp_path)

    assert registry.resolve_model("model").kind == "chat"
    assert registry.resolve_model(str(folder)).folder == folder


def test_nothing_registered_is_said_without_making_a_database(workspace: Workspace) -> None:
    with pytest.raises(ConfigError, match="nothing is registered"):
        registry.resolve_model("champion", workspace)
    assert not workspace.mlflow_folder.exists()


def test_list_and_show(context: ReleaseContext, make: Make) -> None:
    release(make(0.5), context)
    release(make(0.4), context)

    listed = registry.list_models(context.workspace)
    assert [(m.version, m.aliases, m.metrics) for m in listed] == [
        ("2", ["challenger"], {"answer_f1": 0.4}),
        ("1", ["champion"], {"answer_f1": 0.5}),
    ]
    shown = registry.show_model("champion", context.workspace)
    assert shown["lineage"]["collect"]["fingerprint"] == "f00d"
    assert shown["champions"] == ["1"]
    assert shown["mlflow_run"] == context.run_id


def test_export_refuses_to_overwrite(context: ReleaseContext, make: Make, tmp_path: Path) -> None:
    release(make(0.5), context)
    with pytest.raises(ConfigError, match="exists already"):
        registry.export("champion", context.workspace.home, workspace=context.workspace)
    with pytest.raises(ConfigError, match="formats are hf, gguf"):
        registry.export("champion", tmp_path / "new", format="onnx", workspace=context.workspace)


def test_the_figures_that_decided_stay_with_the_version(context: ReleaseContext, make: Make) -> None:
    assert release(make(0.5), context).compared is None
    better = make(0.7)
    found = release(better, context).compared
    assert found is not None
    assert (found["candidate"], found["champion"], found["version"]) == (pytest.approx(0.7), pytest.approx(0.5), "1")
    assert release(better, context).compared == found
