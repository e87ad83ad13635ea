"""What compressing recordings costs and gives: ``make bench-compress ARGS="film.mp4 ..."``.

Records each film (by default the load tester's portrait and screen) as a camera of 2.5 Mbit/s at
720p30 sends it, forward and backward for as long as is asked for; compresses the recording, and
prints of each track: MB an hour, the share of the source, VMAF against it (by the ffmpeg of
imageio-ffmpeg: the mean, the worst second, the worst picture), the mean that the product told of
it, XPSNR, and CPU seconds an hour.
"""

import argparse
import itertools
import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import mean

import av
import imageio_ffmpeg

from loadtest import media, screen
from server.core.frames import Codec, EncodedFrame, TrackName
from server.recorder.compression import Compression, NotCompressed
from server.recorder.decoders import picture_decoder
from server.recorder.derived import making_path
from server.recorder.likeness import LAYOUT
from server.recorder.reader import RecordingReader
from server.recorder.recoder import open_recoder
from tests.recorder.conftest import Desk
from tests.recorder.encoded import START_S, annexb_to_lengths

_CAMERA = replace(media.CAMERA, bitrate_bps=2_500_000, keyframe_interval=20 * media.FPS)
_SCREEN = replace(media.SCREEN, bitrate_bps=1_000_000, keyframe_interval=20 * screen.FPS)
_HEAD = (
    "source             seconds  MB/h before  after  share  VMAF mean  worst s  picture  told  "
    "XPSNR  CPU s/h"
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench-compress", description=__doc__)
    parser.add_argument("films", nargs="*", type=Path, metavar="FILM")
    parser.add_argument("--seconds", type=float, default=20.0)
    flags = parser.parse_args()
    print(_HEAD)
    for film in flags.films:
        _bench(film.stem, TrackName.CAMERA, _back_and_forth(film), flags.seconds)
    if not flags.films:
        speech = media._decode_audio(media.SPEECH)
        _bench("portrait", TrackName.CAMERA, media._portrait(speech, flags.seconds), flags.seconds)
        _bench("screen", TrackName.SCREEN, screen.Screen().pictures(), flags.seconds)


def _back_and_forth(film: Path) -> Iterator[av.VideoFrame]:
    """Without end, and without a cut where it begins again."""
    pictures = list(media._film(film))
    return itertools.cycle(pictures + pictures[-2:0:-1])


def _bench(name: str, track: TrackName, pictures: Iterator[av.VideoFrame], seconds: float) -> None:
    encoding = _SCREEN if track is TrackName.SCREEN else _CAMERA
    wanted = itertools.islice(pictures, round(seconds * encoding.fps))
    packets, keyframes = media.encode_pictures("h264", wanted, encoding)
    with tempfile.TemporaryDirectory() as folder:
        desk = Desk(Path(folder) / "data")
        desk.write(
            [
                EncodedFrame(
                    track,
                    Codec.H264,
                    annexb_to_lengths(packet),
                    START_S + index / encoding.fps,
                    index in keyframes,
                    START_S + index / encoding.fps,
                )
                for index, packet in enumerate(packets)
            ]
        )
        _compress(name, track, desk, len(packets) / encoding.fps)


def _compress(name: str, track: TrackName, desk: Desk, seconds: float) -> None:
    source = desk.reader()
    began_s = _cpu_s()
    try:
        with open_recoder() as recoder:
            job = Compression(desk.data_dir, source, desk.keys, recoder, keep_source=True)
            while job.left:
                job.step()
            statement = job.finish(0)
    except NotCompressed as error:
        print(f"{name:17}  {seconds:7.1f}  refused: {error}", flush=True)
        return
    cpu_s = _cpu_s() - began_s
    key = desk.keys.recording_key("iv", bytes.fromhex(statement.recording))
    public_key = desk.keys.public_key
    made = RecordingReader(making_path(desk.data_dir, "iv"), key, public_key)
    whole, worst_s, worst = _vmaf(source, made, track)
    hours = seconds / 3600
    before, after = statement.source_bytes / 1e6 / hours, statement.bytes / 1e6 / hours
    print(
        f"{name:17}  {seconds:7.1f}  {before:11.0f}  {after:5.0f}  {after / before:5.1%}  "
        f"{whole:9.1f}  {worst_s:7.1f}  {worst:7.1f}  {statement.quality[0].vmaf:4.1f}  "
        f"{statement.quality[0].xpsnr_db:5.1f}  {cpu_s / hours:7.0f}",
        flush=True,
    )


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
    fps = (_SCREEN if track is TrackName.SCREEN else _CAMERA).fps
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
