"""The comparison with other queues: its own side works on both databases, and it never measures without the others."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.peers import compare
from bench.peers.report import Report, Request

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("what", "way"), [("throughput", "tasks"), ("throughput", "engine"), ("latency", "tasks")]
)
def test_the_own_driver_reports_figures(db_url: str, what: str, way: str) -> None:
    request = Request(what, db_url, 5, 4, way)
    command = [sys.executable, "-m", "bench.peers.drive_strataflow", *request.command()]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    wanted = {"run_per_s", "submit_per_s", "run_cpu_us", "kept_bytes"}
    if what == "latency":
        wanted = {"called_p50_ms", "called_p99_ms", "done_p50_ms", "done_p99_ms"}
    assert wanted <= set(answer["figures"])
    assert "strataflow" in answer["versions"]
    if what == "throughput" and db_url.startswith("postgres"):
        assert answer["figures"]["kept_rows"] > 5


def test_without_the_other_queues_nothing_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compare, "_HOME", tmp_path / "peers")
    for name, value in {
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(tmp_path),
        "PIP_CONFIG_FILE": "/dev/null",
    }.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit, match="cannot be installed, so nothing was measured"):
        compare.compare(
            "postgresql://127.0.0.1:1/none", tmp_path, repeat=1, scale=0.01, concurrency=1, raw_s=0.1
        )


def test_a_request_survives_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    request = Request("latency", "sqlite:///x.db", 2500, 7, "engine")
    monkeypatch.setattr(sys, "argv", ["driver", *request.command()])
    assert Request.read() == request
    assert [len(batch) for batch in request.batches()] == [1000, 1000, 500]


def test_times_are_the_median_and_the_99th_percentile() -> None:
    report = Report(Request("latency", "sqlite:///x.db", 200, 1, "-"), ())
    report.times("done", [n / 1000 for n in range(200, 0, -1)])
    assert report.figures == {
        "done_p50_ms": pytest.approx(101.0),
        "done_p99_ms": pytest.approx(199.0),
    }
