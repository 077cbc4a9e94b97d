//! `report.html`: runs as one page that needs nothing but a browser. No text of a run is ever taken for markup.

mod chart;
mod curves;
mod markup;
mod picture;
mod samples;
mod tables;
mod timings;

use crate::number::{duration, number};
use crate::run::{Ending, Run};
use markup::Markup;

const STYLE: &str = include_str!("page/style.css");
const SCRIPT: &str = include_str!("page/script.js");

/// Nothing is loaded from anywhere, whatever a text of a run may ask for.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:";

/// So many runs are told apart by colour; further ones take the colours again.
pub(crate) const COLOURS: usize = 6;

/// The page of one run, or of several side by side. It tells of the first in full, and of the others where they differ.
pub fn page(runs: &[Run]) -> String {
    let mut page = Markup::default();
    let title = match runs {
        [only] => only.name.clone(),
        runs => format!("{} runs", runs.len()),
    };
    page.raw("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">");
    page.raw("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">");
    page.raw("<meta name=\"color-scheme\" content=\"light dark\">");
    page.raw(&format!(
        "<meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\"><link rel=\"icon\" href=\"data:,\">"
    ));
    page.element("title", "", &format!("{title} · rlpc"));
    page.raw("<style>\n")
        .raw(STYLE)
        .raw("</style></head><body><main>");
    head(&mut page, runs, &title);
    warnings(&mut page, runs);
    if runs.len() > 1 {
        tables::comparison(&mut page, runs);
    }
    curves::section(&mut page, runs);
    if let Some(first) = runs.first() {
        picture::section(&mut page, first);
    }
    samples::section(&mut page, runs);
    timings::section(&mut page, runs);
    tables::facts(&mut page, runs);
    page.raw("</main><div id=\"tip\" hidden></div><script>\n")
        .raw(SCRIPT)
        .raw("</script></body></html>\n");
    page.finish()
}

fn head(page: &mut Markup, runs: &[Run], title: &str) {
    page.raw("<header>");
    page.element("h1", "", title);
    page.raw("<ul class=\"runs\">");
    for (number, run) in runs.iter().enumerate() {
        page.raw(&format!("<li><i class=\"dot c{}\"></i>", number % COLOURS));
        if runs.len() > 1 {
            page.element("b", "", &run.name);
        }
        let class = match run.ending {
            Ending::Done => "badge good",
            Ending::Stopped => "badge bad",
            Ending::Open => "badge",
        };
        page.element("span", class, run.ending.name());
        let mut parts = vec![run.pipeline.clone()];
        let steps: Vec<String> = run
            .stages
            .iter()
            .map(|stage| format!("{} {}/{}", stage.name, stage.steps, stage.of))
            .collect();
        parts.push(steps.join(", "));
        parts.push(duration(run.seconds()));
        if let Some(seed) = run.description["seed"].as_u64() {
            parts.push(format!("seed {seed}"));
        }
        let started = run.started();
        if !started.is_empty() {
            parts.push(format!("{started} UTC"));
        }
        parts.retain(|part| !part.is_empty());
        page.element("span", "quiet", &parts.join(" · "));
        page.raw("</li>");
    }
    page.raw("</ul>");
    tiles(page, runs);
    page.raw("</header>");
}

/// The numbers that tell how well it went.
fn tiles(page: &mut Markup, runs: &[Run]) {
    let Some(first) = runs.first() else { return };
    page.raw("<div class=\"tiles\">");
    for own in first.headline().into_iter().take(6) {
        page.raw("<div class=\"tile\">");
        page.element("div", "quiet", &format!("{} · {}", own.name, own.stage));
        for (index, run) in runs.iter().enumerate() {
            let Some(curve) = run.curve(&own.stage, &own.name) else {
                continue;
            };
            let (Some(from), Some(to)) = (curve.first(), curve.last()) else {
                continue;
            };
            page.raw("<div class=\"figure\">");
            page.element("b", "", &number(to));
            page.element("span", "quiet", &format!("from {}", number(from)));
            chart::spark(page, curve, index);
            page.raw("</div>");
        }
        page.raw("</div>");
    }
    page.raw("</div>");
}

fn warnings(page: &mut Markup, runs: &[Run]) {
    let is_any = runs
        .iter()
        .any(|run| !run.warnings.is_empty() || !run.remarks.is_empty());
    if !is_any {
        return;
    }
    page.raw("<section class=\"warnings\"><ul>");
    for run in runs {
        let of = if runs.len() > 1 {
            format!("{}: ", run.name)
        } else {
            String::new()
        };
        for warning in &run.warnings {
            page.raw("<li>");
            page.element("code", "", &warning.code);
            page.text(&format!(
                " {of}{} (stage {}, step {})",
                warning.message, warning.stage, warning.step
            ));
            page.raw("</li>");
        }
        for remark in &run.remarks {
            page.element("li", "", &format!("{of}{remark}"));
        }
    }
    page.raw("</ul></section>");
}
