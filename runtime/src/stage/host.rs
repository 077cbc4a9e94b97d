//! What the graph of a stage asks for while it runs: the draws of samplers and the outputs of models.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use rlp_compiler::graph::{Draw, Graph, ModelOutput, ModelRef, NodeId, Op};
use rlp_compiler::ty::DimId;

use super::memory;
use super::preferences::preferred;
use super::rows;
use super::sequence::{Differentiated, OutputAxes, Sequences};
use super::truncate::truncated;
use super::window::{self, Slot};
use crate::data::ProblemOrder;
use crate::error::{Fault, Result};
use crate::executor::{Drawn, Executor, Host, Steps};
use crate::model::Pass;
use crate::profile::{self, Label, Work};
use crate::random::{Purpose, Stream};
use crate::resource::{Frozen, World, model_refs};
use crate::state::Archive;
use crate::tensor::{Device, Tensor, Value, with_gradient};
use crate::torch::{Context, axis};
use crate::trainable::FrozenTensors;

/// A stage's side of the executor.
pub(crate) struct StageHost<'w> {
    pub(crate) world: &'w mut World,
    pub(crate) frozen: Frozen,
    pub(crate) frozen_tensors: FrozenTensors,
    /// The place of the stage in the pipeline, which keys its random numbers.
    pub(crate) stage: u64,
    /// From 1.
    pub(crate) step: u64,
    /// Rows of one pass without gradient.
    micro_batch: Option<u64>,
    /// Where each draw, by its index, stands in its task.
    pub(crate) walks: BTreeMap<usize, ProblemOrder>,
    /// The responses that each draw of `sampler.windowed` goes on with.
    pub(crate) pools: BTreeMap<usize, Vec<Slot>>,
    /// Which share of the groups passed at each step, for each draw of `sampler.predictive_dynamic`.
    pub(crate) pass_rates: BTreeMap<usize, Vec<f64>>,
    /// What was drawn for the current step, or for the whole stage, by the draw's node.
    pub(crate) records: BTreeMap<NodeId, Record>,
    /// The old values of the states.
    pub(crate) states: Vec<Value>,
    /// Tokens drawn for the current step.
    pub(crate) tokens: u64,
    /// The latest passes without gradient, so that several outputs of one batch share a pass.
    passes: Option<(ModelRef, Vec<NodeId>, Sequences, Vec<Pass>)>,
    /// What of the stage's graph runs as kernels.
    steps: Option<Rc<Steps>>,
}

/// A draw that was made.
pub(crate) struct Record {
    pub(crate) drawn: Drawn,
    /// The identities of the problems drawn, in all rounds.
    pub(crate) problems: BTreeSet<u64>,
    /// Whether a filter left nothing.
    pub(crate) is_empty: bool,
}

impl Record {
    /// Of what was drawn before, in another form.
    fn of(drawn: Drawn) -> Record {
        Record {
            drawn,
            problems: BTreeSet::new(),
            is_empty: false,
        }
    }

    fn save(&self, name: &str, archive: &mut Archive) -> Result<(), Fault> {
        let Record {
            drawn: Drawn { fields, masks },
            problems,
            is_empty,
        } = self;
        let dims: Vec<u32> = masks.iter().map(|(dim, _)| dim.0).collect();
        archive.put(name, &(fields.len(), dims, problems, is_empty))?;
        for (index, field) in fields.iter().enumerate() {
            archive.put_value(&format!("{name}.field.{index}"), field)?;
        }
        for (index, (_, mask)) in masks.iter().enumerate() {
            archive.put_tensor(&format!("{name}.mask.{index}"), mask);
        }
        Ok(())
    }

    fn restore(name: &str, archive: &mut Archive, device: Device) -> Result<Record, Fault> {
        let (fields, dims, problems, is_empty): (usize, Vec<u32>, _, _) = archive.take(name)?;
        let fields = (0..fields)
            .map(|index| archive.take_value(&format!("{name}.field.{index}"), device))
            .collect::<Result<_, Fault>>()?;
        let masks = dims.into_iter().enumerate().map(|(index, dim)| {
            let mask = archive.take_tensor(&format!("{name}.mask.{index}"), device)?;
            Ok((DimId(dim), mask))
        });
        let masks = masks.collect::<Result<_, Fault>>()?;
        Ok(Record {
            drawn: Drawn { fields, masks },
            problems,
            is_empty,
        })
    }
}

impl<'w> StageHost<'w> {
    pub(crate) fn new(
        world: &'w mut World,
        graph: &Graph,
        stage: u64,
        micro_batch: Option<u64>,
    ) -> StageHost<'w> {
        let frozen = Frozen::new(model_refs(graph).into_iter(), world);
        let steps = world.kernels.as_ref().map(Steps::new);
        let frozen_tensors = FrozenTensors::new(graph, &world.tensors);
        StageHost {
            world,
            frozen,
            frozen_tensors,
            stage,
            step: 0,
            micro_batch,
            walks: BTreeMap::new(),
            pools: BTreeMap::new(),
            pass_rates: BTreeMap::new(),
            records: BTreeMap::new(),
            states: Vec::new(),
            tokens: 0,
            passes: None,
            steps,
        }
    }

    /// Saves what the next step finds; of what was drawn, the draws `steady`.
    pub(crate) fn save(
        &self,
        steady: &BTreeSet<NodeId>,
        archive: &mut Archive,
    ) -> Result<(), Fault> {
        let StageHost {
            // Its weights are saved by themselves.
            world: _,
            frozen,
            frozen_tensors,
            stage: _,
            step: _,
            micro_batch: _,
            walks,
            pools,
            pass_rates,
            records,
            states,
            // Of one step only.
            tokens: _,
            passes: _,
            steps: _,
        } = self;
        frozen.save(archive);
        frozen_tensors.save(archive);
        archive.put("walks", walks)?;
        archive.put("digests", &self.world.digests())?;
        archive.put("pools", &pools.keys().collect::<Vec<_>>())?;
        for (draw, pool) in pools {
            window::save(&format!("pool.{draw}"), pool, archive)?;
        }
        archive.put("pass_rates", &pass_rates.keys().collect::<Vec<_>>())?;
        for (draw, rates) in pass_rates {
            archive.put_reals(&format!("pass_rates.{draw}"), rates)?;
        }
        let records = records.iter().filter(|(node, _)| steady.contains(node));
        let mut drawn = Vec::new();
        for (node, record) in records {
            record.save(&format!("draw.{}", node.index()), archive)?;
            drawn.push(node.index());
        }
        archive.put("draws", &drawn)?;
        for (index, value) in states.iter().enumerate() {
            archive.put_value(&format!("state.{index}"), value)?;
        }
        Ok(())
    }

    pub(crate) fn restore(&mut self, archive: &mut Archive) -> Result<(), Fault> {
        let device = self.world.device;
        self.frozen.restore(archive, device)?;
        self.frozen_tensors.restore(archive, device)?;
        self.walks = archive.take("walks")?;
        if archive.take::<Vec<Option<String>>>("digests")? != self.world.digests() {
            let message = "the files of a data source are not those that the run began with";
            let help =
                "put back what they held: from other rows the run would not go on as it began";
            return Err(Fault::input_help(message, help));
        }
        self.pools.clear();
        for draw in archive.take::<Vec<usize>>("pools")? {
            let pool = window::restore(&format!("pool.{draw}"), archive)?;
            self.pools.insert(draw, pool);
        }
        self.pass_rates.clear();
        for draw in archive.take::<Vec<usize>>("pass_rates")? {
            let rates = archive.take_reals(&format!("pass_rates.{draw}"))?;
            self.pass_rates.insert(draw, rates);
        }
        self.records.clear();
        for node in archive.take::<Vec<usize>>("draws")? {
            let record = Record::restore(&format!("draw.{node}"), archive, device)?;
            self.records.insert(NodeId::new(node), record);
        }
        for (index, value) in self.states.iter_mut().enumerate() {
            *value = archive.take_value(&format!("state.{index}"), device)?;
        }
        Ok(())
    }

    /// Starts a step, counted from 1; of what was drawn, only the draws `steady` stay.
    pub(crate) fn begin(&mut self, step: u64, steady: &BTreeSet<NodeId>) {
        self.step = step;
        self.tokens = 0;
        self.records.retain(|node, _| steady.contains(node));
        self.frozen.refresh(step, self.world);
        self.frozen_tensors.refresh(step, &self.world.tensors);
        self.forget_passes();
    }

    /// Must be called whenever the values that models read, or their parameters, are others than before.
    pub(crate) fn forget_passes(&mut self) {
        self.passes = None;
    }

    /// The whole batch of the current step, as far as it has been drawn.
    pub(crate) fn batch<'g>(&self, graph: &'g Graph, context: Context) -> Result<Executor<'g>> {
        let mut batch = Executor::fused(graph, context, self.steps.as_ref());
        for (index, value) in self.states.iter().enumerate() {
            batch.give_state(index, value)?;
        }
        for (&node, record) in &self.records {
            batch.give_draw(node, share(&record.drawn))?;
        }
        Ok(batch)
    }

    /// The stream of one draw, for one purpose.
    pub(crate) fn stream(&self, purpose: Purpose, draw: usize) -> Stream {
        Stream::new(self.world.seed, purpose)
            .at(self.stage)
            .at(draw as u64)
    }
}

impl Host for StageHost<'_> {
    fn draw(
        &mut self,
        executor: &mut Executor<'_>,
        node: NodeId,
        operands: &[Value],
    ) -> Result<Drawn> {
        let graph = executor.graph();
        let draw = draw_of(graph, node)?;
        let record = match draw.block.as_str() {
            "sampler.rollout"
            | "sampler.rollout_pairs"
            | "sampler.demonstrations"
            | "sampler.comparisons" => self.draw_problems(graph, node, operands)?,
            "sampler.preferences" => {
                let index = draw_index(graph, node)?;
                let stream = self.stream(Purpose::Sample, index).at(self.step);
                preferred(executor, node, operands, stream)?
            }
            "sampler.windowed" => self.windowed(graph, node)?,
            "sampler.dynamic" => self.dynamic(executor, node, operands)?,
            "sampler.predictive_dynamic" => self.predictive_dynamic(executor, node, operands)?,
            "sampler.outlier_truncation" => {
                Record::of(truncated(executor, node, operands, &self.world.tokenizer)?)
            }
            "sampler.once" => Record::of(repeated(executor, node, operands)?),
            other => {
                return Err(Fault::input(format!(
                    "`{other}` is not a sampler that this engine has"
                ))
                .into());
            }
        };
        let drawn = share(&record.drawn);
        self.records.insert(node, record);
        Ok(drawn)
    }

    fn model(&mut self, graph: &Graph, node: NodeId, operands: &[Value]) -> Result<Value> {
        if let Op::Trainable(tensor) = graph.op(node) {
            let value = self.frozen_tensors.resolve(tensor, &self.world.tensors)?;
            return Ok(value.into());
        }
        if let Op::State(index) = graph.op(node) {
            let [items, initial] = operands else {
                return Err(Fault::broken("a memory is of items").into());
            };
            let found = memory::look_up(&self.states[*index], items.tensor()?, initial.tensor()?);
            return Ok(found?.into());
        }
        if let Op::Backward { model, outputs } = graph.op(node) {
            let adjoints = graph.operands(node);
            let adjoints = &adjoints[adjoints.len() - outputs.len()..];
            let axes: Vec<OutputAxes> =
                adjoints.iter().map(|&own| axes(graph, node, own)).collect();
            return self.backward(model, outputs, &axes, operands);
        }
        let Op::Model { model, output } = graph.op(node) else {
            return Err(Fault::broken("a model is read by a `Model` node").into());
        };
        let read = graph.operands(node);
        let axes = axes(graph, node, node);
        if *output == ModelOutput::Hidden {
            let sequences = Sequences::new(operands)?;
            let network = self.frozen.resolve(model, self.world)?;
            let batches = sequences.micro_batches(self.micro_batch);
            let states = batches
                .iter()
                .map(|batch| profile::within(Label::Work(Work::Forward), || network.states(batch)));
            let states = sequences.assemble(states.collect())?;
            return Ok(axes.to_graph(&states)?.into());
        }
        let is_same = |(own, nodes, ..): &(ModelRef, Vec<NodeId>, Sequences, Vec<Pass>)| {
            own == model && *nodes == read
        };
        if !self.passes.as_ref().is_some_and(is_same) {
            let sequences = Sequences::new(operands)?;
            let network = self.frozen.resolve(model, self.world)?;
            sequences.check(network)?;
            let batches = sequences.micro_batches(self.micro_batch);
            let passes = batches
                .iter()
                .map(|batch| {
                    profile::within(Label::Work(Work::Forward), || network.forward(batch, false))
                })
                .collect();
            self.passes = Some((model.clone(), read, sequences, passes));
        }
        match &self.passes {
            Some((_, _, sequences, passes)) => {
                Ok(axes.to_graph(&sequences.output(passes, *output)?)?.into())
            }
            None => Err(Fault::broken("a pass was made").into()),
        }
    }
}

impl StageHost<'_> {
    /// The gradient of Σ output · adjoint by the parameters of a model, end to end: a forward and a backward pass.
    fn backward(
        &self,
        model: &ModelRef,
        outputs: &[ModelOutput],
        axes: &[OutputAxes],
        operands: &[Value],
    ) -> Result<Value> {
        let network = self.frozen.resolve(model, self.world)?;
        let (read, adjoints) = operands.split_at(operands.len() - outputs.len());
        let adjoints = outputs.iter().zip(axes).zip(adjoints);
        let adjoints = adjoints.map(|((&output, axes), adjoint)| {
            Ok((output, axes.to_pass(&adjoint.tensor()?.f_detach()?)?))
        });
        let adjoints = adjoints.collect::<Result<Vec<_>, Fault>>()?;
        let gradients = with_gradient(|| {
            let (pass, _) =
                Differentiated::forward(network, Sequences::new(read)?, self.micro_batch, outputs)?;
            pass.backward(network, &adjoints)
        })?;
        // A copy has no parameters but its weights.
        let gradients = match model.frozen {
            Some(_) => gradients,
            None => {
                let carried = self.world.carry(model.model, gradients, &[model.model])?;
                carried.into_iter().flat_map(|(_, own)| own).collect()
            }
        };
        let flat = gradients.iter().map(|own| own.f_reshape([-1]));
        let flat = flat
            .collect::<std::result::Result<Vec<_>, _>>()
            .map_err(Fault::from)?;
        Ok(Tensor::f_cat(&flat, 0).map_err(Fault::from)?.into())
    }
}

/// The axes of what stands over the dimensions of `like`, of the tokens that a node of a model reads.
fn axes(graph: &Graph, node: NodeId, like: NodeId) -> OutputAxes {
    let tokens = graph.operands(node)[0];
    OutputAxes::new(&graph.ty(tokens).dims, &graph.ty(like).dims)
}

/// The draw that a `Draw` node makes.
pub(crate) fn draw_of(graph: &Graph, node: NodeId) -> Result<&Draw, Fault> {
    Ok(&graph.draws[draw_index(graph, node)?])
}

/// Its index among the draws of the graph.
pub(crate) fn draw_index(graph: &Graph, node: NodeId) -> Result<usize, Fault> {
    let Op::Draw(index) = graph.op(node) else {
        return Err(Fault::broken("a draw is made by a `Draw` node"));
    };
    Ok(*index)
}

/// The same tensors once more.
pub(crate) fn share(drawn: &Drawn) -> Drawn {
    let masks = drawn
        .masks
        .iter()
        .map(|(dim, mask)| (*dim, mask.shallow_clone()))
        .collect();
    Drawn {
        fields: drawn.fields.clone(),
        masks,
    }
}

/// `sampler.once`: the record that is given, over its new dimensions.
fn repeated(executor: &Executor<'_>, node: NodeId, operands: &[Value]) -> Result<Drawn, Fault> {
    let graph = executor.graph();
    let draw = draw_of(graph, node)?;
    let field = |(operand, value): (NodeId, &Value)| renew(draw, value, &graph.ty(operand).dims);
    let fields = graph
        .operands(node)
        .into_iter()
        .zip(operands)
        .map(field)
        .collect::<Result<_, _>>()?;
    let mask = |(old, new): (DimId, DimId)| {
        let dims = executor.extents().mask_dims(old)?;
        let mask = executor.extents().mask(old, executor.context().device);
        Some(mask.and_then(|mask| {
            Ok((
                new,
                renew(draw, &mask.into(), dims)?.tensor()?.shallow_clone(),
            ))
        }))
    };
    Ok(Drawn {
        fields,
        masks: draw
            .renewed
            .iter()
            .copied()
            .filter_map(mask)
            .collect::<Result<_, _>>()?,
    })
}

/// A value over the dimensions before a draw that renews them, with its axes in the order of the new ones.
pub(crate) fn renew(draw: &Draw, value: &Value, dims: &[DimId]) -> Result<Value, Fault> {
    let renewed = |dim: &DimId| {
        draw.renewed
            .iter()
            .find(|(old, _)| old == dim)
            .map_or(*dim, |&(_, new)| new)
    };
    let from: Vec<DimId> = dims.iter().map(renewed).collect();
    let mut to = from.clone();
    to.sort_unstable();
    rows::rearrange(value, |tensor| axis::arrange(tensor, &from, &to))
}
