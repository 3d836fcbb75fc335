//! What is left to do with a strip of folded values: in f64, and rounded once, where the fold is not the distance or its square root.

use crate::element::Element;
use crate::metric::{Exponent, Finish, roots};

/// Distances in place of folded values; `others` are what else was folded, and empty where nothing was, and `total` is the sum of all weights.
pub(super) fn finish<T: Element>(finish: Finish, values: &mut [T], others: [&[T]; 3], total: f64) {
    // of which NaN an operation gives, processors differ; to the compiler one is as good as another
    let nan = std::hint::black_box(T::NAN);
    pulp::Arch::new().dispatch(
        #[inline(always)]
        || match finish {
            Finish::Plain | Finish::Root | Finish::HalfSquare => {}
            Finish::Quotient => {
                for (value, divisor) in values.iter_mut().zip(others[0]) {
                    let others = [divisor.to_f64(), 0.0, 0.0];
                    let distance = T::from_f64(Finish::Quotient.rest(value.to_f64(), others));
                    *value = if distance.is_nan() { nan } else { distance };
                }
            }
            Finish::Truth(_) => {
                let [of_x, of_y, neither] = others;
                for (at, value) in values.iter_mut().enumerate() {
                    let others = [of_x[at], of_y[at], neither[at]].map(T::to_f64);
                    let distance = T::from_f64(finish.rest(value.to_f64(), others));
                    *value = if distance.is_nan() { nan } else { distance };
                }
            }
            Finish::Share => {
                for value in values {
                    let distance = T::from_f64(Finish::Share.rest(value.to_f64(), [total, 0.0, 0.0]));
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
