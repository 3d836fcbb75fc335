"""The job scripts of every site: help, refusals, headers; and a run with stand-ins for what only the site has."""

import json
import os
import re
import shlex
import subprocess

import pytest
from conftest import BINARY, REPOSITORY, SUBMIT, Run, run

# cores of a node: CSCS, "Piz Daint" and "Eiger" hardware pages
CORES = {"daint-gpu": 12, "daint-mc": 36, "eiger": 128}
JOBS = ["smoke", "production", "strong", "weak"]
ORDER = ["job-name", "time", "nodes", "ntasks-per-core", "ntasks-per-node", "cpus-per-task", "mem", "partition", "constraint", "account"]
EVERY = ["--account", "project", "--mem", "60G"]
SAMPLES = str(REPOSITORY / "inputs/digits.h5")
INPUT = {"production": ["--input", SAMPLES]}


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
    assert "exclusive" in options
    assert ("requeue" in options and options["signal"] == "USR1@120") == (job == "production") == ("no-requeue" not in options)
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)


@pytest.mark.parametrize("system", CORES)
def test_plan_knows_the_nodes(system):
    machine = REPOSITORY / f"jobs/systems/{system}.json"
    assert json.loads(machine.read_text())["cores"] == CORES[system]
    options = header(job_script(system, "smoke"))
    layout = ["--ranks", options["ntasks-per-node"], "--threads", options["cpus-per-task"], "--machine", machine]
    assert "node-hours" in run(BINARY, "plan", "--samples", "5000", "--features", "20", *layout).stdout


@pytest.mark.parametrize("document", ["jobs/README.md", "docs/SCALING.md"])
def test_submissions_in_the_documents_are_understood(document, tmp_path):
    text = (REPOSITORY / document).read_text()
    blocks = re.findall(r"^ *```bash\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)
    commands = re.findall(r"^ *jobs/submit (.*?)(?: *#.*)?$", "".join(blocks), re.MULTILINE)
    assert len(commands) >= 2
    (tmp_path / "X.h5").touch()
    for command in commands:
        script = run(SUBMIT, *shlex.split(command), "--dry-run", cwd=tmp_path, env={"SCRATCH": "/scratch"}).stdout
        assert script.startswith("#!/bin/bash"), command


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


@pytest.mark.parametrize("script", ["submit", *JOBS])
def test_every_script_finds_its_own_folder_whatever_cdpath_says(script, tmp_path):
    (tmp_path / "jobs").mkdir()
    assert "usage: jobs/submit SYSTEM" in run(f"jobs/{script}", "--help", cwd=REPOSITORY, env={"CDPATH": str(tmp_path)}).stdout


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
        (["local", "smoke", "--nodes", "0"], "--nodes '0' is not a positive number"),
        (["local", "smoke", "--samples", "x"], "--samples 'x' is not a positive number"),
        (["local", "smoke", "--folder", ""], "--folder '' is not a path"),
        (["local", "smoke", "--study", "study"], "smoke has no option '--study'"),
        (["local", "smoke", "--time", "5"], "--time '5' is not a time; write it as"),
        (["local", "production"], "production needs --input"),
        (["local", "production", "--input", "missing.h5"], "missing.h5 is not a file that can be read"),
        (["local", "production", "--input", "/tmp"], "/tmp is not a file that can be read"),
        (["local", "production", *INPUT["production"], "--against", "/tmp"], "/tmp is not a file that can be read"),
        (["local", "production", *INPUT["production"], "--study", "study"], "production has no option '--study'"),
        (["local", "production", *INPUT["production"], "--stop-after", "3"], "--stop-after '3' is not a time; write it as"),
        (["local", "production", *INPUT["production"], "--checkpoint-interval", "x"], "'x' is not a number of seconds"),
        (["local", "production", *INPUT["production"], "--time", "00:05:00"], "--time 00:05:00 is too short"),
        (["local", "strong", "--sweep", "1 two"], "--sweep '1 two' is not a list of numbers of nodes"),
        (["local", "strong", "--sweep", "1 2 1"], "--sweep '1 2 1' has a number twice"),
        (["local", "production", *INPUT["production"], "--dtype", "f16"], "--dtype 'f16' is not one of f32, f64"),
        (["local", "strong", "--sweep", ""], "--sweep '' is not a list of numbers of nodes"),
        (["local", "strong", "--repeats", "1 2"], "--repeats '1 2' is not a positive number"),
        (["local", "strong", "--sweep", "1 4", "--nodes", "2"], "--nodes 2: the sweep asks for 4"),
        (["local", "strong", "--sweep", "100000"], "local has cores for"),
        (["sandbox", "weak", "--sweep", "1 2 4"], "sandbox has cores for"),
        (["slurm", "smoke", "--ranks-per-node", "1", "--threads", "1", "--folder", 'a"b'], "Slurm takes no quotes"),
        (["eiger", "smoke"], "SCRATCH is not set"),
    ],
)
def test_refusals_say_what_is_wrong(arguments, sentence):
    assert sentence in run(SUBMIT, *arguments[:2], "--dry-run", *arguments[2:], env={"SCRATCH": ""}, status=2).stderr


def test_a_missing_program_is_refused_before_anything_is_made(tmp_path):
    smoke = [SUBMIT, "local", "smoke", "--folder"]
    assert "pairdist is missing" in run(*smoke, tmp_path / "run", "--pairdist", tmp_path / "pairdist", status=1).stderr
    assert not (tmp_path / "run").exists()
    assert "exists; give a new --folder" in run(*smoke, tmp_path, "--pairdist", BINARY, status=1).stderr


def test_metrics_are_those_of_the_program(tmp_path):
    smoke = [SUBMIT, "local", "smoke", "--pairdist", BINARY, "--folder", tmp_path / "run", "--samples", "50"]
    told = run(*smoke, "--metric", "mahalanobis", status=2).stderr
    assert told.startswith("submit: error: invalid value 'mahalanobis'") and "the metrics are sqeuclidean, euclidean" in told
    assert not (tmp_path / "run").exists()
    assert " cityblock, f64," in run(*smoke, "--metric", "CityBlock").stdout
    # where the program does not start, its node may have what it needs
    broken = tmp_path / "pairdist"
    broken.write_text("#!/bin/sh\nexit 127\n")
    broken.chmod(0o755)
    assert "pairdist job" not in run(SUBMIT, "local", "smoke", "--pairdist", broken, "--folder", tmp_path / "other", "--metric", "l1", status=127).stderr


def settings(script):
    (part,) = re.findall(r"^## settings\n(unset .*?)\nprepare$", script, re.MULTILINE | re.DOTALL)
    return part.splitlines()


@pytest.mark.parametrize("job", JOBS)
def test_variables_of_the_caller_are_no_settings(job, tmp_path):
    help = "".join(run(SUBMIT, each, "--help").stdout for each in JOBS)
    names = {option.replace("-", "_") for option in re.findall(r"^  --([a-z-]+) ", help, re.MULTILINE)} - {"dry_run"}
    assert {"samples", "nodes", "time", "stop_after"} <= names
    folder = ["--folder", tmp_path / "run"]
    plain = job_script("local", job, *folder)
    assert job_script("local", job, *folder, env=dict.fromkeys([*names, "run", "job", "dry_run"], "7")) == plain
    # nor when the job runs
    unset, *assigned = settings(plain)
    assert set(unset.split()[1:]) == names
    assert {line.split("=")[0] for line in assigned} <= names | {"system", "job", "run"}


@pytest.mark.parametrize("job", ["strong", "weak"])
def test_scaling_takes_the_nodes_that_the_sandbox_has(job):
    assert "sweep=1\\ 2" in settings(job_script("sandbox", job))


def test_names_of_files_are_no_options_and_no_patterns_for_slurm():
    script = job_script("slurm", "smoke", "--ranks-per-node", "1", "--threads", "1", "--folder", "/tmp/a b/100%j")
    assert header(script)["output"] == '"/tmp/a b/100%%j/job.log"'


@pytest.fixture
def stand_in(tmp_path):
    """Makes a command that does something else, and returns the environment in which it is found."""

    def make(name, action):
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        (folder / name).write_text(f"#!/bin/bash\n{action}\n")
        (folder / name).chmod(0o755)
        return {"PATH": f"{folder}:{os.environ['PATH']}"}

    return make


def test_runs_of_the_same_second_have_folders_of_their_own(tmp_path, stand_in):
    stand_in("sbatch", "true")
    env = stand_in("date", "echo now")
    for _ in range(3):
        run(SUBMIT, "sandbox", "smoke", "--pairdist", BINARY, env=env, cwd=tmp_path)
    folders = sorted((tmp_path / "runs").iterdir())
    assert [folder.name for folder in folders] == ["smoke-now", "smoke-now-2", "smoke-now-3"]
    assert f"run={folders[1]}\n" in (folders[1] / "job.sh").read_text()


def test_a_job_that_is_not_accepted_leaves_nothing(tmp_path, stand_in):
    env = stand_in("sbatch", "exit 3")
    command = [SUBMIT, "sandbox", "strong", "--pairdist", BINARY, "--folder", tmp_path / "run"]
    run(*command, "--study", tmp_path / "study", env=env, status=3)
    (tmp_path / "file").touch()
    run(*command, "--study", tmp_path / "file/study", env=env, status=1)
    assert {path.name for path in tmp_path.iterdir()} == {"bin", "file"}
    kept = tmp_path / "kept"
    kept.mkdir()
    run(*command, "--study", kept, env=env, status=3)
    assert kept.exists()


def test_the_sandbox_deletes_no_folder_of_others(tmp_path):
    (tmp_path / "thesis.tex").touch()
    (tmp_path / "slurm.conf").write_text("ClusterName=sandbox\n")
    refused = run(REPOSITORY / "scripts/slurm-sandbox", "start", env={"SLURM_SANDBOX": str(tmp_path)}, status=1)
    assert refused.stderr == f"slurm-sandbox: {tmp_path} exists and is no sandbox; set SLURM_SANDBOX to a new folder\n"
    assert (tmp_path / "thesis.tex").exists()


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
    step = f"srun --nodes=3 --ntasks={3 * ranks} --ntasks-per-node={ranks} --cpus-per-task={threads} --export=ALL -K1 --hint=nomultithread bash"
    assert [line for line in called if line.startswith(step)] == [line for line in called if line.startswith("srun")] != []
    assert [line for line in called if line.startswith("module") and line != "module list"] == [f"module {words}" for words in modules]
    assert f"lfs setstripe {stripes} result" in called
    done = Run(tmp_path / "run")
    environment = (done.starts[0] / "environment.txt").read_text().splitlines()
    assert {f"OMP_NUM_THREADS={threads}", "MPICH_MPIIO_HINTS_DISPLAY=1", "MPICH_MPIIO_STATS=1"} <= set(environment)
    assert len(done.records) == 1
