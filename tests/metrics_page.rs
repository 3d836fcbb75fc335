//! docs/METRICS.md: its table is that of the program, with the rates of a record of `scripts/bench-peers`.
//!
//! The table as it should be lands in `target/tmp/METRICS.md`, from where it can be copied.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use pairdist::element::{Content, Element};
use pairdist::kernel::{Method, guard_tau};
use pairdist::metric::{Measure, Metric, Order, Parameter, Reference};

const PAGE: &str = include_str!("../docs/METRICS.md");

/// What stands before and behind the table.
const MARKS: [&str; 2] = ["<!-- made by tests/metrics_page.rs from here -->\n", "<!-- to here -->\n"];

/// Features and distance that bounds are given for.
const FEATURES: usize = 1000;
const DISTANCE: f64 = 0.5;

/// The record that the page names.
fn record() -> String {
    let name = PAGE.split("](../benches/record/").nth(1).and_then(|rest| rest.split(')').next());
    let name = name.expect("the page names a record");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/record").join(name);
    std::fs::read_to_string(path).expect("the record is there")
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The rate of a work, in G pair-features/s, and that over SciPy's.
fn rate(record: &str, work: &str) -> (f64, f64) {
    let mut seconds: BTreeMap<(bool, &str), Vec<f64>> = BTreeMap::new();
    let mut pair_features = 0.0;
    for line in record.lines() {
        let fields: Vec<&str> = line.split(',').collect();
        if let [name, program @ ("pairdist" | "SciPy"), variant, _, time, rate] = fields[..]
            && name == work
        {
            let [time, rate] = [time, rate].map(|number| number.parse::<f64>().expect("a number"));
            seconds.entry((program == "SciPy", variant)).or_default().push(time);
            pair_features = time * rate;
        }
    }
    let mut best = |of_scipy: bool| {
        let variants = seconds.iter_mut().filter(|((scipy, _), _)| *scipy == of_scipy);
        variants.map(|(_, times)| median(times)).fold(f64::INFINITY, f64::min)
    };
    let (ours, scipy) = (best(false), best(true));
    assert!(ours.is_finite() && scipy.is_finite(), "the record has no \"{work}\" of both programs");
    (pair_features / ours / 1e9, scipy / ours)
}

/// The work that stands for a metric in the record.
fn work(metric: Metric) -> String {
    match metric {
        Metric::Minkowski => "compute minkowski-3.2 2048x128 f64".into(),
        Metric::Jensenshannon => "compute jensenshannon 2048x128 f64".into(),
        _ if is_of_truth(metric) => format!("compute {metric} 2048x2048 bool"),
        _ => format!("compute {metric} 4096x128 f64"),
    }
}

/// Without weights, but for a metric that always has them.
fn measure(metric: Metric, order: f64) -> Measure {
    Measure::of_any_weights(metric, Order::new(order).ok(), metric.takes().contains(&Parameter::Variance))
}

fn is_of_truth(metric: Metric) -> bool {
    Method::fastest(&metric.into(), FEATURES, Content::Any) == Method::Bits
}

fn digits(value: f64) -> String {
    match value {
        _ if value >= 99.5 => format!("{value:.0}"),
        _ if value >= 9.95 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// The bound of a distance, as text.
fn bound<T: Element>(measure: &Measure) -> String {
    let method = Method::fastest(measure, FEATURES, Content::Any);
    if method.is_whole() {
        return "rounded once".into();
    }
    let reference = Reference { distance: DISTANCE, divisor: FEATURES as f64, exponent: 0 };
    let tau = (method == Method::Gemm).then(|| guard_tau(T::DTYPE));
    format!("{:.1e}", measure.tolerance::<T>(FEATURES, tau, 0, reference) / DISTANCE)
}

fn parameters(metric: Metric) -> String {
    let option = |parameter: &Parameter| match parameter {
        Parameter::Order => "`--p`",
        Parameter::Weights => "`--weights`",
        Parameter::Variance => "`--variance`",
        Parameter::InverseCovariance => "`--inverse-covariance`",
        Parameter::Missing => "`--skip-missing`",
    };
    metric.takes().iter().map(option).collect::<Vec<_>>().join(", ")
}

fn types(metric: Metric) -> String {
    let measure = measure(metric, 2.0);
    let mut types = if measure.form().is_whitened() { vec!["f64"] } else { vec!["f32", "f64"] };
    if is_of_truth(metric) {
        return "bits; with weights f32, f64".into();
    }
    for (method, name) in [(Method::U8, "u8, i8"), (Method::Bits, "bits")] {
        if method.is_of(&measure) {
            types.push(name);
        }
    }
    if metric == Metric::Minkowski {
        return "f32, f64; of order 1, 2, inf u8, i8".into();
    }
    types.join(", ")
}

/// The table.
fn table() -> String {
    let record = record();
    let mut table = String::from(
        "| Metric | Distance of x and y | Options | Computed in | Bound in f32 | in f64 | G pair-features/s | over SciPy |\n|---|---|---|---|---|---|---|---|\n",
    );
    for metric in Metric::ALL {
        let measure = measure(*metric, 3.2);
        let others: Vec<_> = metric.aliases().iter().map(|name| format!("`{name}`")).collect();
        let others = if others.is_empty() { String::new() } else { format!(" ({})", others.join(", ")) };
        let in_f32 = if measure.form().is_whitened() { String::new() } else { bound::<f32>(&measure) };
        let (rate, ratio) = rate(&record, &work(*metric));
        let _ = writeln!(
            table,
            "| `{metric}`{others} | {} | {} | {} | {in_f32} | {} | {} | {} |",
            metric.formula().replace('|', "\\|"),
            parameters(*metric),
            types(*metric),
            if measure.form().is_whitened() {
                format!("{}, and [whitening](ACCURACY.md#covariance)", bound::<f64>(&measure))
            } else {
                bound::<f64>(&measure)
            },
            digits(rate),
            digits(ratio),
        );
    }
    table
}

#[test]
fn the_table_of_metrics_is_that_of_the_program() {
    let table = table();
    let [start, end] = MARKS.map(|mark| PAGE.find(mark).expect("the page has marks"));
    let written = Path::new(env!("CARGO_TARGET_TMPDIR")).join("METRICS.md");
    let page = format!("{}{}{table}{}", &PAGE[..start], MARKS[0], &PAGE[end..]);
    std::fs::write(&written, &page).expect("the page can be written");
    assert!(page == PAGE, "docs/METRICS.md is not up to date; copy {} there", written.display());
}

#[test]
fn the_page_has_a_section_for_every_metric_in_the_order_of_the_table() {
    let sections: Vec<&str> = PAGE.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    assert_eq!(sections, Metric::ALL.iter().map(|metric| metric.name()).collect::<Vec<_>>());
}
