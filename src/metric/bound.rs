//! Bounds on the errors of distances. `docs/ACCURACY.md` has them in words.

use super::fold::{BLOCK_FEATURES, Fold, Reduction, Summation, Visitor, summation};
use super::root::root_roundings;
use super::{Finish, Measure, PowerOfTwo, Preparation, Reference, Terms};
use crate::element::{Dtype, Element};

impl Measure {
    /// Bound on |computed − definition|, see [`direct_relative_error`]; `gram_tau` is the guard's
    /// threshold τ if the Gram trick may have given the value, and k = `scaling` the exponent of the factor 2^k that the samples
    /// were scaled by.
    ///
    /// With u and η of the element type and ρ the relative error of the folded value D, an entry
    /// errs by at most ρD + 2dη (each of the d terms may underflow, to within η; of weighted terms d + Σ wₗ stands for d); a p-th root maps a
    /// relative error ρ to (1 + ρ)^(1/p) − 1 and adds its own; and the definition, itself
    /// computed in f64, adds its own bound. A definition that is not finite allows no error.
    ///
    /// All that holds for scaled samples. Scaled down (k < 0), a feature may underflow, to within η/2, and a difference to within η:
    /// that moves D′ = 2^k D by √d η at most, and D′² by 2√d ηD′ + dη² ≤ uD′² + dη²(1 + 1/u), of which the last part stays below dη.
    /// The factor 2^-k is exact, but where the result is subnormal: η for the distance and its definition.
    ///
    /// A quotient N/S has an N within ρN + a and an S within σS + a, where σ is the relative error of sums of totals and a what products with
    /// weights lose as they underflow; with λ = a/S it errs by ((ρ + σ + λ)·N/S + λ) / (1 − σ − λ), and by its rounding. Where
    /// σ + λ is 1 or more, S has no digit, and nothing bounds the error.
    ///
    /// Numerator and denominator of a distance of truth values are sums of one or two factors, none negative, each within ρ.
    ///
    /// Where missing values are skipped, d is still the number of all features, and what a term may lose counts as often as the sum is multiplied by:
    /// of n shared features with the weights w, 2(n + w)η·W/w, which is 2(W + n·W/w)η, where W is the sum of all weights.
    ///
    /// Half of the squared distance δ of samples of length 1, whose features were rounded to within κ and which have lengths within 1 ± ν,
    /// errs by 2√2 κ√δ + 2κ² + 6ν² beside (ρ + 2ν)δ: see `prepared_error`.
    pub fn tolerance<T: Element>(
        &self,
        d: usize,
        gram_tau: Option<f64>,
        scaling: i32,
        reference: Reference,
    ) -> f64 {
        let Reference { distance: reference, divisor, exponent } = reference;
        if !reference.is_finite() {
            return 0.0;
        }
        let u = T::UNIT_ROUNDOFF;
        let mut relative = self.folded_error::<T>(d, gram_tau);
        // a product with a weight may underflow, however small that is
        let products = if self.has_weighted_terms() { d as f64 } else { 0.0 };
        let products = products * self.scaled_to_all(d).map_or(1.0, |total| total / divisor);
        let mut underflow = 2.0 * (self.total(d) + products) * T::SMALLEST;
        if scaling < 0 {
            relative += 2.0 * u;
            underflow *= 2.0;
        }
        let undo = self.undo_exponent(scaling);
        let scaled = PowerOfTwo::<f64>::new(-undo).times(reference);
        let error = match self.form().finish {
            Finish::Plain => scaled * relative + underflow,
            // |√a − √b| ≤ √|a − b|, and ≤ |a − b| / √b
            Finish::Root => {
                let prepared = match self.form().preparation {
                    Preparation::Distribution => distribution_error::<T>(d),
                    _ => 0.0,
                };
                (scaled + prepared) * (relative * (1.0 + relative) / 2.0 + 2.0 * u)
                    + underflow.sqrt().min(underflow / scaled)
                    + prepared
            }
            Finish::RootOf(order) => {
                let p = order.get();
                let of_root = (1.0 + relative).powf(1.0 / p) - (1.0 - relative).max(0.0).powf(1.0 / p);
                let rounding = 2.0 * u + 2.0 * root_roundings(order) as f64 * f64::UNIT_ROUNDOFF;
                // a ↦ a^(1/p) errs by at most the root of the error where p ≥ 1, and by its slope times the error
                let (at, power) = (scaled.powf(p) + underflow, 1.0 / p - 1.0);
                // in an order in which no part is rounded to 0
                let slope =
                    2.0 / p * if p < 1.0 { at.powf(power) } else { scaled.powf(p * power) } * underflow;
                // a root of such an order may be subnormal, and is rounded as that
                let of_underflow =
                    if p < 1.0 { slope + T::SMALLEST } else { underflow.powf(1.0 / p).min(slope) };
                scaled * (of_root + rounding) + of_underflow
            }
            Finish::Share => scaled * (relative + 2.0 * u) + 2.0 * T::SMALLEST,
            Finish::Quotient => {
                let of_divisor = self.visit_others(|| Direct::<T>(d, std::marker::PhantomData))[0];
                let lost = if self.has_weighted_terms() || scaling < 0 {
                    // of the definition too, which is of the pair at another scale
                    let of_definition = underflow * (f64::SMALLEST / T::SMALLEST) / divisor;
                    underflow / PowerOfTwo::<f64>::new(scaling + exponent).times(divisor) + of_definition
                } else {
                    0.0
                };
                let left = 1.0 - of_divisor - lost;
                if left <= 0.0 {
                    return f64::INFINITY;
                }
                ((relative + of_divisor + lost) * scaled + lost) / left + 2.0 * u * scaled + 2.0 * T::SMALLEST
            }
            Finish::Truth(truth) => {
                let parts = truth.degree();
                let of_quotient = (1.0 + relative).powi(parts) / (1.0 - relative).max(0.0).powi(parts) - 1.0;
                scaled * (of_quotient + 2.0 * u + gamma(TRUTH_ROUNDINGS, f64::UNIT_ROUNDOFF))
                    + 2.0 * T::SMALLEST
            }
            Finish::HalfSquare => prepared_error::<T>(d, relative, reference),
        };
        PowerOfTwo::<f64>::new(undo).times(error) + if undo == 0 { 0.0 } else { T::SMALLEST }
    }

    /// Bound on |computed − definition| where distances are computed in whole numbers, rounded once as their definition in f64 is: u of it, and
    /// none where `computed` is given and is not the definition, rounded to the type, or a neighbour of it that two roundings hide.
    pub fn whole_tolerance<T: Element>(&self, d: usize, reference: Reference, computed: Option<T>) -> f64 {
        let definition = reference.distance;
        let is_rounded = |computed: T| match T::DTYPE {
            Dtype::F32 => [definition.next_down(), definition, definition.next_up()]
                .into_iter()
                .any(|near| T::from_f64(near) == computed),
            Dtype::F64 => T::from_f64(definition) == computed,
        };
        // products of counts that f64 does not hold
        let is_inexact = match self.form().finish {
            Finish::Truth(truth) => truth.largest(d as u64) > f64::WHOLE.unsigned_abs(),
            _ => false,
        };
        if is_inexact || computed.is_none_or(is_rounded) {
            (T::UNIT_ROUNDOFF + gamma(TRUTH_ROUNDINGS, f64::UNIT_ROUNDOFF)) * definition
        } else {
            0.0
        }
    }

    /// |computed − definition|; 0 where they are the same to the element type, as it has one value only for all
    /// that is too large, and for NaN. Where a distance is too large for the type within its error, it may be infinite.
    pub fn error<T: Element>(&self, d: usize, gram_tau: Option<f64>, computed: T, definition: f64) -> f64 {
        let (got, nearest) = (computed.to_f64(), T::from_f64(definition).to_f64());
        let relative = self.folded_error::<T>(d, gram_tau);
        let overflows = got == f64::INFINITY && definition * (1.0 + relative) > T::LARGEST;
        let same = got.to_bits() == nearest.to_bits() || (got.is_nan() && definition.is_nan());
        match (got - definition).abs() {
            _ if same || overflows => 0.0,
            // nothing but a bound without an end allows it
            error if error.is_nan() => f64::INFINITY,
            error => error,
        }
    }

    /// Relative error of the folded value and of its definition together; where missing values are skipped, of what it is multiplied or divided by too.
    fn folded_error<T: Element>(&self, d: usize, gram_tau: Option<f64>) -> f64 {
        struct Folded<T>(usize, Option<f64>, std::marker::PhantomData<T>);
        impl<T: Element> Visitor for Folded<T> {
            type Output = f64;
            fn visit<F: Fold>(self, fold: F) -> f64 {
                let Self(d, gram_tau, _) = self;
                let direct = direct_relative_error::<F, T>(fold, d);
                let computed = match gram_tau {
                    Some(tau) if F::GRAM => direct.max(gram_relative_error::<F, T>(d, tau)),
                    _ => direct,
                };
                computed + direct_relative_error::<F, f64>(fold, d)
            }
        }
        let folded = self.visit(Folded::<T>(d, gram_tau, std::marker::PhantomData));
        if !self.skips_missing() || self.form().terms == Terms::Largest {
            return folded;
        }
        let is_exact = self.weights().is_empty() && d as u128 <= T::WHOLE.unsigned_abs();
        let of_shared =
            if is_exact { 0.0 } else { self.visit_others(|| Direct::<T>(d, std::marker::PhantomData))[0] };
        if of_shared >= 1.0 {
            return f64::INFINITY;
        }
        let rounding = T::UNIT_ROUNDOFF + gamma(SHARED_ROUNDINGS, f64::UNIT_ROUNDOFF);
        (folded + of_shared) / (1.0 - of_shared) + rounding
    }
}

/// Roundings in f64 of the quotient of weights and the product with it, of a distance over shared features and of its definition.
const SHARED_ROUNDINGS: usize = 4;

/// Relative error of a fold and its definition together.
struct Direct<T>(usize, std::marker::PhantomData<T>);

impl<T: Element> Visitor for Direct<T> {
    type Output = f64;
    fn visit<F: Fold>(self, fold: F) -> f64 {
        direct_relative_error::<F, T>(fold, self.0) + direct_relative_error::<F, f64>(fold, self.0)
    }
}

/// Roundings in f64 of the quotient of sums of products that make a distance of truth values, and its definition's.
const TRUTH_ROUNDINGS: usize = 16;

/// Roundings in f64 of a feature of a prepared sample: two of its deviation from the mean, its scaling by the weight and the root of that,
/// and the quotient. One more rounds it to the type.
const PREPARED_ROUNDINGS: usize = 5;

/// Bound on the error of half of the squared distance δ of two samples that were divided by their lengths, whose folded value errs by `relative`.
///
/// x̂ is x′ of length 1, times a factor within 1 ± ν, where each feature errs by κ at most, relatively: so |x̂ − x′| ≤ κ beside the factor.
/// D̂ = |x̂ − ŷ| is within 2κ of D = √(2δ) beside the factors, so D̂²/2 within 2κD + 2κ². Factors a and b change D² to
/// ab·D² + (a − b)², which is within 2νD² + 4ν². A length is the root of a sum, and so errs by half of what the sum does, and a rounding.
///
/// A mean errs by less than ν times the length over √Σw, which moves all deviations alike. Such a shift is orthogonal to them: it makes
/// a length larger by ν² at most, which ν has room for, and differs by 2ν at most between x̂ and ŷ. Its square, halved, is 2ν².
fn prepared_error<T: Element>(d: usize, relative: f64, reference: f64) -> f64 {
    let part = |u: f64| {
        let kappa = gamma(PREPARED_ROUNDINGS, f64::UNIT_ROUNDOFF) + u;
        let blocked = gamma(BLOCK_FEATURES + PREPARED_ROUNDINGS, f64::UNIT_ROUNDOFF);
        let nu = blocked + 2.0 * f64::UNIT_ROUNDOFF + second_order_error::<f64>(d);
        (2.0 * nu * reference + 6.0 * nu * nu) + 2.0 * kappa * ((2.0 * reference).sqrt() + kappa)
    };
    relative * reference * (1.0 + relative) + part(T::UNIT_ROUNDOFF) + part(f64::UNIT_ROUNDOFF) + T::SMALLEST
}

/// Roundings in f64 of a share: of the sum and of the quotient. One more rounds it to the type.
const SHARE_ROUNDINGS: usize = 3;

/// Bound on the error of a Jensen-Shannon distance from the rounding of shares.
///
/// The distance is a metric of features each, for numbers that are not negative, and so of all together (D. M. Endres, J. E. Schindelin, "A new metric for
/// probability distributions", IEEE Transactions on Information Theory 49, 2003): what p̂ and q̂ move it by is no more than their distances from p and q. Of
/// p̂ within p(1 ± κ), s h(t) / 4 ≤ s t² (1 + t²) / 4 with t ≤ κ/2 · (1 + κ), and the shares have a sum of 1 within κ: that is κ/√8 (1 + κ)². A share that
/// underflows is within η, and moves the square of the distance by η at most. Sums of two shares below the smallest normal number count as that.
fn distribution_error<T: Element>(d: usize) -> f64 {
    let part = |u: f64, smallest: f64| {
        let kappa =
            gamma(BLOCK_FEATURES + SHARE_ROUNDINGS, f64::UNIT_ROUNDOFF) + second_order_error::<f64>(d) + u;
        2.0 * kappa / 8.0_f64.sqrt() * (1.0 + kappa).powi(2) + 2.0 * (d as f64 * smallest).sqrt()
    };
    part(T::UNIT_ROUNDOFF, T::SMALLEST_NORMAL) + part(f64::UNIT_ROUNDOFF, f64::SMALLEST_NORMAL)
}

/// γ(k) = ku / (1 − ku): k successive roundings err by at most this, relatively.
/// (Higham, *Accuracy and Stability of Numerical Algorithms*, 2nd ed., lemma 3.1.)
pub fn gamma(k: usize, unit_roundoff: f64) -> f64 {
    let ku = k as f64 * unit_roundoff;
    if ku < 1.0 { ku / (1.0 - ku) } else { f64::INFINITY }
}

/// Largest error of a sum over d terms, relative to the sum of their magnitudes, where each term brings `roundings` of
/// its own: γ(d + roundings) in order.
///
/// In B = ⌈d/256⌉ blocks, block sums err by γ(256 + roundings), and their compensated sum by u + γ(B − 1)² of them (T. Ogita,
/// S. M. Rump, S. Oishi, "Accurate sum and dot product", SIAM J. Sci. Comput. 26, 2005, proposition 4.5: the errors of
/// the additions, each at most u of the sum, are themselves added with rounding). A maximum does not round.
pub fn summation_error<F: Fold, T: Element>(d: usize, roundings: usize) -> f64 {
    let u = T::UNIT_ROUNDOFF;
    match (F::REDUCTION, summation::<F, T>()) {
        (Reduction::Max, _) => gamma(roundings, u),
        (Reduction::Sum, Summation::Blocked) if d > BLOCK_FEATURES => {
            let (of_block, of_blocks) =
                (gamma(BLOCK_FEATURES + roundings, u), u + second_order_error::<T>(d));
            of_block + of_blocks + of_block * of_blocks
        }
        (Reduction::Sum, _) => gamma(d + roundings, u),
    }
}

/// γ(B − 1)² of B = ⌈d/256⌉ blocks: what the compensated sum of so many may err by beside its final rounding.
pub fn second_order_error<T: Element>(d: usize) -> f64 {
    gamma(d.div_ceil(BLOCK_FEATURES) - 1, T::UNIT_ROUNDOFF).powi(2)
}

/// Relative error of the folded value of direct differences, see [`summation_error`]; a term (x − y)² counts the
/// rounding of its difference twice. For a maximum: u.
pub fn direct_relative_error<F: Fold, T: Element>(fold: F, d: usize) -> f64 {
    summation_error::<F, T>(d, fold.roundings(T::DTYPE))
}

/// Relative error of D² = |x|² + |y|² − 2x·y where D² > τ(|x|² + |y|²): 2σ(3)/τ, with σ the [`summation_error`].
///
/// Norms and product err by at most σ(1)|x|², σ(1)|y|² and σ(1) Σ|xₗyₗ|; with 2 Σ|xₗyₗ| ≤ |x|² + |y|² and
/// the two last additions the sum errs by at most 2σ(3)(|x|² + |y|²) < 2σ(3)D²/τ.
pub fn gram_relative_error<F: Fold, T: Element>(d: usize, tau: f64) -> f64 {
    2.0 * summation_error::<F, T>(d, 3) / tau
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::fold::{Magnitudes, Squares};

    #[test]
    fn the_second_order_term_of_66_million_features_in_f32_is_2_4e_4() {
        let d = 66_000_000;
        assert!((second_order_error::<f32>(d) - 2.4e-4).abs() < 0.05e-4);
        for error in [
            direct_relative_error::<Squares, f32>(Squares, d),
            direct_relative_error::<Magnitudes, f32>(Magnitudes, d),
        ] {
            assert!(
                (error - 2.4e-4 - gamma(BLOCK_FEATURES + 3, f32::UNIT_ROUNDOFF)).abs() < 0.05e-4,
                "{error:e}"
            );
        }
        assert!(gram_relative_error::<Squares, f32>(d, 0.0625) > 32.0 * 2.4e-4);
        assert!(
            direct_relative_error::<Squares, f64>(Squares, d) < gamma(BLOCK_FEATURES + 4, f64::UNIT_ROUNDOFF)
        );
        assert!(direct_relative_error::<Squares, f32>(Squares, (1 << 32) + 1).is_infinite());
    }

    #[test]
    fn up_to_a_block_and_in_order_a_sum_errs_by_one_rounding_a_term() {
        for d in [1, 255, 256] {
            let u = f32::UNIT_ROUNDOFF;
            assert_eq!(
                direct_relative_error::<Squares, f32>(Squares, d).to_bits(),
                gamma(d + 2, u).to_bits()
            );
        }
        let in_order = direct_relative_error::<Magnitudes, f64>(Magnitudes, 5000);
        assert_eq!(in_order.to_bits(), gamma(5002, f64::UNIT_ROUNDOFF).to_bits());
    }
}
