//! In which pass over a row each value is computed, and which values are kept for later passes.
//!
//! A pass reads reductions, scans and shifted values of earlier ones. What is cheap is computed again in each pass that
//! reads it; what is not, and what is shifted or scanned, is kept: in the output that it is anyway, or in scratch memory.

use std::collections::BTreeSet;

use super::layout::{Layout, OutputPlace};
use super::operand::{operands, own_cost, roots, scan_operands};
use super::passes::{Home, Pass, Schedule};
use crate::codegen::Declined;
use crate::kernel::{Kernel, KernelOp};
use crate::ty::Elem;

/// A value that costs more than this is kept for later passes: about a store and a load, in instructions.
const KEEP_COST: u32 = 10;

pub(super) fn schedule(kernel: &Kernel, layout: &Layout) -> Result<Schedule, Declined> {
    let mut plan = Planner {
        kernel,
        layout,
        varies: Vec::new(),
        stage: Vec::new(),
        cost: Vec::new(),
        kept: vec![false; kernel.body.len()],
        homes: vec![None; kernel.body.len()],
        scratch_rows: 0,
    };
    for index in 0..kernel.body.len() {
        plan.place(index)?;
    }
    let live = plan.live()?;
    plan.delay(&live)?;
    let passes = plan.passes(&live)?;
    let mut kept = plan.homes.iter().zip(&kernel.body);
    // Scratch memory has eight bytes a cell.
    if kept.any(|(home, it)| matches!(home, Some(Home::Scratch(_))) && it.elem == Elem::Text) {
        return Err(Declined::new("a text is read again after its row is known"));
    }
    Ok(Schedule {
        passes,
        varies: plan.varies,
        stage: plan.stage,
        live,
        homes: plan.homes,
        scratch_rows: plan.scratch_rows,
    })
}

struct Planner<'a> {
    kernel: &'a Kernel,
    layout: &'a Layout,
    varies: Vec<bool>,
    stage: Vec<usize>,
    cost: Vec<u32>,
    /// Values that are read along the row.
    kept: Vec<bool>,
    homes: Vec<Option<Home>>,
    scratch_rows: usize,
}

impl Planner<'_> {
    /// Level, stage and cost of one value.
    fn place(&mut self, index: usize) -> Result<(), Declined> {
        let instruction = &self.kernel.body[index];
        let operands = operands(self.kernel, instruction, index)?;
        let latest = operands.iter().map(|&x| self.stage[x]).max().unwrap_or(0);
        let any_varies = operands.iter().any(|&x| self.varies[x]);
        let cost = operands
            .iter()
            .filter(|&&x| self.varies[x])
            .fold(own_cost(instruction), |cost, &x| {
                cost.saturating_add(self.cost[x])
            });
        let (varies, stage, cost) = match &instruction.op {
            KernelOp::Load(input) => {
                let place = self
                    .layout
                    .inputs
                    .get(*input)
                    .ok_or_else(|| Declined::new("it reads an input that it lacks"))?;
                (place.has_cells, 0, 1)
            }
            KernelOp::Position(dim) => {
                let row = self.kernel.rows[..self.layout.rows].contains(dim);
                (!row, 0, 1)
            }
            KernelOp::Reduce { .. } => (false, latest + 1, 0),
            KernelOp::Shift { value, fill, .. } => {
                if self.varies[fill.0 as usize] {
                    return Err(Declined::new("a shift is filled with values of cells"));
                }
                let from = value.0 as usize;
                let read = if !self.varies[from] || self.in_memory(from) {
                    self.stage[from]
                } else {
                    self.kept[from] = true;
                    self.stage[from] + 1
                };
                (true, read.max(self.stage[fill.0 as usize]), 3)
            }
            KernelOp::Scan { scan, .. } => {
                let mut stage = 0;
                for &x in &operands {
                    let cheap = !self.varies[x] || self.in_memory(x) || self.cost[x] <= KEEP_COST;
                    self.kept[x] |= !cheap;
                    stage = stage.max(self.stage[x] + usize::from(!cheap));
                }
                let initial = &self.kernel.scans[*scan].initial;
                if initial.iter().any(|x| self.varies[x.0 as usize]) {
                    return Err(Declined::new("a scan begins with values of cells"));
                }
                (true, stage, 1)
            }
            KernelOp::Carry { .. } => {
                return Err(Declined::new("a carry stands outside of its scan"));
            }
            KernelOp::Real(_)
            | KernelOp::Int(_)
            | KernelOp::Bool(_)
            | KernelOp::TextValue(_)
            | KernelOp::Unary(..)
            | KernelOp::Binary(..)
            | KernelOp::Select(..)
            | KernelOp::Cast(_)
            | KernelOp::Text(..) => (any_varies, latest, cost),
        };
        self.varies.push(varies);
        self.stage.push(stage);
        self.cost.push(cost);
        Ok(())
    }

    /// Whether a value of cells lies in memory from the start of its stage.
    fn in_memory(&self, index: usize) -> bool {
        matches!(
            self.kernel.body[index].op,
            KernelOp::Load(_) | KernelOp::Scan { .. }
        )
    }

    fn live(&self) -> Result<Vec<bool>, Declined> {
        let mut live = vec![false; self.kernel.body.len()];
        for output in &self.kernel.outputs {
            for value in roots(&output.form, output.value) {
                if let Some(live) = live.get_mut(value) {
                    *live = true;
                }
            }
        }
        for index in (0..live.len()).rev() {
            if live[index] {
                for operand in operands(self.kernel, &self.kernel.body[index], index)? {
                    live[operand] = true;
                }
            }
        }
        Ok(live)
    }

    /// Reductions that no cell reads go to the last pass where that computes less: what it computes anyway need not be computed
    /// for them before.
    fn delay(&mut self, live: &[bool]) -> Result<(), Declined> {
        let body = &self.kernel.body;
        let mut is_read = vec![false; body.len()];
        for index in (0..body.len()).rev().filter(|&index| live[index]) {
            let is_reduction = matches!(body[index].op, KernelOp::Reduce { .. });
            if self.varies[index] || is_reduction || is_read[index] {
                for operand in operands(self.kernel, &body[index], index)? {
                    is_read[operand] = true;
                }
            }
        }
        let reductions =
            |index: &usize| live[*index] && matches!(body[*index].op, KernelOp::Reduce { .. });
        let (fixed, free): (Vec<usize>, Vec<usize>) = (0..body.len())
            .filter(reductions)
            .partition(|&index| is_read[index]);
        // What is computed in each pass anyway.
        let mut anyway: Vec<(usize, usize)> = Vec::new();
        for index in fixed {
            let read = operands(self.kernel, &body[index], index)?;
            anyway.extend(read.into_iter().map(|value| (self.stage[index] - 1, value)));
        }
        for (output, place) in self.kernel.outputs.iter().zip(&self.layout.outputs) {
            let is_of_cells = match place {
                OutputPlace::Cells(_) => true,
                OutputPlace::Rows(_) => false,
                OutputPlace::Total { of_rows, .. } => !of_rows,
            };
            if is_of_cells {
                let roots = roots(&output.form, output.value);
                let stage = roots.iter().map(|&root| self.stage[root]).max();
                let stage = stage.unwrap_or(0);
                anyway.extend(roots.into_iter().map(|root| (stage, root)));
            }
        }
        let Some(last) = anyway.iter().map(|&(pass, _)| pass).max() else {
            return Ok(());
        };
        let of_pass = |pass: usize| {
            let own = anyway.iter().filter(|&&(own, _)| own == pass);
            own.map(|&(_, root)| root).collect::<Vec<usize>>()
        };
        for index in free {
            let pass = self.stage[index] - 1;
            if pass >= last {
                continue;
            }
            let own = self.read_for(&operands(self.kernel, &body[index], index)?)?;
            let added = |computed: BTreeSet<usize>| -> u32 {
                own.difference(&computed)
                    .map(|&value| own_cost(&body[value]))
                    .sum()
            };
            let early = added(self.read_for(&of_pass(pass))?);
            let late = added(self.read_for(&of_pass(last))?);
            if late <= early {
                self.stage[index] = last + 1;
            }
        }
        // What rows make of them comes later as well.
        for index in 0..body.len() {
            let is_reduction = matches!(body[index].op, KernelOp::Reduce { .. });
            if live[index] && !self.varies[index] && !is_reduction {
                let read = operands(self.kernel, &body[index], index)?;
                let latest = read.into_iter().map(|operand| self.stage[operand]).max();
                self.stage[index] = latest.unwrap_or(0);
            }
        }
        Ok(())
    }

    /// The values of cells that others are computed from, and these.
    fn read_for(&self, roots: &[usize]) -> Result<BTreeSet<usize>, Declined> {
        let mut read = BTreeSet::new();
        let mut open = roots.to_vec();
        while let Some(index) = open.pop() {
            if !self.varies[index] || !read.insert(index) {
                continue;
            }
            let instruction = &self.kernel.body[index];
            // What lies along the row is read from memory.
            if !matches!(
                instruction.op,
                KernelOp::Scan { .. } | KernelOp::Shift { .. }
            ) {
                open.extend(operands(self.kernel, instruction, index)?);
            }
        }
        Ok(read)
    }

    fn passes(&mut self, live: &[bool]) -> Result<Vec<Pass>, Declined> {
        let body = &self.kernel.body;
        let last = (0..body.len())
            .filter(|&index| live[index])
            .map(|index| self.stage[index]);
        let count = last.max().unwrap_or(0) + 1;
        let mut passes: Vec<Pass> = (0..count).map(|_| Pass::default()).collect();
        let mut first = vec![0; body.len()];
        for (number, output) in self.kernel.outputs.iter().enumerate() {
            let value = output.value.0 as usize;
            match (self.layout.outputs[number], &output.form) {
                (OutputPlace::Cells(_), _) => {
                    passes[self.stage[value]]
                        .stores
                        .push((value, Home::Output(number)));
                    self.homes[value].get_or_insert(Home::Output(number));
                }
                (OutputPlace::Total { of_rows: false, .. }, form) => {
                    let stages = roots(form, output.value).into_iter().map(|x| self.stage[x]);
                    passes[stages.max().unwrap_or(0)].totals.push(number);
                }
                (OutputPlace::Rows(_) | OutputPlace::Total { of_rows: true, .. }, form) => {
                    if roots(form, output.value)
                        .into_iter()
                        .any(|x| self.varies[x])
                    {
                        return Err(Declined::new(
                            "a value of cells is given out as one of rows",
                        ));
                    }
                }
            }
        }
        for index in (0..body.len()).filter(|&index| live[index]) {
            match &body[index].op {
                KernelOp::Reduce { .. } => passes[self.stage[index] - 1].reduces.push(index),
                KernelOp::Scan { scan, .. } => {
                    self.find_home(index);
                    let scans = &mut passes[self.stage[index]].scans;
                    if !scans.iter().any(|(other, _)| other == scan) {
                        scans.push((*scan, Vec::new()));
                    }
                }
                KernelOp::Load(_)
                | KernelOp::Real(_)
                | KernelOp::Int(_)
                | KernelOp::Bool(_)
                | KernelOp::TextValue(_)
                | KernelOp::Position(_)
                | KernelOp::Unary(..)
                | KernelOp::Binary(..)
                | KernelOp::Select(..)
                | KernelOp::Cast(_)
                | KernelOp::Text(..)
                | KernelOp::Shift { .. }
                | KernelOp::Carry { .. } => {}
            }
            if self.kept[index] {
                self.keep(index, &mut passes);
            }
        }
        // A value belongs to the first pass that reads it.
        for number in (0..count).rev() {
            let of_scans = passes[number].scans.iter();
            let mut roots = passes[number].roots(self.kernel);
            for &(scan, _) in of_scans {
                roots.extend(scan_operands(self.kernel, scan)?);
            }
            for index in self.read_for(&roots)? {
                if !self.in_memory(index) && self.stage[index] <= number {
                    first[index] = number;
                }
            }
        }
        for (stage, first) in self.stage.iter_mut().zip(first) {
            *stage = first.max(*stage);
        }
        // Later passes first: they decide what earlier ones keep.
        for number in (0..count).rev() {
            let mut scans = std::mem::take(&mut passes[number].scans);
            for (scan, values) in &mut scans {
                let roots = scan_operands(self.kernel, *scan)?;
                *values = self.cone(&roots, number, &mut passes)?;
            }
            passes[number].scans = scans;
            let roots = passes[number].roots(self.kernel);
            let values = self.cone(&roots, number, &mut passes)?;
            passes[number].cost = values.iter().map(|&value| own_cost(&body[value])).sum();
            passes[number].values = values;
        }
        Ok(passes)
    }

    fn find_home(&mut self, index: usize) -> Home {
        let rows = &mut self.scratch_rows;
        *self.homes[index].get_or_insert_with(|| {
            *rows += 1;
            Home::Scratch(*rows - 1)
        })
    }

    /// Writes a value in its pass.
    fn keep(&mut self, index: usize, passes: &mut [Pass]) {
        let home = self.find_home(index);
        let stores = &mut passes[self.stage[index]].stores;
        if !stores.contains(&(index, home)) {
            stores.push((index, home));
        }
    }

    /// The values of cells that are computed or loaded in a pass, ascending.
    fn cone(
        &mut self,
        roots: &[usize],
        pass: usize,
        passes: &mut [Pass],
    ) -> Result<Vec<usize>, Declined> {
        let mut cone = BTreeSet::new();
        let mut open: Vec<usize> = roots.to_vec();
        while let Some(index) = open.pop() {
            if !self.varies[index] || !cone.insert(index) {
                continue;
            }
            let is_early = self.stage[index] < pass;
            let is_dear = self.cost[index] > KEEP_COST && !self.in_memory(index);
            if is_early && (is_dear || self.homes[index].is_some() && !self.in_memory(index)) {
                self.keep(index, passes);
                continue;
            }
            let instruction = &self.kernel.body[index];
            match &instruction.op {
                // Both read memory.
                KernelOp::Scan { .. } => {}
                KernelOp::Shift { value, .. } => {
                    if self.in_memory(value.0 as usize) || !self.varies[value.0 as usize] {
                        continue;
                    }
                    self.keep(value.0 as usize, passes);
                }
                KernelOp::Load(_)
                | KernelOp::Real(_)
                | KernelOp::Int(_)
                | KernelOp::Bool(_)
                | KernelOp::TextValue(_)
                | KernelOp::Position(_)
                | KernelOp::Unary(..)
                | KernelOp::Binary(..)
                | KernelOp::Select(..)
                | KernelOp::Cast(_)
                | KernelOp::Text(..)
                | KernelOp::Reduce { .. }
                | KernelOp::Carry { .. } => {
                    open.extend(operands(self.kernel, instruction, index)?);
                }
            }
        }
        Ok(cone.into_iter().collect())
    }
}
