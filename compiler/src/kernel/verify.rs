//! What holds of every kernel: generated code relies on it, so that it never reads or writes where it must not.
//!
//! 1. The rows' dimensions ascend, the cells' ascend and come after them.
//! 2. An input has dimensions of the rows, and all of the cells' or none.
//! 3. Operands come before their users. A value of a row reads values of rows, but for a reduction, which reads cells.
//! 4. Elements are those of the primitive; masks are bool.
//! 5. Positions along the cells, shifts and scans have one dimension of cells.
//! 6. An output of cells is a value of cells or rows; one of rows is a value of rows.

use super::{Form, Instruction, Kernel, KernelOp, Level, ScanLoop, ValueId};
use crate::ty::Elem;

/// What is wrong with a kernel; `Ok` if nothing is.
pub fn verify(kernel: &Kernel) -> Result<(), String> {
    let dims = [kernel.rows.as_slice(), &kernel.cells].concat();
    claim(
        dims.windows(2).all(|pair| pair[0] < pair[1]),
        "dimensions ascend",
    )?;
    for (number, input) in kernel.inputs.iter().enumerate() {
        let of_cells = input
            .dims
            .iter()
            .filter(|dim| kernel.cells.contains(dim))
            .count();
        let fits = input.dims.iter().all(|dim| dims.contains(dim))
            && input.dims.windows(2).all(|pair| pair[0] < pair[1])
            && (of_cells == 0 || of_cells == kernel.cells.len());
        claim(
            fits,
            &format!("input {number} has all of the cells' dimensions or none"),
        )?;
    }
    let mut known: Vec<(Elem, Level)> = Vec::new();
    for (number, instruction) in kernel.body.iter().enumerate() {
        check(kernel, &known, instruction, None)
            .map_err(|violation| format!("instruction {number}: {violation}"))?;
        known.push((instruction.elem, instruction.level));
    }
    for (number, scan) in kernel.scans.iter().enumerate() {
        check_scan(kernel, &known, scan)
            .map_err(|violation| format!("scan {number}: {violation}"))?;
    }
    for output in &kernel.outputs {
        let &(_, level) = known
            .get(output.value.0 as usize)
            .ok_or("an output has a value")?;
        match &output.form {
            Form::Cells => {}
            Form::Rows => claim(level == Level::Row, "an output of rows is a value of rows")?,
            Form::Total { mask, .. } => {
                let fits = mask
                    .is_none_or(|mask| known.get(mask.0 as usize) == Some(&(Elem::Bool, level)));
                claim(
                    fits,
                    "the mask of a total is bool, of the level of its value",
                )?;
            }
        }
    }
    Ok(())
}

fn check(
    kernel: &Kernel,
    known: &[(Elem, Level)],
    instruction: &Instruction,
    carries: Option<&[Elem]>,
) -> Result<(), String> {
    let value = |id: &ValueId| {
        known
            .get(id.0 as usize)
            .copied()
            .ok_or_else(|| "an operand comes first".to_string())
    };
    let below = |ids: &[ValueId]| {
        ids.iter().try_for_each(|id| {
            claim(
                value(id)?.1 <= instruction.level,
                "a value of a row reads values of rows",
            )
        })
    };
    let elem = |id: &ValueId| value(id).map(|(elem, _)| elem);
    let one_dim = || claim(kernel.cells.len() == 1, "there is one dimension of cells");
    let own = instruction.elem;
    match &instruction.op {
        KernelOp::Load(input) => {
            let input = kernel.inputs.get(*input).ok_or("the input is there")?;
            let of_cells = input.dims.iter().any(|dim| kernel.cells.contains(dim));
            claim(
                !of_cells || instruction.level == Level::Cell,
                "an input of cells is loaded as one",
            )?;
            claim(input.elem == own, "a load has the element of its input")
        }
        KernelOp::Real(_) => claim(own == Elem::Real, "a real is real"),
        KernelOp::Int(_) => claim(own == Elem::Int, "an int is an int"),
        KernelOp::Bool(_) => claim(own == Elem::Bool, "a bool is a bool"),
        KernelOp::TextValue(_) => claim(own == Elem::Text, "a text is a text"),
        KernelOp::Position(dim) => {
            claim(own == Elem::Int, "a position is an int")?;
            match instruction.level {
                Level::Row => claim(kernel.rows.contains(dim), "the dimension is of the rows"),
                Level::Cell if kernel.rows.contains(dim) => Ok(()),
                Level::Cell => {
                    one_dim()?;
                    claim(kernel.cells.contains(dim), "the dimension is of the kernel")
                }
            }
        }
        KernelOp::Unary(_, x) | KernelOp::Cast(x) => below(&[*x]),
        KernelOp::Binary(_, a, b) => {
            claim(elem(a)? == elem(b)?, "both operands have one element")?;
            below(&[*a, *b])
        }
        KernelOp::Select(condition, then, otherwise) => {
            claim(elem(condition)? == Elem::Bool, "a condition is bool")?;
            claim(
                elem(then)? == own && elem(otherwise)? == own,
                "branches have the element",
            )?;
            below(&[*condition, *then, *otherwise])
        }
        KernelOp::Text(_, operands) => below(operands),
        KernelOp::Reduce { value: x, mask, .. } => {
            claim(!kernel.cells.is_empty(), "there are cells to reduce")?;
            claim(
                instruction.level == Level::Row,
                "a reduction is a value of its row",
            )?;
            claim(value(x)?.1 == Level::Cell, "a reduction is of cells")?;
            mask.iter().try_for_each(|mask| {
                claim(
                    value(mask)? == (Elem::Bool, Level::Cell),
                    "a mask is a bool of cells",
                )
            })
        }
        KernelOp::Shift { value: x, fill, .. } => {
            one_dim()?;
            claim(
                instruction.level == Level::Cell,
                "a shifted value is of cells",
            )?;
            claim(value(x)?.1 == Level::Cell, "what is shifted is of cells")?;
            claim(
                value(fill)?.1 == Level::Row,
                "what fills is a value of the row",
            )
        }
        KernelOp::Scan { scan, part } => {
            one_dim()?;
            let scan = kernel.scans.get(*scan).ok_or("the scan is there")?;
            claim(instruction.level == Level::Cell, "a scan is of cells")?;
            // What the loop reads comes before it.
            scan.initial
                .iter()
                .chain(&scan.mask)
                .try_for_each(|id| value(id).map(drop))?;
            let outer = scan.reads(kernel.body.len());
            outer.iter().try_for_each(|id| value(id).map(drop))?;
            claim(*part < scan.next.len(), "the part is a carry")
        }
        KernelOp::Carry { part } => {
            let carries = carries.ok_or("a carry is inside a scan")?;
            claim(
                carries.get(*part) == Some(&own),
                "a carry has the element of its start",
            )
        }
    }
}

fn check_scan(kernel: &Kernel, known: &[(Elem, Level)], scan: &ScanLoop) -> Result<(), String> {
    let of_row = |id: &ValueId| match known.get(id.0 as usize) {
        Some(&(elem, Level::Row)) => Ok(elem),
        Some((_, Level::Cell)) | None => Err("a carry starts from a value of the row".to_string()),
    };
    let carries = scan
        .initial
        .iter()
        .map(of_row)
        .collect::<Result<Vec<Elem>, String>>()?;
    claim(
        carries.len() == scan.next.len(),
        "each carry has a next value",
    )?;
    let mut inside: Vec<(Elem, Level)> = known.to_vec();
    for instruction in &scan.body {
        let moves = matches!(
            instruction.op,
            KernelOp::Load(_)
                | KernelOp::Reduce { .. }
                | KernelOp::Shift { .. }
                | KernelOp::Scan { .. }
        );
        claim(!moves, "the body of a scan is elementwise")?;
        check(kernel, &inside, instruction, Some(&carries))?;
        inside.push((instruction.elem, instruction.level));
    }
    let elem = |id: &ValueId| inside.get(id.0 as usize).map(|&(elem, _)| elem);
    let fits = scan
        .next
        .iter()
        .zip(&carries)
        .all(|(next, carry)| elem(next) == Some(*carry));
    claim(fits, "a next value has the element of its carry")?;
    claim(
        scan.mask.is_none_or(|mask| elem(&mask) == Some(Elem::Bool)),
        "a mask is bool",
    )
}

fn claim(holds: bool, otherwise: &str) -> Result<(), String> {
    if holds {
        Ok(())
    } else {
        Err(otherwise.to_string())
    }
}
