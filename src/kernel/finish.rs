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
                    write_roots(group.map(T::to_f64), order, nan, group);
                }
                let mut group = [0.0; GROUP];
                for (wide, value) in group.iter_mut().zip(&*left) {
                    *wide = value.to_f64();
                }
                write_roots(group, order, nan, left);
            }
        },
    );
}

/// Distances in place of values that were folded over the features that two samples share; `shared` has the sums of the weights of these features, and
/// `total` that of all, if folded values are multiplied by the quotient. Returns how many pairs share no feature.
pub(super) fn finish_shared<T: Element>(
    finish: Finish,
    values: &mut [T],
    shared: &[T],
    total: Option<f64>,
) -> u64 {
    // see above
    let nan = std::hint::black_box(T::NAN);
    pulp::Arch::new().dispatch(
        #[inline(always)]
        || {
            match finish {
                Finish::RootOf(order) => {
                    for (values, shared) in values.chunks_mut(GROUP).zip(shared.chunks(GROUP)) {
                        let mut wide = [0.0; GROUP];
                        for ((wide, value), shared) in wide.iter_mut().zip(&*values).zip(shared) {
                            *wide = finish.scaled_to_all(value.to_f64(), shared.to_f64(), total);
                        }
                        write_roots(wide, order, nan, values);
                    }
                }
                _ => {
                    for (value, shared) in values.iter_mut().zip(shared) {
                        let distance = finish.of_shared(value.to_f64(), shared.to_f64(), total);
                        *value = if distance.is_nan() { nan } else { T::from_f64(distance) };
                    }
                }
            }
            let mut without = 0;
            for shared in shared {
                without += u64::from(*shared == T::default());
            }
            without
        },
    )
}

/// Roots that are taken side by side: enough for the divisions of one step to follow each other without a wait.
const GROUP: usize = 32;

/// Writes the roots of the first of these numbers, as many as there are values.
#[inline(always)]
fn write_roots<T: Element>(numbers: [f64; GROUP], order: Exponent, nan: T, values: &mut [T]) {
    let roots = roots(numbers, order);
    for (value, root) in values.iter_mut().zip(roots) {
        let distance = T::from_f64(root);
        *value = if distance.is_nan() { nan } else { distance };
    }
}
