//! The pipeline as a picture: the values of each stage from left to right, as they are computed.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::Value as Json;

use super::markup::{Markup, escaped};
use crate::compare::shown;
use crate::run::{Run, members, text};

const BOX_HEIGHT: f64 = 42.0;
const ROW_GAP: f64 = 16.0;
const COLUMN_GAP: f64 = 54.0;
/// Widths of a letter of the name, which is bold, and of what stands below, in fonts that are wide.
const LETTERS: [f64; 2] = [8.6, 7.0];
const MARGIN: f64 = 8.0;
/// Longer names are cut in their boxes; the whole stands in the tooltip.
const MOST_LETTERS: usize = 30;
/// A stage with more values is not drawn: nobody could read it.
const MOST_BOXES: usize = 120;

pub(super) fn section(page: &mut Markup, run: &Run) {
    let stages = run.resolved["stages"].as_array();
    let Some(stages) = stages.filter(|stages| !stages.is_empty()) else {
        return;
    };
    page.raw("<section>");
    page.element("h2", "", "Pipeline");
    page.raw("<p class=\"legend\">");
    for (phase, words) in [
        ("once", "once"),
        ("step", "once a step, without gradient"),
        ("minibatch", "on every minibatch"),
        ("sink", "trained or reported"),
    ] {
        page.raw(&format!("<span><i class=\"dot {phase}\"></i>"));
        page.text(words).raw("</span>");
    }
    page.raw("</p>");
    for stage in stages {
        page.element("h3", "", &text(stage, "name"));
        page.raw("<div class=\"scroll\">");
        let boxes = boxes(stage);
        if boxes.len() <= MOST_BOXES {
            page.raw(&drawn(boxes));
        }
        page.raw("</div>");
    }
    page.raw("</section>");
}

#[derive(Clone, Default)]
struct Placed {
    name: String,
    detail: String,
    tip: String,
    class: &'static str,
    /// The boxes that it reads.
    reads: Vec<usize>,
    /// A place where a line passes, on its way to a later column.
    is_bend: bool,
    column: usize,
    x: f64,
    y: f64,
    width: f64,
}

impl Placed {
    fn height(&self) -> f64 {
        if self.is_bend { 6.0 } else { BOX_HEIGHT }
    }
}

/// The values and sinks of a stage.
fn boxes(stage: &Json) -> Vec<Placed> {
    let mut boxes: Vec<Placed> = Vec::new();
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    let mut reads: Vec<Vec<String>> = Vec::new();
    for value in stage["values"].as_array().into_iter().flatten() {
        let name = text(value, "name");
        let (block, kind) = (text(value, "block"), text(value, "kind"));
        let args: Vec<String> = members(value, "args")
            .map(|(name, value)| format!("{name}: {}", shown(value)))
            .collect();
        let ty = text(value, "type");
        let detail = if kind == "draw" {
            let sizes = ["prompts", "samples", "pairs"]
                .iter()
                .filter_map(|name| Some(format!("{name} {}", value["args"][*name].as_i64()?)));
            sizes.collect::<Vec<_>>().join(" × ")
        } else {
            ty.clone()
        };
        let class = match text(value, "phase").as_str() {
            "minibatch" => "minibatch",
            "step" => "step",
            _ => "once",
        };
        let detail = match (block.as_str(), name == block) {
            ("", _) | (_, true) => detail,
            (block, false) => block.to_string(),
        };
        places.insert(name.clone(), boxes.len());
        reads.push(strings(&value["reads"]));
        boxes.push(Placed {
            tip: [block, args.join(", "), ty].join("\n").trim().to_string(),
            name,
            detail,
            class,
            ..Placed::default()
        });
    }
    let mut sink = |name: String, detail: String, of: Vec<String>| {
        reads.push(of);
        boxes.push(Placed {
            name,
            detail,
            class: "sink",
            ..Placed::default()
        });
    };
    for train in stage["trains"].as_array().into_iter().flatten() {
        let targets = strings(&train["trains"]).join("+");
        let rules = train["rules"].as_array().into_iter().flatten();
        let mut of = strings(&train["loss"]["reads"]);
        let mut names: Vec<String> = Vec::new();
        for rule in rules {
            names.push(text(rule, "block"));
            of.extend(members(rule, "args").flat_map(|(_, arg)| strings(&arg["reads"])));
        }
        of.sort();
        of.dedup();
        sink(format!("train {targets}"), names.join(", "), of);
        for report in train["evaluations"].as_array().into_iter().flatten() {
            for entry in report["entries"].as_array().into_iter().flatten() {
                sink(
                    text(entry, "name"),
                    "evaluated".to_string(),
                    strings(&entry["reads"]),
                );
            }
        }
    }
    for report in stage["reports"].as_array().into_iter().flatten() {
        for entry in report["entries"].as_array().into_iter().flatten() {
            sink(
                text(entry, "name"),
                "reported".to_string(),
                strings(&entry["reads"]),
            );
        }
    }
    for (index, reads) in reads.iter().enumerate() {
        boxes[index].reads = reads
            .iter()
            .filter_map(|name| places.get(name).copied())
            .filter(|&read| read != index)
            .collect();
    }
    boxes
}

fn strings(list: &Json) -> Vec<String> {
    let list = list.as_array().into_iter().flatten();
    list.filter_map(|text| text.as_str().map(str::to_string))
        .collect()
}

fn drawn(mut boxes: Vec<Placed>) -> String {
    for placed in &mut boxes {
        let widths = [&placed.name, &placed.detail].into_iter().zip(LETTERS);
        let widths =
            widths.map(|(text, letter)| text.chars().count().min(MOST_LETTERS) as f64 * letter);
        placed.width = widths.fold(0.0, f64::max) + 22.0;
    }
    let lines = route(&mut boxes);
    arrange(&mut boxes);
    let right = boxes.iter().map(|own| own.x + own.width);
    let bottom = boxes.iter().map(|own| own.y + own.height());
    let (width, height) = (
        right.fold(0.0, f64::max) + MARGIN,
        bottom.fold(0.0, f64::max) + MARGIN,
    );
    let mut svg = format!(
        "<svg class=\"pipeline\" width=\"{width:.0}\" height=\"{height:.0}\" viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\" aria-label=\"the values of the stage\">"
    );
    for (from, to) in lines {
        let (from, to) = (&boxes[from], &boxes[to]);
        let (x1, y1) = (from.x + from.width, from.y + from.height() / 2.0);
        let (x2, y2) = (to.x, to.y + to.height() / 2.0);
        let middle = (x1 + x2) / 2.0;
        // A line that only passes goes on straight to the other side of the column.
        let through = if to.is_bend {
            format!("H{:.0}", to.x + to.width)
        } else {
            String::new()
        };
        let _ = write!(
            svg,
            "<path class=\"edge\" d=\"M{x1:.0} {y1:.0}C{middle:.0} {y1:.0} {middle:.0} {y2:.0} {x2:.0} {y2:.0}{through}\"/>"
        );
    }
    for own in boxes.iter().filter(|own| !own.is_bend) {
        let _ = write!(
            svg,
            "<g class=\"box {}\"><title>{}</title><rect x=\"{:.0}\" y=\"{:.0}\" width=\"{:.0}\" height=\"{BOX_HEIGHT}\" rx=\"6\"/>\
             <text class=\"name\" x=\"{:.0}\" y=\"{:.0}\">{}</text><text x=\"{:.0}\" y=\"{:.0}\">{}</text></g>",
            own.class,
            escaped(format!("{}\n{}", own.name, own.tip).trim()),
            own.x,
            own.y,
            own.width,
            own.x + 11.0,
            own.y + if own.detail.is_empty() { 25.0 } else { 18.0 },
            escaped(&cut(&own.name)),
            own.x + 11.0,
            own.y + 33.0,
            escaped(&cut(&own.detail)),
        );
    }
    svg + "</svg>"
}

fn cut(text: &str) -> String {
    if text.chars().count() <= MOST_LETTERS {
        return text.to_string();
    }
    text.chars().take(MOST_LETTERS - 1).chain(['…']).collect()
}

/// Gives each box a column behind those that it reads, and lines that skip a column a place to pass it. The lines, from
/// column to column.
fn route(boxes: &mut Vec<Placed>) -> Vec<(usize, usize)> {
    let count = boxes.len();
    // As many rounds as there are boxes: what is damaged may read itself in a circle.
    for _ in 0..count {
        let mut is_changed = false;
        for index in 0..count {
            let after = boxes[index]
                .reads
                .iter()
                .map(|&read| boxes[read].column + 1)
                .max()
                .unwrap_or(0)
                .min(count);
            is_changed |= boxes[index].column != after;
            boxes[index].column = after;
        }
        if !is_changed {
            break;
        }
    }
    let mut lines = Vec::new();
    for index in 0..count {
        for read in boxes[index].reads.clone() {
            let mut from = read;
            for column in boxes[read].column + 1..boxes[index].column {
                boxes.push(Placed {
                    is_bend: true,
                    column,
                    reads: vec![from],
                    ..Placed::default()
                });
                lines.push((from, boxes.len() - 1));
                from = boxes.len() - 1;
            }
            lines.push((from, index));
        }
    }
    // From now on only neighbours count.
    for own in boxes.iter_mut() {
        own.reads.clear();
    }
    for &(from, to) in &lines {
        boxes[to].reads.push(from);
    }
    lines
}

/// Column by column, each box near the middle of what it reads.
fn arrange(boxes: &mut [Placed]) {
    let columns = boxes.iter().map(|own| own.column).max().unwrap_or(0);
    let mut x = MARGIN;
    for column in 0..=columns {
        let members = (0..boxes.len()).filter(|&member| boxes[member].column == column);
        let middle = |member: usize| {
            let reads = &boxes[member].reads;
            let sum: f64 = reads
                .iter()
                .map(|&read| boxes[read].y + boxes[read].height() / 2.0)
                .sum();
            sum / reads.len().max(1) as f64
        };
        let mut members: Vec<(f64, usize)> = members.map(|own| (middle(own), own)).collect();
        members.sort_by(|one, other| one.0.total_cmp(&other.0).then(one.1.cmp(&other.1)));
        let width = members
            .iter()
            .map(|&(_, member)| boxes[member].width)
            .fold(0.0, f64::max);
        let mut y = MARGIN;
        for (wanted, member) in members {
            let own = &mut boxes[member];
            own.x = x;
            own.width = width;
            own.y = y.max(wanted - own.height() / 2.0);
            y = own.y + own.height() + ROW_GAP;
        }
        x += width + COLUMN_GAP;
    }
}
