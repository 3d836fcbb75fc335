//! What can be wrong with a result, and the worst of what was seen of it.

use crate::comm::{Comm, Reduce};
use crate::error::Result;
use crate::fail;
use crate::io::result::ResultReader;
use crate::partition::Grid;

/// What is wrong with an entry of a result; of the faults of a row, the first explains the others best.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fault {
    /// A distance of the matrix is beyond its bound.
    Distance,
    /// An index that no sample has, that comes twice, or that of the sample itself.
    Superfluous,
    /// An index comes after a larger one.
    Unsorted,
    /// A neighbour comes before one that is nearer, or as near with a lower index.
    Order,
    /// A sample is nearer than the last neighbour, and not among them.
    Missing,
    /// A sample within the radius is missing.
    LeftOut,
    /// A sample beyond the radius is there.
    Beyond,
    /// The distance of a neighbour is beyond its bound.
    NeighbourDistance,
}

impl Fault {
    const ALL: [Self; 8] = [
        Self::Distance,
        Self::Superfluous,
        Self::Unsorted,
        Self::Order,
        Self::Missing,
        Self::LeftOut,
        Self::Beyond,
        Self::NeighbourDistance,
    ];
}

/// An entry with a fault.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wrong {
    pub(super) row: usize,
    /// Which column of the matrix, or which sample; of an index that is none, its place.
    pub(super) col: usize,
    pub(super) fault: Fault,
    /// The distance in the file, or the index.
    pub(super) value: f64,
    /// What it should be.
    pub(super) definition: f64,
}

impl Wrong {
    /// What is wrong, in words.
    fn sentence(&self) -> String {
        let Self { row, col, value, definition, .. } = self;
        match self.fault {
            Fault::Distance => {
                format!("({row}, {col}): {value:e} in the file, {definition:e} by the definition")
            }
            Fault::NeighbourDistance => format!(
                "neighbour {col} of sample {row}: at {value:e} in the file, at {definition:e} by the definition"
            ),
            Fault::Missing => format!(
                "neighbour {col} of sample {row}: it is at {definition:e} and is missing, while the last in the file is at {value:e}"
            ),
            Fault::LeftOut => format!(
                "neighbour {col} of sample {row}: it is at {definition:e}, within the radius of {value:e}, and is missing"
            ),
            Fault::Beyond => format!(
                "neighbour {col} of sample {row}: it is at {definition:e}, beyond the radius of {value:e}, and is there"
            ),
            Fault::Superfluous => format!(
                "index {value} at place {col} of the neighbours of sample {row}: it is no other sample, or comes twice"
            ),
            Fault::Unsorted => format!(
                "index {value} at place {col} of what is within the radius of sample {row}: it comes after a larger one"
            ),
            Fault::Order => format!(
                "neighbour {col} of sample {row}: it comes before one that is nearer, or as near with a lower index"
            ),
        }
    }
}

/// The worst of the entries seen so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Worst {
    /// Entries compared.
    pub(super) compared: u64,
    /// Largest |value − definition| / definition.
    pub(super) relative: f64,
    /// Largest |value − definition| / tolerance.
    pub(super) of_bound: f64,
    /// Entries with a fault.
    pub(super) wrong: u64,
    /// The first of them in the matrix.
    pub(super) first: Option<Wrong>,
}

impl Worst {
    /// Of one entry that is wrong.
    pub(super) fn of(wrong: Wrong) -> Self {
        Self { wrong: 1, first: Some(wrong), ..Self::default() }
    }

    /// Of an entry with this error and tolerance.
    pub(super) fn compared(
        (error, tolerance): (f64, f64),
        value: f64,
        definition: f64,
        wrong: impl FnOnce(f64) -> Wrong,
    ) -> Self {
        let ratio = |part: f64, whole: f64| if part == 0.0 { 0.0 } else { part / whole };
        let is_wrong = error.is_nan() || error > tolerance;
        Self {
            compared: 1,
            relative: ratio(error, definition),
            of_bound: ratio(error, tolerance),
            wrong: u64::from(is_wrong),
            first: is_wrong.then(|| wrong(value)),
        }
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.compared += other.compared;
        self.relative = self.relative.max(other.relative);
        self.of_bound = self.of_bound.max(other.of_bound);
        self.wrong += other.wrong;
        self.first = [self.first, other.first]
            .into_iter()
            .flatten()
            .min_by_key(|wrong| (wrong.row, wrong.fault, wrong.col));
    }

    /// The worst that any rank has seen. Collective.
    pub(super) fn of_all(self, comm: &Comm, grid: Grid) -> Self {
        // of neighbours, one rank has all of a row
        let within = |wrong: Wrong| if wrong.fault == Fault::Distance { wrong.col } else { 0 };
        let place = |wrong: Wrong| (wrong.row * grid.m + within(wrong)) as u64;
        // below 2⁶³, and beyond all places
        let first = comm.all_reduce(&[self.first.map_or(u64::MAX >> 1, place)], Reduce::Min)[0];
        let mine = self.first.filter(|&wrong| place(wrong) == first);
        let [value, definition] =
            mine.map_or([0; 2], |wrong| [wrong.value, wrong.definition].map(f64::to_bits));
        let [fault, col] = mine.map_or([0; 2], |wrong| [wrong.fault as u64, wrong.col as u64]);
        let sums = comm.all_reduce(&[self.compared, self.wrong, value, definition, fault, col], Reduce::Sum);
        let worst = comm.all_reduce(&[self.relative, self.of_bound], Reduce::Max);
        let first = (sums[1] > 0).then(|| Wrong {
            row: usize::try_from(first).unwrap_or(0) / grid.m,
            col: usize::try_from(sums[5]).unwrap_or(0),
            fault: Fault::ALL.into_iter().find(|other| *other as u64 == sums[4]).unwrap_or(Fault::Distance),
            value: f64::from_bits(sums[2]),
            definition: f64::from_bits(sums[3]),
        });
        Self { compared: sums[0], relative: worst[0], of_bound: worst[1], wrong: sums[1], first }
    }

    /// An error if anything was wrong.
    pub(super) fn judge(&self, what: &str, file: &ResultReader) -> Result<()> {
        let Some(first) = &self.first else { return Ok(()) };
        let (shown, sentence) = (file.shown(), first.sentence());
        if first.fault == Fault::Distance {
            fail!(
                "{shown}: {} of {} distances are beyond their bound, first {sentence}; compute it again",
                self.wrong,
                self.compared
            );
        }
        fail!("{shown}: {} {what} are wrong, first {sentence}; compute it again", self.wrong)
    }

    /// What was compared, and how, if nothing was wrong.
    pub(super) fn line(&self, what: &str, how: &str) -> String {
        format!(
            "verified     {} {what} ({how}): largest relative error {:.2e}, {:.1} % of its bound\n",
            self.compared,
            self.relative,
            100.0 * self.of_bound
        )
    }
}
