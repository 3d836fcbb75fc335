"""jobs/reframe/pairdist_check.py under a real Slurm: ReFrame submits the sweep, waits for its jobs, and reads their records."""

import json
import sys
from pathlib import Path

from conftest import BINARY, CORES, REPOSITORY, launch_environment, run

CHECK = REPOSITORY / "jobs/reframe/pairdist_check.py"
REFRAME = Path(sys.executable).parent / "reframe"
PARTITION = {
    "name": "nodes",
    "scheduler": "squeue",  # of Slurm without accounting
    "launcher": "srun",
    "access": ["--partition=sandbox", "--licenses=machine"],
    "environs": ["builtin"],
}
SETTINGS = {"systems": [{"name": "sandbox", "hostnames": [".*"], "partitions": [PARTITION]}]}


def test_a_sweep_runs_on_one_node_and_on_two(sandbox, tmp_path):
    settings = tmp_path / "settings.py"
    settings.write_text(f"site_configuration = {SETTINGS}")
    ranks_per_node, threads = 2, max(1, CORES // 2)
    layout = {"ranks_per_node": ranks_per_node, "threads": threads, "samples": 300, "features": 20, "executable": BINARY}
    variables = [word for name, value in layout.items() for word in ("-S", f"{name}={value}")]
    select = ["-n", "pairdist_(strong|weak)%num_nodes=(1|2)$", "-r", "--performance-report", *variables]
    reframe = [REFRAME, "-C", settings, "-c", CHECK, "--prefix", tmp_path, "--nocolor", *select]
    report = run(*reframe, env=sandbox.env | launch_environment(), timeout=300, cwd=tmp_path).stdout
    assert "Ran 4/4 test case(s)" in report and "G pair-features/s" in report, report
    records = [json.loads(path.read_text()) for path in tmp_path.glob("output/**/record.json")]
    found = sorted((record["nodes"], record["ranks"], record["threads_per_rank"], record["problem"]["n"]) for record in records)
    job_scripts = [path.read_text() for path in tmp_path.glob("output/**/rfm_job.sh")]
    assert len(job_scripts) == 4 and all("--exclusive" in script and script.count(" -K1 ") == 3 for script in job_scripts)
    assert found == [(1, 2, threads, 300), (1, 2, threads, 300), (2, 4, threads, 300), (2, 4, threads, 424)]
