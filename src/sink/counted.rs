//! Nothing is kept of the distances: they are counted, summed up, and forgotten strip by strip.

use super::{Asked, Kind};
use crate::number::Number;
use crate::error::Result;
use crate::io::result::ResultReader;

/// What a run without a file makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted;

impl Counted {
    pub(super) fn wanted(asked: Asked) -> Option<Self> {
        (!asked.output).then_some(Self)
    }

    #[allow(clippy::unnecessary_wraps, reason = "as of every kind")]
    pub(super) fn check(_: &ResultReader) -> Result<()> {
        Ok(())
    }

    pub(super) fn shown(_: &ResultReader) -> Vec<(&'static str, String)> {
        Vec::new()
    }
}

impl<T: Number> Kind<T> for Counted {}
