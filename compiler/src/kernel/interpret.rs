//! The meaning of a kernel in plain f64: the reference of the tests of generated code, and of the pass that makes kernels.

use std::collections::BTreeMap;

use super::{Form, Instruction, Kernel, KernelOp, Level, ScanLoop, ValueId};
use crate::array::{Array, Elements};
use crate::eval::{Fault, primitive};
use crate::graph::{Op, Reduction};
use crate::ty::{DimId, Elem, Ty};

/// All rows as one dimension, and all cells of a row as another.
const ROW: DimId = DimId(0);
const CELL: DimId = DimId(1);

/// The outputs of a kernel, in order, over dimensions of these sizes. Each input has the axes that its dimensions say.
///
/// Fails if the kernel is malformed (`verify` says how), or if an integer is divided by 0 at any cell.
pub fn interpret(
    kernel: &Kernel,
    sizes: &BTreeMap<DimId, usize>,
    inputs: &[Array],
) -> Result<Vec<Array>, Fault> {
    let size = |dim: &DimId| sizes.get(dim).copied().ok_or(Fault::UnknownSize(*dim));
    let shape = |dims: &[DimId]| dims.iter().map(size).collect::<Result<Vec<usize>, Fault>>();
    let (rows, cells) = (shape(&kernel.rows)?, shape(&kernel.cells)?);
    let mut run = Run {
        kernel,
        sizes,
        inputs,
        flat: BTreeMap::from([(ROW, rows.iter().product()), (CELL, cells.iter().product())]),
        values: Vec::new(),
    };
    for instruction in &kernel.body {
        let value = run.instruction(instruction)?;
        run.values.push((instruction.level, value));
    }
    let output = |output: &super::Output| {
        let (level, value) = run.value(output.value)?;
        let (shape, elements) = match &output.form {
            Form::Cells => {
                let shape = [rows.as_slice(), cells.as_slice()].concat();
                (shape, run.at(output.value, Level::Cell)?.elements)
            }
            Form::Rows => (rows.clone(), value.elements.clone()),
            Form::Total { kind, mask } => (
                Vec::new(),
                run.reduce(*kind, *level, output.value, *mask, &[])?
                    .elements,
            ),
        };
        Ok(Array { shape, elements })
    };
    kernel.outputs.iter().map(output).collect()
}

struct Run<'a> {
    kernel: &'a Kernel,
    sizes: &'a BTreeMap<DimId, usize>,
    inputs: &'a [Array],
    /// The numbers of rows and cells.
    flat: BTreeMap<DimId, usize>,
    values: Vec<(Level, Array)>,
}

impl Run<'_> {
    fn value(&self, id: ValueId) -> Result<&(Level, Array), Fault> {
        self.values.get(id.0 as usize).ok_or(Fault::Missing)
    }

    /// A value at a level that is its own or a finer one.
    fn at(&self, id: ValueId, level: Level) -> Result<Array, Fault> {
        let (own, value) = self.value(id)?;
        match (own, level) {
            (Level::Row, Level::Cell) => {
                let elem = crate::eval::elem_of(value);
                self.apply(&Op::Broadcast, elem, &[ROW, CELL], &[(&[ROW], value)])
            }
            (Level::Cell, Level::Row) => Err(Fault::Type),
            (Level::Row, Level::Row) | (Level::Cell, Level::Cell) => Ok(value.clone()),
        }
    }

    fn apply(
        &self,
        op: &Op,
        elem: Elem,
        dims: &[DimId],
        operands: &[(&[DimId], &Array)],
    ) -> Result<Array, Fault> {
        let typed: Vec<(Ty, &Array)> = operands
            .iter()
            .map(|(dims, array)| (Ty::new(crate::eval::elem_of(array), dims.to_vec()), *array))
            .collect();
        let operands: Vec<(&Ty, &Array)> = typed.iter().map(|(ty, array)| (ty, *array)).collect();
        primitive(op, &Ty::new(elem, dims.to_vec()), &operands, &self.flat)
    }

    /// A primitive whose operands have the level of the instruction or a coarser one.
    fn elementwise(&self, op: &Op, to: &Instruction, operands: &[ValueId]) -> Result<Array, Fault> {
        let operands = operands
            .iter()
            .map(|&operand| self.at(operand, to.level))
            .collect::<Result<Vec<Array>, Fault>>()?;
        let dims = dims_of(to.level);
        let operands: Vec<(&[DimId], &Array)> =
            operands.iter().map(|array| (dims, array)).collect();
        self.apply(op, to.elem, dims, &operands)
    }

    fn instruction(&self, to: &Instruction) -> Result<Array, Fault> {
        match &to.op {
            KernelOp::Load(input) => self.load(*input, to.level),
            KernelOp::Real(value) => self.constant(Elements::Real(vec![*value]), to.level),
            KernelOp::Int(value) => self.constant(Elements::Int(vec![*value]), to.level),
            KernelOp::Bool(value) => self.constant(Elements::Bool(vec![*value]), to.level),
            KernelOp::TextValue(value) => {
                self.constant(Elements::Text(vec![value.clone()]), to.level)
            }
            KernelOp::Position(dim) => {
                let n = *self.sizes.get(dim).ok_or(Fault::UnknownSize(*dim))?;
                let positions = Elements::Int((0..n as i64).collect());
                self.spread(&positions, &[*dim], to.level)
            }
            KernelOp::Unary(op, x) => self.elementwise(&Op::Unary(*op), to, &[*x]),
            KernelOp::Binary(op, a, b) => self.elementwise(&Op::Binary(*op), to, &[*a, *b]),
            KernelOp::Select(condition, then, otherwise) => {
                self.elementwise(&Op::Select, to, &[*condition, *then, *otherwise])
            }
            KernelOp::Cast(x) => self.elementwise(&Op::Cast(to.elem), to, &[*x]),
            KernelOp::Text(op, operands) => self.elementwise(&Op::Text(op.clone()), to, operands),
            KernelOp::Reduce { kind, value, mask } => {
                self.reduce(*kind, Level::Cell, *value, *mask, &[ROW])
            }
            KernelOp::Shift { value, by, fill } => {
                let (value, fill) = (self.at(*value, Level::Cell)?, self.at(*fill, Level::Row)?);
                let op = Op::Shift {
                    over: CELL,
                    by: *by,
                };
                self.apply(
                    &op,
                    to.elem,
                    &[ROW, CELL],
                    &[(&[ROW, CELL], &value), (&[ROW], &fill)],
                )
            }
            KernelOp::Scan { scan, part } => {
                let scan = self.kernel.scans.get(*scan).ok_or(Fault::Missing)?;
                self.scan(scan, *part)
            }
            // Only the body of a scan has carries.
            KernelOp::Carry { .. } => Err(Fault::Missing),
        }
    }

    /// The elements where `mask` holds, of a level, to the dimensions `kept`.
    fn reduce(
        &self,
        kind: Reduction,
        level: Level,
        value: ValueId,
        mask: Option<ValueId>,
        kept: &[DimId],
    ) -> Result<Array, Fault> {
        let value = self.at(value, level)?;
        let mask = mask.map(|mask| self.at(mask, level)).transpose()?;
        let dims = dims_of(level);
        let operands: Vec<(&[DimId], &Array)> = [Some(&value), mask.as_ref()]
            .into_iter()
            .flatten()
            .map(|array| (dims, array))
            .collect();
        let over = dims
            .iter()
            .copied()
            .filter(|dim| !kept.contains(dim))
            .collect();
        let elem = if kind == Reduction::Count {
            Elem::Int
        } else {
            crate::eval::elem_of(&value)
        };
        self.apply(&Op::Reduce { kind, over }, elem, kept, &operands)
    }

    /// An input, repeated over the rows whose dimensions it lacks.
    fn load(&self, input: usize, level: Level) -> Result<Array, Fault> {
        let (input, array) = self
            .kernel
            .inputs
            .get(input)
            .zip(self.inputs.get(input))
            .ok_or(Fault::Missing)?;
        self.spread(&array.elements, &input.dims, level)
    }

    fn constant(&self, element: Elements, level: Level) -> Result<Array, Fault> {
        self.spread(&element, &[], level)
    }

    /// Elements over some dimensions of the kernel at every row, or at every cell.
    fn spread(&self, elements: &Elements, dims: &[DimId], level: Level) -> Result<Array, Fault> {
        let all = match level {
            Level::Row => self.kernel.rows.clone(),
            Level::Cell => [self.kernel.rows.as_slice(), &self.kernel.cells].concat(),
        };
        let shape = dims
            .iter()
            .map(|dim| self.sizes.get(dim).copied().ok_or(Fault::UnknownSize(*dim)))
            .collect::<Result<Vec<usize>, Fault>>()?;
        let array = Array {
            shape,
            elements: elements.clone(),
        };
        let elem = crate::eval::elem_of(&array);
        let (from, to) = (Ty::new(elem, dims.to_vec()), Ty::new(elem, all));
        let whole = primitive(&Op::Broadcast, &to, &[(&from, &array)], self.sizes)?;
        Ok(Array {
            shape: self.flat_shape(level),
            elements: whole.elements,
        })
    }

    fn flat_shape(&self, level: Level) -> Vec<usize> {
        dims_of(level).iter().map(|dim| self.flat[dim]).collect()
    }

    /// The values of one carry after each cell. Inside the loop every value is one a row.
    fn scan(&self, scan: &ScanLoop, part: usize) -> Result<Array, Fault> {
        let n_cells = self.flat[&CELL];
        let carries = scan.initial.iter().map(|&carry| self.at(carry, Level::Row));
        let mut carries = carries.collect::<Result<Vec<Array>, Fault>>()?;
        let kept = carries.get(part).ok_or(Fault::Missing)?;
        let mut history = vec![kept.clone(); n_cells];
        for turn in 0..n_cells {
            let cell = if scan.reverse {
                n_cells - 1 - turn
            } else {
                turn
            };
            let mut inside = Run {
                flat: BTreeMap::from([(ROW, self.flat[&ROW]), (CELL, 1)]),
                values: Vec::new(),
                ..*self
            };
            for (level, value) in &self.values {
                let value = match level {
                    Level::Row => value.clone(),
                    Level::Cell => self.cell(value, cell)?,
                };
                inside.values.push((Level::Row, value));
            }
            // The body may stand before instructions of the kernel that are not computed yet.
            inside
                .values
                .resize(self.kernel.body.len(), (Level::Row, Array::bool(false)));
            for instruction in &scan.body {
                let value = if let KernelOp::Carry { part } = &instruction.op {
                    carries.get(*part).cloned().ok_or(Fault::Missing)?
                } else {
                    inside.instruction(&Instruction {
                        level: Level::Row,
                        ..instruction.clone()
                    })?
                };
                inside.values.push((Level::Row, value));
            }
            let mask = scan
                .mask
                .map(|mask| inside.at(mask, Level::Row))
                .transpose()?;
            for (carry, next) in carries.iter_mut().zip(&scan.next) {
                let next = inside.at(*next, Level::Row)?;
                let elem = crate::eval::elem_of(&next);
                *carry = match &mask {
                    None => next,
                    Some(mask) => self.apply(
                        &Op::Select,
                        elem,
                        &[ROW],
                        &[(&[ROW], mask), (&[ROW], &next), (&[ROW], carry)],
                    )?,
                };
            }
            history[cell] = carries[part].clone();
        }
        self.side_by_side(&history, part, scan)
    }

    /// One cell of every row.
    fn cell(&self, value: &Array, cell: usize) -> Result<Array, Fault> {
        let n_rows = self.flat[&ROW];
        let index = Array {
            shape: vec![n_rows],
            elements: Elements::Int(vec![cell as i64; n_rows]),
        };
        let elem = crate::eval::elem_of(value);
        let op = Op::Gather { over: CELL };
        self.apply(
            &op,
            elem,
            &[ROW],
            &[(&[ROW, CELL], value), (&[ROW], &index)],
        )
    }

    /// Values of the rows, one a cell.
    fn side_by_side(&self, cells: &[Array], part: usize, scan: &ScanLoop) -> Result<Array, Fault> {
        let Some(first) = cells.first() else {
            let initial = self.at(*scan.initial.get(part).ok_or(Fault::Missing)?, Level::Row)?;
            let elem = crate::eval::elem_of(&initial);
            return self.apply(&Op::Broadcast, elem, &[ROW, CELL], &[(&[ROW], &initial)]);
        };
        let elem = crate::eval::elem_of(first);
        let operands: Vec<(&[DimId], &Array)> = cells
            .iter()
            .map(|array| ([ROW].as_slice(), array))
            .collect();
        self.apply(&Op::Stack(CELL), elem, &[ROW, CELL], &operands)
    }
}

fn dims_of(level: Level) -> &'static [DimId] {
    match level {
        Level::Row => &[ROW],
        Level::Cell => &[ROW, CELL],
    }
}
