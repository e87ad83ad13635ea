"""Has pictures encoded anew by a process that is given nothing else (`recode_worker`)."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
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

#: Who is waited for and uses no core for so many looks in a row waits for itself. It is not
#: looked at while it is stopped: then who looks is stopped as well.
LOOK_S, LOOKS = 10.0, 30


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
        self._process = process
        self._is_waited_for = False
        self._hung = False
        assert process.stdin is not None
        assert process.stdout is not None
        self._to: BinaryIO = process.stdin  # type: ignore[assignment]
        self._from: BinaryIO = process.stdout  # type: ignore[assignment]

    def recode(
        self, begin: Begin, fragments: Iterable[Pictures], shown: Sequence[Sample]
    ) -> Recoded | None:
        """As AV1; ``shown`` are the samples of what is to be shown of these fragments.

        None where nothing could be seen. NotRecoded; TimeoutError: it did not go on, and was ended.
        """
        try:
            self._tell(begin)
            for each in fragments:
                self._tell(each)
            self._tell(End())
            with self._waiting():
                said = answer.decode(read(self._from))
        except (EOFError, BrokenPipeError) as error:
            if self._hung:
                raise TimeoutError("whoever decodes it did not go on") from error
            raise NotRecoded("whoever decodes it crashes or takes too long") from error
        except msgspec.MsgspecError as error:
            raise NotRecoded(_NONSENSE) from error
        return recoded(said, shown)

    def watch(self, ended: threading.Event) -> None:
        """Until then; whoever hangs is ended."""
        spent, looks = "", 0
        while not ended.wait(LOOK_S):
            before, spent = spent, _spent(self.pid)
            looks = looks + 1 if self._is_waited_for and spent == before else 0
            if looks >= LOOKS:
                self._hung = True
                self._process.kill()
                return

    def _tell(self, message: Begin | Pictures | End) -> None:
        with self._waiting():
            write(self._to, message)

    @contextmanager
    def _waiting(self) -> Iterator[None]:
        self._is_waited_for = True
        try:
            yield
        finally:
            self._is_waited_for = False


def _spent(pid: int) -> str:
    """The CPU time of a process that was not waited for yet, of all its threads (proc(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return " ".join(fields[11:13])


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
    recoder, ended = Recoder(process), threading.Event()
    watch = threading.Thread(target=recoder.watch, args=(ended,), name="recoder watch")
    watch.start()
    try:
        yield recoder
    finally:
        ended.set()
        watch.join()
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            with suppress(BrokenPipeError):  # what was not written
                assert pipe is not None
                pipe.close()
