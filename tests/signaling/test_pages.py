import re

import pytest

from server.signaling.pages import HEADERS, PAGES, WEB_CLIENT
from tests.signaling.serving import Serving


@pytest.mark.parametrize("path", PAGES)
async def test_every_page_is_there_and_carries_the_headers(serving: Serving, path: str) -> None:
    for method in ("GET", "HEAD"):
        async with serving.http.request(method, path) as answer:
            assert answer.status == 200
            assert answer.content_type == "text/html"
            assert answer.headers["Cache-Control"] == "no-cache"
            assert {name: answer.headers[name] for name in HEADERS} == HEADERS
            assert "Server" not in answer.headers


async def test_errors_and_the_api_carry_the_headers_too(serving: Serving) -> None:
    for path in ("/nothing", "/api/me", "/healthz"):
        async with serving.http.get(path) as answer:
            assert answer.headers["Content-Security-Policy"] == HEADERS["Content-Security-Policy"]


async def test_modules_are_served_as_javascript(serving: Serving) -> None:
    async with serving.http.get("/assets/protocol.js") as answer:
        assert answer.status == 200
        assert answer.headers["Cache-Control"] == "no-cache"
        assert answer.content_type in ("text/javascript", "application/javascript")


@pytest.mark.parametrize(
    "path", ["/assets/", "/assets/../index.html", "/assets/%2e%2e/index.html", "/assets/none.js"]
)
async def test_nothing_but_assets_lies_under_assets(serving: Serving, path: str) -> None:
    async with serving.http.get(serving.server.base_url + path, allow_redirects=False) as answer:
        assert answer.status in (403, 404)


def test_no_page_holds_what_the_policy_forbids() -> None:
    inline = re.compile(r"<script(?![^>]*\bsrc=)|\son\w+=|<style|\sstyle=|javascript:|https?://")
    for name in PAGES.values():
        text = (WEB_CLIENT / name).read_text()
        assert not inline.search(text), name


@pytest.mark.parametrize("name", ["observe", "interview"])
def test_a_page_of_many_modules_loads_them_at_once_instead_of_one_for_another(name: str) -> None:
    page = (WEB_CLIENT / f"{name}.html").read_text()
    assert re.findall(r'<link rel="modulepreload" href="/assets/(\S+)">', page) == sorted(
        _imported(f"{name}.js") - {f"{name}.js"}
    )


def _imported(module: str) -> set[str]:
    """The module and what it imports, however far away."""
    found, waiting = set[str](), {module}
    while waiting:
        found.add(name := waiting.pop())
        text = (WEB_CLIENT / "assets" / name).read_text()
        waiting |= set(re.findall(r' from "\./(\S+)";', text)) - found
    return found
