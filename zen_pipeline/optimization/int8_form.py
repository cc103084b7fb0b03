"""int8 weights in the linear layers: a quarter of float32's bytes."""

from __future__ import annotations

from pathlib import Path

from typing_extensions import override

from zen_pipeline.files import read_json_object
from zen_pipeline.optimization.forms import Form


class Int8(Form):
    """Weight-only int8, one scale for each output channel; see `zen_pipeline.models.int8`."""

    name = "int8"

    @override
    def write(self, source: Path, target: Path) -> None:
        from zen_pipeline.corpus.tokens.tokenizer import copy_tokenizer_files
        from zen_pipeline.models.base import FamilyModel
        from zen_pipeline.models.folder import load_any, save_model
        from zen_pipeline.models.int8 import quantize_

        save_model(quantize_(load_any(source, FamilyModel)), target)
        copy_tokenizer_files(source, target)

    @override
    def holds(self, folder: Path) -> bool:
        return "quantization_config" in read_json_object(folder / "config.json")


FORM = Int8()
