"""Runs pairdist and its peers in turn: the program behind scripts/bench-peers."""

import argparse
import contextlib
import re
import shutil
import sys

from bench import ours, peers, record, table
from bench.entries import Stage
from bench.failure import Failure
from bench.worker import Worker
from bench.works import WORKS

SCRATCH = record.TARGET / "bench-peers"  # samples and results


def parse_arguments(argv):
    parser = argparse.ArgumentParser(prog="bench-peers", description=__doc__)
    parser.add_argument("--only", default="", type=re.compile, metavar="REGEX")
    parser.add_argument("--repeats", default=5, type=int, metavar="N")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--dry-run", action="store_true")
    options = parser.parse_args(argv)
    options.works = [work.smaller() if options.quick else work for work in WORKS if options.only.search(work.name)]
    if not options.works or options.repeats < 1:
        names = "\n  ".join(work.name for work in WORKS)
        parser.error(f"nothing to do: --repeats is not positive, or --only matches none of\n  {names}")
    return options


def show_plan(options):
    for work in options.works:
        taking_part = [variant for program in peers.PEERS for variant in variants_with_program(program, work)]
        print(f"{work.name}, {options.repeats} times:", ", ".join(taking_part + [f"pairdist {layout}" for layout in ours.LAYOUTS]))


def variants_with_program(program, work):
    return [f"{program} {variant}" for variant in peers.variants_of(program, work)]


def start_workers(selected, stack):
    """The processes of the peers that have something to do, the libraries each uses, and why others are left out."""
    workers, libraries, left_out = {}, {}, []
    for program in peers.PEERS:
        if not any(peers.variants_of(program, work) for work in selected):
            continue
        worker = Worker(program)
        stack.callback(worker.close)
        try:
            libraries[program] = worker.ask("libraries")
            workers[program] = worker
        except Failure as failure:
            left_out.append(f"left out: {program}: {failure}")
    return workers, libraries, left_out


def keep_working(entries, step, log):
    """Does one step with each entry, and returns those that it worked for. A peer that fails is named; pairdist must not fail."""
    working = []
    for entry in entries:
        try:
            step(entry)
            working.append(entry)
        except Failure as failure:
            name = f"{entry.work}: {entry.program}, {entry.variant}: {failure}"
            if entry.program not in peers.PEERS:
                raise SystemExit(f"bench-peers: {name}") from failure
            log.note(f"left out of {name}")
    return working


def measure(work, workers, repeats, log):
    """All entries in turn, again and again; who comes first changes."""
    print(file=sys.stderr)
    entries = keep_working(Stage(work, SCRATCH, workers).entries(), lambda entry: entry.prepare(), log)
    for repeat in range(repeats):
        entries = keep_working(entries[1:] + entries[:1], lambda entry: log.add(entry, repeat, entry.run()), log)  # noqa: B023


def main(argv):
    options = parse_arguments(argv)
    if options.dry_run:
        show_plan(options)
        return
    with contextlib.ExitStack() as stack:
        SCRATCH.mkdir(parents=True, exist_ok=True)
        stack.callback(shutil.rmtree, SCRATCH)
        workers, libraries, left_out = start_workers(options.works, stack)
        path = record.new_path(record.QUICK_FOLDER if options.quick else record.FOLDER)
        log = record.Record(path, record.header(argv, libraries))
        for reason in left_out:
            log.note(reason)
        for work in options.works:
            measure(work, workers, options.repeats, log)
    log.close()
    print("", table.text(record.read(path)), "", path, sep="\n")


if __name__ == "__main__":
    main(sys.argv[1:])
