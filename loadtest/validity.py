"""Why the figures of a run must not be used. Pure."""

from loadtest.results import GeneratorCost, InterviewResult
from loadtest.truth import FREEZE_S

#: Later than this in one of a hundred sends, the generator itself distorts what it measures.
MAX_LATENESS_P99_S = 0.020
#: It stood still for longer than a picture may: the freeze that was seen is its own.
MAX_LATENESS_S = FREEZE_S
#: Of one core: beyond it the generator's queue, not the server's, is what grows.
MAX_CPU_SHARE = 0.85
#: Of a run that was ended sooner, nothing is said about the generator's CPU.
MIN_CPU_DURATION_S = 0.5


def found_in_interviews(results: list[InterviewResult]) -> list[str]:
    """What went wrong with the interviews, so that the figures must not be used."""
    faults = []
    missing = sum(each.error is not None for each in results)
    if missing:
        faults.append(f"{missing} of {len(results)} interviews did not take place")
    lost = sum(each.connection_lost is not None for each in results)
    if lost:
        faults.append(f"{lost} of {len(results)} interviews lost a connection")
    joined = [each for each in results if each.error is None]
    watched = not joined or any(each.frames_sent for each in joined)
    if watched and not any(each.frames_received for each in results):
        faults.append("no observer received a whole frame")
    return faults


def found_in_generator(
    results: list[InterviewResult], duration_s: float, generator: GeneratorCost
) -> list[str]:
    """Why this tool, and not the server, was what was measured."""
    faults = []
    lateness_s = generator.worst_lateness_p99_s
    if lateness_s is not None and lateness_s > MAX_LATENESS_P99_S:
        faults.append(f"the generator sent late: p99 {lateness_s * 1000:.0f} ms")
    if generator.lateness_s.max > MAX_LATENESS_S:
        faults.append(f"the generator stood still for {generator.lateness_s.max * 1000:.0f} ms")
    share = generator.busiest_cpu_s / duration_s if duration_s >= MIN_CPU_DURATION_S else 0.0
    if share > MAX_CPU_SHARE:
        faults.append(f"the generator used {share:.0%} of a core")
    refused = sum(each.datagrams_refused for each in results)
    if refused:
        faults.append(f"the generator's kernel refused or dropped {refused} datagrams")
    return faults
