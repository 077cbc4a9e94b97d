//! The words that generated code is called with.

use super::cpu::layout::Layout;

/// Rows `[ROW_START, ROW_END)`, and of each the cells `[CELL_START, CELL_END)`, are to be computed.
pub(super) const ROW_START: usize = 0;
pub(super) const ROW_END: usize = 1;
pub(super) const CELL_START: usize = 2;
pub(super) const CELL_END: usize = 3;
/// Cells of a whole row.
pub(super) const CELLS: usize = 4;
/// Address of scratch memory.
pub(super) const SCRATCH: usize = 5;
/// Address of the words that totals leave.
pub(super) const TOTALS: usize = 6;
/// Address of vector constants.
pub(super) const CONSTANTS: usize = 7;
const FIRST: usize = 8;

/// Where the words stand whose number depends on the kernel: sizes of the rows' dimensions, addresses of inputs, of outputs.
pub(super) struct Words {
    pub(super) sizes: usize,
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    pub(super) count: usize,
}

impl Words {
    pub(super) fn new(layout: &Layout) -> Words {
        let inputs = FIRST + layout.rows;
        let outputs = inputs + layout.inputs.len();
        Words {
            sizes: FIRST,
            inputs,
            outputs,
            count: outputs + layout.outputs.len(),
        }
    }
}
