//! How a dataset is looked at as samples.

use std::ops::Range;

use super::Axes;
use crate::error::Result;
use crate::fail;
use crate::text::counted;

/// Bits of a byte.
pub(super) const BITS: usize = u8::BITS as usize;

/// How a dataset is looked at as samples: what the options say that the file does not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// Which dimension is that of the samples.
    pub axes: Axes,
    /// Whether values are what the attributes of netCDF make of those that are stored.
    pub decodes: bool,
    /// Whether values are the bits of bytes, and how many of them: as many as there are if that is not given.
    pub bits: Option<Option<usize>>,
}

impl View {
    /// How many samples a dataset of this shape has, and how many features.
    pub(super) fn samples_of(self, shape: &[usize], what: &str) -> Result<(usize, usize)> {
        let dimensions = counted(shape.len(), "dimension");
        let (rows, features) = match (self.axes, shape) {
            (Axes::Rows, &[rows, features]) | (Axes::Columns, &[features, rows]) => (rows, features),
            (Axes::Whole, [_, ..]) => {
                let features = shape.iter().try_fold(1_usize, |all, &edge| all.checked_mul(edge));
                (1, features.unwrap_or(usize::MAX))
            }
            (Axes::Leading, [rows, others @ ..]) if !others.is_empty() => {
                let features = others.iter().try_fold(1_usize, |all, &edge| all.checked_mul(edge));
                (*rows, features.unwrap_or(usize::MAX))
            }
            (Axes::Rows, [_, _, _, ..]) if self.bits.is_some() => {
                fail!("{what} has {dimensions}; --packed needs 2 (samples x bytes): write it so")
            }
            (Axes::Rows, [_, _, _, ..]) => fail!(
                "{what} has {dimensions}; expected 2 (samples x features); use --flatten to take each leading index as a sample"
            ),
            (Axes::Columns, _) => {
                fail!("{what} has {dimensions}; --transpose needs 2 (features x samples)")
            }
            _ => fail!("{what} has {dimensions}; expected 2 (samples x features)"),
        };
        let features = match self.bits {
            None => features,
            Some(given) => {
                let all = features.saturating_mul(BITS);
                let bits = given.unwrap_or(all);
                if bits.div_ceil(BITS) != features {
                    fail!(
                        "{what} has {} for each sample, which are {} to {all} bits, and {bits} features are asked for; name another file, or give a number of features that fits (--features)",
                        counted(features, "byte"),
                        all.saturating_sub(BITS) + 1
                    );
                }
                bits
            }
        };
        if rows == 0 || features == 0 {
            fail!("{what} is empty ({rows} x {features}); it needs at least one sample and one feature");
        }
        if rows.checked_mul(features).and_then(|values| values.checked_mul(8)).is_none() {
            fail!("{what} claims {rows} x {features} values, more than any memory; check the file");
        }
        Ok((rows, features))
    }

    /// The dimensions of a sample in a dataset of this shape, where it may have several.
    fn dimensions(self, shape: &[usize]) -> &[usize] {
        if self.axes == Axes::Whole { shape } else { &shape[1..] }
    }

    /// Some features, cut so that the values of each part lie in a box of a dataset of this shape.
    pub(super) fn boxes(self, features: Range<usize>, shape: &[usize]) -> Vec<Range<usize>> {
        match self.axes {
            Axes::Rows | Axes::Columns => vec![features],
            Axes::Leading | Axes::Whole => {
                let mut boxes = Vec::new();
                cut(features, 0, self.dimensions(shape), &mut boxes);
                boxes
            }
        }
    }

    /// Where some values of some samples lie in a dataset of this shape: ranges of its dimensions. The features are those of a box.
    pub(super) fn part(
        self,
        rows: Range<usize>,
        features: Range<usize>,
        shape: &[usize],
    ) -> Vec<Range<usize>> {
        let features = match self.bits {
            Some(_) => features.start / BITS..features.end.div_ceil(BITS),
            None => features,
        };
        match self.axes {
            Axes::Columns => vec![features, rows],
            Axes::Rows => vec![rows, features],
            Axes::Leading | Axes::Whole => {
                let dimensions = self.dimensions(shape);
                let (mut first, mut last) = (features.start, features.end - 1);
                let mut part = if self.axes == Axes::Whole { Vec::new() } else { vec![rows] };
                for axis in 0..dimensions.len() {
                    let inner: usize = dimensions[axis + 1..].iter().product();
                    let (low, high) = (first / inner, last / inner);
                    part.push(low..high + 1);
                    // of several, all that is inside
                    (first, last) = if low == high { (first % inner, last % inner) } else { (0, inner - 1) };
                }
                part
            }
        }
    }

    /// What a result says of it; nothing where a dataset is read as it is.
    pub fn words(self) -> String {
        let axes = match self.axes {
            Axes::Rows => None,
            Axes::Columns => Some("transposed"),
            Axes::Leading => Some("flattened"),
            Axes::Whole => Some("one sample"),
        };
        let decodes = self.decodes.then_some("decoded");
        let bits = self.bits.map(|_| "packed bits");
        axes.into_iter().chain(decodes).chain(bits).collect::<Vec<_>>().join(", ")
    }

    /// The view of which [`Self::words`] says this, if there is one; of bits, with so many features.
    pub fn from_words(words: &str, features: usize) -> Option<Self> {
        let all = [Axes::Rows, Axes::Columns, Axes::Leading, Axes::Whole].into_iter();
        let views = all.flat_map(|axes| [false, true].map(|decodes| Self { axes, decodes, bits: None }));
        let mut views = views.chain([Self { bits: Some(Some(features)), ..Self::default() }]);
        views.find(|view| view.words() == words)
    }
}

/// Cuts features, from `before` on, into boxes: what begins or ends inside an index of the first dimension is cut further.
fn cut(features: Range<usize>, before: usize, dimensions: &[usize], boxes: &mut Vec<Range<usize>>) {
    if features.is_empty() {
        return;
    }
    let inner: usize = dimensions[1..].iter().product();
    let (first, last) = (features.start.div_ceil(inner) * inner, features.end / inner * inner);
    if dimensions.len() == 1 || first == features.start && last == features.end {
        boxes.push(before + features.start..before + features.end);
    } else if first > last {
        // inside one index
        let start = features.start / inner * inner;
        cut(features.start - start..features.end - start, before + start, &dimensions[1..], boxes);
    } else {
        let start = features.start / inner * inner;
        cut(features.start - start..first - start, before + start, &dimensions[1..], boxes);
        if first < last {
            boxes.push(before + first..before + last);
        }
        cut(0..features.end - last, before + last, &dimensions[1..], boxes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROWS: View = View { axes: Axes::Rows, decodes: false, bits: None };
    const COLUMNS: View = View { axes: Axes::Columns, decodes: true, bits: None };
    const BITS_OF_BYTES: View = View { axes: Axes::Rows, decodes: false, bits: Some(Some(12)) };
    const LEADING: View = View { axes: Axes::Leading, decodes: false, bits: None };
    const WHOLE: View = View { axes: Axes::Whole, decodes: false, bits: None };

    #[test]
    fn words_tell_views_apart() {
        for (view, words) in [
            (ROWS, ""),
            (COLUMNS, "transposed, decoded"),
            (LEADING, "flattened"),
            (WHOLE, "one sample"),
            (BITS_OF_BYTES, "packed bits"),
        ] {
            assert_eq!(view.words(), words);
            assert_eq!(View::from_words(words, 12), Some(view));
        }
        assert_eq!(View::from_words("upside down", 1), None);
    }

    #[test]
    fn samples_lie_where_the_view_says() {
        for (view, shape, samples) in [
            (ROWS, vec![5, 7], Ok((5, 7))),
            (COLUMNS, vec![5, 7], Ok((7, 5))),
            (LEADING, vec![5, 7], Ok((5, 7))),
            (LEADING, vec![5, 2, 3, 4], Ok((5, 24))),
            (BITS_OF_BYTES, vec![5, 2], Ok((5, 12))),
            (View { bits: Some(None), ..ROWS }, vec![5, 2], Ok((5, 16))),
            (BITS_OF_BYTES, vec![5, 1], Err("1 byte for each sample, which are 1 to 8 bits")),
            (BITS_OF_BYTES, vec![5, 3], Err("17 to 24 bits")),
            (LEADING, vec![5], Err("1 dimension")),
            (WHOLE, vec![5], Ok((1, 5))),
            (WHOLE, vec![5, 2, 3], Ok((1, 30))),
            (WHOLE, vec![], Err("0 dimensions")),
            (COLUMNS, vec![5, 7, 1], Err("--transpose needs 2")),
            (ROWS, vec![5, 7, 2], Err("--flatten")),
            (LEADING, vec![5, 0, 3], Err("empty")),
            (LEADING, vec![2, usize::MAX, 3], Err("more than any memory")),
        ] {
            match (view.samples_of(&shape, "it"), samples) {
                (Ok(found), Ok(samples)) => assert_eq!(found, samples, "{view:?} of {shape:?}"),
                (Err(error), Err(words)) => assert!(error.to_string().contains(words), "{error}"),
                (found, _) => panic!("{view:?} of {shape:?}: {found:?}"),
            }
        }
        assert_eq!(BITS_OF_BYTES.part(1..3, 3..12, &[5, 2]), [1..3, 0..2]);
        assert_eq!(BITS_OF_BYTES.part(1..3, 8..9, &[5, 2]), [1..3, 1..2]);
        assert_eq!(COLUMNS.part(1..3, 2..4, &[5, 7]), [2..4, 1..3]);
        assert_eq!(LEADING.part(1..3, 0..24, &[5, 2, 3, 4]), [1..3, 0..2, 0..3, 0..4]);
        assert_eq!(LEADING.part(1..2, 23..24, &[5, 2, 3, 4]), [1..2, 1..2, 2..3, 3..4]);
        assert_eq!(LEADING.part(1..2, 4..5, &[5, 2, 3, 4]), [1..2, 0..1, 1..2, 0..1]);
    }

    #[test]
    fn boxes_hold_every_feature_once_in_order() {
        for (view, shape) in
            [(LEADING, vec![5, 2, 3, 4]), (WHOLE, vec![3, 1, 4, 2]), (WHOLE, vec![7]), (ROWS, vec![5, 24])]
        {
            let features = view.samples_of(&shape, "it").unwrap().1;
            let strides: Vec<usize> =
                (0..shape.len()).map(|axis| shape[axis + 1..].iter().product()).collect();
            for start in 0..features {
                for end in start + 1..=features {
                    let mut held = Vec::new();
                    for piece in view.boxes(start..end, &shape) {
                        let part = view.part(0..1, piece.clone(), &shape);
                        let mut places = vec![0];
                        for (range, stride) in part.iter().zip(&strides) {
                            places = places
                                .iter()
                                .flat_map(|place| range.clone().map(move |at| place + at * stride))
                                .collect();
                        }
                        assert!(places.iter().copied().eq(piece), "{view:?} of {shape:?}");
                        held.extend(places);
                    }
                    assert!(held.into_iter().eq(start..end), "{view:?} of {shape:?}: {start}..{end}");
                }
            }
        }
    }
}
