//! Tiles computed by the kernels alone, without files and ranks.

use ndarray::Array2;
use pairdist::kernel::{Kernel, Level, Method, PanelShape, Scratch};
use pairdist::metric::{Metric, PowerOfTwo};
use pairdist::number::Number;

use super::samples::scaling;

/// A metric, and how it is computed.
pub(crate) type Way = (Metric, Method);

pub(crate) fn ways() -> impl Iterator<Item = Way> {
    let methods = [Method::Direct, Method::Gemm];
    let ways = Metric::ALL.iter().flat_map(move |&metric| methods.map(|method| (metric, method)));
    ways.filter(|&(metric, method)| method == Method::Direct || metric.has_gram())
}

/// Every way on every level of this machine.
pub(crate) fn kernels() -> impl Iterator<Item = (Way, Level)> {
    let levels = || Level::ALL.iter().copied().filter(|level| level.is_available());
    ways().flat_map(move |way| levels().map(move |level| (way, level)))
}

/// Packed samples, scaled as a run scales them: in their panels.
fn packed<T: Number>(
    samples: &Array2<T>,
    shape: PanelShape,
    exponent: i32,
    pack: impl Fn(&[T], &mut [T]),
) -> Vec<T> {
    let mut panels = vec![T::default(); shape.count(samples.nrows()) * shape.len()];
    pack(samples.as_slice().expect("samples are row-major"), &mut panels);
    if exponent != 0 {
        for (number, panel) in panels.chunks_exact_mut(shape.len()).enumerate() {
            let rows = shape.width.min(samples.nrows() - number * shape.width);
            shape.scale(panel, rows, PowerOfTwo::new(exponent));
        }
    }
    panels
}

/// The tile of all rows of `x` and `y`, scaled as a run of them would be and in panels as a run has them, and the number of its
/// entries that failed the Gram guard.
pub(crate) fn tile_with<T: Number>(
    scratch: &mut Scratch<T>,
    ((metric, method), level): (Way, Level),
    x: &Array2<T>,
    y: &Array2<T>,
) -> (Array2<T>, u64) {
    let kernel = Kernel::<T>::new(metric, method, x.ncols(), level).for_tiles(x.nrows(), y.nrows());
    tile_of(scratch, kernel, x, y)
}

/// The same by a kernel, in the panels that it has.
pub(crate) fn tile_of<T: Number>(
    scratch: &mut Scratch<T>,
    kernel: Kernel<T>,
    x: &Array2<T>,
    y: &Array2<T>,
) -> (Array2<T>, u64) {
    let exponent = scaling(kernel.metric(), x, y);
    let kernel = kernel.of_scaled(exponent);
    let rows = packed(x, kernel.row_panels(), exponent, |samples, panels| kernel.pack_rows(samples, panels));
    let cols = packed(y, kernel.col_panels(), exponent, |samples, panels| kernel.pack_cols(samples, panels));
    let mut tile = Array2::from_elem((x.nrows(), y.nrows()), T::NAN);
    let out = tile.as_slice_mut().expect("a tile is row-major");
    let recomputed = kernel.compute(&rows, x.nrows(), &cols, y.nrows(), out, scratch);
    (tile, recomputed)
}
