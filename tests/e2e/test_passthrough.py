"""The media process never decodes: a whole interview where no decoder can be made."""

import sys
import time
from pathlib import Path

from tests.e2e.chromium import ChromiumLauncher
from tests.e2e.pages import indicator_stream, join, leave, picture_moves
from tests.e2e.server_process import running_server

PROGRAM = (sys.executable, str(Path(__file__).with_name("without_decoders.py")))


async def test_interview_needs_no_decoder_in_the_media_process(
    tmp_path: Path, chromium: ChromiumLauncher
) -> None:
    async with running_server(tmp_path, program=PROGRAM) as server:
        invited = await server.invite("Backend engineer")
        browser = await chromium.launch()
        candidate, observer = await browser.new_page(), await browser.new_page()
        await join(candidate, invited["candidate_url"])
        await observer.goto(invited["observer_url"])
        await picture_moves(observer)
        # Somebody decodes: the workers find the face.
        async with indicator_stream(server.base_url, invited["observer_url"]) as stream:
            deadline = time.monotonic() + 30
            async for indicator in stream:
                assert time.monotonic() < deadline
                if indicator.name == "face.present" and indicator.value == 1:
                    break
        await leave(candidate)
        log = server.log.read_text()
    assert log.count("TRIPWIRE") == 1, log
    assert "the tripwire works" in log
