//! Running code on arrays: what a launch needs is checked once, and chunks of fixed size make the results independent of
//! the number of threads.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::Precision;
use super::cpu::Code;
use super::cpu::layout::OutputPlace;
use super::cpu::total::{Element, Total};
use super::frame::{self, Words};
use crate::ty::Elem;

/// A contiguous, row-major array that is read.
#[derive(Clone, Copy, Debug)]
pub enum Slice<'a> {
    F32(&'a [f32]),
    F64(&'a [f64]),
    Int(&'a [i64]),
    Bool(&'a [bool]),
}

/// A contiguous, row-major array that is written.
#[derive(Debug)]
pub enum SliceMut<'a> {
    F32(&'a mut [f32]),
    F64(&'a mut [f64]),
    Int(&'a mut [i64]),
    Bool(&'a mut [bool]),
}

/// Where an input's elements stand.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    Slice(Slice<'a>),
    /// In the output with this index, which is written over them ([`Code::in_place`]).
    Output(usize),
}

/// Arrays or sizes that are not those of the kernel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Mismatch {
    /// Another number of sizes, inputs or outputs.
    Count {
        what: &'static str,
        expected: usize,
        found: usize,
    },
    /// An array of another element.
    Element { array: String },
    /// An array of fewer elements than its dimensions say.
    Length {
        array: String,
        expected: usize,
        found: usize,
    },
    /// An input that stands in an output which cannot take its place.
    Place { input: usize },
    /// More elements than memory has addresses.
    Size,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Mismatch::Count {
                what,
                expected,
                found,
            } => write!(f, "the kernel has {expected} {what}, but {found} are given"),
            Mismatch::Element { array } => write!(f, "{array} is of another element"),
            Mismatch::Length {
                array,
                expected,
                found,
            } => write!(f, "{array} has {found} elements instead of {expected}"),
            Mismatch::Place { input } => {
                write!(f, "input {input} cannot stand in an output")
            }
            Mismatch::Size => write!(f, "the sizes are too large"),
        }
    }
}

/// Code with its sizes and arrays.
pub struct Launch<'a> {
    code: &'a Code,
    rows: usize,
    cells: usize,
    frame: Vec<u64>,
    targets: Vec<SliceMut<'a>>,
}

/// About so many cells are computed in one piece.
const CHUNK: usize = 8192;
/// Fewer cells than this are not worth a second thread.
const WORTH_THREADS: usize = 1 << 16;

impl<'a> Launch<'a> {
    /// `rows`: the size of each of the kernel's rows' dimensions; `cells`: the product of the sizes of its cells' (1 if it
    /// has none). A source for each input and a target for each output, in the kernel's order.
    pub fn new(
        code: &'a Code,
        rows: &[usize],
        cells: usize,
        sources: &[Source<'a>],
        mut targets: Vec<SliceMut<'a>>,
    ) -> Result<Launch<'a>, Mismatch> {
        let layout = &code.layout;
        let (dims, has_cells) = code.dims;
        count("dimensions of rows", dims, rows.len())?;
        count("inputs", layout.inputs.len(), sources.len())?;
        count("outputs", layout.outputs.len(), targets.len())?;
        if !has_cells {
            count("cells", 1, cells)?;
        }
        let (outer, inner) = rows.split_at(layout.rows);
        let cells = product(inner.iter().copied().chain([cells]))?;
        let rows = product(outer.iter().copied())?;
        // Offsets are counted in bytes, with signs.
        product([rows, cells, 16])?;
        product([cells, 8, code.scratch_rows.max(1)])?;

        let words = Words::new(layout);
        let mut frame = vec![0; words.count];
        frame[frame::CELLS] = cells as u64;
        frame[frame::CONSTANTS] = code.constants.as_ptr() as u64;
        for (word, &size) in frame[words.sizes..].iter_mut().zip(outer) {
            *word = size as u64;
        }
        for (index, target) in targets.iter_mut().enumerate() {
            let place = layout.outputs[index];
            let expected = match place {
                OutputPlace::Cells(_) => rows * cells,
                OutputPlace::Rows(_) => rows,
                OutputPlace::Total { .. } => 1,
            };
            let name = || format!("output {index}");
            let address = check(
                target.as_slice(),
                place.elem(),
                code.precision,
                expected,
                name,
            )?;
            // The address of the mutable slice, which may be written to.
            debug_assert_eq!(address, target.address());
            frame[words.outputs + index] = target.address();
        }
        for (index, source) in sources.iter().enumerate() {
            let place = &layout.inputs[index];
            let sizes = place.rows.iter().map(|&row| outer[row]);
            let expected = product(sizes.chain(place.has_cells.then_some(cells)))?;
            let name = || format!("input {index}");
            frame[words.inputs + index] = match source {
                Source::Slice(slice) => check(*slice, place.elem, code.precision, expected, name)?,
                Source::Output(output) => {
                    let whole_rows = place.rows.len() == layout.rows;
                    let fits = match layout.outputs.get(*output) {
                        Some(OutputPlace::Cells(elem)) => *elem == place.elem && place.has_cells,
                        Some(OutputPlace::Rows(elem)) => *elem == place.elem && !place.has_cells,
                        Some(OutputPlace::Total { .. }) | None => false,
                    };
                    if !(code.in_place() && whole_rows && fits) {
                        return Err(Mismatch::Place { input: index });
                    }
                    frame[words.outputs + output]
                }
            };
        }
        Ok(Launch {
            code,
            rows,
            cells,
            frame,
            targets,
        })
    }

    /// Runs on at most so many threads of rayon's current pool; one runs on the caller's. The results are the same bits
    /// for any number.
    pub fn run(&mut self, threads: usize) {
        let chunks = self.chunks();
        let words: usize = self.code.totals.iter().map(Total::words).sum();
        let mut left = vec![0u64; chunks * words];
        let threads = if self.rows * self.cells < WORTH_THREADS {
            1
        } else {
            threads.clamp(1, chunks.max(1))
        };
        let next = AtomicUsize::new(0);
        let address = left.as_mut_ptr() as u64;
        let this = &*self;
        let work = || this.work(&next, chunks, address, words);
        if threads == 1 {
            work();
        } else {
            rayon::scope(|scope| {
                for _ in 1..threads {
                    scope.spawn(|_| work());
                }
                work();
            });
        }
        self.finish(&left, words);
    }

    /// How the kernel falls into pieces: parts of each row, or so many rows.
    fn split(&self) -> (usize, usize) {
        if self.code.divides_rows && self.cells > CHUNK {
            (self.cells.div_ceil(CHUNK), 1)
        } else {
            (1, (CHUNK / self.cells.max(1)).max(1))
        }
    }

    fn chunks(&self) -> usize {
        let (parts, rows) = self.split();
        self.rows.div_ceil(rows) * parts
    }

    /// Computes chunks until none is left; chunk n leaves its totals at word n · `words` from `totals`.
    #[expect(unsafe_code, reason = "calls generated code")]
    fn work(&self, next: &AtomicUsize, chunks: usize, totals: u64, words: usize) {
        let (parts, rows) = self.split();
        let mut scratch = vec![0u64; self.code.scratch_rows * self.cells];
        let mut frame = self.frame.clone();
        frame[frame::SCRATCH] = scratch.as_mut_ptr() as u64;
        loop {
            let chunk = next.fetch_add(1, Ordering::Relaxed);
            if chunk >= chunks {
                break;
            }
            let row = chunk / parts * rows;
            frame[frame::ROW_START] = row as u64;
            frame[frame::ROW_END] = (row + rows).min(self.rows) as u64;
            let (start, end) = if parts == 1 {
                (0, self.cells)
            } else {
                let start = chunk % parts * CHUNK;
                (start, (start + CHUNK).min(self.cells))
            };
            frame[frame::CELL_START] = start as u64;
            frame[frame::CELL_END] = end as u64;
            frame[frame::TOTALS] = totals + (chunk * words * 8) as u64;
            // SAFETY: `new` has checked the element and the length of every array and filled the frame; it borrows them
            // for `'a`, the outputs mutably. Chunks are disjoint, each is taken once, and each writes only its own rows,
            // cells and words of totals. `scratch` belongs to this call.
            unsafe { self.code.callable.call(&frame) }
        }
    }

    fn finish(&mut self, left: &[u64], words: usize) {
        let mut totals = self.code.totals.iter();
        let mut first = 0;
        for (target, place) in self.targets.iter_mut().zip(&self.code.layout.outputs) {
            let OutputPlace::Total { .. } = place else {
                continue;
            };
            let Some(total) = totals.next() else { continue };
            let chunks = left.chunks_exact(words.max(1));
            let own = chunks.map(|chunk| &chunk[first..first + total.words()]);
            target.set_first(total.combine(own));
            first += total.words();
        }
    }
}

impl SliceMut<'_> {
    fn as_slice(&self) -> Slice<'_> {
        match self {
            SliceMut::F32(slice) => Slice::F32(slice),
            SliceMut::F64(slice) => Slice::F64(slice),
            SliceMut::Int(slice) => Slice::Int(slice),
            SliceMut::Bool(slice) => Slice::Bool(slice),
        }
    }

    fn address(&mut self) -> u64 {
        match self {
            SliceMut::F32(slice) => slice.as_mut_ptr() as u64,
            SliceMut::F64(slice) => slice.as_mut_ptr() as u64,
            SliceMut::Int(slice) => slice.as_mut_ptr() as u64,
            SliceMut::Bool(slice) => slice.as_mut_ptr() as u64,
        }
    }

    /// `new` has checked that there is an element, and of which kind.
    fn set_first(&mut self, element: Element) {
        match (self, element) {
            (SliceMut::F32([first, ..]), Element::Real(x)) => *first = x as f32,
            (SliceMut::F64([first, ..]), Element::Real(x)) => *first = x,
            (SliceMut::Int([first, ..]), Element::Int(x)) => *first = x,
            (SliceMut::Bool([first, ..]), Element::Bool(x)) => *first = x,
            (
                SliceMut::F32(_) | SliceMut::F64(_) | SliceMut::Int(_) | SliceMut::Bool(_),
                Element::Real(_) | Element::Int(_) | Element::Bool(_),
            ) => {}
        }
    }
}

/// The address of an array that is what the kernel reads or writes.
fn check(
    slice: Slice,
    elem: Elem,
    precision: Precision,
    expected: usize,
    name: impl Fn() -> String,
) -> Result<u64, Mismatch> {
    let (found_elem, reals, found, address) = match slice {
        Slice::F32(slice) => (
            Elem::Real,
            Precision::F32,
            slice.len(),
            slice.as_ptr() as u64,
        ),
        Slice::F64(slice) => (
            Elem::Real,
            Precision::F64,
            slice.len(),
            slice.as_ptr() as u64,
        ),
        Slice::Int(slice) => (Elem::Int, precision, slice.len(), slice.as_ptr() as u64),
        Slice::Bool(slice) => (Elem::Bool, precision, slice.len(), slice.as_ptr() as u64),
    };
    if found_elem != elem || reals != precision {
        return Err(Mismatch::Element { array: name() });
    }
    if found < expected {
        return Err(Mismatch::Length {
            array: name(),
            expected,
            found,
        });
    }
    Ok(address)
}

fn count(what: &'static str, expected: usize, found: usize) -> Result<(), Mismatch> {
    if expected == found {
        Ok(())
    } else {
        Err(Mismatch::Count {
            what,
            expected,
            found,
        })
    }
}

fn product(sizes: impl IntoIterator<Item = usize>) -> Result<usize, Mismatch> {
    let product = sizes
        .into_iter()
        .try_fold(1usize, |product, size| product.checked_mul(size));
    match product {
        Some(product) if isize::try_from(product).is_ok() => Ok(product),
        Some(_) | None => Err(Mismatch::Size),
    }
}
