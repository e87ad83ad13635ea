"""What a person sees of a long command."""

import io

import pytest

from server.commands.terminal import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def told(out: io.StringIO, *steps: tuple[float, float]) -> list[str]:
    """What is shown one after another, of (seconds, share)."""
    now_s = [0.0]
    progress = Progress(out, lambda: now_s[0])
    for now_s[0], share in steps:
        progress(share)
    return out.getvalue().split("\r\x1b[K")[1:]


def test_percent_and_the_time_left_are_told() -> None:
    steps = ((1.0, 0.1), (4.0, 0.25), (30.0, 0.2), (31.0, 0.999), (40.0, 1.0))
    assert told(Terminal(), *steps) == [
        " 10 %",
        " 25 %, 12 s left",
        " 20 %, 2 min 0 s left",
        " 99 %, 0 s left",
        "100 %\n",
    ]


def test_it_is_not_told_at_every_step() -> None:
    steps = [(n / 1000, n / 10_000) for n in range(1000)]
    assert len(told(Terminal(), *steps)) < 6


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_a_file_gets_none_of_it(share: float) -> None:
    assert told(io.StringIO(), (10.0, share)) == []
