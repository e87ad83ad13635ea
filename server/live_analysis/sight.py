"""One interview's video in a worker: encoded frames in, the newest picture out."""

import av

from server.live_analysis.decode import DecodedPicture, Scaler, Undecodable, VideoDecoder
from server.live_analysis.port import Picture
from server.live_analysis.wire import Frame

#: When the oldest frame waiting is older, the worker cannot keep up: newest wins.
OLDEST_S = 1.5
#: Frames and bytes waiting at most.
MOST_FRAMES = 200
MOST_BYTES = 8 << 20


class Sight:
    """Add frames as they come; ``picture`` decodes what has come since its last call.

    After frames were lost or did not decode, deltas are dropped until a keyframe, and
    ``take_losses`` says that one is needed.
    """

    def __init__(self) -> None:
        self._decoder: VideoDecoder | None = None
        self._scaler = Scaler()
        self._frames: list[Frame] = []
        self._bytes = 0
        self._gated = True
        self._losses: int | None = None
        self.undecodable = 0

    def add(self, frame: Frame) -> None:
        if self._gated and not frame.keyframe:
            self._lose(1)
            return
        self._gated = False
        self._frames.append(frame)
        self._bytes += len(frame.payload)
        if len(self._frames) > MOST_FRAMES or self._bytes > MOST_BYTES:
            self._drop()

    def picture(self, now_s: float) -> Picture | None:
        """The newest picture since the last call, or the first that is a keyframe's."""
        if self._frames and now_s - self._frames[0].arrived_s > OLDEST_S:
            self._drop()
        frames, self._frames, self._bytes = self._frames, [], 0
        shown = None
        for at, frame in enumerate(frames):
            try:
                decoded = self._decode(frame)
            except Undecodable:
                self.undecodable += 1
                self._resume_at_keyframe(frames[at:])
                return None
            if decoded is not None and (shown is None or not shown[0].keyframe):
                shown = frame, decoded
        return None if shown is None else self._picture(*shown)

    def take_losses(self) -> int | None:
        """Frames lost since the last call when a keyframe is needed, else None."""
        losses, self._losses = self._losses, None
        return losses

    def _picture(self, frame: Frame, decoded: av.VideoFrame) -> Picture:
        scaled = DecodedPicture(decoded, self._scaler)
        return Picture(scaled.luma, frame.capture_s, scaled.rgb, frame.keyframe)

    def _decode(self, frame: Frame) -> av.VideoFrame | None:
        if self._decoder is None or self._decoder.codec is not frame.codec:
            self._decoder = VideoDecoder(frame.codec)
        return self._decoder.decode(frame.payload)

    def _resume_at_keyframe(self, frames: list[Frame]) -> None:
        """Drop the broken frame and all up to the next keyframe, which stay for the next call."""
        self._decoder = None
        keyframes = [at for at, frame in enumerate(frames) if at and frame.keyframe]
        if keyframes:
            self._frames = frames[keyframes[0] :]
            self._bytes = sum(len(frame.payload) for frame in self._frames)
            return
        self._gated = True
        self._lose(len(frames))

    def _drop(self) -> None:
        self._lose(len(self._frames))
        self._frames, self._bytes, self._gated = [], 0, True

    def _lose(self, frames: int) -> None:
        self._losses = (self._losses or 0) + frames
