import re

import pytest

from server.signaling.pages import HEADERS, PAGES, WEB_CLIENT, Pages
from tests.signaling.serving import Serving

VERSION = Pages().version


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


async def test_a_page_names_its_modules_by_a_version_and_they_are_kept(serving: Serving) -> None:
    async with serving.http.get("/observe") as answer:
        page = await answer.text()
    named = set(re.findall(r'"(/assets/[^"#]+)', page))
    assert len(named) > 20
    assert {path.split("/")[2] for path in named} == {VERSION}
    for path in named:
        async with serving.http.get(path) as answer:
            assert answer.status == 200
            assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
            kind = {"js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}
            assert answer.content_type == kind[path.rpartition(".")[2]]


async def test_a_page_of_another_version_gets_what_there_is_and_does_not_keep_it(
    serving: Serving,
) -> None:
    async with serving.http.get("/assets/0123/protocol.js") as answer:
        assert answer.status == 200
        assert answer.headers["Cache-Control"] == "no-cache"


async def test_texts_are_compressed_for_those_who_take_it(serving: Serving) -> None:
    whole = (WEB_CLIENT / "assets" / "strings.js").read_bytes()
    for accepted, encoding in (("gzip, br", "gzip"), ("identity", None)):
        headers = {"Accept-Encoding": accepted}
        async with serving.http.get("/assets/0123/strings.js", headers=headers) as answer:
            assert answer.headers.get("Content-Encoding") == encoding
            assert answer.headers["Vary"] == "Accept-Encoding"
            assert await answer.read() == whole


@pytest.mark.parametrize(
    "path",
    ["/assets/", "/assets/x/../index.html", "/assets/x/%2e%2e%2findex.html", "/assets/x/none.js"],
)
async def test_nothing_but_assets_lies_under_assets(serving: Serving, path: str) -> None:
    async with serving.http.get(serving.server.base_url + path, allow_redirects=False) as answer:
        assert answer.status in (403, 404)


def test_no_page_holds_what_the_policy_forbids() -> None:
    inline = re.compile(r"<script(?![^>]*\bsrc=)|\son\w+=|<style|\sstyle=|javascript:|https?://")
    for name in PAGES.values():
        text = (WEB_CLIENT / name).read_text()
        assert not inline.search(text), name


@pytest.mark.parametrize("entries", [("observing", "observe"), ("interview",)], ids=str)
def test_a_page_of_many_modules_loads_them_at_once_instead_of_one_for_another(
    entries: tuple[str, ...],
) -> None:
    """What connects comes first: it does not wait for the rest."""
    page, wanted = (WEB_CLIENT / f"{entries[-1]}.html").read_text(), list[str]()
    for entry in entries:
        wanted += sorted(_imported(f"{entry}.js") - {f"{each}.js" for each in entries} - {*wanted})
    assert re.findall(r'<link rel="modulepreload" href="/assets/(\S+)">', page) == wanted


def _imported(module: str) -> set[str]:
    """The module and what it imports, however far away."""
    found, waiting = set[str](), {module}
    while waiting:
        found.add(name := waiting.pop())
        text = (WEB_CLIENT / "assets" / name).read_text()
        waiting |= set(re.findall(r' from "\./(\S+)";', text)) - found
    return found
