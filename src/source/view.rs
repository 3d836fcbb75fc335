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

    /// Where some values of some samples lie in a dataset of this shape: ranges of its dimensions. Where a sample has several dimensions,
    /// these are all its values, or a single one.
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
        match (self.axes, shape) {
            (Axes::Columns, _) => vec![features, rows],
            (Axes::Rows, _) | (Axes::Leading, [_, _]) => vec![rows, features],
            (Axes::Leading, _) => {
                let is_single = features.len() == 1;
                let mut place = features.start;
                let mut part: Vec<_> = shape[1..]
                    .iter()
                    .rev()
                    .map(|&edge| {
                        let at = place % edge;
                        place /= edge;
                        if is_single { at..at + 1 } else { 0..edge }
                    })
                    .collect();
                part.push(rows);
                part.reverse();
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
        };
        let decodes = self.decodes.then_some("decoded");
        let bits = self.bits.map(|_| "packed bits");
        axes.into_iter().chain(decodes).chain(bits).collect::<Vec<_>>().join(", ")
    }

    /// The view of which [`Self::words`] says this, if there is one; of bits, with so many features.
    pub fn from_words(words: &str, features: usize) -> Option<Self> {
        let all = [Axes::Rows, Axes::Columns, Axes::Leading].into_iter();
        let views = all.flat_map(|axes| [false, true].map(|decodes| Self { axes, decodes, bits: None }));
        let mut views = views.chain([Self { bits: Some(Some(features)), ..Self::default() }]);
        views.find(|view| view.words() == words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROWS: View = View { axes: Axes::Rows, decodes: false, bits: None };
    const COLUMNS: View = View { axes: Axes::Columns, decodes: true, bits: None };
    const BITS_OF_BYTES: View = View { axes: Axes::Rows, decodes: false, bits: Some(Some(12)) };
    const LEADING: View = View { axes: Axes::Leading, decodes: false, bits: None };

    #[test]
    fn words_tell_views_apart() {
        for (view, words) in [
            (ROWS, ""),
            (COLUMNS, "transposed, decoded"),
            (LEADING, "flattened"),
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
}
