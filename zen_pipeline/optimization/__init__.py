"""Forms of a model: the same network with other numbers inside. Each is one file behind `forms.Form`."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zen_pipeline.optimization.forms import Form

# Every form besides the trained float weights, and its module.
FORMS = {"int8": "zen_pipeline.optimization.int8_form"}


def load_form(name: str) -> Form:
    """The form of this name.

    Raises:
        KeyError: there is no such form.
    """
    form: Form = import_module(FORMS[name]).FORM
    return form


def form_of(folder: Path) -> str:
    """Name of the form that a model folder is of; `float` where it is none of the others."""
    from zen_pipeline.optimization.forms import FLOAT

    return next((name for name in FORMS if load_form(name).holds(folder)), FLOAT)
