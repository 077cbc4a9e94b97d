//! What was sampled: prompts, responses, and what they scored.

use super::COLOURS;
use super::markup::Markup;
use crate::number::number;
use crate::run::{Run, Sample};

/// So many steps of a stage are shown, evenly spaced, the first and the last among them.
const MOST_STEPS: usize = 12;

pub(super) fn section(page: &mut Markup, runs: &[Run]) {
    if runs.iter().all(|run| run.samples.is_empty()) {
        return;
    }
    page.raw("<section>");
    page.element("h2", "", "Samples");
    for (place, run) in runs.iter().enumerate() {
        if runs.len() > 1 && !run.samples.is_empty() {
            page.raw(&format!("<h3><i class=\"dot c{}\"></i>", place % COLOURS));
            page.text(&run.name).raw("</h3>");
        }
        for stage in &run.stages {
            let of_stage = || {
                run.samples
                    .iter()
                    .filter(|sample| sample.stage == stage.name)
            };
            let mut steps: Vec<u64> = of_stage().map(|sample| sample.step).collect();
            steps.dedup();
            let shown = spaced(&steps, if runs.len() > 1 { 2 } else { MOST_STEPS });
            for (index, &step) in shown.iter().enumerate() {
                let is_open = index + 1 == shown.len();
                page.raw(if is_open {
                    "<details open><summary>"
                } else {
                    "<details><summary>"
                });
                page.text(&format!("{} · step {step}", stage.name))
                    .raw("</summary>");
                let samples: Vec<&Sample> =
                    of_stage().filter(|sample| sample.step == step).collect();
                table(page, &samples);
                page.raw("</details>");
            }
        }
    }
    page.raw("</section>");
}

fn spaced(steps: &[u64], most: usize) -> Vec<u64> {
    if steps.len() <= most {
        return steps.to_vec();
    }
    let at = |index: usize| steps[index * (steps.len() - 1) / (most - 1).max(1)];
    (0..most).map(at).collect()
}

fn table(page: &mut Markup, samples: &[&Sample]) {
    page.raw("<div class=\"scroll\"><table class=\"samples\"><thead><tr><th>prompt</th><th>response</th><th>answer</th><th>scores</th></tr></thead><tbody>");
    for sample in samples {
        page.raw("<tr><td>");
        page.element("pre", "", &sample.prompt).raw("</td><td>");
        page.element("pre", "", &sample.text);
        if !sample.finished {
            page.element("span", "badge", "cut");
        }
        page.raw("</td><td>");
        page.element("pre", "", &sample.answer).raw("</td><td>");
        for (name, value) in &sample.numbers {
            let class = if *value > 0.0 {
                "chip good"
            } else if *value < 0.0 {
                "chip bad"
            } else {
                "chip"
            };
            page.element("span", class, &format!("{name} {}", number(*value)));
        }
        if samples.iter().any(|other| other.draw != sample.draw) {
            page.element("span", "quiet", &sample.draw);
        }
        page.raw("</td></tr>");
    }
    page.raw("</tbody></table></div>");
}
