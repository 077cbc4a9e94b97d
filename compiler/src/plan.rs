//! What the runtime executes: resources, and for each stage its graph, phases, updates and reports.

use std::sync::Arc;

use rlp_grammar::ast::Span;

use crate::array::Array;
use crate::graph::{Graph, ModelRef, NodeId};
use crate::phase::Phase;
use crate::ty::{Elem, Ty};

/// A whole pipeline, ready to run.
#[derive(Clone, Debug)]
pub struct Plan {
    pub name: String,
    /// Every setting (`param`) with its resolved value, in order of declaration.
    pub settings: Vec<(String, Array)>,
    pub models: Vec<Resource>,
    /// Those of the models that are others seen through a transform, in the order of the models.
    pub transforms: Vec<TransformPlan>,
    /// How those of `models` that are made of others have their weights.
    pub maps: Vec<MapPlan>,
    pub data: Vec<Resource>,
    /// Tensors that are made before the run: trainable ones, those of models written in `.rlp`, and those of data sources.
    pub tensors: Vec<TensorPlan>,
    pub stages: Vec<StagePlan>,
}

/// A model whose weights are a function of those of others: `model.map(fn.selective_merge, base: a, tuned: b)`.
#[derive(Clone, Debug)]
pub struct MapPlan {
    /// Its index among the models; those that it reads come before it.
    pub model: usize,
    /// The models whose weights the function's parameters are.
    pub weights: Vec<(String, ModelRef)>,
    /// Of one weight, over two dimensions or one.
    pub function: BlockPlan,
}

/// A tensor that is made before the run.
#[derive(Clone, Debug)]
pub struct TensorPlan {
    /// The name the pipeline gives it, or its owner's block.
    pub name: String,
    /// The model or data source that it is a part of.
    pub owner: Option<Owner>,
    /// What its initial value is computed by; it reads nothing from outside but random numbers and the tensors before it.
    pub graph: Arc<Graph>,
    pub start: NodeId,
    /// The first of the tensors that share the graph, and with it the random numbers.
    pub first: usize,
    /// What the random numbers are drawn from in place of the run's seed.
    pub seed: Option<u64>,
    pub span: Span,
}

impl TensorPlan {
    /// `policy.weight`
    pub fn full_name(&self) -> String {
        match &self.owner {
            Some(owner) => format!("{}.{}", owner.name, self.name),
            None => self.name.clone(),
        }
    }
}

/// What a tensor is a part of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Owner {
    /// The name the pipeline gives it.
    pub name: String,
    pub is_model: bool,
}

/// A model or a data source: the block that makes it and its arguments (defaults filled in).
#[derive(Clone, Debug)]
pub struct Resource {
    /// The name the pipeline gives it.
    pub name: String,
    /// `model.causal_lm`, `data.arithmetic`
    pub block: String,
    pub args: Vec<(String, ResourceArg)>,
    /// The path of the file that makes it, as the sources know it.
    pub file: String,
    pub span: Span,
}

#[derive(Clone, Debug)]
pub enum ResourceArg {
    Value(Array),
    /// Another data source of the plan.
    Data(usize),
    /// Another model of the plan.
    Model(usize),
}

/// A model whose weights are those of another one seen through a transform.
#[derive(Clone, Debug)]
pub struct TransformPlan {
    /// Index of the model that it makes, which comes after its base.
    pub model: usize,
    /// What it is applied to: a model, or a copy of one that is taken when the first stage that reads it starts.
    pub base: ModelRef,
    /// The transform with constants for its arguments. Its inputs are `weight`, the `param`s and the states, and the first
    /// result is what the weight becomes.
    pub block: BlockPlan,
    /// The names of the inputs that are trained, in the order of the signature.
    pub params: Vec<String>,
    pub on: ParameterGroup,
    /// Which of those are left as they are.
    pub except: Option<Except>,
    /// A folder in the layout of PEFT, in which the `param`s are read.
    pub from: Option<String>,
    pub span: Span,
}

/// Weights that a transform leaves out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Except {
    /// The last of those selected.
    Last,
    /// Those whose name matches.
    Named(String),
}

#[derive(Clone, Debug)]
pub struct StagePlan {
    pub name: String,
    pub graph: Graph,
    /// The phase of each node, by its index.
    pub phases: Vec<Phase>,
    /// How many steps the stage takes: the largest `steps` of its `train` clauses, or its own.
    pub steps: u64,
    pub trains: Vec<TrainPlan>,
    pub reports: Vec<ReportPlan>,
    /// The assertions, by index in the graph, that the states' values stand under.
    pub asserts: Vec<usize>,
    /// What users call nodes: `adv`, `rollouts.logp`. Passes keep those that are still there.
    pub names: Vec<(String, NodeId)>,
    pub span: Span,
}

#[derive(Clone, Debug)]
pub struct TrainPlan {
    /// Indices of the models whose parameters are updated.
    pub targets: Vec<usize>,
    /// These and the models that are seen through transforms of them, ascending: all whose outputs change with an update.
    pub moved: Vec<usize>,
    /// Indices of the tensors that are updated.
    pub tensors: Vec<usize>,
    /// The scalar that is minimised.
    pub loss: NodeId,
    /// The `Model` and `Trainable` nodes through which a gradient reaches the targets.
    pub outputs: Vec<NodeId>,
    pub rules: Vec<RulePlan>,
    pub keep_state: bool,
    pub steps: u64,
    pub epochs: u64,
    /// Rows (sequences, pairs, examples) of one minibatch; the whole batch if absent.
    pub minibatch: Option<u64>,
    /// Rows of one forward and backward pass of the model; the whole minibatch if absent.
    pub micro_batch: Option<u64>,
    /// The gradient's global norm is scaled down to this.
    pub clip_norm: Option<f64>,
    /// How many minibatches with a number that is not finite may be left out before the run ends.
    pub skips: u64,
    pub batches: Vec<BatchPlan>,
    pub evaluations: Vec<ReportPlan>,
    /// The assertions, by index in the graph, that the loss stands under.
    pub asserts: Vec<usize>,
    pub span: Span,
}

/// How one sampled batch is cut into minibatches.
#[derive(Clone, Debug)]
pub struct BatchPlan {
    /// The dimensions that number its rows, as `prompt, sample`, `pair` or `example`.
    pub rows: Vec<crate::ty::DimId>,
    /// The dimensions that stay together, because the loss reduces over them apart from the others: whole groups are dealt out.
    pub together: Vec<crate::ty::DimId>,
}

/// An optimizer for a group of parameters.
#[derive(Clone, Debug)]
pub struct RulePlan {
    /// `optimizer.adamw`
    pub block: String,
    pub on: ParameterGroup,
    /// Values of the arguments, by name: nodes of the stage's graph, of phase `Once` or `Step`, evaluated at each update.
    pub args: Vec<(String, NodeId)>,
    /// The assertions, by index in the stage's graph, that the arguments stand under. Those of the rule itself are in its own graphs.
    pub asserts: Vec<usize>,
    /// The update of one parameter with one and with two dimensions; more dimensions are flattened to `[row, col]` by joining all but the first.
    pub vector: UpdatePlan,
    pub matrix: UpdatePlan,
}

/// One parameter's update as a graph with the inputs `param`, `grad`, each argument by its name, each state as `state.NAME`,
/// and the sources `Step` and `Steps`.
#[derive(Clone, Debug)]
pub struct UpdatePlan {
    pub graph: Graph,
    pub param: NodeId,
    /// Name, type, initial value (may read `param` and, if `lazy`, the first `grad`) and next value of each state.
    pub states: Vec<UpdateState>,
}

#[derive(Clone, Debug)]
pub struct UpdateState {
    pub name: String,
    pub ty: Ty,
    pub initial: NodeId,
    pub next: NodeId,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ParameterGroup {
    All,
    /// `matrices(m)`: the weight matrices of its layers.
    Matrices,
    /// `others(m)`: all the others.
    Others,
    /// Parameters whose name matches.
    Named(String),
}

/// Whether a name is as the pattern says, in which `*` stands for any characters.
pub fn matches_name(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else {
        return false;
    };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else {
        return rest.is_empty();
    };
    for part in middle {
        match rest.find(part) {
            Some(place) => rest = &rest[place + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[derive(Clone, Debug)]
pub struct ReportPlan {
    pub entries: Vec<(String, NodeId)>,
    /// In steps; each step if absent. The last step is always reported.
    pub every: Option<u64>,
    /// The assertions, by index in the graph, that the entries stand under.
    pub asserts: Vec<usize>,
    pub span: Span,
}

/// A block to be evaluated alone (`rlpc eval`).
#[derive(Clone, Debug)]
pub struct BlockPlan {
    /// `loss.ppo_clip`
    pub name: String,
    pub graph: Graph,
    pub inputs: Vec<InputPlan>,
    pub results: Vec<ResultPlan>,
    /// Dimensions whose size follows from that of others, as `row / rank`, and the node that computes it.
    pub sizes: Vec<(crate::ty::DimId, NodeId)>,
}

impl BlockPlan {
    /// Those of some names that are neither an argument, nor a gradient of several, nor say what is real of a dimension.
    pub fn unread<'n>(&self, names: impl IntoIterator<Item = &'n str>) -> Vec<&'n str> {
        let takes_gradients = self.inputs.iter().any(|input| input.name == "grad");
        let dims = &self.graph.dims;
        let is_ragged = |name: &str| {
            dims.ids()
                .any(|dim| dims.is_ragged(dim) && [name, ".."].contains(&dims.name(dim)))
        };
        let is_read = |name: &str| {
            self.inputs.iter().any(|input| input.name == name)
                || name.strip_prefix('#').is_some_and(is_ragged)
                || takes_gradients
                    && name
                        .strip_prefix("grad.")
                        .is_some_and(|number| number.parse::<u64>().is_ok())
        };
        names.into_iter().filter(|name| !is_read(name)).collect()
    }
}

#[derive(Clone, Debug)]
pub struct ResultPlan {
    /// `result`, or the field of a record; `param` and `state.NAME` where the block has them.
    pub name: String,
    pub node: NodeId,
    /// Dimensions in the order of the signature.
    pub axes: Vec<crate::ty::DimId>,
}

#[derive(Clone, Debug)]
pub struct InputPlan {
    pub name: String,
    /// The `Input` node.
    pub node: NodeId,
    pub elem: Elem,
    /// Dimensions in the order of the signature (which is the order of the axes outside).
    /// A dimension named `..` stands for any number of further axes of the tensor, flattened into one.
    pub axes: Vec<crate::ty::DimId>,
    pub default: Option<Array>,
    /// For a state, and a `param` of a transform: its value if none is given, a node that may read the other inputs.
    pub initial: Option<NodeId>,
}

/// The assertions of a `test`.
#[derive(Clone, Debug)]
pub struct TestPlan {
    pub title: String,
    pub graph: Graph,
    pub asserts: Vec<AssertPlan>,
    pub span: Span,
}

#[derive(Clone, Debug)]
pub enum AssertPlan {
    /// A `bool` of any dimensions: all elements must hold.
    Holds { value: NodeId, span: Span },
    /// |left − right| ≤ within, at every real element; `mask` says which are real.
    Close {
        left: NodeId,
        right: NodeId,
        within: f64,
        mask: Option<NodeId>,
        span: Span,
    },
}

impl AssertPlan {
    /// The nodes that it speaks of.
    pub fn nodes(&self) -> Vec<NodeId> {
        match self {
            AssertPlan::Holds { value, .. } => vec![*value],
            AssertPlan::Close {
                left, right, mask, ..
            } => [Some(*left), Some(*right), *mask]
                .into_iter()
                .flatten()
                .collect(),
        }
    }
}
