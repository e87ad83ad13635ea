"""A real server and real browsers.

    async def test_...(server: ServerProcess, chromium: ChromiumLauncher) -> None:
        invited = await server.invite("Backend engineer")
        candidate = await (await chromium.launch()).new_page()
        await candidate.goto(invited["candidate_url"])

Media files are made once per session; the server and the browsers live as long as the test.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.e2e.chromium import ChromiumLauncher, FakeDevices, chromium_launcher
from tests.e2e.media_files import write_camera, write_microphone
from tests.e2e.server_process import ServerProcess, running_server

#: Fixtures that start one, or make files for it.
_BROWSERS = {"chromium", "browser", "devices"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where tests run in several processes, those with browsers run in one, one by one."""
    here = Path(__file__).parent
    for item in items:
        if not isinstance(item, pytest.Function) or not item.path.is_relative_to(here):
            continue
        if _BROWSERS.intersection(item.fixturenames):
            item.add_marker(pytest.mark.xdist_group("browsers"))


@pytest.fixture(scope="session")
def devices(tmp_path_factory: pytest.TempPathFactory) -> FakeDevices:
    """A face that moves and a voice that reads with pauses, in a loop."""
    folder = tmp_path_factory.mktemp("devices")
    made = FakeDevices(camera=folder / "face.mjpeg", microphone=folder / "speech.wav")
    write_camera(made.camera)
    write_microphone(made.microphone)
    return made


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ServerProcess]:
    """A ready server; at the end it must stop cleanly on SIGTERM (unless the test ended it).

    It measures nobody: a test of indicators starts one that does.
    """
    async with running_server(tmp_path, "--workers", "0") as running:
        yield running


@pytest.fixture
async def chromium(devices: FakeDevices) -> AsyncIterator[ChromiumLauncher]:
    """Starts browsers with fake devices; closes them at the end."""
    async with chromium_launcher(devices) as launcher:
        yield launcher
