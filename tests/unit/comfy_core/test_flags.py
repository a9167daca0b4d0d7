"""Section 1.6: the command line. Each of ComfyUI's flags is taken, means something or is named, and has its help."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from comfy_core import flags
from comfy_core.config import CacheSettings, read_settings
from comfy_core.errors import InputRefused

SWITCHES = """auto-launch disable-auto-launch cuda-malloc disable-cuda-malloc force-fp32 force-fp16 fp32-unet fp64-unet
bf16-unet fp16-unet fp8_e4m3fn-unet fp8_e5m2-unet fp8_e8m0fnu-unet fp16-vae fp32-vae bf16-vae cpu-vae
fp8_e4m3fn-text-enc fp8_e5m2-text-enc fp16-text-enc fp32-text-enc bf16-text-enc force-channels-last
disable-ipex-optimize supports-fp8-compute use-split-cross-attention use-quad-cross-attention
use-pytorch-cross-attention use-sage-attention use-flash-attention disable-xformers force-upcast-attention
dont-upcast-attention async-offload force-non-blocking deterministic mmap-torch-files disable-mmap dont-print-server
disable-api-nodes"""
VALUES = "directml oneapi-device-selector default-hashing-function fast front-end-version comfy-api-base database-url"
MEANT = """
listen port tls-keyfile tls-certfile enable-cors-header max-upload-size base-directory extra-model-paths-config
output-directory temp-directory input-directory cuda-device default-device preview-method preview-size cache-classic
cache-lru cache-none cache-ram gpu-only highvram normalvram lowvram novram cpu reserve-vram disable-smart-memory
quick-test-for-ci disable-metadata disable-all-custom-nodes whitelist-custom-nodes multi-user verbose log-stdout
front-end-root user-directory enable-compress-response-body"""


@pytest.mark.parametrize("flag", SWITCHES.split())
def test_flags_without_a_meaning_are_named(flag: str) -> None:
    """1.6: taken, and listed for the warning."""
    assert read_settings([f"--{flag}"]).ignored == [f"--{flag}"]


@pytest.mark.parametrize("flag", VALUES.split())
def test_flags_with_values_and_no_meaning_are_named(flag: str) -> None:
    """1.6: their values are taken with them, so that none is read as another flag's."""
    settings = read_settings([f"--{flag}", "a", "--port", "5"])
    assert (settings.ignored, settings.network.port) == ([f"--{flag}"], 5)


def test_every_flag_has_its_help() -> None:
    """1.6: each stands in --help with words of its own."""
    shown = {
        option: action.help
        for action in flags.parser()._actions
        for option in action.option_strings
        if option not in ("-h", "--help")
    }
    for flag in (SWITCHES + " " + VALUES + " " + MEANT).split():
        assert shown[f"--{flag}"], flag
    assert all(shown.values())


def test_help_comes_without_torch() -> None:
    """1.6: --help is written at once, as text."""
    code = "import sys, runpy; sys.argv = ['x', '--help']; runpy.run_module('comfy_core', run_name='__main__')"
    done = subprocess.run([sys.executable, "-X", "importtime", "-c", code], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0
    assert "--enable-cors-header" in done.stdout
    assert not re.search(r"\btorch\b", done.stderr)


@pytest.mark.parametrize(
    ("argv", "cache"),
    [
        ([], CacheSettings("classic")),
        (["--cache-classic"], CacheSettings("classic")),
        (["--cache-lru", "0"], CacheSettings("classic")),
        (["--cache-lru", "9"], CacheSettings("lru", 9)),
        (["--cache-none"], CacheSettings("none")),
        (["--cache-ram"], CacheSettings("ram", free_gb=4.0)),
        (["--cache-ram", "2.5"], CacheSettings("ram", free_gb=2.5)),
    ],
)
def test_caches(argv: list[str], cache: CacheSettings) -> None:
    """1.6: --cache-classic, --cache-lru, --cache-none, --cache-ram."""
    assert read_settings(argv).cache == cache


@pytest.mark.parametrize(
    ("argv", "keep"),
    [
        ([], "as_room_allows"),
        (["--normalvram"], "as_room_allows"),
        (["--gpu-only"], "only_on_device"),
        (["--highvram"], "on_device"),
        (["--lowvram"], "while_used"),
        (["--novram"], "while_used"),
        (["--disable-smart-memory"], "while_used"),
    ],
)
def test_memory_modes(argv: list[str], keep: str) -> None:
    """1.6: where models stay."""
    assert read_settings([*argv, "--reserve-vram", "2"]).device.limits.keep == keep
    assert read_settings([*argv, "--reserve-vram", "2"]).device.limits.reserve == 2 << 30


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    """1.6: two caches at once, an unknown level, a front end without its page."""
    for argv in (["--cache-none", "--cache-lru", "1"], ["--verbose", "LOUD"], ["--lowvram", "--highvram"]):
        with pytest.raises(SystemExit):
            read_settings(argv)
    with pytest.raises(InputRefused, match=r"index\.html"):
        read_settings(["--front-end-root", str(tmp_path)])


def test_levels_and_previews() -> None:
    """1.6: --verbose alone means DEBUG, in any case of letters; previews default to none of 512 pixels."""
    assert read_settings(["--verbose"]).log_level == "DEBUG"
    assert read_settings(["--verbose", "warning"]).log_level == "WARNING"
    settings = read_settings(["--preview-method", "auto"])
    assert (settings.preview_method, settings.preview_size) == ("auto", 512)
