"""What a run is to do."""

from dataclasses import dataclass
from pathlib import Path

from loadtest.endpoints import EndpointTemplates
from loadtest.network import Impairments, Network
from loadtest.packets import PacketisedClip
from loadtest.scenario import Scenario, make_scenario


@dataclass(frozen=True, slots=True)
class Plan:
    url: str
    clips: tuple[PacketisedClip, ...]  #: used in turn
    interviews: int  #: at one time
    duration_s: float
    data_dir: Path
    owner_token: str | None = None
    server_pid: int | None = None
    check_recordings: bool = True
    browser: bool = False  #: one more interview, in a real one
    foreign: EndpointTemplates | None = None  #: another server than ours; no invitations then
    scenario: Scenario | None = None  #: by default steady
    #: Emulated before the candidates and before the observers, used in turn.
    candidate_networks: tuple[Impairments, ...] = ()
    observer_networks: tuple[Impairments, ...] = ()
    seed: str = ""
    processes: int = 1  #: of this tool, which share the interviews

    @property
    def course(self) -> Scenario:
        return self.scenario or make_scenario("steady", self.interviews, self.duration_s)

    def networks(self) -> dict[str, list[str]]:
        """As the report names them."""
        both = {"candidates": self.candidate_networks, "observers": self.observer_networks}
        return {side: [str(each) for each in networks] for side, networks in both.items()}

    def setting(self) -> dict[str, str]:
        """What the report does not tell otherwise."""
        return {
            "target": "vivavoce" if self.foreign is None else "whip",
            "codecs": ", ".join(clip.clip.codec for clip in self.clips),
            "duration": f"{self.duration_s:g} s",
            "processes": str(self.processes),
            "seed": self.seed,
        }

    def candidate_network(self, interview: int) -> Network | None:
        return self._network(self.candidate_networks, interview, "candidate")

    def observer_network(self, interview: int) -> Network | None:
        return self._network(self.observer_networks, interview, "observer")

    def _network(
        self, networks: tuple[Impairments, ...], interview: int, side: str
    ) -> Network | None:
        if not networks:
            return None
        return Network(networks[interview % len(networks)], f"{self.seed} {interview} {side}")
