//! A plan as data: what a run is going to compute, in a form that is kept, drawn, and compared with that of another run.
//!
//! A stage is told in the user's own words: the values are its draws, model outputs, calls of blocks and what `let` names,
//! each with the values that it reads. `sum` stands for the computation of one value, down to its primitives: it is the same
//! where the same is computed from the same values, whatever the names, the comments and the order of the lines.

mod sums;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value as Json, json};

use crate::array::{Array, Elements};
use crate::dump;
use crate::graph::{DataRef, DrawArg, Graph, ModelOutput, ModelRef, NodeId, Op};
use crate::phase::upstream;
use crate::plan::{ParameterGroup, Plan, ReportPlan, Resource, ResourceArg, StagePlan, TrainPlan};

/// What the value of a node belongs to, among the values of a stage.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Owner {
    Draw(usize),
    /// The output of a model, by its node.
    Model(NodeId),
    /// The outermost call of a block.
    Call(u32),
    /// An expression of the pipeline itself that has a name.
    Named(NodeId),
}

/// The whole plan, as it is before any pass of the compiler.
pub fn resolved(plan: &Plan) -> Json {
    let settings = plan.settings.iter();
    let settings: Map<String, Json> = settings
        .map(|(name, value)| (name.clone(), plain(value)))
        .collect();
    let resources =
        |all: &[Resource]| -> Vec<Json> { all.iter().map(|own| resource(own, plan)).collect() };
    let tensors: Vec<&str> = plan
        .tensors
        .iter()
        .map(|tensor| tensor.name.as_str())
        .collect();
    let stages: Vec<Json> = plan
        .stages
        .iter()
        .map(|own| stage(own, plan).to_json())
        .collect();
    json!({
        "pipeline": plan.name, "settings": settings, "models": resources(&plan.models),
        "data": resources(&plan.data), "tensors": tensors, "stages": stages,
    })
}

fn resource(own: &Resource, plan: &Plan) -> Json {
    let arg = |arg: &ResourceArg| match arg {
        ResourceArg::Value(array) => plain(array),
        ResourceArg::Data(index) => json!(plan.data[*index].name),
        ResourceArg::Model(index) => json!(plan.models[*index].name),
    };
    let args: Map<String, Json> = own
        .args
        .iter()
        .map(|(name, value)| (name.clone(), arg(value)))
        .collect();
    json!({ "name": own.name, "block": own.block, "args": args })
}

/// A stage, its values in the order in which they can be computed.
fn stage<'p>(own: &'p StagePlan, plan: &'p Plan) -> Stage<'p> {
    let graph = &own.graph;
    let mut owners = vec![None; graph.len()];
    // What only an assertion reads is no part of the picture.
    for id in upstream(graph, &sinks(own)) {
        owners[id.index()] = match graph.op(id) {
            Op::Draw(draw) => Some(Owner::Draw(*draw)),
            Op::Field(_) => graph
                .operands(id)
                .first()
                .and_then(|draw| owners[draw.index()]),
            Op::Model { .. } => Some(Owner::Model(id)),
            // Nothing is computed; that no gradient flows through it is its phase's to say.
            Op::StopGrad => graph.operands(id).first().and_then(|of| owners[of.index()]),
            // Constants, and what is real of a draw, belong to whatever reads them.
            Op::Literal(_) | Op::Mask(_) | Op::Size(_) | Op::Position(_) => None,
            _ => match outermost(graph, id) {
                Some(call) => Some(Owner::Call(call)),
                None if own.names.iter().any(|(_, node)| *node == id) => Some(Owner::Named(id)),
                None => None,
            },
        };
    }
    Stage {
        plan,
        own,
        owners,
        names: BTreeMap::new(),
    }
    .named()
}

/// What a stage is for.
fn sinks(own: &StagePlan) -> Vec<NodeId> {
    let mut sinks: Vec<NodeId> = own.graph.states.iter().map(|state| state.next).collect();
    let mut told: Vec<&ReportPlan> = own.reports.iter().collect();
    for train in &own.trains {
        sinks.push(train.loss);
        let args = train.rules.iter().flat_map(|rule| &rule.args);
        sinks.extend(args.map(|(_, node)| *node));
        told.extend(&train.evaluations);
    }
    let entries = told.iter().flat_map(|report| &report.entries);
    sinks.extend(entries.map(|(_, node)| *node));
    sinks
}

struct Stage<'p> {
    plan: &'p Plan,
    own: &'p StagePlan,
    owners: Vec<Option<Owner>>,
    /// The name of each value: that of its `let`, or of its block.
    names: BTreeMap<Owner, String>,
}

impl Stage<'_> {
    fn named(mut self) -> Self {
        let mut taken = BTreeSet::new();
        let mut order: Vec<Owner> = Vec::new();
        for owner in self.owners.iter().flatten() {
            if !order.contains(owner) {
                order.push(*owner);
            }
        }
        for owner in order {
            let wanted = self.wanted(owner);
            let mut name = wanted.clone();
            for number in 2.. {
                if taken.insert(name.clone()) {
                    break;
                }
                name = format!("{wanted} {number}");
            }
            self.names.insert(owner, name);
        }
        self
    }

    /// The name of the `let` whose value this is; else what it does.
    fn wanted(&self, owner: Owner) -> String {
        let graph = &self.own.graph;
        // A `let` of a record names its fields: `rollouts.logp`.
        let is_of = |node: &NodeId| self.owners.get(node.index()) == Some(&Some(owner));
        let of_let = self.own.names.iter().find(|(_, node)| is_of(node));
        match owner {
            Owner::Draw(draw) => of_let.map_or(graph.draws[draw].block.clone(), |(name, _)| {
                name.split('.').next().unwrap_or_default().to_string()
            }),
            Owner::Call(call) => of_let.map_or_else(
                || graph.calls[call as usize].block.clone(),
                |(name, _)| name.clone(),
            ),
            Owner::Model(node) => self.output(node),
            Owner::Named(_) => of_let.map_or(String::new(), |(name, _)| name.clone()),
        }
    }

    /// `logp(policy)`
    fn output(&self, node: NodeId) -> String {
        let Op::Model { model, output } = self.own.graph.op(node) else {
            return String::new();
        };
        let output = match output {
            ModelOutput::Logp => "logp",
            ModelOutput::Entropy => "entropy",
            ModelOutput::Value => "value",
            ModelOutput::Logits => "logits",
            ModelOutput::Hidden => "hidden",
        };
        format!("{output}({})", self.model(model))
    }

    fn model(&self, model: &ModelRef) -> String {
        let name = self
            .plan
            .models
            .get(model.model)
            .map_or("?", |own| own.name.as_str());
        match model.frozen {
            None => name.to_string(),
            Some(0) => format!("frozen({name})"),
            Some(every) => format!("frozen({name}, every: {every})"),
        }
    }

    fn data(&self, data: &DataRef) -> String {
        let name = self
            .plan
            .data
            .get(data.data)
            .map_or("?", |own| own.name.as_str());
        if data.held_out {
            format!("held_out({name})")
        } else {
            name.to_string()
        }
    }

    /// The values that nodes are computed from: their own, or those behind expressions without a name.
    fn values(&self, nodes: Vec<NodeId>) -> BTreeSet<Owner> {
        let (mut open, mut seen) = (nodes, BTreeSet::new());
        let mut found = BTreeSet::new();
        while let Some(node) = open.pop() {
            match self.owners[node.index()] {
                Some(owner) => {
                    found.insert(owner);
                }
                None if seen.insert(node) => open.extend(self.own.graph.operands(node)),
                None => {}
            }
        }
        found
    }

    /// The values that a value reads.
    fn reads(&self, owner: Owner) -> BTreeSet<Owner> {
        let graph = &self.own.graph;
        let inside = graph
            .ids()
            .filter(|id| self.owners[id.index()] == Some(owner));
        let mut found = self.values(inside.flat_map(|id| graph.operands(id)).collect());
        found.remove(&owner);
        found
    }

    fn to_json(&self) -> Json {
        let own = self.own;
        let values: Vec<Json> = self.names.keys().map(|owner| self.value(*owner)).collect();
        let trains: Vec<Json> = own.trains.iter().map(|train| self.train(train)).collect();
        let reports: Vec<Json> = own
            .reports
            .iter()
            .map(|report| self.report(report))
            .collect();
        let states = own.graph.states.iter().map(|state| {
            json!({ "name": state.name, "reads": self.sink(state.next), "sum": self.sum(state.next) })
        });
        json!({
            "name": own.name, "steps": own.steps, "values": values, "trains": trains, "reports": reports,
            "states": states.collect::<Vec<_>>(),
        })
    }

    fn value(&self, owner: Owner) -> Json {
        let graph = &self.own.graph;
        let inside = || {
            graph
                .ids()
                .filter(|id| self.owners[id.index()] == Some(owner))
        };
        let last = inside().next_back();
        let phase = inside()
            .map(|id| self.own.phases[id.index()])
            .max()
            .map_or("once", dump::phase_name);
        let (kind, block, args) = match owner {
            Owner::Draw(draw) => (
                "draw",
                Some(graph.draws[draw].block.as_str()),
                self.draw_args(draw),
            ),
            Owner::Model(_) => ("model", None, Map::new()),
            Owner::Call(call) => (
                "block",
                Some(graph.calls[call as usize].block.as_str()),
                Map::new(),
            ),
            Owner::Named(_) => ("value", None, Map::new()),
        };
        let ty = match owner {
            Owner::Draw(_) => None,
            Owner::Model(_) | Owner::Call(_) | Owner::Named(_) => {
                last.map(|id| dump::show(&graph.dims, graph.ty(id)))
            }
        };
        let reads: Vec<&String> = self
            .reads(owner)
            .iter()
            .map(|read| &self.names[read])
            .collect();
        json!({
            "name": self.names[&owner], "kind": kind, "block": block, "args": args, "type": ty, "phase": phase,
            "reads": reads, "sum": self.sum_of(owner),
        })
    }

    fn draw_args(&self, draw: usize) -> Map<String, Json> {
        let draw = &self.own.graph.draws[draw];
        let arg = |arg: &DrawArg| match arg {
            DrawArg::Static(array) => Some(plain(array)),
            DrawArg::Model(model) => Some(json!(self.model(model))),
            DrawArg::Data(data) => Some(json!(self.data(data))),
            // What it reads is among the values.
            DrawArg::Operand(_) | DrawArg::Record(_) => None,
        };
        let args = draw.args.iter();
        args.filter_map(|(name, value)| Some((name.clone(), arg(value)?)))
            .collect()
    }

    fn train(&self, train: &TrainPlan) -> Json {
        let models = train
            .targets
            .iter()
            .map(|&index| &self.plan.models[index].name);
        let tensors = train
            .tensors
            .iter()
            .map(|&index| &self.plan.tensors[index].name);
        let targets: Vec<&str> = models.chain(tensors).map(String::as_str).collect();
        let rules = train.rules.iter().map(|rule| {
            let on = match &rule.on {
                ParameterGroup::All => "all",
                ParameterGroup::Matrices => "matrices",
                ParameterGroup::Others => "others",
                ParameterGroup::Named(pattern) => pattern,
            };
            let args: Map<String, Json> = rule
                .args
                .iter()
                .map(|(name, node)| (name.clone(), self.argument(*node)))
                .collect();
            json!({ "block": rule.block, "on": on, "args": args })
        });
        let evaluations: Vec<Json> = train
            .evaluations
            .iter()
            .map(|report| self.report(report))
            .collect();
        json!({
            "trains": targets, "loss": { "reads": self.sink(train.loss), "sum": self.sum(train.loss) },
            "rules": rules.collect::<Vec<_>>(), "steps": train.steps, "epochs": train.epochs,
            "minibatch": train.minibatch, "micro_batch": train.micro_batch, "clip_norm": train.clip_norm,
            "keep_state": train.keep_state, "evaluations": evaluations,
        })
    }

    /// The argument of a rule: a number, or what it is computed by.
    fn argument(&self, node: NodeId) -> Json {
        match self.own.graph.op(node) {
            Op::Literal(array) => plain(array),
            _ => json!({ "reads": self.sink(node), "sum": self.sum(node) }),
        }
    }

    fn report(&self, report: &ReportPlan) -> Json {
        let entries: Vec<Json> = report
            .entries
            .iter()
            .map(|(name, node)| json!({ "name": name, "reads": self.sink(*node), "sum": self.sum(*node) }))
            .collect();
        json!({ "every": report.every, "entries": entries })
    }

    /// The names of the values that a sink is computed from.
    fn sink(&self, node: NodeId) -> Vec<&str> {
        let found = self.values(vec![node]);
        found
            .iter()
            .map(|owner| self.names[owner].as_str())
            .collect()
    }
}

/// The number of the outermost call that a node belongs to.
fn outermost(graph: &Graph, id: NodeId) -> Option<u32> {
    let mut call = graph.node(id).call?;
    while let Some(parent) = graph
        .calls
        .get(call.0 as usize)
        .and_then(|call| call.parent)
    {
        call = parent;
    }
    Some(call.0)
}

/// One element, or a list of all.
pub fn plain(value: &Array) -> Json {
    let list: Vec<Json> = match &value.elements {
        Elements::Real(values) => values.iter().map(|value| json!(value)).collect(),
        Elements::Int(values) => values.iter().map(|value| json!(value)).collect(),
        Elements::Bool(values) => values.iter().map(|value| json!(value)).collect(),
        Elements::Text(values) => values.iter().map(|value| json!(value)).collect(),
    };
    match <[Json; 1]>::try_from(list) {
        Ok([only]) if value.shape.is_empty() => only,
        Ok(list) => json!(list),
        Err(list) => json!(list),
    }
}
