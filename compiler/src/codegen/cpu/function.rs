//! The function of a kernel: a loop over rows, in each the passes over its cells, and the values of the row between them.

use std::collections::BTreeMap;

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, Value, types};

use super::accumulate::Accumulator;
use super::compute::checked;
use super::lane::{Emit, Held, Lanes};
use super::layout::{Layout, OutputPlace};
use super::memory::{bytes, plain};
use super::passes::{Home, Pass, Place, Schedule};
use crate::codegen::frame::{self, Words};
use crate::codegen::{Declined, Precision};
use crate::kernel::{Form, Kernel, KernelOp, ValueId};
use crate::ty::DimId;

/// Adds the function's body; its only parameter is the address of the frame.
pub(super) fn build(
    emit: &mut Emit,
    kernel: &Kernel,
    layout: &Layout,
    schedule: &Schedule,
) -> Result<(), Declined> {
    let entry = emit.builder.create_block();
    emit.builder.append_block_params_for_function_params(entry);
    emit.builder.switch_to_block(entry);
    let frame = emit.builder.block_params(entry)[0];
    let totals = kernel
        .outputs
        .iter()
        .zip(&layout.outputs)
        .map(|(output, place)| match (&output.form, *place) {
            (Form::Total { kind, .. }, OutputPlace::Total { elem, .. }) => {
                Ok(Some(Accumulator::new(emit, *kind, elem)?))
            }
            (Form::Cells | Form::Rows | Form::Total { .. }, _) => Ok(None),
        })
        .collect::<Result<_, Declined>>()?;
    let mut function = Function {
        precision: emit.lanes.precision,
        kernel,
        layout,
        schedule,
        uses: uses(kernel),
        sums: BTreeMap::new(),
        words: Words::new(layout),
        frame,
        row: frame,
        indices: Vec::new(),
        arrays: BTreeMap::new(),
        rows: Vec::new(),
        reductions: BTreeMap::new(),
        totals,
    };
    function.find_sums();
    function.all_rows(emit)?;
    function.leave_totals(emit);
    emit.builder.ins().return_(&[]);
    emit.builder.seal_all_blocks();
    Ok(())
}

pub(super) struct Function<'a> {
    pub(super) precision: Precision,
    pub(super) kernel: &'a Kernel,
    pub(super) layout: &'a Layout,
    pub(super) schedule: &'a Schedule,
    /// How often each value is read.
    pub(super) uses: Vec<usize>,
    /// By the index of a product by a constant, the sum that it is a part of.
    pub(super) sums: BTreeMap<usize, usize>,
    words: Words,
    /// Its address.
    frame: Value,
    row: Value,
    /// Of the row, along each of the rows' dimensions.
    indices: Vec<Value>,
    /// Where the cells of the row begin in each array that the pass touches.
    arrays: BTreeMap<Place, Value>,
    /// Values of the row.
    pub(super) rows: Vec<Option<Held>>,
    /// By `Reduce` instruction.
    pub(super) reductions: BTreeMap<usize, Accumulator>,
    /// By output.
    pub(super) totals: Vec<Option<Accumulator>>,
}

impl Function<'_> {
    /// A word of the frame, read where it is used: there are few registers.
    pub(super) fn word(&self, emit: &mut Emit, word: usize) -> Value {
        let offset = (word * 8) as i32;
        emit.builder
            .ins()
            .load(types::I64, plain(), self.frame, offset)
    }

    /// Where the cells of the row begin in an array.
    pub(super) fn array(&self, place: Place) -> Result<Value, Declined> {
        let array = self.arrays.get(&place).copied();
        array.ok_or_else(|| Declined::new("a pass touches an array that it does not know"))
    }

    fn all_rows(&mut self, emit: &mut Emit) -> Result<(), Declined> {
        let row = emit.builder.declare_var(types::I64);
        let first = self.word(emit, frame::ROW_START);
        emit.builder.def_var(row, first);
        let [head, body, end] = [(); 3].map(|()| emit.builder.create_block());
        emit.builder.ins().jump(head, &[]);
        emit.builder.switch_to_block(head);
        let index = emit.builder.use_var(row);
        let last = self.word(emit, frame::ROW_END);
        let more = emit.builder.ins().icmp(IntCC::SignedLessThan, index, last);
        emit.builder.ins().brif(more, body, &[], end, &[]);
        emit.builder.switch_to_block(body);
        self.row = index;
        self.one_row(emit)?;
        let next = emit.builder.ins().iadd_imm_s(index, 1);
        emit.builder.def_var(row, next);
        emit.builder.ins().jump(head, &[]);
        emit.builder.switch_to_block(end);
        Ok(())
    }

    fn one_row(&mut self, emit: &mut Emit) -> Result<(), Declined> {
        self.find_indices(emit);
        self.rows = vec![None; self.kernel.body.len()];
        let schedule = self.schedule;
        for (number, pass) in schedule.passes.iter().enumerate() {
            for index in 0..self.kernel.body.len() {
                let is_due = schedule.live[index]
                    && !schedule.varies[index]
                    && schedule.stage[index] == number;
                if is_due {
                    self.row_value(emit, index)?;
                }
            }
            self.find_arrays(emit, number, pass);
            for (scan, values) in &pass.scans {
                self.scan_loop(emit, number, *scan, values)?;
            }
            self.cell_loop(emit, number, pass)?;
        }
        for (number, output) in self.kernel.outputs.iter().enumerate() {
            match (self.layout.outputs[number], &output.form) {
                (OutputPlace::Cells(_), _) | (OutputPlace::Total { of_rows: false, .. }, _) => {}
                (OutputPlace::Rows(_), _) => {
                    let held = self.row_operand(output.value)?;
                    let address = self.output_address(emit, number);
                    emit.store(held, address, 0);
                }
                (OutputPlace::Total { of_rows: true, .. }, form) => {
                    let value = self.row_operand(output.value)?;
                    let mask = form.mask().map(|mask| self.row_operand(mask));
                    let mask = mask.transpose()?;
                    if let Some(total) = &self.totals[number] {
                        total.step(emit, value, mask);
                    }
                }
            }
        }
        Ok(())
    }

    /// The row's index along each dimension, if anything reads it.
    fn find_indices(&mut self, emit: &mut Emit) {
        let partial = self
            .layout
            .inputs
            .iter()
            .any(|place| !place.rows.is_empty() && place.rows.len() < self.layout.rows);
        let counted = self
            .kernel
            .body
            .iter()
            .any(|instruction| self.row_dimension(&instruction.op).is_some());
        self.indices = vec![self.row; self.layout.rows];
        if !partial && !counted {
            return;
        }
        let mut rest = self.row;
        // Of the first dimension the rest is the index.
        for dim in (1..self.layout.rows).rev() {
            let size = self.word(emit, self.words.sizes + dim);
            let quotient = emit.builder.ins().udiv(rest, size);
            let whole = emit.builder.ins().imul(quotient, size);
            self.indices[dim] = emit.builder.ins().isub(rest, whole);
            rest = quotient;
        }
        if let Some(first) = self.indices.first_mut() {
            *first = rest;
        }
    }

    fn row_dimension(&self, op: &KernelOp) -> Option<usize> {
        let rows: &[DimId] = &self.kernel.rows[..self.layout.rows];
        match op {
            KernelOp::Position(dim) => rows.iter().position(|own| own == dim),
            KernelOp::Load(_)
            | KernelOp::Real(_)
            | KernelOp::Int(_)
            | KernelOp::Bool(_)
            | KernelOp::TextValue(_)
            | KernelOp::Unary(..)
            | KernelOp::Binary(..)
            | KernelOp::Select(..)
            | KernelOp::Cast(_)
            | KernelOp::Text(..)
            | KernelOp::Reduce { .. }
            | KernelOp::Shift { .. }
            | KernelOp::Scan { .. }
            | KernelOp::Carry { .. } => None,
        }
    }

    /// Addresses of what a pass touches, once a row.
    fn find_arrays(&mut self, emit: &mut Emit, number: usize, pass: &Pass) {
        self.arrays.clear();
        for place in self.schedule.places(self.kernel, number, pass) {
            let address = match place {
                Place::Input(input) => self.input_address(emit, input),
                Place::Kept(Home::Output(output)) => self.output_address(emit, output),
                Place::Kept(Home::Scratch(row)) => {
                    // Eight bytes a cell, whatever it holds.
                    let cells = self.word(emit, frame::CELLS);
                    let offset = emit.builder.ins().imul_imm_s(cells, 8 * row as i64);
                    let scratch = self.word(emit, frame::SCRATCH);
                    emit.builder.ins().iadd(scratch, offset)
                }
            };
            self.arrays.insert(place, address);
        }
    }

    /// Where the row, or its element, begins in an input.
    fn input_address(&self, emit: &mut Emit, number: usize) -> Value {
        let place = &self.layout.inputs[number];
        let base = self.word(emit, self.words.inputs + number);
        let element = if place.rows.len() == self.layout.rows {
            self.row
        } else {
            let mut element = emit.builder.ins().iconst(types::I64, 0);
            for &dim in &place.rows {
                let size = self.word(emit, self.words.sizes + dim);
                element = emit.builder.ins().imul(element, size);
                element = emit.builder.ins().iadd(element, self.indices[dim]);
            }
            element
        };
        let size = bytes(place.elem, self.precision);
        self.element_address(emit, base, element, place.has_cells, size)
    }

    /// As for an input; of a total, where it stands.
    fn output_address(&self, emit: &mut Emit, number: usize) -> Value {
        let place = self.layout.outputs[number];
        let base = self.word(emit, self.words.outputs + number);
        let size = bytes(place.elem(), self.precision);
        match place {
            OutputPlace::Cells(_) => self.element_address(emit, base, self.row, true, size),
            OutputPlace::Rows(_) => self.element_address(emit, base, self.row, false, size),
            OutputPlace::Total { .. } => base,
        }
    }

    /// The address of an element of rows, or of the first cell of its row.
    fn element_address(
        &self,
        emit: &mut Emit,
        base: Value,
        element: Value,
        has_cells: bool,
        size: usize,
    ) -> Value {
        let element = if has_cells {
            let cells = self.word(emit, frame::CELLS);
            emit.builder.ins().imul(element, cells)
        } else {
            element
        };
        let offset = emit.builder.ins().imul_imm_s(element, size as i64);
        emit.builder.ins().iadd(base, offset)
    }

    fn row_value(&mut self, emit: &mut Emit, index: usize) -> Result<(), Declined> {
        let instruction = &self.kernel.body[index];
        let held = match &instruction.op {
            KernelOp::Load(input) => {
                let address = self.input_address(emit, *input);
                emit.load(instruction.elem, address, 0)
            }
            KernelOp::Reduce { .. } => match self.reductions.remove(&index) {
                Some(reduction) => reduction.finish(emit, self.precision),
                None => return Err(Declined::new("a reduction has no pass")),
            },
            op @ KernelOp::Position(_) => match self.row_dimension(op) {
                Some(dim) => Held::new(instruction.elem, self.indices[dim]),
                None => return Err(Declined::new("it counts along a dimension that it lacks")),
            },
            KernelOp::Real(_)
            | KernelOp::Int(_)
            | KernelOp::Bool(_)
            | KernelOp::TextValue(_)
            | KernelOp::Unary(..)
            | KernelOp::Binary(..)
            | KernelOp::Select(..)
            | KernelOp::Cast(_)
            | KernelOp::Text(..)
            | KernelOp::Shift { .. }
            | KernelOp::Scan { .. }
            | KernelOp::Carry { .. } => self.compute(emit, instruction, &mut |_, value| {
                self.rows.get(value.0 as usize).copied().flatten()
            })?,
        };
        self.rows[index] = Some(checked(instruction, held)?);
        Ok(())
    }

    pub(super) fn row_operand(&self, value: ValueId) -> Result<Held, Declined> {
        self.rows
            .get(value.0 as usize)
            .copied()
            .flatten()
            .ok_or_else(|| Declined::new("a value of rows is read before it is there"))
    }

    fn leave_totals(&self, emit: &mut Emit) {
        let mut totals = self.totals.iter().flatten().peekable();
        if totals.peek().is_none() {
            return;
        }
        let address = self.word(emit, frame::TOTALS);
        let mut word = 0;
        for total in totals {
            for value in emit.with(Lanes::scalar(self.precision), |emit| total.words(emit)) {
                emit.builder.ins().store(plain(), value, address, word * 8);
                word += 1;
            }
        }
    }
}

fn uses(kernel: &Kernel) -> Vec<usize> {
    let of_body = kernel.body.iter().flat_map(|it| it.op.operands());
    let of_scans = kernel
        .scans
        .iter()
        .flat_map(|scan| scan.reads(kernel.body.len()));
    let of_outputs = kernel
        .outputs
        .iter()
        .flat_map(|output| [Some(output.value), output.form.mask()]);
    let mut uses = vec![0; kernel.body.len()];
    for value in of_body.chain(of_scans).chain(of_outputs.flatten()) {
        if let Some(uses) = uses.get_mut(value.0 as usize) {
            *uses += 1;
        }
    }
    uses
}
