import asyncio

import aiohttp
import pytest

from loadtest.elsewhere import open_elsewhere


async def test_it_answers_with_what_it_was_given_and_ends() -> None:
    answers = {"/one": b"1" * 300_000, "/one/part/3?last=5": b"3"}
    async with asyncio.timeout(60), aiohttp.ClientSession() as http:
        async with open_elsewhere(answers) as url:
            for path in ("/one/part/3?last=5", "/one", "/one/part/3?last=5"):
                async with http.get(url + path) as answer:
                    assert await answer.read() == answers[path]
        with pytest.raises(aiohttp.ClientConnectorError):
            await http.get(url)
