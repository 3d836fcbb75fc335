//! Rates of the kernels in pair-features per second (Gitem/s), each with its limit beside it.
//!
//! `micro_tile` computes one micro-tile over and over from panels in a level-1 cache: what the step itself can do.
//! `kernel` computes 256 × 256 distances. `tile` is a tile of 512 × 512 as the workers compute them, summed up and with its
//! checksum, without and with its mirror image; `fill` writes as many bytes and nothing else. `quotients` divides numbers in a level-1 cache,
//! which bounds canberra.
//!
//! usage: cargo bench --bench kernels [-- FILTER]

use std::fmt;
use std::ops::Neg;
use std::sync::Arc;

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use pairdist::block::Block;
use pairdist::kernel::{Kernel, Level, Method, Scratch, SimdElement};
use pairdist::metric::{self, Measure, Metric};
use pairdist::number::Number;
use pairdist::partition::{Grid, Tile};
use pairdist::pipeline::{Order, ThreadWorker};
use pairdist::problem::Asked;
use pairdist::schedule::Schedule;
use pairdist::sink::{Results, Sinks};

const EDGE: usize = 512;
const FEATURES: [usize; 5] = [3, 16, 64, 128, 784];

/// What is computed.
#[derive(Clone, Copy)]
struct Step {
    metric: Metric,
    method: Method,
    p: Option<f64>,
    weighted: bool,
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { metric, method, p, weighted } = self;
        let order = p.map_or(String::new(), |p| format!("-{p}"));
        write!(f, "{}{metric}{order} {method}", if *weighted { "weighted-" } else { "" })
    }
}

impl Step {
    const fn new(metric: Metric, method: Method) -> Self {
        Self { metric, method, p: None, weighted: false }
    }

    const fn direct(metric: Metric) -> Self {
        Self::new(metric, Method::Direct)
    }

    fn measure(self, features: usize) -> Measure {
        let weights: Vec<f64> = (0..features).map(|l| 0.5 + l as f64 / features as f64).collect();
        let order = self.p.and_then(|p| metric::Order::new(p).ok());
        Measure::new(self.metric, order, self.weighted.then_some(&weights))
    }
}

/// One of each kind of work in memory: the metrics that users have most of.
const STEPS: [Step; 4] = [
    Step::direct(Metric::Cityblock),
    Step::direct(Metric::Chebyshev),
    Step::direct(Metric::Sqeuclidean),
    Step::new(Metric::Sqeuclidean, Method::Gemm),
];

/// Every fold.
const FOLDS: [Step; 18] = [
    STEPS[0],
    STEPS[1],
    STEPS[2],
    STEPS[3],
    Step { weighted: true, ..Step::direct(Metric::Cityblock) },
    Step { weighted: true, ..Step::direct(Metric::Sqeuclidean) },
    Step { p: Some(3.0), ..Step::direct(Metric::Minkowski) },
    Step { p: Some(1.5), ..Step::direct(Metric::Minkowski) },
    Step { p: Some(3.2), ..Step::direct(Metric::Minkowski) },
    Step::direct(Metric::Jensenshannon),
    Step::direct(Metric::Canberra),
    Step::direct(Metric::Braycurtis),
    Step::direct(Metric::Hamming),
    Step::new(Metric::Jaccard, Method::Bits),
    Step::new(Metric::Cityblock, Method::U8),
    Step::new(Metric::Chebyshev, Method::U8),
    Step::new(Metric::Sqeuclidean, Method::U8),
    Step::new(Metric::Hamming, Method::U8),
];

fn main() {
    divan::main();
}

fn cases(steps: &[Step], features: &[usize]) -> Vec<Case> {
    steps.iter().flat_map(|&step| features.iter().map(move |&features| Case { step, features })).collect()
}

#[derive(Clone, Copy)]
struct Case {
    step: Step,
    features: usize,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} d={}", self.step, self.features)
    }
}

impl Case {
    fn kernel<T: SimdElement + Neg<Output = T>>(self) -> Kernel<T> {
        let level = Level::detect().expect("a level of this machine");
        Kernel::new(self.step.measure(self.features), self.step.method, self.features, level)
    }
}

/// Numbers in [0, 1), the same every time.
fn samples<T: SimdElement>(count: usize, seed: u64) -> Vec<T> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        T::from_f64((state >> 40) as f64 / f64::from(1 << 24))
    };
    (0..count).map(|_| next()).collect()
}

/// Edge of what `kernel` computes: distances and panels stay in a level-2 cache.
const KERNEL_EDGE: usize = 256;

#[divan::bench(types = [f32, f64], args = cases(&FOLDS, &[64, 128, 784]))]
fn kernel<T: SimdElement + Neg<Output = T>>(bencher: Bencher, case: Case) {
    let kernel = case.kernel::<T>();
    let edge = KERNEL_EDGE;
    let mut rows = vec![0; kernel.row_panels().count(edge) * kernel.row_panels().len()];
    let mut cols = vec![0; kernel.col_panels().count(edge) * kernel.col_panels().len()];
    kernel.pack_rows(&samples(edge * case.features, 1), &mut rows);
    kernel.pack_cols(&samples(edge * case.features, 2), &mut cols);
    let mut out = vec![T::default(); edge * edge];
    let mut scratch = Scratch::new();
    bencher
        .counter(ItemsCount::new(edge * edge * case.features))
        .bench_local(|| kernel.compute(&rows, edge, &cols, edge, black_box(&mut out), &mut scratch));
}

/// The limit of few features: a tile written to memory. To compare with the others, take the item as one feature of a pair.
#[divan::bench(types = [f32, f64])]
fn fill<T: SimdElement>(bencher: Bencher) {
    let mut out = vec![T::default(); EDGE * EDGE];
    bencher.counter(ItemsCount::new(EDGE * EDGE)).bench_local(|| black_box(&mut out).fill(T::from_f64(1.5)));
}

/// The limit of canberra, which divides once for each feature of a pair.
#[divan::bench(types = [f32, f64])]
fn quotients<T: SimdElement + std::ops::Div<Output = T>>(bencher: Bencher) {
    const COUNT: usize = 1024;
    // long enough for the clock
    const TIMES: usize = 100;
    let (values, divisors) = (samples::<T>(COUNT, 1), vec![T::from_f64(1.5); COUNT]);
    let mut out = vec![T::default(); COUNT];
    bencher.counter(ItemsCount::new(TIMES * COUNT)).bench_local(|| {
        for _ in 0..TIMES {
            pulp::Arch::new().dispatch(
                #[inline(always)]
                || {
                    for ((out, value), divisor) in
                        out.iter_mut().zip(black_box(&values)).zip(black_box(&divisors))
                    {
                        *out = *value / *divisor;
                    }
                },
            );
            black_box(&mut out);
        }
    });
}

#[divan::bench(types = [f32, f64], args = cases(&FOLDS, &[64, 256]))]
fn micro_tile<T: SimdElement + Neg<Output = T>>(bencher: Bencher, case: Case) {
    let kernel = case.kernel::<T>();
    let (m, n) = (kernel.row_panels().width, kernel.col_panels().width);
    let mut rows = vec![0; kernel.row_panels().len()];
    let mut cols = vec![0; kernel.col_panels().len()];
    kernel.pack_rows(&samples(m * case.features, 1), &mut rows);
    kernel.pack_cols(&samples(n * case.features, 2), &mut cols);
    let mut out = vec![T::default(); m * n];
    let mut scratch = Scratch::new();
    bencher
        .counter(ItemsCount::new(m * n * case.features))
        .bench_local(|| kernel.compute(black_box(&rows), m, black_box(&cols), n, &mut out, &mut scratch));
}

fn tile_of<T: Number + Neg<Output = T>>(bencher: Bencher, case: Case, mirrored: bool) {
    let kernel = case.kernel::<T>();
    let grid = Grid { n: EDGE, m: EDGE, edge: EDGE, symmetric: mirrored };
    let mut rows = Block::new(0..1, EDGE, kernel.row_panels());
    let mut cols = Block::new(0..1, EDGE, kernel.col_panels());
    kernel.pack_rows(&samples(EDGE * case.features, 1), rows.receive(0..1));
    kernel.pack_cols(&samples(EDGE * case.features, 2), cols.receive(0..1));
    let cols = Arc::new(cols);
    let mut worker = ThreadWorker::new(&kernel, grid, &rows);
    let images = 1 + usize::from(mirrored);
    let results = Results::of(Asked::MATRIX);
    let share = Schedule::new(grid, 1).share(0);
    let sinks = Sinks::<T>::new(results, &share, kernel.strip_len(EDGE));
    let mut parcel = Some(sinks.parcel());
    bencher.counter(ItemsCount::new(images * EDGE * EDGE * case.features)).bench_local(|| {
        let free = parcel.take().expect("it comes back every time");
        let order = Order { tile: Tile { i: 0, j: 0 }, mirrored, cols: Arc::clone(&cols), parcel: free };
        let computed = worker.compute(order);
        parcel = Some(computed.parcel);
        computed.done.checksum
    });
}

#[divan::bench(types = [f32, f64], args = cases(&STEPS, &FEATURES))]
fn tile<T: Number + Neg<Output = T>>(bencher: Bencher, case: Case) {
    tile_of::<T>(bencher, case, false);
}

#[divan::bench(types = [f32, f64], args = cases(&STEPS, &FEATURES))]
fn tile_mirrored<T: Number + Neg<Output = T>>(bencher: Bencher, case: Case) {
    tile_of::<T>(bencher, case, true);
}
