"""The job scripts under a real Slurm of two virtual nodes."""

import hashlib
import json
import os
import re
import signal
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import BINARY, CORES, REPOSITORY, SUBMIT, generate, records_in, run, until


def distances(path):
    """A digest of the bytes of /distances."""
    with h5py.File(path) as file:
        assert file.attrs["complete"] == 1
        return hashlib.sha256(file["distances"][()].tobytes()).hexdigest()


def test_smoke_runs_on_both_nodes(sandbox, tmp_path):
    options = ["--nodes", "2", "--ranks-per-node", "2", "--threads", CORES // 2]
    # a blank separates options in a header, and % begins a pattern
    smoke, job = sandbox.submit_and_wait("smoke", tmp_path / "it's run 1, 100%j", *options)
    assert (job["JobState"], job["ExitCode"], job["NumNodes"]) == ("COMPLETED", "0:0", "2"), smoke.log
    (record,) = smoke.records
    assert (record["ranks"], record["nodes"], record["threads_per_rank"]) == (4, 2, CORES // 2)
    assert f"SLURM_JOB_ID={job['JobId']}\n" in (smoke.starts[0] / "environment.txt").read_text()
    assert "verified" in smoke.log and distances(smoke / "result/distances.h5")


def test_production_stops_before_its_time_is_over_and_gets_in_line_until_done(sandbox, tmp_path):
    # Slurm sends its signal between 18 and 48 s after the start of a job of a minute: 120 s of work take three jobs or more
    samples = generate(tmp_path / "x.h5", seconds=120, samples=24000, threads=2, dtype="f32")
    options = ["--nodes", "2", "--time", "00:01:00", "--input", samples, "--metric", "cityblock", "--checkpoint-interval", "0.5"]
    production, job = sandbox.submit_and_wait("production", tmp_path / "run", *options, timeout=420)
    assert (job["JobState"], job["ExitCode"]) == ("COMPLETED", "0:0"), production.log
    assert int(job["Restarts"]) >= 2, production.log
    assert len(production.starts) == int(job["Restarts"]) + 1
    assert production.log.count("pairdist: stopped by a signal") == int(job["Restarts"])
    (record,) = production.records
    assert 0 < record["resumed_pairs"] < record["pairs"]
    whole = [BINARY, "compute", samples, "-o", tmp_path / "whole.h5", "--metric", "cityblock", "--tile", "500"]
    run(*whole, timeout=420)
    assert distances(production / "result/distances.h5") == distances(tmp_path / "whole.h5")


def test_production_finds_neighbours(sandbox, tmp_path):
    samples = generate(tmp_path / "x.h5", seconds=2, samples=12000, threads=2, dtype="f32")
    options = ["--nodes", "2", "--input", samples, "--metric", "cityblock", "--neighbors", "15", "--checkpoint-interval", "0.2"]
    production, job = sandbox.submit_and_wait("production", tmp_path / "run", *options, timeout=120)
    assert (job["JobState"], job["ExitCode"]) == ("COMPLETED", "0:0"), production.log
    assert "neighbours (of 100 random samples" in production.log
    run(BINARY, "compute", samples, "-o", tmp_path / "whole.h5", "--metric", "cityblock", "--neighbors", "15")
    with h5py.File(production / "result/distances.h5") as result, h5py.File(tmp_path / "whole.h5") as whole:
        for name in ("neighbors/indices", "neighbors/distances"):
            assert np.array_equal(result[name][()], whole[name][()])


def ranks_of(folder):
    """Processes of the program of a run."""
    ranks = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if os.readlink(process / "exe") == str(folder / "pairdist"):
                ranks.append(int(process.name))
        except OSError:  # ended meanwhile
            continue
    return ranks


@pytest.fixture
def long_run(sandbox, tmp_path):
    """A production run in its midst."""
    samples = generate(tmp_path / "x.h5", seconds=10, samples=16000, threads=2, dtype="f32")
    options = ["--nodes", "2", "--input", samples, "--metric", "cityblock", "--checkpoint-interval", "0.1"]
    production, job = sandbox.submit("production", tmp_path / "run", *options)
    until(lambda: production.at_work, 30)
    return production, job


def test_the_signal_that_slurm_sends_stops_all_ranks_in_order(sandbox, long_run):
    production, job = long_run
    run("scancel", "--signal=USR1", job, env=sandbox.env)
    until(lambda: sandbox.show(job)["Restarts"] == "1", 20)
    assert "pairdist: stopped by a signal" in production.log and "stopped in time" in production.log
    assert not (production / "result/distances.h5").exists()
    until(lambda: "tiles are done already" in production.log, 30)
    run("scancel", job, env=sandbox.env)
    assert sandbox.wait(job)["JobState"] == "CANCELLED"


def test_a_killed_rank_ends_the_job_which_can_be_taken_up(sandbox, long_run):
    production, job = long_run
    os.kill(max(ranks_of(production.folder)), signal.SIGKILL)
    ended = sandbox.wait(job, 20)
    assert ended["JobState"] == "FAILED" and ended["ExitCode"] != "0:0" and ended["Restarts"] == "0"
    assert not (production / "result/distances.h5").exists() and not ranks_of(production.folder)
    assert f"resume with 'sbatch job.sh' in {production.folder}" in production.log
    assert "tiles are done already" not in production.log
    taken_up = run("sbatch", "--parsable", production / "job.sh", env=sandbox.env).stdout.strip()
    until(lambda: "tiles are done already" in production.log, 30)
    run("scancel", taken_up, env=sandbox.env)
    assert sandbox.wait(taken_up)["JobState"] == "CANCELLED"


def test_what_the_header_says_counts_more_than_variables(sandbox, tmp_path):
    # SBATCH_EXPORT and SLURM_EXPORT_ENV are set to NONE at some sites
    variables = {"SBATCH_TIMELIMIT": "5", "SBATCH_JOB_NAME": "other", "SBATCH_REQUEUE": "1", "SBATCH_ARRAY_INX": "1-2"}
    variables |= {"SBATCH_EXPORT": "NONE", "SLURM_EXPORT_ENV": "NONE", "CDPATH": str(tmp_path)}
    options = ["--folder", tmp_path / "run", "--pairdist", BINARY, "--samples", "300"]
    submitted = run(SUBMIT, "sandbox", "smoke", *options, env=sandbox.env | variables)
    job = sandbox.wait(re.search(r"Submitted batch job (\d+)", submitted.stdout)[1])
    assert (job["TimeLimit"], job["JobName"], job["Requeue"]) == ("00:10:00", "pairdist-smoke", "0")
    assert job["StdOut"] == f"{tmp_path}/run/job.log" and job["JobState"] == "COMPLETED"


def test_a_failed_job_is_not_started_again(sandbox, tmp_path):
    (tmp_path / "x.h5").write_text("no samples")
    production, job = sandbox.submit_and_wait("production", tmp_path / "run", "--input", tmp_path / "x.h5")
    assert (job["JobState"], job["ExitCode"], job["Restarts"]) == ("FAILED", "1:0", "0")
    assert "pairdist: " in production.log and "x.h5" in production.log


def test_strong_scaling_keeps_the_problem_and_takes_more_nodes(sandbox, tmp_path):
    options = ["--sweep", "1 2", "--repeats", "2", "--samples", "1500", "--study", tmp_path / "study"]
    _, job = sandbox.submit_and_wait("strong", tmp_path / "run", *options)
    assert (job["JobState"], job["NumNodes"]) == ("COMPLETED", "2")
    records = [json.loads(path.read_text()) for path in records_in(tmp_path / "study")]
    assert [(record["nodes"], record["bytes_written"] > 0) for record in records] == [(1, True), (1, False), (2, True), (2, False)] * 2
    assert {record["problem"]["n"] for record in records} == {1500}
    assert len({record["digest"] for record in records}) == 1
    assert (tmp_path / "study/about.txt").read_text().startswith("sandbox: ")


def test_jobs_have_the_machine_for_themselves(sandbox, tmp_path):
    jobs = [sandbox.submit("smoke", tmp_path / f"run{number}", "--samples", "500")[1] for number in (1, 2)]
    ended = sorted((sandbox.wait(job) for job in jobs), key=lambda job: job["StartTime"])
    assert {job["JobState"] for job in ended} == {"COMPLETED"}
    assert ended[0]["EndTime"] <= ended[1]["StartTime"]
    assert all(job["OverSubscribe"] == "NO" and job["Requeue"] == "0" for job in ended)


def test_a_job_that_is_not_accepted_leaves_nothing(sandbox, tmp_path):
    options = ["--folder", tmp_path / "run", "--pairdist", BINARY, "--nodes", "3"]
    assert "Node count" in run(SUBMIT, "sandbox", "smoke", *options, env=sandbox.env, status=1).stderr
    assert list(tmp_path.iterdir()) == []


DIGITS = [BINARY, "compute", REPOSITORY / "inputs/digits.h5", "--no-output"]
ONE_CORE, TURNS = "this rank may use 1 of the node's", "they will take turns"


@pytest.mark.parametrize("threads", [1, CORES])
def test_threads_come_from_the_cores_of_a_task(sandbox, tmp_path, threads):
    record = tmp_path / "run.json"
    done = sandbox.srun("--nodes=2", "--ntasks=2", f"--cpus-per-task={threads}", *DIGITS, "--json", record)
    assert json.loads(record.read_text())["threads_per_rank"] == threads
    assert ONE_CORE not in done.stderr and TURNS not in done.stderr


def test_a_rank_with_one_core_of_many_is_warned(sandbox):
    assert CORES > 1, "this test needs a machine of two cores"
    core = str(min(os.sched_getaffinity(0)))
    done = sandbox.srun("--ntasks=1", "taskset", "--cpu-list", core, *DIGITS)
    assert f"{ONE_CORE} {CORES} cores" in done.stderr and "with srun, --cpus-per-task=N" in done.stderr


def test_more_threads_than_cores_are_warned_of(sandbox):
    done = sandbox.srun("--ntasks=1", f"--cpus-per-task={CORES}", *DIGITS, "--threads", CORES + 1)
    assert f"1 rank x {CORES + 1} threads share {CORES} of the node's {CORES} cores" in done.stderr and TURNS in done.stderr
