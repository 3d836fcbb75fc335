//! Packed panels: samples rearranged so that a micro-kernel streams through memory.
//!
//! A panel holds `width` samples feature by feature: element (l, i) at l·width + i. After the
//! features comes one row with the samples' squared norms, for kernels that use them. The last
//! panel is padded with samples of zeros, whose norm is given as 1 so that padding never fails the guard.

use super::{Level, SimdElement, transpose};
use crate::metric::squared_norm;

/// Shape of the panels of a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PanelShape {
    /// Samples in a panel.
    pub width: usize,
    /// Features of a sample.
    pub features: usize,
    /// Whether the squared norms follow the features.
    pub norms: bool,
    /// The SIMD level that packs them.
    pub level: Level,
}

impl PanelShape {
    /// Elements of one panel.
    pub fn len(&self) -> usize {
        self.width.saturating_mul(self.features.saturating_add(usize::from(self.norms)))
    }

    /// Whether a panel holds nothing; it never does.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Panels that `samples` samples need.
    pub fn count(&self, samples: usize) -> usize {
        samples.div_ceil(self.width)
    }

    /// Packs row-major samples, `features` to a row, into as many panels as they need.
    /// With `negate` the panels hold the negated features (and the same norms).
    ///
    /// # Panics
    /// If `panels` is not [`Self::count`] × [`Self::len`] long.
    pub fn pack<T: SimdElement>(&self, samples: &[T], negate: bool, panels: &mut [T]) {
        let rows = samples.len() / self.features;
        assert_eq!(panels.len(), self.count(rows) * self.len(), "panels have another size");
        let strips = samples.chunks(self.width * self.features);
        for (strip, panel) in strips.zip(panels.chunks_exact_mut(self.len())) {
            self.pack_panel(strip, negate, panel);
        }
    }

    fn pack_panel<T: SimdElement>(&self, strip: &[T], negate: bool, panel: &mut [T]) {
        if strip.len() < self.width * self.features {
            panel.fill(T::default());
        }
        let (values, norms) = panel.split_at_mut(self.width * self.features);
        let rows = strip.len() / self.features;
        transpose(self.level, strip, rows, self.features, values, self.width);
        if negate {
            for value in values {
                *value = -*value;
            }
        }
        if self.norms {
            let given = strip.chunks_exact(self.features).map(|sample| T::from_f64(squared_norm(sample)));
            let padding = std::iter::repeat(T::from_f64(1.0));
            norms.iter_mut().zip(given.chain(padding)).for_each(|(to, norm)| *to = norm);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panels_are_feature_major_and_padded() {
        let shape = PanelShape { width: 2, features: 3, norms: true, level: Level::Portable };
        let samples = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0_f64];
        let mut panels = vec![f64::NAN; shape.count(3) * shape.len()];
        shape.pack(&samples, true, &mut panels);
        assert_eq!(panels[..8], [-1.0, -4.0, -2.0, -5.0, -3.0, -6.0, 14.0, 77.0]);
        assert_eq!(panels[8..], [-7.0, 0.0, -8.0, 0.0, -9.0, 0.0, 194.0, 1.0]);
    }
}
