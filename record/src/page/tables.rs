//! What runs were started with, what differs between them, and their text.

use super::COLOURS;
use super::markup::Markup;
use crate::compare::{Section, differences, results, shown, texts_differ};
use crate::run::{Run, members};

/// Differences and results of several runs.
pub(super) fn comparison(page: &mut Markup, runs: &[Run]) {
    page.raw("<section>");
    page.element("h2", "", "What differs");
    let differences = differences(runs);
    if differences.is_empty() {
        page.element(
            "p",
            "",
            "The runs compute the same, with the same settings.",
        );
    } else {
        table(page, runs, &differences);
    }
    if texts_differ(runs) {
        page.element(
            "p",
            "quiet",
            "The texts of the pipelines differ; what is not listed here computes the same all the same.",
        );
    }
    page.element("h2", "", "What came of it");
    page.element("p", "quiet", "Each number is the mean over its last tenth.");
    table(page, runs, &results(runs));
    page.raw("</section>");
}

fn table(page: &mut Markup, runs: &[Run], sections: &[Section]) {
    page.raw("<div class=\"scroll\"><table><thead><tr><th></th>");
    for (place, run) in runs.iter().enumerate() {
        page.raw(&format!(
            "<th class=\"n\"><i class=\"dot c{}\"></i>",
            place % COLOURS
        ));
        page.text(&run.name).raw("</th>");
    }
    page.raw("</tr></thead><tbody>");
    for section in sections {
        page.raw(&format!(
            "<tr class=\"group\"><th colspan=\"{}\">",
            runs.len() + 1
        ));
        page.text(&section.title).raw("</th></tr>");
        for row in &section.rows {
            page.raw("<tr>").element("td", "", &row.what);
            for value in &row.values {
                page.element("td", "n", value);
            }
            page.raw("</tr>");
        }
    }
    page.raw("</tbody></table></div>");
}

/// Settings, versions and the text of the first run, and how to make it once more.
pub(super) fn facts(page: &mut Markup, runs: &[Run]) {
    let Some(run) = runs.first() else { return };
    page.raw("<section>");
    page.element("h2", "", "Made with");
    page.raw("<div class=\"columns\">");
    let settings: Vec<(String, String)> = members(&run.description, "settings")
        .map(|(name, value)| (name.clone(), shown(value)))
        .collect();
    list(page, "Settings", &settings);
    let known = [
        "seed", "steps", "executor", "device", "threads", "rlpc", "file",
    ];
    let run_facts: Vec<(String, String)> = known
        .iter()
        .map(|name| (name.to_string(), shown(&run.description[*name])))
        .filter(|(_, value)| value != "null")
        .collect();
    list(page, "Run", &run_facts);
    let environment: Vec<(String, String)> = run
        .environment
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(_, value)| !value.is_null())
        .map(|(name, value)| (name.clone(), shown(value)))
        .collect();
    list(page, "Machine and versions", &environment);
    page.raw("</div>");
    for (path, text) in members(&run.description, "sources") {
        page.raw("<details><summary>").text(path).raw("</summary>");
        page.element("pre", "source", text.as_str().unwrap_or_default());
        page.raw("</details>");
    }
    page.raw("</section>");
}

fn list(page: &mut Markup, title: &str, rows: &[(String, String)]) {
    if rows.is_empty() {
        return;
    }
    page.raw("<div>");
    page.element("h3", "", title).raw("<table><tbody>");
    for (name, value) in rows {
        page.raw("<tr>")
            .element("td", "quiet", name)
            .element("td", "n", value)
            .raw("</tr>");
    }
    page.raw("</tbody></table></div>");
}
