//! The sizes of the dimensions of a stage, all lengths the longest that there can be.

use rlp_compiler::graph::{Draw, DrawArg, Graph, ModelOutput, NodeId, Op};
use rlp_compiler::plan::Plan;
use rlp_compiler::ty::{DimId, Elem, Ty};

use crate::arguments::Known;
use crate::language_model::LanguageModel;
use crate::lengths::Lengths;

/// By dimension.
#[derive(Clone, Debug)]
pub(crate) struct Sizes(Vec<Option<u64>>);

/// Bytes of a text: two pointers and some letters.
const TEXT: u64 = 48;

impl Sizes {
    /// Of a stage's graph; `lengths` are those of each data source.
    pub(crate) fn new(
        graph: &Graph,
        plan: &Plan,
        models: &[Option<LanguageModel>],
        lengths: &[Lengths],
    ) -> Sizes {
        let known = graph.dims.ids().map(|dim| graph.dims.get(dim).size);
        let mut sizes = Sizes(known.collect());
        for id in graph.ids() {
            if let Op::Draw(index) = graph.op(id) {
                sizes.draw(graph, id, &graph.draws[*index], lengths);
            }
            sizes.derive(graph, id, models);
        }
        debug_assert!(plan.data.len() == lengths.len());
        sizes
    }

    /// Of a graph that begins with the same dimensions and has more.
    pub(crate) fn of_part(&self, graph: &Graph, models: &[Option<LanguageModel>]) -> Sizes {
        let all = graph.dims.ids().map(|dim| {
            let own = self.0.get(dim.0 as usize).copied().flatten();
            own.or(graph.dims.get(dim).size)
        });
        let mut sizes = Sizes(all.collect());
        graph.ids().for_each(|id| sizes.derive(graph, id, models));
        sizes
    }

    /// 1, if nothing is known.
    pub(crate) fn size(&self, dim: DimId) -> u64 {
        self.0.get(dim.0 as usize).copied().flatten().unwrap_or(1)
    }

    pub(crate) fn product(&self, dims: &[DimId]) -> u64 {
        dims.iter().map(|&dim| self.size(dim)).product()
    }

    /// Of a tensor, reals in f32.
    pub(crate) fn bytes(&self, ty: &Ty) -> u64 {
        let each = match ty.elem {
            Elem::Real => 4,
            Elem::Int => 8,
            Elem::Bool => 1,
            Elem::Text => TEXT,
        };
        each * self.product(&ty.dims)
    }

    fn set(&mut self, dim: DimId, size: u64) {
        self.0[dim.0 as usize].get_or_insert(size);
    }

    fn draw(&mut self, graph: &Graph, node: NodeId, draw: &Draw, lengths: &[Lengths]) {
        for &(old, new) in &draw.renewed {
            let size = self.size(old);
            self.set(new, size);
        }
        let of_task = of_task(draw, lengths);
        let known = Known::of_draw(draw);
        let drawn = known.count("max_tokens");
        let response = match (drawn, of_task.cut) {
            (Some(most), Some(cut)) => most.min(cut),
            (Some(most), None) => most,
            (None, _) => of_task.response,
        };
        // What is made of another record has its sizes.
        let read: Vec<DimId> = graph
            .operands(node)
            .iter()
            .flat_map(|&operand| graph.ty(operand).dims.clone())
            .collect();
        for &dim in &draw.fresh {
            let name = graph.dims.name(dim);
            let of_read = read.iter().find(|other| graph.dims.name(**other) == name);
            let size = match (of_read, name) {
                (Some(&other), _) => self.size(other),
                (None, "prompt_token") => of_task.prompt,
                (None, "token") => response,
                (None, _) => continue,
            };
            self.set(dim, size);
        }
    }

    /// The dimensions that a node makes out of others.
    fn derive(&mut self, graph: &Graph, id: NodeId, models: &[Option<LanguageModel>]) {
        match graph.op(id) {
            Op::Rename(pairs) => {
                for &(old, new) in pairs {
                    let size = self.size(old);
                    self.set(new, size);
                }
            }
            Op::Stack(dim) => self.set(*dim, graph.operands(id).len() as u64),
            Op::Merge { dims, into } => {
                let size = self.product(dims);
                self.set(*into, size);
            }
            Op::Factor {
                row,
                col,
                rank: Some(rank),
                ..
            } => {
                let size = self.size(*row).min(self.size(*col));
                self.set(*rank, size);
            }
            Op::Model { model, output } => {
                let Some(Some(own)) = models.get(model.model) else {
                    return;
                };
                let config = &own.config;
                for &dim in &graph.ty(id).dims {
                    let size = match (output, graph.dims.name(dim)) {
                        (ModelOutput::Logits, "vocab") => config.vocab,
                        (ModelOutput::Hidden, "layer") => config.layers,
                        (ModelOutput::Hidden, "feature") => config.hidden,
                        _ => continue,
                    };
                    self.set(dim, size as u64);
                }
            }
            Op::Backward { model, .. } => {
                if let (Some(Some(own)), &[dim]) =
                    (models.get(model.model), graph.ty(id).dims.as_slice())
                {
                    self.set(dim, own.count());
                }
            }
            _ => {}
        }
    }
}

/// The lengths of the texts that a draw visits.
pub(crate) fn of_task(draw: &Draw, lengths: &[Lengths]) -> Lengths {
    let task = draw.args.iter().find_map(|(_, arg)| match arg {
        DrawArg::Data(data) => lengths.get(data.data).copied(),
        DrawArg::Static(_) | DrawArg::Model(_) | DrawArg::Operand(_) | DrawArg::Record(_) => None,
    });
    task.unwrap_or(Lengths {
        prompt: 1,
        response: 1,
        cut: None,
        is_known: true,
    })
}
