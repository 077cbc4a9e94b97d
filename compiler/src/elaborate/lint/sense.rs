//! Sense, not only types: what can never be right, and what is seldom meant.

use std::collections::HashMap;
use std::rc::Rc;

use rlp_grammar::ast::Span;

use crate::array::Elements;
use crate::diagnostic::Diagnostic;
use crate::elaborate::expr::builtin::Bound;
use crate::elaborate::library::Definition;
use crate::elaborate::scope::{Binding, Scope};
use crate::elaborate::value::{Tensor, Value};
use crate::elaborate::{Elaborator, Mode, Result};
use crate::graph::{DrawArg, Op, Reduction};
use crate::ty::DimId;

impl Elaborator<'_> {
    /// A mean of means weighs short sequences like long ones; a group of one has no spread.
    pub(crate) fn sense_of_reduction(
        &mut self,
        name: &str,
        x: Tensor,
        over: &[DimId],
        bound: &Bound,
    ) {
        if name == "mean" && x.level == self.level {
            let inner = match self.graph().op(x.node) {
                Op::Reduce {
                    kind: Reduction::Mean,
                    over: inner,
                } => Some(inner.clone()),
                _ => None,
            };
            let ragged = inner.as_ref().and_then(|inner| {
                inner.iter().copied().find(|&dim| {
                    let parents = self.graph().dims.get(dim).ragged.clone();
                    parents
                        .is_some_and(|parents| parents.iter().any(|parent| over.contains(parent)))
                })
            });
            if let Some(dim) = ragged {
                let inner_span = self.graph().node(x.node).span;
                let ragged = self.dim_name(dim).to_string();
                let message = format!(
                    "a mean of means over `{ragged}` counts short sequences as much as long ones"
                );
                let mut names: Vec<String> = over
                    .iter()
                    .map(|&dim| self.dim_name(dim).to_string())
                    .collect();
                names.push(ragged);
                let diagnostic = Diagnostic::warning("mean-of-means", bound.span, message)
                    .label(inner_span, "the inner mean")
                    .help(format!(
                        "the mean of all elements is `mean(x, over: [{}])`",
                        names.join(", ")
                    ));
                self.lint_with(diagnostic);
            }
        }
        let in_advantage = self
            .frames
            .iter()
            .rev()
            .find(|frame| frame.kind == "advantage")
            .map(|frame| (frame.name.clone(), frame.span));
        if let (Some((block, span)), true) = (in_advantage, self.mode == Mode::Pipeline) {
            let single = over.iter().copied().find(|&dim| {
                self.dim_name(dim) == "sample" && self.graph().dims.get(dim).size == Some(1)
            });
            if let Some(dim) = single
                && over.len() == 1
            {
                let (name, origin) = (
                    self.dim_name(dim).to_string(),
                    self.graph().dims.get(dim).span,
                );
                let message = format!(
                    "`{block}` compares the {name}s of a group, and there is only one: every advantage is 0"
                );
                let diagnostic = Diagnostic::error("group-of-one", span, message)
                    .label(origin, "`samples` is 1 here")
                    .help("draw `samples: 2` or more");
                let frames = std::mem::take(&mut self.frames);
                self.report(diagnostic);
                self.frames = frames;
            }
        }
    }

    /// The first-order KL estimator has a gradient of zero mean on samples of the policy itself.
    pub(crate) fn sense_of_call(&mut self, definition: &Rc<Definition>, scope: &Scope, span: Span) {
        if definition.name != "loss.kl_k1" || self.mode != Mode::Pipeline {
            return;
        }
        let Some((slot, _)) = scope.get("logp") else {
            return;
        };
        let Binding::Done(Value::Tensor(logp)) = slot.borrow().clone() else {
            return;
        };
        let live = logp.level == 0
            && crate::phase::upstream(&self.levels[0].graph, &[logp.node])
                .into_iter()
                .any(|node| matches!(self.levels[0].graph.op(node), Op::Model { model, .. } if model.frozen.is_none()));
        if live {
            let diagnostic = Diagnostic::warning(
                "kl-k1-differentiated",
                span,
                "the gradient of `loss.kl_k1` has zero mean on samples of the policy itself: it does not hold the policy",
            )
            .help("loss.kl_k3 or loss.kl_k2");
            self.lint_with(diagnostic);
        }
    }

    /// Conditions that a native block states in its body, and what only whole pipelines can violate.
    pub(crate) fn sense_of_draw(
        &mut self,
        definition: &Rc<Definition>,
        given: (&[(String, DrawArg)], &Scope),
        places: &HashMap<String, Span>,
        span: Span,
    ) -> Result<()> {
        let (args, scope) = given;
        let known = |name: &str| {
            args.iter()
                .find(|(arg, _)| arg == name)
                .and_then(|(_, arg)| match arg {
                    DrawArg::Static(array) => match &array.elements {
                        Elements::Int(values) => values.first().map(|&value| value as f64),
                        Elements::Real(values) => values.first().copied(),
                        Elements::Bool(_) | Elements::Text(_) => None,
                    },
                    DrawArg::Model(_)
                    | DrawArg::Data(_)
                    | DrawArg::Operand(_)
                    | DrawArg::Record(_) => None,
                })
        };
        let model = args.iter().find_map(|(_, arg)| match arg {
            DrawArg::Model(model) => Some(model.model),
            DrawArg::Static(_) | DrawArg::Data(_) | DrawArg::Operand(_) | DrawArg::Record(_) => {
                None
            }
        });
        if let (Some(tokens), Some(model)) = (known("max_tokens"), model)
            && let Some(positions) = self
                .resource_number(self.root_of(model), "positions")
                .filter(|&positions| positions > 0.0)
            && tokens >= positions
        {
            let resource = &self.models[model];
            let message = format!(
                "`max_tokens` is {tokens}, and `{}` has {positions} positions, of which the prompt needs some",
                resource.name
            );
            let diagnostic = Diagnostic::error(
                "too-many-tokens",
                places.get("max_tokens").copied().unwrap_or(span),
                message,
            )
            .label(resource.span, format!("{positions} positions"))
            .help(format!(
                "max_tokens: {}, or a model with more `positions`",
                (positions / 2.0).floor()
            ));
            return Err(self.report(diagnostic));
        }
        self.native_conditions(definition, scope, places, span)
    }

    /// The `assert`s of a native block, on its arguments.
    pub(crate) fn native_conditions(
        &mut self,
        definition: &Rc<Definition>,
        scope: &Scope,
        places: &HashMap<String, Span>,
        span: Span,
    ) -> Result<()> {
        self.framed(definition, span, |this| {
            this.in_scope(scope.clone(), |this| this.preconditions(definition, places))
        })
    }

    /// Whether a KL to a reference is part of both the reward and the loss.
    pub(crate) fn sense_of_loss(&mut self, loss: Tensor, span: Span) {
        let graph = &self.levels[0].graph;
        let mut in_loss = false;
        let mut in_reward: Option<Span> = None;
        for node in crate::phase::upstream(graph, &[loss.node]) {
            let mut call = graph.node(node).call;
            while let Some(id) = call {
                let outer = &graph.calls[id.0 as usize];
                in_loss |= outer.block.starts_with("loss.kl");
                call = outer.parent;
            }
            // Under a stopped gradient, a difference of two log-probabilities of sequences is a KL penalty.
            if let Op::StopGrad = graph.op(node) {
                let below = crate::phase::upstream(graph, &[node]);
                let reference = below.iter().any(|&inner| matches!(graph.op(inner), Op::Model { model, .. } if model.frozen.is_some()));
                if reference {
                    in_reward = Some(graph.node(node).span);
                }
            }
        }
        if let (true, Some(reward)) = (in_loss, in_reward) {
            let diagnostic = Diagnostic::warning(
                "kl-counted-twice",
                span,
                "the distance to a frozen model is part of both the reward and the loss",
            )
            .label(reward, "here it is in what is rewarded")
            .help("keep one of the two");
            self.lint_with(diagnostic);
        }
    }
}
