"""What all sections of a configuration have in common: settings that are known, and numbers that are numbers."""

from __future__ import annotations

from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError


class Section(BaseModel):
    """Settings by name; it refuses what is unknown, and True or False for a number, which pydantic takes for 1 or 0.

    Example:
        >>> from pydantic import ValidationError
        >>> class Evolution(Section):
        ...     generations: int
        >>> try:
        ...     Evolution(generations=True)
        ... except ValidationError as error:
        ...     print(error.errors()[0]["msg"])
        Input should be a number, not true or false
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    @field_validator("*", mode="before")
    @classmethod
    def _numbers_are_numbers(cls, value: Any, about: ValidationInfo) -> Any:
        annotation: Any = cls.model_fields[str(about.field_name)].annotation
        given = value if isinstance(value, (list, tuple)) else [value]
        if {int, float} & {annotation, *get_args(annotation)} and any(isinstance(one, bool) for one in given):
            kind = "a list of numbers" if given is value else "a number"
            raise PydanticCustomError("number", f"Input should be {kind}, not true or false")
        return value
