//! `rlpc plan`: what a pipeline will take, before anything of it is run; and the run itself as a file.

use std::env;
use std::thread::available_parallelism;

use rlp_account::machine::{Memory, Speed};
use rlp_account::{Account, Options, account, misfits};
use rlp_compiler::diagnostic::Diagnostic;
use rlp_compiler::{Settings, check};
use rlp_frontend::arguments::Device;
use rlp_frontend::description::{Asked, CheckpointWishes};
use rlp_frontend::files::write_file;
use rlp_frontend::{Description, Files, planned};

use crate::answer::{Answer, Exit};
use crate::arguments::Plan;
use crate::found::Found;
use crate::inputs;

pub(crate) fn run(arguments: &Plan) -> Answer {
    let mut files = Files::new();
    let path = inputs::one(&arguments.file, &mut files);
    let settings = Settings(arguments.settings.clone());
    let checked = check(&files, &path, &settings);
    let mut found = Found::new(arguments.output);
    found.add(&checked.diagnostics, &checked.sources);
    if found.n_errors() > 0 {
        return found.answer("", Exit::Problems);
    }
    let names: Vec<&str> = checked
        .plans
        .iter()
        .map(|plan| plan.name.as_str())
        .collect();
    let wanted = arguments.pipeline.as_deref();
    let plan = match (checked.plans.as_slice(), wanted) {
        ([], _) => return Answer::refusal(Exit::Problems, "this file has no pipeline", None),
        ([only], None) => only,
        (_, None) => {
            let message = format!("choose one with `--pipeline`: {}", names.join(", "));
            return Answer::misused(&message, None);
        }
        (plans, Some(name)) => match plans.iter().find(|plan| plan.name == name) {
            Some(plan) => plan,
            None => {
                let message = format!(
                    "this file has no pipeline `{name}`, but {}",
                    names.join(", ")
                );
                return Answer::misused(&message, None);
            }
        },
    };
    let threads = arguments
        .threads
        .unwrap_or_else(|| available_parallelism().map_or(1, |cores| cores.get().min(4096) as i32));
    let options = Options {
        is_on_gpu: arguments.device == Device::Cuda,
        threads: threads.max(1).unsigned_abs().into(),
    };
    let folder = rlp_locate::cache(env::var_os);
    let speed = Speed::of_this_machine(folder.as_deref());
    let account = match account(plan, options, Some(&speed)) {
        Ok(account) => account,
        Err((fault, span)) => {
            let wrong = Diagnostic::error("unreadable-model", span, fault.to_string());
            found.add(&[wrong], &checked.sources);
            return found.answer("", Exit::Problems);
        }
    };
    let memory = memory(arguments);
    if let Some(memory) = memory {
        let misfits = misfits(plan, &account, options, memory.total);
        found.add(&misfits, &checked.sources);
    }
    if let Some(out) = &arguments.out {
        let asked = Asked {
            set: arguments.settings.clone(),
            seed: arguments.seed,
            steps: arguments.steps,
            executor: arguments.executor.name().to_string(),
            device: arguments.device.name().to_string(),
            threads,
            checkpoints: CheckpointWishes {
                every: None,
                keep: 2,
                best: None,
            },
        };
        let description = Description::new(asked, plan, &path, &checked.sources);
        let text = planned::write(&description, &checked.sources, account.to_json());
        if let Err(reason) = write_file(out, &text) {
            let message = format!("`{}` cannot be written: {reason}", out.display());
            return Answer::refusal(Exit::Problems, &message, None);
        }
    }
    told(&account, memory, arguments, found)
}

fn told(account: &Account, memory: Option<Memory>, arguments: &Plan, found: Found) -> Answer {
    let exit = if found.n_errors() > 0 {
        Exit::Problems
    } else {
        Exit::Done
    };
    let shown = if arguments.json {
        format!("{:#}\n", account.to_json())
    } else {
        account.table(memory).join("\n") + "\n"
    };
    let said = found.answer("", exit);
    Answer {
        out: shown + &said.out,
        ..said
    }
}

/// What the run may use: what the user says, or this machine has. That of a GPU is known to the engine alone.
fn memory(arguments: &Plan) -> Option<Memory> {
    match arguments.memory {
        Some(total) => Some(Memory { total, free: total }),
        None => Memory::of_this_machine().filter(|_| arguments.device == Device::Cpu),
    }
}
