//! A kernel as C, statement by statement.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::element::{c_type, reducer};
use super::passes::Passes;
use super::{ENTRY, TOTALS};
use crate::graph::Reduction;
use crate::kernel::{Form, Instruction, Kernel, KernelOp, Level, Output, ValueId};
use crate::ty::Elem;

pub(super) struct Printer<'k> {
    pub(super) kernel: &'k Kernel,
    pub(super) passes: &'k Passes<'k>,
}

/// Statements of one scope, and the values that are declared there or around it.
pub(super) struct Scope {
    pub(super) text: String,
    pub(super) indent: usize,
    pub(super) known: BTreeSet<ValueId>,
}

impl Scope {
    pub(super) fn inner(&self) -> Scope {
        Scope {
            text: String::new(),
            indent: self.indent + 1,
            known: self.known.clone(),
        }
    }

    pub(super) fn line(&mut self, line: impl AsRef<str>) {
        let indent = 4 * self.indent;
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, "{:indent$}{}", "", line.as_ref());
    }

    /// A loop or a condition around the statements of an inner scope.
    pub(super) fn block(&mut self, head: impl AsRef<str>, inner: Scope) {
        self.line(format!("{} {{", head.as_ref()));
        self.text.push_str(&inner.text);
        self.line("}");
    }
}

pub(super) fn name(id: ValueId) -> String {
    format!("v{}", id.0)
}

impl<'k> Printer<'k> {
    pub(super) fn new(kernel: &'k Kernel, passes: &'k Passes<'k>) -> Printer<'k> {
        Printer { kernel, passes }
    }

    pub(super) fn instruction(&self, id: ValueId) -> &'k Instruction {
        &self.kernel.body[id.0 as usize]
    }

    pub(super) fn totals_of(
        &self,
    ) -> impl Iterator<Item = (usize, &'k Output, Reduction, Option<ValueId>)> {
        let outputs = self.kernel.outputs.iter().enumerate();
        outputs.filter_map(|(place, output)| match output.form {
            Form::Total { kind, mask } => Some((place, output, kind, mask)),
            Form::Cells | Form::Rows => None,
        })
    }

    pub(super) fn reducer_of(&self, kind: Reduction, value: ValueId) -> &'static str {
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
    pub(super) fn flat(&self, scope: &mut Scope) -> Result<(), String> {
        let mut inner = scope.inner();
        inner.line("const integer row = place / cells, cell = place % cells;");
        self.outputs(&mut inner, None, |_| true)?;
        let head = "for (integer place = blockIdx.x * integer(blockDim.x) + threadIdx.x; place < rows * cells; \
                    place += integer(gridDim.x) * blockDim.x)";
        scope.block(head, inner);
        Ok(())
    }

    /// A warp takes a row.
    pub(super) fn by_rows(&self, scope: &mut Scope) -> Result<(), String> {
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
    pub(super) fn pass(&self, row: &mut Scope, pass: usize) -> Result<(), String> {
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
    pub(super) fn first_of(&self, output: &Output) -> usize {
        let ids = [Some(output.value), output.form.mask()];
        let passes = ids
            .iter()
            .flatten()
            .map(|id| self.passes.first[id.0 as usize]);
        passes.max().unwrap_or(0)
    }

    /// Stores and totals of a level, where its index is known; the values of rows stand in `row`, if there is such a scope.
    pub(super) fn outputs(
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
    pub(super) fn is_of_rows(&self, output: &Output) -> bool {
        match output.form {
            Form::Cells => false,
            Form::Rows => true,
            Form::Total { .. } => self.instruction(output.value).level == Level::Row,
        }
    }

    /// One more element of a reduction.
    pub(super) fn add(
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
}

/// The type of an element in memory.
fn memory(elem: Elem) -> &'static str {
    match elem {
        Elem::Bool => "bool",
        Elem::Real | Elem::Int | Elem::Text => c_type(elem),
    }
}
