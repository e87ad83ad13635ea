"""The home page, for those who run interviews."""

import pytest
from aiohttp import ClientSession
from playwright.async_api import Page, Route

from tests.e2e.chromium import ChromiumLauncher
from tests.e2e.pages import PATIENCE_MS
from tests.e2e.server_process import ServerProcess
from tests.signaling.serving import PUBLISH_OFFER, token_in


@pytest.mark.timeout(120)
@pytest.mark.parametrize("language", ["en", "zh-CN"])
async def test_a_recruiter_makes_and_withdraws_links_of_the_one_interview(
    server: ServerProcess, chromium: ChromiumLauncher, language: str
) -> None:
    await server.invite("Somebody else's")
    invited = await server.invite("Backend engineer")
    context = await (await chromium.launch()).new_context(locale=language)
    page = await context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    await page.goto(invited["recruiter_url"].replace("/observe#", "/#"))
    await page.locator("#interviews > li").wait_for()
    assert await page.locator("#interviews h2").all_text_contents() == ["Backend engineer"]
    assert await page.locator("#create").is_hidden()

    await page.locator("#interviews button[aria-expanded]").click()
    await page.locator(".link-list > .row button").first.click()
    made = await page.locator(".link-url").input_value()
    assert made.startswith(f"{server.base_url}/join#")
    await _valid_links(page, 5)

    await page.locator(".links > li button:visible").first.click()
    await page.locator('#revoke-dialog button[value="revoke"]').click()
    await _valid_links(page, 4)


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("language", "kept", "full", "caught_up"),
    [
        ("en", "kept on the server", "nearly full", "all recordings again"),
        ("zh-CN", "保存在服务器上", "即将写满", "已补传完毕"),
    ],
)
async def test_what_threatens_recordings_is_said_and_that_it_is_over(
    server: ServerProcess,
    chromium: ChromiumLauncher,
    language: str,
    kept: str,
    full: str,
    caught_up: str,
) -> None:
    invited = await server.invite("Backend engineer")
    context = await (await chromium.launch()).new_context(locale=language)
    page = await context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    holds = ["store-behind", "disk-filling"]

    async def answer(route: Route) -> None:
        await route.fulfill(json=[{"id": each, "since_s": 0} for each in holds])

    await page.route("**/api/storage", answer)
    await page.goto(invited["recruiter_url"].replace("/observe#", "/#"))
    notices = page.locator("#storage > .notice")
    await notices.nth(1).wait_for()
    assert [await each.get_attribute("data-tone") for each in await notices.all()] == [
        "bad",
        "wait",
    ]
    assert full in await notices.nth(0).inner_text()
    assert kept in await notices.nth(1).inner_text()
    holds.clear()
    await notices.filter(has_text=caught_up).wait_for()
    assert await notices.count() == 1


async def _valid_links(page: Page, count: int) -> None:
    await page.wait_for_function(
        "(n) => document.querySelectorAll('.links > li button:not([hidden])').length === n",
        arg=count,
    )


@pytest.mark.timeout(120)
async def test_who_looks_back_is_told_to_a_candidate_once_the_interview_is_over(
    server: ServerProcess, chromium: ChromiumLauncher
) -> None:
    invited = await server.invite("Backend engineer")
    token = token_in(invited["candidate_url"])
    page = await (await chromium.launch()).new_page()
    page.set_default_timeout(PATIENCE_MS)
    headers = {"Content-Type": "application/sdp"}
    async with ClientSession(server.base_url) as http:
        async with http.post(f"/whip/{token}", data=PUBLISH_OFFER, headers=headers) as answer:
            session = answer.headers["Location"]
        await page.goto(f"{server.base_url}/viewings#{token}")
        await page.get_by_text("The interview is still going on.").wait_for()
        assert await page.locator("#no-viewings").is_hidden()
        async with http.delete(session) as answer:
            assert answer.status == 200
    await page.reload()
    await page.locator("#no-viewings").wait_for()
    assert await page.locator("#viewings-later").is_hidden()
