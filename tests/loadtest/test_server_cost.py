import os
import subprocess
import sys
from pathlib import Path

import pytest

from loadtest.server_cost import (
    ProcessTime,
    cpu_by_name,
    find_server_pid,
    loop_lag_s,
    memory_by_name,
    metrics_headers,
    process_times,
    same_processes,
    with_recorder,
)

TICKS = os.sysconf("SC_CLK_TCK")


def plant(
    proc: Path, pid: int, parent: int, user: int, system: int = 0, ended: int = 0, pages: int = 0
) -> None:
    """A stat file whose process has an awkward name (proc(5))."""
    fields = ["S", parent, *[0] * 9, user, system, ended, 0, *[0] * 6, pages, *[0] * 20]
    (proc / str(pid)).mkdir(parents=True, exist_ok=True)
    (proc / str(pid) / "stat").write_text(f"{pid} (a) b (c) {' '.join(map(str, fields))}")


def test_the_servers_processes_are_found_and_no_others(tmp_path: Path) -> None:
    plant(tmp_path, 10, 1, user=3 * TICKS, system=TICKS, ended=TICKS)
    plant(tmp_path, 11, 10, user=2 * TICKS)
    plant(tmp_path, 12, 11, user=TICKS)
    plant(tmp_path, 99, 1, user=50 * TICKS)
    (tmp_path / "13").mkdir()  # has just ended
    assert process_times(10, tmp_path) == {
        10: ProcessTime("media", 5),
        11: ProcessTime("analysis", 2),
        12: ProcessTime("analysis", 1),
    }


def test_memory_is_told_by_name(tmp_path: Path) -> None:
    for pid, pages in ((10, 3), (11, 5), (12, 7)):
        plant(tmp_path, pid, 10 if pid > 10 else 1, user=1, pages=pages)
    page = os.sysconf("SC_PAGE_SIZE")
    assert memory_by_name(process_times(10, tmp_path)) == {"media": 3 * page, "analysis": 12 * page}


def test_known_processes_are_read_again_and_ended_ones_left_out(tmp_path: Path) -> None:
    plant(tmp_path, 10, 1, user=TICKS)
    known = process_times(10, tmp_path) | {11: ProcessTime("analysis", 1)}
    plant(tmp_path, 10, 1, user=3 * TICKS)
    assert same_processes(known, tmp_path) == {10: ProcessTime("media", 3)}


def test_a_server_that_is_gone_has_no_processes(tmp_path: Path) -> None:
    plant(tmp_path, 99, 1, user=1)
    assert process_times(10, tmp_path) == {}


def test_what_was_spent_in_between_is_summed_by_name() -> None:
    before = {1: ProcessTime("media", 1.0), 2: ProcessTime("analysis", 5.0)}
    after = {
        1: ProcessTime("media", 1.5),
        2: ProcessTime("analysis", 6.0),
        3: ProcessTime("analysis", 0.25),  # started in between
    }
    assert cpu_by_name(before, after) == {"media": 0.5, "analysis": 1.25}


def test_a_real_process_that_works_is_measured() -> None:
    work = "import time\nwhile time.process_time() < 0.3: pass\nprint(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", work], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        spent = cpu_by_name({}, process_times(process.pid))["media"]
        process.communicate(b"\n")
    assert 0.2 < spent < 0.6


def test_the_recorder_is_taken_out_of_its_process() -> None:
    page = 'vivavoce_thread_cpu_seconds_total{thread="recorder-writer"} '
    spent = {"media": 3.0, "analysis": 1.0}
    assert with_recorder(spent, page + "1.5", page + "2.0") == {
        "media": 2.5,
        "recorder": 0.5,
        "analysis": 1.0,
    }
    assert with_recorder(spent, "", page + "2.0") == spent
    assert with_recorder({}, page + "1.5", page + "2.0") == {}


def test_the_token_of_the_metrics_is_read_where_there_is_one(tmp_path: Path) -> None:
    assert metrics_headers(tmp_path) == {}
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "metrics.token").write_text("abc\n")
    assert metrics_headers(tmp_path) == {"Authorization": "Bearer abc"}


def test_the_largest_lag_is_read_from_the_metrics() -> None:
    metrics = """# HELP vivavoce_event_loop_lag_seconds How late
# TYPE vivavoce_event_loop_lag_seconds gauge
vivavoce_event_loop_lag_seconds{quantile="0.5"} 0.0005
vivavoce_event_loop_lag_seconds{quantile="1"} 2.68e-02
vivavoce_interviews 7
"""
    assert loop_lag_s(metrics) == 0.0268
    assert loop_lag_s("") is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"pid": "x"}', "{"])
def test_a_server_file_without_a_pid_is_none(tmp_path: Path, text: str) -> None:
    assert find_server_pid(tmp_path) is None
    (tmp_path / "server.json").write_text(text)
    assert find_server_pid(tmp_path) is None


def test_the_pid_is_read_from_the_server_file(tmp_path: Path) -> None:
    (tmp_path / "server.json").write_text('{"url": "http://127.0.0.1:1", "pid": 7}')
    assert find_server_pid(tmp_path) == 7
