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


def run_from(folder, script, *arguments):
    argv = [REPOSITORY / "scripts" / script, *arguments]
    return subprocess.run(argv, cwd=folder, capture_output=True, text=True, timeout=60, check=False)


def test_a_dry_run_of_a_local_study_refuses_a_folder_that_exists(tmp_path):
    (tmp_path / "there").mkdir()
    done = run_from(tmp_path, "scaling-local", "there", "--dry-run")
    assert done.returncode == 1 and f"{tmp_path}/there exists" in done.stderr, done
