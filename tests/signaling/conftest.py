from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.signaling.serving import Serving, open_serving


@pytest.fixture
async def serving(tmp_path: Path) -> AsyncIterator[Serving]:
    async with open_serving(tmp_path) as opened:
        yield opened
