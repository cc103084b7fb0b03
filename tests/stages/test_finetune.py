"""The fine-tuning stage, training in a real process."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.stages import evaluation_artifacts as made
from zen_pipeline.artifacts import ArtifactRef
from zen_pipeline.config import Config
from zen_pipeline.errors import ConfigError
from zen_pipeline.inference.generate import generate
from zen_pipeline.models.folder import load_model
from zen_pipeline.pipeline.stage import StageContext
from zen_pipeline.settings.models import FinetuneConfig, PretrainConfig
from zen_pipeline.stages import finetune
from zen_pipeline.tasks.chat_markup import CHAT_TEMPLATE, chat_format
from zen_pipeline.tasks.questions import read_questions
from zen_pipeline.training.resolved import Finetuning, Resolved, Shape
from zen_pipeline.workspace import Workspace

STEPS = 60


def resolved(workspace: Workspace, context: int = made.CONTEXT) -> ArtifactRef:
    def fill(output: Path) -> None:
        answer = Resolved(
            vocab_size=330,
            model=Shape(
                hidden_size=32, layers=2, heads=2, kv_heads=1, head_dim=16, intermediate_size=64,
                context_length=context, tie_embeddings=True,
            ),
            init_from=False, parameters=30_000, steps=10, batch_tokens=960, micro_batch=8, precision="fp32", threads=1,
            learning_rate=0.02, embedding_learning_rate=0.01,
            finetune=Finetuning(steps=STEPS, micro_batch=8, learning_rate=0.02, embedding_learning_rate=0.02),
            reasons=[], estimates={},
        )  # fmt: skip
        (output / "resolved.json").write_text(answer.model_dump_json())

    return made.store(workspace, f"resolve{context}", fill)


def inputs_of(workspace: Workspace, records: list[made.Record]) -> dict[str, ArtifactRef]:
    tokens = made.tokenized(workspace, records)
    return {
        "validate": made.validated(workspace, records),
        "resolve": resolved(workspace),
        "tokenize": tokens,
        "pretrain-base": made.pretrained(workspace, tokens),
    }


def config_of(**settings: object) -> Config:
    return Config(finetune=FinetuneConfig(batch_size=16, test_fraction=0.2, validate_every=30, **settings))


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def inputs(workspace: Workspace) -> dict[str, ArtifactRef]:
    talk = [made.chat_record(n, "train" if n < 20 else "test") for n in range(24)]
    return inputs_of(workspace, made.documentation() + talk)


def given_model(workspace: Workspace) -> ArtifactRef:
    return made.skipped(workspace, "pretrain", "a given model is fine-tuned", model="base")


def tuned_from(folder: Path, inputs: dict[str, ArtifactRef], workspace: Workspace) -> ArtifactRef:
    config = config_of(init_from=str(folder), steps=2)
    return finetune.STAGE.run(config, inputs, StageContext(workspace, "test"), made.CHAT)


@pytest.fixture(scope="module")
def tuned(workspace: Workspace, inputs: dict[str, ArtifactRef]) -> ArtifactRef:
    return finetune.STAGE.run(config_of(), inputs, StageContext(workspace, "test"), made.CHAT)


def test_the_chat_model_has_learnt_to_answer(tuned: ArtifactRef) -> None:
    rows = [json.loads(line) for line in (tuned.path / "history.jsonl").read_text().splitlines()]
    assert len(rows) == STEPS
    assert rows[-1]["loss"] < 0.5 * rows[0]["loss"]
    assert tuned.summary["steps"] == STEPS
    assert tuned.summary["final"]["validation_loss"] > 0
    chat, model = chat_format(tuned.path), load_model(tuned.path).eval()
    ids = chat.prompt([{"role": "user", "content": "Is the number 4 even?"}])
    said = chat.decode(list(generate(model, ids, max_new_tokens=30, temperature=0.0, stop_ids=chat.stop_ids)))
    assert said.startswith("It is ")
    assert len(said) < 40  # it ended by itself


def test_transformers_opens_it_as_a_chat_model(tuned: ArtifactRef) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(tuned.path), local_files_only=True)
    model = AutoModelForCausalLM.from_pretrained(str(tuned.path), local_files_only=True)
    messages = [{"role": "user", "content": "Is the number 4 even?"}]
    theirs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    chat, ours = chat_format(tuned.path), load_model(tuned.path).eval()
    prompt = chat.prompt(messages)
    assert theirs["input_ids"][0].tolist() == prompt
    made_by_them = model.generate(**theirs, max_new_tokens=30, do_sample=False)[0, len(prompt) :].tolist()
    expected = list(generate(ours, prompt, max_new_tokens=30, temperature=0.0, stop_ids=chat.stop_ids))
    assert made_by_them[: len(expected)] == expected
    assert made_by_them[len(expected)] in chat.stop_ids  # generation_config.json told it to stop


def test_the_questions_are_kept_and_no_test_subject_was_learnt(tuned: ArtifactRef) -> None:
    parts = {name: read_questions(tuned.path / f"questions_{name}.jsonl") for name in ("train", "valid", "test")}
    api = {name: {q.subject for q in questions if q.form != "chat"} for name, questions in parts.items()}
    assert api["test"]
    assert not api["test"] & (api["train"] | api["valid"])
    assert sum(q.form == "chat" for q in parts["test"]) == 4  # the test split of the corpus
    counts = tuned.summary["questions"]
    assert [counts[name] for name in parts] == [len(questions) for questions in parts.values()]
    documented = {f"shelf.Item{n}.take" for n in range(60) if n % 10 > 1}  # their documentation is in the train split
    assert api["train"] | api["valid"] | api["test"] <= documented


def test_the_template_travels_with_the_model(tuned: ArtifactRef) -> None:
    config = json.loads((tuned.path / "tokenizer_config.json").read_text())
    assert config["chat_template"] == CHAT_TEMPLATE
    assert json.loads((tuned.path / "generation_config.json").read_text())["eos_token_id"] == [0, 2]


def test_a_second_run_finds_it_in_the_store(
    workspace: Workspace, inputs: dict[str, ArtifactRef], tuned: ArtifactRef
) -> None:
    again = finetune.STAGE.run(config_of(), inputs, StageContext(workspace, "again"), made.CHAT)
    assert again.cached
    assert again.digest == tuned.digest


@pytest.mark.large
def test_it_is_trained_on_the_devices_of_pretraining(
    workspace: Workspace, inputs: dict[str, ArtifactRef], tuned: ArtifactRef
) -> None:
    config = config_of(weight_decay=0.01).model_copy(update={"pretrain": PretrainConfig(devices=2, sharding="full")})
    ref = finetune.STAGE.run(config, inputs, StageContext(workspace, "test"), made.CHAT)
    assert (ref.summary["devices"], ref.summary["sharding"]) == (2, "full")
    assert ref.summary["tokens"] == tuned.summary["tokens"]
    assert ref.summary["final"]["train_loss"] == pytest.approx(tuned.summary["final"]["train_loss"], rel=0.1)


def test_conversations_that_the_template_refuses_are_left_out_and_counted(
    workspace: Workspace, inputs: dict[str, ArtifactRef], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made.save_random_model(tmp_path, inputs["tokenize"].path)
    (tmp_path / "chat_template.jinja").write_text(
        "{% for m in messages %}{% if '7' in m.content %}{{ raise_exception('no sevens') }}{% endif %}"
        "{{ '<|im_start|>' + m.role + ': ' + m.content + '<|im_end|>' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant: ' }}{% endif %}"
    )
    given = {**inputs, "pretrain-base": given_model(workspace)}
    with caplog.at_level("WARNING"):
        ref = tuned_from(tmp_path, given, workspace)
    counts = ref.summary["questions"]
    kept = [q for name in ("train", "valid", "test") for q in read_questions(ref.path / f"questions_{name}.jsonl")]
    assert counts["refused"] > 0
    assert not [q for q in kept if any("7" in m["content"] for m in q.messages)]
    assert f"{counts['refused']} conversations are left out" in caplog.text
    assert "no sevens" in caplog.text


def test_a_tokenizer_with_more_ids_than_the_given_model_has_embeddings_is_refused(
    workspace: Workspace, inputs: dict[str, ArtifactRef], tmp_path: Path
) -> None:
    made.save_random_model(tmp_path, inputs["tokenize"].path)
    tokenizer = json.loads((tmp_path / "tokenizer.json").read_text())
    added = {**tokenizer["added_tokens"][0], "id": 5000, "content": "<|more|>"}
    tokenizer["added_tokens"].append(added)
    (tmp_path / "tokenizer.json").write_text(json.dumps(tokenizer))
    given = {**inputs, "pretrain-base": given_model(workspace)}
    with pytest.raises(ConfigError, match="embeddings"):
        tuned_from(tmp_path, given, workspace)


def test_it_starts_from_a_given_folder_with_that_folders_template(
    workspace: Workspace, inputs: dict[str, ArtifactRef], tmp_path: Path
) -> None:
    made.save_random_model(tmp_path, inputs["tokenize"].path)
    own = json.loads((tmp_path / "tokenizer_config.json").read_text())
    own["chat_template"] = (
        "{% for m in messages %}{{ '<|im_start|>' + m.role + ': ' + m.content + '<|im_end|>' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant: ' }}{% endif %}"
    )
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(own))
    given = {**inputs, "pretrain-base": given_model(workspace)}
    config = config_of(init_from=str(tmp_path), steps=2)
    ref = finetune.STAGE.run(config, given, StageContext(workspace, "test"), made.CHAT)
    assert ref.skipped is None
    assert json.loads((ref.path / "tokenizer_config.json").read_text())["chat_template"] == own["chat_template"]
    before = finetune.STAGE.identity(config, {n: r.fingerprint for n, r in given.items()}, workspace, made.CHAT)
    (tmp_path / "config.json").write_text((tmp_path / "config.json").read_text() + "\n")
    after = finetune.STAGE.identity(config, {n: r.fingerprint for n, r in given.items()}, workspace, made.CHAT)
    assert after.changed_from(before.parts) == ["sources.init_from"]


# --- nothing to do ----------------------------------------------------------------------------------------------------


def test_turned_off_it_is_skipped(workspace: Workspace, inputs: dict[str, ArtifactRef]) -> None:
    ref = finetune.STAGE.run(config_of(enabled=False), inputs, StageContext(workspace, "test"), made.CHAT)
    assert "finetune.enabled" in str(ref.skipped)


def test_a_corpus_without_questions_is_skipped_with_what_to_add(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    prose = [made.Record(f"r{n}", f"g{n}", f"Chapter {n}. It rained again." * 9, "book", "en", s) for n, s in
             enumerate(["train"] * 6 + ["valid", "test"])]  # fmt: skip
    ref = finetune.STAGE.run(config_of(), inputs_of(workspace, prose), StageContext(workspace, "test"), made.CHAT)
    assert "messages" in str(ref.skipped)
    assert "python_docs" in str(ref.skipped)


def test_without_a_base_model_it_is_skipped_with_its_reason(
    workspace: Workspace, inputs: dict[str, ArtifactRef]
) -> None:
    given = {**inputs, "pretrain-base": made.skipped(workspace, "pretrain", "too little text", model="base")}
    ref = finetune.STAGE.run(config_of(), given, StageContext(workspace, "test"), made.CHAT)
    assert "too little text" in str(ref.skipped)


def test_conversations_that_do_not_fit_are_dropped_and_counted(
    workspace: Workspace, inputs: dict[str, ArtifactRef]
) -> None:
    given = {**inputs, "resolve": resolved(workspace, context=56)}
    ref = finetune.STAGE.run(config_of(steps=2), given, StageContext(workspace, "test"), made.CHAT)
    questions = ref.summary["questions"]
    assert 0 < questions["too_long"] < questions["train"]
    none = finetune.STAGE.run(config_of(), {**inputs, "resolve": resolved(workspace, context=17)},
                        StageContext(workspace, "test"), made.CHAT)  # fmt: skip
    assert "pretrain.model.context_length=64" in str(none.skipped)
