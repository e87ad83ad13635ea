"""The command's table."""

import pytest

from tests.commands.conftest import run


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "--help")
    assert status == 0
    for name in (
        "serve",
        "demo",
        "invite",
        "revoke",
        "recordings",
        "viewings",
        "inspect",
        "verify",
    ):
        assert name in out
