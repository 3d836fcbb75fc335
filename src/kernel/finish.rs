//! What is left to do with a strip of folded values: in f64, and rounded once, where the fold is not the distance or its square root.

use crate::element::Element;
use crate::metric::Finish;

/// Distances in place of folded values; `divisors` has one for each where these differ, else it is empty, and `total` is the divisor of all.
pub(super) fn finish<T: Element>(finish: Finish, values: &mut [T], divisors: &[T], total: f64) {
    // of which NaN an operation gives, processors differ; to the compiler one is as good as another
    let nan = std::hint::black_box(T::NAN);
    pulp::Arch::new().dispatch(
        #[inline(always)]
        || match finish {
            Finish::Plain | Finish::Root => {}
            Finish::Quotient => {
                for (value, divisor) in values.iter_mut().zip(divisors) {
                    let distance = T::from_f64(Finish::Quotient.rest(value.to_f64(), divisor.to_f64()));
                    *value = if distance.is_nan() { nan } else { distance };
                }
            }
            Finish::HalfSquare => each(Finish::HalfSquare, values, total, nan),
            Finish::Share => each(Finish::Share, values, total, nan),
            Finish::RootOf(order) => each(Finish::RootOf(order), values, total, nan),
        },
    );
}

/// The finish is known to the compiler, so that it is chosen once.
#[inline(always)]
fn each<T: Element>(finish: Finish, values: &mut [T], total: f64, nan: T) {
    for value in values {
        let distance = T::from_f64(finish.rest(value.to_f64(), total));
        *value = if distance.is_nan() { nan } else { distance };
    }
}
