//! The caller's buffer, given out in pieces. All memory that a C function returns must be in it.
#![allow(unsafe_code)]

use core::marker::PhantomData;

/// The part of a caller's buffer that has not been given out.
pub struct Arena<'b> {
    at: *mut u8,
    left: usize,
    buffer: PhantomData<&'b mut [u8]>,
}

/// The buffer is too small; the caller may try again with a larger one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Full;

impl<'b> Arena<'b> {
    /// A buffer of `left` octets at `at`, of which nothing has been given out.
    ///
    /// # Safety
    /// The caller may write these octets for as long as `'b`.
    pub unsafe fn new(at: *mut u8, left: usize) -> Arena<'b> {
        Arena { at, left, buffer: PhantomData }
    }

    /// Gives out memory for `count` values, aligned and filled with zeros.
    ///
    /// # Errors
    /// [`Full`] if they do not fit.
    pub fn take<T: Plain>(&mut self, count: usize) -> Result<*mut T, Full> {
        let skip = self.at.align_offset(align_of::<T>());
        let octets = size_of::<T>().checked_mul(count).ok_or(Full)?;
        let all = skip.checked_add(octets).ok_or(Full)?;
        self.left = self.left.checked_sub(all).ok_or(Full)?;
        // SAFETY: `all` octets from `at` on were left, and `new`'s caller may write them; they are
        // given out once. Zero is valid for `T`.
        unsafe {
            let place = self.at.add(skip);
            self.at = self.at.add(all);
            core::ptr::write_bytes(place, 0, octets);
            Ok(place.cast())
        }
    }

    /// Gives out memory for a C string, and writes these octets and a NUL into it.
    ///
    /// # Errors
    /// [`Full`] if they do not fit.
    pub fn text(&mut self, octets: impl Iterator<Item = u8> + Clone) -> Result<*mut core::ffi::c_char, Full> {
        let len = octets.clone().count();
        let place: *mut u8 = self.take(len + 1)?;
        for (n, octet) in octets.enumerate().take(len) {
            // SAFETY: `len` octets and one for the NUL were just given out.
            unsafe { place.add(n).write(octet) };
        }
        Ok(place.cast())
    }
}

/// Types for which all zeros are a value: C structures, pointers and numbers.
///
/// # Safety
/// All zeros must be a value of the type.
pub unsafe trait Plain {}
// SAFETY: numbers and pointers.
unsafe impl Plain for u8 {}
// SAFETY: numbers.
unsafe impl Plain for [u8; 4] {}
// SAFETY: numbers.
unsafe impl Plain for [u8; 16] {}
// SAFETY: a pointer.
unsafe impl<T> Plain for *mut T {}
