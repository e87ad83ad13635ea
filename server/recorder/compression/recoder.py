"""Has pictures encoded anew by a process that is given nothing else (`recode_worker`)."""

import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import BinaryIO

import msgspec

from server.core import av1
from server.core.frames import Codec
from server.environment import environment
from server.recorder.compression.recode_job import (
    Answer,
    Begin,
    End,
    Made,
    Pictures,
    Quality,
    answer,
    read,
    write,
)
from server.recorder.format.tracks import Sample, VideoConfig


class NotRecoded(Exception):
    """These pictures can't be encoded anew, or crash who tries; the message says why."""


@dataclass(frozen=True, slots=True)
class Recoded:
    """What became of a segment's pictures of a track, in their order."""

    video: VideoConfig
    samples: tuple[Sample, ...]
    quality: tuple[Quality, ...]  #: of each fragment that has any

    @property
    def size(self) -> int:
        return sum(len(sample.data) for sample in self.samples)


class Recoder:
    """One process; use :func:`open_recoder`. It remembers of each track where it has got to."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self.pid = process.pid
        assert process.stdin is not None
        assert process.stdout is not None
        self._to: BinaryIO = process.stdin  # type: ignore[assignment]
        self._from: BinaryIO = process.stdout  # type: ignore[assignment]

    def recode(
        self, begin: Begin, fragments: Iterable[Pictures], shown: Sequence[Sample]
    ) -> Recoded | None:
        """As AV1; ``shown`` are the samples of what is to be shown of these fragments.

        None where nothing could be seen. NotRecoded.
        """
        try:
            write(self._to, begin)
            for each in fragments:
                write(self._to, each)
            write(self._to, End())
            said = answer.decode(read(self._from))
        except (EOFError, BrokenPipeError) as error:
            raise NotRecoded("whoever decodes it crashes or hangs") from error
        except msgspec.MsgspecError as error:
            raise NotRecoded(_NONSENSE) from error
        return recoded(said, shown)


_NONSENSE = "whoever decodes it answers what can't be"


def recoded(said: Answer, shown: Sequence[Sample]) -> Recoded | None:
    """What an answer comes to, whoever gave it. NotRecoded."""
    if not isinstance(said, Made):
        raise NotRecoded(said.reason)
    if not said.pictures:
        return None
    indices = [coded.index for coded in said.pictures]
    in_order = indices == sorted(set(indices)) and indices[0] >= 0 and indices[-1] < len(shown)
    if not in_order or not said.quality:
        raise NotRecoded(_NONSENSE)
    samples = []
    for coded in said.pictures:
        source = shown[coded.index]
        samples.append(Sample(source.time, source.duration, coded.keyframe, coded.data))
    return Recoded(_config(samples[0].data), tuple(samples), said.quality)


def _config(keyframe: bytes) -> VideoConfig:
    try:
        sequence = av1.sequence_header(keyframe)
        if sequence is None:
            raise NotRecoded("the encoder did not begin with a keyframe")
        header = av1.parse_sequence_header(sequence)
    except av1.Av1Error as error:
        raise NotRecoded(_NONSENSE) from error
    return VideoConfig(Codec.AV1, header.width, header.height, av1.configuration(sequence))


@contextmanager
def open_recoder() -> Iterator[Recoder]:
    """It ends with the block, or with this process. OSError."""
    process = subprocess.Popen(
        (sys.executable, "-m", "server.recorder.compression.recode_worker", str(os.getpid())),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment(),
    )
    try:
        yield Recoder(process)
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            with suppress(BrokenPipeError):  # what was not written
                assert pipe is not None
                pipe.close()
