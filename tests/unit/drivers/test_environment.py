"""Names of secrets that executors get as environment variables."""

from __future__ import annotations

import pytest

from drivers.environment import LONGEST_NAME, why_not


@pytest.mark.parametrize("name", ["HF_TOKEN", "_", "A1", "MY_PATH", "OLD_LD_", "X" * LONGEST_NAME])
def test_names_that_may_be_given(name: str) -> None:
    """Capital letters, digits and underscores."""
    assert why_not(name) is None


@pytest.mark.parametrize("name", ["", "hf_token", "1A", "A-B", "A=B", "A\n", "Ä", "A B", "X" * (LONGEST_NAME + 1)])
def test_names_that_are_none(name: str) -> None:
    """Anything a shell or a process table would read in another way."""
    assert "capital letters" in (why_not(name) or "")


@pytest.mark.parametrize(
    "name",
    ["PATH", "HOME", "LD_PRELOAD", "LD_LIBRARY_PATH", "DYLD_INSERT_LIBRARIES", "PYTHONPATH", "PYTHONSTARTUP",
     "BASH_ENV", "FLEET_ENROL_TOKEN", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS"],
)  # fmt: skip
def test_names_that_would_make_programs_run_otherwise(name: str) -> None:
    """Search paths, preloaded libraries, start-up files, and what the agent itself sets."""
    assert "not given away" in (why_not(name) or "")
