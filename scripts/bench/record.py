"""The record of a run: a CSV file with one row for each measurement, under comment lines that say where it is from.

usage: python -m bench.record [RECORD.csv]     prints which record is drawn, the newest by default, if it is one
"""

import csv
import datetime
import importlib.metadata
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from bench import ours
from bench.peers import CORES

FIELDS = "work", "program", "variant", "repeat", "seconds", "pair_features_per_s"
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", "target"))
PARTIAL = TARGET / "bench-peers.partial.csv"
FOLDER = Path("benches/record")
QUICK_FOLDER = TARGET / "bench-quick"
REQUIREMENTS = Path(__file__).parents[1] / "requirements-bench.txt"


def output_of(*argv):
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()


def cpu():
    """Model of the processor; with family and number, since virtual machines shorten the name."""
    text = Path("/proc/cpuinfo").read_text()
    field = dict(re.findall(r"^(model name|cpu family|model|flags)\s*: (.*)$", text, re.MULTILINE))
    simd = [flag for flag in ("avx2", "avx512f") if flag in field.get("flags", "").split()]
    return field.get("model name", platform.machine()), field.get("cpu family", "?"), field.get("model", "?"), " ".join(simd)


def slug(text):
    return re.sub("[^a-z0-9]+", "-", text.lower()).strip("-")


def new_path(folder):
    """<date>-<commit>-<machine>.csv, with a number where that is taken."""
    commit = output_of("git", "rev-parse", "--short", "HEAD")
    stem = f"{datetime.date.today()}-{commit}-{slug(cpu()[0])}-{CORES}-cores"
    taken = sum(1 for path in folder.glob(f"{stem}*.csv"))
    return folder / f"{stem}{f'-{taken + 1}' if taken else ''}.csv"


def versions():
    names = re.findall(r"^([\w-]+)==", REQUIREMENTS.read_text(), re.MULTILINE)
    found = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "missing"
    return {"python": platform.python_version(), **found}


def header(argv, libraries):
    """The comment lines. `libraries`: by program, the BLAS and OpenMP libraries that it uses."""
    model, family, number, simd = cpu()
    changed = " with local changes" if output_of("git", "status", "--porcelain", "--untracked-files=no") else ""
    memory_gib = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    lines = {
        "date": datetime.datetime.now().astimezone().isoformat(timespec="minutes"),
        "machine": f"{model}, {CORES} cores; family {family}, model {number}, {simd}; {memory_gib:.0f} GiB",
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        "load average at the start": f"{os.getloadavg()[0]:.2f}",
        "commit": output_of("git", "rev-parse", "--short", "HEAD") + changed,
        "command": shlex.join(["scripts/bench-peers", *argv]),
        "pairdist": ", ".join([output_of(ours.BINARY, "--version"), output_of(ours.MPIRUN, "--version").splitlines()[0]]),
        "versions": ", ".join(f"{name} {version}" for name, version in versions().items()),
        **{f"libraries of {program}": "; ".join(found) for program, found in libraries.items()},
    }
    return [f"# {name}: {value}" for name, value in lines.items()]


class Record:
    """Writes rows as they come, to a file that is moved to `path` when the run is complete."""

    def __init__(self, path, comments):
        self.path = path
        self.file = PARTIAL.open("w", newline="")
        self.file.writelines(f"{line}\n" for line in comments)
        self.rows = csv.writer(self.file, lineterminator="\n")
        self.rows.writerow(FIELDS)

    def note(self, comment):
        """A comment line between the rows, shown as well."""
        comment = " ".join(comment.split())
        print(comment, file=sys.stderr)
        self.file.write(f"# {comment}\n")

    def add(self, entry, repeat, seconds):
        rate = f"{entry.pair_features / seconds:.6g}" if entry.pair_features else ""
        self.rows.writerow((entry.work, entry.program, entry.variant, repeat, f"{seconds:.6f}", rate))
        self.file.flush()
        print(f"  {repeat + 1}: {entry.work}: {entry.program}, {entry.variant}: {seconds:.4f} s", file=sys.stderr)

    def close(self):
        self.file.close()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(PARTIAL, self.path)


def newest():
    """The record of the latest run."""
    records = sorted(FOLDER.glob("*.csv"), key=lambda path: comments(path)["date"])
    if not records:
        raise SystemExit(f"{FOLDER} holds no records: scripts/bench-peers makes one")
    return records[-1]


def comments(path):
    """What the comment lines say, by name."""
    lines = (line[2:].partition(": ") for line in Path(path).read_text().splitlines() if line.startswith("#"))
    return {name: value for name, _, value in lines}


def read(path):
    """The rows of a record, numbers as numbers."""
    lines = Path(path).read_text().splitlines()
    rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))
    for row in rows:
        rate = row["pair_features_per_s"]
        row |= {"repeat": int(row["repeat"]), "seconds": float(row["seconds"]), "pair_features_per_s": float(rate) if rate else None}
    return rows


def check(path):
    """Ends the program where this is no record of bench-peers."""
    if not Path(path).is_file():
        raise SystemExit(f"{path} is not there: name a record of scripts/bench-peers")
    try:
        missing = [name for name in ("date", "machine", "commit") if name not in comments(path)]
        if missing or not read(path):
            raise ValueError(f"no {missing[0]} in its comment lines" if missing else "no rows")
    except (ValueError, KeyError) as error:
        raise SystemExit(f"{path} is not a record of scripts/bench-peers: {error}") from error


def main(path=None):
    path = path or newest()
    check(path)
    print(path)


if __name__ == "__main__":
    main(*sys.argv[1:])
