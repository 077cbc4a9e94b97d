//! `rlpc graph`: the graph of each stage, before or after a pass of the compiler.

use std::fmt::Write;

use rlp_compiler::diagnostic::nearest;
use rlp_compiler::pass::fuse::fused_parts;
use rlp_compiler::pass::{PASSES, Snapshot};
use rlp_compiler::plan::{Plan, StagePlan};
use rlp_compiler::{Checked, Settings, check, dump};
use rlp_frontend::Files;
use rlp_frontend::arguments::Output;

use crate::answer::{Answer, Exit};
use crate::arguments::{Graph, Picture, Stage};
use crate::found::Found;
use crate::inputs;

pub(crate) fn run(arguments: &Graph) -> Answer {
    let (checked, warnings) = match checked(&arguments.file, &arguments.stage, arguments.output) {
        Ok(checked) => checked,
        Err(answer) => return answer,
    };
    let stages = match stages(&checked, &arguments.stage) {
        Ok(stages) => stages,
        Err(answer) => return answer,
    };
    let mut out = String::new();
    if arguments.after.as_deref() == Some(FUSE) {
        return fused(arguments, &stages, warnings);
    }
    for (plan, stage) in &stages {
        let snapshot = match &arguments.after {
            None => Snapshot::of(stage),
            Some(pass) => match Snapshot::after(stage, pass) {
                Some(snapshot) => snapshot,
                None => return unknown_pass(pass),
            },
        };
        let Snapshot {
            graph,
            phases,
            sinks,
        } = &snapshot;
        let phases = Some(phases.as_slice());
        match arguments.format {
            Picture::Text => {
                let _ = writeln!(
                    out,
                    "{}.{}\n{}",
                    plan.name,
                    stage.name,
                    dump::text(graph, phases, sinks)
                );
            }
            Picture::Dot => out += &dump::dot(graph, phases, sinks),
            Picture::Mermaid => out += &dump::mermaid(graph, phases, sinks),
            Picture::Svg if stages.len() > 1 => {
                return Answer::misused(
                    "an SVG shows one stage",
                    Some(&format!("--stage {}", stage.name)),
                );
            }
            Picture::Svg => out += &dump::svg(graph, phases, sinks),
        }
    }
    Answer {
        out: warnings.out + &out,
        ..warnings
    }
}

/// The last pass, after which a graph is a list of steps.
const FUSE: &str = "fuse";

/// The kernels of each part of each stage.
fn fused(arguments: &Graph, stages: &[(&Plan, &StagePlan)], warnings: Answer) -> Answer {
    let mut out = String::new();
    for (plan, stage) in stages {
        for part in fused_parts(stage) {
            match arguments.format {
                Picture::Text => {
                    let title = format!("{}.{}, {}", plan.name, stage.name, part.name);
                    let _ = writeln!(out, "{title}\n{}", dump::fusion(&part));
                }
                Picture::Dot => out += &dump::fusion_dot(&part),
                Picture::Mermaid => out += &dump::fusion_mermaid(&part),
                Picture::Svg => {
                    return Answer::misused("kernels are not drawn as SVG", Some("--format dot"));
                }
            }
        }
    }
    Answer {
        out: warnings.out + &out,
        ..warnings
    }
}

fn unknown_pass(pass: &str) -> Answer {
    let names: Vec<&str> = PASSES.iter().map(|(name, _)| *name).chain([FUSE]).collect();
    let near = nearest(pass, names.iter().copied());
    let help = near
        .first()
        .map_or(format!("the passes are {}", names.join(", ")), |near| {
            format!("--after {near}")
        });
    Answer::misused(&format!("there is no pass `{pass}`"), Some(&help))
}

/// The checked file and the answer with its warnings; or, where something is wrong with it, the answer that says so.
pub(crate) fn checked(
    file: &std::path::Path,
    stage: &Stage,
    output: Output,
) -> Result<(Checked, Answer), Answer> {
    let mut files = Files::new();
    let path = inputs::one(file, &mut files);
    let checked = check(&files, &path, &Settings(stage.settings.clone()));
    let mut found = Found::new(output);
    found.add(&checked.diagnostics, &checked.sources);
    if found.n_errors() > 0 {
        let done = format!("checked 1 file: {}", found.counted().unwrap_or_default());
        return Err(found.answer(&done, Exit::Problems));
    }
    if checked.plans.is_empty() {
        return Err(Answer::refusal(
            Exit::Problems,
            &format!("`{path}` has no pipeline"),
            None,
        ));
    }
    Ok((checked, found.answer("", Exit::Done)))
}

/// The stages that are asked for, each with its pipeline.
pub(crate) fn stages<'a>(
    checked: &'a Checked,
    asked: &Stage,
) -> Result<Vec<(&'a Plan, &'a StagePlan)>, Answer> {
    let all = || {
        checked
            .plans
            .iter()
            .flat_map(|plan| plan.stages.iter().map(move |stage| (plan, stage)))
    };
    let wanted =
        |wanted: &Option<String>, name: &str| wanted.as_deref().is_none_or(|wanted| wanted == name);
    let found: Vec<_> = all()
        .filter(|(plan, stage)| {
            wanted(&asked.pipeline, &plan.name) && wanted(&asked.stage, &stage.name)
        })
        .collect();
    if !found.is_empty() {
        return Ok(found);
    }
    let names: Vec<String> = all()
        .map(|(plan, stage)| format!("{}.{}", plan.name, stage.name))
        .collect();
    Err(Answer::misused(
        "there is no such stage",
        Some(&format!("the stages are {}", names.join(", "))),
    ))
}
