//! Tiles computed by the kernels alone, without files and ranks.

use ndarray::Array2;
use pairdist::element::Content;
use pairdist::kernel::{Kernel, Level, Method, PanelShape, Scratch};
use pairdist::metric::{Measure, PowerOfTwo};
use pairdist::number::Number;

use super::samples::Given;

/// A metric, and how it is computed.
pub(crate) type Way = (Given, Method);

/// The ways in which it is computed of samples with this content.
pub(crate) fn ways_of(given: Given, content: Content) -> impl Iterator<Item = Way> {
    let measure = given.measure(1);
    let gram = measure.has_gram().then_some(Method::Gemm);
    let whole = Some(Method::fastest(&measure, 1, content)).filter(|method| method.is_whole());
    [Some(Method::Direct), gram, whole].into_iter().flatten().map(move |method| (given, method))
}

pub(crate) fn ways() -> impl Iterator<Item = Way> {
    Given::some().into_iter().flat_map(|given| ways_of(given, Content::Any))
}

pub(crate) fn levels() -> impl Iterator<Item = Level> {
    Level::ALL.iter().copied().filter(|level| level.is_available())
}

/// Every way on every level of this machine.
pub(crate) fn kernels() -> impl Iterator<Item = (Way, Level)> {
    ways().flat_map(move |way| levels().map(move |level| (way, level)))
}

/// Packed samples, scaled as a run scales them: in their panels.
fn packed<T: Number>(
    samples: &Array2<T>,
    shape: PanelShape,
    exponent: i32,
    measure: &Measure,
    pack: impl Fn(&[T], &mut [u64]),
) -> Vec<u64> {
    let mut panels = vec![0; shape.count(samples.nrows()) * shape.len()];
    let mut values = samples.as_slice().expect("samples are row-major").to_vec();
    values.chunks_exact_mut(samples.ncols()).for_each(|sample| measure.prepare(sample));
    pack(&values, &mut panels);
    if exponent != 0 {
        for (number, panel) in panels.chunks_exact_mut(shape.len()).enumerate() {
            let rows = shape.width.min(samples.nrows() - number * shape.width);
            shape.scale(panel, rows, PowerOfTwo::<T>::new(exponent));
        }
    }
    panels
}

/// The tile of all rows of `x` and `y`, scaled as a run of them would be and in panels as a run has them, and the number of its
/// entries that failed the Gram guard.
pub(crate) fn tile_with<T: Number>(
    scratch: &mut Scratch<T>,
    ((given, method), level): (Way, Level),
    x: &Array2<T>,
    y: &Array2<T>,
) -> (Array2<T>, u64) {
    let measure = given.measure(x.ncols());
    let kernel = Kernel::<T>::new(measure, method, x.ncols(), level).for_tiles(x.nrows(), y.nrows());
    tile_of(scratch, kernel, x, y)
}

/// The same by a kernel, in the panels that it has.
pub(crate) fn tile_of<T: Number>(
    scratch: &mut Scratch<T>,
    kernel: Kernel<T>,
    x: &Array2<T>,
    y: &Array2<T>,
) -> (Array2<T>, u64) {
    let values = x.iter().chain(y).filter(|value| value.is_finite());
    let largest = values.fold(0.0, |largest: f64, value| largest.max(value.to_f64().abs()));
    let exponent = kernel.measure().scaling_exponent::<T>(x.ncols(), largest);
    tile_scaled(scratch, kernel, exponent, x, y)
}

/// The same of samples that are scaled by 2^`exponent`.
pub(crate) fn tile_scaled<T: Number>(
    scratch: &mut Scratch<T>,
    kernel: Kernel<T>,
    exponent: i32,
    x: &Array2<T>,
    y: &Array2<T>,
) -> (Array2<T>, u64) {
    let kernel = kernel.of_scaled(exponent);
    let rows = packed(x, kernel.row_panels(), exponent, kernel.measure(), |samples, panels| {
        kernel.pack_rows(samples, panels);
    });
    let cols = packed(y, kernel.col_panels(), exponent, kernel.measure(), |samples, panels| {
        kernel.pack_cols(samples, panels);
    });
    let mut tile = Array2::from_elem((x.nrows(), y.nrows()), T::NAN);
    let out = tile.as_slice_mut().expect("a tile is row-major");
    let recomputed = kernel.compute(&rows, x.nrows(), &cols, y.nrows(), out, scratch);
    (tile, recomputed)
}
