//! The times of an optimizer's rule over all matrices of a transformer, as a run applies it.

use rlp_compiler::plan::Plan;

use super::Times;
use crate::clock::{Elapsed, Moment};
use crate::error::{Fault, Result};
use crate::executor::ExecutorChoice;
use crate::resource::World;
use crate::stage::{Carried, Gradient, Optimizer, StageHost};
use crate::tensor::{Device, Kind, Tensor};

/// What one update takes.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct RuleTimes {
    /// Values that an update changes.
    pub(crate) parameters: u64,
    /// The first update, with what comes once: states, factors of the first gradient, code.
    pub(crate) first: Elapsed,
    pub(crate) times: Times,
}

/// The layers of a transformer with about so many values in its matrices.
struct Shape {
    layers: u64,
    hidden: u64,
    ffn: u64,
}

impl Shape {
    /// About twelve layers, whose width is a multiple of 32; below 50 thousand values, one layer.
    fn with(parameters: u64) -> Shape {
        // A layer has 4 width² in its attention and 3 width · ffn in its feed-forward part, ffn = 8/3 width.
        let width = (parameters as f64 / 12.0 / 12.0).sqrt();
        let hidden = ((width / 32.0).round() as u64).max(1) * 32;
        let ffn = (hidden * 8).div_ceil(3);
        let layer = 4 * hidden * hidden + 3 * hidden * ffn;
        let layers = (parameters as f64 / layer as f64).round().max(1.0);
        Shape {
            layers: layers as u64,
            hidden,
            ffn,
        }
    }
}

/// A pipeline that trains the matrices of a model of about so many values by a rule.
///
/// `rule` is the block as a pipeline calls it, `file` the file it comes from if it is none of the standard library's,
/// `arguments` as `name: value` each.
pub(crate) fn rule_source(
    rule: &str,
    file: Option<&str>,
    arguments: &[String],
    parameters: u64,
) -> String {
    let Shape {
        layers,
        hidden,
        ffn,
    } = Shape::with(parameters);
    let (used, rule) = match file {
        Some(file) => (format!("use {file:?} as own\n"), format!("own.{rule}")),
        None => (String::new(), rule.to_string()),
    };
    let arguments = arguments.join(", ");
    format!(
        "{used}pipeline bench {{
    let task   = data.arithmetic()
    let policy = model.causal_lm(layers: {layers}, hidden: {hidden}, heads: 1, ffn: {ffn})

    stage bench {{
        let demos = sampler.demonstrations(task, prompts: 1)
        train policy {{
            minimize loss.nll(logp(policy, demos))
            with     {rule}({arguments}) on matrices(policy)
            steps    1000
        }}
    }}
}}
"
    )
}

/// Times updates of the model of such a pipeline by a random gradient.
pub(crate) fn rule(
    plan: &Plan,
    seed: u64,
    kind: Kind,
    device: Device,
    executor: ExecutorChoice,
    repeat: usize,
) -> Result<RuleTimes> {
    let mut world = World::open(plan, seed, kind, device)?;
    world.kernels = executor.kernels();
    let (Some(stage), [model]) = (plan.stages.first(), world.models.as_slice()) else {
        return Err(Fault::broken("the pipeline of a rule has a stage and a model").into());
    };
    let Some(train) = stage.trains.first() else {
        return Err(Fault::broken("the pipeline of a rule trains").into());
    };
    let matrices = model.network.matrices();
    let values = &model.network.parameters();
    let parameters = matrices
        .iter()
        .map(|&index| values[index].value.numel() as u64)
        .sum();
    tch::manual_seed(seed as i64);
    let gradient = |value: &Tensor| Ok(value.f_randn_like()?.f_mul_scalar(1e-3)?);
    let gradients = values
        .iter()
        .map(|parameter| gradient(&parameter.value))
        .collect::<Result<Vec<Tensor>, Fault>>()?;
    let gradient = Gradient {
        loss: 0.0,
        of: vec![gradients],
        tensors: Vec::new(),
        outputs: Vec::new(),
    };
    let norm = gradient.norm()?;

    let mut optimizer = Optimizer::new(train, &mut world, &Carried::default())?;
    let mut host = StageHost::new(&mut world, &stage.graph, 0, None)?;
    let steps = train.steps;
    let mut update = || optimizer.update(&gradient, norm, steps, &stage.graph, &mut host);
    let start = Moment::on(device);
    update()?;
    let first = start.elapsed_on(device);
    let times = Times::of(repeat, device, update)?;
    Ok(RuleTimes {
        parameters,
        first,
        times,
    })
}
