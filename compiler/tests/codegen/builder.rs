//! Kernels for tests, written down operation by operation.

use rlp_compiler::graph::{Binary, NodeId, Reduction, Unary};
use rlp_compiler::kernel::{
    Form, Input, Instruction, Kernel, KernelOp, Level, Output, ScanLoop, ValueId,
};
use rlp_compiler::ty::{DimId, Elem};

pub(crate) struct Builder {
    pub(crate) kernel: Kernel,
}

impl Builder {
    /// Dimensions are numbered from 0, rows first.
    pub(crate) fn new(rows: u32, cells: u32) -> Builder {
        Builder {
            kernel: Kernel {
                rows: (0..rows).map(DimId).collect(),
                cells: (rows..rows + cells).map(DimId).collect(),
                inputs: Vec::new(),
                body: Vec::new(),
                scans: Vec::new(),
                outputs: Vec::new(),
            },
        }
    }

    pub(crate) fn push(&mut self, op: KernelOp, elem: Elem, level: Level) -> ValueId {
        self.kernel.body.push(Instruction {
            op,
            elem,
            level,
            node: NodeId::default(),
        });
        ValueId(self.kernel.body.len() as u32 - 1)
    }

    pub(crate) fn elem(&self, value: ValueId) -> Elem {
        self.kernel.body[value.0 as usize].elem
    }

    pub(crate) fn level(&self, value: ValueId) -> Level {
        self.kernel.body[value.0 as usize].level
    }

    pub(crate) fn load(&mut self, elem: Elem, dims: &[u32]) -> ValueId {
        let dims: Vec<DimId> = dims.iter().copied().map(DimId).collect();
        let is_cell = self.kernel.cells.iter().any(|cell| dims.contains(cell));
        self.kernel.inputs.push(Input {
            node: NodeId::default(),
            elem,
            dims,
        });
        let index = self.kernel.inputs.len() - 1;
        self.push(
            KernelOp::Load(index),
            elem,
            if is_cell { Level::Cell } else { Level::Row },
        )
    }

    pub(crate) fn real(&mut self, x: f64) -> ValueId {
        self.push(KernelOp::Real(x), Elem::Real, Level::Row)
    }

    pub(crate) fn int(&mut self, x: i64) -> ValueId {
        self.push(KernelOp::Int(x), Elem::Int, Level::Row)
    }

    fn joint(&self, values: &[ValueId]) -> Level {
        values.iter().map(|&x| self.level(x)).max().unwrap()
    }

    pub(crate) fn unary(&mut self, op: Unary, x: ValueId) -> ValueId {
        let elem = if op == Unary::IsFinite {
            Elem::Bool
        } else {
            self.elem(x)
        };
        self.push(KernelOp::Unary(op, x), elem, self.level(x))
    }

    pub(crate) fn binary(&mut self, op: Binary, a: ValueId, b: ValueId) -> ValueId {
        let elem = match op {
            Binary::Eq | Binary::Ne | Binary::Lt | Binary::Le | Binary::Gt | Binary::Ge => {
                Elem::Bool
            }
            _ => self.elem(a),
        };
        self.push(KernelOp::Binary(op, a, b), elem, self.joint(&[a, b]))
    }

    pub(crate) fn select(
        &mut self,
        condition: ValueId,
        then: ValueId,
        otherwise: ValueId,
    ) -> ValueId {
        let level = self.joint(&[condition, then, otherwise]);
        self.push(
            KernelOp::Select(condition, then, otherwise),
            self.elem(then),
            level,
        )
    }

    pub(crate) fn cast(&mut self, x: ValueId, elem: Elem) -> ValueId {
        self.push(KernelOp::Cast(x), elem, self.level(x))
    }

    pub(crate) fn reduce(
        &mut self,
        kind: Reduction,
        value: ValueId,
        mask: Option<ValueId>,
    ) -> ValueId {
        let elem = reduced(kind, self.elem(value));
        self.push(KernelOp::Reduce { kind, value, mask }, elem, Level::Row)
    }

    pub(crate) fn shift(&mut self, value: ValueId, by: i64, fill: ValueId) -> ValueId {
        let elem = self.elem(value);
        self.push(KernelOp::Shift { value, by, fill }, elem, Level::Cell)
    }

    /// A scan of one carry: a·carry + b.
    pub(crate) fn linear_scan(
        &mut self,
        a: ValueId,
        b: ValueId,
        initial: ValueId,
        mask: Option<ValueId>,
        reverse: bool,
    ) -> ValueId {
        let elem = self.elem(b);
        let base = self.kernel.body.len() as u32;
        let inside = |op| Instruction {
            op,
            elem,
            level: Level::Cell,
            node: NodeId::default(),
        };
        let scan = self.kernel.scans.len();
        self.kernel.scans.push(ScanLoop {
            reverse,
            mask,
            initial: vec![initial],
            // The scan's own instruction follows, so its body's values are numbered from where `finish` puts them.
            body: vec![
                inside(KernelOp::Carry { part: 0 }),
                inside(KernelOp::Binary(Binary::Mul, a, ValueId(base))),
                inside(KernelOp::Binary(Binary::Add, ValueId(base + 1), b)),
            ],
            next: vec![ValueId(base + 2)],
        });
        self.push(KernelOp::Scan { scan, part: 0 }, elem, Level::Cell)
    }

    pub(crate) fn output(&mut self, value: ValueId, form: Form) {
        self.kernel.outputs.push(Output {
            node: NodeId::default(),
            value,
            form,
        });
    }

    /// Values of scans' bodies are numbered on from the kernel's, whose length is known only now.
    pub(crate) fn finish(mut self) -> Kernel {
        let length = self.kernel.body.len() as u32;
        let scans: Vec<usize> = (0..self.kernel.body.len()).collect();
        for index in scans {
            if let KernelOp::Scan { scan, .. } = self.kernel.body[index].op {
                let base = index as u32;
                let moved = |value: &mut ValueId| {
                    if value.0 >= base {
                        value.0 += length - base;
                    }
                };
                let scan = &mut self.kernel.scans[scan];
                for instruction in &mut scan.body {
                    if let KernelOp::Binary(_, a, b) = &mut instruction.op {
                        moved(a);
                        moved(b);
                    }
                }
                scan.next.iter_mut().for_each(moved);
            }
        }
        self.kernel
    }
}

pub(crate) fn reduced(kind: Reduction, elem: Elem) -> Elem {
    match kind {
        Reduction::Count => Elem::Int,
        Reduction::Any | Reduction::All => Elem::Bool,
        _ => elem,
    }
}
