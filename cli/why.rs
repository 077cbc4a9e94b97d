//! `rlpc why`: what the compiler knows of one value, and why it knows it.

use std::collections::BTreeSet;
use std::fmt::Write;

use rlp_compiler::diagnostic::nearest;
use rlp_compiler::graph::{Graph, ModelRef, NodeId, Op};
use rlp_compiler::phase::{self, Phase};
use rlp_compiler::plan::{Plan, StagePlan, TrainPlan};
use rlp_compiler::source::SourceMap;
use rlp_compiler::{Checked, dump};
use rlp_grammar::ast::Span;

use crate::answer::Answer;
use crate::arguments::Why;
use crate::graph::{checked, stages};

pub(crate) fn run(arguments: &Why) -> Answer {
    let (checked, warnings) = match checked(&arguments.file, &arguments.stage, arguments.output) {
        Ok(checked) => checked,
        Err(answer) => return answer,
    };
    let stages = match stages(&checked, &arguments.stage) {
        Ok(stages) => stages,
        Err(answer) => return answer,
    };
    let mut out = String::new();
    for (plan, stage) in &stages {
        let view = View {
            plan,
            stage,
            sources: &checked.sources,
        };
        for (name, node) in view.named(&arguments.node) {
            out += &view.tell(name.as_deref(), node);
        }
    }
    if out.is_empty() {
        return unknown(&arguments.node, &checked);
    }
    Answer {
        out: warnings.out + &out,
        ..warnings
    }
}

fn unknown(node: &str, checked: &Checked) -> Answer {
    let names = checked
        .plans
        .iter()
        .flat_map(|plan| &plan.stages)
        .flat_map(|stage| &stage.names);
    let names: BTreeSet<&str> = names.map(|(name, _)| name.as_str()).collect();
    let near = nearest(node, names.iter().copied());
    let help = match near.as_slice() {
        [] => format!(
            "there are {}; `rlpc graph` numbers all values",
            Vec::from_iter(names).join(", ")
        ),
        near => format!("did you mean `{}`?", near.join("`, or `")),
    };
    Answer::misused(&format!("nothing is called `{node}` here"), Some(&help))
}

/// One stage, with what its nodes refer to.
struct View<'a> {
    plan: &'a Plan,
    stage: &'a StagePlan,
    sources: &'a SourceMap,
}

impl View<'_> {
    /// The nodes that a name or number means: several for a record.
    fn named(&self, asked: &str) -> Vec<(Option<String>, NodeId)> {
        if let Some(number) = asked.strip_prefix('%') {
            let index = number.parse().unwrap_or(usize::MAX);
            return self
                .graph()
                .ids()
                .filter(|id| id.index() == index)
                .map(|id| (self.name(id), id))
                .collect();
        }
        let field = format!("{asked}.");
        let named = self
            .stage
            .names
            .iter()
            .filter(|(name, _)| name == asked || name.starts_with(&field));
        named.map(|(name, id)| (Some(name.clone()), *id)).collect()
    }

    fn tell(&self, name: Option<&str>, id: NodeId) -> String {
        let (graph, node) = (self.graph(), self.graph().node(id));
        let mut text = String::new();
        let name = name.map_or(String::new(), |name| format!("{name} = "));
        let _ = writeln!(text, "{name}{}", dump::line(graph, id));
        let mut row = |word: &str, what: &str| {
            let _ = writeln!(text, "    {word:<10} {what}");
        };
        let calls = self
            .calls(id)
            .into_iter()
            .map(|block| format!(" in `{block}`"))
            .collect::<String>();
        row("stands at", &format!("{}{calls}", self.place(node.span)));
        for &dim in &node.ty.dims {
            let known = graph.dims.get(dim);
            let size = known
                .size
                .map_or(String::new(), |size| format!(", {size} of them"));
            let ragged = known.ragged.as_ref().map_or(String::new(), |parents| {
                let parents: Vec<&str> = parents
                    .iter()
                    .map(|&parent| graph.dims.name(parent))
                    .collect();
                if parents.is_empty() {
                    ", ragged".to_string()
                } else {
                    format!(", ragged over {}", parents.join(", "))
                }
            });
            row(
                "dimension",
                &format!("`{}` of {}{size}{ragged}", known.name, known.origin),
            );
        }
        row("runs", &self.phase(id));
        for gradient in self.gradients(id) {
            row("gradient", &gradient);
        }
        let reads: Vec<String> = graph
            .operands(id)
            .into_iter()
            .map(|operand| self.short(operand))
            .collect();
        if !reads.is_empty() {
            row("reads", &reads.join(", "));
        }
        let used: Vec<String> = graph
            .users(id)
            .into_iter()
            .map(|user| self.short(user))
            .collect();
        if !used.is_empty() {
            row("read by", &used.join(", "));
        }
        let sinks = self.sinks(id);
        row(
            "decides",
            &if sinks.is_empty() {
                "nothing that is trained or reported".to_string()
            } else {
                sinks.join(", ")
            },
        );
        text.push('\n');
        text
    }

    /// When a node runs, and what it depends on that makes it so.
    fn phase(&self, id: NodeId) -> String {
        let phase = |id: NodeId| {
            self.stage
                .phases
                .get(id.index())
                .copied()
                .unwrap_or(Phase::Once)
        };
        // The first node of this phase that all this begins with.
        let causes = phase::upstream(self.graph(), &[id]);
        let cause = causes.into_iter().find(|&cause| phase(cause) == phase(id));
        let cause = cause
            .filter(|&cause| cause != id)
            .map_or(String::new(), |cause| {
                format!(": depends on {}", self.short(cause))
            });
        match phase(id) {
            Phase::Once => {
                "once, before the first step: depends on nothing that changes".to_string()
            }
            Phase::Step => format!("once a step{cause}"),
            Phase::Minibatch => format!("on every minibatch{cause}"),
        }
    }

    /// A sentence for each `train` whose gradient passes through the node.
    fn gradients(&self, id: NodeId) -> Vec<String> {
        let through = |train: &&TrainPlan| {
            let below = phase::live(self.graph(), id);
            phase::live(self.graph(), train.loss).contains(&id)
                && train.outputs.iter().any(|output| below.contains(output))
        };
        let sentences: Vec<String> = self
            .stage
            .trains
            .iter()
            .filter(through)
            .map(|train| {
                format!(
                    "from the loss at {} to {}",
                    self.place(self.graph().node(train.loss).span),
                    self.targets(train)
                )
            })
            .collect();
        if sentences.is_empty() {
            vec!["none".to_string()]
        } else {
            sentences
        }
    }

    /// What depends on a node in the end.
    fn sinks(&self, id: NodeId) -> Vec<String> {
        let reaches = |sink: NodeId| phase::upstream(self.graph(), &[sink]).contains(&id);
        let mut sinks = Vec::new();
        for train in &self.stage.trains {
            if reaches(train.loss) {
                sinks.push(format!("the loss of `train {}`", self.targets(train)));
            }
            let arguments = train.rules.iter().flat_map(|rule| {
                rule.args
                    .iter()
                    .map(move |(name, node)| (rule, name, *node))
            });
            for (rule, name, _) in arguments.filter(|(_, _, node)| reaches(*node)) {
                sinks.push(format!("`{name}` of `{}`", rule.block));
            }
        }
        let evaluations = self
            .stage
            .trains
            .iter()
            .flat_map(|train| &train.evaluations);
        for (word, report) in self
            .stage
            .reports
            .iter()
            .map(|report| ("report", report))
            .chain(evaluations.map(|report| ("evaluate", report)))
        {
            let entries = report.entries.iter().filter(|(_, node)| reaches(*node));
            sinks.extend(entries.map(|(name, _)| format!("`{word} {name}`")));
        }
        let states = self
            .graph()
            .states
            .iter()
            .filter(|state| reaches(state.next));
        sinks.extend(states.map(|state| format!("the state `{}`", state.name)));
        let asserts = self.graph().asserts.iter();
        let asserts = asserts.filter(|assertion| reaches(assertion.condition));
        sinks.extend(asserts.map(|assertion| format!("the assertion that {}", assertion.claim)));
        sinks
    }

    fn graph(&self) -> &Graph {
        &self.stage.graph
    }

    /// The name that the pipeline gives to a node.
    fn name(&self, id: NodeId) -> Option<String> {
        self.stage
            .names
            .iter()
            .find(|(_, named)| *named == id)
            .map(|(name, _)| name.clone())
    }

    /// `%12 (adv)`, `%7 (sampler.rollout)`, `%9 (logp of policy)`
    fn short(&self, id: NodeId) -> String {
        let what = self.name(id).unwrap_or_else(|| match self.graph().op(id) {
            Op::Draw(draw) => self
                .graph()
                .draws
                .get(*draw)
                .map_or("a draw".to_string(), |draw| draw.block.clone()),
            Op::Model { model, output } => {
                format!("{output:?} of {}", self.model(model)).to_lowercase()
            }
            Op::Trainable(tensor) => self.tensor(tensor),
            _ => dump::head(self.graph(), id),
        });
        format!("%{} ({what})", id.index())
    }

    fn model(&self, model: &ModelRef) -> String {
        let name = self
            .plan
            .models
            .get(model.model)
            .map_or("a model", |model| model.name.as_str());
        if model.frozen.is_some() {
            format!("frozen {name}")
        } else {
            name.to_string()
        }
    }

    fn tensor(&self, tensor: &ModelRef) -> String {
        let own = self.plan.tensors.get(tensor.model);
        let name = own.map_or("a tensor", |own| own.name.as_str());
        match tensor.frozen {
            Some(_) => format!("frozen {name}"),
            None => name.to_string(),
        }
    }

    fn targets(&self, train: &TrainPlan) -> String {
        let names = train
            .targets
            .iter()
            .filter_map(|&target| self.plan.models.get(target));
        let tensors = train
            .tensors
            .iter()
            .filter_map(|&target| self.plan.tensors.get(target));
        names
            .map(|model| model.name.as_str())
            .chain(tensors.map(|tensor| tensor.name.as_str()))
            .collect::<Vec<_>>()
            .join(", ")
    }

    /// The blocks whose text a node comes from, the innermost first.
    fn calls(&self, id: NodeId) -> Vec<String> {
        let mut calls = Vec::new();
        let mut next = self.graph().node(id).call;
        while let Some(call) = next.and_then(|call| self.graph().calls.get(call.0 as usize)) {
            calls.push(call.block.clone());
            next = call.parent;
        }
        calls
    }

    fn place(&self, span: Span) -> String {
        let (line, column) = self.sources.place(span);
        format!("{}:{line}:{column}", self.sources.get(span.source).path)
    }
}
