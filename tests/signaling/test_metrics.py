import time
from collections import Counter

from prometheus_client.parser import text_string_to_metric_families

from server.core.interviews import Role
from tests.signaling.serving import Serving, receive


async def scrape(serving: Serving) -> dict[tuple[str, str], float]:
    headers = serving.bearer(serving.metrics)
    async with serving.http.get("/metrics", headers=headers) as answer:
        assert answer.status == 200
        text = await answer.text()
    return {
        (sample.name, next(iter(sample.labels.values()), "")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_the_page_counts_what_happens(serving: Serving) -> None:
    before = await scrape(serving)
    assert before["vivavoce_observers", ""] == 0
    async with serving.socket(serving.token(Role.OBSERVER)) as socket:
        await receive(socket, "welcome")
        now = await scrape(serving)
    assert now["vivavoce_observers", ""] == 1
    assert now["vivavoce_tasks", ""] > before["vivavoce_tasks", ""]
    assert now["vivavoce_interviews", "waiting"] == 1
    assert now["process_cpu_seconds_total", ""] > 0
    assert ("vivavoce_recorder_fragments_total", "") in now
    assert ("vivavoce_peers", "") in now


async def test_the_media_of_all_streams_is_counted(serving: Serving) -> None:
    counted = Counter(packets_received=3, packets_lost=0)
    serving.server.hub._plant.media._counted_before = counted
    now = await scrape(serving)
    assert {what: now["vivavoce_media_total", what] for what in counted} == counted


async def public(serving: Serving) -> str:
    async with serving.http.get("/metrics") as answer:
        assert answer.status == 200
        return await answer.text()


async def test_without_the_token_nothing_tells_of_observers(serving: Serving) -> None:
    before = await public(serving)
    async with serving.socket(serving.token(Role.OBSERVER)) as observer:
        await receive(observer, "welcome")
        now = await public(serving)
    assert "vivavoce_interviews_running 0.0" in now
    told = [[line for line in text.splitlines() if "lag" not in line] for text in (before, now)]
    assert told[0] == told[1]


async def test_a_wrong_token_is_refused(serving: Serving) -> None:
    kept = serving.metrics
    for token in ("x", "é", kept[:-1], kept + "x", *map(serving.token, Role)):
        status, body = await serving.call("GET", "/metrics", token)
        assert (status, body["error"]["id"]) == (401, "token-invalid")


async def test_the_token_of_the_metrics_opens_nothing_else(serving: Serving) -> None:
    token = serving.metrics
    status, body = await serving.call("GET", "/api/me", token)
    assert (status, body["error"]["id"]) == (401, "token-invalid")


async def test_each_thread_tells_its_cpu(serving: Serving) -> None:
    before = await scrape(serving)
    sum(range(1_000_000))
    now = await scrape(serving)
    name = "vivavoce_thread_cpu_seconds_total"
    assert now[name, "MainThread"] > before[name, "MainThread"] + 0.005
    assert 0 < now[name, "recorder-writer"] < now[name, "MainThread"]


async def test_a_blocked_loop_shows_as_lag(serving: Serving) -> None:
    time.sleep(0.2)  # noqa: ASYNC251 - this is what is measured
    for _ in range(50):
        now = await scrape(serving)
        if now["vivavoce_event_loop_lag_seconds", "1"] > 0.1:
            return
    raise AssertionError("the lag was not seen")


async def test_health_and_readiness_are_said(serving: Serving) -> None:
    assert await serving.call("GET", "/healthz") == (200, b"ok\n")
    # Nothing beside it, of which one observer more would take.
    assert await serving.call("GET", "/readyz") == (200, b"ready\n")
