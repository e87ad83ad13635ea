"""Plain text for people: no colour, no frames, nothing that a screen reader would stumble over.

Every line says by itself what it is about; its width is the terminal's.
"""

import shutil
import textwrap
import time
import unicodedata
from collections.abc import Sequence

_LABEL_COLUMNS = 15
#: Below it values stand under their labels' own indent, not in a column of their own.
_NARROW = 60
_LEAST = 20


def terminal_columns() -> int:
    """80 where the output is no terminal, and COLUMNS says nothing else."""
    return max(_LEAST, shutil.get_terminal_size().columns)


def labelled(label: str, value: str, columns: int) -> str:
    """`  Label:  value`, wrapped so that it hangs below its own beginning."""
    hanging = _LABEL_COLUMNS + 2 if columns >= _NARROW else 4
    head = f"  {label}: ".ljust(hanging)
    return wrapped(head, value, hanging, columns)


def item(text: str, columns: int) -> str:
    """A line of a list, wrapped."""
    return wrapped("  ", text, 4, columns)


def wrapped(head: str, text: str, hanging: int, columns: int) -> str:
    return textwrap.fill(
        printable(text),
        columns,
        initial_indent=head,
        subsequent_indent=" " * hanging,
        break_on_hyphens=False,
        break_long_words=False,
    )


def table(header: Sequence[str], rows: Sequence[Sequence[str]], columns: int) -> list[str]:
    """Rows below their header; where that is too wide, each row as a block of labelled lines."""
    cells = [[printable(cell) for cell in row] for row in (header, *rows)]
    widths = [max(map(_columns_of, column)) for column in zip(*cells, strict=True)]
    if sum(widths) + 2 * (len(widths) - 1) <= columns:
        return [
            "  ".join(
                _padded(cell, width) for cell, width in zip(row, widths, strict=True)
            ).rstrip()
            for row in cells
        ]
    lines: list[str] = []
    for first, *rest in cells[1:]:
        lines.append(wrapped("", first, 2, columns))
        lines += [
            labelled(label, cell, columns)
            for label, cell in zip(header[1:], rest, strict=True)
            if cell
        ]
    return lines


def printable(text: str) -> str:
    """Without what would move the cursor or hide something: not all text here is our own."""
    return "".join(char if char.isprintable() else "\ufffd" for char in text)


def _columns_of(text: str) -> int:
    """Chinese characters take two columns (UAX 11), accents that are put on others none."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        for char in text
    )


def _padded(text: str, columns: int) -> str:
    return text + " " * (columns - _columns_of(text))


# ---- values -----------------------------------------------------------------------------


def moment(at_s: float) -> str:
    """Seconds since a recording's start, as `1:02:03.500`."""
    ms = round(at_s * 1000)
    sign, ms = ("-", -ms) if ms < 0 else ("", ms)
    minutes, seconds = divmod(ms // 1000, 60)
    return f"{sign}{minutes // 60}:{minutes % 60:02}:{seconds:02}.{ms % 1000:03}"


def length(duration_s: float) -> str:
    """To a second, as `1:02:03`."""
    return moment(round(duration_s)).partition(".")[0]


def local_time(at_s: float) -> str:
    """Unix time with its zone: recordings travel."""
    return time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(at_s))


def size(count: int) -> str:
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            return f"{count / scale:.1f} {unit}"
    return f"{count} bytes"


def bitrate(bps: int) -> str:
    return f"{bps / 1e6:.2f} Mbit/s" if bps >= 1_000_000 else f"{bps / 1e3:.0f} kbit/s"


def counted(count: int, one: str, more: str = "") -> str:
    """`1 gap`, `2 gaps`."""
    return f"{count} {one if count == 1 else more or one + 's'}"
