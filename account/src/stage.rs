//! A stage as it will run: what is in use at its moments, by phase, and the work of a step.

use std::collections::BTreeSet;

use rlp_compiler::graph::{Draw, DrawArg, ModelRef, NodeId, Op};
use rlp_compiler::pass::fuse::{FusedPart, fused_parts};
use rlp_compiler::phase::{Phase as When, upstream};
use rlp_compiler::plan::{StagePlan, TrainPlan};
use rlp_compiler::ty::{Elem, Ty};

use crate::account::{Context, Phase, PhaseAccount, StageAccount};
use crate::arguments::Known;
use crate::language_model::{LanguageModel, model_refs};
use crate::memory::{Amounts, Term, peak};
use crate::optimizer::{self, Held};
use crate::reading::{Reader, Rollout, Sequences};
use crate::sizes::{Sizes, of_task};
use crate::work::Worker;

/// Smaller blocks are not given back to the system when they are freed.
const LARGEST_IN_HEAP: u64 = 32 << 20;

pub(crate) fn stage(context: &Context<'_>, stage: &StagePlan) -> StageAccount {
    let Context { plan, models, .. } = context;
    let sizes = Sizes::new(&stage.graph, plan, models, &context.lengths);
    let trains = stage.trains.iter();
    let held = trains.map(|train| optimizer::held(plan, train, models, context.options.is_on_gpu));
    let walk = Walk {
        context,
        stage,
        parts: fused_parts(stage),
        held: held.collect(),
        standing: standing(context, stage, &sizes),
        sizes,
    };
    let mut account = StageAccount {
        name: stage.name.clone(),
        steps: stage.steps,
        trained: targets(context, stage, true),
        frozen: targets(context, stage, false),
        phases: Vec::new(),
        work: Default::default(),
        evaluation: Default::default(),
    };
    let mut worker = context.worker();
    let mut evaluating = context.worker();
    walk.rollouts(&mut account.phases, &mut worker, &mut evaluating);
    for (number, train) in stage.trains.iter().enumerate() {
        walk.update(number, train, &mut account.phases, &mut worker);
    }
    let saved = walk.held.iter().map(|held| 4 * held.largest).max();
    account.phases.push(PhaseAccount {
        phase: Phase::Saving,
        peak: walk.at_rest().with(Term::Graph, saved.unwrap_or_default()),
        span: stage.span,
        rows: None,
    });
    account.work = worker.work;
    account.evaluation = evaluating.work;
    account
}

/// Models that a stage names, with their parameters: those it trains, or those it does not.
fn targets(context: &Context<'_>, stage: &StagePlan, is_trained: bool) -> Vec<(String, u64)> {
    let trained: BTreeSet<usize> = stage
        .trains
        .iter()
        .flat_map(|train| train.targets.iter().copied())
        .collect();
    let refs = model_refs(&stage.graph);
    let mut found: Vec<(String, u64)> = Vec::new();
    let named: BTreeSet<(usize, bool)> = refs
        .iter()
        .map(|own| (own.model, own.frozen.is_some()))
        .chain(trained.iter().map(|&model| (model, false)))
        .collect();
    for (model, is_frozen) in named {
        let Some(Some(own)) = context.models.get(model) else {
            continue;
        };
        if (trained.contains(&model) && !is_frozen) == is_trained {
            let name = match is_frozen {
                true => format!("frozen({})", own.name),
                false => own.name.clone(),
            };
            let count = match is_trained {
                true => own.trainable_count(),
                false => own.count(),
            };
            found.push((name, count));
        }
    }
    if is_trained {
        let tensors = stage.trains.iter().flat_map(|train| &train.tensors);
        let tensors: BTreeSet<usize> = tensors.copied().collect();
        for tensor in tensors {
            let own = &context.plan.tensors[tensor];
            found.push((own.full_name(), context.of_tensor(tensor) / 4));
        }
    }
    found
}

/// What is there throughout a stage: all models, the stage's frozen copies, and what was drawn.
fn standing(context: &Context<'_>, stage: &StagePlan, sizes: &Sizes) -> Amounts {
    let copies: BTreeSet<(usize, u64)> = model_refs(&stage.graph)
        .into_iter()
        .filter_map(|own| Some((own.model, own.frozen?)))
        .collect();
    let copies = copies.into_iter().filter_map(|(model, _)| {
        let own = context.models.get(model)?.as_ref()?;
        Some(own.count() * own.computed.bytes())
    });
    let graph = &stage.graph;
    let fields = graph.draws.iter().flat_map(|draw| &draw.fields);
    let fields: u64 = fields.map(|(_, ty)| sizes.bytes(ty)).sum();
    let fresh = graph.draws.iter().flat_map(|draw| &draw.fresh);
    let masks = fresh.filter_map(|&dim| {
        let mut dims = graph.dims.get(dim).ragged.clone()?;
        dims.push(dim);
        Some(sizes.bytes(&Ty::new(Elem::Bool, dims)))
    });
    context
        .standing()
        .with(Term::Weights, copies.sum())
        .with(Term::Graph, fields + masks.sum::<u64>())
}

struct Walk<'a> {
    context: &'a Context<'a>,
    stage: &'a StagePlan,
    sizes: Sizes,
    parts: Vec<FusedPart>,
    held: Vec<Held>,
    standing: Amounts,
}

/// A reading of a trained model on the way to a loss.
struct Call<'m> {
    reader: Reader<'m>,
    /// Of the whole batch, and of a pass.
    whole: Sequences,
    minibatch: Sequences,
    micro: Sequences,
}

impl Call<'_> {
    fn is_split(&self) -> bool {
        self.micro.rows() < self.minibatch.rows()
    }
}

impl<'a> Walk<'a> {
    /// Between two steps.
    fn at_rest(&self) -> Amounts {
        let optimizer = self.held.iter().map(|held| held.states + held.spare);
        self.standing.with(Term::Optimizer, optimizer.sum())
    }

    fn model(&self, model: &ModelRef) -> Option<Reader<'a>> {
        let model: &LanguageModel = self.context.models.get(model.model)?.as_ref()?;
        Some(Reader {
            model,
            is_on_gpu: self.context.options.is_on_gpu,
        })
    }

    /// The sequences that a node of a model reads.
    fn sequences(&self, node: NodeId) -> Option<Sequences> {
        let graph = &self.stage.graph;
        let operands = graph.operands(node);
        let (&tokens, &prompts) = (operands.first()?, operands.get(1)?);
        let (&token, rows) = graph.ty(tokens).dims.split_last()?;
        let prompt = graph.ty(prompts).dims.last()?;
        let (first, rest) = rows.split_first()?;
        Some(Sequences {
            prompts: self.sizes.size(*first),
            samples: self.sizes.product(rest),
            prompt: self.sizes.size(*prompt),
            response: self.sizes.size(token),
        })
    }

    fn drawn<'d>(&self, draw: &'d Draw) -> Option<(&'d ModelRef, Rollout)> {
        let (_, arg) = draw.args.iter().find(|(name, _)| name == "policy")?;
        let DrawArg::Model(model) = arg else {
            return None;
        };
        let (known, lengths) = (Known::of_draw(draw), of_task(draw, &self.context.lengths));
        let most = known.count("max_tokens")?;
        let (prompts, samples) = match known.count("prompts") {
            Some(prompts) => (prompts, known.count("samples")?),
            None => (known.count("pairs")?, 2),
        };
        let is_filtered = known.count("top_k").is_some_and(|most| most > 0)
            || known.real("top_p").is_some_and(|share| share < 1.0);
        let sequences = Sequences {
            prompts,
            samples,
            prompt: lengths.prompt,
            response: lengths.cut.map_or(most, |cut| cut.min(most)),
        };
        Some((
            model,
            Rollout {
                sequences,
                is_filtered,
            },
        ))
    }

    /// Draws, and what is computed of them before the updates.
    fn rollouts(
        &self,
        phases: &mut Vec<PhaseAccount>,
        worker: &mut Worker<'a>,
        evaluating: &mut Worker<'a>,
    ) {
        let (graph, rest) = (&self.stage.graph, self.at_rest());
        let trained: Vec<NodeId> = self.trained_sinks();
        let is_trained: BTreeSet<NodeId> = upstream(graph, &trained).into_iter().collect();
        let threads = self.context.options.threads;
        for id in graph.ids() {
            let Op::Draw(index) = graph.op(id) else {
                continue;
            };
            let draw = &graph.draws[*index];
            let Some((reader, rollout)) = self
                .drawn(draw)
                .and_then(|(model, rollout)| Some((self.model(model)?, rollout)))
            else {
                continue;
            };
            let (phase, worker) = if is_trained.contains(&id) {
                (Phase::Rollout, &mut *worker)
            } else {
                (Phase::Evaluation, &mut *evaluating)
            };
            worker.rollout(&reader, &rollout.sequences);
            phases.push(PhaseAccount {
                phase,
                peak: rest + reader.rollout(&rollout, threads),
                span: draw.span,
                rows: Some(rollout.sequences.rows()),
            });
        }
        let mut early = Vec::new();
        let (graph_peak, kept) = self.parts.first().map_or((0, 0), |part| self.graph(part));
        early.push(rest.with(Term::Graph, graph_peak));
        let rows = self.rows_without_gradient();
        for (node, model) in self.readings(|when| when != When::Minibatch) {
            let (Some(reader), Some(whole)) = (self.model(model), self.sequences(node)) else {
                continue;
            };
            let own = whole.of_rows(rows.unwrap_or(u64::MAX));
            let hidden = reader.there(&whole, false).kept;
            early.push(rest.with(Term::Graph, kept) + hidden + reader.there(&own, false).peak);
            worker.reading(&reader, &whole, 1.0, false);
        }
        phases.push(PhaseAccount {
            phase: Phase::Rollout,
            peak: peak(early),
            span: self.stage.span,
            rows,
        });
    }

    /// Everything but evaluations.
    fn trained_sinks(&self) -> Vec<NodeId> {
        let reports = self.stage.reports.iter().flat_map(|own| &own.entries);
        let mut sinks: Vec<NodeId> = reports.map(|(_, node)| *node).collect();
        sinks.extend(self.stage.graph.states.iter().map(|state| state.next));
        for train in &self.stage.trains {
            sinks.push(train.loss);
            let args = train.rules.iter().flat_map(|rule| &rule.args);
            sinks.extend(args.map(|(_, node)| *node));
        }
        sinks
    }

    /// Rows of one pass without gradient.
    fn rows_without_gradient(&self) -> Option<u64> {
        let trains = self.stage.trains.iter();
        trains
            .filter_map(|train| train.micro_batch.or(train.minibatch))
            .min()
    }

    /// Logits of models that are read before the updates, as far as they stay with the process.
    fn left_by_early_readings(&self) -> u64 {
        let rows = self.rows_without_gradient().unwrap_or(u64::MAX);
        let readings = self.readings(|when| when != When::Minibatch).into_iter();
        let left = readings.filter_map(|(node, model)| {
            let (reader, whole) = (self.model(model)?, self.sequences(node)?);
            Some(reader.left(&whole.of_rows(rows)))
        });
        left.max().unwrap_or_default()
    }

    /// The nodes of models in some phases, one for each model and what it reads.
    fn readings(&self, is_of: impl Fn(When) -> bool) -> Vec<(NodeId, &ModelRef)> {
        let graph = &self.stage.graph;
        let mut found: Vec<(NodeId, &ModelRef)> = Vec::new();
        for id in graph.ids() {
            let Op::Model { model, .. } = graph.op(id) else {
                continue;
            };
            let reads = graph.operands(id);
            let is_known =
                |(other, of): &(NodeId, &ModelRef)| *of == model && graph.operands(*other) == reads;
            if is_of(self.stage.phases[id.index()]) && !found.iter().any(is_known) {
                found.push((id, model));
            }
        }
        found
    }

    /// Most bytes of a part of the graph, and those that stay.
    fn graph(&self, part: &FusedPart) -> (u64, u64) {
        let sizes = self.sizes.of_part(&part.graph, &self.context.models);
        let graph = &part.graph;
        let bytes = |id: NodeId| match graph.op(id) {
            // Counted as draws, or no tensor of its own.
            Op::Draw(_) | Op::Field(_) | Op::Mask(_) | Op::Input(_) | Op::Literal(_) => 0,
            _ => sizes.bytes(graph.ty(id)),
        };
        let steps = &part.fusion.steps;
        let mut last = vec![0; graph.len()];
        for (number, step) in steps.iter().enumerate() {
            step.reads(graph)
                .iter()
                .for_each(|read| last[read.index()] = number);
        }
        part.sinks
            .iter()
            .for_each(|(_, sink)| last[sink.index()] = usize::MAX);
        let (mut now, mut most) = (0, 0);
        let mut alive: Vec<NodeId> = Vec::new();
        for (number, step) in steps.iter().enumerate() {
            alive.extend(step.writes());
            now += step.writes().into_iter().map(bytes).sum::<u64>();
            most = most.max(now);
            alive.retain(|id| {
                let is_done = last[id.index()] <= number;
                now -= if is_done { bytes(*id) } else { 0 };
                !is_done
            });
        }
        (most, now)
    }

    /// The minibatches of a clause, and its rule.
    fn update(
        &self,
        number: usize,
        train: &TrainPlan,
        phases: &mut Vec<PhaseAccount>,
        worker: &mut Worker<'a>,
    ) {
        let (rest, held) = (self.at_rest(), self.held[number]);
        let batches = train.batches.iter();
        let minibatches = batches.map(|batch| match train.minibatch {
            Some(rows) => self.sizes.product(&batch.rows).div_ceil(rows.max(1)),
            None => 1,
        });
        let minibatches = minibatches.max().unwrap_or(1).max(1);
        let calls = self.calls(train, minibatches);
        let rest = rest.with(Term::Logp, self.left_by_early_readings());
        let (_, kept) = self.parts.first().map_or((0, 0), |part| self.graph(part));
        let name = format!("loss {number}");
        let part = self.parts.iter().find(|part| part.name == name);
        let (loss, _) = part.map_or((0, 0), |part| self.graph(part));
        let rest = rest.with(Term::Graph, kept);
        let mut moments = Vec::new();
        let mut taped = Vec::new();
        for call in &calls {
            let there = call.reader.there(&call.micro, !call.is_split());
            let before = taped.iter().copied().fold(rest, Amounts::add_up);
            moments.push(before + there.peak);
            taped.push(if call.is_split() {
                Amounts::default()
            } else {
                there.kept
            });
        }
        let all = taped.iter().copied().fold(rest, Amounts::add_up);
        moments.push(all.with(Term::Graph, loss / minibatches));
        for (place, call) in calls.iter().enumerate() {
            let after = taped[place + 1..]
                .iter()
                .copied()
                .fold(rest, Amounts::add_up);
            let model = call.reader.model;
            let of_weights = 4 * model.count();
            // What earlier passes said of the weights that the model computes with, and earlier calls of what is trained.
            let (summed, carried) = (
                if call.is_split() { of_weights } else { 0 },
                if place > 0 {
                    4 * model.trainable_count()
                } else {
                    0
                },
            );
            let after = after.with(Term::Gradients, summed.max(carried));
            let kept = match call.is_split() {
                true => {
                    let there = call.reader.there(&call.micro, true);
                    moments.push(after + there.peak);
                    there.kept
                }
                false => taped[place],
            };
            moments.push(after + call.reader.back(&call.micro, kept));
            if model.transformed.is_some() {
                let by_own = 4 * model.trainable_count() + model.work_of_transform();
                moments.push(rest.with(Term::Gradients, of_weights + by_own));
            }
        }
        let gradients = rest.with(Term::Gradients, 4 * held.trained);
        // The norm is taken in f64, of a parameter at a time.
        let norm = 8 * held.largest;
        moments.push(gradients.with(Term::Gradients, norm));
        let most = peak(moments);
        // What is freed stays with the process, and a large block is taken beside it (`runtime/src/memory.rs`).
        let beside = if norm < LARGEST_IN_HEAP { 0 } else { norm };
        phases.push(PhaseAccount {
            phase: Phase::Update,
            peak: most.with(Term::Gradients, beside),
            span: train.span,
            rows: calls.iter().map(|call| call.micro.rows()).max(),
        });
        phases.push(PhaseAccount {
            phase: Phase::Optimizer,
            peak: peak([
                gradients.with(Term::Optimizer, held.working),
                gradients.with(Term::Weights, self.merging(train)),
            ]),
            span: train.span,
            rows: None,
        });
        let epochs = train.epochs as f64;
        for call in &calls {
            let times = if call.is_split() { 2.0 } else { 1.0 };
            let mut one = self.context.worker();
            one.reading(&call.reader, &call.whole, times, true);
            worker.work.forward += epochs * one.work.forward;
            worker.work.backward += epochs * one.work.backward;
            worker.work.seconds += epochs * one.work.seconds;
        }
        worker.update(held.trained, held.states, epochs * minibatches as f64);
    }

    /// What it takes to make the weights anew that a clause changes through transforms.
    fn merging(&self, train: &TrainPlan) -> u64 {
        let moved = train.moved.iter();
        let models = moved.filter_map(|&model| self.context.models.get(model)?.as_ref());
        let each = models.map(|model| {
            let own = model.transformed.as_ref();
            let made = own.map_or(0, |own| own.largest * model.computed.bytes());
            made + model.work_of_transform()
        });
        each.max().unwrap_or_default()
    }

    /// The readings of trained models that the loss of a clause depends on.
    fn calls(&self, train: &TrainPlan, minibatches: u64) -> Vec<Call<'a>> {
        let graph = &self.stage.graph;
        let mut known: Vec<(&ModelRef, Vec<NodeId>)> = Vec::new();
        let mut calls = Vec::new();
        for &node in &train.outputs {
            let Op::Model { model, .. } = graph.op(node) else {
                continue;
            };
            let reads = graph.operands(node);
            if known
                .iter()
                .any(|(of, other)| *of == model && *other == reads)
            {
                continue;
            }
            known.push((model, reads));
            let (Some(reader), Some(whole)) = (self.model(model), self.sequences(node)) else {
                continue;
            };
            let minibatch = whole.of_rows(whole.rows().div_ceil(minibatches));
            calls.push(Call {
                reader,
                whole,
                micro: minibatch.of_rows(train.micro_batch.unwrap_or(u64::MAX)),
                minibatch,
            });
        }
        calls
    }
}
