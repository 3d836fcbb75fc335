//! The smallest and the largest of samples, and whether all are finite, in one pass.

use crate::element::Element;

/// [`Element::extremes`], by the widest vectors that there are: all of them find the same.
pub fn extremes<T: Element>(values: &[T]) -> (T, T, bool) {
    pulp::Arch::new().dispatch(
        #[inline(always)]
        || T::extremes(values),
    )
}
