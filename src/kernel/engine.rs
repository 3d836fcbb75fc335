//! What is compiled for a way to compute distances.

use std::marker::PhantomData;

use super::counts::{self, CompiledCount, Counted, Finished};
use super::sweep::{self, Compiled, Widths};
use super::{Level, Method, SimdElement};
use crate::metric::{Fold, Measure, Product, Visitor};

/// What computes tiles.
#[derive(Clone, Debug)]
pub(super) enum Engine<T> {
    /// A fold of values, and others that the distance needs beside it.
    Values { main: Compiled<T>, others: Vec<Compiled<T>> },
    /// A count of bits or bytes, and what is made of it.
    Counts { count: CompiledCount<T>, finished: Finished },
}

impl<T: SimdElement> Engine<T> {
    pub(super) fn new(measure: &Measure, method: Method, features: usize, level: Level) -> Self {
        if !method.is_whole() {
            let select = || Select { method, level, element: PhantomData };
            return Self::Values { main: measure.visit(select()), others: measure.visit_others(select) };
        }
        let form = measure.form();
        let counted = Counted::of(form, method).expect("the metric is computed so").on(level);
        let finished = Finished { counted, finish: form.finish, features: features as u64 };
        Self::Counts { count: counts::compiled(counted, level), finished }
    }

    /// Samples of the panels that its micro-kernel takes: columns travel, and their format is the level's, whatever is computed.
    pub(super) fn widths(&self, level: Level) -> Widths {
        match self {
            Self::Values { main, .. } => Widths { rows: main.rows, cols: level.columns::<T>() },
            Self::Counts { count, .. } => Widths { rows: count.rows, cols: level.columns::<u64>() },
        }
    }
}

/// The products of two samples, summed up.
pub(super) fn product<T: SimdElement>(level: Level) -> Compiled<T> {
    Select { method: Method::Gemm, level, element: PhantomData }.visit(Product)
}

struct Select<T> {
    method: Method,
    level: Level,
    element: PhantomData<T>,
}

impl<T: SimdElement> Visitor for Select<T> {
    type Output = Compiled<T>;

    // Rows of a micro-tile: as many as leave registers for two vectors of columns and the temporaries.
    fn visit<F: Fold>(self, _: F) -> Compiled<T> {
        let gram = self.method == Method::Gemm;
        match self.level {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => sweep::compiled::<pulp::x86::V4, T, F, 10>(gram),
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 if gram => sweep::compiled::<pulp::x86::V3, T, F, 6>(true),
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => sweep::compiled::<pulp::x86::V3, T, F, 5>(false),
            #[cfg(target_arch = "aarch64")]
            Level::Neon => sweep::compiled::<pulp::aarch64::Neon, T, F, 10>(gram),
            Level::Portable => sweep::compiled::<pulp::Scalar128b, T, F, 4>(gram),
        }
    }
}
