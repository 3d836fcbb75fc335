//! The element types, as the whole program needs them.

use crate::comm::Message;
use crate::io::Stored;
use crate::kernel::SimdElement;

/// What an element type must be able to do to be computed with, stored and sent.
pub trait Number: SimdElement + Stored + Message {}
impl<T: SimdElement + Stored + Message> Number for T {}
