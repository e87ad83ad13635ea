"""A finished recording becomes a small one: the same segments, fragments and times, in AV1."""

from server.recorder.compression import Compression
from server.recorder.derived import Compressed, adopt
from server.recorder.verify import verify
from tests.recorder.conftest import Desk
from tests.recorder.encoded import interview

MADE_US = 1_760_000_100_000_000


def compress(desk: Desk, *, keep_source: bool = True) -> Compressed:
    made = Compression(desk.data_dir, desk.reader(), desk.keys, keep_source=keep_source)
    while made.left:
        made.step()
    return made.finish(MADE_US)


def test_what_is_made_verifies_and_replays(desk: Desk) -> None:
    desk.write(interview(seconds=4))
    before = desk.reader()
    compress(desk)
    manifest, statement = adopt(desk.data_dir, "iv", desk.keys.public_key)
    assert verify(desk.path(), desk.keys.public_key).intact
    print(statement)
    after = desk.reader()
    assert [h.start_us for h in after.headers()] == [h.start_us for h in before.headers()]
    assert after.describe().mime
    for index in range(len(after)):
        after.fragment(index + 1)
