"""The measurements that make up a work: one for each variant of a peer, each layout of pairdist, and the raw writes."""

import dataclasses
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from bench import ours, peers, works
from bench.check import Check


@dataclasses.dataclass(frozen=True)
class Entry:
    """What a measurement is called in the record, and the function that makes it: it returns seconds, or raises Failure."""

    work: str
    program: str
    variant: str
    pair_features: int | None
    run: Callable[[], float]
    prepare: Callable[[], None] = lambda: None


class Stage:
    """The samples of one work in a folder, and where results go."""

    def __init__(self, work, folder, workers):
        self.work, self.workers = work, workers
        self.x, self.y, self.some, self.out = (Path(folder) / name for name in ("x.h5", "y.h5", "some.h5", "out.h5"))
        self.metric = self.metric_options(Path(folder) / "parameters.h5")
        self.make_samples()

    def metric_options(self, path):
        """What pairdist is told of the metric; writes the file that it reads weights, variances or an inverse covariance from."""
        import h5py

        given = self.work.parameters()
        order = ("--p", given["p"]) if "p" in given else ()
        numbers = {option: given[name] for name, option in (("w", "--weights"), ("V", "--variance"), ("VI", "--inverse-covariance")) if name in given}
        with h5py.File(path, "w") as file:
            file.update(numbers)
        return "--metric", self.work.metric, *order, *(word for option in numbers for word in (option, path))

    def make_samples(self):
        """The generator of the tests: uniform in [0, 10); a tenth of truth values true, bytes of all values. The file `some` has the rows of
        x that are checked."""
        import h5py
        import numpy as np

        random = np.random.default_rng(7)
        of_type = {
            "f32": lambda uniform: (10 * uniform).astype("f4"),
            "f64": lambda uniform: 10 * uniform,
            "bool": lambda uniform: uniform < 0.1,
            "u8": lambda uniform: (256 * uniform).astype("u1"),
        }[self.work.dtype]
        x, y = (of_type(random.random((self.work.n, self.work.d))) for _ in range(2))
        self.check = Check(self.work, x, y if self.work.group == "compute" else x)
        for path, rows in ((self.x, x), (self.y, y), (self.some, x[self.check.rows])):
            with h5py.File(path, "w") as file:
                file["samples"] = rows

    def entries(self):
        return {"compute": self.compute_entries, "file": self.file_entries, "neighbors": self.neighbors_entries}[self.work.group]()

    # ---- two inputs, no output ----

    def compute_entries(self):
        entries = [self.peer_call(worker, variant) for worker, variant in self.variants()]
        for layout in ours.LAYOUTS:
            entries.append(self.pairdist(layout, "--against", self.y, "--no-output", prepare=partial(self.check_pairdist, layout)))
            entries.append(self.pairdist(layout, "--no-output", suffix=works.ONE_INPUT))
        return entries

    def peer_call(self, worker, variant):
        def prepare():
            worker.ask("load", self.work, self.x, self.y)
            self.check.rows_are_right(worker.ask("warm_up", variant, self.check.rows))

        return self.entry(worker.program, variant, lambda: worker.ask("call", variant), prepare)

    def check_pairdist(self, layout):
        """Some rows against y, written: the timed runs write nothing."""
        ours.pairdist(layout, self.some, "--against", self.y, *self.metric, "-o", self.out, "--no-sync", "--force")
        self.check.rows_are_right(self.rows_of_out(slice(None)))
        self.out.unlink()

    # ---- one input, from HDF5 to HDF5 ----

    def file_entries(self):
        entries = [self.peer_file(worker, variant) for worker, variant in self.variants()]
        for layout, (ranks, _) in ours.LAYOUTS.items():
            file = self.pairdist(layout, "-o", self.out, "--no-sync", "--force")
            entries.append(dataclasses.replace(file, run=self.fresh(file.run, checked=True)))
            entries.append(self.pairdist(layout, "--no-output", program=works.COMPUTE_ALONE))
            entries.append(self.raw_write(layout, ranks))
        return entries

    # ---- the nearest, from HDF5 to HDF5 ----

    def neighbors_entries(self):
        entries = [self.peer_file(worker, variant) for worker, variant in self.variants()]
        for layout in ours.LAYOUTS:
            nearest = self.pairdist(layout, "--neighbors", works.NEIGHBORS, "-o", self.out, "--no-sync", "--force")
            entries.append(dataclasses.replace(nearest, run=self.fresh(nearest.run, checked=True)))
            entries.append(self.pairdist(layout, "--no-output", program=works.COMPUTE_ALONE))
        return entries

    # ---- both ----

    def peer_file(self, worker, variant):
        def prepare():
            worker.ask("load", self.work, self.x, self.x)
            worker.ask("warm_up_small", variant, self.check.rows)

        run = self.fresh(lambda: worker.ask("file", variant, self.x, self.out), checked=True)
        return self.entry(worker.program, variant, run, prepare)

    def raw_write(self, layout, ranks):
        """As many processes as the layout has ranks: in each rank one thread writes."""
        run = self.fresh(lambda: ours.raw_write(self.out, self.work.bytes, ranks))
        return dataclasses.replace(self.entry(works.WRITE_ALONE, layout, run), pair_features=None)

    def fresh(self, run, checked=False):
        """Without the result before, and with all earlier pages on the disk: writing those back would slow this run."""

        def run_fresh():
            self.out.unlink(missing_ok=True)
            os.sync()
            seconds = run()
            if checked:
                self.check.rows_are_right(self.rows_of_out(self.check.rows))
            self.out.unlink()
            return seconds

        return run_fresh

    # ---- all ----

    def variants(self):
        """The processes of the peers that take part, each with its variants."""
        return [(worker, name) for program, worker in self.workers.items() for name in peers.variants_of(program, self.work)]

    def pairdist(self, layout, *options, program="pairdist", suffix="", prepare=lambda: None):
        entry = self.entry(program, layout, lambda: ours.pairdist(layout, self.x, *self.metric, *options)["wall_s"], prepare)
        return dataclasses.replace(entry, work=self.work.name + suffix)

    def entry(self, program, variant, run, prepare=lambda: None):
        return Entry(self.work.name, program, variant, self.work.pair_features, run, prepare)

    def rows_of_out(self, rows):
        import h5py

        with h5py.File(self.out, "r") as file:
            return file["neighbors/distances" if self.work.group == "neighbors" else "distances"][rows]
