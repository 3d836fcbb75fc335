//! Bounds on the errors of distances. `docs/ACCURACY.md` has them in words.

use super::fold::{BLOCK_FEATURES, Fold, Reduction, Summation, Visitor, summation};
use super::{Finish, Metric, PowerOfTwo};
use crate::element::Element;

impl Metric {
    /// Bound on |computed − definition|, see [`direct_relative_error`]; `gram_tau` is the guard's
    /// threshold τ if the Gram trick may have given the value, and k = `scaling` the exponent of the factor 2^k that the samples
    /// were scaled by.
    ///
    /// With u and η of the element type and ρ the relative error of the folded value D, an entry
    /// errs by at most ρD + 2dη (each of the d terms may underflow, to within η); a square root maps a
    /// relative error ρ to at most ρ(1 + ρ)/2 and adds one rounding; and the definition, itself
    /// computed in f64, adds its own bound. A definition that is not finite allows no error.
    ///
    /// All that holds for scaled samples. Scaled down (k < 0), a feature may underflow, to within η/2, and a difference to within η:
    /// that moves D′ = 2^k D by √d η at most, and D′² by 2√d ηD′ + dη² ≤ uD′² + dη²(1 + 1/u), of which the last part stays below dη.
    /// The factor 2^-k is exact, but where the result is subnormal: η for the distance and its definition.
    pub fn tolerance<T: Element>(self, d: usize, gram_tau: Option<f64>, scaling: i32, reference: f64) -> f64 {
        if !reference.is_finite() {
            return 0.0;
        }
        let mut relative = self.folded_error::<T>(d, gram_tau);
        let mut underflow = 2.0 * d as f64 * T::SMALLEST;
        if scaling < 0 {
            relative += 2.0 * T::UNIT_ROUNDOFF;
            underflow *= 2.0;
        }
        let undo = -self.degree() * scaling;
        let scaled = PowerOfTwo::<f64>::new(-undo).times(reference);
        let error = if self.finish() == Finish::Root {
            // |√a − √b| ≤ √|a − b|, and ≤ |a − b| / √b
            scaled * (relative * (1.0 + relative) / 2.0 + 2.0 * T::UNIT_ROUNDOFF)
                + underflow.sqrt().min(underflow / scaled)
        } else {
            scaled * relative + underflow
        };
        PowerOfTwo::<f64>::new(undo).times(error) + if scaling == 0 { 0.0 } else { T::SMALLEST }
    }

    /// |computed − definition|; 0 where they are the same to the element type, as it has one value only for all
    /// that is too large, and for NaN. Where a distance is too large for the type within its error, it may be infinite.
    pub fn error<T: Element>(self, d: usize, gram_tau: Option<f64>, computed: T, definition: f64) -> f64 {
        let (got, nearest) = (computed.to_f64(), T::from_f64(definition).to_f64());
        let relative = self.folded_error::<T>(d, gram_tau);
        let overflows = got == f64::INFINITY && definition * (1.0 + relative) > T::LARGEST;
        let same = got.to_bits() == nearest.to_bits() || (got.is_nan() && definition.is_nan());
        if same || overflows { 0.0 } else { (got - definition).abs() }
    }

    /// Relative error of the folded value and of its definition together.
    fn folded_error<T: Element>(self, d: usize, gram_tau: Option<f64>) -> f64 {
        struct Folded<T>(usize, Option<f64>, std::marker::PhantomData<T>);
        impl<T: Element> Visitor for Folded<T> {
            type Output = f64;
            fn visit<F: Fold>(self) -> f64 {
                let Self(d, gram_tau, _) = self;
                let direct = direct_relative_error::<F, T>(d);
                let computed = match gram_tau {
                    Some(tau) if F::GRAM => direct.max(gram_relative_error::<F, T>(d, tau)),
                    _ => direct,
                };
                computed + direct_relative_error::<F, f64>(d)
            }
        }
        self.visit(Folded::<T>(d, gram_tau, std::marker::PhantomData))
    }
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
pub fn direct_relative_error<F: Fold, T: Element>(d: usize) -> f64 {
    let roundings = if F::REDUCTION == Reduction::Max { 1 } else { 2 };
    summation_error::<F, T>(d, roundings)
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
        for error in [direct_relative_error::<Squares, f32>(d), direct_relative_error::<Magnitudes, f32>(d)] {
            assert!(
                (error - 2.4e-4 - gamma(BLOCK_FEATURES + 3, f32::UNIT_ROUNDOFF)).abs() < 0.05e-4,
                "{error:e}"
            );
        }
        assert!(gram_relative_error::<Squares, f32>(d, 0.0625) > 32.0 * 2.4e-4);
        assert!(direct_relative_error::<Squares, f64>(d) < gamma(BLOCK_FEATURES + 4, f64::UNIT_ROUNDOFF));
        assert!(direct_relative_error::<Squares, f32>((1 << 32) + 1).is_infinite());
    }

    #[test]
    fn up_to_a_block_and_in_order_a_sum_errs_by_one_rounding_a_term() {
        for d in [1, 255, 256] {
            let u = f32::UNIT_ROUNDOFF;
            assert_eq!(direct_relative_error::<Squares, f32>(d).to_bits(), gamma(d + 2, u).to_bits());
        }
        let in_order = direct_relative_error::<Magnitudes, f64>(5000);
        assert_eq!(in_order.to_bits(), gamma(5002, f64::UNIT_ROUNDOFF).to_bits());
    }
}
