//! Where the time went: phases as a bar, and the blocks that took the most.

use super::markup::{Markup, escaped};
use crate::number::time;
use crate::run::{Run, Timing};

/// Rows of the table of a stage.
const MOST_ROWS: usize = 14;

/// The phases of a step, in their order.
const PHASES: [&str; 5] = ["rollout", "update", "optimizer", "report", ""];

pub(super) fn section(page: &mut Markup, runs: &[Run]) {
    if runs.iter().all(|run| run.timings.is_empty()) {
        return;
    }
    page.raw("<section>");
    page.element("h2", "", "Time");
    page.raw("<p class=\"legend\">");
    for (place, phase) in PHASES.iter().enumerate() {
        page.raw(&format!("<span><i class=\"dot p{place}\"></i>"));
        page.text(named(phase)).raw("</span>");
    }
    page.raw("</p>");
    for run in runs {
        for stage in &run.stages {
            let rows: Vec<&Timing> = run
                .timings
                .iter()
                .filter(|timing| timing.stage == stage.name)
                .collect();
            let all: f64 = rows.iter().map(|row| row.seconds).sum();
            if all <= 0.0 {
                continue;
            }
            let title = if runs.len() > 1 {
                format!("{} · {}", run.name, stage.name)
            } else {
                stage.name.clone()
            };
            page.raw("<h3>").text(&title).raw(" ");
            page.element("span", "quiet", &time(all)).raw("</h3>");
            bar(page, &rows, all);
            if runs.len() == 1 {
                table(page, &rows, all);
            }
        }
    }
    page.raw("</section>");
}

fn named(phase: &str) -> &str {
    match phase {
        "" => "the loop itself",
        other => other,
    }
}

fn bar(page: &mut Markup, rows: &[&Timing], all: f64) {
    page.raw("<div class=\"bar\">");
    for (place, phase) in PHASES.iter().enumerate() {
        let own = rows.iter().filter(|row| row.phase == *phase);
        let seconds: f64 = own.map(|row| row.seconds).sum();
        if seconds > 0.0 {
            let share = 100.0 * seconds / all;
            let said = format!("{}: {}, {share:.1} %", named(phase), time(seconds));
            page.raw(&format!(
                "<i class=\"p{place}\" style=\"width:{share:.3}%\" title=\"{0}\" aria-label=\"{0}\"></i>",
                escaped(&said)
            ));
        }
    }
    page.raw("</div>");
}

fn table(page: &mut Markup, rows: &[&Timing], all: f64) {
    let mut rows = rows.to_vec();
    rows.sort_by(|one, other| other.seconds.total_cmp(&one.seconds));
    page.raw("<div class=\"scroll\"><table><thead><tr><th>phase</th><th>what</th><th>where</th><th class=\"n\">time</th><th class=\"n\">share</th><th class=\"n\">calls</th></tr></thead><tbody>");
    for row in rows.iter().take(MOST_ROWS) {
        let place = PHASES
            .iter()
            .position(|phase| *phase == row.phase)
            .unwrap_or(PHASES.len() - 1);
        page.raw(&format!("<tr><td><i class=\"dot p{place}\"></i>"));
        page.text(named(&row.phase)).raw("</td><td>");
        let what = if row.what.is_empty() {
            "the loop itself"
        } else {
            &row.what
        };
        page.element("code", "", what).raw("</td><td>");
        page.element("span", "quiet", &row.place).raw("</td>");
        page.element("td", "n", &time(row.seconds));
        page.element("td", "n", &format!("{:.1} %", 100.0 * row.seconds / all));
        page.element("td", "n", &row.calls.to_string()).raw("</tr>");
    }
    page.raw("</tbody></table></div>");
}
