"""The io types that users fill in by hand: numbers, text, switches and choices. They check no values."""

from __future__ import annotations

from enum import Enum, StrEnum
from typing import Any

from comfy_core.v3 import slot
from comfy_core.v3.slot import ComfyTypeI, ComfyTypeIO, WidgetInput, comfytype, pruned


class FolderType(StrEnum):
    """Which of the executor's folders."""

    input = "input"
    output = "output"
    temp = "temp"


class UploadType(StrEnum):
    """What a choice of files lets users upload; the value is the option's name on the wire."""

    image = "image_upload"
    audio = "audio_upload"
    video = "video_upload"
    model = "file_upload"


class NumberDisplay(StrEnum):
    """How a number is shown."""

    number = "number"
    slider = "slider"


class RemoteOptions:
    """Choices that the user interface fetches from a route. timeout and refresh in milliseconds."""

    def __init__(
        self,
        route: str,
        refresh_button: bool,
        control_after_refresh: str = "first",
        timeout: int | None = None,
        max_retries: int | None = None,
        refresh: int | None = None,
    ) -> None:
        self.route = route
        self.refresh_button = refresh_button
        self.control_after_refresh = control_after_refresh
        self.timeout = timeout
        self.max_retries = max_retries
        self.refresh = refresh

    def as_dict(self) -> dict[str, Any]:
        """As clients are told it."""
        return pruned(dict(vars(self)))


def _plain(value: Any) -> Any:
    """An enumeration's member as its value."""
    return value.value if isinstance(value, Enum) else value


@comfytype(io_type="BOOLEAN")
class Boolean(ComfyTypeIO):
    """True or false."""

    Type = bool

    class Input(WidgetInput):
        """A switch; label_on and label_off replace its words."""

        def __init__(
            self,
            id: str,  # noqa: A002 - the node protocol's name
            display_name: str | None = None,
            optional: bool = False,
            tooltip: str | None = None,
            lazy: bool | None = None,
            default: bool | None = None,
            label_on: str | None = None,
            label_off: str | None = None,
            socketless: bool | None = None,
            force_input: bool | None = None,
            extra_dict: dict[str, Any] | None = None,
        ) -> None:
            super().__init__(
                id, display_name, optional, tooltip, lazy, default, socketless, None, force_input, extra_dict
            )
            self.label_on = label_on
            self.label_off = label_off

        def _own(self) -> dict[str, Any]:
            return {"label_on": self.label_on, "label_off": self.label_off}


@comfytype(io_type="INT")
class Int(ComfyTypeIO):
    """A whole number."""

    Type = int

    class Input(WidgetInput):
        """A number within min and max, both included; control_after_generate lets it change with each run."""

        def __init__(
            self,
            id: str,  # noqa: A002
            display_name: str | None = None,
            optional: bool = False,
            tooltip: str | None = None,
            lazy: bool | None = None,
            default: int | None = None,
            min: int | None = None,  # noqa: A002
            max: int | None = None,  # noqa: A002
            step: int | None = None,
            control_after_generate: bool | None = None,
            display_mode: NumberDisplay | None = None,
            socketless: bool | None = None,
            force_input: bool | None = None,
            extra_dict: dict[str, Any] | None = None,
        ) -> None:
            super().__init__(
                id, display_name, optional, tooltip, lazy, default, socketless, None, force_input, extra_dict
            )
            self.min = min
            self.max = max
            self.step = step
            self.control_after_generate = control_after_generate
            self.display_mode = display_mode

        def _own(self) -> dict[str, Any]:
            return {
                "min": self.min,
                "max": self.max,
                "step": self.step,
                "control_after_generate": self.control_after_generate,
                "display": _plain(self.display_mode),
            }


@comfytype(io_type="FLOAT")
class Float(ComfyTypeIO):
    """A number."""

    Type = float

    class Input(WidgetInput):
        """A number within min and max, both included; round: to which multiple the user interface rounds."""

        def __init__(
            self,
            id: str,  # noqa: A002
            display_name: str | None = None,
            optional: bool = False,
            tooltip: str | None = None,
            lazy: bool | None = None,
            default: float | None = None,
            min: float | None = None,  # noqa: A002
            max: float | None = None,  # noqa: A002
            step: float | None = None,
            round: float | None = None,  # noqa: A002
            display_mode: NumberDisplay | None = None,
            socketless: bool | None = None,
            force_input: bool | None = None,
            extra_dict: dict[str, Any] | None = None,
        ) -> None:
            super().__init__(
                id, display_name, optional, tooltip, lazy, default, socketless, None, force_input, extra_dict
            )
            self.min = min
            self.max = max
            self.step = step
            self.round = round
            self.display_mode = display_mode

        def _own(self) -> dict[str, Any]:
            return {
                "min": self.min,
                "max": self.max,
                "step": self.step,
                "round": self.round,
                "display": _plain(self.display_mode),
            }


@comfytype(io_type="STRING")
class String(ComfyTypeIO):
    """Text."""

    Type = str

    class Input(WidgetInput):
        """A line, or several; dynamic_prompts: whether {a|b} is chosen from."""

        def __init__(
            self,
            id: str,  # noqa: A002
            display_name: str | None = None,
            optional: bool = False,
            tooltip: str | None = None,
            lazy: bool | None = None,
            multiline: bool = False,
            placeholder: str | None = None,
            default: str | None = None,
            dynamic_prompts: bool | None = None,
            socketless: bool | None = None,
            force_input: bool | None = None,
            extra_dict: dict[str, Any] | None = None,
        ) -> None:
            super().__init__(
                id, display_name, optional, tooltip, lazy, default, socketless, None, force_input, extra_dict
            )
            self.multiline = multiline
            self.placeholder = placeholder
            self.dynamic_prompts = dynamic_prompts

        def _own(self) -> dict[str, Any]:
            return {
                "multiline": self.multiline,
                "placeholder": self.placeholder,
                "dynamicPrompts": self.dynamic_prompts,
            }


@comfytype(io_type="COMBO")
class Combo(ComfyTypeIO):
    """One of several choices."""

    Type = str

    class Input(WidgetInput):
        """options: a list, or an Enum whose values are the choices. upload: files may be added from folder."""

        def __init__(
            self,
            id: str,  # noqa: A002
            options: list[str] | list[int] | type[Enum] | None = None,
            display_name: str | None = None,
            optional: bool = False,
            tooltip: str | None = None,
            lazy: bool | None = None,
            default: str | int | Enum | None = None,
            control_after_generate: bool | None = None,
            upload: UploadType | None = None,
            image_folder: FolderType | None = None,
            remote: RemoteOptions | None = None,
            socketless: bool | None = None,
            extra_dict: dict[str, Any] | None = None,
        ) -> None:
            super().__init__(
                id, display_name, optional, tooltip, lazy, _plain(default), socketless, extra_dict=extra_dict
            )
            self.multiselect = False
            self.options = choices(options)
            self.control_after_generate = control_after_generate
            self.upload = upload
            self.image_folder = image_folder
            self.remote = remote

        def _own(self) -> dict[str, Any]:
            return {
                "multiselect": self.multiselect,
                "options": self.options,
                "control_after_generate": self.control_after_generate,
                **({self.upload.value: True} if self.upload is not None else {}),
                "image_folder": _plain(self.image_folder),
                "remote": self.remote.as_dict() if self.remote is not None else None,
            }

    class Output(slot.Output):
        """A choice handed on; options: which ones it may be."""

        def __init__(
            self,
            id: str | None = None,  # noqa: A002
            display_name: str | None = None,
            options: list[str] | None = None,
            tooltip: str | None = None,
            is_output_list: bool = False,
        ) -> None:
            super().__init__(id, display_name, tooltip, is_output_list)
            self.options = options if options is not None else []

        @property
        def io_type(self) -> Any:
            """The choices themselves, as the V1 protocol has them."""
            return self.options


@comfytype(io_type="COMBO")
class MultiCombo(ComfyTypeI):
    """Any of several choices."""

    Type = list[str]

    class Input(Combo.Input):
        """The value is a list of choices; chip: shown as chips."""

        def __init__(
            self,
            id: str,  # noqa: A002
            options: list[str],
            display_name: str | None = None,
            optional: bool = False,
            tooltip: str | None = None,
            lazy: bool | None = None,
            default: list[str] | None = None,
            placeholder: str | None = None,
            chip: bool | None = None,
            control_after_generate: bool | None = None,
            socketless: bool | None = None,
            extra_dict: dict[str, Any] | None = None,
        ) -> None:
            super().__init__(
                id,
                options,
                display_name,
                optional,
                tooltip,
                lazy,
                control_after_generate=control_after_generate,
                socketless=socketless,
                extra_dict=extra_dict,
            )
            self.default = default
            self.multiselect = True
            self.placeholder = placeholder
            self.chip = chip

        def _own(self) -> dict[str, Any]:
            return {**super()._own(), "multi_select": True, "placeholder": self.placeholder, "chip": self.chip}


@comfytype(io_type="WEBCAM")
class Webcam(ComfyTypeIO):
    """A picture taken in the browser."""

    Type = str

    class Input(WidgetInput):
        """The name of the uploaded picture."""

        def __init__(
            self,
            id: str,  # noqa: A002
            display_name: str | None = None,
            optional: bool = False,
            tooltip: str | None = None,
            lazy: bool | None = None,
            default: str | None = None,
            socketless: bool | None = None,
            extra_dict: dict[str, Any] | None = None,
        ) -> None:
            super().__init__(id, display_name, optional, tooltip, lazy, default, socketless, extra_dict=extra_dict)


def choices(options: list[str] | list[int] | type[Enum] | None) -> list[Any] | None:
    """The choices as a list that is the input's own; of an enumeration its values."""
    if isinstance(options, type):
        return [member.value for member in options]
    return None if options is None else list(options)
