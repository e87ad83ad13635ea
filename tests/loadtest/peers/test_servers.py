import asyncio
import sys
from pathlib import Path

import pytest

from loadtest.peers.servers import StartError, _owner_token, _ready, janus_configuration, started


def test_janus_gets_the_one_plugin_the_one_transport_and_the_one_address() -> None:
    files = janus_configuration("198.18.0.1", 8188)
    core = files["janus.jcfg"]
    assert 'ice_enforce_list = "198.18.0.1"' in core
    assert "libjanus_audiobridge.so" in core
    assert "libjanus_videoroom.so" not in core
    assert "libjanus_websockets.so" not in core
    assert 'ws_port = 8188, ws_ip = "198.18.0.1"' in files["janus.transport.websockets.jcfg"]


def test_the_owners_token_is_found_in_what_the_server_prints() -> None:
    printed = "Vivavoce is at x\n  Owner (keep this link to yourself): http://x/#v1.a.b\nmore"
    assert _owner_token(printed) == "v1.a.b"
    assert _owner_token(printed[:70]) == ""  # not yet at the line's end


@pytest.mark.may_block("reads a log file")
async def test_a_program_that_ends_at_once_is_told_with_its_last_words(tmp_path: Path) -> None:
    async def never() -> bool:
        return False

    log = tmp_path / "log"
    async with started([sys.executable, "-c", "print('no licence'); exit(3)"], log) as process:
        await process.wait()
        with pytest.raises(StartError, match="no licence"):
            await _ready(process, log, never)


@pytest.mark.may_block("opens a log file")
async def test_a_program_is_ended_with_the_block(tmp_path: Path) -> None:
    sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
    async with asyncio.timeout(10):
        async with started(sleep, tmp_path / "log") as process:
            assert process.returncode is None
    assert process.returncode == -15
