//! `rlpc eval`: one block on tensors from files.

use rlp_compiler::diagnostic::nearest;
use rlp_compiler::plan::BlockPlan;
use rlp_compiler::source::SourceMap;
use rlp_compiler::{Settings, block as plan_block, pass};
use rlp_frontend::Files;

use super::arguments::Eval;
use super::problem::{Exit, cores, open, show, show_error, warn};
use crate::block::{Inputs, Options, evaluate, to_json, write};
use crate::console::Console;
use crate::error::{Fault, Result, RunError};
use crate::tensor::Device;

pub(crate) fn eval(arguments: &Eval) -> Exit {
    let mut console = Console::new();
    let device = match open(arguments.machine, cores(), arguments.output, &mut console) {
        Ok(device) => device,
        Err(exit) => return exit,
    };
    let mut sources = SourceMap::default();
    match evaluated(arguments, device, &mut sources, &mut console) {
        Ok(exit) => exit,
        Err(error) => match show_error(&error, &sources, arguments.output, &mut console) {
            // What a block cannot be evaluated on was given by the user.
            Exit::Failed if !matches!(error.fault, Fault::Broken { .. }) => Exit::Problems,
            exit => exit,
        },
    }
}

fn evaluated(
    arguments: &Eval,
    device: Device,
    sources: &mut SourceMap,
    console: &mut Console,
) -> Result<Exit> {
    let (settings, step, steps) = counters(&arguments.settings)?;
    let (plan, map) = plan_block(&Files::new(), &arguments.block, &Settings(settings));
    *sources = map;
    let mut plan = match plan {
        Ok(plan) => plan,
        Err(diagnostics) => {
            show(&diagnostics, sources, arguments.output, console);
            return Ok(Exit::Problems);
        }
    };
    pass::run(&mut plan);
    let options = Options {
        executor: arguments.executor.into(),
        device,
        seed: arguments.seed,
        step: step.unwrap_or(1),
        steps,
        gradients: arguments.grad,
    };
    let inputs = Inputs::read(&arguments.inputs)?;
    warn_of_unread(&plan, &inputs, arguments, console);
    let results = evaluate(&plan, &inputs, &options)?;
    match &arguments.out {
        Some(path) => drop(write(path, &results)?),
        None if arguments.json => console.line(&to_json(&results)?.to_string())?,
        None => {
            for result in &results {
                let value = to_json([result])?;
                console.line(&format!("{} = {}", result.0, value[&result.0]))?;
            }
        }
    }
    Ok(Exit::Done)
}

/// A name that a file holds and the block does not read is most often misspelt.
fn warn_of_unread(plan: &BlockPlan, inputs: &Inputs, arguments: &Eval, console: &mut Console) {
    let names = inputs.names().map(str::to_string).collect::<Vec<_>>();
    let unread = plan.unread(names.iter().map(String::as_str));
    for name in unread {
        let known = plan.inputs.iter().map(|input| input.name.as_str());
        let message = format!("`{}` reads no `{name}`, which a file holds", plan.name);
        let help = match nearest(name, known.clone()).as_slice() {
            [] => format!("it reads {}", known.collect::<Vec<_>>().join(", ")),
            near => format!("did you mean `{}`?", near.join("` or `")),
        };
        warn(
            "unread-input",
            &message,
            Some(&help),
            arguments.output,
            console,
        );
    }
}

/// Settings of arguments, and what is set for `step` and `steps`.
pub(crate) type Counters = (Vec<(String, String)>, Option<u64>, Option<u64>);

pub(crate) fn counters(settings: &[(String, String)]) -> Result<Counters> {
    let is_argument = |(name, _): &&(String, String)| name != "step" && name != "steps";
    let arguments = settings.iter().filter(is_argument).cloned().collect();
    Ok((
        arguments,
        counter(settings, "step")?,
        counter(settings, "steps")?,
    ))
}

/// `--set step=3`: the number of an update, from 1.
fn counter(settings: &[(String, String)], name: &str) -> Result<Option<u64>> {
    let Some((_, text)) = settings.iter().rev().find(|(own, _)| own == name) else {
        return Ok(None);
    };
    match text.parse() {
        Ok(number) if number >= 1 => Ok(Some(number)),
        Ok(_) | Err(_) => {
            let message =
                format!("`--set {name}={text}`: `{name}` is a whole number of at least 1");
            Err(RunError::from(Fault::input(message)))
        }
    }
}
