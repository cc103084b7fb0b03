"""A released model through MLflow: loaded by name, given rows, served over HTTP."""

from __future__ import annotations

import json
import shutil
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import pandas as pd
import pytest
import torch
from mlflow.exceptions import MlflowException

from zen_pipeline.corpus.tokens.tokenizer import Tokenizer
from zen_pipeline.errors import DataError
from zen_pipeline.inference.generate import generate
from zen_pipeline.models.folder import load_model, save_model
from zen_pipeline.models.qwen3 import Qwen3, Qwen3Config
from zen_pipeline.serving import registry
from zen_pipeline.serving.bundle import Bundle, Release, model_files
from zen_pipeline.serving.promotion import Candidate, PreparedCandidate, ReleaseContext, release
from zen_pipeline.tasks import chat_markup
from zen_pipeline.tracking import experiment_id, mlflow_client
from zen_pipeline.workspace import Workspace

Released = Callable[[str], str]
FORMS = ("hf", "gguf")
KINDS = {"base": "language", "chat": "chat"}  # model and task
MESSAGES = [{"role": "user", "content": "What is a path?"}]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, small_tokenizer: Callable[[Path, list[str]], Path]) -> Path:
    """A random model that writes something."""
    target = small_tokenizer(tmp_path_factory.mktemp("model"), ["The path names a file.", "A file has a size."])
    config = Qwen3Config(
        vocab_size=Tokenizer.load(target).vocab_size,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        intermediate_size=64,
        max_position_embeddings=48,
    )
    model, generator = Qwen3(config), torch.Generator().manual_seed(3)
    for parameter in model.parameters():  # a new model has layers that do nothing: what comes first would not matter
        parameter.data.copy_(torch.randn(parameter.shape, generator=generator) * 0.4)
    save_model(model, target)
    return target


@pytest.fixture
def released(
    folder: Path, workspace: Workspace, empty_database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Released:
    """Registers the model as a base or a chat model; returns its address for MLflow."""
    workspace.mlflow_folder.mkdir()
    shutil.copy(empty_database, workspace.mlflow_folder / "mlflow.db")
    client = mlflow_client(workspace.mlflow_folder)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", client.tracking_uri)
    experiment = experiment_id(client, "zen")
    context = ReleaseContext(client, workspace, experiment, client.create_run(experiment).info.run_id, tmp_path)

    def register(kind: str) -> str:
        held = Release(model=kind, task=KINDS[kind], default="float", float_bytes=1, test_set="")
        files = {f"float/{name}": path for name, path in model_files(folder).items()}
        prepared = PreparedCandidate(
            Bundle(held, files, written={}), {registry.KIND: kind}, "A test model.", pytest.fail
        )
        release(Candidate(f"zen-{kind}", kind, 0.0, 1.5, files, lambda: prepared), context)
        return f"models:/zen-{kind}@champion"

    return register


def expected(folder: Path, ids: list[int], *, max_new_tokens: int, temperature: float = 0.0, seed: int = 0) -> str:
    model, tokenizer = load_model(folder), Tokenizer.load(folder)
    stop = tokenizer.stop_ids
    options: dict[str, Any] = {"temperature": temperature, "seed": seed, "stop_ids": stop}
    return str(tokenizer.decode(list(generate(model, ids, max_new_tokens=max_new_tokens, **options))))


def base_ids(folder: Path, text: str) -> list[int]:
    tokenizer = Tokenizer.load(folder)
    return [tokenizer.start_id, *tokenizer.encode(text)]


def test_a_base_model_continues_the_prompts_of_a_frame_or_a_list(released: Released, folder: Path) -> None:
    model = mlflow.pyfunc.load_model(released("base"))
    wanted = [expected(folder, base_ids(folder, text), max_new_tokens=12) for text in ("The path", "A file")]
    assert all(wanted)

    for rows in (pd.DataFrame({"prompt": ["The path", "A file"]}), [{"prompt": "The path"}, {"prompt": "A file"}]):
        assert model.predict(rows, params={"max_new_tokens": 12}) == wanted


def test_temperature_and_seed_decide_the_text(released: Released, folder: Path) -> None:
    model = mlflow.pyfunc.load_model(released("base"))
    params = {"max_new_tokens": 12, "temperature": 1.0, "seed": 5}

    [text] = model.predict([{"prompt": "The path"}], params=params)
    assert text == expected(folder, base_ids(folder, "The path"), max_new_tokens=12, temperature=1.0, seed=5)
    assert [text] != model.predict([{"prompt": "The path"}], params={**params, "seed": 6})


def test_a_chat_model_takes_messages_or_one_question(released: Released, folder: Path) -> None:
    model = mlflow.pyfunc.load_model(released("chat"))
    wanted = expected(folder, chat_markup.prompt(Tokenizer.load(folder), MESSAGES), max_new_tokens=8)

    assert model.predict([{"messages": MESSAGES}], params={"max_new_tokens": 8}) == [wanted]
    assert model.predict([{"prompt": "What is a path?"}], params={"max_new_tokens": 8}) == [wanted]
    mixed = pd.DataFrame({"prompt": ["What is a path?", None], "messages": [None, MESSAGES]})
    assert model.predict(mixed, params={"max_new_tokens": 8}) == [wanted, wanted]


def test_rows_that_cannot_be_answered_are_named(released: Released) -> None:
    model = mlflow.pyfunc.load_model(released("chat"))
    with pytest.raises(DataError, match="row 0: expected a text in `prompt` or turns in `messages`"):
        model.predict(pd.DataFrame({"prompt": [None]}))
    with pytest.raises(DataError, match=r"row 0: the prompt has \d+ tokens, the model's context is 48"):
        model.predict([{"prompt": "word " * 80}])


def test_several_prompts_under_one_name_are_as_many_rows(released: Released) -> None:
    for kind in KINDS:
        model = mlflow.pyfunc.load_model(released(kind))
        wanted = model.predict([{"prompt": "The path"}, {"prompt": "A file"}], params={"max_new_tokens": 4})
        assert model.predict({"prompt": ["The path", "A file"]}, params={"max_new_tokens": 4}) == wanted
        assert model.predict(pd.DataFrame({"prompt": []}, dtype=str)) == []


@pytest.mark.parametrize("kind", KINDS)
def test_any_other_shape_is_answered_with_the_right_ones(released: Released, kind: str) -> None:
    model = mlflow.pyfunc.load_model(released(kind))
    other = (["a text"], "a text", [], {}, {"instances": [{"prompt": "a"}]}, pd.DataFrame({"text": ["a"]}), 3)
    for shape in other:
        with pytest.raises(MlflowException, match=r'"prompt": .*found none'):
            model.predict(shape)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", float("nan")),
        ("temperature", float("inf")),
        ("temperature", -1.0),
        ("max_new_tokens", 0),
        ("seed", -1),
    ],
)
def test_a_parameter_out_of_range_is_named(released: Released, name: str, value: float) -> None:
    model = mlflow.pyfunc.load_model(released("base"))
    with pytest.raises(MlflowException, match=f"params: {name} is {value}"):
        model.predict([{"prompt": "a"}], params={name: value})


def test_nothing_is_pickled_and_requirements_are_few(released: Released, workspace: Workspace) -> None:
    released("base")
    files = registry.resolve_model("champion", workspace).folder.parents[2]

    assert not [p for p in files.rglob("*") if p.suffix in (".pkl", ".pt", ".bin", ".pyc")]
    required = (files / "requirements.txt").read_text().split()
    assert all("==" in line and "+" not in line for line in required)
    assert {line.split("==")[0] for line in required} >= {"mlflow", "torch", "safetensors", "tokenizers", "pydantic"}
    assert len(required) < 12


def test_a_chat_template_of_somebody_else_needs_transformers(
    released: Released, folder: Path, workspace: Workspace
) -> None:
    template = "{% for m in messages %}{{ m.role + ': ' + m.content + '<|im_end|>' }}{% endfor %}assistant: "
    (folder / "chat_template.jinja").write_text(template)
    try:
        model = mlflow.pyfunc.load_model(released("chat"))
    finally:
        (folder / "chat_template.jinja").unlink()  # the other tests use the same folder
    assert isinstance(model.predict([{"prompt": "Who?"}], params={"max_new_tokens": 2})[0], str)
    required = (registry.resolve_model("champion", workspace).folder.parents[2] / "requirements.txt").read_text()
    assert {"transformers", "jinja2"} <= {line.split("==")[0] for line in required.split()}


@pytest.mark.large
def test_a_chat_model_is_served_over_http(
    released: Released, folder: Path, tmp_path: Path, running_server: Callable[..., Any], free_port: Callable[[], int]
) -> None:
    address = f"http://127.0.0.1:{(port := free_port())}"
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", released("chat"), "--env-manager", "local"]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    body = {"inputs": [{"messages": MESSAGES}], "params": {"max_new_tokens": 8}}
    with running_server(command, f"{address}/ping", tmp_path):
        answer = ask(address, body)

    wanted = expected(folder, chat_markup.prompt(Tokenizer.load(folder), MESSAGES), max_new_tokens=8)
    assert answer == {"predictions": [wanted]}


def test_pipeline_command_and_server_continue_a_prompt_with_the_same_text(
    released: Released,
    workspace: Workspace,
    tmp_path: Path,
    running_server: Callable[..., Any],
    free_port: Callable[[], int],
) -> None:
    from transformers import pipeline

    address = released("base")
    folder = registry.export("champion", tmp_path / "hf", format="hf", workspace=workspace)
    options = {"max_new_tokens": 16, "do_sample": False, "return_full_text": False}
    said = {"pipeline": pipeline("text-generation", str(folder))("The path", **options)[0]["generated_text"]}
    said["zen"] = generated(folder)
    url = f"http://127.0.0.1:{(port := free_port())}"
    serve = [sys.executable, "-m", "mlflow", "models", "serve", "-m", address, "--env-manager", "local"]
    with running_server([*serve, "--host", "127.0.0.1", "--port", str(port)], f"{url}/ping", tmp_path):
        body = {"instances": [{"prompt": "The path"}], "params": {"max_new_tokens": 16}}
        said["server"] = ask(url, body)["predictions"][0]
        with pytest.raises(urllib.error.HTTPError) as refused:
            ask(url, {"inputs": [{"text": "x"}]})
        assert refused.value.code == 400
        assert "found none of these fields" in json.load(refused.value)["message"]
    assert said["zen"]
    assert set(said.values()) == {said["zen"]}


def test_llama_cpp_continues_a_prompt_with_the_same_text(
    released: Released, workspace: Workspace, tmp_path: Path
) -> None:
    llama_cpp = pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed: it is compiled for minutes")
    released("base")
    folders = {form: registry.export("champion", tmp_path / form, format=form, workspace=workspace) for form in FORMS}
    engine = llama_cpp.Llama(str(folders["gguf"] / "model.gguf"), n_ctx=48, verbose=False)
    said = engine("The path", max_tokens=16, temperature=0.0, repeat_penalty=1.0)["choices"][0]["text"]
    assert said == generated(folders["hf"])


def generated(folder: Path) -> str:
    """What `zen generate` says."""
    from typer.testing import CliRunner

    from zen_pipeline.cli import app

    command = ["generate", "The path", "-m", str(folder), "-n", "16", "-t", "0", "--json"]
    return str(json.loads(CliRunner().invoke(app, command).stdout)["text"])


def ask(url: str, body: Any) -> Any:
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{url}/invocations", json.dumps(body).encode(), headers)
    return json.load(urllib.request.urlopen(request, timeout=60))
