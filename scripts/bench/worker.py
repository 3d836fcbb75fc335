"""A process that holds one peer: its library, thread pool and matrices, and calls it when asked.

One process each, so that no peer meets another's thread pool, and one that crashes takes nobody along.
"""

import gc
import multiprocessing
import signal
import time

from bench import peers
from bench.failure import Failure


def read(path):
    import h5py

    with h5py.File(path, "r") as file:
        return file["samples"][:]


class Peer:
    """What happens inside the process. Each public method can be called from outside."""

    def __init__(self, program):
        __import__(peers.PEERS[program])
        self.program, self.work = program, None

    def libraries(self):
        """BLAS and OpenMP libraries, with the code path they chose."""
        import threadpoolctl

        keys = "internal_api", "version", "architecture", "num_threads"
        return [" ".join(str(pool[key]) for key in keys if pool.get(key)) for pool in threadpoolctl.threadpool_info()]

    def load(self, work, x_path, y_path):
        """Takes the samples of a work, and frees those of the one before."""
        if work == self.work:
            return
        self.work, self.variants = work, peers.variants_of(self.program, work)
        self.x = self.y = self.out = self.distances = None
        gc.collect()
        self.x, self.y = read(x_path), read(y_path)
        if work.group == "compute":
            self.out = self.room(self.x, self.y)

    def warm_up(self, variant, rows):
        """One untimed call, which compiles what is compiled late and touches all memory; returns some rows of the result."""
        self.call(variant)
        return self.distances[rows]

    def warm_up_small(self, variant, rows):
        """An untimed call on some rows of x: the work is measured with memory that is new."""
        some = self.x[rows]
        self.fill(variant, some, self.y, self.room(some, self.y))

    def call(self, variant):
        """Seconds of one call. The result before is let go first, for functions that make a new one."""
        self.distances = None
        start = time.perf_counter()
        self.distances = self.fill(variant, self.x, self.y, self.out)
        return time.perf_counter() - start

    def file(self, variant, x_path, out_path):
        """Seconds from the samples in one HDF5 file to the result, stored contiguously, in another."""
        import h5py

        start = time.perf_counter()
        x = read(x_path)
        found = self.fill(variant, x, x, self.room(x, x))
        with h5py.File(out_path, "w") as file:
            if self.work.group == "neighbors":
                file["neighbors/indices"], file["neighbors/distances"] = found
            else:
                file["distances"] = found
        return time.perf_counter() - start

    def fill(self, variant, x, y, out):
        return self.variants[variant].fill(self.work, x, y, out)

    def room(self, x, y):
        """An output matrix. One that a function does not use takes no memory, since nothing touches it."""
        import numpy as np

        writes_f64 = self.work.dtype == "f64" or any(variant.writes_f64 for variant in self.variants.values())
        return np.empty((len(x), len(y)), "f8" if writes_f64 else "f4")


def serve(pipe, program):
    """Answers (method, arguments) with (value, error) until the other end closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the other end ends us
    peer = None
    while True:
        try:
            method, arguments = pipe.recv()
        except EOFError:
            return
        try:
            peer = peer or Peer(program)
            pipe.send((getattr(peer, method)(*arguments), None))
        except Exception as error:  # whatever a library raises is shown to the user
            pipe.send((None, f"{type(error).__name__}: {error}"))


class Worker:
    """The process as seen from outside: `worker.ask("call", variant)`. After a crash, the next question starts it again."""

    def __init__(self, program):
        self.program, self.process = program, None

    def start(self):
        context = multiprocessing.get_context("spawn")
        self.pipe, other_end = context.Pipe()
        # not a daemon: joblib, and so scikit-learn, uses one core only in those
        self.process = context.Process(target=serve, args=(other_end, self.program))
        self.process.start()
        other_end.close()

    def ask(self, method, *arguments):
        if not self.process:
            self.start()
        try:
            self.pipe.send((method, arguments))
            value, error = self.pipe.recv()
        except (EOFError, OSError) as broken:
            self.process.join()
            status, self.process = self.process.exitcode, None
            raise Failure(f"its process ended with status {status}") from broken
        if error:
            raise Failure(error)
        return value

    def close(self):
        if self.process:
            self.process.kill()
            self.process.join()
