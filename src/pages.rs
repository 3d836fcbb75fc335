//! Large arrays in memory of their own, in huge pages where the system has them.
//!
//! A run touches its arrays once before it uses them, and with pages of 4 KiB that costs as much as reading the samples; pages of
//! 2 MiB cost a sixth of it, and spare address translations afterwards.

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use bytemuck::Pod;
use memmap2::MmapMut;

use crate::error::{Context, Error};
use crate::failpoint;

/// An array that begins with a page. What is not yet written is zero and takes no memory.
pub struct Pages<T> {
    bytes: MmapMut,
    len: usize,
    element: PhantomData<T>,
}

impl<T: Pod> Pages<T> {
    /// `len` zeros.
    ///
    /// # Panics
    /// With an [`Error`] as its payload, if the system has no room for them.
    pub fn zeroed(len: usize) -> Self {
        let len_bytes = len.checked_mul(size_of::<T>()).expect("an array is smaller than the address space");
        let mapped = failpoint::hit("map").and_then(|()| {
            MmapMut::map_anon(len_bytes).context(|| {
                format!("no memory is left for an array of {len_bytes} bytes; use more ranks, or raise the limit (ulimit -v)")
            })
        });
        let bytes = mapped.unwrap_or_else(|error: Error| std::panic::panic_any(error));
        // a wish: a system without huge pages does without
        #[cfg(target_os = "linux")]
        let _ = bytes.advise(memmap2::Advice::HugePage);
        Self { bytes, len, element: PhantomData }
    }

    /// Makes the array `len` elements long. What it held is lost if it grows beyond what it had room for.
    pub fn resize(&mut self, len: usize) {
        if len * size_of::<T>() > self.bytes.len() {
            *self = Self::zeroed(len);
        }
        self.len = len;
    }
}

impl<T: Pod> Deref for Pages<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        bytemuck::cast_slice(&self.bytes[..self.len * size_of::<T>()])
    }
}

impl<T: Pod> DerefMut for Pages<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        bytemuck::cast_slice_mut(&mut self.bytes[..self.len * size_of::<T>()])
    }
}

impl<T> fmt::Debug for Pages<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} elements", self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_zero_and_keep_their_memory() {
        let mut pages = Pages::<f64>::zeroed(0);
        assert!(pages.is_empty());
        pages.resize(1000);
        assert_eq!(*pages, [0.0; 1000]);
        pages[999] = 1.0;
        pages.resize(10);
        pages.resize(1000);
        assert_eq!(pages[990..], [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]);
    }

    #[test]
    fn what_does_not_fit_the_address_space_is_told_in_a_sentence() {
        let panic = std::panic::catch_unwind(|| Pages::<f64>::zeroed(1 << 57)).unwrap_err();
        let error = panic.downcast_ref::<Error>().expect("an error is the payload").to_string();
        assert!(error.starts_with("no memory is left for an array of 1152921504606846976 bytes"), "{error}");
    }
}
