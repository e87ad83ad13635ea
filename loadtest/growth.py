"""Whether the server's memory grows: the slope over a long run. Pure."""

from collections.abc import Sequence

from loadtest.series import Moment

#: The beginning is not counted: caches fill and pools come up to their size.
WARM_UP_SHARE = 0.2
#: Below it a slope says more about single allocations than about hours.
MIN_DURATION_S = 60.0
#: From here on it is judged, in scenarios in which the number of interviews stays as it is.
MIN_JUDGED_S = 600.0
JUDGED_SCENARIOS = ("steady", "soak")


def memory_growth_per_hour(series: Sequence[Moment]) -> dict[str, int] | None:
    """Bytes an hour by process; None for a short run, or where the memory is not known."""
    end_s = series[-1].at_s if series else 0.0
    counted = [each for each in series if each.at_s >= end_s * WARM_UP_SHARE]
    if end_s < MIN_DURATION_S or not all(each.server_memory_bytes for each in counted):
        return None
    times = [each.at_s for each in counted]
    return {
        name: round(3600 * slope(times, [e.server_memory_bytes.get(name, 0) for e in counted]))
        for name in counted[-1].server_memory_bytes
    }


def judged_mb_per_hour(series: Sequence[Moment], scenario: str) -> float | None:
    """Of the fastest growing process, 1e6 bytes; None where it tells nothing about hours."""
    growth = memory_growth_per_hour(series)
    if not series or scenario.partition(":")[0] not in JUDGED_SCENARIOS:
        return None
    if not growth or series[-1].at_s < MIN_JUDGED_S:
        return None
    return max(growth.values()) / 1e6


def slope(times: Sequence[float], values: Sequence[float]) -> float:
    """Of the line with the least squares of distances; for at least two different times."""
    count = len(times)
    middle_time, middle_value = sum(times) / count, sum(values) / count
    return sum(
        (time - middle_time) * (value - middle_value)
        for time, value in zip(times, values, strict=True)
    ) / sum((time - middle_time) ** 2 for time in times)
