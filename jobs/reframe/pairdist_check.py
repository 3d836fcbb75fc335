"""Checks pairdist with ReFrame: is the result right, how fast is it, is that as fast as before, and how does it scale.

usage: reframe -c jobs/reframe/pairdist_check.py -n pairdist_strong -r --performance-report \\
           -S ranks_per_node=8 -S threads=16 -S executable=$PWD/target/release/pairdist
       reframe -c jobs/reframe/pairdist_check.py -n 'pairdist_weak%num_nodes=4' -r

The four steps in which CSCS showed how to automate the technical report of a proposal (User Lab, 2022):

1. sanity       the matrix is complete and has the right size, and `pairdist verify` finds its distances right
2. performance  wall time, rate and phases, from the run record
3. reference    the rate of a node, by system, times the number of nodes: more than 10 % less fails. Of pairdist_strong on one node
                only: on more, each has less to do, and how its rate falls is what the sweep is to show
4. node sweep   1, 2, 4 and 8 nodes

Every variable below can be set with -S. The run records are kept as record.json in the output folders of ReFrame: copied into one folder
under names of their own, they are what scripts/scaling makes tables and plots of.
"""

import json
import math
from pathlib import Path

import reframe as rfm
import reframe.utility.sanity as sn

RECORD = "record.json"
PHASES = "read", "exchange", "compute", "write", "sync", "wait"
RATE_UNIT = "G pair-features/s"

# Step 3. G pair-features/s of a node, by "system:partition"; a system that is not here is measured, and compared with nothing.
# Take the number from the performance report of a run on one node.
NODE_RATES = {}
SLOWER_BY = -0.10  # relative, what a rate may lack


class PairdistCheck(rfm.RunOnlyRegressionTest):
    valid_systems = ["*"]
    valid_prog_environs = ["*"]
    exclusive_access = True
    time_limit = "30m"
    executable = "pairdist"

    # Step 4.
    num_nodes = parameter([1, 2, 4, 8])

    ranks_per_node = variable(int, value=1)
    threads = variable(int, value=1)
    samples = variable(int, value=24000)  # of one node
    features = variable(int, value=500)
    metric = variable(str, value="cityblock")
    keep_files = [RECORD]

    def samples_of_run(self):
        raise NotImplementedError

    def has_reference(self):
        return True

    @run_before("run")
    def set_layout(self):
        self.num_tasks = self.num_nodes * self.ranks_per_node
        self.num_tasks_per_node = self.ranks_per_node
        self.num_cpus_per_task = self.threads
        self.env_vars["OMP_NUM_THREADS"] = self.threads

    @run_before("run")
    def end_with_the_first_rank_that_fails(self):
        """The others would wait for it; mpirun ends them by itself."""
        if self.job.launcher.registered_name == "srun":
            self.job.launcher.options += ["-K1"]

    @run_before("run")
    def set_commands(self):
        """Samples are made, and the result is looked at, by the same ranks."""
        launched = f"{self.job.launcher.run_command(self.job)} {self.executable}"
        self.executable_opts = f"compute x.h5 --output d.h5 --metric {self.metric} --threads {self.threads} --json {RECORD}".split()
        self.prerun_cmds = [f"{launched} generate x.h5 --samples {self.samples_of_run()} --features {self.features}"]
        self.postrun_cmds = [f"{launched} verify d.h5", "rm x.h5 d.h5"]

    @deferrable
    def record(self):
        return json.loads((Path(self.stagedir) / RECORD).read_text())

    # Step 1.
    @sanity_function
    def result_is_right(self):
        return sn.all(
            [
                sn.assert_found(r"^verified +\d+ distances", self.stdout, "pairdist verify did not find the distances right: see {0}"),
                sn.assert_eq(self.record()["pairs"], self.samples_of_run() ** 2, "{0} pairs, expected {1}"),
                sn.assert_eq(self.record()["ranks"], self.num_tasks, "{0} ranks, expected {1}"),
            ]
        )

    # Step 2.
    @run_before("performance")
    def take_performance(self):
        record = self.record()
        seconds = {"wall": record["wall_s"]} | {name: record["phases"][name]["mean_s"] for name in PHASES}
        self.perf_variables = {
            "rate": sn.make_performance_function(record["pair_features_per_s"] / 1e9, RATE_UNIT),
            **{name: sn.make_performance_function(value, "s") for name, value in seconds.items()},
        }

    # Step 3.
    @run_before("performance")
    def set_reference(self):
        if self.has_reference():
            self.reference = {
                system: {"rate": (rate * self.num_nodes, SLOWER_BY, None, RATE_UNIT)} for system, rate in NODE_RATES.items()
            }


@rfm.simple_test
class pairdist_strong(PairdistCheck):
    """The same samples on more nodes."""

    def samples_of_run(self):
        return self.samples

    def has_reference(self):
        return self.num_nodes == 1


@rfm.simple_test
class pairdist_weak(PairdistCheck):
    """The same pairs per node: samples grow with the square root of the nodes."""

    def samples_of_run(self):
        return round(self.samples * math.sqrt(self.num_nodes))
