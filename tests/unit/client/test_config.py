"""Where the client finds its fleet."""

from __future__ import annotations

from pathlib import Path

import pytest

from client import config
from client.errors import SetupProblem

UP = config.UpFile(url="http://127.0.0.1:8420", email="admin@localhost", password="p", api_key="cf_up")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder of a fleet that was started."""
    config.write_up_file(tmp_path / "up.json", UP)
    return tmp_path


def test_up_json_is_for_its_owner_only(data: Path) -> None:
    """up.json holds a password: mode 0600, and it reads back as it was written."""
    assert (data / "up.json").stat().st_mode & 0o777 == 0o600
    assert config.read_up_file(data / "up.json") == UP


def test_options_come_before_the_environment_and_that_before_up_json(data: Path) -> None:
    """The nearest word counts."""
    environ = {"FLEET_URL": "http://env", "FLEET_API_KEY": "cf_env"}
    assert config.access("http://given", "cf_given", data, environ) == config.Access("http://given", "cf_given")
    assert config.access(None, None, data, environ) == config.Access("http://env", "cf_env")
    assert config.access(None, None, data, {}) == config.Access(UP.url, UP.api_key)


def test_a_key_never_goes_to_another_fleet(data: Path) -> None:
    """up.json's key is not sent to an address that is not up.json's."""
    with pytest.raises(SetupProblem, match="not of http://elsewhere"):
        config.access("http://elsewhere", None, data, {})


def test_no_fleet_says_what_to_do(tmp_path: Path) -> None:
    """Without any address the message names the remedy."""
    with pytest.raises(SetupProblem, match="make up"):
        config.access(None, None, tmp_path, {})


def test_an_isolated_child_sees_no_setting_of_a_fleet() -> None:
    """The demo's fleet is not led astray by FLEET_* or DATABASE_URL."""
    environ = {"PATH": "/bin", "FLEET_PORT": "1", "DATABASE_URL": "postgres://x"}
    assert config.child_environment(isolated=True, environ=environ) == {"PATH": "/bin", "PYTHONUNBUFFERED": "1"}
    assert config.child_environment(isolated=False, environ=environ)["FLEET_PORT"] == "1"
