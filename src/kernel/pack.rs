//! Packed panels: samples rearranged so that a micro-kernel streams through memory.
//!
//! A panel is an array of 64-bit words, whatever it holds. Of values it holds `width` samples feature by feature: element (l, i)
//! at l·width + i. After the features come the samples' extras, one row of squared norms, for kernels that use them. The last
//! panel is padded with samples of zeros, whose norm is given as 1 so that padding never fails the guard.

use std::ops::Range;

use super::extras::whole_squared_norm;
use super::{Level, SimdElement, transpose};
use crate::element::Dtype;
use crate::metric::{
    BLOCK_FEATURES, CompensatedSum, Extras, PowerOfTwo, squared_norm, squared_norm_of_block,
};

/// Bytes of a word of a panel.
pub(crate) const WORD_BYTES: usize = size_of::<u64>();

/// Words of 64 whole numbers of 8 bits that are packed in planes of bits.
pub(super) const PLANES: usize = u8::BITS as usize;

/// What a panel holds of the features of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// Their values, in this type.
    Values(Dtype),
    /// Whether they are not 0, as bits.
    Bits,
    /// 64 whole numbers of 8 bits in `PLANES` words: one has the lowest bit of each, and so on.
    Planes,
    /// Bytes: whole numbers without a sign.
    U8,
    /// Bytes: whole numbers with a sign, which are moved by 128 so that they have none.
    I8,
    /// Numbers of 16 bits with a sign, for products of whole numbers of 8 bits.
    I16,
}

impl Packing {
    /// Features that are packed together, and the words of them; nothing where panels hold values.
    fn group(self) -> Option<(usize, usize)> {
        match self {
            Self::Values(_) => None,
            Self::Bits => Some((64, 1)),
            Self::Planes => Some((64, PLANES)),
            Self::U8 | Self::I8 => Some((8, 1)),
            Self::I16 => Some((4, 1)),
        }
    }

    /// The words of a group of features, or of fewer at the end of a sample; the rest is 0, as in every sample.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole numbers of 8 bits")]
    fn words<T: SimdElement>(self, part: &[T]) -> [u64; PLANES] {
        let mut words = [0; PLANES];
        match self {
            Self::Values(_) => unreachable!("values are no parts of words"),
            Self::Bits => {
                words[0] = part
                    .iter()
                    .enumerate()
                    .fold(0, |word, (at, value)| word | u64::from(*value != T::default()) << at);
            }
            Self::Planes => {
                // a byte of each plane from 8 numbers, with a sign or without
                let bytes: &mut [u8; 64] = bytemuck::cast_mut(&mut words);
                for (at, part) in part.chunks(8).enumerate() {
                    let mut eight = [0; 8];
                    eight.iter_mut().zip(part).for_each(|(byte, value)| *byte = value.to_f64() as i16 as u8);
                    for (plane, byte) in
                        transposed(u64::from_le_bytes(eight)).to_le_bytes().into_iter().enumerate()
                    {
                        bytes[plane * 8 + at] = byte;
                    }
                }
            }
            Self::U8 | Self::I8 => {
                let moved = if self == Self::I8 { 128.0 } else { 0.0 };
                let mut bytes = [0; 8];
                bytes.iter_mut().zip(part).for_each(|(byte, value)| *byte = (value.to_f64() + moved) as u8);
                words[0] = bytemuck::cast(bytes);
            }
            Self::I16 => {
                let mut numbers = [0; 4];
                numbers.iter_mut().zip(part).for_each(|(number, value)| *number = value.to_f64() as i16);
                words[0] = bytemuck::cast(numbers);
            }
        }
        words
    }
}

/// The bits of 8 bytes as a matrix of 8 × 8, transposed: pairs, fours and eights of bits change places (H. Warren, Hacker's Delight,
/// 2nd edition, 7-3).
fn transposed(bits: u64) -> u64 {
    let swap = |bits: u64, distance: u32, mask: u64| {
        let moved = (bits ^ bits >> distance) & mask;
        bits ^ moved ^ moved << distance
    };
    let bits = swap(bits, 7, 0x00aa_00aa_00aa_00aa);
    let bits = swap(bits, 14, 0x0000_cccc_0000_cccc);
    swap(bits, 28, 0x0000_0000_f0f0_f0f0)
}

/// Shape of the panels of a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PanelShape {
    /// Samples in a panel.
    pub width: usize,
    /// Features of a sample.
    pub features: usize,
    /// What a panel holds of them.
    pub packing: Packing,
    /// What follows the features.
    pub extras: Extras,
    /// The SIMD level that packs them.
    pub level: Level,
}

impl PanelShape {
    /// Values, or words, that the features of a sample take in a panel.
    pub fn feature_lines(&self) -> usize {
        self.packing
            .group()
            .map_or(self.features, |(features, words)| self.features.div_ceil(features) * words)
    }

    /// Features that a value or word holds.
    pub fn features_per_line(&self) -> usize {
        self.packing.group().map_or(1, |(features, words)| features / words)
    }

    /// Likewise with its extras. Nothing if they cannot be counted.
    fn lines(&self) -> Option<usize> {
        self.feature_lines().checked_add(self.extras.count())
    }

    /// Words of a panel; nothing if its bytes cannot be counted.
    pub fn words(&self) -> Option<usize> {
        let size = if let Packing::Values(dtype) = self.packing { dtype.size() } else { WORD_BYTES };
        Some(self.lines()?.checked_mul(self.width)?.checked_mul(size)?.div_ceil(WORD_BYTES))
    }

    /// Words of a panel.
    ///
    /// # Panics
    /// If its bytes cannot be counted; memory for them is planned first.
    pub fn len(&self) -> usize {
        self.words().expect("a panel fits the address space")
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
    pub fn pack<T: SimdElement>(&self, samples: &[T], negate: bool, panels: &mut [u64]) {
        let rows = samples.len() / self.features;
        assert_eq!(panels.len(), self.count(rows) * self.len(), "panels have another size");
        let strips = samples.chunks(self.width * self.features);
        for (strip, panel) in strips.zip(panels.chunks_exact_mut(self.len())) {
            self.pack_panel((strip, self.features), strip.len() / self.features, negate, panel);
        }
    }

    /// Packs the first features of samples that begin `apart` values apart into a panel, whole or not.
    ///
    /// # Panics
    /// If the panel is not [`Self::len`] long, or has no room for so many samples, or there are fewer.
    pub fn pack_panel<T: SimdElement>(
        &self,
        samples: (&[T], usize),
        rows: usize,
        negate: bool,
        panel: &mut [u64],
    ) {
        assert!(
            panel.len() == self.len() && rows <= self.width,
            "{rows} samples in a panel of {}",
            self.width
        );
        if self.packing.group().is_some() {
            panel.fill(0);
            self.pack_words(samples, 0..rows, panel);
        } else {
            self.pack_values(samples, rows, negate, self.values_mut(panel));
        }
    }

    /// The values of a panel.
    ///
    /// # Panics
    /// If they are of another type, or the panel is shorter than [`Self::len`].
    pub fn values_of<'a, T: SimdElement>(&self, panel: &'a [u64]) -> &'a [T] {
        assert_eq!(self.packing, Packing::Values(T::DTYPE));
        &bytemuck::cast_slice(panel)[..self.width * self.lines().expect("there is a panel")]
    }

    fn values_mut<'a, T: SimdElement>(&self, panel: &'a mut [u64]) -> &'a mut [T] {
        assert_eq!(self.packing, Packing::Values(T::DTYPE));
        &mut bytemuck::cast_slice_mut(panel)[..self.width * self.lines().expect("there is a panel")]
    }

    /// Packs row-major samples into a panel that has `before` samples already: all of it, but part by part.
    ///
    /// # Panics
    /// If the panel is not [`Self::len`] long, or has no room for the samples.
    pub fn pack_part<T: SimdElement>(&self, samples: &[T], before: usize, negate: bool, panel: &mut [u64]) {
        if before == 0 {
            return self.pack(samples, negate, panel);
        }
        if self.packing.group().is_some() {
            let lanes = before..before + samples.len() / self.features;
            return self.pack_words((samples, self.features), lanes, panel);
        }
        let (values, norms) = self.values_mut(panel).split_at_mut(self.width * self.features);
        for (lane, sample) in (before..self.width).zip(samples.chunks_exact(self.features)) {
            for (line, &value) in values.chunks_exact_mut(self.width).zip(sample) {
                line[lane] = if negate { -value } else { value };
            }
            if self.extras == Extras::SquaredNorm {
                norms[lane] = T::from_f64(squared_norm(sample));
            }
        }
    }

    /// Packs samples as words in these places of a panel, where it is 0.
    fn pack_words<T: SimdElement>(
        &self,
        (samples, apart): (&[T], usize),
        lanes: Range<usize>,
        panel: &mut [u64],
    ) {
        let (together, per_group) = self.packing.group().expect("panels hold words");
        let (words, extras) = panel.split_at_mut(self.feature_lines() * self.width);
        for (lane, sample) in lanes.zip(self.each_of(samples, apart)) {
            let mut ones = 0;
            let groups = words.chunks_exact_mut(per_group * self.width).zip(sample.chunks(together));
            for (lines, part) in groups {
                let packed = self.packing.words(part);
                for (line, word) in lines.chunks_exact_mut(self.width).zip(packed) {
                    line[lane] = word;
                    ones += u64::from(word.count_ones());
                }
            }
            match self.extras {
                Extras::None => {}
                Extras::Ones => extras[lane] = ones,
                Extras::SquaredNorm => extras[lane] = whole_squared_norm(sample),
            }
        }
    }

    /// Multiplies the samples of a packed panel, of which there are `rows`, by a power of two: the panel is then the same as
    /// if the multiplied samples had been packed.
    ///
    /// # Panics
    /// If the panel is not [`Self::len`] long, or has room for fewer samples.
    pub fn scale<T: SimdElement>(&self, panel: &mut [u64], rows: usize, factor: PowerOfTwo<T>) {
        assert!(
            panel.len() == self.len() && rows <= self.width,
            "{rows} samples in a panel of {}",
            self.width
        );
        let (values, norms) = self.values_mut(panel).split_at_mut(self.width * self.features);
        for value in &mut *values {
            *value = factor.times(*value);
        }
        if self.extras == Extras::None {
            return;
        }
        // in the blocks, and so with the roundings, of the norms of unpacked samples
        let mut sums = vec![CompensatedSum::default(); rows];
        let mut block: Vec<T> = Vec::with_capacity(BLOCK_FEATURES.min(self.features));
        for part in values.chunks(BLOCK_FEATURES * self.width) {
            for (i, sum) in sums.iter_mut().enumerate() {
                block.clear();
                block.extend(part[i..].iter().step_by(self.width));
                *sum = sum.plus(squared_norm_of_block(&block));
            }
        }
        norms.iter_mut().zip(sums).for_each(|(norm, sum)| *norm = T::from_f64(sum.total()));
    }

    fn pack_values<T: SimdElement>(
        &self,
        (samples, apart): (&[T], usize),
        rows: usize,
        negate: bool,
        panel: &mut [T],
    ) {
        if rows < self.width {
            panel.fill(T::default());
        }
        let (values, norms) = panel.split_at_mut(self.width * self.features);
        transpose(self.level, (rows, self.features), (samples, apart), (values, self.width));
        if negate {
            for value in values {
                *value = -*value;
            }
        }
        if self.extras == Extras::SquaredNorm {
            let given =
                self.each_of(samples, apart).take(rows).map(|sample| T::from_f64(squared_norm(sample)));
            let padding = std::iter::repeat(T::from_f64(1.0));
            norms.iter_mut().zip(given.chain(padding)).for_each(|(to, norm)| *to = norm);
        }
    }

    /// The features of samples that begin so many values apart.
    fn each_of<'a, T>(&self, samples: &'a [T], apart: usize) -> impl Iterator<Item = &'a [T]> {
        let features = self.features;
        samples.chunks(apart).filter_map(move |sample| sample.get(..features))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(features: usize, dtype: Dtype, extras: Extras) -> PanelShape {
        PanelShape { width: 1, features, packing: Packing::Values(dtype), extras, level: Level::Portable }
    }

    #[test]
    fn panels_are_feature_major_and_padded() {
        let shape = PanelShape { width: 2, ..shape(3, Dtype::F64, Extras::SquaredNorm) };
        let samples = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0_f64];
        let mut panels = vec![u64::MAX; shape.count(3) * shape.len()];
        shape.pack(&samples, true, &mut panels);
        let panels: Vec<f64> = panels.into_iter().map(f64::from_bits).collect();
        assert_eq!(panels[..8], [-1.0, -4.0, -2.0, -5.0, -3.0, -6.0, 14.0, 77.0]);
        assert_eq!(panels[8..], [-7.0, 0.0, -8.0, 0.0, -9.0, 0.0, 194.0, 1.0]);
    }

    #[test]
    fn a_panel_packed_part_by_part_is_the_panel_packed_at_once() {
        let samples: Vec<f32> = (0..9 * 7).map(|at| (at as f32 * 0.7).sin()).collect();
        for (extras, negate) in [(Extras::None, false), (Extras::SquaredNorm, true)] {
            let shape = PanelShape { width: 12, ..shape(7, Dtype::F32, extras) };
            let mut whole = vec![u64::MAX; shape.len()];
            shape.pack(&samples, negate, &mut whole);
            for cuts in [[0, 9, 9], [1, 1, 8], [4, 5, 9], [3, 3, 3]] {
                let (mut parts, mut done) = (vec![u64::MAX; shape.len()], 0);
                for end in cuts.into_iter().chain([9]).filter(|&end| end > 0) {
                    shape.pack_part(&samples[done * 7..end * 7], done, negate, &mut parts);
                    done = end;
                }
                assert_eq!(whole, parts, "{cuts:?}");
            }
        }
    }

    #[test]
    fn a_panel_packed_some_features_at_a_time_is_the_panel_packed_at_once() {
        let samples: Vec<f32> = (0..5 * 700).map(|at| (at * 7 % 251) as f32).collect();
        for packing in [
            Packing::Values(Dtype::F32),
            Packing::Bits,
            Packing::Planes,
            Packing::U8,
            Packing::I8,
            Packing::I16,
        ] {
            let shape = PanelShape { width: 6, packing, ..shape(700, Dtype::F32, Extras::None) };
            let mut whole = vec![u64::MAX; shape.len()];
            shape.pack(&samples, false, &mut whole);
            let (mut pieces, mut rest) = (vec![u64::MAX; shape.len()], 0);
            for first in (0..700).step_by(256) {
                let shape = PanelShape { features: 256.min(700 - first), ..shape };
                shape.pack_panel((&samples[first..], 700), 5, false, &mut pieces[rest..][..shape.len()]);
                rest += shape.len();
            }
            assert_eq!(whole, pieces, "{packing:?}");
        }
    }

    /// Bits of the panels of samples that were scaled, and of those scaled after packing.
    fn both_ways<T: SimdElement>(
        shape: PanelShape,
        rows: usize,
        negate: bool,
        exponent: i32,
    ) -> [Vec<u64>; 2] {
        let shape = PanelShape { packing: Packing::Values(T::DTYPE), ..shape };
        let factor = PowerOfTwo::<T>::new(exponent);
        // of many magnitudes: some are subnormal once they are scaled down
        let value = |at: usize| {
            let magnitude = PowerOfTwo::<f64>::new(-exponent / 2 - i32::try_from(at % 151).unwrap());
            T::from_f64(magnitude.times((at as f64 * 0.37).sin()))
        };
        let samples: Vec<T> = (0..rows * shape.features).map(value).collect();
        let scaled: Vec<T> = samples.iter().map(|value| factor.times(*value)).collect();
        let (count, len) = (shape.count(rows), shape.len());
        let [mut before, mut after] = [vec![0; count * len], vec![0; count * len]];
        shape.pack(&scaled, negate, &mut before);
        shape.pack(&samples, negate, &mut after);
        for (number, panel) in after.chunks_exact_mut(len).enumerate() {
            shape.scale(panel, shape.width.min(rows - number * shape.width), factor);
        }
        [before, after]
    }

    #[test]
    fn a_panel_scaled_in_place_is_the_panel_of_scaled_samples() {
        for width in [4, 5, 6, 8, 10, 16, 32] {
            for features in [1, 7, 8, 255, 256, 257, 513, 1031] {
                let extras = [Extras::None, Extras::SquaredNorm];
                for (extras, negate) in
                    extras.into_iter().flat_map(|extras| [(extras, false), (extras, true)])
                {
                    let shape = PanelShape { width, ..shape(features, Dtype::F64, extras) };
                    for exponent in [-98, -66, 110, 211] {
                        let [before, after] = both_ways::<f32>(shape, 37, negate, exponent);
                        assert!(before == after, "{shape:?}, f32, 2^{exponent}");
                    }
                    for exponent in [-514, 600, 1584] {
                        let [before, after] = both_ways::<f64>(shape, 37, negate, exponent);
                        assert!(before == after, "{shape:?}, f64, 2^{exponent}");
                    }
                }
            }
        }
    }
}
