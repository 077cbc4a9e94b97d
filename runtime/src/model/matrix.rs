//! Tensors of the CPU as slices: the only place where the memory of a tensor is read and written without libtorch.
#![allow(
    unsafe_code,
    reason = "libtorch gives out the elements of a tensor as a pointer"
)]

use std::ffi::c_void;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::slice;

use rlp_transformer::{Packed, Real, Scalar};
use tch::kind::Element;
use tch::{Device, Kind, TchError, Tensor};

/// f32 or f64: what the kernels and libtorch both know.
pub(crate) trait Number: Real + Element {}

impl Number for f32 {}

impl Number for f64 {}

/// The elements of a contiguous tensor of `T` on the CPU. As long as they are borrowed nobody may write the tensor, which
/// holds for parameters during a pass.
pub(crate) fn elements<T: Element>(tensor: &Tensor) -> &[T] {
    assert!(
        tensor.device() == Device::Cpu && tensor.is_contiguous() && tensor.kind() == T::KIND,
        "a tensor that is no slice of {:?}",
        T::KIND
    );
    let count = tensor.numel();
    if count == 0 {
        return &[];
    }
    // SAFETY: a contiguous tensor has `numel` elements of its kind behind its pointer, and lives as long as the borrow.
    unsafe { slice::from_raw_parts(tensor.data_ptr().cast(), count) }
}

/// A tensor on the CPU whose elements stand in a file from `place` on: they are read into where they stay, so that they are
/// never there twice. A file that ends before is an error of the kind `UnexpectedEof`.
///
/// # Errors
/// libtorch has no memory for it, or the file cannot be read.
pub(crate) fn read(
    shape: &[i64],
    kind: Kind,
    file: &File,
    place: u64,
) -> Result<io::Result<Tensor>, TchError> {
    /// Some systems read no more at once than an `i32` can tell.
    const AT_ONCE: usize = 1 << 30;
    let tensor = Tensor::f_empty(shape, (kind, Device::Cpu))?;
    let length = tensor.numel() * kind.elt_size_in_bytes();
    ask_for_large_pages(tensor.data_ptr(), length);
    let mut done = 0;
    while done < length {
        let at_once = AT_ONCE.min(length - done);
        // SAFETY: a new tensor is contiguous and nobody else has it; what is left of it is as long as what is read at most.
        let read = unsafe {
            let to = tensor.data_ptr().cast::<u8>().add(done).cast();
            let place = (place + done as u64) as libc::off_t;
            libc::pread(file.as_raw_fd(), to, at_once, place)
        };
        match read {
            1.. => done += read as usize,
            0 => return Ok(Err(io::ErrorKind::UnexpectedEof.into())),
            _ => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Ok(Err(error));
                }
            }
        }
    }
    Ok(Ok(tensor))
}

/// Large tensors are walked in many places at once: with pages of 4 KiB every step would look one up.
fn ask_for_large_pages(first: *mut c_void, bytes: usize) {
    const PAGE: usize = 4096;
    const LARGE: usize = 2 << 20;
    if bytes < 2 * LARGE {
        return;
    }
    let before = first.cast::<u8>().align_offset(PAGE);
    // SAFETY: whole pages inside an allocation; the advice changes nothing that a program can see.
    unsafe {
        libc::madvise(
            first.byte_add(before),
            (bytes - before) / PAGE * PAGE,
            libc::MADV_HUGEPAGE,
        );
    }
}

/// Rows of scalars, one after the other, in memory that is no other tensor's.
pub(crate) struct Matrix<T> {
    /// `[capacity, columns]`, contiguous.
    storage: Tensor,
    /// Its first element; asking libtorch each time takes longer than a row does.
    first: *mut T,
    capacity: usize,
    rows: usize,
    columns: usize,
}

impl<T: Number> Matrix<T> {
    /// Filled with 0.
    pub(crate) fn new(rows: usize, columns: usize) -> Matrix<T> {
        let shape = [rows as i64, columns as i64];
        let mut matrix = Matrix::over(Tensor::empty(shape, (T::KIND, Device::Cpu)));
        matrix.slice_mut().fill(Scalar::ZERO);
        matrix
    }

    /// Whose elements are anything.
    pub(crate) fn uninitialised(rows: usize, columns: usize) -> Matrix<T> {
        let shape = [rows as i64, columns as i64];
        Matrix::over(Tensor::empty(shape, (T::KIND, Device::Cpu)))
    }

    /// Over a contiguous tensor that nobody else has.
    fn over(storage: Tensor) -> Matrix<T> {
        let [rows, columns] = [0, 1].map(|axis| storage.size()[axis] as usize);
        ask_for_large_pages(storage.data_ptr(), rows * columns * size_of::<T>());
        Matrix {
            first: storage.data_ptr().cast(),
            storage,
            capacity: rows,
            rows,
            columns,
        }
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    /// Changes the number of rows. What they hold afterwards is anything.
    pub(crate) fn set_rows(&mut self, rows: usize) {
        if rows > self.capacity {
            *self = Matrix::uninitialised(rows, self.columns);
        }
        self.rows = rows;
    }

    #[must_use]
    pub(crate) fn copy(&self) -> Matrix<T> {
        Matrix::over(self.view().copy())
    }

    /// Leaves a matrix without rows.
    #[must_use]
    pub(crate) fn take(&mut self) -> Matrix<T> {
        std::mem::replace(self, Matrix::new(0, self.columns))
    }

    /// `[rows, columns]`.
    pub(crate) fn into_tensor(self) -> Tensor {
        self.view()
    }

    pub(crate) fn slice(&self) -> &[T] {
        let count = self.rows * self.columns;
        if count == 0 {
            return &[];
        }
        // SAFETY: the storage is contiguous, of kind `T`, at least as large, and lives as long as this; no tensor outside
        // this type shares it for longer than a call of libtorch.
        unsafe { slice::from_raw_parts(self.first, count) }
    }

    pub(crate) fn slice_mut(&mut self) -> &mut [T] {
        let count = self.rows * self.columns;
        if count == 0 {
            return &mut [];
        }
        // SAFETY: as above, and this is borrowed mutably.
        unsafe { slice::from_raw_parts_mut(self.first, count) }
    }

    pub(crate) fn row(&self, row: usize) -> &[T] {
        &self.slice()[row * self.columns..][..self.columns]
    }

    pub(crate) fn row_mut(&mut self, row: usize) -> &mut [T] {
        let columns = self.columns;
        &mut self.slice_mut()[row * columns..][..columns]
    }

    /// `self = input · factor`.
    pub(crate) fn set_product(&mut self, input: &Matrix<T>, factor: &Packed<T>) {
        self.set_rows(input.rows);
        T::set_product(input.slice(), factor, self.slice_mut());
    }

    /// `self += input · factor`.
    pub(crate) fn add_product(&mut self, input: &Matrix<T>, factor: &Packed<T>) {
        T::add_product(input.slice(), factor, self.slice_mut());
    }

    /// `self += leftᵀ · right`.
    pub(crate) fn add_product_across(&mut self, left: &Matrix<T>, right: &Matrix<T>) {
        let (width, right_width) = (left.columns, right.columns);
        T::add_product_across(
            left.slice(),
            width,
            right.slice(),
            right_width,
            self.slice_mut(),
        );
    }

    /// The rows as a tensor over the same memory, for the length of a call of libtorch.
    fn view(&self) -> Tensor {
        self.storage.narrow(0, 0, self.rows as i64)
    }
}
