"""The scripts that measure this machine, on few samples: what they print is right in form, its times say nothing."""

import re
import subprocess

from conftest import REPOSITORY

ROW_CELLS = 6


def run_script(name, *arguments):
    done = subprocess.run([REPOSITORY / "scripts" / name, *arguments], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, f"exit {done.returncode}\n{done.stdout}\n{done.stderr[-4000:]}"
    return done.stdout


def test_the_records_of_a_local_study_make_tables_and_plots(study):
    records = study.folder.with_name("made")
    run_script("scaling-local", records, "--quick")
    made = sorted(path.name for path in records.glob("n300-*.json"))
    assert {"n300-1x1-no-output-1.json", "n300-1x1-output-1.json"} <= set(made), made
    printed = study.run(records, "--plots", study.plots).stdout
    for part in ("### Strong scaling", "### Weak scaling", "without output", "with output"):
        assert part in printed, printed
    assert {path.suffix for path in study.plots.iterdir()} == {".svg", ".png"}
    assert re.search(r"\b(1 core|\d+ cores); .*, program of commit \w+; ", (records / "about.txt").read_text())


def test_predictions_stand_beside_measured_times():
    rows = [line.strip("|").split("|") for line in run_script("plan-accuracy", "--quick", "--repeats", "1").splitlines()[2:]]
    assert len(rows) >= 8 and all(len(row) == ROW_CELLS for row in rows), rows
    for *_, predicted, measured, ratio in rows:
        predicted, measured, ratio = map(float, (predicted, measured, ratio))
        # as far as their digits tell
        least, most = (predicted - 0.0005) / (measured + 0.0005), (predicted + 0.0005) / max(measured - 0.0005, 1e-9)
        assert measured > 0 and least - 0.005 <= ratio <= most + 0.005, rows
