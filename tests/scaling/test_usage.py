"""Each script says how it is used, and a wrong option is no start."""

import os
import subprocess

import pytest
from conftest import REPOSITORY

SCRIPTS = [path for path in sorted((REPOSITORY / "scripts").iterdir()) if path.is_file() and os.access(path, os.X_OK)]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_a_script_prints_its_usage(script):
    done = subprocess.run([script, "--help"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and f"usage: scripts/{script.name}" in done.stdout, done


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_a_script_refuses_a_wrong_option(script):
    done = subprocess.run([script, "--no-such-option"], capture_output=True, text=True, timeout=60)
    assert done.returncode not in (0, 127), done


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_a_script_finds_its_own_folder_whatever_cdpath_says(script, tmp_path):
    (tmp_path / "scripts").mkdir()
    command = [f"scripts/{script.name}", "--help"]
    env = os.environ | {"CDPATH": str(tmp_path)}
    done = subprocess.run(command, cwd=REPOSITORY, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stdout.lstrip().startswith(first_words(script)), done


def first_words(script):
    return script.read_text().splitlines()[1].removeprefix("# ")


def run_from(folder, script, *arguments):
    argv = [REPOSITORY / "scripts" / script, *arguments]
    return subprocess.run(argv, cwd=folder, capture_output=True, text=True, timeout=60, check=False)


def test_a_dry_run_of_a_local_study_refuses_a_folder_that_exists(tmp_path):
    (tmp_path / "there").mkdir()
    done = run_from(tmp_path, "scaling-local", "there", "--dry-run")
    assert done.returncode == 1 and f"{tmp_path}/there exists" in done.stderr, done


@pytest.mark.parametrize("options", [[], ["--dry-run"]])
@pytest.mark.parametrize(("text", "sentence"), [(None, "is not there"), ("a,b\n1,2\n", "no date in its comment lines")])
def test_what_is_no_record_of_peers_is_refused_before_anything_is_installed(tmp_path, text, sentence, options):
    if text:
        (tmp_path / "record.csv").write_text(text)
    done = run_from(tmp_path, "plot-peers", "record.csv", *options)
    assert done.returncode == 1 and sentence in done.stderr and "installing" not in done.stdout, done


def test_a_dry_run_names_the_record_of_peers_that_is_drawn(tmp_path):
    newest = run_from(tmp_path, "plot-peers", "--dry-run").stdout.strip()
    assert (REPOSITORY / newest).is_file()
    assert run_from(REPOSITORY, "plot-peers", newest, "--dry-run").stdout.strip() == str(REPOSITORY / newest)
