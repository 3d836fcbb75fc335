//! The time of a run, phase by phase, from the rates of a kind of node.
//!
//! The phases are those of the run record: what the main thread of the busiest rank does or waits for. With T workers, w waves of
//! tiles of t seconds each, b bytes to write at β bytes per second, and writing taking the core of one of the workers unless the
//! node has cores to spare,
//!
//! ```text
//! write   = b/β + i·o                      i times, each with an overhead of o seconds
//! rounds  = max(write, w·t + write/T)      computing and writing overlap; max(write, w·t) with a core to spare
//! compute = rounds − write                 waiting for tiles
//! ```
//!
//! Where samples are whitened first, each of its products takes as long as a pair-feature, and `compute` has it too.
//!
//! Rates are those of a node or of the file system: ranks of a node share the node's, and all ranks the file system's. So more ranks
//! on the same nodes read and write no faster.
//!
//! A block travels while tiles are computed: of each exchange only what is longer than a round's share of `rounds` counts. `read`
//! comes before, and `sync` is what is left of the writing to the disk when the rounds are over.

use std::ops::RangeInclusive;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Volume;
use crate::error::{Context, Result};
use crate::fail;

/// What a kind of node can do. What a file leaves out is assumed as in [`Machine::default`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Machine {
    /// Names of the rates that are assumed, not given.
    #[serde(skip_deserializing)]
    pub assumed: Vec<&'static str>,
    /// What it is called.
    pub name: String,
    /// Memory of a node that a job can have, in GB; not given: not checked.
    pub memory_gb: Option<f64>,
    /// Cores of a node; not given: as many as threads.
    pub cores: Option<usize>,
    /// Pair-features of a thread in G/s, all threads at work; not given: measured on this machine.
    pub kernel_rate: Option<f64>,
    /// What a node reads, checks and packs, in GB/s.
    pub node_read_gb_s: f64,
    /// What a node hands over to the file system, in GB/s.
    pub node_write_gb_s: f64,
    /// What a node sends, in GB/s.
    pub network_gb_s: f64,
    /// What a message takes, in µs.
    pub latency_us: f64,
    /// What a tile takes its thread besides its pair-features, in µs. A kernel rate that is measured here includes it.
    pub tile_us: f64,
    /// What a tile that is written takes the main thread besides its bytes, in µs.
    pub write_us: f64,
    /// What the file system reads from its disks, or writes to them, for all ranks together, in GB/s.
    pub disk_gb_s: f64,
}

impl Default for Machine {
    /// Rates that nodes of a cluster exceed, and a file system of moderate size. The times of a tile were measured: on a
    /// virtual machine with two cores (AVX-512), HDF5 1.10.8 and Open MPI 4.1.4, see docs/PLANNING.md.
    fn default() -> Self {
        Self {
            assumed: ASSUMED.to_vec(),
            name: String::new(),
            memory_gb: None,
            cores: None,
            kernel_rate: None,
            node_read_gb_s: 1.0,
            node_write_gb_s: 1.0,
            network_gb_s: 5.0,
            latency_us: 5.0,
            tile_us: 1.0,
            write_us: 5.0,
            disk_gb_s: 10.0,
        }
    }
}

/// Rates of which [`Machine::default`] has one.
const ASSUMED: [&str; 7] =
    ["node_read_gb_s", "node_write_gb_s", "network_gb_s", "latency_us", "tile_us", "write_us", "disk_gb_s"];

/// Rates of a rank that older descriptions have, and those of a node in their place.
const OF_A_RANK: [(&str, &str); 2] = [("read_gb_s", "node_read_gb_s"), ("write_gb_s", "node_write_gb_s")];

/// What each tile of the matrix adds to the writing of any of them, in seconds: where a file is open for MPI, HDF5 1.10 appears to
/// clear a list of all chunks for each write (a profile shows memset). Measured with 15,625 to 250,000 tiles.
const CHUNK_S: f64 = 0.11e-9;

/// Rates that a machine may have.
const RATES: RangeInclusive<f64> = 1e-6..=1e12;

impl Machine {
    /// Reads the description of a machine.
    ///
    /// # Errors
    /// If the file is not one, or a rate in it is not a positive number.
    pub fn read(path: &Path) -> Result<Self> {
        let shown = path.display();
        let text = std::fs::read_to_string(path).context(|| format!("{shown} cannot be read"))?;
        let wrong = || format!("{shown} does not describe a machine");
        // an object: a list of values would say nothing of what they are
        let given: serde_json::Map<_, _> = serde_json::from_str(&text).context(wrong)?;
        for (old, new) in OF_A_RANK {
            if given.contains_key(old) {
                fail!(
                    "{shown}: {old} was the rate of one rank; give {new} instead, the rate of a whole node: {old} times the ranks of a node"
                );
            }
        }
        let assumed = ASSUMED.into_iter().filter(|name| !given.contains_key(*name)).collect();
        let machine: Self = serde_json::from_value(given.into()).context(wrong)?;
        let machine = Self { assumed, ..machine };
        if machine.cores == Some(0) {
            fail!("{shown}: cores is 0; a node has one at least");
        }
        let rates = [
            ("memory_gb", machine.memory_gb),
            ("kernel_rate", machine.kernel_rate),
            ("node_read_gb_s", Some(machine.node_read_gb_s)),
            ("node_write_gb_s", Some(machine.node_write_gb_s)),
            ("network_gb_s", Some(machine.network_gb_s)),
            ("disk_gb_s", Some(machine.disk_gb_s)),
        ];
        for (name, rate) in rates {
            if let Some(rate) = rate
                && !RATES.contains(&rate)
            {
                fail!(
                    "{shown}: {name} is {rate:e}; it must lie between {:e} and {:e}",
                    RATES.start(),
                    RATES.end()
                );
            }
        }
        let times = [
            ("latency_us", machine.latency_us),
            ("tile_us", machine.tile_us),
            ("write_us", machine.write_us),
        ];
        for (name, time) in times {
            if !(0.0..=1e9).contains(&time) {
                fail!("{shown}: {name} is {time:e}; it must lie between 0 and 1e9");
            }
        }
        Ok(machine)
    }

    /// " (assumed)" if the rate of this name is.
    pub fn assumption(&self, name: &str) -> &'static str {
        if self.assumed.contains(&name) { " (assumed)" } else { "" }
    }

    /// Whether the memory of a node, if it is given, holds so many ranks.
    pub fn holds(&self, rank_bytes: u64, ranks_per_node: usize) -> bool {
        rank_bytes as f64 * ranks_per_node as f64 <= self.memory_gb.unwrap_or(f64::INFINITY) * 1e9
    }
}

/// Predicted seconds, by phase of the run record.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[allow(missing_docs, reason = "the phases say it")]
pub struct Cost {
    pub read: f64,
    pub exchange: f64,
    pub compute: f64,
    pub write: f64,
    pub sync: f64,
    /// All of them.
    pub wall: f64,
}

impl Cost {
    /// The time that a machine takes whose threads compute `kernel_rate` pair-features per second, see the module's formulas.
    pub fn of(volume: &Volume, machine: &Machine, kernel_rate: f64) -> Self {
        let seconds = |bytes: u64, gb_s: f64| bytes as f64 / (gb_s * 1e9);
        let of_a_rank = |node_gb_s: f64| node_gb_s / volume.ranks_per_node as f64;
        let read = seconds(volume.read, of_a_rank(machine.node_read_gb_s))
            .max(seconds(volume.read_by_all, machine.disk_gb_s));
        let overhead = machine.write_us * 1e-6 + volume.chunks as f64 * CHUNK_S;
        let write =
            seconds(volume.written, of_a_rank(machine.node_write_gb_s)) + volume.writes as f64 * overhead;
        let computed = volume.waves as f64 * (volume.tile / kernel_rate + machine.tile_us * 1e-6);
        let busy = volume.threads.saturating_add(1).saturating_mul(volume.ranks_per_node);
        let is_spare = machine.cores.is_some_and(|cores| busy <= cores);
        let taken = if is_spare { 0.0 } else { write / volume.threads as f64 };
        let rounds = write.max(computed + taken);
        let sent = seconds(volume.block, of_a_rank(machine.network_gb_s)) + machine.latency_us * 1e-6;
        let exchange = (volume.rounds - 1) as f64 * (sent - rounds / volume.rounds as f64).max(0.0);
        let sync = (seconds(volume.written_by_all, machine.disk_gb_s) - rounds - exchange).max(0.0);
        let whitening = volume.whitening / (kernel_rate * volume.threads as f64);
        let wall = read + whitening + exchange + rounds + sync;
        Self { read, exchange, compute: whitening + rounds - write, write, sync, wall }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GB: u64 = 1_000_000_000;
    const RATE: f64 = 5e9;

    /// 20 s of tiles, 3 s of reading and 8 s of writing on a node as assumed.
    fn volume() -> Volume {
        Volume {
            threads: 4,
            ranks_per_node: 2,
            waves: 10,
            tile: 2.0 * RATE,
            rounds: 5,
            read: 3 * GB / 2,
            whitening: 0.0,
            read_by_all: 15 * GB,
            block: GB,
            written: 4 * GB,
            writes: 0,
            chunks: 100,
            written_by_all: 60 * GB,
        }
    }

    fn is_near(cost: f64, seconds: f64) -> bool {
        (cost - seconds).abs() < 1e-3
    }

    #[test]
    fn writing_takes_a_worker_away_and_hides_behind_the_others() {
        let cost = Cost::of(&volume(), &Machine::default(), RATE);
        // 20 s of tiles, and a quarter of the 8 s of writing
        assert!(is_near(cost.compute + cost.write, 22.0) && is_near(cost.write, 8.0), "{cost:?}");
        assert!(
            is_near(cost.read, 3.0) && is_near(cost.exchange, 0.0) && is_near(cost.wall, 25.0),
            "{cost:?}"
        );
    }

    #[test]
    fn a_core_to_spare_does_the_writing() {
        let wall =
            |cores| Cost::of(&volume(), &Machine { cores: Some(cores), ..Machine::default() }, RATE).wall;
        // 2 ranks of 4 threads, and their main threads
        assert!(is_near(wall(9), 25.0) && is_near(wall(10), 23.0));
    }

    #[test]
    fn a_slow_file_system_hides_the_computing() {
        let slow = Machine { node_write_gb_s: 0.1, ..Machine::default() };
        let cost = Cost::of(&volume(), &slow, RATE);
        assert!(
            is_near(cost.write, 80.0) && is_near(cost.compute, 0.0) && is_near(cost.wall, 83.0),
            "{cost:?}"
        );
    }

    #[test]
    fn of_an_exchange_counts_what_a_round_does_not_hide() {
        // 20 s for a block, 22 / 5 s for a round
        let slow = Machine { network_gb_s: 0.1, ..Machine::default() };
        let cost = Cost::of(&volume(), &slow, RATE);
        assert!(is_near(cost.exchange, 4.0 * (20.0 - 4.4)), "{cost:?}");
    }

    #[test]
    fn the_disk_has_the_rounds_to_catch_up() {
        let slow = Machine { disk_gb_s: 2.0, ..Machine::default() };
        let cost = Cost::of(&volume(), &slow, RATE);
        assert!(is_near(cost.sync, 30.0 - 22.0), "{cost:?}");
    }

    #[test]
    fn ranks_of_a_node_share_its_rates_and_all_ranks_the_file_systems() {
        // the same node with four times the ranks, each with a fourth of the bytes
        let many = Volume { ranks_per_node: 8, read: 3 * GB / 8, written: GB, ..volume() };
        for (volume, machine) in [
            (many, Machine::default()),
            // 15 GB for all
            (volume(), Machine { node_read_gb_s: 100.0, disk_gb_s: 5.0, ..Machine::default() }),
        ] {
            let cost = Cost::of(&volume, &machine, RATE);
            assert!(is_near(cost.read, 3.0) && is_near(cost.write, 8.0), "{cost:?}");
        }
    }

    #[test]
    fn every_tile_takes_a_moment_and_more_where_it_is_written() {
        let machine = Machine { tile_us: 1e6, write_us: 1e5, cores: Some(10), ..Machine::default() };
        let cost = Cost::of(&Volume { writes: 20, ..volume() }, &machine, RATE);
        // a second for each of 10 tiles, and a tenth for each of 20 writes
        assert!(is_near(cost.write, 10.0) && is_near(cost.compute + cost.write, 30.0), "{cost:?}");
        // with many tiles each write takes longer
        let many = Volume { writes: 20, chunks: 10 * GB, ..volume() };
        let longer = 20.0 * 1e10 * CHUNK_S;
        assert!(longer > 1.0 && is_near(Cost::of(&many, &machine, RATE).write, 10.0 + longer));
    }

    #[test]
    fn a_machine_may_leave_out_everything_and_nothing_else_gets_in() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("machine.json");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            Machine::read(&path)
        };
        assert_eq!(read("{}").unwrap(), Machine::default());
        let machine = read(r#"{"node_read_gb_s": 2}"#).unwrap();
        assert_eq!(machine.node_read_gb_s.to_bits(), 2_f64.to_bits());
        assert_eq!(machine.assumed, ASSUMED[1..]);
        for wrong in [
            "",
            "3",
            "[]",
            r#"["eiger", 512, 128]"#,
            r#"{"assumed": []}"#,
            r#"{"node_reed_gb_s": 2}"#,
            r#"{"node_read_gb_s": 0}"#,
            r#"{"tile_us": -1}"#,
            r#"{"write_us": 1e10}"#,
            r#"{"kernel_rate": -1}"#,
            r#"{"cores": 0}"#,
            r#"{"node_write_gb_s": 1e-320}"#,
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
