//! What is left to do with a strip of folded values: in f64, and rounded once, where the fold is not the distance or its square root.

use crate::element::Element;
use crate::metric::{Exponent, Finish, roots};

/// Distances in place of folded values; `divisors` has one for each where these differ, else it is empty, and `total` is the divisor of all.
pub(super) fn finish<T: Element>(finish: Finish, values: &mut [T], divisors: &[T], total: f64) {
    // of which NaN an operation gives, processors differ; to the compiler one is as good as another
    let nan = std::hint::black_box(T::NAN);
    pulp::Arch::new().dispatch(
        #[inline(always)]
        || match finish {
            Finish::Plain | Finish::Root | Finish::HalfSquare => {}
            Finish::Quotient => {
                for (value, divisor) in values.iter_mut().zip(divisors) {
                    let distance = T::from_f64(Finish::Quotient.rest(value.to_f64(), divisor.to_f64()));
                    *value = if distance.is_nan() { nan } else { distance };
                }
            }
            Finish::Share => {
                for value in values {
                    let distance = T::from_f64(Finish::Share.rest(value.to_f64(), total));
                    *value = if distance.is_nan() { nan } else { distance };
                }
            }
            Finish::RootOf(order) => {
                let (groups, left) = values.as_chunks_mut::<GROUP>();
                for group in groups {
                    take_roots(group, order, nan);
                }
                let mut group = [T::default(); GROUP];
                let last = &mut group[..left.len()];
                last.copy_from_slice(left);
                take_roots(&mut group, order, nan);
                left.copy_from_slice(&group[..left.len()]);
            }
        },
    );
}

/// Roots that are taken side by side: enough for the divisions of one step to follow each other without a wait.
const GROUP: usize = 32;

#[inline(always)]
fn take_roots<T: Element>(values: &mut [T; GROUP], order: Exponent, nan: T) {
    let roots = roots(values.map(T::to_f64), order);
    for (value, root) in values.iter_mut().zip(roots) {
        let distance = T::from_f64(root);
        *value = if distance.is_nan() { nan } else { distance };
    }
}
