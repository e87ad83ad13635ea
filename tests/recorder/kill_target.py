"""A process that records in real time until it is killed; prints each frame's capture time."""

import asyncio
import os
import sys
import time
from pathlib import Path

from msgspec.structs import replace

from server.core.frames import Codec
from server.recorder.recorder import open_recorder
from tests.recorder.conftest import POLICY
from tests.recorder.encoded import START_S, interview


async def main(data_dir: Path, codec: Codec) -> None:
    frames = interview(codec, 4.0)
    async with open_recorder(data_dir) as recorder:
        recording = recorder.record("iv", "Somebody", POLICY, print)
        began_s = time.time()
        for loop in range(10):
            for frame in frames:
                at_s = began_s + 4.0 * loop + frame.capture_s - START_S
                await asyncio.sleep(max(0.0, at_s - time.time()))
                recording.on_frame(replace(frame, capture_s=at_s, arrived_s=time.time()))
                os.write(1, f"{at_s:.6f}\n".encode())


asyncio.run(main(Path(sys.argv[1]), Codec(sys.argv[2])))
