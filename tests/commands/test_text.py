"""Text for people keeps to its width, and to what can be read out."""

from hypothesis import given
from hypothesis import strategies as st

from server.commands.text import (
    bitrate,
    counted,
    item,
    labelled,
    length,
    moment,
    printable,
    size,
    table,
)


def test_a_value_hangs_below_its_own_beginning() -> None:
    wide = labelled("Size", "1 MB in 3 segments, 36 records, 30 fragments, and some more", 60)
    assert wide.splitlines() == [
        "  Size:          1 MB in 3 segments, 36 records, 30",
        "                 fragments, and some more",
    ]
    narrow = labelled("Size", "1 MB in 3 segments, 36 records", 24)
    assert narrow.splitlines() == ["  Size: 1 MB in 3", "    segments, 36 records"]


def test_chinese_characters_take_two_columns_of_a_table() -> None:
    assert table(("A", "B"), [("张三", "1"), ("Zoë", "2")], 80) == [
        "A     B",
        "张三  1",
        "Zoë   2",
    ]


def test_a_table_that_is_too_wide_becomes_blocks() -> None:
    assert table(("Title", "State", "Gaps"), [("Engineer", "finished", "")], 20) == [
        "Engineer",
        "  State: finished",
    ]


def test_what_would_move_the_cursor_is_not_printed() -> None:
    assert printable("a\x1b[2Jb\u202ec\n") == "a\ufffd[2Jb\ufffdc\ufffd"
    assert table(("A",), [("\x1b[31m",)], 80) == ["A", "\ufffd[31m"]


@given(st.text(max_size=200), st.integers(20, 200))
def test_whatever_is_said_no_line_does_harm(text: str, columns: int) -> None:
    for said in (item(text, columns), labelled("Title", text, columns)):
        assert all(char.isprintable() for line in said.split("\n") for char in line)


def test_values_read_as_a_person_says_them() -> None:
    assert [moment(at) for at in (0, 3723.0004, -1.5)] == [
        "0:00:00.000",
        "1:02:03.000",
        "-0:00:01.500",
    ]
    assert length(3599.6) == "1:00:00"
    assert [size(count) for count in (7, 1500, 2_340_000)] == ["7 bytes", "1.5 kB", "2.3 MB"]
    assert [bitrate(bps) for bps in (32_000, 1_250_000)] == ["32 kbit/s", "1.25 Mbit/s"]
    assert [counted(n, "entry", "entries") for n in (1, 2)] == ["1 entry", "2 entries"]
