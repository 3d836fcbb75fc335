//! How distances are computed.

use std::fmt;

use super::counts::Counted;
use crate::element::{Content, Dtype};
use crate::metric::{Measure, Terms};

/// How distances are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// |x|² + |y|² − 2x·y, and direct where that would cancel.
    Gemm,
    /// From the differences.
    Direct,
    /// In whole numbers, of truth values as bits.
    Bits,
    /// In whole numbers, of whole numbers of 8 bits without a sign.
    U8,
    /// In whole numbers, of whole numbers of 8 bits with a sign.
    I8,
}

impl Method {
    const ALL: [Self; 5] = [Self::Gemm, Self::Direct, Self::Bits, Self::U8, Self::I8];

    /// Name in reports; some of them are choices on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gemm => "gemm",
            Self::Direct => "direct",
            Self::Bits => "bits",
            Self::U8 => "u8",
            Self::I8 => "i8",
        }
    }

    /// The method with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.name() == name)
    }

    /// The fastest method for a metric and number of features of samples with this content, among those it has.
    pub fn fastest(measure: &Measure, features: usize, content: Content) -> Self {
        match Self::whole(measure, content) {
            Some(method) => method,
            None if measure.has_gram() && features > DIRECT_FEATURES => Self::Gemm,
            None => Self::Direct,
        }
    }

    /// The method that computes in whole numbers, where samples and metric allow it.
    fn whole(measure: &Measure, content: Content) -> Option<Self> {
        let methods: &[Self] = match content {
            // whatever they are, a table is made of whether they are 0
            _ if measure.form().terms == Terms::Table => &[Self::Bits],
            Content::Truth => &[Self::Bits, Self::U8],
            Content::U8 => &[Self::U8],
            Content::I8 => &[Self::I8],
            Content::Any => &[],
        };
        methods.iter().copied().find(|method| method.is_of(measure))
    }

    /// Whether the metric can be computed so, of some samples.
    pub fn is_of(self, measure: &Measure) -> bool {
        match self {
            Self::Gemm => measure.has_gram(),
            Self::Direct => true,
            Self::Bits | Self::U8 | Self::I8 => {
                measure.weights().is_empty()
                    && !measure.skips_missing()
                    && Counted::of(measure.form(), self).is_some()
            }
        }
    }

    /// Whether it computes in whole numbers, so that distances are rounded once.
    pub const fn is_whole(self) -> bool {
        matches!(self, Self::Bits | Self::U8 | Self::I8)
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Up to this many features, direct differences are as fast as the Gram trick: measured with AVX2 on Zen 3, where 32
/// features ran at equal rates and 48 not.
const DIRECT_FEATURES: usize = 32;

/// The guard's threshold τ: a Gram value D² is kept where D² > τ(|x|² + |y|²).
///
/// Its error is at most 2σ(3)/τ (see [`crate::metric::bound::gram_relative_error`]): a larger τ is more accurate and
/// recomputes more. Uniform samples have D²/(|x|² + |y|²) = 1/4, normal ones 1.
pub const fn guard_tau(dtype: Dtype) -> f64 {
    match dtype {
        Dtype::F32 => 1.0 / 16.0,
        Dtype::F64 => 1.0 / 1024.0,
    }
}
