"""A page that is written on: what a simulated candidate shares beside the camera.

The whole page is one picture, `assets/screen.png`; typing uncovers it a character after the
other, below the caret it is blank. Most pictures of a loop are the one before, or differ in a
character; when the caret comes low the page scrolls, once the writer looks at the task again.
"""

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from loadtest.scene import HEIGHT, WIDTH

PAGE = Path(__file__).parent / "assets" / "screen.png"
FPS = 15
LOOP_FRAMES = 40 * FPS

# Of the page's own print, in pixels.
_TOP, _LEFT = 12, 40
_LINE_HEIGHT = 28
_CHARACTER_WIDTH = 12.04
_INK = 128  # darker is ink

_WRITTEN_LINES = 17  # when the loop begins
_LOWEST_LINE = 20  # of the view, for the caret
_TYPING, _THINKING = 3 * FPS, 1 * FPS  # pictures in turn: a character each, or none
_LOOKING_UP = range(LOOP_FRAMES // 2, LOOP_FRAMES // 2 + 3 * FPS)
_SCROLL_STEP = 28  # pixels a picture
_BLINK = 8  # pictures

_Plane = NDArray[np.uint8]


class Screen:
    """Draws the loop in YUV 4:2:0; the page is grey, so only its luma is."""

    def __init__(self, page: Path = PAGE) -> None:
        self._page = _luma(page)
        self._paper = int(self._page.max())
        lines = (len(self._page) - 2 * _TOP) // _LINE_HEIGHT
        self._ends = [self._print_of(line) for line in range(lines)]

    def pictures(self) -> Iterator[av.VideoFrame]:
        """All of one loop, at FPS."""
        offset = written = 0
        for index in range(LOOP_FRAMES):
            line, column = self._caret(written)
            low = max(0, line - _LOWEST_LINE) * _LINE_HEIGHT
            wanted = 0 if index in _LOOKING_UP else low
            offset += max(-_SCROLL_STEP, min(_SCROLL_STEP, wanted - offset))
            yield self._picture(offset, line, column, index // _BLINK % 2 == 0)
            written += index not in _LOOKING_UP and index % (_TYPING + _THINKING) < _TYPING

    def _print_of(self, line: int) -> tuple[int, int]:
        """The columns from the first printed character of a line up to after its last one."""
        top = _TOP + line * _LINE_HEIGHT
        ink = np.flatnonzero((self._page[top : top + _LINE_HEIGHT] < _INK).any(axis=0))
        if not len(ink):
            return 0, 0
        first, last = ((int(ink[at]) - _LEFT) / _CHARACTER_WIDTH for at in (0, -1))
        return int(first), int(last) + 1

    def _caret(self, written: int) -> tuple[int, int]:
        """Line and column after so many characters; indents come by themselves."""
        line = _WRITTEN_LINES
        while line + 1 < len(self._ends):
            first, end = self._ends[line]
            if written <= end - first:
                return line, first + written
            written -= end - first + 1  # and the end of the line
            line += 1
        return line, self._ends[line][1]

    def _picture(self, offset: int, line: int, column: int, caret: bool) -> av.VideoFrame:
        page = self._page.copy()
        top, left = _TOP + line * _LINE_HEIGHT, _LEFT + round(column * _CHARACTER_WIDTH)
        page[top : top + _LINE_HEIGHT, left:] = self._paper
        page[top + _LINE_HEIGHT :] = self._paper
        if caret:
            page[top + 2 : top + _LINE_HEIGHT - 2, left : left + 2] = 16
        out = np.full((HEIGHT * 3 // 2, WIDTH), 128, np.uint8)
        out[:HEIGHT] = page[offset : offset + HEIGHT]
        return av.VideoFrame.from_ndarray(out, format="yuv420p")


def _luma(page: Path) -> _Plane:
    with av.open(str(page)) as container:
        decoded = next(container.decode(video=0))
    planes = decoded.to_ndarray(format="yuv420p").astype(np.uint8)
    return planes[: decoded.height].copy()
