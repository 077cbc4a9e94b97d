//! Kernels by hand.

use rlp_compiler::graph::{Binary, NodeId, Reduction, Unary};
use rlp_compiler::kernel::{
    Form, Input, Instruction, Kernel, KernelOp, Level, Output, ScanLoop, ValueId,
};
use rlp_compiler::ty::{DimId, Elem};

/// A kernel over so many row dimensions and one of cells, the last.
pub(crate) struct Build {
    pub(crate) kernel: Kernel,
    inside: Vec<Instruction>,
}

impl Build {
    pub(crate) fn new(rows: u32) -> Build {
        Build {
            kernel: Kernel {
                rows: (0..rows).map(DimId).collect(),
                cells: vec![DimId(rows)],
                inputs: Vec::new(),
                body: Vec::new(),
                scans: Vec::new(),
                outputs: Vec::new(),
            },
            inside: Vec::new(),
        }
    }

    pub(crate) fn row(&self, place: usize) -> DimId {
        self.kernel.rows[place]
    }

    pub(crate) fn cell(&self) -> DimId {
        self.kernel.cells[0]
    }

    pub(crate) fn without_cells(mut self) -> Build {
        self.kernel.cells.clear();
        self
    }

    fn input(&mut self, elem: Elem, dims: Vec<DimId>, level: Level) -> ValueId {
        let input = self.kernel.inputs.len();
        self.kernel.inputs.push(Input {
            node: NodeId::new(input),
            elem,
            dims,
        });
        self.op(KernelOp::Load(input), elem, level)
    }

    pub(crate) fn cells(&mut self, elem: Elem, _name: &str) -> ValueId {
        let dims = [self.kernel.rows.as_slice(), &self.kernel.cells].concat();
        self.input(elem, dims, Level::Cell)
    }

    /// One element a row.
    pub(crate) fn rows(&mut self, elem: Elem) -> ValueId {
        self.input(elem, self.kernel.rows.clone(), Level::Row)
    }

    /// One element for the kernel.
    pub(crate) fn scalar(&mut self, elem: Elem) -> ValueId {
        self.input(elem, Vec::new(), Level::Row)
    }

    pub(crate) fn number(&mut self, value: f64) -> ValueId {
        self.op(KernelOp::Real(value), Elem::Real, Level::Row)
    }

    pub(crate) fn op(&mut self, op: KernelOp, elem: Elem, level: Level) -> ValueId {
        let node = NodeId::new(self.kernel.body.len());
        self.kernel.body.push(Instruction {
            op,
            elem,
            level,
            node,
        });
        ValueId(self.kernel.body.len() as u32 - 1)
    }

    fn get(&self, id: ValueId) -> &Instruction {
        &self.kernel.body[id.0 as usize]
    }

    pub(crate) fn unary(&mut self, op: Unary, x: ValueId) -> ValueId {
        let (elem, level) = (self.get(x).elem, self.get(x).level);
        self.op(KernelOp::Unary(op, x), elem, level)
    }

    pub(crate) fn binary(&mut self, op: Binary, a: ValueId, b: ValueId) -> ValueId {
        let level = self.get(a).level.max(self.get(b).level);
        let elem = match op {
            Binary::Eq | Binary::Ne | Binary::Lt | Binary::Le | Binary::Gt | Binary::Ge => {
                Elem::Bool
            }
            _ => self.get(a).elem,
        };
        self.op(KernelOp::Binary(op, a, b), elem, level)
    }

    pub(crate) fn reduce(
        &mut self,
        kind: Reduction,
        value: ValueId,
        mask: Option<ValueId>,
    ) -> ValueId {
        let elem = self.get(value).elem;
        self.op(KernelOp::Reduce { kind, value, mask }, elem, Level::Row)
    }

    /// An instruction of the body of the next scan, which is the last of the kernel's inputs to be built.
    pub(crate) fn inside(&mut self, op: KernelOp, elem: Elem) -> ValueId {
        self.inside.push(Instruction {
            op,
            elem,
            level: Level::Cell,
            node: NodeId::new(0),
        });
        // After the kernel's body as it will be: see `scan`.
        ValueId(INSIDE + self.inside.len() as u32 - 1)
    }

    pub(crate) fn take_inside(&mut self) -> Vec<Instruction> {
        std::mem::take(&mut self.inside)
    }

    pub(crate) fn scan(&mut self, scan: ScanLoop) -> ValueId {
        self.kernel.scans.push(scan);
        let scan = self.kernel.scans.len() - 1;
        self.op(KernelOp::Scan { scan, part: 0 }, Elem::Real, Level::Cell)
    }

    pub(crate) fn output(&mut self, value: ValueId, form: Form) {
        let node = NodeId::new(value.0 as usize);
        self.kernel.outputs.push(Output { node, value, form });
    }

    /// Numbers the values inside scans on from the kernel's own.
    pub(crate) fn finish(mut self) -> Kernel {
        let first = self.kernel.body.len() as u32;
        let own = |id: &mut ValueId| {
            if id.0 >= INSIDE {
                id.0 = id.0 - INSIDE + first;
            }
        };
        for scan in &mut self.kernel.scans {
            scan.next.iter_mut().for_each(own);
            for instruction in &mut scan.body {
                match &mut instruction.op {
                    KernelOp::Binary(_, a, b) => [a, b].into_iter().for_each(own),
                    KernelOp::Unary(_, x) => own(x),
                    _ => {}
                }
            }
        }
        self.kernel
    }
}

/// Where the numbers of values inside scans start while a kernel is built.
const INSIDE: u32 = 1 << 20;
