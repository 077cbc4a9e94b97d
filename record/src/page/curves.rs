//! The numbers of each stage over its steps.

use super::chart::chart;
use super::markup::Markup;
use crate::compare::is_vital;
use crate::curve::Curve;
use crate::run::Run;

/// Charts of a stage, at most.
const MOST_CHARTS: usize = 60;

/// What is for the samples and the timings to tell.
fn is_shown_elsewhere(name: &str) -> bool {
    name.starts_with("phases.") || name == "updates" || name.starts_with("updates.")
}

pub(super) fn section(page: &mut Markup, runs: &[Run]) {
    let mut stages: Vec<&str> = Vec::new();
    for stage in runs.iter().flat_map(|run| &run.stages) {
        if !stages.contains(&stage.name.as_str()) {
            stages.push(&stage.name);
        }
    }
    for stage in stages {
        let mut names: Vec<&str> = Vec::new();
        for curve in runs.iter().flat_map(|run| &run.curves) {
            let is_new = !names.contains(&curve.name.as_str());
            if curve.stage == stage && is_new && !is_shown_elsewhere(&curve.name) {
                names.push(&curve.name);
            }
        }
        names.truncate(MOST_CHARTS);
        let (vital, own): (Vec<&str>, Vec<&str>) =
            names.into_iter().partition(|name| is_vital(name));
        page.raw("<section>");
        page.element("h2", "", stage);
        charts(page, runs, stage, &own);
        if !vital.is_empty() {
            page.element("h3", "", "Health and speed");
            charts(page, runs, stage, &vital);
        }
        page.raw("</section>");
    }
}

fn charts(page: &mut Markup, runs: &[Run], stage: &str, names: &[&str]) {
    page.raw("<div class=\"charts\">");
    for name in names {
        let curves: Vec<(usize, &str, &Curve)> = runs
            .iter()
            .enumerate()
            .filter_map(|(place, run)| Some((place, run.name.as_str(), run.curve(stage, name)?)))
            .collect();
        chart(page, &title(name), &curves);
    }
    page.raw("</div>");
}

/// In the words of a reader.
fn title(name: &str) -> String {
    match name {
        "entropy" => "entropy of the sampled tokens, nats".to_string(),
        "cut" => "share of rollouts cut at their length".to_string(),
        "outside" => "share of tokens whose ratio left 0.8 to 1.2".to_string(),
        "logp_gap" => "largest |Δ logp| before the first update, nats".to_string(),
        "grad_norm" => "norm of the gradient".to_string(),
        other => other.to_string(),
    }
}
