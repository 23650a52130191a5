"""What all settings share: typed, frozen, and a mistyped key is refused, not ignored."""

from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator


class Settings(BaseModel):
    """Some settings that belong together."""

    model_config = ConfigDict(
        frozen=True, extra='forbid', allow_inf_nan=False, protected_namespaces=())

    @model_validator(mode='before')
    @classmethod
    def _refuse_unknown_keys(cls, value: Any) -> Any:
        """Name the key and what it may have meant; pydantic's own message does neither."""
        if isinstance(value, dict):
            known = list(cls.model_fields)
            for key in value:
                if key not in known:
                    close = get_close_matches(str(key), known, n=1)
                    hint = f'did you mean {close[0]!r}?' if close else f'expected some of {known}'
                    raise ValueError(f'unknown key {key!r}: {hint}')
        return value
