"""Settings: which one wins, what a typo is told, and that nothing a user writes ends in a traceback."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zen_pipeline.budget import parse_budget
from zen_pipeline.config import Config, load_config, merge
from zen_pipeline.errors import ConfigError
from zen_pipeline.settings.data import FilesSource


def config_file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return path


# --- precedence -------------------------------------------------------------------------------------------------------


def test_each_layer_wins_over_the_one_before(tmp_path: Path) -> None:
    file = config_file(tmp_path, "budget: 7m\nseed: 1\nembed: {dimensions: 32}\n")
    preset = load_config()
    config = load_config(file=file)
    assert (config.budget, config.seed, config.embed.dimensions) == ("7m", 1, 32)
    assert config.collect == preset.collect
    assert config.embed.window == preset.embed.window

    assert load_config(file=file, budget="9m").budget == "9m"
    config = load_config(file=file, budget="9m", overrides=["budget=11m", "embed.dimensions=64", "seed=2", "seed=3"])
    assert (config.budget, config.seed, config.embed.dimensions) == ("11m", 3, 64)


def test_data_replaces_the_sources(tmp_path: Path) -> None:
    sources = load_config(data=[str(tmp_path / "a.txt"), str(tmp_path / "b")]).collect.sources
    assert sources == [FilesSource(paths=[str(tmp_path / "a.txt"), str(tmp_path / "b")])]


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("pretrain.learning_rate=1e-3", 0.001),
        ("pretrain.learning_rate=0.5", 0.5),
        ("pretrain.learning_rate=", None),
        ("pretrain.learning_rate=null", None),
        (" pretrain.learning_rate = 2 ", 2.0),
    ],
)
def test_values_of_overrides_are_yaml(override: str, value: float | None) -> None:
    assert load_config(overrides=[override]).pretrain.learning_rate == value


def test_paths_in_a_config_file_start_at_its_folder(tmp_path: Path) -> None:
    lines = ["validate: {suites: rules, evaluation_data: [exam/*.txt], personal_labels: [names.json]}"]
    lines += ["embed: {probes: [/probes/men.txt]}"]
    (tmp_path / "zen.yaml").write_text("\n".join(lines))
    config = load_config(file=tmp_path / "zen.yaml")
    assert config.validate_.suites == str(tmp_path / "rules")
    assert config.validate_.evaluation_data == [str(tmp_path / "exam/*.txt")]
    assert config.validate_.personal_labels == [str(tmp_path / "names.json")]
    assert config.embed.probes == ("/probes/men.txt",)


def test_an_override_names_an_entry_of_a_list_by_its_number() -> None:
    config = load_config(data=["a"], overrides=["collect.sources.0.text_column=body"])
    source = config.collect.sources[0]
    assert isinstance(source, FilesSource)
    assert (source.text_column, len(source.paths)) == ("body", 1)
    with pytest.raises(ConfigError, match="no entry 3: it has 1"):
        load_config(data=["a"], overrides=["collect.sources.3.text_column=body"])


def test_what_is_said_of_rows_holds_for_every_source_of_files(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(
        "collect: {sources: [{type: python_docs}, {type: files, paths: [a], fields: {label: y}}]}"
    )
    said = {"text_column": "body", "fields": {"source": "en"}}
    source = load_config(file=tmp_path / "a.yaml", rows=said).collect.sources[1]
    assert isinstance(source, FilesSource)
    assert (source.text_column, source.fields) == ("body", {"label": "y", "source": "en"})
    with pytest.raises(ConfigError, match="--data"):
        load_config(rows=said)


def test_an_override_can_hold_an_equals_sign_and_a_list() -> None:
    config = load_config(overrides=["validate.split_salt=a=b", "collect.sources=[{type: files, paths: [x]}]"])
    assert config.validate_.split_salt == "a=b"
    assert config.collect.sources == [FilesSource(paths=["x"])]


# --- typos ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "where", "near"),
    [
        ("budgett=5m", "budgett", "budget"),
        ("validat.min_characters=1", "validat", "validate"),
        ("embed.dimension=3", "embed.dimension", "dimensions"),
        ("pretrain.model.hidden=3", "pretrain.model.hidden", "hidden_size"),
        ("validate.min_chars=3", "validate.min_chars", "min_characters"),
        ("collect.source=[]", "collect.source", "sources"),
        ("collect.sources=[{type: files, path: [x]}]", "path", "paths"),
        (
            "collect.sources=[{type: python_docs}, {type: files, paths: [x], text_colum: t}]",
            "text_colum",
            "text_column",
        ),
    ],
)
def test_an_unknown_key_is_told_the_nearest(override: str, where: str, near: str) -> None:
    with pytest.raises(ConfigError) as error:
        load_config(overrides=[override])
    assert where in str(error.value)
    assert f"did you mean {near!r}?" in str(error.value)


def test_a_key_like_no_other_is_told_all() -> None:
    with pytest.raises(ConfigError, match=r"known here: .*context_length"):
        load_config(overrides=["pretrain.model.zzz=1"])


def test_the_pythonic_name_of_a_section_is_not_a_setting() -> None:
    with pytest.raises(ConfigError, match="did you mean 'validate'"):
        load_config(overrides=["validate_.min_characters=3"])


@pytest.mark.parametrize(
    ("setting", "instead"),
    [
        ("pretrain.start_vectors", "pretrain.start"),
        ("pretrain.position_heads", "pretrain.start"),
        ("pretrain.induction_heads", "pretrain.start"),
        ("embed.ablation_steps", "benchmarks/compare_starts.py"),
        ("embed.device", "CPU"),
    ],
)
def test_a_setting_that_is_gone_is_told_what_to_do_instead(setting: str, instead: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"'{setting}'") + ".*" + re.escape(instead)):
        load_config(overrides=[f"{setting}=1"])


def test_an_unknown_preset_is_told_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'laptop'"):
        load_config(preset="labtop")


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        (["pretrain.model.heads=3", "pretrain.model.kv_heads=5"], ("heads 3", "kv_heads 5")),
        (["pretrain.model.heads=6", "pretrain.model.kv_heads=4"], ("heads 6", "kv_heads 4")),
        (["pretrain.model.hidden_size=128", "pretrain.model.kv_heads=3"], ("heads 2", "kv_heads 3")),
        (["pretrain.model.hidden_size=16", "pretrain.model.heads=16"], ("hidden_size 16", "heads 16")),
        (["pretrain.family=gpt2", "pretrain.model.hidden_size=64", "pretrain.model.heads=3"], ("64", "heads 3")),
        (["pretrain.family=bert", "pretrain.model.heads=4", "pretrain.model.kv_heads=2"], ("kv_heads", "bert")),
        (["pretrain.family=qwen"], ("pretrain.family", "'qwen'", "mean 'qwen3'")),
        (["pretrain.family=bert", "pretrain.document_mask=true"], ("document_mask", "bert")),
        (["pretrain.family=gpt2", "pretrain.whole_words=true"], ("whole_words", "gpt2")),
        (["pretrain.warmup=0.9"], ("warmup 0.9", "cooldown 0.5")),
        (["finetune.warmup=0.6"], ("warmup 0.6", "cooldown 0.5")),
        (["finetune.test_fraction=1"], ("test_fraction", "nothing")),
        (["validate.test_fraction=1"], ("test_fraction", "nothing")),
        (["pretrain.batch_tokens=64", "pretrain.model.context_length=128"], ("batch_tokens 64", "context_length 128")),
        (["pretrain.sharding=full", "pretrain.devices=1"], ("sharding", "devices is 1")),
        (["pretrain.start=words", "embed.enabled=false"], ("pretrain.start", "embed.enabled")),
        (["pretrain.start=next_token", "embed.next_token=false"], ("pretrain.start", "embed.next_token")),
        (["pretrain.family=gpt2", "pretrain.start=heads"], ("heads", "qwen3", "gpt2")),
        (["pretrain.family=bert", "pretrain.start=words"], ("words", "bert")),
    ],
)
def test_settings_that_cannot_work_together_are_refused_at_once(overrides: list[str], named: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError) as refused:
        load_config(overrides=overrides)
    assert all(each in str(refused.value) for each in named), refused.value


def test_settings_that_just_work_together_are_taken() -> None:
    overrides = ["pretrain.model={heads: 6, kv_heads: 3}", "pretrain.warmup=0.5", "finetune.test_fraction=0.99"]
    assert load_config(overrides=overrides).pretrain.model.kv_heads == 3


def test_several_problems_are_counted() -> None:
    with pytest.raises(ConfigError, match=r"\(and 1 more\)"):
        load_config(overrides=["seed=-1", "embed.window=0"])


# --- values -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "override",
    [
        "seed=-1",
        "seed=many",
        "name=No Spaces",
        "name=2020-01-01",
        'name="zen\\n"',
        "budget=soon",
        "embed.window=0",
        "pretrain=",
        "pretrain=3",
        "collect.sources=[]",
        "collect.sources=x",
        "collect.sources=[{paths: [x]}]",
        "collect.sources=[{type: shell}]",
        "collect.sources=[{type: files}]",
        "collect.sources.0.type=files",
        "validate.test_fraction=1.5",
        "validate.test_fraction=.nan",
        "validate={validation_fraction: 0.5, test_fraction: 0.5}",
        "validate={min_characters: 10, max_characters: 9}",
        "pretrain.precision=fp8",
        "name={1: 2}",
        "{1: 2}=3",
        "name=[unclosed",
        "name=2020-13-45",
        "name=!!python/object/apply:os.system [echo]",
        "no_equals_sign",
        "=3",
    ],
)
def test_an_impossible_value_is_one_clear_message(override: str) -> None:
    with pytest.raises(ConfigError) as error:
        load_config(overrides=[override])
    assert "\n" not in str(error.value)
    assert error.value.exit_code == 2


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("a: [1\nb: 2", "not valid YAML"),
        ("a: &x [*x", "not valid YAML"),
        ("- a\n- b\n", "must be a mapping"),
        ("just words", "must be a mapping"),
        ("seed: 2020-13-45", "not valid YAML"),
        ("a: !!python/name:os.system", "not valid YAML"),
        ("\0", "not valid YAML"),
        ("1: 2", "1"),
    ],
)
def test_a_bad_config_file_is_named(tmp_path: Path, text: str, what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        load_config(file=config_file(tmp_path, text))


def test_a_config_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"missing\.yaml"):
        load_config(file=tmp_path / "missing.yaml")
    with pytest.raises(ConfigError, match="cannot read"):
        load_config(file=tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"name: caf\xe9\n")
    with pytest.raises(ConfigError, match=r"latin\.yaml"):
        load_config(file=tmp_path / "latin.yaml")


def test_a_pipe_or_a_device_is_no_config_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")  # nobody writes to it, so that opening it would wait for ever
    for path in (tmp_path / "pipe.yaml", Path("/dev/zero")):
        with pytest.raises(ConfigError, match="no regular file"):
            load_config(file=path)


def test_a_config_file_that_unfolds_to_millions_of_values_is_refused_at_once(tmp_path: Path) -> None:
    levels = [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 9)]
    with pytest.raises(ConfigError):
        load_config(file=config_file(tmp_path, "\n".join(["l0: &l0 [x]", *levels, "name: *l8"])))


def test_an_empty_config_file_changes_nothing(tmp_path: Path) -> None:
    assert load_config(file=config_file(tmp_path, "# nothing yet\n")) == load_config()


# --- budgets ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "kind", "amount"),
    [
        ("90s", "seconds", 90),
        ("5m", "seconds", 300),
        ("1.5h", "seconds", 5400),
        (" 2 h ", "seconds", 7200),
        ("3e9tokens", "tokens", 3e9),
        ("1000 tokens", "tokens", 1000),
        ("30Mparams", "params", 30e6),
        ("500kparams", "params", 500e3),
        ("1.5Bparams", "params", 1.5e9),
        ("7params", "params", 7),
    ],
)
def test_budgets_are_read_in_their_unit(text: str, kind: str, amount: float) -> None:
    budget = parse_budget(text)
    assert (budget.kind, budget.amount) == (kind, pytest.approx(amount))


@pytest.mark.parametrize(
    "text", ["", "5", "m", "0m", "-5m", "5 min", "1e400params", "5M", "3e9", "nan s", "5m 3s", "1e-3h"]
)
def test_what_is_no_budget_is_told_the_forms(text: str) -> None:
    with pytest.raises(ValueError, match="write 90s, 5m, 2h, 3e9tokens or 30Mparams"):
        parse_budget(text)


# --- identity ---------------------------------------------------------------------------------------------------------


def test_what_does_not_change_the_result_is_not_part_of_the_identity() -> None:
    often = load_config(overrides=["pretrain.checkpoint_every=1", "pretrain.validate_every=1"])
    assert often.pretrain.identity() == load_config().pretrain.identity()
    assert load_config(overrides=["pretrain.weight_decay=0.5"]).pretrain.identity() != often.pretrain.identity()
    here, there = FilesSource(paths=["here/a.txt"]), FilesSource(paths=["there/a.txt"])
    assert here.identity() == there.identity()


def test_the_section_of_a_stage_is_found_by_its_name() -> None:
    config = Config()
    assert config.of("validate") is config.validate_
    with pytest.raises(KeyError):
        config.of("budget")


nested = st.recursive(st.integers(), lambda c: st.dictionaries(st.sampled_from("abc"), c, max_size=3), max_leaves=8)
mappings = st.dictionaries(st.sampled_from("abc"), nested, max_size=3)


@given(mappings, mappings, mappings)
def test_merging_is_associative_where_the_shapes_agree(one: dict, other: dict, third: dict) -> None:
    assert merge(one, {}) == merge({}, one) == merge(one, one) == one
    assert merge(merge(one, other), other) == merge(one, other)
    assert set(merge(merge(one, other), third)) == {*one, *other, *third}
