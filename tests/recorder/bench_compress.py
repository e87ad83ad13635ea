"""What compressing recordings costs and gives: ``make bench-compress ARGS="film.mp4 ..."``.

Records each film as a camera of 2.5 Mbit/s at 720p30 sends it, forward and backward for as long as
is asked for; compresses the recording, and prints of each track: MB an hour, the share of the
source, VMAF against it (by the ffmpeg of imageio-ffmpeg: the mean, the worst second, the worst
picture), the mean that the product told of it, XPSNR; of all tracks, with sound and what wraps
them, CPU seconds an hour, too.

``--as interview`` records each film beside the load tester's screen and a microphone; ``--as both``
as the camera of a candidate, the next one (or itself, if there is none) as an interviewer's, with a
screen and two microphones. Without a film it is the load tester's portrait, and all of these.
"""

import argparse
import itertools
import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import mean
from typing import NamedTuple

import av
import imageio_ffmpeg

from loadtest import media, screen
from server.core.frames import Codec, EncodedFrame, TrackName
from server.recorder.catalog.derived import making_path
from server.recorder.compression.compression import Compression, NotCompressed
from server.recorder.compression.likeness import LAYOUT
from server.recorder.compression.recoder import open_recoder
from server.recorder.decoders import picture_decoder
from server.recorder.replay.reader import RecordingReader
from tests.recorder.conftest import Desk
from tests.recorder.encoded import START_S, annexb_to_lengths, in_order

_CAMERA = replace(media.CAMERA, bitrate_bps=2_500_000, keyframe_interval=20 * media.FPS)
_SCREEN = replace(media.SCREEN, bitrate_bps=1_000_000, keyframe_interval=20 * screen.FPS)
_HEAD = (
    "source                   track               seconds  MB/h before  after  share  VMAF mean  "
    "worst s  picture  told  XPSNR  CPU s/h"
)

KINDS = ("camera", "screen", "interview", "both")
Pictures = Iterator[av.VideoFrame]
Film = tuple[str, Callable[[], Pictures]]


class Recording(NamedTuple):
    name: str
    pictures: dict[TrackName, Pictures]
    sound: tuple[TrackName, ...] = ()


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench-compress", description=__doc__)
    parser.add_argument("films", nargs="*", type=Path, metavar="FILM")
    parser.add_argument("--as", dest="kind", choices=KINDS)
    parser.add_argument("--seconds", type=float, default=20.0)
    flags = parser.parse_args()
    films: list[Film] = [(each.stem, partial(_back_and_forth, each)) for each in flags.films]
    kinds = (flags.kind,) if flags.kind else KINDS[:1] if films else KINDS
    print(_HEAD)
    for kind in kinds:
        for recording in _recordings(kind, films or [_portrait(flags.seconds)]):
            _bench(recording, flags.seconds)


def _recordings(kind: str, films: Sequence[Film]) -> Iterator[Recording]:
    match kind:
        case "camera":
            for name, film in films:
                yield Recording(name, {TrackName.CAMERA: film()})
        case "screen":
            yield Recording("screen", {TrackName.SCREEN: screen.Screen().pictures()})
        case "interview":
            for name, film in films:
                pictures = {TrackName.CAMERA: film(), TrackName.SCREEN: screen.Screen().pictures()}
                yield Recording(f"{name}, screen", pictures, (TrackName.MICROPHONE,))
        case "both":
            for one, other in itertools.pairwise(films if films[1:] else [*films, *films]):
                pictures = {
                    TrackName.CAMERA: one[1](),
                    TrackName.SCREEN: screen.Screen().pictures(),
                    TrackName.INTERVIEWER_CAMERA: other[1](),
                }
                sound = (TrackName.MICROPHONE, TrackName.INTERVIEWER_MICROPHONE)
                yield Recording(f"{one[0]}, {other[0]}", pictures, sound)


def _portrait(seconds: float) -> Film:
    return "portrait", lambda: media._portrait(media._decode_audio(media.SPEECH), seconds)


def _back_and_forth(film: Path) -> Iterator[av.VideoFrame]:
    """Without end, and without a cut where it begins again."""
    pictures = list(media._film(film))
    return itertools.cycle(pictures + pictures[-2:0:-1])


def _bench(recording: Recording, seconds: float) -> None:
    frames = [_pictures(name, each, seconds) for name, each in recording.pictures.items()]
    frames += [_sound(name, seconds) for name in recording.sound]
    with tempfile.TemporaryDirectory() as folder:
        desk = Desk(Path(folder) / "data")
        desk.write(in_order(*frames))
        _compress(recording.name, desk, seconds)


def _pictures(name: TrackName, pictures: Pictures, seconds: float) -> list[EncodedFrame]:
    encoding = _encoding(name)
    wanted = itertools.islice(pictures, round(seconds * encoding.fps))
    packets, keyframes = media.encode_pictures("h264", wanted, encoding)
    return [
        _frame(
            name, Codec.H264, annexb_to_lengths(packet), index / encoding.fps, index in keyframes
        )
        for index, packet in enumerate(packets)
    ]


def _encoding(name: TrackName) -> media.Encoding:
    return _SCREEN if name is TrackName.SCREEN else _CAMERA


def _sound(name: TrackName, seconds: float) -> list[EncodedFrame]:
    """The load tester's speech, and silence once it ends."""
    speech = media._decode_audio(media.SPEECH)
    packets = media.encode_sound(speech, round(seconds * media.FPS))
    return [
        _frame(name, Codec.OPUS, packet, index / media.AUDIO_PACKETS_PER_S, True)
        for index, packet in enumerate(packets)
    ]


def _frame(
    name: TrackName, codec: Codec, payload: bytes, at_s: float, keyframe: bool
) -> EncodedFrame:
    return EncodedFrame(name, codec, payload, START_S + at_s, keyframe, START_S + at_s)


def _compress(title: str, desk: Desk, seconds: float) -> None:
    source = desk.reader()
    began_s = _cpu_s()
    try:
        with open_recoder() as recoder:
            job = Compression(desk.data_dir, source, desk.keys, recoder, keep_source=True)
            while job.left:
                job.step()
            statement = job.finish(0)
    except NotCompressed as error:
        print(f"{title}: {seconds:.1f} s, refused: {error}", flush=True)
        return
    cpu_s = _cpu_s() - began_s
    key = desk.keys.recording_key("iv", bytes.fromhex(statement.recording))
    made = RecordingReader(making_path(desk.data_dir, "iv"), key, desk.keys.public_key)
    for of_track in statement.quality:
        name = of_track.track
        whole, worst_s, worst = _vmaf(source, made, name)
        print(
            _row(title, name, seconds, _size(source, name), _size(made, name))
            + f"  {whole:9.1f}  {worst_s:7.1f}  {worst:7.1f}  {of_track.vmaf:4.1f}  "
            f"{of_track.xpsnr_db:5.1f}",
            flush=True,
        )
    row = _row(title, "all", seconds, statement.source_bytes, statement.bytes)
    print(
        f"{row}  {'':9}  {'':7}  {'':7}  {'':4}  {'':5}  {cpu_s * 3600 / seconds:7.0f}", flush=True
    )


def _row(title: str, name: str, seconds: float, before: int, after: int) -> str:
    before_mb, after_mb = (each * 3600 / seconds / 1e6 for each in (before, after))
    return (
        f"{title:23}  {name:18}  {seconds:7.1f}  {before_mb:11.0f}  {after_mb:5.0f}  "
        f"{after / before:5.1%}"
    )


def _size(reader: RecordingReader, name: TrackName) -> int:
    """Bytes of a track's pictures."""
    fragments = (dict(fragment.by_track()) for _, fragment in reader.all_samples())
    return sum(len(sample.data) for each in fragments for sample in each[name])


def _cpu_s() -> float:
    """Of this process and those that have ended."""
    spent = os.times()
    return sum(spent[:4])


def _vmaf(
    source: RecordingReader, made: RecordingReader, track: TrackName
) -> tuple[float, float, float]:
    """The mean, the worst second, and the worst picture."""
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for index, reader in enumerate((made, source)):
            files.append(Path(folder) / f"{index}.y4m")
            _write_y4m(files[-1], reader, track)
        report = Path(folder) / "vmaf.json"
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error"]
        for file in files:
            command += ["-i", str(file)]
        measure = f"libvmaf=n_threads=2:log_fmt=json:log_path={report}"
        subprocess.run([*command, "-lavfi", measure, "-f", "null", "-"], check=True)
        pictures = [each["metrics"]["vmaf"] for each in json.loads(report.read_text())["frames"]]
    fps = _encoding(track).fps
    seconds = [pictures[first : first + fps] for first in range(0, len(pictures), fps)]
    return mean(pictures), min(map(mean, seconds)), min(pictures)


def _write_y4m(path: Path, reader: RecordingReader, track: TrackName) -> None:
    decoder, video = None, None
    with path.open("wb") as file:
        for tracks, fragment in reader.all_samples():
            samples = dict(fragment.by_track())[track]
            if samples and tracks.videos()[track] != video:
                video = tracks.videos()[track]
                decoder = picture_decoder(video)
                if not file.tell():
                    size = b"W%d H%d" % (video.width, video.height)
                    file.write(b"YUV4MPEG2 %b F30:1 C420p10 XYSCSS=420P10\n" % size)
            for sample in samples:
                assert decoder is not None
                for frame in decoder.decode(av.Packet(sample.data)):
                    file.write(b"FRAME\n" + frame.reformat(format=LAYOUT).to_ndarray().tobytes())


if __name__ == "__main__":
    main()
