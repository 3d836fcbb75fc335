"""jobs/reframe/pairdist_check.py: ReFrame loads it, runs it with mpirun on this machine, and fails where it should.

PAIRDIST_BIN names the binary [default: target/release/pairdist].
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY

CHECK = REPOSITORY / "jobs/reframe/pairdist_check.py"
BINARY = Path(os.environ.get("PAIRDIST_BIN", REPOSITORY / "target/release/pairdist")).resolve()
REFRAME = Path(sys.executable).parent / "reframe"
NO_REFERENCES = "NODE_RATES = {}"
SETTINGS = {
    "systems": [
        {
            "name": "test",
            "hostnames": [".*"],
            "partitions": [{"name": "local", "scheduler": "local", "launcher": "mpirun", "environs": ["builtin"]}],
        }
    ],
}
LAUNCH = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "OMPI_MCA_rmaps_base_oversubscribe": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
}


@pytest.fixture
def reframe(tmp_path):
    settings = tmp_path / "settings.py"
    settings.write_text(f"site_configuration = {SETTINGS}")

    def run(*options, check=CHECK, status=0):
        argv = [REFRAME, "-C", settings, "-c", check, "--prefix", tmp_path, "--nocolor", *options]
        done = subprocess.run(argv, cwd=tmp_path, env=os.environ | LAUNCH, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == status, f"exit {done.returncode}\n{done.stdout[-4000:]}\n{done.stderr[-2000:]}"
        return done.stdout

    return run


def small(name, nodes):
    """Selects one check of the sweep, with few samples."""
    assert BINARY.exists(), f"{BINARY} is missing: cargo build --release"
    return ["-n", f"{name}%num_nodes={nodes}$", "-S", "samples=300", "-S", "features=20", "-S", f"executable={BINARY}"]


def test_both_sweeps_have_1_2_4_and_8_nodes(reframe):
    listed = reframe("--list")
    for name in ("pairdist_strong", "pairdist_weak"):
        for nodes in (1, 2, 4, 8):
            assert f"- {name} %num_nodes={nodes} " in listed
    assert "Found 8 check(s)" in listed


def test_a_dry_run_writes_every_job_script(reframe, tmp_path):
    assert "PASSED" in reframe("--dry-run")
    scripts = [path.read_text() for path in tmp_path.glob("stage/**/rfm_job.sh")]
    assert len(scripts) == 8
    assert sum("mpirun -np 8 pairdist compute" in script for script in scripts) == 2


@pytest.mark.parametrize(("name", "pairs"), [("pairdist_strong", 300**2), ("pairdist_weak", 424**2)])
def test_runs_report_the_rate_and_keep_the_record(reframe, tmp_path, name, pairs):
    report = reframe(*small(name, 2), "-r", "--performance-report")
    assert "G pair-features/s" in report
    (kept,) = tmp_path.glob("output/**/record.json")
    record = json.loads(kept.read_text())
    assert (record["pairs"], record["ranks"]) == (pairs, 2)


def test_wrong_results_fail(reframe, tmp_path):
    # a program that computes all right, and finds no distances right
    broken = tmp_path / "broken"
    broken.write_text(f'#!/bin/sh\n[ "$1" = verify ] || exec {BINARY} "$@"\n')
    broken.chmod(0o755)
    assert "pairdist verify did not find" in reframe(*small("pairdist_strong", 1), "-S", f"executable={broken}", "-r", status=1)


def test_rates_below_the_reference_fail(reframe, tmp_path):
    text = CHECK.read_text()
    assert NO_REFERENCES in text
    check = tmp_path / CHECK.name
    check.write_text(text.replace(NO_REFERENCES, 'NODE_RATES = {"test:local": 1e9}'))
    for name, nodes in (("pairdist_strong", 1), ("pairdist_weak", 2)):
        assert "failed to meet reference(s): rate=" in reframe(*small(name, nodes), "-r", check=check, status=1)
    # what is lost by dividing the same work is for the sweep to show
    reframe(*small("pairdist_strong", 2), "-r", check=check)
