"""The job scripts of every site: help, refusals, headers; and a run with stand-ins for what only the site has."""

import json
import os
import re
import subprocess

import pytest
from conftest import BINARY, REPOSITORY, SUBMIT, Run, run

# cores of a node: CSCS, "Piz Daint" and "Eiger" hardware pages
CORES = {"daint-gpu": 12, "daint-mc": 36, "eiger": 128}
JOBS = ["smoke", "production", "strong", "weak"]
ORDER = ["job-name", "time", "nodes", "ntasks-per-core", "ntasks-per-node", "cpus-per-task", "mem", "partition", "constraint", "account"]
EVERY = ["--account", "project", "--mem", "60G"]
INPUT = {"production": ["--input", "x.h5"]}


def job_script(system, job, *options, env=()):
    done = run(SUBMIT, system, job, "--dry-run", *INPUT.get(job, []), *options, env={"SCRATCH": "/scratch"} | dict(env))
    return done.stdout


def header(script):
    """Options in their order, with their values."""
    return dict(re.findall(r"^#SBATCH --([a-z-]+)=?(.*)$", script, re.MULTILINE))


@pytest.mark.parametrize("job", JOBS)
@pytest.mark.parametrize("system", CORES)
def test_headers_are_in_order_and_fill_a_node(system, job):
    script = job_script(system, job, *EVERY)
    assert script.startswith("#!/bin/bash -l\n#SBATCH --job-name=")
    options = header(script)
    known = [name for name in options if name in ORDER]
    assert known == [name for name in ORDER if name in known] == list(options)[: len(known)]
    assert {"job-name", "time", "nodes", "ntasks-per-node", "cpus-per-task", "mem", "partition", "account"} <= set(known)
    assert int(options["ntasks-per-node"]) * int(options["cpus-per-task"]) == CORES[system]
    # Piz Daint chooses nodes by constraint and cores by tasks per core; Eiger needs no constraint, and has a hint
    place = {name: options.get(name) for name in ("constraint", "ntasks-per-core", "hint", "uenv", "view")}
    if system == "eiger":
        assert place["constraint"] is None and place["hint"] == "nomultithread" and place["uenv"] and place["view"]
    else:
        assert place["constraint"] == system.removeprefix("daint-") and place["ntasks-per-core"] == "1"
    assert options["nodes"] == ("8" if job in ("strong", "weak") else "1")
    assert ("requeue" in options and options["signal"] == "USR1@120") == (job == "production")
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)


@pytest.mark.parametrize("system", CORES)
def test_plan_knows_the_nodes(system, tmp_path):
    description = json.loads((REPOSITORY / f"jobs/systems/{system}.json").read_text())
    assert description["cores"] == CORES[system]
    (command,) = re.findall(r"^pairdist (plan .*)$", (REPOSITORY / "jobs/README.md").read_text(), re.MULTILINE)
    run(BINARY, "generate", tmp_path / "X.h5", "--samples", "5000", "--features", "20")
    argv = command.replace("X.h5", str(tmp_path / "X.h5")).replace("eiger", system).split()
    assert "node-hours" in run(BINARY, *argv, cwd=REPOSITORY).stdout


@pytest.mark.parametrize("job", JOBS)
def test_an_unknown_site_is_told_what_it_lacks(job):
    refused = run(SUBMIT, "slurm", job, "--dry-run", *INPUT.get(job, []), status=2)
    assert "--ranks-per-node and --threads" in refused.stderr
    options = header(job_script("slurm", job, "--ranks-per-node", "4", "--threads", "8"))
    assert (options["ntasks-per-node"], options["cpus-per-task"]) == ("4", "8")
    assert "exclusive" in options and "partition" not in options and "account" not in options


def test_a_node_that_is_not_filled_is_worth_a_warning():
    done = run(SUBMIT, "daint-mc", "smoke", "--threads", "12", "--dry-run", env={"SCRATCH": "/scratch"})
    assert "2 ranks x 12 threads on nodes of 36 cores" in done.stderr


@pytest.mark.parametrize("script", ["submit", *JOBS])
def test_every_script_answers_help(script):
    assert f"usage: jobs/submit SYSTEM {'JOB' if script == 'submit' else script}" in run(REPOSITORY / "jobs" / script, "--help").stdout


def test_no_script_is_left_out():
    scripts = {path.name for path in (REPOSITORY / "jobs").iterdir() if os.access(path, os.X_OK) and path.is_file()}
    assert scripts == {"submit", *JOBS}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["mars", "smoke"], "no system 'mars'"),
        (["local", "nothing"], "no job 'nothing'"),
        (["local", "smoke", "--input", "x.h5"], "smoke has no option '--input'"),
        (["local", "smoke", "nodes", "2"], "smoke has no option 'nodes'"),
        (["local", "smoke", "--nodes"], "--nodes needs a value"),
        (["local", "smoke", "--nodes", "0"], "--nodes 0 is not a positive number"),
        (["local", "smoke", "--time", "5"], "--time 5: write it as"),
        (["local", "production"], "production needs --input"),
        (["local", "production", "--input", "x.h5", "--time", "00:05:00"], "--time 00:05:00 is too short"),
        (["local", "strong", "--sweep", "1 two"], "'two' is not a number of nodes"),
        (["local", "strong", "--sweep", "1 4", "--nodes", "2"], "--nodes 2: the sweep asks for 4"),
        (["eiger", "smoke"], "SCRATCH is not set"),
    ],
)
def test_refusals_say_what_is_wrong(arguments, sentence):
    assert sentence in run(SUBMIT, *arguments[:2], "--dry-run", *arguments[2:], env={"SCRATCH": ""}, status=2).stderr


def test_missing_files_are_refused_before_anything_is_made(tmp_path):
    local = [SUBMIT, "local", "production", "--folder", tmp_path / "run", "--input", tmp_path / "x.h5"]
    assert "x.h5 is missing" in run(*local, "--pairdist", BINARY, status=1).stderr
    assert "pairdist is missing" in run(*local, "--pairdist", tmp_path / "pairdist", status=1).stderr
    assert not (tmp_path / "run").exists()
    assert "exists; give a new --folder" in run(*local[:4], tmp_path, "--input", BINARY, "--pairdist", BINARY, status=1).stderr


STAND_IN = """#!/bin/bash
printf '%s\\n' "${0##*/} $*" >>"$CALLS"
"""
RUN_WITHOUT_OPTIONS = 'while [[ $1 == -* ]]; do shift; done\n[ $# = 0 ] || exec "$@"\n'


@pytest.mark.parametrize(
    ("system", "modules", "stripes"),
    [
        ("daint-gpu", ["load daint-gpu", "swap PrgEnv-cray PrgEnv-gnu", "load cray-hdf5-parallel"], "--stripe-count 40"),
        ("daint-mc", ["load daint-mc", "swap PrgEnv-cray PrgEnv-gnu", "load cray-hdf5-parallel"], "--stripe-count 40"),
        ("eiger", [], "--stripe-count 32 --stripe-size 4M"),
    ],
)
def test_a_site_is_asked_for_modules_stripes_and_cores(tmp_path, system, modules, stripes):
    calls = tmp_path / "calls"
    for name, action in {"sbatch": 'bash "$1"\n', "srun": RUN_WITHOUT_OPTIONS, "module": "", "lfs": ""}.items():
        stand_in = tmp_path / name
        stand_in.write_text(STAND_IN + action)
        stand_in.chmod(0o755)
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "CALLS": str(calls), "SCRATCH": str(tmp_path)}
    run(SUBMIT, system, "smoke", "--nodes", "3", "--pairdist", BINARY, "--folder", tmp_path / "run", env=env)
    called = calls.read_text().splitlines()
    options = header((tmp_path / "run/job.sh").read_text())
    ranks, threads = int(options["ntasks-per-node"]), int(options["cpus-per-task"])
    step = f"srun --nodes=3 --ntasks={3 * ranks} --ntasks-per-node={ranks} --cpus-per-task={threads} -K1 --hint=nomultithread bash"
    assert [line for line in called if line.startswith(step)] == [line for line in called if line.startswith("srun")] != []
    assert [line for line in called if line.startswith("module") and line != "module list"] == [f"module {words}" for words in modules]
    assert f"lfs setstripe {stripes} result" in called
    done = Run(tmp_path / "run")
    environment = (done.starts[0] / "environment.txt").read_text().splitlines()
    assert {f"OMP_NUM_THREADS={threads}", "MPICH_MPIIO_HINTS_DISPLAY=1", "MPICH_MPIIO_STATS=1"} <= set(environment)
    assert len(done.records) == 1
