"""What is kept in the data directory: made once, for nobody else, refused where it is damaged."""

import stat
from pathlib import Path

import pytest

from server.config import ConfigError
from server.data_dir import (
    LINKS_KEY,
    METRICS_TOKEN,
    SERVER_FILE,
    announced_url,
    links_key,
    metrics_token,
    prepare_data_dir,
)


def test_a_damaged_announcement_is_no_address(tmp_path: Path) -> None:
    for text in ("", "{", "[]", "{}", "null", '{"url": null}'):
        (tmp_path / SERVER_FILE).write_text(text)
        assert announced_url(tmp_path) is None


def test_a_data_directory_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    with pytest.raises(ConfigError, match="--data-dir"):
        prepare_data_dir(tmp_path / "data")


def test_a_file_in_the_place_of_its_exports_is_named(tmp_path: Path) -> None:
    (tmp_path / "exports").touch()
    with pytest.raises(ConfigError, match=r"exports: File exists"):
        prepare_data_dir(tmp_path)


def test_the_links_key_is_made_once_and_for_nobody_else(tmp_path: Path) -> None:
    prepare_data_dir(tmp_path)
    key = links_key(tmp_path)
    assert links_key(tmp_path) == key
    assert len(key) == 32
    assert stat.S_IMODE((tmp_path / LINKS_KEY).stat().st_mode) == 0o600
    assert [path.name for path in (tmp_path / "keys").iterdir()] == ["links.key"]


def test_the_token_of_the_metrics_is_made_once_and_for_nobody_else(tmp_path: Path) -> None:
    prepare_data_dir(tmp_path)
    token = metrics_token(tmp_path)
    assert metrics_token(tmp_path) == token
    assert len(token) == 43
    assert stat.S_IMODE((tmp_path / METRICS_TOKEN).stat().st_mode) == 0o600


def test_a_damaged_links_key_is_refused(tmp_path: Path) -> None:
    prepare_data_dir(tmp_path)
    (tmp_path / LINKS_KEY).write_bytes(b"short")
    with pytest.raises(ConfigError, match="damaged"):
        links_key(tmp_path)


@pytest.mark.parametrize("damaged", [b"", b" \n", b"\xff" * 20])
def test_a_damaged_token_of_the_metrics_is_refused(tmp_path: Path, damaged: bytes) -> None:
    prepare_data_dir(tmp_path)
    (tmp_path / METRICS_TOKEN).write_bytes(damaged)
    with pytest.raises(ConfigError, match="damaged"):
        metrics_token(tmp_path)
