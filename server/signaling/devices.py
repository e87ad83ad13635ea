"""Cameras and microphones that the pages of those who speak say are off."""

from server.core.frames import TrackName
from server.core.interviews import Role

CAMERAS = {Role.CANDIDATE: TrackName.CAMERA, Role.INTERVIEWER: TrackName.INTERVIEWER_CAMERA}
MICROPHONES = {
    Role.CANDIDATE: TrackName.MICROPHONE,
    Role.INTERVIEWER: TrackName.INTERVIEWER_MICROPHONE,
}


class Devices:
    """Of what is off a recording has black pictures, or silence: it says why, too."""

    def __init__(self) -> None:
        self._off: set[TrackName] = set()
        self._noted: set[TrackName] = set()

    def turn(self, track: TrackName, active: bool) -> bool:
        """It is on, or off. Whether that is new."""
        if active is not (track in self._off):
            return False
        self._off ^= {track}
        return True

    @property
    def cameras_off(self) -> list[Role]:
        return [role for role, track in CAMERAS.items() if track in self._off]

    def begin(self) -> None:
        """A recording does, in which nothing is noted yet."""
        self._noted = set()

    def events(self) -> list[str]:
        """What to note of all that changed since the last time, however often it did."""
        changed, self._noted = sorted(self._off ^ self._noted), set(self._off)
        return [f"{track}-{'off' if track in self._off else 'on'}" for track in changed]
