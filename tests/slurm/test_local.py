"""The job scripts without Slurm."""

import functools
import os
import re
import signal
import subprocess

import h5py
import numpy as np
from conftest import BINARY, REPOSITORY, SUBMIT, Run, generate, records_in, run, until


def local(job, folder, *options, **how):
    run(SUBMIT, "local", job, "--folder", folder, "--pairdist", BINARY, *options, **how)
    return Run(folder)


def test_a_run_folder_tells_what_was_run_and_where(tmp_path):
    smoke = local("smoke", tmp_path / "run", "--nodes", "2", "--samples", "300")
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=SUBMIT.parent, capture_output=True, text=True, check=True).stdout.strip()
    assert (smoke / "commit.txt").read_text().startswith(commit)
    assert {path.name for path in smoke.folder.iterdir()} == {"job.sh", "pairdist", "commit.txt", "job.log", "starts", "records", "result", "x.h5"}
    assert "## jobs/smoke" in (smoke / "job.sh").read_text()
    (start,) = smoke.starts
    assert {path.name for path in start.iterdir()} == {"environment.txt", "modules.txt", "lscpu.txt", "version.txt"}
    assert "PATH=" in (start / "environment.txt").read_text()
    assert (start / "environment.txt").stat().st_mode & 0o077 == 0
    assert "CPU(s)" in (start / "lscpu.txt").read_text()
    assert re.fullmatch(r"pairdist \d+\.\d+\.\d+ \(commit (\w{10}(-dirty)?|unknown)\)\n", (start / "version.txt").read_text())
    (record,) = smoke.records
    assert (record["ranks"], record["threads_per_rank"], record["problem"]["n"]) == (2, 1, 300)
    assert "verified" in smoke.log


def test_a_job_has_the_mpirun_of_its_caller(tmp_path):
    mpirun = tmp_path / "bin/mpirun"
    mpirun.parent.mkdir()
    mpirun.write_text('#!/bin/sh\necho "this mpirun starts nothing"\nexit 3\n')
    mpirun.chmod(0o755)
    local("smoke", tmp_path / "run", env={"PATH": f"{mpirun.parent}:{os.environ['PATH']}"}, status=1)
    assert "this mpirun starts nothing" in (tmp_path / "run/job.log").read_text()


def test_the_log_is_whole_where_the_reader_of_the_output_goes_away(tmp_path):
    submit = f"'{SUBMIT}' local smoke --folder run --pairdist '{BINARY}' --samples 300 | head -n 1"
    done = subprocess.run(["bash", "-c", submit], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == f"run folder {tmp_path}/run\n", done
    smoke = Run(tmp_path / "run")
    until(lambda: "verified" in smoke.log, 30)


def test_production_goes_on_until_it_is_done(tmp_path):
    x = generate(tmp_path / "x.h5", seconds=6, samples=16000, threads=1)
    options = ["--input", x, "--metric", "cityblock", "--stop-after", "00:00:04", "--checkpoint-interval", "0.1"]
    production = local("production", tmp_path / "run", *options)
    (record,) = production.records
    assert len(production.starts) >= 2 and record["resumed_pairs"] > 0
    assert production.log.count("stopped in time") == len(production.starts) - 1


def test_a_stopped_job_says_how_to_go_on(tmp_path):
    x = generate(tmp_path / "x.h5", seconds=10, samples=16000, threads=1, dtype="f32")
    options = ["--folder", tmp_path / "run", "--pairdist", BINARY, "--input", x, "--metric", "cityblock", "--checkpoint-interval", "0.1"]
    argv = [str(word) for word in [SUBMIT, "local", "production", *options]]
    production = Run(tmp_path / "run")
    # as a terminal starts it: who runs the tests in the background has it ignored
    heed = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, start_new_session=True, preexec_fn=heed) as submit:
        until(lambda: production.at_work, 30)
        os.killpg(submit.pid, signal.SIGINT)  # as Ctrl-C does
        assert submit.wait(30) == 1
    assert production.log.endswith(f"resume with 'bash job.sh 2>&1 | tee -iap job.log' in {production.folder}\n")
    assert len(production.starts) == 1


def test_a_job_that_is_refused_says_to_submit_again(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        for name in ("a", "b"):
            file[name] = np.random.default_rng(1).random((40, 3))
    options = ["--pairdist", BINARY, "--input", tmp_path / "x.h5"]
    run(SUBMIT, "local", "production", "--folder", tmp_path / "refused", *options, status=1)
    log = Run(tmp_path / "refused").log
    assert "choose one with --dataset: a, b" in log
    assert "no run was begun, see above; correct the options that the message names and submit again" in log
    # the way out
    local("production", tmp_path / "run", "--input", tmp_path / "x.h5", "--dataset", "a")


def test_starts_at_the_same_time_have_folders_of_their_own(tmp_path):
    (tmp_path / "starts").mkdir()
    script = f'. {REPOSITORY}/jobs/lib.sh; run=$PWD; for i in {{1..9}}; do (make_start_folder; echo "$here") & done; wait'
    printed = run("bash", "-c", script, cwd=tmp_path).stdout.split()
    assert sorted(printed) == [f"starts/00{number}" for number in range(1, 10)]


def test_a_job_that_cannot_finish_a_tile_says_so(tmp_path):
    x = tmp_path / "x.h5"
    run(BINARY, "generate", x, "--samples", "200", "--features", "4")
    options = ["--input", x, "--stop-after", "00:00:00"]
    run(SUBMIT, "local", "production", "--folder", tmp_path / "run", "--pairdist", BINARY, *options, status=1)
    production = Run(tmp_path / "run")
    assert production.log.count("stopped in time; the job gets in line again") == 1
    assert "no tile was finished in two starts" in production.log
    assert len(production.starts) == 2


def test_weak_scaling_keeps_the_pairs_of_a_rank(tmp_path):
    weak = local("weak", tmp_path / "run", "--sweep", "1 2", "--repeats", "2", "--samples", "1200")
    records = weak.records
    assert len(records) == 2 * 2 * 2
    assert [(record["ranks"], record["problem"]["n"]) for record in records[::2]] == [(1, 1200), (2, 1697)] * 2
    # with output and without, in turn
    assert [record["bytes_written"] > 0 for record in records] == [True, False] * 4
    shares = np.array([record["pairs"] / record["ranks"] for record in records])
    assert np.ptp(shares) < 0.01 * shares.mean()
    assert not list(weak.folder.glob("*.h5"))


def test_studies_collect_records_of_several_jobs(tmp_path):
    study = tmp_path / "study"
    for number in (1, 2):
        local("strong", tmp_path / f"run{number}", "--study", study, "--sweep", str(number), "--repeats", "1", "--samples", "500")
    assert [path.name for path in records_in(study)] == [f"{number:04}.json" for number in (1, 2, 3, 4)]
    assert re.search(r"^local: .*; 1 rank x 1 thread a node; program of commit \w{10}(-dirty)?, \d{4}-\d\d-\d\d$", (study / "about.txt").read_text())


def test_a_record_that_does_not_fit_the_disk_is_told_once(tmp_path):
    (tmp_path / "record.json").write_text("{}" * 1000)
    (tmp_path / "study").mkdir()
    script = f". {REPOSITORY}/jobs/lib.sh; run=$PWD record=record.json study=study; ulimit -f 0; keep_record"
    told = run("bash", "-c", script, cwd=tmp_path, status=1).stderr
    assert "free the disk, or name another --study. It is" in told and f"{tmp_path}/record.json" in told
    assert list((tmp_path / "study").iterdir()) == []


def test_a_record_is_kept_where_there_are_no_links(tmp_path):
    (tmp_path / "study").mkdir()
    (tmp_path / "study/0001.json").write_text("another")
    (tmp_path / "record.json").write_text("this")
    script = f". {REPOSITORY}/jobs/lib.sh; ln() {{ return 1; }}; run=$PWD record=record.json study=study; keep_record"
    run("bash", "-euc", script, cwd=tmp_path)
    assert {path.name: path.read_text() for path in (tmp_path / "study").iterdir()} == {"0001.json": "another", "0002.json": "this"}


def test_a_job_tries_to_get_in_line_again(tmp_path):
    for answers, status in {"0": 0, "1 0": 0, "1 1 1": 1}.items():
        (tmp_path / "answers").write_text(answers.replace(" ", "\n") + "\n")
        stand_ins = "scontrol() { read -r answer; return $answer; }; sleep() { :; }"
        script = f'. {REPOSITORY}/jobs/lib.sh; {stand_ins}; exec <answers; SLURM_JOB_ID=1 requeue; exit $?'
        run("bash", "-c", script, cwd=tmp_path, status=status)


def test_one_of_several_datasets_is_named_and_may_be_transposed(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        for name in ("some samples", "others"):
            file[name] = np.random.default_rng(1).random((40, 3))
    options = ["--input", tmp_path / "x.h5", "--dataset", "some samples", "--dtype", "f32"]
    for view, shape in {"": [40, 3], "transpose decode-netcdf": [3, 40]}.items():
        production = local("production", tmp_path / f"run {view}", *options, *(["--view", view] if view else []))
        assert production.records[0]["problem"]["dtype"] == "f32"
        assert production.records[0]["inputs"][0]["shape"] == shape


def test_two_inputs_have_distances_to_each_other(tmp_path):
    for name, samples in {"x": 300, "y": 200}.items():
        run(BINARY, "generate", tmp_path / f"{name}.h5", "--samples", samples, "--features", "5", "--seed", samples)
    options = ["--input", tmp_path / "x.h5", "--against", tmp_path / "y.h5", "--metric", "chebyshev"]
    production = local("production", tmp_path / "run", *options)
    with h5py.File(tmp_path / "x.h5") as x, h5py.File(tmp_path / "y.h5") as y, h5py.File(production / "result/distances.h5") as result:
        expected = np.abs(x["samples"][()][:, None] - y["samples"][()][None, :]).max(axis=2)
        assert np.array_equal(result["distances"], expected)


def test_several_results_come_from_one_job(tmp_path):
    run(BINARY, "generate", tmp_path / "x.h5", "--samples", 300, "--features", "5")
    options = ["--input", tmp_path / "x.h5", "--neighbors", "5", "--radius", "0.5", "--also", "condensed include-self"]
    production = local("production", tmp_path / "run", *options)
    with h5py.File(production / "result/distances.h5") as result:
        assert set(result) == {"condensed", "condensed_checksums", "neighbors", "radius"} and result.attrs["include_self"] == 1
        assert result.attrs["radius"] == 0.5 and result["neighbors/indices"].shape == (300, 5)
