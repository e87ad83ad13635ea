"""What the server spends: CPU time of its processes from /proc, event-loop lag from /metrics."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class ProcessTime:
    """CPU seconds so far of a process and of its children that have ended; its memory now."""

    name: str
    cpu_s: float
    memory_bytes: int = 0  #: resident


def find_server_pid(data_dir: Path) -> int | None:
    """From `server.json`, which the running server keeps in its data directory."""
    try:
        return int(json.loads((data_dir / "server.json").read_text())["pid"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def metrics_headers(data_dir: Path) -> dict[str, str]:
    """What to ask for `/metrics` with: the token lies where the server keeps its data."""
    try:
        token = (data_dir / "keys" / "metrics.token").read_text().strip()
    except OSError:
        return {}
    return {"Authorization": f"Bearer {token}"}


def process_times(root: int, proc: Path = Path("/proc")) -> dict[int, ProcessTime]:
    """The times of process `root`, named "media", and all below it, named "analysis"."""
    times: dict[int, ProcessTime] = {}
    parents: dict[int, int] = {}
    for directory in proc.iterdir():
        if directory.name.isdigit():
            stat = _read_stat(directory)
            if stat is not None:
                pid = int(directory.name)
                name = "media" if pid == root else "analysis"
                parents[pid], times[pid] = stat[0], ProcessTime(name, *stat[1:])
    return {pid: time for pid, time in times.items() if _is_below(pid, root, parents)}


def same_processes(
    earlier: dict[int, ProcessTime], proc: Path = Path("/proc")
) -> dict[int, ProcessTime]:
    """Those of them that still run, as they are now: much cheaper than to look for all."""
    now = {}
    for pid, time in earlier.items():
        stat = _read_stat(proc / str(pid))
        if stat is not None:
            now[pid] = ProcessTime(time.name, *stat[1:])
    return now


def cpu_by_name(before: dict[int, ProcessTime], after: dict[int, ProcessTime]) -> dict[str, float]:
    """CPU seconds spent between two readings, summed by process name.

    A child that ended in between is counted with the parent that waited for it.
    """
    spent: dict[str, float] = {}
    for pid, time in after.items():
        started = before[pid].cpu_s if pid in before else 0.0
        spent[time.name] = spent.get(time.name, 0.0) + time.cpu_s - started
    return spent


def memory_by_name(processes: dict[int, ProcessTime]) -> dict[str, int]:
    """Resident bytes summed by process name; pages that processes share count with each."""
    held: dict[str, int] = {}
    for each in processes.values():
        held[each.name] = held.get(each.name, 0) + each.memory_bytes
    return held


def with_recorder(spent: dict[str, float], before: str, after: str) -> dict[str, float]:
    """CPU by name, the recorder's, a thread of "media", for itself if two metrics pages tell it."""
    earlier, later = _recorder_cpu_s(before), _recorder_cpu_s(after)
    if earlier is None or later is None or "media" not in spent:
        return spent
    recorder_s = later - earlier
    return spent | {"media": spent["media"] - recorder_s, "recorder": recorder_s}


def _recorder_cpu_s(metrics: str) -> float | None:
    for line in metrics.splitlines():
        if line.startswith('vivavoce_thread_cpu_seconds_total{thread="recorder-writer"}'):
            return float(line.rsplit(" ", 1)[1])
    return None


def loop_lag_s(metrics: str) -> float | None:
    """The largest `vivavoce_event_loop_lag_max_seconds`, or lag sample, in a metrics page."""
    samples = [
        float(line.rsplit(" ", 1)[1])
        for line in metrics.splitlines()
        if line.startswith("vivavoce_event_loop_lag") and " " in line
    ]
    return max(samples, default=None)


def _read_stat(directory: Path) -> tuple[int, float, int] | None:
    """Parent, CPU seconds, resident bytes; None for a process that has ended (proc(5), stat)."""
    try:
        text = (directory / "stat").read_text()
    except OSError:
        return None
    # The second field, the name in parentheses, may contain spaces.
    fields = text[text.rindex(")") + 2 :].split()
    user, system, children_user, children_system = map(int, fields[11:15])
    ticks = user + system + children_user + children_system
    return int(fields[1]), ticks / _TICKS_PER_S, int(fields[21]) * _PAGE_BYTES


def _is_below(pid: int, root: int, parents: dict[int, int]) -> bool:
    while pid != root:
        if pid not in parents:
            return False
        pid = parents[pid]
    return True
