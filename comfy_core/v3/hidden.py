"""Hidden inputs of V3 nodes: what a node may ask of the run around it. It knows no schema."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any


class Hidden(StrEnum):
    """What a schema may list under `hidden`; the values are the names of the V1 protocol."""

    unique_id = "UNIQUE_ID"
    prompt = "PROMPT"
    extra_pnginfo = "EXTRA_PNGINFO"
    dynprompt = "DYNPROMPT"
    auth_token_comfy_org = "AUTH_TOKEN_COMFY_ORG"  # noqa: S105 - a name, not the token
    api_key_comfy_org = "API_KEY_COMFY_ORG"


class HiddenHolder:
    """`cls.hidden`: the values of one call. What a schema did not ask for is None, and so is any unknown name."""

    def __init__(
        self,
        unique_id: str | None = None,
        prompt: Any = None,
        extra_pnginfo: Any = None,
        dynprompt: Any = None,
        auth_token_comfy_org: str | None = None,
        api_key_comfy_org: str | None = None,
        **others: Any,
    ) -> None:
        self.unique_id = unique_id
        self.prompt = prompt
        self.extra_pnginfo = extra_pnginfo
        self.dynprompt = dynprompt
        self.auth_token_comfy_org = auth_token_comfy_org
        self.api_key_comfy_org = api_key_comfy_org
        self.__dict__.update(others)

    def __getattr__(self, name: str) -> Any:
        """Only reached for names that nobody set."""
        if name.startswith("__"):
            raise AttributeError(name)
        return None

    @classmethod
    def from_dict(cls, values: Mapping[Any, Any] | None) -> HiddenHolder:
        """From values by name, or by Hidden member."""
        named = {}
        for key, value in (values or {}).items():
            named[key.name if isinstance(key, Hidden) else str(key)] = value
        return cls(**named)
