"""The interface of a form, and the choice between forms: size, quality and speed, measured before and after."""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

FLOAT = "float"  # the weights as they were trained

Measure = Callable[[Path], "Measurement"]


class Form(ABC):
    """A way to store and compute the same model.

    Attributes:
        name: of the form, of its folder in a release and of its artifact.
    """

    name: ClassVar[str]

    @abstractmethod
    def write(self, source: Path, target: Path) -> None:
        """Write this form of the float model in `source` to `target`, with its tokenizer.

        Raises:
            ConfigError: `source` is not a float model folder.
        """

    @abstractmethod
    def holds(self, folder: Path) -> bool:
        """True where a model folder is of this form."""


@dataclass(frozen=True)
class Measurement:
    """One form of a model.

    Attributes:
        bytes: of the weight files.
        loss: the task's cheap figure on test data; lower is better.
        tokens_per_second: at batch 1, with the better number of threads.
        threads: that number.
    """

    bytes: int
    loss: float
    tokens_per_second: float
    threads: int


@dataclass(frozen=True)
class Choice:
    """The forms of a model, the one to go on with, and why.

    Attributes:
        forms: measurements, by the form's name.
        chosen: name of the form to go on with.
        reason: in one sentence.
        unit: of the losses.
    """

    forms: Mapping[str, Measurement]
    chosen: str
    reason: str
    unit: str

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def choose_form(
    source: Path, target: Path, forms: Mapping[str, Form], measure: Measure, *, max_loss: float, unit: str
) -> Choice:
    """Write each form of the float model in `source` below `target`, and measure all of them.

    A form is chosen when it is smaller, and no more than `max_loss` worse; of several, the smallest. Only the chosen
    one stays in `target`. Speed is reported, and too noisy to decide.

    Raises:
        ConfigError: `source` is not a float model folder.
    """
    measured = {FLOAT: measure(source)}
    for name, form in forms.items():
        form.write(source, target / name)
        measured[name] = measure(target / name)
    chosen, reason = _choose(measured, max_loss, unit)
    for name in forms:
        if name != chosen:
            shutil.rmtree(target / name)
    return Choice(measured, chosen, reason, unit)


def _choose(measured: Mapping[str, Measurement], max_loss: float, unit: str) -> tuple[str, str]:
    before, unit = measured[FLOAT], unit.replace("_", " ")
    refused, accepted = [], []
    for name, after in measured.items():
        if name == FLOAT:
            continue
        change = f"{after.loss - before.loss:+.4f} {unit}"
        if not after.loss - before.loss <= max_loss:  # NaN too
            refused.append(f"{name} weights cost {change}, more than the {max_loss} allowed")
        elif after.bytes >= before.bytes:
            refused.append(f"{name} weights are no smaller ({after.bytes} against {before.bytes} bytes)")
        else:
            share = f"{after.bytes / before.bytes:.0%} of the size at {change}"
            accepted.append((after.bytes, name, f"{share}, within the {max_loss} allowed"))
    if accepted:
        _, name, reason = min(accepted)
        return name, reason
    return FLOAT, "; ".join(refused)
