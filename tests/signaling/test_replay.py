import asyncio
import shutil
import time
from typing import Any

import pytest
from msgspec.structs import replace

from server.core.frames import Codec, EncodedFrame
from server.core.interviews import Role
from server.recorder.catalog.receipt import check_receipt
from server.recorder.evidence.tlog import read_log
from server.recorder.evidence.verify import TOLD_S
from server.recorder.keys.key_database import KeyDatabase
from server.recorder.writing.witness import Witness
from server.signaling.replay import MAX_FRAGMENTS, MAX_PLACES
from server.store import Store, StoreError
from tests.recorder.conftest import POLICY
from tests.recorder.encoded import START_S, camera, in_order, interviewer, microphone, screen
from tests.signaling.serving import Serving


async def record(
    serving: Serving, interview_id: str, frames: list[EncodedFrame] | None = None
) -> None:
    """By the real recorder; two seconds of camera and microphone if not told otherwise."""
    recording = serving.server.recorder.record(interview_id, "One", POLICY, lambda _: None)
    for frame in frames or in_order(camera(Codec.H264), microphone()):
        recording.on_frame(frame)
    await recording.close()


@pytest.fixture
async def recorded(serving: Serving) -> Serving:
    await record(serving, serving.one.interview_id)
    await record(serving, serving.two.interview_id)
    return serving


async def test_a_recruiter_sees_its_recording_and_an_owner_all(recorded: Serving) -> None:
    one, two = recorded.one.interview_id, recorded.two.interview_id
    for token, expected in (
        (recorded.token(Role.RECRUITER), {one}),
        (recorded.token(Role.RECRUITER, recorded.two), {two}),
        (recorded.owner, {one, two}),
    ):
        status, listed = await recorded.call("GET", "/api/recordings", token)
        assert status == 200
        assert {each["interview_id"] for each in listed} == expected
    assert listed[0]["state"] == "finished"
    assert listed[0]["duration_s"] == pytest.approx(2.0, abs=0.1)


async def test_a_recording_is_read_part_by_part(recorded: Serving) -> None:
    token = recorded.token(Role.RECRUITER)
    path = f"/api/recordings/{recorded.one.interview_id}"
    _, index = await recorded.call("GET", path, token)
    assert index["tracks"] == ["camera", "microphone"]
    assert index["fragments"][0]["keyframe"]
    status, init = await recorded.call("GET", f"{path}/init/0", token)
    assert (status, init[4:8]) == (200, b"ftyp")
    for fragment in index["fragments"]:
        status, body = await recorded.call("GET", f"{path}/fragment/{fragment['seq']}", token)
        assert (status, body[4:8]) == (200, b"moof")


async def test_a_shared_screen_is_read_on_its_own_and_on_the_record(serving: Serving) -> None:
    frames = in_order(camera(Codec.H264), microphone(), screen(Codec.H264, 1))
    await record(serving, serving.one.interview_id, frames)
    path = f"/api/recordings/{serving.one.interview_id}"
    _, index = await serving.call("GET", path, serving.owner)
    assert index["tracks"] == ["camera", "microphone", "screen"]
    status, init = await serving.call("GET", f"{path}/screen/init/0", serving.owner)
    assert (status, init[4:8]) == (200, b"ftyp")
    first, *_, last = index["fragments"]
    assert (first["screen"], first["screen_keyframe"], last["screen"]) == (0, True, None)
    status, body = await serving.call("GET", f"{path}/screen/fragment/1", serving.owner)
    assert (status, body[4:8]) == (200, b"moof")
    status, _ = await serving.call("GET", f"{path}/screen/fragment/{last['seq']}", serving.owner)
    assert status == 404
    assert len(await viewings(serving)) == 1


async def test_an_interviewer_is_read_on_their_own_and_on_the_record(serving: Serving) -> None:
    frames = in_order(camera(Codec.H264, 4), microphone(4), interviewer(start_s=START_S + 2))
    await record(serving, serving.one.interview_id, frames)
    path = f"/api/recordings/{serving.one.interview_id}"
    _, index = await serving.call("GET", path, serving.owner)
    there = next(each for each in index["fragments"] if each["interviewer"] is not None)
    status, _ = await serving.call("GET", f"{path}/interviewer/fragment/1", serving.owner)
    assert (status, await viewings(serving)) == (404, [])
    url = f"{path}/interviewer/fragment/{there['seq']}"
    assert (await serving.call("GET", url, serving.owner))[0] == 200
    (row,) = await viewings(serving)
    assert (row["way"], row["start_s"]) == ("replay", there["start_s"])


async def test_a_keyframe_that_stands_in_is_on_the_record_with_the_seconds_it_is_of(
    serving: Serving,
) -> None:
    frames = in_order(camera(Codec.H264, 2), microphone(8))
    await record(serving, serving.one.interview_id, frames)
    path = f"/api/recordings/{serving.one.interview_id}"
    _, index = await serving.call("GET", path, serving.owner)
    last = index["fragments"][-1]
    assert last["keyframe"]
    assert (await serving.call("GET", f"{path}/fragment/{last['seq']}", serving.owner))[0] == 200
    starts = sorted(row["start_s"] for row in await viewings(serving))
    assert starts == [pytest.approx(1, abs=0.01), last["start_s"]]


async def test_what_is_replayed_live_is_on_the_record(serving: Serving) -> None:
    interview = serving.one.interview_id
    recording = serving.server.recorder.record(interview, "One", POLICY, lambda _: None)
    for frame in in_order(camera(Codec.H264, 4), microphone(4)):
        recording.on_frame(frame)

    def is_told() -> bool:
        try:
            return bool(serving.server.recorder.reader(interview).describe().fragments)
        except KeyError:
            return False

    while not await asyncio.to_thread(is_told):
        pass  # until the writer's thread has made some
    path, token = f"/api/recordings/{interview}", serving.token(Role.RECRUITER)
    _, index = await serving.call("GET", path, token)
    assert index["state"] == "recording"
    for fragment in index["fragments"]:
        assert (await serving.call("GET", f"{path}/fragment/{fragment['seq']}", token))[0] == 200
    (row,) = await viewings(serving)
    assert (row["role"], row["start_s"]) == ("recruiter", 0)
    assert row["end_s"] == pytest.approx(index["duration_s"], abs=0.01)
    await recording.close()


async def viewings(serving: Serving, token: str | None = None) -> list[dict[str, Any]]:
    path = f"/api/recordings/{serving.one.interview_id}/viewings"
    status, items = await serving.call("GET", path, token or serving.owner)
    assert status == 200
    return list(items)


async def test_every_read_is_on_the_record(recorded: Serving) -> None:
    path = f"/api/recordings/{recorded.one.interview_id}"
    _, index = await recorded.call("GET", path, recorded.owner)
    seen = index["fragments"][-1]
    await recorded.call("GET", f"{path}/fragment/{seen['seq']}", recorded.token(Role.RECRUITER))
    (viewing,) = await viewings(recorded)
    assert (viewing["role"], viewing["way"]) == ("recruiter", "replay")
    assert viewing["link"] == (await recorded.link(Role.RECRUITER)).id
    assert viewing["start_s"] == seen["start_s"]
    assert viewing["end_s"] == pytest.approx(seen["start_s"] + seen["duration_s"])


@pytest.mark.parametrize("way", ["replay", "hls"])
async def test_who_reads_while_the_interview_runs_is_on_the_record_too(
    serving: Serving, way: str
) -> None:
    interview = serving.one.interview_id
    recording = serving.server.recorder.record(interview, "One", POLICY, lambda _: None)
    for frame in in_order(camera(Codec.H264, 6), microphone(6)):
        recording.on_frame(frame)
    path, hls = f"/api/recordings/{interview}", f"/hls/{serving.owner}/{interview}/candidate"
    async with asyncio.timeout(60):
        while serving.server.recorder.metrics.fsyncs < 2:  # the manifest, and all of this
            await asyncio.to_thread(lambda: None)
    _, index = await serving.call("GET", path, serving.owner)
    assert (index["state"], await viewings(serving)) == ("recording", [])
    if way == "hls":
        async with serving.http.get(f"{hls}/event.m3u8") as answer:
            names = [line for line in (await answer.text()).split() if line.endswith(".m4s")]
        assert (await serving.call("GET", f"{hls}/{names[0]}"))[0] == 200
    else:
        status, _ = await serving.call("GET", f"{path}/fragment/1", serving.token(Role.RECRUITER))
        assert status == 200
    (viewing,) = await viewings(serving)
    assert (viewing["way"], viewing["start_s"], viewing["end_s"] > 0) == (way, 0.0, True)
    await recording.close()


async def test_several_fragments_are_one_answer_and_all_of_it_on_the_record(
    recorded: Serving,
) -> None:
    path = f"/api/recordings/{recorded.one.interview_id}"
    _, index = await recorded.call("GET", path, recorded.owner)
    first, second, *_ = index["fragments"]
    bodies = [
        (await recorded.call("GET", f"{path}/fragment/{seq}", recorded.owner))[1] for seq in (1, 2)
    ]
    token = recorded.token(Role.RECRUITER)
    status, both = await recorded.call("GET", f"{path}/fragment/1?last=2", token)
    assert (status, both) == (200, b"".join(bodies))
    row = next(each for each in await viewings(recorded) if each["role"] == "recruiter")
    assert row["start_s"] == first["start_s"]
    assert row["end_s"] == pytest.approx(second["start_s"] + second["duration_s"])
    for last, expected in (("0", 400), ("x", 400), (f"{1 + MAX_FRAGMENTS}", 400), ("8", 404)):
        status, _ = await recorded.call("GET", f"{path}/fragment/1?last={last}", recorded.owner)
        assert status == expected, last
    status, _ = await recorded.call("GET", f"{path}/screen/fragment/1?last=2", recorded.owner)
    assert status == 404, "there is nothing of it"


async def test_a_viewing_that_goes_on_is_one_row(recorded: Serving) -> None:
    path = f"/api/recordings/{recorded.one.interview_id}"
    _, index = await recorded.call("GET", path, recorded.owner)
    for token in (recorded.token(Role.RECRUITER), recorded.owner):
        for fragment in index["fragments"]:
            await recorded.call("GET", f"{path}/fragment/{fragment['seq']}", token)
    rows = await viewings(recorded)
    assert sorted(row["role"] for row in rows) == ["owner", "recruiter"]
    assert {(row["start_s"], row["end_s"]) for row in rows} == {(0.0, index["duration_s"])}


async def test_a_candidate_sees_who_viewed_and_when_but_not_by_which_link(
    recorded: Serving,
) -> None:
    path = f"/api/recordings/{recorded.one.interview_id}/fragment/1"
    await recorded.call("GET", path, recorded.token(Role.RECRUITER))
    (viewing,) = await viewings(recorded, recorded.token(Role.CANDIDATE))
    assert (viewing["role"], viewing["link"], viewing["start_s"]) == ("recruiter", None, 0.0)
    other = recorded.token(Role.CANDIDATE, recorded.two)
    path = f"/api/recordings/{recorded.one.interview_id}/viewings"
    assert (await recorded.call("GET", path, other))[0] == 403


async def test_who_looks_back_during_an_interview_is_told_to_its_candidate_after_its_end(
    serving: Serving,
) -> None:
    interview, candidate = serving.one.interview_id, serving.token(Role.CANDIDATE)
    await record(serving, interview)
    again = serving.server.recorder.record(interview, "One", POLICY, lambda _: None)
    await serving.call(
        "GET", f"/api/recordings/{interview}/fragment/1", serving.token(Role.RECRUITER)
    )
    path = f"/api/recordings/{interview}/viewings"
    status, body = await serving.call("GET", path, candidate)
    assert (status, body["error"]["id"]) == (409, "not-sealed")
    assert len(await viewings(serving, serving.token(Role.RECRUITER))) == 1
    await again.close()
    assert len(await viewings(serving, candidate)) == 1


async def test_what_cannot_be_put_on_the_record_is_not_given(
    recorded: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise StoreError("the disk is full")

    monkeypatch.setattr(Store, "keep_viewings", full)
    path = f"/api/recordings/{recorded.one.interview_id}/fragment/1"
    status, body = await recorded.call("GET", path, recorded.owner)
    assert (status, body["error"]["id"]) == (500, "internal")


async def test_the_index_is_given_from_a_fragment_on(recorded: Serving) -> None:
    path = f"/api/recordings/{recorded.one.interview_id}"
    _, whole = await recorded.call("GET", path, recorded.owner)
    for after in (0, 1, 2, 99):
        _, later = await recorded.call("GET", f"{path}?after={after}", recorded.owner)
        assert later["fragments"] == whole["fragments"][after:]
        assert (later["duration_s"], later["revision"]) == (whole["duration_s"], whole["revision"])
    for coding, expected in (("gzip, br", "gzip"), ("identity", None)):
        headers = recorded.bearer(recorded.owner) | {"Accept-Encoding": coding}
        async with recorded.http.get(path, headers=headers) as answer:
            assert answer.headers.get("Content-Encoding") == expected
            assert await answer.json() == whole
    for wrong in ("-1", "x", "", "9" * 30):
        status, _ = await recorded.call("GET", f"{path}?after={wrong}", recorded.owner)
        assert status == 400, wrong


async def test_the_times_of_pictures_are_told(recorded: Serving) -> None:
    path = f"/api/recordings/{recorded.one.interview_id}"
    _, index = await recorded.call("GET", path, recorded.owner)
    times = []
    for fragment in index["fragments"]:
        _, some = await recorded.call("GET", f"{path}/pictures/{fragment['seq']}", recorded.owner)
        times += some
    assert times == pytest.approx([n / 30 for n in range(60)], abs=1e-4)
    assert (await recorded.call("GET", f"{path}/pictures/99", recorded.owner))[0] == 404


async def test_parts_that_are_not_there_are_not_found_nor_logged(recorded: Serving) -> None:
    interview = recorded.one.interview_id
    path = f"/api/recordings/{interview}"
    for part in (
        "init/9",
        "fragment/0",
        "fragment/999999999",
        "fragment/x",
        "fragment/-1",
        "init/",
    ):
        status, body = await recorded.call("GET", f"{path}/{part}", recorded.owner)
        assert (status, body["error"]["id"]) == (404, "not-found"), part
    assert await viewings(recorded) == []


async def test_a_recording_that_was_closed_this_moment_raises_no_alarm(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its manifest says so before the log does: for longer than usual here."""
    interview, recorder = serving.one.interview_id, serving.server.recorder
    tell, sleep, waited = Witness.tell, asyncio.sleep, list[float]()
    monkeypatch.setattr(Witness, "tell", lambda *_: None)
    later_s = time.time() - START_S
    await record(serving, interview, [_later(each, later_s) for each in microphone()])

    async def told(seconds: float) -> None:
        if seconds != TOLD_S:
            return await sleep(seconds)
        waited.append(seconds)
        monkeypatch.setattr(Witness, "tell", tell)
        async with asyncio.timeout(60):
            while not await asyncio.to_thread(_is_logged, serving):
                pass
        return None

    monkeypatch.setattr(asyncio, "sleep", told)
    path = f"/api/recordings/{interview}/verify"
    assert await serving.call("GET", path, serving.owner) == (200, {"intact": True, "faults": []})
    assert waited == [TOLD_S]
    assert recorder.metrics.write_failures == 0


def _later(frame: EncodedFrame, by_s: float) -> EncodedFrame:
    return replace(frame, capture_s=frame.capture_s + by_s, arrived_s=frame.arrived_s + by_s)


def _is_logged(serving: Serving) -> bool:
    log = serving.data_dir / "log"
    return bool(read_log(log, serving.server.recorder.public_key).entries)


@pytest.mark.may_block("does harm to what lies on the disk")
async def test_what_was_recorded_is_intact_until_somebody_changes_it(recorded: Serving) -> None:
    one, two = recorded.one.interview_id, recorded.two.interview_id

    async def verified(interview: str) -> tuple[int, Any]:
        return await recorded.call("GET", f"/api/recordings/{interview}/verify", recorded.owner)

    assert (await verified("nobody"))[0] == 404
    assert await verified(one) == (200, {"intact": True, "faults": []})
    folder = recorded.data_dir / "recordings" / one
    segment = folder / "00000.seg"
    data = segment.read_bytes()
    segment.write_bytes(data[:-50])
    _, report = await verified(one)
    (fault,) = report["faults"]
    assert (report["intact"], fault["kind"], fault["file"]) == (False, "truncated", segment.name)
    assert 0 < fault["start_s"] <= fault["end_s"]
    shutil.rmtree(folder)
    shutil.copytree(folder.parent / two, folder)
    _, report = await verified(one)
    assert (report["intact"], f"in place of {one}'s" in report["faults"][0]["message"]) == (
        False,
        True,
    )
    assert (await verified(two))[1]["intact"]


async def test_a_candidate_gets_a_receipt_once_the_recording_is_sealed(serving: Serving) -> None:
    candidate, interview = serving.token(Role.CANDIDATE), serving.one.interview_id
    path = f"/api/recordings/{interview}/receipt"
    status, body = await serving.call("GET", path, candidate)
    assert (status, body["error"]["id"]) == (404, "not-found"), "nothing was recorded"
    recording = serving.server.recorder.record(interview, "One", POLICY, lambda _: None)
    for frame in in_order(camera(Codec.H264), microphone()):
        recording.on_frame(frame)
    manifest = serving.data_dir / "recordings" / interview / "manifest.json"
    while not await asyncio.to_thread(manifest.exists):
        pass  # until the writer's thread has made it
    status, body = await serving.call("GET", path, candidate)
    assert (status, body["error"]["id"]) == (409, "not-sealed")
    await recording.close()
    async with serving.http.get(path, headers=serving.bearer(candidate)) as answer:
        assert answer.status == 200
        assert answer.headers["Cache-Control"] == "no-store"
        name = f'filename="vivavoce-receipt-{interview}.json"'
        assert name in answer.headers["Content-Disposition"]
        receipt = check_receipt(await answer.read(), serving.server.recorder.public_key)
    assert receipt.entry.interview == interview
    other = serving.token(Role.CANDIDATE, serving.two)
    assert (await serving.call("GET", path, other))[0] == 403


async def refusal(serving: Serving) -> tuple[int, str, str]:
    path = f"/api/recordings/{serving.one.interview_id}"
    status, body = await serving.call("GET", path, serving.owner)
    return status, body["error"]["id"], body["error"]["message"]


async def test_a_recording_whose_key_is_destroyed_is_locked_at_once(
    recorded: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    interview = recorded.one.interview_id
    assert (await recorded.call("GET", f"/api/recordings/{interview}", recorded.owner))[0] == 200
    path = recorded.data_dir / "keys" / "keys.sqlite"
    database = await asyncio.to_thread(KeyDatabase, path)
    assert await asyncio.to_thread(database.destroy, interview, 1), "as another process does"
    status, id, message = await refusal(recorded)
    assert (status, id) == (409, "recording-locked")
    assert "destroyed" in message
    assert f"interview={interview}" in caplog.text
    assert "was destroyed" in caplog.text
    for id, expected in ((interview, 200), ("nobody", 404)):
        status, report = await recorded.call("GET", f"/api/recordings/{id}/verify", recorded.owner)
        assert status == expected
        assert status == 404 or report["intact"], "evidence stays"


async def test_a_changed_manifest_or_fragment_is_named_as_damage(recorded: Serving) -> None:
    folder = recorded.data_dir / "recordings" / recorded.one.interview_id
    await recorded.call("GET", f"/api/recordings/{recorded.one.interview_id}", recorded.owner)
    segment = next(folder.glob("*.seg"))
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 1
    segment.write_bytes(data)
    _, index = await recorded.call(
        "GET", f"/api/recordings/{recorded.one.interview_id}", recorded.owner
    )
    answers = [
        await recorded.call(
            "GET",
            f"/api/recordings/{recorded.one.interview_id}/fragment/{fragment['seq']}",
            recorded.owner,
        )
        for fragment in index["fragments"]
    ]
    refused = [body["error"] for status, body in answers if status == 409]
    assert refused
    assert {each["id"] for each in refused} == {"recording-damaged"}
    assert "vivavoce verify" in refused[0]["message"]
    (folder / "manifest.json").write_bytes(b"{}")
    assert (await refusal(recorded))[:2] == (409, "recording-damaged")


async def test_files_that_cannot_be_read_are_told_without_their_path(
    recorded: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    folder = recorded.data_dir / "recordings" / recorded.one.interview_id
    segment = next(folder.glob("*.seg"))
    segment.unlink()
    segment.mkdir()  # a file that no rights can open
    status, id, message = await refusal(recorded)
    assert (status, id) == (500, "recording-unreadable")
    assert "disk" in message
    assert str(folder) not in message + caplog.text


async def test_media_is_kept_by_no_cache(recorded: Serving) -> None:
    path = f"/api/recordings/{recorded.one.interview_id}/fragment/1"
    async with recorded.http.get(path, headers=recorded.bearer(recorded.owner)) as answer:
        assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("interview", ["nothing", "..", "%2e%2e", ".hidden", "a%2fb"])
async def test_a_recording_that_is_not_there_is_not_found(serving: Serving, interview: str) -> None:
    url = f"{serving.server.base_url}/api/recordings/{interview}/verify"
    status, body = await serving.call("GET", url, serving.owner)
    assert (status, body["error"]["id"]) == (404, "not-found")


async def test_only_some_readers_stay_open(recorded: Serving) -> None:
    ids = [f"interview-{number}" for number in range(MAX_PLACES + 2)]
    for interview in ids:
        await record(recorded, interview)
    for interview in (*ids, *ids):
        status, _ = await recorded.call("GET", f"/api/recordings/{interview}", recorded.owner)
        assert status == 200
