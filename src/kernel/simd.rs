//! Vectors of an element type on a SIMD level, and the choice of the level.

use std::sync::OnceLock;

use pulp::Simd;

use crate::element::{Dtype, Element};
use crate::metric::{Arithmetic, ExponentBits};

/// Vectors of columns in a micro-tile.
pub(super) const NV: usize = 2;

/// An element type with vectors.
pub trait SimdElement: Element {
    /// One register of elements.
    type Vector<S: Simd>: bytemuck::Pod + Send + Sync;
    /// One truth value per lane.
    type Mask<S: Simd>: Copy + bytemuck::NoUninit;
    /// A squared distance below this is computed directly: far enough above the smallest normal
    /// number that the underflow of a million products stays within one rounding.
    const GUARD_FLOOR: f64;

    /// The vectors of a slice, and what is left over.
    fn vectors<S: Simd>(slice: &[Self]) -> (&[Self::Vector<S>], &[Self]);
    /// The vectors of a slice, and what is left over.
    fn vectors_mut<S: Simd>(slice: &mut [Self]) -> (&mut [Self::Vector<S>], &mut [Self]);
    /// A vector with the value in every lane.
    fn splat<S: Simd>(simd: S, value: Self) -> Self::Vector<S>;
    /// a + b
    fn add<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;
    /// a − b
    fn sub<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;
    /// a·b
    fn mul<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;
    /// a / b
    fn div<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;
    /// a·b + c
    fn mul_add<S: Simd>(
        simd: S,
        a: Self::Vector<S>,
        b: Self::Vector<S>,
        c: Self::Vector<S>,
    ) -> Self::Vector<S>;
    /// The larger of a and b, and b where a is NaN.
    fn max_or_second<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;
    /// The smaller of a and b, and b where a is NaN.
    fn min_or_second<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;
    /// |a|
    fn abs<S: Simd>(simd: S, a: Self::Vector<S>) -> Self::Vector<S>;
    /// √a
    fn sqrt<S: Simd>(simd: S, a: Self::Vector<S>) -> Self::Vector<S>;
    /// a > b
    fn greater<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Mask<S>;
    /// a ≤ b
    fn at_most<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Mask<S>;
    /// a = b
    fn equal<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Mask<S>;
    /// Lane by lane: a where the mask holds, else b.
    fn select<S: Simd>(
        simd: S,
        mask: Self::Mask<S>,
        a: Self::Vector<S>,
        b: Self::Vector<S>,
    ) -> Self::Vector<S>;
    /// Both masks.
    fn and<S: Simd>(simd: S, a: Self::Mask<S>, b: Self::Mask<S>) -> Self::Mask<S>;
    /// Either mask.
    fn or<S: Simd>(simd: S, a: Self::Mask<S>, b: Self::Mask<S>) -> Self::Mask<S>;
    /// Whether the mask holds in every lane.
    fn all<S: Simd>(simd: S, mask: Self::Mask<S>) -> bool;
    /// See [`Arithmetic::split`].
    fn split<S: Simd>(simd: S, a: Self::Vector<S>) -> (Self::Vector<S>, Self::Vector<S>);
    /// See [`Arithmetic::power_of_two`].
    fn power_of_two<S: Simd>(simd: S, a: Self::Vector<S>) -> Self::Vector<S>;
    /// Transposes a square of one 256-bit vector's length between rows `from_ld` and `to_ld` elements apart.
    #[cfg(target_arch = "x86_64")]
    fn transpose_square(simd: pulp::x86::V3, from: &[Self], from_ld: usize, to: &mut [Self], to_ld: usize);
}

macro_rules! simd_element {
    ($type:ident, $vector:ident, $mask:ident, $vectors:ident, $vectors_mut:ident, $splat:ident, $add:ident, $sub:ident,
     $mul:ident, $div:ident, $mul_add:ident, $max:ident, $min:ident, $abs:ident, $sqrt:ident, $greater:ident, $at_most:ident, $equal:ident, $select:ident, $and:ident, $or:ident, $not:ident, $first_true:ident, $lanes:ident, $bits:ident, $words:ident, $transpose:ident, $edge:literal) => {
        impl SimdElement for $type {
            type Vector<S: Simd> = S::$vector;
            type Mask<S: Simd> = S::$mask;
            const GUARD_FLOOR: f64 = $type::MIN_POSITIVE as f64 / $type::EPSILON as f64;

            #[inline(always)]
            fn vectors<S: Simd>(slice: &[Self]) -> (&[S::$vector], &[Self]) {
                S::$vectors(slice)
            }
            #[inline(always)]
            fn vectors_mut<S: Simd>(slice: &mut [Self]) -> (&mut [S::$vector], &mut [Self]) {
                S::$vectors_mut(slice)
            }
            #[inline(always)]
            fn splat<S: Simd>(simd: S, value: Self) -> S::$vector {
                simd.$splat(value)
            }
            #[inline(always)]
            fn add<S: Simd>(simd: S, a: S::$vector, b: S::$vector) -> S::$vector {
                simd.$add(a, b)
            }
            #[inline(always)]
            fn sub<S: Simd>(simd: S, a: S::$vector, b: S::$vector) -> S::$vector {
                simd.$sub(a, b)
            }
            #[inline(always)]
            fn mul<S: Simd>(simd: S, a: S::$vector, b: S::$vector) -> S::$vector {
                simd.$mul(a, b)
            }
            #[inline(always)]
            fn div<S: Simd>(simd: S, a: S::$vector, b: S::$vector) -> S::$vector {
                simd.$div(a, b)
            }
            #[inline(always)]
            fn mul_add<S: Simd>(simd: S, a: S::$vector, b: S::$vector, c: S::$vector) -> S::$vector {
                simd.$mul_add(a, b, c)
            }
            // x86 and plain Rust define it so; 64-bit ARM returns the NaN
            #[inline(always)]
            fn max_or_second<S: Simd>(simd: S, a: S::$vector, b: S::$vector) -> S::$vector {
                if cfg!(target_arch = "aarch64") {
                    simd.$select(simd.$greater(a, b), a, b)
                } else {
                    simd.$max(a, b)
                }
            }
            #[inline(always)]
            fn min_or_second<S: Simd>(simd: S, a: S::$vector, b: S::$vector) -> S::$vector {
                if cfg!(target_arch = "aarch64") {
                    simd.$select(simd.$greater(b, a), a, b)
                } else {
                    simd.$min(a, b)
                }
            }
            #[inline(always)]
            fn abs<S: Simd>(simd: S, a: S::$vector) -> S::$vector {
                simd.$abs(a)
            }
            #[inline(always)]
            fn sqrt<S: Simd>(simd: S, a: S::$vector) -> S::$vector {
                simd.$sqrt(a)
            }
            #[inline(always)]
            fn greater<S: Simd>(simd: S, a: S::$vector, b: S::$vector) -> S::$mask {
                simd.$greater(a, b)
            }
            #[inline(always)]
            fn at_most<S: Simd>(simd: S, a: S::$vector, b: S::$vector) -> S::$mask {
                simd.$at_most(a, b)
            }
            #[inline(always)]
            fn equal<S: Simd>(simd: S, a: S::$vector, b: S::$vector) -> S::$mask {
                simd.$equal(a, b)
            }
            #[inline(always)]
            fn select<S: Simd>(simd: S, mask: S::$mask, a: S::$vector, b: S::$vector) -> S::$vector {
                simd.$select(mask, a, b)
            }
            #[inline(always)]
            fn and<S: Simd>(simd: S, a: S::$mask, b: S::$mask) -> S::$mask {
                simd.$and(a, b)
            }
            #[inline(always)]
            fn or<S: Simd>(simd: S, a: S::$mask, b: S::$mask) -> S::$mask {
                simd.$or(a, b)
            }
            // pulp 0.22 counts lanes of AVX-512 from the other end
            #[inline(always)]
            fn all<S: Simd>(simd: S, mask: S::$mask) -> bool {
                simd.$first_true(simd.$not(mask)) == S::$lanes
            }
            #[inline(always)]
            fn split<S: Simd>(simd: S, a: S::$vector) -> (S::$vector, S::$vector) {
                let ExponentBits { round, one, mask, shift, unit, unit_value, .. } = ExponentBits::$bits;
                let words: S::u32s = pulp::cast(a);
                let rounded = simd.add_u32s(words, $words(simd, round));
                let exponent = simd.wrapping_dyn_shr_u32s(rounded, simd.splat_u32s(shift));
                let exponent = simd.and_u32s(exponent, $words(simd, mask >> shift));
                let exponent = pulp::cast(simd.or_u32s(exponent, $words(simd, unit)));
                let mantissa = simd.sub_u32s(
                    simd.add_u32s(words, $words(simd, one)),
                    simd.and_u32s(rounded, $words(simd, mask)),
                );
                #[allow(clippy::cast_possible_truncation, reason = "both types have it")]
                let unit_value = simd.$splat(unit_value as Self);
                (simd.$sub(exponent, unit_value), pulp::cast(mantissa))
            }
            #[inline(always)]
            fn power_of_two<S: Simd>(simd: S, a: S::$vector) -> S::$vector {
                let ExponentBits { shift, middle, .. } = ExponentBits::$bits;
                #[allow(clippy::cast_possible_truncation, reason = "both types have it")]
                let placed: S::u32s = pulp::cast(simd.$add(a, simd.$splat(middle as Self)));
                pulp::cast(simd.wrapping_dyn_shl_u32s(placed, simd.splat_u32s(shift)))
            }
            #[cfg(target_arch = "x86_64")]
            #[inline(always)]
            fn transpose_square(
                simd: pulp::x86::V3,
                from: &[Self],
                from_ld: usize,
                to: &mut [Self],
                to_ld: usize,
            ) {
                let mut rows = [pulp::cast([Self::default(); $edge]); $edge];
                for (r, row) in rows.iter_mut().enumerate() {
                    let line: &[Self; $edge] = from[r * from_ld..].first_chunk().expect("a whole square");
                    *row = pulp::cast(*line);
                }
                let columns = $transpose(simd, rows);
                for (c, column) in columns.iter().enumerate() {
                    let line: &mut [Self; $edge] = to[c * to_ld..].first_chunk_mut().expect("a whole square");
                    *line = pulp::cast(*column);
                }
            }
        }
    };
}
simd_element!(
    f32,
    f32s,
    m32s,
    as_simd_f32s,
    as_mut_simd_f32s,
    splat_f32s,
    add_f32s,
    sub_f32s,
    mul_f32s,
    div_f32s,
    mul_add_f32s,
    max_f32s,
    min_f32s,
    abs_f32s,
    sqrt_f32s,
    greater_than_f32s,
    less_than_or_equal_f32s,
    equal_f32s,
    select_f32s,
    and_m32s,
    or_m32s,
    not_m32s,
    first_true_m32s,
    F32_LANES,
    F32,
    words_of_f32,
    transpose_8,
    8
);
simd_element!(
    f64,
    f64s,
    m64s,
    as_simd_f64s,
    as_mut_simd_f64s,
    splat_f64s,
    add_f64s,
    sub_f64s,
    mul_f64s,
    div_f64s,
    mul_add_f64s,
    max_f64s,
    min_f64s,
    abs_f64s,
    sqrt_f64s,
    greater_than_f64s,
    less_than_or_equal_f64s,
    equal_f64s,
    select_f64s,
    and_m64s,
    or_m64s,
    not_m64s,
    first_true_m64s,
    F64_LANES,
    F64,
    words_of_f64,
    transpose_4,
    4
);

/// A word for the bits of each f32.
#[inline(always)]
fn words_of_f32<S: Simd>(simd: S, word: u32) -> S::u32s {
    simd.splat_u32s(word)
}

/// A word for the upper half of each f64, and 0 for the lower.
#[inline(always)]
fn words_of_f64<S: Simd>(simd: S, word: u32) -> S::u32s {
    pulp::cast(simd.splat_u64s(u64::from(word) << 32))
}

/// Eight rows of eight as eight columns: pairs of rows, then of pairs, then of halves are interleaved.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn transpose_8(simd: pulp::x86::V3, rows: [pulp::f32x8; 8]) -> [pulp::f32x8; 8] {
    use core::arch::x86_64::{__m256, __m256d};
    let avx = simd.avx;
    let mut pairs: [__m256d; 8] = [pulp::cast(rows[0]); 8];
    for i in 0..4 {
        let (a, b): (__m256, __m256) = (pulp::cast(rows[2 * i]), pulp::cast(rows[2 * i + 1]));
        pairs[2 * i] = pulp::cast(avx._mm256_unpacklo_ps(a, b));
        pairs[2 * i + 1] = pulp::cast(avx._mm256_unpackhi_ps(a, b));
    }
    let mut fours: [__m256; 8] = [pulp::cast(rows[0]); 8];
    for half in 0..2 {
        for i in 0..2 {
            let (a, b) = (pairs[4 * half + i], pairs[4 * half + i + 2]);
            fours[4 * half + 2 * i] = pulp::cast(avx._mm256_unpacklo_pd(a, b));
            fours[4 * half + 2 * i + 1] = pulp::cast(avx._mm256_unpackhi_pd(a, b));
        }
    }
    let mut columns = rows;
    for i in 0..4 {
        columns[i] = pulp::cast(avx._mm256_permute2f128_ps::<0x20>(fours[i], fours[i + 4]));
        columns[i + 4] = pulp::cast(avx._mm256_permute2f128_ps::<0x31>(fours[i], fours[i + 4]));
    }
    columns
}

/// Four rows of four as four columns.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn transpose_4(simd: pulp::x86::V3, rows: [pulp::f64x4; 4]) -> [pulp::f64x4; 4] {
    let avx = simd.avx;
    let [a, b, c, d] = [pulp::cast(rows[0]), pulp::cast(rows[1]), pulp::cast(rows[2]), pulp::cast(rows[3])];
    let (ab_low, ab_high) = (avx._mm256_unpacklo_pd(a, b), avx._mm256_unpackhi_pd(a, b));
    let (cd_low, cd_high) = (avx._mm256_unpacklo_pd(c, d), avx._mm256_unpackhi_pd(c, d));
    [
        pulp::cast(avx._mm256_permute2f128_pd::<0x20>(ab_low, cd_low)),
        pulp::cast(avx._mm256_permute2f128_pd::<0x20>(ab_high, cd_high)),
        pulp::cast(avx._mm256_permute2f128_pd::<0x31>(ab_low, cd_low)),
        pulp::cast(avx._mm256_permute2f128_pd::<0x31>(ab_high, cd_high)),
    ]
}

/// The metrics' arithmetic on vectors of `T` on level `S`. With `FUSED`, differences run as multiply-adds.
#[derive(Clone, Copy)]
pub(super) struct Lanes<S: Simd, T: SimdElement, const FUSED: bool = false> {
    pub(super) simd: S,
    /// 1 in every lane, in a way the compiler cannot see through.
    one: T::Vector<S>,
    /// The one NaN, likewise: to the compiler one NaN is as good as another.
    nan: T::Vector<S>,
}

impl<S: Simd, T: SimdElement> Lanes<S, T> {
    #[inline(always)]
    pub(super) fn new(simd: S) -> Self {
        let [one, nan] = std::hint::black_box([T::from_f64(1.0), T::NAN]);
        Self { simd, one: T::splat(simd, one), nan: T::splat(simd, nan) }
    }

    /// The same arithmetic with differences on the multipliers.
    ///
    /// A sum of absolute differences has two additions a feature, for which Zen cores have two of four
    /// units: every other column's difference on the multipliers gives all units the same work.
    #[inline(always)]
    pub(super) fn fused(self) -> Lanes<S, T, true> {
        Lanes { simd: self.simd, one: self.one, nan: self.nan }
    }
}

impl<S: Simd, T: SimdElement, const FUSED: bool> Arithmetic for Lanes<S, T, FUSED> {
    const DTYPE: Dtype = T::DTYPE;
    type Value = T::Vector<S>;

    #[inline(always)]
    fn difference(self, x: Self::Value, neg_y: Self::Value) -> Self::Value {
        if FUSED { T::mul_add(self.simd, x, self.one, neg_y) } else { T::add(self.simd, x, neg_y) }
    }
    #[inline(always)]
    fn add(self, a: Self::Value, b: Self::Value) -> Self::Value {
        T::add(self.simd, a, b)
    }
    #[inline(always)]
    fn sub(self, a: Self::Value, b: Self::Value) -> Self::Value {
        T::sub(self.simd, a, b)
    }
    #[inline(always)]
    fn mul(self, a: Self::Value, b: Self::Value) -> Self::Value {
        <T as SimdElement>::mul(self.simd, a, b)
    }
    #[inline(always)]
    fn div(self, a: Self::Value, b: Self::Value) -> Self::Value {
        <T as SimdElement>::div(self.simd, a, b)
    }
    #[inline(always)]
    fn mul_add(self, a: Self::Value, b: Self::Value, c: Self::Value) -> Self::Value {
        T::mul_add(self.simd, a, b, c)
    }
    #[inline(always)]
    fn abs(self, a: Self::Value) -> Self::Value {
        T::abs(self.simd, a)
    }
    #[inline(always)]
    fn max(self, a: Self::Value, b: Self::Value) -> Self::Value {
        T::max_or_second(self.simd, b, a)
    }
    #[inline(always)]
    fn where_unequal(self, a: Self::Value, b: Self::Value, value: Self::Value) -> Self::Value {
        T::select(self.simd, T::equal(self.simd, a, b), self.constant(0.0), value)
    }
    #[inline(always)]
    fn where_number(self, a: Self::Value, value: Self::Value, other: Self::Value) -> Self::Value {
        T::select(self.simd, T::equal(self.simd, a, a), value, other)
    }
    #[inline(always)]
    fn constant(self, value: f64) -> Self::Value {
        T::splat(self.simd, T::from_f64(value))
    }
    #[inline(always)]
    fn sqrt(self, a: Self::Value) -> Self::Value {
        T::sqrt(self.simd, a)
    }
    #[inline(always)]
    fn one_nan(self, a: Self::Value) -> Self::Value {
        T::select(self.simd, T::equal(self.simd, a, a), a, self.nan)
    }
    #[inline(always)]
    fn split(self, a: Self::Value) -> (Self::Value, Self::Value) {
        T::split(self.simd, a)
    }
    #[inline(always)]
    fn power_of_two(self, a: Self::Value) -> Self::Value {
        T::power_of_two(self.simd, a)
    }
}

/// A `pulp` level whose presence can be asked for.
pub(super) trait Token: Simd {
    /// The proof that this machine has the level, if it has.
    fn token() -> Option<Self>;
}

#[cfg(target_arch = "x86_64")]
impl Token for pulp::x86::V4 {
    fn token() -> Option<Self> {
        Self::try_new()
    }
}
#[cfg(target_arch = "x86_64")]
impl Token for pulp::x86::V3 {
    fn token() -> Option<Self> {
        Self::try_new()
    }
}
#[cfg(target_arch = "aarch64")]
impl Token for pulp::aarch64::Neon {
    fn token() -> Option<Self> {
        Self::try_new()
    }
}
impl Token for pulp::Scalar128b {
    fn token() -> Option<Self> {
        Some(Self)
    }
}

/// SIMD level the kernels run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// 512-bit vectors (x86-64-v4).
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// 256-bit vectors with fused multiply-add (x86-64-v3).
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// 128-bit vectors of 64-bit ARM.
    #[cfg(target_arch = "aarch64")]
    Neon,
    /// Plain Rust in 128-bit groups, on any machine.
    Portable,
}

impl Level {
    /// All levels of this architecture, best first.
    pub const ALL: &[Self] = &[
        #[cfg(target_arch = "x86_64")]
        Self::Avx512,
        #[cfg(target_arch = "x86_64")]
        Self::Avx2,
        #[cfg(target_arch = "aarch64")]
        Self::Neon,
        Self::Portable,
    ];

    /// Name in reports and in the variable `PAIRDIST_SIMD`.
    pub const fn name(self) -> &'static str {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => "avx512",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => "avx2",
            #[cfg(target_arch = "aarch64")]
            Self::Neon => "neon",
            Self::Portable => "portable",
        }
    }

    /// Bytes of a vector.
    const fn vector_bytes(self) -> usize {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => 64,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => 32,
            #[cfg(target_arch = "aarch64")]
            Self::Neon => 16,
            Self::Portable => 16,
        }
    }

    /// Samples of a column panel, for whatever is computed: columns travel from rank to rank.
    pub(super) const fn columns<T>(self) -> usize {
        NV * self.vector_bytes() / size_of::<T>()
    }

    /// Whether this machine has the level.
    pub fn is_available(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => pulp::x86::V4::token().is_some(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => pulp::x86::V3::token().is_some(),
            #[cfg(target_arch = "aarch64")]
            Self::Neon => pulp::aarch64::Neon::token().is_some(),
            Self::Portable => true,
        }
    }

    /// The best level of this machine, or the one that `PAIRDIST_SIMD` names.
    ///
    /// # Errors
    /// A sentence, if the named level does not exist or the machine lacks it.
    pub fn detect() -> Result<Self, String> {
        static LEVEL: OnceLock<Result<Level, String>> = OnceLock::new();
        LEVEL.get_or_init(|| Self::choose(std::env::var("PAIRDIST_SIMD").ok().as_deref())).clone()
    }

    fn choose(name: Option<&str>) -> Result<Self, String> {
        let available = || Self::ALL.iter().copied().filter(|level| level.is_available());
        match name {
            None | Some("") => Ok(available().next().unwrap_or(Self::Portable)),
            Some(name) => available().find(|level| level.name() == name).ok_or_else(|| {
                let names: Vec<_> = available().map(Self::name).collect();
                format!(
                    "PAIRDIST_SIMD={name} is not a SIMD level of this machine; it has {}",
                    names.join(", ")
                )
            }),
        }
    }
}

/// Runs `work` compiled for the level.
///
/// # Panics
/// If the machine lacks the level.
pub(super) fn vectorize<W: pulp::WithSimd>(level: Level, work: W) -> W::Output {
    fn on<S: Token, W: pulp::WithSimd>(work: W) -> W::Output {
        S::token().expect("the level is available").vectorize(work)
    }
    match level {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => on::<pulp::x86::V4, W>(work),
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => on::<pulp::x86::V3, W>(work),
        #[cfg(target_arch = "aarch64")]
        Level::Neon => on::<pulp::aarch64::Neon, W>(work),
        Level::Portable => on::<pulp::Scalar128b, W>(work),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::{RealExponent, power, power_roundings};

    #[test]
    fn a_level_the_machine_lacks_is_refused_by_name() {
        let message = Level::choose(Some("sse9")).unwrap_err();
        assert!(message.contains("sse9") && message.contains("portable"), "{message}");
    }

    /// Powers of many numbers.
    struct Powers<'a, T> {
        values: &'a [T],
        p: f64,
    }

    impl<T: SimdElement> pulp::WithSimd for Powers<'_, T> {
        type Output = Vec<T>;

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) -> Vec<T> {
            let lanes = Lanes::<S, T>::new(simd);
            let mut powers = self.values.to_vec();
            let (vectors, _) = T::vectors_mut::<S>(&mut powers);
            for vector in vectors {
                *vector = power(lanes, *vector, RealExponent::new(self.p));
            }
            powers
        }
    }

    fn check_powers<T: SimdElement>(values: &[T]) {
        for p in [0.001, 0.3, 1.0 / 3.0, 1.0, 1.1, 2.7, 3.2, 5.0, 7.9] {
            let of_level = |level| vectorize(level, Powers { values, p });
            let powers = of_level(Level::Portable);
            for level in Level::ALL.iter().copied().filter(|level| level.is_available()) {
                let same = powers.iter().zip(of_level(level)).all(|(one, other)| {
                    one.to_f64().to_bits() == other.to_f64().to_bits()
                        || one.to_f64().is_nan() && other.to_f64().is_nan()
                });
                assert!(same, "{level:?} has other bits, p = {p}");
            }
            for (value, power) in values.iter().zip(powers) {
                let (expected, got) = (value.to_f64().powf(p), power.to_f64());
                let nearest = T::from_f64(expected).to_f64();
                let bound =
                    (power_roundings(T::DTYPE) as f64 + 1.0) * T::UNIT_ROUNDOFF * expected + T::SMALLEST;
                let overflows = got.is_infinite() && expected > T::LARGEST / 1.0001;
                assert!(
                    (got - expected).abs() <= bound
                        || got.to_bits() == nearest.to_bits()
                        || got.is_nan() && expected.is_nan()
                        || overflows,
                    "{:e}^{p}: {got:e}, {expected:e}",
                    value.to_f64()
                );
            }
        }
    }

    #[test]
    fn powers_of_all_numbers_are_within_their_bound_and_have_the_same_bits_on_every_level() {
        // every exponent, with and without digits, and what is no number
        let bits = (0..0x7f80_u32).map(|upper| upper << 16 | upper.wrapping_mul(0x9e37) & 0xffff);
        let mut values: Vec<f32> = bits.map(f32::from_bits).collect();
        values.extend([f32::INFINITY, f32::NAN, 0.0, f32::MAX, f32::from_bits(1)]);
        values.resize(values.len().next_multiple_of(64), 1.0);
        check_powers(&values);
        let bits = (0..0x7ff0_u64).map(|upper| upper << 48 | upper.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 16);
        let mut values: Vec<f64> = bits.map(f64::from_bits).collect();
        values.extend([f64::INFINITY, f64::NAN, 0.0, f64::MAX, f64::from_bits(1)]);
        values.resize(values.len().next_multiple_of(64), 1.0);
        check_powers(&values);
    }

    #[test]
    fn the_best_level_is_the_default() {
        let best = Level::ALL.iter().copied().find(|level| level.is_available());
        assert_eq!(Level::choose(None).ok(), best);
        assert_eq!(Level::choose(Some("portable")), Ok(Level::Portable));
    }
}
