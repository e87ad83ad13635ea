"""The process that decodes what candidates sent, and encodes it anew as AV1.

Started by `server.recorder.compression.recoder` as
``python -m server.recorder.compression.recode_worker``. It is given coded pictures by its standard
input and answers by its standard output: it has no key, nor the server's environment, and it is
shut in before it reads the first byte.
"""

import os
import resource
import signal
import sys
from collections import defaultdict, deque
from collections.abc import Iterator

import av.logging

from server.confine import confine, end_with
from server.core.frames import TrackName
from server.recorder.compression.recode import Decoding, RecodeError, Recoding
from server.recorder.compression.recode_job import (
    Answer,
    Begin,
    Pictures,
    Refused,
    read,
    told,
    write,
)

#: Address space: the largest pictures in a decoder, an encoder and a comparison need a fifth.
MOST_MEMORY = 4 << 30
#: CPU that one segment may take: a minute of the largest pictures takes a tenth of it.
MOST_CPU_S = 3600


def main() -> None:
    end_with(int(sys.argv[1]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # that is for who started it
    av.logging.set_level(None)  # candidates' bytes must not write to a terminal
    os.environ["SVT_LOG"] = "1"  # errors alone; else it tells its life on stderr
    confine(MOST_MEMORY)
    decodings: defaultdict[TrackName, Decoding] = defaultdict(Decoding)
    while True:
        try:
            begin = told.decode(read(sys.stdin.buffer))
        except EOFError:
            return
        assert isinstance(begin, Begin)
        _bound_cpu()
        if begin.anew:
            decodings.pop(begin.track, None)
        write(sys.stdout.buffer, _answer(begin, decodings[begin.track]))


def _answer(begin: Begin, decoding: Decoding) -> Answer:
    fragments = _fragments()
    try:
        recoding = Recoding(begin, decoding)
        for pictures in fragments:
            recoding.add(pictures)
        return recoding.finish()
    except RecodeError as error:
        deque(fragments, maxlen=0)  # what is in the pipe still
        return Refused(str(error))


def _fragments() -> Iterator[Pictures]:
    while isinstance(pictures := told.decode(read(sys.stdin.buffer)), Pictures):
        yield pictures


def _bound_cpu() -> None:
    """Whoever hangs in a decoder ends."""
    spent = resource.getrusage(resource.RUSAGE_SELF)
    limit = round(spent.ru_utime + spent.ru_stime) + MOST_CPU_S
    resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))


if __name__ == "__main__":
    main()
