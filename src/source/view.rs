//! How a dataset is looked at as samples.

use std::ops::Range;

use super::Axes;
use crate::error::Result;
use crate::fail;
use crate::text::counted;

/// How a dataset is looked at as samples: what the options say that the file does not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// Which dimension is that of the samples.
    pub axes: Axes,
    /// Whether values are what the attributes of netCDF make of those that are stored.
    pub decodes: bool,
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
            (Axes::Rows, [_, _, _, ..]) => fail!(
                "{what} has {dimensions}; expected 2 (samples x features); use --flatten to take each leading index as a sample"
            ),
            (Axes::Columns, _) => {
                fail!("{what} has {dimensions}; --transpose needs 2 (features x samples)")
            }
            _ => fail!("{what} has {dimensions}; expected 2 (samples x features)"),
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
        axes.into_iter().chain(decodes).collect::<Vec<_>>().join(", ")
    }

    /// What [`Self::words`] says, if it does.
    pub fn from_words(words: &str) -> Option<Self> {
        let all = [Axes::Rows, Axes::Columns, Axes::Leading].into_iter();
        let mut views = all.flat_map(|axes| [false, true].map(|decodes| Self { axes, decodes }));
        views.find(|view| view.words() == words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROWS: View = View { axes: Axes::Rows, decodes: false };
    const COLUMNS: View = View { axes: Axes::Columns, decodes: true };
    const LEADING: View = View { axes: Axes::Leading, decodes: false };

    #[test]
    fn words_tell_views_apart() {
        for (view, words) in [(ROWS, ""), (COLUMNS, "transposed, decoded"), (LEADING, "flattened")] {
            assert_eq!(view.words(), words);
            assert_eq!(View::from_words(words), Some(view));
        }
        assert_eq!(View::from_words("upside down"), None);
    }

    #[test]
    fn samples_lie_where_the_view_says() {
        for (view, shape, samples) in [
            (ROWS, vec![5, 7], Ok((5, 7))),
            (COLUMNS, vec![5, 7], Ok((7, 5))),
            (LEADING, vec![5, 7], Ok((5, 7))),
            (LEADING, vec![5, 2, 3, 4], Ok((5, 24))),
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
        assert_eq!(COLUMNS.part(1..3, 2..4, &[5, 7]), [2..4, 1..3]);
        assert_eq!(LEADING.part(1..3, 0..24, &[5, 2, 3, 4]), [1..3, 0..2, 0..3, 0..4]);
        assert_eq!(LEADING.part(1..2, 23..24, &[5, 2, 3, 4]), [1..2, 1..2, 2..3, 3..4]);
        assert_eq!(LEADING.part(1..2, 4..5, &[5, 2, 3, 4]), [1..2, 0..1, 1..2, 0..1]);
    }
}
