//! Fused: the steps of a graph, most of them kernels.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;

use rlp_compiler::codegen::Declined;
use rlp_compiler::graph::{Graph, NodeId};
use rlp_compiler::kernel::{Kernel, Output};
use rlp_compiler::pass::fuse::{Fusion, Step, fuse};

use super::kernels::{Compiled, is_over, launch};
use super::{Executor, Host, Kernels};
use crate::error::{Place, Result, RunError};
use crate::profile::{self, Label};
use crate::tensor::{Device, Kind, Tensor, Value};
use crate::torch::Context;

/// How parts of one graph are computed, each found where it is first asked for.
pub struct Steps {
    kernels: Rc<Kernels>,
    fusions: RefCell<HashMap<Asked, Rc<Fused>>>,
}

/// The nodes that are wanted, which nodes were known, and for which numbers and device.
type Asked = (Vec<NodeId>, Vec<bool>, Kind, Device);

/// Steps with what they read and, once they have run, the code of those that are kernels.
struct Fused {
    steps: Vec<Step>,
    reads: Vec<Vec<NodeId>>,
    codes: Vec<OnceCell<Result<Compiled, Declined>>>,
}

impl Fused {
    fn new(graph: &Graph, Fusion { steps }: Fusion) -> Fused {
        Fused {
            reads: steps.iter().map(|step| step.reads(graph)).collect(),
            codes: steps.iter().map(|_| OnceCell::new()).collect(),
            steps,
        }
    }
}

impl Steps {
    /// For a graph that is yet to be run; the code for it is shared.
    pub fn new(kernels: &Rc<Kernels>) -> Rc<Steps> {
        Rc::new(Steps {
            kernels: Rc::clone(kernels),
            fusions: RefCell::default(),
        })
    }

    pub fn kernels(&self) -> &Rc<Kernels> {
        &self.kernels
    }

    fn fusion(
        &self,
        graph: &Graph,
        wanted: &[NodeId],
        known: Vec<bool>,
        context: &Context,
    ) -> Rc<Fused> {
        let asked = (wanted.to_vec(), known, context.kind, context.device);
        if let Some(fused) = self.fusions.borrow().get(&asked) {
            return Rc::clone(fused);
        }
        let fusion = fuse(graph, wanted, |id| asked.1[id.index()]);
        let fused = Rc::new(Fused::new(graph, fusion));
        self.fusions.borrow_mut().insert(asked, Rc::clone(&fused));
        fused
    }
}

impl fmt::Debug for Steps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Steps({})", self.fusions.borrow().len())
    }
}

impl Executor<'_> {
    /// Computes what is missing for `wanted`, step by step.
    pub(super) fn run_steps(
        &mut self,
        steps: &Steps,
        wanted: &[NodeId],
        host: &mut dyn Host,
    ) -> Result<()> {
        let graph = self.graph;
        let known = graph.ids().map(|id| self.is_known(id)).collect();
        let fused = steps.fusion(graph, wanted, known, &self.context);
        let Fused { reads, codes, .. } = fused.as_ref();
        let mut uses = vec![0usize; graph.len()];
        wanted
            .iter()
            .chain(reads.iter().flatten())
            .for_each(|id| uses[id.index()] += 1);
        self.extents.derive(graph)?;
        for (step, (reads, code)) in fused.steps.iter().zip(reads.iter().zip(codes)) {
            match step {
                Step::Kernel(kernel) => {
                    let label = Label::Node(graph, kernel.outputs[0].node);
                    let targets = self.targets(kernel, reads, &uses);
                    let code = code.get_or_init(|| steps.kernels.code(kernel, &self.context));
                    profile::within(label, || self.launch(kernel, code, steps, &targets, host))?;
                }
                // A scan may have filled in its other parts.
                Step::Node(id) if self.is_known(*id) => {}
                Step::Node(id) => {
                    profile::within(Label::Node(graph, *id), || self.compute(*id, reads, host))
                        .map_err(|error| error.at(graph, *id))?;
                }
            }
            for read in reads {
                uses[read.index()] -= 1;
                if uses[read.index()] == 0 && !self.given[read.index()] {
                    self.values[read.index()] = None;
                }
            }
        }
        Ok(())
    }

    /// The memory that each output of a kernel may take, if any: what holds it is over the same dimensions, and nothing but
    /// this kernel reads it any more.
    fn targets(&self, kernel: &Kernel, reads: &[NodeId], uses: &[usize]) -> Vec<Option<Tensor>> {
        let graph = self.graph;
        let target = |output: &Output| {
            let target = self.targets.get(&output.node)?;
            let is_free = self.holders(target).all(|id| {
                let own = usize::from(reads.contains(&id));
                uses[id.index()] == own && graph.ty(id) == graph.ty(output.node)
            });
            is_free.then(|| target.shallow_clone())
        };
        kernel.outputs.iter().map(target).collect()
    }

    /// The nodes whose values stand in the memory of this tensor.
    fn holders<'a>(&'a self, tensor: &'a Tensor) -> impl Iterator<Item = NodeId> + 'a {
        let is_holder = |id: &NodeId| {
            let value = self.values[id.index()].as_ref();
            value.is_some_and(|value| is_over(value, tensor))
        };
        self.graph.ids().filter(is_holder)
    }

    fn launch(
        &mut self,
        kernel: &Kernel,
        code: &Result<Compiled, Declined>,
        steps: &Steps,
        targets: &[Option<Tensor>],
        host: &mut dyn Host,
    ) -> Result<()> {
        let graph = self.graph;
        let nodes: Vec<NodeId> = kernel.outputs.iter().map(|output| output.node).collect();
        let first = nodes[0];
        let values: Vec<Value> = match code {
            Ok(code) => {
                let input = |node| self.value(node);
                launch(kernel, code, &self.extents, &self.context, targets, input)
                    .map_err(|fault| RunError::from(fault).at(graph, first))?
            }
            Err(declined) => {
                let block = Place::of(graph, first)
                    .calls
                    .first()
                    .map(|(block, _)| block.clone());
                let of = block.map_or(String::new(), |block| format!(" of `{block}`"));
                steps
                    .kernels
                    .note(format!("a part{of} runs node by node, because {declined}"));
                // The nodes of this kernel alone, on a copy: what others read must not be dropped.
                Executor {
                    steps: None,
                    ..self.clone()
                }
                .evaluate(&nodes, host)?
            }
        };
        for target in targets.iter().flatten() {
            let is_taken = |value: &Value| is_over(value, target);
            if values.iter().any(is_taken) {
                let over: Vec<NodeId> = self.holders(target).collect();
                over.iter().for_each(|id| self.values[id.index()] = None);
            }
        }
        for (node, value) in nodes.into_iter().zip(values) {
            self.values[node.index()] = Some(value);
        }
        Ok(())
    }
}
