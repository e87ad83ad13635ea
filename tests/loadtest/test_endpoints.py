import aiohttp
import pytest

from loadtest.endpoints import EndpointError, EndpointTemplates


async def test_the_number_of_the_interview_is_filled_in() -> None:
    templates = EndpointTemplates("https://x:1/{n}/whip", "https://x:1/{n}/whep", "secret", 2)
    async with aiohttp.ClientSession() as http:
        endpoints = templates.endpoints(http, 2)
    assert endpoints.whep is not None
    assert (endpoints.whip._url, endpoints.whep._url) == (
        "https://x:1/2/whip",
        "https://x:1/2/whep",
    )
    assert endpoints.whip._headers == {"Authorization": "Bearer secret"}
    assert templates.origin == "https://x:1"


async def test_without_a_whep_address_nobody_observes() -> None:
    async with aiohttp.ClientSession() as http:
        assert EndpointTemplates("http://x/whip", None, None, 5).endpoints(http, 5).whep is None


@pytest.mark.parametrize(
    ("whip", "whep", "why"),
    [
        ("ftp://x/{n}", None, "not an http"),
        ("http:///whip", None, "not an http"),
        ("http://[bad/{n}", None, "not an http"),
        ("http://x:99999/{n}", None, "not an http"),
        ("http://x/{n}", "http://[bad/{n}", "not an http"),
        ("http://x/{n}", "whep/{n}", "not an http"),
        ("http://x/whip", "http://x/whep/{n}", "both addresses need {n}"),
        ("http://x/whip/{n}", "http://x/whep", "both addresses need {n}"),
    ],
)
def test_addresses_that_cannot_work_are_refused(whip: str, whep: str | None, why: str) -> None:
    with pytest.raises(EndpointError) as error:
        EndpointTemplates(whip, whep, None, 2)
    assert why in str(error.value)
