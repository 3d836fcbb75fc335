//! `plan` against the run records of what it planned.

mod common;

use std::fs;

use common::launch::ALONE;
use common::samples::{create, random, write};
use common::{Work, for_all};
use serde_json::Value;

/// So that nothing is measured.
const GIVEN: &str = r#"{"kernel_rate": 10}"#;

fn plan(work: &Work, arguments: &str, code: i32) -> Value {
    work.run(ALONE, &format!("plan {arguments} --machine machine.json --json plan.json"), code);
    let text = fs::read_to_string(work.path("plan.json")).expect("a plan");
    serde_json::from_str(&text).expect("a JSON object")
}

#[test]
fn a_run_reads_sends_writes_and_keeps_in_memory_what_was_planned() {
    let inputs = ["x.h5", "x.h5 --against y.h5"];
    let cases: Vec<_> = [1, 2, 3, 5]
        .into_iter()
        .flat_map(|ranks| inputs.map(|inputs| (ranks, inputs)))
        .flat_map(|(ranks, inputs)| {
            ["", "--tile 7 --neighbors 5 --matrix", "--tile 30 --dtype f32 --metric cityblock --neighbors 60"]
                .map(|options| (ranks, inputs, options))
        })
        .collect();
    for_all(&cases, |&(ranks, inputs, options)| {
        let work = Work::new();
        fs::write(work.path("machine.json"), GIVEN).expect("a description of a machine");
        write(work.path("x.h5"), &random::<f64>(100, 6, 1));
        write(work.path("y.h5"), &random::<f64>(61, 6, 2));
        for output in ["-o out.h5 --no-sync", "--no-output"] {
            if output == "--no-output" && options.contains("--neighbors") {
                continue;
            }
            let run = format!("compute {inputs} {options} --threads 2 --json run.json {output}");
            work.run(ranks, &run, 0);
            let planned_output = if output == "--no-output" { output } else { "" };
            let plan =
                plan(&work, &format!("{inputs} {options} --ranks {ranks} --threads 2 {planned_output}"), 0);
            let record = work.record();
            for same in ["problem", "results", "symmetric", "bytes_read", "bytes_exchanged", "bytes_written"]
            {
                assert_eq!(plan[same], record[same], "{same} of {run} on {ranks} ranks");
            }
            assert_eq!(plan["memory_bytes"], record["planned_bytes"], "{run} on {ranks} ranks");
        }
    });
}

#[test]
fn samples_of_a_type_are_planned_as_those_of_a_file() {
    type Make = fn(&hdf5::File) -> hdf5::Result<hdf5::Dataset>;
    fn write_all<T: hdf5::H5Type + Clone>(file: &hdf5::File, value: T) -> hdf5::Result<hdf5::Dataset> {
        let samples = ndarray::Array2::from_elem((50, 40), value);
        file.new_dataset_builder().with_data(&samples).create("samples")
    }
    let types: [(&str, Make); 5] = [
        ("bool", |file| write_all(file, false)),
        ("u8", |file| write_all(file, 0_u8)),
        ("i8", |file| write_all(file, 0_i8)),
        ("f32", |file| write_all(file, 0_f32)),
        ("f64", |file| write_all(file, 0_f64)),
    ];
    let mut methods = Vec::new();
    for (stored, make) in types {
        let work = Work::new();
        fs::write(work.path("machine.json"), GIVEN).expect("a description of a machine");
        create(work.path("x.h5"), |file| make(file).map(drop));
        let of_file = plan(&work, "x.h5 --metric hamming", 0);
        let told = plan(&work, &format!("--samples 50 --features 40 --stored {stored} --metric hamming"), 0);
        for same in ["problem", "memory", "bytes_read", "volume", "seconds"] {
            assert_eq!(of_file[same], told[same], "{same} of {stored}");
        }
        methods.push(told["problem"]["kernel"].as_str().expect("a method").to_owned());
    }
    assert_eq!(methods, ["bits", "u8", "i8", "direct", "direct"]);
}

#[test]
fn phases_add_up_to_the_wall_time_and_nodes_to_hours() {
    let work = Work::new();
    fs::write(work.path("machine.json"), r#"{"kernel_rate": 0.001, "disk_gb_s": 0.01}"#).expect("a file");
    let plan = plan(&work, "--samples 30000 --features 20 --ranks 12 --nodes 3 --threads 4", 0);
    let seconds = |phase: &str| plan["seconds"][phase].as_f64().expect("seconds");
    let sum: f64 = ["read", "exchange", "compute", "write", "sync"].map(seconds).iter().sum();
    let wall = seconds("wall");
    assert!((sum / wall - 1.0).abs() < 1e-9, "{plan}");
    // 7.2 GB at 10 MB/s are what takes longest
    assert!(seconds("sync") > 0.0 && (wall - seconds("read") - 720.0).abs() < 1.0, "{plan}");
    assert!((plan["node_hours"].as_f64().expect("hours") * 1200.0 / wall - 1.0).abs() < 1e-9, "{plan}");
}

#[test]
fn a_rate_that_is_not_given_is_measured() {
    let work = Work::new();
    for arguments in ["", "--no-output", "--threads 2 --metric cityblock --dtype f32"] {
        let arguments = format!("plan --samples 5000 --features 30 --json plan.json {arguments}");
        let done = work.run(ALONE, &arguments, 0);
        let text = fs::read_to_string(work.path("plan.json")).expect("a plan");
        let plan: Value = serde_json::from_str(&text).expect("a JSON object");
        let rate = plan["machine"]["kernel_rate"].as_f64().expect("a rate");
        assert!(rate > 0.0 && plan["kernel_rate_is_measured_here"] == true, "{plan}");
        assert!(done.stdout.contains("G pair-features/s for a thread (measured here)"), "{done}");
    }
}

#[test]
fn a_plan_names_the_fewest_nodes_that_fit() {
    let work = Work::new();
    fs::write(work.path("machine.json"), r#"{"kernel_rate": 10, "memory_gb": 4}"#).expect("a file");
    let with = |nodes: u64, code| {
        let ranks = 4 * nodes;
        let arguments =
            format!("--samples 10000000 --features 128 --threads 8 --nodes {nodes} --ranks {ranks}");
        plan(&work, &arguments, code)
    };
    // on fewer nodes samples are read again
    let in_bands = |plan: &Value| plan.get("bands").is_some();
    let few = with(1, 0);
    let fewest = few["fewest_nodes"].as_u64().expect("a number of nodes");
    assert!(fewest > 1 && in_bands(&few), "{few}");
    let enough = with(fewest, 0);
    assert!(enough["fewest_nodes"] == fewest && !in_bands(&enough), "{enough}");
    let arguments = "plan --samples 10000000 --features 128 --ranks 4 --threads 8 --machine machine.json";
    let told = work.run(ALONE, arguments, 0);
    assert!(
        told.stdout.contains(&format!("fewest nodes of 4 ranks and 4 GB that hold all samples: {fewest}\n")),
        "{told}"
    );
    // the fewest of all, though tiles and so memory go up and down with the ranks; tiles are not made smaller for that
    fs::write(work.path("machine.json"), r#"{"kernel_rate": 10, "memory_gb": 0.79}"#).expect("a file");
    let of = |nodes: u64| {
        let arguments =
            format!("--samples 100000 --features 1000 --threads 8 --nodes {nodes} --ranks {nodes}");
        plan(&work, &arguments, 0)
    };
    let tile = |plan: &Value| plan["problem"]["tile"].as_u64().expect("an edge");
    let without_limit = |nodes: u64| {
        let arguments = format!(
            "plan --samples 100000 --features 1000 --threads 8 --nodes {nodes} --ranks {nodes} --json free.json"
        );
        work.run(ALONE, &arguments, 0);
        let text = fs::read_to_string(work.path("free.json")).expect("a plan");
        tile(&serde_json::from_str::<Value>(&text).expect("a JSON object"))
    };
    let holds_all = |nodes: u64| {
        let plan = of(nodes);
        (!in_bands(&plan) && tile(&plan) == without_limit(nodes), plan["fewest_nodes"].as_u64())
    };
    let (fewest, told) =
        (1..100).map(|nodes| (nodes, holds_all(nodes))).find(|(_, (all, _))| *all).expect("some fit");
    assert_eq!(told, (true, Some(fewest)));
    assert!((1..fewest).all(|nodes| holds_all(nodes) == (false, Some(fewest))));
    // not even the program fits
    fs::write(work.path("machine.json"), r#"{"kernel_rate": 10, "memory_gb": 0.01}"#).expect("a file");
    let hopeless = "plan --samples 10000000 --features 128 --ranks 4000 --threads 1 --machine machine.json";
    let told = work.run(ALONE, hopeless, 1);
    assert!(told.stderr.contains("nodes are not enough, so use nodes with more memory"), "{told}");
}

/// Options of `plan`, some of them changed.
fn changed(arguments: &str, options: &str) -> String {
    // each option is given once
    let words: Vec<_> = arguments.split(' ').collect();
    let kept = words.chunks(2).filter(|option| !options.split(' ').any(|word| word == option[0]));
    kept.map(|option| option.join(" ")).chain([options.to_owned()]).collect::<Vec<_>>().join(" ")
}

#[test]
fn the_layout_that_a_refusal_names_fits() {
    let cases = [
        ("--samples 10000000 --features 128 --ranks 4000 --threads 1", 4.0),
        ("--samples 3000 --features 20 --threads 2000", 0.3),
        ("--samples 100000 --features 20 --metric cityblock --tile 16000 --dtype f32 --threads 4", 2.0),
        ("--samples 10000000 --features 128 --ranks 128 --threads 64", 3.0),
        // as many threads as are taken without the option depend on the ranks
        ("--samples 20000 --features 10 --ranks 8", 0.04),
        ("--samples 20000 --features 10 --ranks 8 --nodes 2 --tile 5000", 0.04),
    ];
    let work = Work::new();
    for (arguments, gb) in cases {
        let machine = format!(r#"{{"kernel_rate": 10, "memory_gb": {gb}}}"#);
        fs::write(work.path("machine.json"), machine).expect("a file");
        let refused = work.run(ALONE, &format!("plan {arguments} --machine machine.json"), 1);
        let advice = refused.stderr.split_once("(plan ").and_then(|(_, rest)| rest.split_once(')'));
        let (options, _) = advice.unwrap_or_else(|| panic!("{refused}"));
        work.run(ALONE, &format!("plan {} --machine machine.json", changed(arguments, options)), 0);
        // what is told in words is the same layout
        if let Some((_, options)) = options.split_once(" --tile ") {
            assert!(refused.stderr.contains(&format!("--tile {options} (plan ")), "{refused}");
        }
    }
}

#[test]
fn smaller_tiles_come_before_bands_and_parts_of_features_where_tiles_do_not_fit() {
    let work = Work::new();
    for (arguments, gb, tile, bands) in [
        ("--samples 50000 --features 20 --threads 16", 0.2, Some(512), false),
        // of one rank each 5 nodes are enough for the largest tiles, and 6, 7 and 9 are not
        ("--samples 100000 --features 20 --threads 16 --nodes 6 --ranks 6", 1.0, Some(1024), false),
        ("--samples 1000000 --features 1000 --threads 4", 2.0, None, true),
        ("--samples 2 --features 280000000", 10.0, None, true),
    ] {
        let machine = format!(r#"{{"kernel_rate": 10, "memory_gb": {gb}}}"#);
        fs::write(work.path("machine.json"), machine).expect("a file");
        let plan = plan(&work, arguments, 0);
        assert_eq!(plan.get("bands").is_some(), bands, "{plan}");
        assert!(tile.is_none_or(|tile| plan["problem"]["tile"] == tile), "{plan}");
        assert!(plan["memory_bytes"].as_f64() <= Some(gb * 1e9), "{plan}");
    }
}

#[test]
fn each_way_to_have_cores_for_all_threads_works() {
    let work = Work::new();
    for (arguments, cores, ways_out) in [
        ("--ranks 7 --threads 1", 2, &["--ranks 2", "--nodes 7"][..]),
        ("--ranks 6 --nodes 2 --threads 3", 8, &["--threads 2", "--ranks 4", "--nodes 3"]),
        ("--ranks 6 --nodes 2 --threads 9", 8, &["--threads 2"]),
        ("--ranks 20 --nodes 2 --threads 9", 8, &["--ranks 2 --threads 8"]),
        ("--threads 9", 8, &["--threads 8"]),
        ("--ranks 14 --nodes 2", 2, &["--ranks 4", "--nodes 7"]),
    ] {
        let machine = format!(r#"{{"kernel_rate": 10, "cores": {cores}}}"#);
        fs::write(work.path("machine.json"), machine).expect("a file");
        let given = "--samples 99 --features 3 --machine machine.json";
        let refused = work.run(ALONE, &format!("plan {given} {arguments}"), 1);
        let (_, told) = refused.stderr.split_once("; use ").unwrap_or_else(|| panic!("{refused}"));
        assert_eq!(told.trim().split(", ").flat_map(|way| way.split(" or ")).collect::<Vec<_>>(), ways_out);
        for way_out in ways_out {
            work.run(ALONE, &format!("plan {given} {}", changed(arguments, way_out)), 0);
        }
    }
    let refused = work.run(ALONE, "plan --samples 99 --features 3 --ranks 7 --nodes 4", 2);
    assert!(refused.stderr.ends_with("4 nodes do not share them evenly; use --ranks 8\n"), "{refused}");
    fs::write(work.path("machine.json"), GIVEN).expect("a description of a machine");
    plan(&work, "--samples 99 --features 3 --nodes 4 --ranks 8", 0);
}

#[test]
fn a_plan_without_ranks_and_threads_has_one_rank_on_each_node_and_its_cores() {
    let work = Work::new();
    fs::write(work.path("machine.json"), r#"{"kernel_rate": 10, "cores": 12}"#).expect("a file");
    let layout = |arguments: &str, slurm: &str| {
        let arguments = format!("plan --samples 100 --features 5 {arguments} --json plan.json");
        let done = work.program(ALONE).env("SLURM_CPUS_PER_TASK", slurm).run(&arguments);
        assert_eq!(done.code, 0, "{done}");
        let text = fs::read_to_string(work.path("plan.json")).expect("a plan");
        let plan: Value = serde_json::from_str(&text).expect("a JSON object");
        ["nodes", "ranks", "threads_per_rank"].map(|field| plan[field].as_u64().expect("a number"))
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    assert_eq!(layout("--nodes 20", ""), [20, 20, cores]);
    assert_eq!(layout("--nodes 20 --machine machine.json", ""), [20, 20, 12]);
    assert_eq!(layout("--nodes 20 --ranks 80 --machine machine.json", ""), [20, 80, 3]);
    assert_eq!(layout("--nodes 20 --machine machine.json", "5"), [20, 20, 5]);
    assert_eq!(layout("--ranks 2 --threads 4 --machine machine.json", "5"), [1, 2, 4]);
    let done = work.program(ALONE).env("SLURM_CPUS_PER_TASK", "banana").run("plan --samples 9 --features 3");
    assert!(done.code == 2 && done.stderr.contains("SLURM_CPUS_PER_TASK=banana"), "{done}");
}

#[test]
fn more_ranks_on_the_same_nodes_read_and_write_no_faster() {
    let work = Work::new();
    fs::write(work.path("machine.json"), GIVEN).expect("a description of a machine");
    let seconds = |layout: &str| {
        let plan = plan(&work, &format!("--samples 2000000 --features 100 --nodes 20 {layout}"), 0);
        ["write", "read", "wall"].map(|phase| plan["seconds"][phase].as_f64().expect("seconds"))
    };
    let [few, many] = [seconds("--ranks 20 --threads 36"), seconds("--ranks 720 --threads 1")];
    for (few, many) in few.into_iter().zip(many) {
        assert!((many / few - 1.0).abs() < 0.1, "{few} s and {many} s");
    }
    // 32 TB at 10 GB/s, which is what is assumed of a file system
    assert!(few[2] >= 3200.0, "{few:?}");
}

#[test]
fn disk_space_comes_first_and_whether_it_is_there() {
    let work = Work::new();
    fs::write(work.path("machine.json"), GIVEN).expect("a description of a machine");
    fs::create_dir(work.path("samples")).expect("a folder");
    write(work.path("samples/x.h5"), &random::<f64>(5, 3, 1));
    let folder = work.path("").canonicalize().expect("a folder");
    let here = folder.display().to_string();
    let samples = folder.join("samples").display().to_string();
    for (arguments, words) in [
        ("--samples 1000000000 --features 3", ["8000000.00 TB for the result, which does not fit in", &here]),
        ("--samples 10 --features 3", ["800.00 B for the result, which fits in", &here]),
        ("samples/x.h5", ["200.00 B for the result, which fits in", &samples]),
        ("samples/x.h5 --no-output", ["nothing is written", ""]),
    ] {
        let done = work.run(ALONE, &format!("plan {arguments} --machine machine.json"), 0);
        let first = done.stdout.lines().next().expect("a line");
        assert!(first.starts_with("disk ") && words.iter().all(|word| first.contains(word)), "{done}");
    }
    let disk = plan(&work, "samples/x.h5", 0)["disk"].clone();
    assert_eq!((&disk["needed_bytes"], &disk["folder"]), (&200.into(), &samples.into()));
    assert!(disk["free_bytes"].as_u64() > Some(200), "{disk}");
}

#[test]
fn small_tiles_take_the_time_of_their_writes() {
    let work = Work::new();
    let machine = r#"{"kernel_rate": 1, "tile_us": 3, "write_us": 7, "node_write_gb_s": 1}"#;
    fs::write(work.path("machine.json"), machine).expect("a file");
    let seconds = |tile: u32, output: &str| {
        let plan =
            plan(&work, &format!("--samples 2000 --features 20 --tile {tile} {output} --threads 1"), 0);
        ["compute", "write"].map(|phase| plan["seconds"][phase].as_f64().expect("seconds"))
    };
    for tile in [4, 8, 16, 40] {
        let tiles = 2000.0 / f64::from(tile);
        let computed = tiles * (tiles + 1.0) / 2.0;
        let [compute, write] = seconds(tile, "--no-output");
        let pure = computed * f64::from(tile * tile) * 20.0 / 1e9;
        assert!(write == 0.0 && ((compute - pure) / (computed * 3e-6) - 1.0).abs() < 1e-6, "{compute} s");
        // a tile and its mirror image, and the matrix itself
        let [_, write] = seconds(tile, "");
        let expected = 2.0 * computed * (7e-6 + tiles * tiles * 0.11e-9) + 2000.0 * 2000.0 * 8.0 / 1e9;
        assert!((write / expected - 1.0).abs() < 1e-6, "{write} s, not {expected} s");
    }
}

#[test]
fn what_is_assumed_is_said() {
    let work = Work::new();
    fs::write(work.path("machine.json"), r#"{"kernel_rate": 10, "node_write_gb_s": 3}"#).expect("a file");
    let arguments = "--samples 30 --features 3 --tile 10 --ranks 5";
    let planned = plan(&work, arguments, 0);
    let assumed = ["node_read_gb_s", "network_gb_s", "latency_us", "tile_us", "write_us", "disk_gb_s"];
    assert_eq!(planned["machine"]["assumed"], Value::from(&assumed[..]));
    assert_eq!(planned["idle_ranks"], 2);
    assert_eq!(planned["kernel_rate_is_measured_here"], false);
    let told = work.run(ALONE, &format!("plan {arguments} --machine machine.json"), 0).stdout;
    assert!(
        told.contains("1 GB/s for a node (assumed)") && told.contains("2 ranks without a tile"),
        "{told}"
    );
    assert!(told.contains("10 GB/s of the file system for all nodes (assumed)"), "{told}");
    assert!(told.contains("3 GB/s for a node and") && !told.contains("measured"), "{told}");
}

#[test]
fn wrong_machines_and_nodes_are_refused() {
    let cases = [
        ("", "[1", 1, "does not describe a machine"),
        ("", r#"{"kernel_rte": 1}"#, 1, "kernel_rte"),
        ("", r#"{"kernel_rate": 0}"#, 1, "kernel_rate is 0e0; it must lie between"),
        (
            "--ranks 6 --nodes 2 --threads 3",
            r#"{"cores": 8}"#,
            1,
            "3 ranks x 3 threads need 9 cores, and a node has 8; use --threads 2, --ranks 4 or --nodes 3",
        ),
        (
            "--threads 9",
            r#"{"cores": 8}"#,
            1,
            "1 rank x 9 threads need 9 cores, and a node has 8; use --threads 8",
        ),
        ("--json /proc/record.json", "{}", 2, "--json /proc/record.json: it cannot be written"),
        ("", r#"{"cores": 0}"#, 1, "cores is 0"),
        ("", r#"{"read_gb_s": 1}"#, 1, "read_gb_s was the rate of one rank; give node_read_gb_s instead"),
        ("", r#"{"write_gb_s": 1}"#, 1, "write_gb_s was the rate of one rank; give node_write_gb_s instead"),
        ("", r#"{"tile_us": -1}"#, 1, "tile_us is -1e0; it must lie between"),
        ("", "[]", 1, "does not describe a machine"),
        ("--json samples.h5", "{}", 2, "it exists and is no plan"),
        ("--json machine.json", "{}", 2, "--json machine.json: it is an input"),
        ("--ranks 5 --nodes 2", "{}", 2, "2 nodes do not share them evenly"),
    ];
    for (arguments, machine, code, words) in &cases {
        let work = Work::new();
        fs::write(work.path("machine.json"), machine).expect("a file");
        write(work.path("samples.h5"), &random::<f64>(5, 3, 1));
        let arguments = format!("plan --samples 9 --features 3 --machine machine.json {arguments}");
        let done = work.run(ALONE, &arguments, *code);
        assert!(done.stderr.contains(words), "{done}");
    }
    let work = Work::new();
    let done = work.run(ALONE, "plan --samples 9 --features 3 --machine none.json", 1);
    assert!(done.stderr.contains("none.json cannot be read"), "{done}");
}

#[test]
fn the_commands_of_the_documents_work() {
    let root = env!("CARGO_MANIFEST_DIR");
    let work = Work::new();
    fs::write(work.path("machine.json"), GIVEN).expect("a description of a machine");
    for samples in ["x.h5", "X.h5"] {
        write(work.path(samples), &random::<f64>(100, 6, 1));
    }
    for (document, number) in [("docs/PLANNING.md", 2), ("docs/SCALING.md", 1), ("jobs/README.md", 1)] {
        let text = fs::read_to_string(format!("{root}/{document}")).expect("the document");
        let lines = text.lines().map(str::trim);
        let commands: Vec<_> = lines.filter_map(|line| line.strip_prefix("pairdist plan ")).collect();
        assert_eq!(commands.len(), number, "{document}: {commands:?}");
        for command in commands {
            let command = command.replace("jobs/systems", &format!("{root}/jobs/systems"));
            work.run(ALONE, &format!("plan {command}"), 0);
        }
    }
}

#[test]
fn the_rate_of_neighbours_is_measured_for_problems_of_any_shape() {
    for_all(&[(1_000_000, 10), (3_000_000, 1), (100, 100_000), (1, 3), (40, 2)], |&(samples, features)| {
        let work = Work::new();
        for (results, least) in
            [("--neighbors 15", 16), ("--neighbors 1 --include-self --matrix", 1), ("--store f64", 1)]
        {
            let metric = if features == 10 { "cityblock" } else { "euclidean" };
            let options = format!(
                "--samples {samples} --features {features} --dtype f32 --metric {metric} --threads 1"
            );
            if samples >= least {
                work.run(ALONE, &format!("plan {options} {results}"), 0);
            }
        }
    });
}
