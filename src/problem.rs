//! What is to be computed.

use serde::{Deserialize, Serialize};

use crate::element::Dtype;
use crate::kernel::Method;
use crate::metric::Metric;

/// The sizes and choices that decide every distance, and the tiles they are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Samples of X: rows of the matrix.
    pub n: usize,
    /// Samples of Y: columns of the matrix.
    pub m: usize,
    /// Features.
    pub d: usize,
    /// The metric.
    pub metric: Metric,
    /// How it is computed.
    pub kernel: Method,
    /// Type of the distances.
    pub dtype: Dtype,
    /// Edge of a tile.
    pub tile: usize,
}

impl Problem {
    /// Bytes of the result.
    pub fn result_bytes(&self) -> u64 {
        self.n as u64 * self.m as u64 * self.dtype.size() as u64
    }
}
