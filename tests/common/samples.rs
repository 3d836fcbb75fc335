//! Inputs to write, results to read, and the definition to compare them with.

use std::path::Path;

use hdf5::File;
use ndarray::Array2;
use pairdist::element::Element;
use pairdist::io::Stored;
use pairdist::kernel::{Method, guard_tau};
use pairdist::metric::{Measure, Metric, Order, Parameter, Reference};
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::launch::hold_starts;

/// Samples with values between -1 and 1, the same for the same seed.
pub(crate) fn random<T: Element>(rows: usize, features: usize, seed: u64) -> Array2<T> {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    Array2::from_shape_simple_fn((rows, features), || T::from_f64(2.0 * rng.random::<f64>() - 1.0))
}

/// The same samples with NaN for about a tenth of the values, in other places for another seed; all of some samples, and all but one value of others.
pub(crate) fn with_gaps<T: Element>(mut samples: Array2<T>, seed: u64) -> Array2<T> {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    for mut row in samples.rows_mut() {
        let share = [0.1, 0.1, 0.1, 0.1, 0.0, 0.5, 1.0, 1.0][rng.random_range(0..8)];
        let kept = (share >= 1.0 && rng.random()).then(|| rng.random_range(0..row.len()));
        for (at, value) in row.iter_mut().enumerate() {
            if rng.random::<f64>() < share && kept != Some(at) {
                *value = T::NAN;
            }
        }
    }
    samples
}

/// Makes a file and fills it. No program starts meanwhile: it would inherit the open file, with its lock.
pub(crate) fn create(path: impl AsRef<Path>, fill: impl FnOnce(&File) -> hdf5::Result<()>) {
    let _no_start = hold_starts();
    File::create(path).and_then(|file| fill(&file)).expect("a file can be written");
}

/// Changes a file. No program starts meanwhile.
pub(crate) fn edit(path: impl AsRef<Path>, change: impl FnOnce(&File) -> hdf5::Result<()>) {
    let _no_start = hold_starts();
    File::open_rw(path).and_then(|file| change(&file)).expect("a file can be changed");
}

/// Writes samples as the only dataset of a new file.
pub(crate) fn write<T: Stored>(path: impl AsRef<Path>, samples: &Array2<T>) {
    create(path, |file| file.new_dataset_builder().with_data(samples).create("samples").map(drop));
}

/// The matrix of a result.
pub(crate) fn distances<T: Stored>(path: impl AsRef<Path>) -> Array2<T> {
    let _no_start = hold_starts();
    let file = File::open(path).expect("a result");
    file.dataset("distances").and_then(|matrix| matrix.read_2d()).expect("a matrix of distances")
}

/// Everything that a result holds, as bits.
pub(crate) fn stored(path: impl AsRef<Path>) -> Vec<u64> {
    let _no_start = hold_starts();
    let file = File::open(path).expect("a result");
    let numbers = |name: &str| {
        let read = file.dataset(name).and_then(|dataset| dataset.read_raw::<f64>());
        read.map_or(Vec::new(), |values| values.into_iter().map(f64::to_bits).collect())
    };
    let names = [
        "distances",
        "condensed",
        "neighbors/indices",
        "neighbors/distances",
        "radius/indptr",
        "radius/indices",
        "radius/data",
    ];
    let stored: Vec<u64> = names.into_iter().flat_map(numbers).collect();
    assert!(!stored.is_empty(), "the result is empty");
    stored
}

/// A metric, and what it is given beside the samples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Given {
    pub(crate) metric: Metric,
    pub(crate) p: Option<Order>,
    pub(crate) weighted: bool,
    pub(crate) skips_missing: bool,
}

impl From<Metric> for Given {
    fn from(metric: Metric) -> Self {
        let weighted = metric.takes().contains(&Parameter::Variance);
        Self { metric, p: None, weighted, skips_missing: false }
    }
}

impl Given {
    /// Every metric, with orders of all kinds, with and without weights where it takes some, and skipping missing values or not where it can.
    pub(crate) fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for given in Metric::ALL.iter().map(|metric| Self::from(*metric)) {
            let orders: &[f64] = if given.metric.takes().contains(&Parameter::Order) {
                &[0.5, 1.0, 2.0, 3.0, 3.2, 7.5, f64::INFINITY]
            } else {
                &[2.0]
            };
            for p in orders {
                let p = (orders.len() > 1).then(|| Order::new(*p).expect("an order"));
                all.push(Self { p, ..given });
                if given.metric.takes().contains(&Parameter::Weights) {
                    all.push(Self { p, weighted: true, ..given });
                }
            }
        }
        all
    }

    /// All that can skip missing values, and do; of orders, one of each fold that the other metrics do not have.
    pub(crate) fn skipping() -> Vec<Self> {
        let is_other = |given: &Self| given.p.is_none_or(|p| [0.5, 3.2].contains(&p.get()));
        let skipping = Self::all().into_iter().filter(|given| given.metric.can_skip_missing());
        skipping.filter(is_other).map(|given| Self { skips_missing: true, ..given }).collect()
    }

    /// Some of them, which have every fold, preparation and finish.
    pub(crate) fn some() -> Vec<Self> {
        let plain = Metric::ALL
            .iter()
            .map(|metric| Self::from(*metric))
            .filter(|given| given.metric != Metric::Minkowski);
        let order = |p, weighted| Self { p: Order::new(p).ok(), weighted, ..Metric::Minkowski.into() };
        let weighted = [Metric::Cityblock, Metric::Canberra, Metric::Braycurtis]
            .map(|metric| Self { weighted: true, ..metric.into() });
        let orders = [order(3.0, false), order(2.5, true), order(3.2, true)];
        let skipping =
            [Metric::Euclidean, Metric::Cityblock, Metric::Chebyshev, Metric::Hamming].map(Self::from);
        let skipping = skipping.into_iter().chain(orders).chain([
            Self { weighted: true, ..Metric::Sqeuclidean.into() },
            Self { weighted: true, ..Metric::Canberra.into() },
            Self { weighted: true, ..Metric::Chebyshev.into() },
        ]);
        let skipping = skipping.map(|given| Self { skips_missing: true, ..given });
        plain.chain(orders).chain(weighted).chain(skipping).collect()
    }

    /// Whether distances depend on other samples than the two.
    pub(crate) fn takes_samples(self) -> bool {
        let depends = [Parameter::Variance, Parameter::InverseCovariance];
        self.metric.takes().iter().any(|parameter| depends.contains(parameter))
    }

    /// With weights of all magnitudes, some of them 0.
    pub(crate) fn measure(self, features: usize) -> Measure {
        let weights = self.weighted.then(|| Self::weights(features));
        Measure::new(self.metric, self.p, weights.as_deref()).skipping_missing(self.skips_missing)
    }

    /// These weights.
    pub(crate) fn weights(features: usize) -> Vec<f64> {
        let weight = |l: usize| (1 + l * 37 % 101) as f64 * [0.01, 0.1, 1.0, 0.0, 100.0][l % 5];
        (0..features).map(weight).collect()
    }
}

/// Every distance in f64, by the definition of the metric.
pub(crate) fn definition<T: Element>(
    given: impl Into<Given>,
    x: &Array2<T>,
    y: &Array2<T>,
) -> Array2<Reference> {
    let measure = given.into().measure(x.ncols());
    let [x, y] = [x, y].map(|samples| samples.rows().into_iter().map(|row| row.to_vec()).collect::<Vec<_>>());
    Array2::from_shape_fn((x.len(), y.len()), |(i, j)| measure.reference(&x[i], &y[j]))
}

/// Exponent of the power of two that the program scales samples by.
pub(crate) fn scaling<T: Element>(given: impl Into<Given>, x: &Array2<T>, y: &Array2<T>) -> i32 {
    let values = x.iter().chain(y).filter(|value| value.is_finite());
    let largest = values.fold(0.0, |largest: f64, value| largest.max(value.to_f64().abs()));
    given.into().measure(x.ncols()).scaling_exponent::<T>(x.ncols(), largest)
}

/// Demands that every entry lies within [`Measure::tolerance`] of the definition.
pub(crate) fn assert_within_tolerance<T: Element>(
    what: &str,
    (given, method, features, scaling): (impl Into<Given>, Method, usize, i32),
    got: &Array2<T>,
    expected: &Array2<Reference>,
) {
    assert_eq!(got.shape(), expected.shape(), "{what}");
    let given = given.into();
    let measure = given.measure(features);
    let tau = (method == Method::Gemm).then(|| guard_tau(T::DTYPE));
    for ((place, got), &expected) in got.indexed_iter().zip(expected) {
        let error = measure.error::<T>(features, tau, *got, expected.distance);
        let allowed = measure.tolerance::<T>(features, tau, scaling, expected);
        assert!(
            error <= allowed,
            "{what}: {given:?}, {method}, {}, {features} features, entry {place:?}: {got}, by definition {expected:?}, allowed {allowed:e}",
            T::DTYPE
        );
    }
}
