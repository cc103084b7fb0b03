"""What all settings have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

# A field marked with this does not change what a stage makes, so it is not part of the fingerprint.
NOT_IDENTITY: dict[str, Any] = {"identity": False}

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


class Section(BaseModel):
    """Settings of one stage: immutable, and strict about unknown keys.

    Attributes:
        former: names of settings that are gone, and for each what to do instead; the error about the name says it.
    """

    former: ClassVar[Mapping[str, str]] = {}

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    def identity(self) -> dict[str, Any]:
        """The settings that decide the stage's result, as plain JSON values."""
        skip = {
            name
            for name, field in type(self).model_fields.items()
            if isinstance(field.json_schema_extra, dict) and field.json_schema_extra.get("identity") is False
        }
        return self.model_dump(mode="json", exclude=skip)
