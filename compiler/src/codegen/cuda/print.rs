//! A kernel as C, statement by statement.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::element::{binary, c_type, cast, literal, reducer, unary};
use super::passes::Passes;
use super::{ENTRY, TOTALS, size_name};
use crate::graph::Reduction;
use crate::kernel::{Form, Input, Instruction, Kernel, KernelOp, Level, Output, ValueId};
use crate::ty::{DimId, Elem};

pub(super) struct Printer<'k> {
    kernel: &'k Kernel,
    passes: &'k Passes<'k>,
}

/// Statements of one scope, and the values that are declared there or around it.
struct Scope {
    text: String,
    indent: usize,
    known: BTreeSet<ValueId>,
}

impl Scope {
    fn inner(&self) -> Scope {
        Scope {
            text: String::new(),
            indent: self.indent + 1,
            known: self.known.clone(),
        }
    }

    fn line(&mut self, line: impl AsRef<str>) {
        let indent = 4 * self.indent;
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, "{:indent$}{}", "", line.as_ref());
    }

    /// A loop or a condition around the statements of an inner scope.
    fn block(&mut self, head: impl AsRef<str>, inner: Scope) {
        self.line(format!("{} {{", head.as_ref()));
        self.text.push_str(&inner.text);
        self.line("}");
    }
}

fn name(id: ValueId) -> String {
    format!("v{}", id.0)
}

impl<'k> Printer<'k> {
    pub(super) fn new(kernel: &'k Kernel, passes: &'k Passes<'k>) -> Printer<'k> {
        Printer { kernel, passes }
    }

    fn instruction(&self, id: ValueId) -> &'k Instruction {
        &self.kernel.body[id.0 as usize]
    }

    fn totals_of(&self) -> impl Iterator<Item = (usize, &'k Output, Reduction, Option<ValueId>)> {
        let outputs = self.kernel.outputs.iter().enumerate();
        outputs.filter_map(|(place, output)| match output.form {
            Form::Total { kind, mask } => Some((place, output, kind, mask)),
            Form::Cells | Form::Rows => None,
        })
    }

    fn reducer_of(&self, kind: Reduction, value: ValueId) -> &'static str {
        reducer(kind, self.passes.elem_of(value))
    }

    /// The kernel itself.
    pub(super) fn kernel(&self) -> Result<String, String> {
        let mut parameters = Vec::new();
        for (place, input) in self.kernel.inputs.iter().enumerate() {
            parameters.push(format!(
                "const {} *__restrict__ in{place}",
                memory(input.elem)
            ));
        }
        for (place, output) in self.kernel.outputs.iter().enumerate() {
            match output.form {
                Form::Cells | Form::Rows => {
                    let elem = self.passes.elem_of(output.value);
                    parameters.push(format!("{} *__restrict__ out{place}", memory(elem)));
                }
                Form::Total { .. } => {}
            }
        }
        parameters.extend(
            self.totals_of()
                .map(|(place, ..)| format!("void *partial{place}")),
        );
        for (place, id) in self.passes.kept().enumerate() {
            let elem = memory(self.passes.elem_of(id));
            parameters.push(format!("{elem} *__restrict__ kept{place}"));
        }
        let n_rows = self.kernel.rows.len();
        parameters.extend((0..n_rows).map(|place| format!("integer n{place}")));
        parameters.push("integer cells".to_string());

        let mut scope = Scope {
            text: String::new(),
            indent: 1,
            known: BTreeSet::new(),
        };
        let rows: Vec<String> = (0..n_rows).map(|place| format!("n{place}")).collect();
        let rows = if rows.is_empty() {
            "1".to_string()
        } else {
            rows.join(" * ")
        };
        scope.line(format!("const integer rows = {rows};"));
        for (place, output, kind, _) in self.totals_of() {
            scope.line(format!(
                "{} total{place};",
                self.reducer_of(kind, output.value)
            ));
        }
        if self.passes.is_flat() {
            self.flat(&mut scope)?;
        } else {
            self.by_rows(&mut scope)?;
        }
        for (place, ..) in self.totals_of() {
            scope.line(format!("of_block(total{place}, partial{place});"));
        }
        Ok(format!(
            "extern \"C\" __global__ void {ENTRY}({}) {{\n{}}}\n",
            parameters.join(", "),
            scope.text
        ))
    }

    /// The kernel that joins what the blocks left.
    pub(super) fn totals(&self) -> String {
        let mut parameters: Vec<String> = Vec::new();
        let mut lines = String::new();
        for (place, output, kind, _) in self.totals_of() {
            let elem = self.kernel.elem(output);
            let reducer = self.reducer_of(kind, output.value);
            parameters.push(format!("const void *partial{place}"));
            lines += &format!("    total<{reducer}>(partial{place}, blocks, out{place});\n");
            parameters.push(format!("{} *out{place}", memory(elem)));
        }
        if parameters.is_empty() {
            return String::new();
        }
        // All partials first, as the launch has them.
        parameters.sort_by_key(|parameter| !parameter.starts_with("const"));
        let parameters = parameters.join(", ");
        format!(
            "extern \"C\" __global__ void {TOTALS}({parameters}, integer blocks) {{\n{lines}}}\n"
        )
    }

    /// Every thread takes cells of the whole index space.
    fn flat(&self, scope: &mut Scope) -> Result<(), String> {
        let mut inner = scope.inner();
        inner.line("const integer row = place / cells, cell = place % cells;");
        self.outputs(&mut inner, None, |_| true)?;
        let head = "for (integer place = blockIdx.x * integer(blockDim.x) + threadIdx.x; place < rows * cells; \
                    place += integer(gridDim.x) * blockDim.x)";
        scope.block(head, inner);
        Ok(())
    }

    /// A warp takes a row.
    fn by_rows(&self, scope: &mut Scope) -> Result<(), String> {
        scope.line("const integer lane = threadIdx.x % WARP, warps = blockDim.x / WARP;");
        let mut row = scope.inner();
        for pass in 0..self.passes.count() {
            self.pass(&mut row, pass)?;
        }
        let head = "for (integer row = blockIdx.x * warps + threadIdx.x / WARP; row < rows; row += gridDim.x * warps)";
        scope.block(head, row);
        Ok(())
    }

    /// The reductions, scans and kept values of one pass, and the outputs that are known by then.
    fn pass(&self, row: &mut Scope, pass: usize) -> Result<(), String> {
        let ids = (0..self.kernel.body.len()).map(|place| ValueId(place as u32));
        let waiting: Vec<ValueId> = ids
            .filter(|&id| super::waits_for_row(&self.instruction(id).op))
            .filter(|&id| self.passes.runs_in(id) == pass)
            .collect();
        let mut cells = row.inner();
        let mut after = Vec::new();
        let mut is_kept: BTreeSet<usize> = BTreeSet::new();
        for &id in &waiting {
            match &self.instruction(id).op {
                KernelOp::Reduce { kind, value, mask } => {
                    row.line(format!("{} r{};", self.reducer_of(*kind, *value), id.0));
                    let target = (format!("r{}", id.0), *kind);
                    self.add(&mut cells, Some(row), target, *value, *mask)?;
                    after.push(format!(
                        "const {} {} = of_warp(r{}).value();",
                        c_type(self.instruction(id).elem),
                        name(id),
                        id.0
                    ));
                }
                KernelOp::Shift { value, .. } => {
                    if let Some(place) = self.passes.place_of_kept(*value)
                        && !matches!(self.instruction(*value).op, KernelOp::Scan { .. })
                        && is_kept.insert(place)
                    {
                        self.need(&mut cells, row, *value)?;
                        cells.line(format!(
                            "kept{place}[row * cells + cell] = {};",
                            name(*value)
                        ));
                    }
                }
                KernelOp::Scan { .. } => {}
                op => return Err(format!("{op:?} does not wait for its row")),
            }
        }
        self.outputs(&mut cells, Some(row), |output| {
            self.first_of(output) == pass && !self.is_of_rows(output)
        })?;
        if !cells.text.is_empty() {
            row.block(
                "for (integer cell = lane; cell < cells; cell += WARP)",
                cells,
            );
        }
        let mut first = row.inner();
        self.outputs(&mut first, Some(row), |output| {
            self.first_of(output) == pass && self.is_of_rows(output)
        })?;
        if !first.text.is_empty() {
            row.block("if (lane == 0)", first);
        }
        for line in after {
            row.line(line);
        }
        let scans: Vec<ValueId> = waiting
            .iter()
            .copied()
            .filter(|&id| matches!(self.instruction(id).op, KernelOp::Scan { .. }))
            .collect();
        self.scans(row, &scans)?;
        if !waiting.is_empty() {
            row.line("__syncwarp();");
        }
        row.known.extend(
            waiting
                .iter()
                .copied()
                .filter(|&id| matches!(self.instruction(id).op, KernelOp::Reduce { .. })),
        );
        Ok(())
    }

    /// The first pass in which an output and its mask are known.
    fn first_of(&self, output: &Output) -> usize {
        let mask = match output.form {
            Form::Total { mask, .. } => mask,
            Form::Cells | Form::Rows => None,
        };
        let ids = [Some(output.value), mask];
        let passes = ids
            .iter()
            .flatten()
            .map(|id| self.passes.first[id.0 as usize]);
        passes.max().unwrap_or(0)
    }

    /// Stores and totals of a level, where its index is known; the values of rows stand in `row`, if there is such a scope.
    fn outputs(
        &self,
        target: &mut Scope,
        mut row: Option<&mut Scope>,
        wanted: impl Fn(&Output) -> bool,
    ) -> Result<(), String> {
        for (place, output) in self.kernel.outputs.iter().enumerate() {
            if !wanted(output) {
                continue;
            }
            let value = name(output.value);
            match &output.form {
                Form::Cells => {
                    self.need_in(target, row.as_deref_mut(), output.value)?;
                    target.line(format!("out{place}[row * cells + cell] = {value};"));
                }
                Form::Rows => {
                    self.need_in(target, row.as_deref_mut(), output.value)?;
                    target.line(format!("out{place}[row] = {value};"));
                }
                Form::Total { kind, mask } => {
                    let total = (format!("total{place}"), *kind);
                    self.add(target, row.as_deref_mut(), total, output.value, *mask)?;
                }
            }
        }
        Ok(())
    }

    /// Whether an output has an element a row.
    fn is_of_rows(&self, output: &Output) -> bool {
        match output.form {
            Form::Cells => false,
            Form::Rows => true,
            Form::Total { .. } => self.instruction(output.value).level == Level::Row,
        }
    }

    /// One more element of a reduction.
    fn add(
        &self,
        cells: &mut Scope,
        mut row: Option<&mut Scope>,
        (reduction, kind): (String, Reduction),
        value: ValueId,
        mask: Option<ValueId>,
    ) -> Result<(), String> {
        // Of what is counted only the mask matters.
        let element = if kind == Reduction::Count {
            "1".to_string()
        } else {
            self.need_in(cells, row.as_deref_mut(), value)?;
            name(value)
        };
        match mask {
            Some(mask) => {
                self.need_in(cells, row, mask)?;
                cells.line(format!("if ({}) {reduction}.add({element});", name(mask)));
            }
            None => cells.line(format!("{reduction}.add({element});")),
        }
        Ok(())
    }

    fn need(&self, cells: &mut Scope, row: &mut Scope, id: ValueId) -> Result<(), String> {
        self.need_in(cells, Some(row), id)
    }

    /// Declares a value and what it is made of; one of a row outside the loop over cells, where there is an outside.
    fn need_in(
        &self,
        cells: &mut Scope,
        mut row: Option<&mut Scope>,
        id: ValueId,
    ) -> Result<(), String> {
        let is_outside = self.instruction(id).level == Level::Row;
        if cells.known.contains(&id) || row.as_ref().is_some_and(|row| row.known.contains(&id)) {
            return Ok(());
        }
        let op = &self.instruction(id).op;
        if let KernelOp::Reduce { .. } = op {
            return Err("a reduction is read before its pass".to_string());
        }
        let reads: Vec<ValueId> = match op {
            // From memory.
            KernelOp::Scan { .. } => Vec::new(),
            KernelOp::Shift { fill, .. } => vec![*fill],
            op => super::passes::operands(self.kernel, op),
        };
        for operand in reads {
            self.need_in(cells, row.as_deref_mut(), operand)?;
        }
        let value = self.expression(id)?;
        let line = format!(
            "const {} {} = {value};",
            c_type(self.instruction(id).elem),
            name(id)
        );
        let target = match row {
            Some(row) if is_outside => row,
            Some(_) | None => cells,
        };
        target.line(line);
        target.known.insert(id);
        Ok(())
    }

    fn expression(&self, id: ValueId) -> Result<String, String> {
        let instruction = self.instruction(id);
        Ok(match &instruction.op {
            KernelOp::Scan { .. } => {
                let place = self.passes.place_of_kept(id).ok_or("a scan is kept")?;
                format!("kept{place}[row * cells + cell]")
            }
            KernelOp::Shift { value, by, fill } => {
                let place = self
                    .passes
                    .place_of_kept(*value)
                    .ok_or("a shifted value is kept")?;
                format!(
                    "cell - {by} >= 0 && cell - {by} < cells ? kept{place}[row * cells + cell - {by}] : {}",
                    name(*fill)
                )
            }
            op => self.scalar(op, instruction.elem, |id| self.passes.elem_of(id), name)?,
        })
    }

    /// What a primitive on scalars is in C.
    fn scalar(
        &self,
        op: &KernelOp,
        elem: Elem,
        elem_of: impl Fn(ValueId) -> Elem,
        name: impl Fn(ValueId) -> String,
    ) -> Result<String, String> {
        Ok(match op {
            KernelOp::Load(input) => {
                let own = &self.kernel.inputs[*input];
                format!("in{input}[{}]", self.place(own))
            }
            KernelOp::Real(value) => literal(*value),
            KernelOp::Int(value) => format!("integer({value}ll)"),
            KernelOp::Bool(value) => value.to_string(),
            KernelOp::Position(dim) => self.index(*dim)?,
            KernelOp::Unary(op, x) => unary(*op, elem_of(*x), &name(*x)),
            KernelOp::Binary(op, a, b) => binary(*op, elem_of(*a), &name(*a), &name(*b)),
            KernelOp::Select(condition, then, otherwise) => {
                format!(
                    "{} ? {} : {}",
                    name(*condition),
                    name(*then),
                    name(*otherwise)
                )
            }
            KernelOp::Cast(x) => cast(elem_of(*x), elem, &name(*x)),
            KernelOp::TextValue(_) | KernelOp::Text(..) => {
                return Err("text is computed on the CPU".to_string());
            }
            KernelOp::Carry { part } => format!("carry{part}"),
            KernelOp::Reduce { .. } | KernelOp::Shift { .. } | KernelOp::Scan { .. } => {
                return Err("this waits for its row".to_string());
            }
        })
    }

    /// The index along a dimension of the rows, or that of the cell.
    fn index(&self, dim: DimId) -> Result<String, String> {
        let Some(place) = self.kernel.rows.iter().position(|&own| own == dim) else {
            return Ok("cell".to_string());
        };
        let later: Vec<String> = (place + 1..self.kernel.rows.len())
            .map(|later| format!("n{later}"))
            .collect();
        Ok(match (later.is_empty(), place) {
            (true, 0) => "row".to_string(),
            (true, _) => format!("(row % n{place})"),
            (false, 0) => format!("(row / ({}))", later.join(" * ")),
            (false, _) => format!("(row / ({}) % n{place})", later.join(" * ")),
        })
    }

    /// Where the element of an input lies that belongs to the row and cell.
    fn place(&self, input: &Input) -> String {
        let has_cells = self
            .kernel
            .cells
            .first()
            .is_some_and(|dim| input.dims.contains(dim));
        let rows: Vec<DimId> = input
            .dims
            .iter()
            .copied()
            .filter(|dim| self.kernel.rows.contains(dim))
            .collect();
        let row = if rows == self.kernel.rows {
            "row".to_string()
        } else {
            // Row-major over the dimensions that it has.
            rows.iter().fold(String::new(), |before, &dim| {
                let index = self.index(dim).unwrap_or_default();
                match (before.is_empty(), size_name(self.kernel, dim)) {
                    (false, Some(size)) => format!("({before} * {size} + {index})"),
                    (true, _) | (false, None) => index,
                }
            })
        };
        match (rows.is_empty(), has_cells) {
            (true, true) => "cell".to_string(),
            (true, false) => "0".to_string(),
            (false, true) => format!("{row} * cells + cell"),
            (false, false) => row,
        }
    }

    /// Loops along the row by one lane; the others wait.
    fn scans(&self, row: &mut Scope, parts: &[ValueId]) -> Result<(), String> {
        let mut loops: Vec<usize> = Vec::new();
        for &id in parts {
            if let KernelOp::Scan { scan, .. } = self.instruction(id).op
                && !loops.contains(&scan)
            {
                loops.push(scan);
            }
        }
        for scan in loops {
            let own = &self.kernel.scans[scan];
            let of_body = self.kernel.body.len();
            let mut cells = row.inner();
            cells.indent += 1;
            let mut outside = row.inner();
            for (part, &initial) in own.initial.iter().enumerate() {
                self.need(&mut cells, row, initial)?;
                let elem = c_type(self.passes.elem_of(initial));
                outside.line(format!("{elem} carry{part} = {};", name(initial)));
            }
            cells.line(if own.reverse {
                "const integer cell = cells - 1 - along;"
            } else {
                "const integer cell = along;"
            });
            let elem_of = |id: ValueId| match (id.0 as usize).checked_sub(of_body) {
                Some(inner) => own.body[inner].elem,
                None => self.passes.elem_of(id),
            };
            let read = self.instructions_read(scan);
            for id in read {
                self.need(&mut cells, row, id)?;
            }
            for (place, inner) in own.body.iter().enumerate() {
                let value = self.scalar(&inner.op, inner.elem, elem_of, name)?;
                let id = ValueId((of_body + place) as u32);
                cells.line(format!(
                    "const {} {} = {value};",
                    c_type(inner.elem),
                    name(id)
                ));
            }
            let condition = match own.mask {
                Some(mask) => format!("if ({}) ", name(mask)),
                None => String::new(),
            };
            // All next values are known before the first carry changes.
            for (part, &next) in own.next.iter().enumerate() {
                cells.line(format!(
                    "const {} next{part} = {};",
                    c_type(elem_of(next)),
                    name(next)
                ));
            }
            for part in 0..own.next.len() {
                cells.line(format!("{condition}carry{part} = next{part};"));
            }
            for &id in parts {
                if let KernelOp::Scan { scan: other, part } = self.instruction(id).op
                    && other == scan
                    && let Some(place) = self.passes.place_of_kept(id)
                {
                    cells.line(format!("kept{place}[row * cells + cell] = carry{part};"));
                }
            }
            outside.block("for (integer along = 0; along < cells; along += 1)", cells);
            row.block("if (lane == 0)", outside);
        }
        Ok(())
    }

    /// Values of the kernel that a scan reads at each cell.
    fn instructions_read(&self, scan: usize) -> Vec<ValueId> {
        let op = KernelOp::Scan { scan, part: 0 };
        let initial = &self.kernel.scans[scan].initial;
        super::passes::operands(self.kernel, &op)
            .into_iter()
            .filter(|id| !initial.contains(id))
            .collect()
    }
}

/// The type of an element in memory.
fn memory(elem: Elem) -> &'static str {
    match elem {
        Elem::Bool => "bool",
        Elem::Real | Elem::Int | Elem::Text => c_type(elem),
    }
}
