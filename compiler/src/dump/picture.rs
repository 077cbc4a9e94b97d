//! A graph as a picture: Graphviz, Mermaid, and an SVG of our own; colours tell the phases.

use std::fmt::Write;

use super::{head, show};
use crate::graph::{Graph, NodeId};
use crate::phase::Phase;

/// Graphviz.
pub fn dot(graph: &Graph, phases: Option<&[Phase]>, sinks: &[(String, NodeId)]) -> String {
    let mut text = String::from(
        "digraph {\n    node [shape=box, style=\"rounded,filled\", fontname=\"monospace\"];\n",
    );
    for id in graph.ids() {
        let label = escape(
            &format!("{}\n{}", head(graph, id), show(&graph.dims, graph.ty(id))),
            '"',
        );
        let _ = writeln!(
            text,
            "    n{} [label=\"{label}\", fillcolor=\"{}\"];",
            id.index(),
            colour(phases, id)
        );
    }
    for (from, to) in edges(graph) {
        let _ = writeln!(text, "    n{} -> n{};", from.index(), to.index());
    }
    for (number, (name, id)) in sinks.iter().enumerate() {
        let _ = writeln!(
            text,
            "    s{number} [label=\"{}\", shape=plaintext, fillcolor=none];\n    n{} -> s{number};",
            escape(name, '"'),
            id.index()
        );
    }
    text + "}\n"
}

/// Mermaid.
pub fn mermaid(graph: &Graph, phases: Option<&[Phase]>, sinks: &[(String, NodeId)]) -> String {
    let mut text = String::from("flowchart TD\n");
    for id in graph.ids() {
        let label = format!(
            "{}<br/>{}",
            markup(&head(graph, id)),
            markup(&show(&graph.dims, graph.ty(id)))
        );
        let _ = writeln!(
            text,
            "    n{0}[\"{label}\"]\n    style n{0} fill:{1}",
            id.index(),
            colour(phases, id)
        );
    }
    for (from, to) in edges(graph) {
        let _ = writeln!(text, "    n{} --> n{}", from.index(), to.index());
    }
    for (number, (name, id)) in sinks.iter().enumerate() {
        let _ = writeln!(
            text,
            "    n{} --> s{number}([\"{}\"])",
            id.index(),
            markup(name)
        );
    }
    text
}

const ROW_HEIGHT: usize = 72;
const BOX_HEIGHT: usize = 40;
const LETTER_WIDTH: usize = 7;
const GAP: usize = 24;

/// A box of the drawing, and the text in it.
struct Placed {
    lines: [String; 2],
    fill: &'static str,
    x: usize,
    y: usize,
    width: usize,
}

/// An SVG: each node a row below the lowest of its operands, in a row ordered by where the operands stand.
pub fn svg(graph: &Graph, phases: Option<&[Phase]>, sinks: &[(String, NodeId)]) -> String {
    let (boxes, lines) = lay_out(graph, phases, sinks);
    let width = boxes
        .iter()
        .map(|placed| placed.x + placed.width + GAP)
        .max()
        .unwrap_or(GAP);
    let height = boxes
        .iter()
        .map(|placed| placed.y + ROW_HEIGHT)
        .max()
        .unwrap_or(GAP);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" font-family=\"monospace\" font-size=\"11\">\n"
    );
    for (from, to) in lines {
        let (from, to) = (&boxes[from], &boxes[to]);
        let (x1, y1) = (from.x + from.width / 2, from.y + BOX_HEIGHT);
        let (x2, y2) = (to.x + to.width / 2, to.y);
        let bend = (y1 + y2) / 2;
        let _ = writeln!(
            text,
            "<path d=\"M{x1} {y1} C{x1} {bend} {x2} {bend} {x2} {y2}\" fill=\"none\" stroke=\"#999\"/>"
        );
    }
    for Placed {
        lines: [first, second],
        fill,
        x,
        y,
        width,
    } in &boxes
    {
        let (middle, upper, lower) = (x + width / 2, y + 17, y + 32);
        let _ = writeln!(
            text,
            "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{BOX_HEIGHT}\" rx=\"6\" fill=\"{fill}\" stroke=\"#555\"/>\
             <text x=\"{middle}\" y=\"{upper}\" text-anchor=\"middle\">{}</text>\
             <text x=\"{middle}\" y=\"{lower}\" text-anchor=\"middle\" fill=\"#555\">{}</text>",
            markup(first),
            markup(second)
        );
    }
    text + "</svg>\n"
}

/// The boxes of the nodes and then of the sinks, and the lines between them.
fn lay_out(
    graph: &Graph,
    phases: Option<&[Phase]>,
    sinks: &[(String, NodeId)],
) -> (Vec<Placed>, Vec<(usize, usize)>) {
    let mut lines: Vec<(usize, usize)> = edges(graph)
        .map(|(from, to)| (from.index(), to.index()))
        .collect();
    lines.extend(
        sinks
            .iter()
            .enumerate()
            .map(|(number, (_, id))| (id.index(), graph.len() + number)),
    );
    let mut boxes: Vec<Placed> = graph
        .ids()
        .map(|id| {
            (
                [head(graph, id), show(&graph.dims, graph.ty(id))],
                colour(phases, id),
            )
        })
        .chain(
            sinks
                .iter()
                .map(|(name, _)| ([name.clone(), String::new()], "#ffffff")),
        )
        .map(|(lines, fill)| {
            let lines = lines.map(|line| line.chars().take(48).collect::<String>());
            let letters = lines
                .iter()
                .map(|line| line.chars().count())
                .max()
                .unwrap_or(0);
            Placed {
                fill,
                x: GAP,
                y: 0,
                width: letters * LETTER_WIDTH + 16,
                lines,
            }
        })
        .collect();
    let mut operands = vec![Vec::new(); boxes.len()];
    for &(from, to) in &lines {
        operands[to].push(from);
    }
    let mut rows: Vec<usize> = Vec::new();
    for reads in &operands {
        rows.push(reads.iter().map(|&read| rows[read] + 1).max().unwrap_or(0));
    }
    for row in 0..=rows.iter().copied().max().unwrap_or(0) {
        // Each box wants to stand below the middle of its operands.
        let middle = |member: usize| {
            let reads = &operands[member];
            reads
                .iter()
                .map(|&read| boxes[read].x + boxes[read].width / 2)
                .sum::<usize>()
                / reads.len().max(1)
        };
        let in_row = (0..boxes.len()).filter(|&member| rows[member] == row);
        let mut members: Vec<(usize, usize)> =
            in_row.map(|member| (middle(member), member)).collect();
        members.sort_unstable();
        let mut x = GAP;
        for (wanted, member) in members {
            boxes[member].x = x.max(wanted.saturating_sub(boxes[member].width / 2));
            boxes[member].y = GAP + row * ROW_HEIGHT;
            x = boxes[member].x + boxes[member].width + GAP;
        }
    }
    (boxes, lines)
}

fn edges(graph: &Graph) -> impl Iterator<Item = (NodeId, NodeId)> + '_ {
    graph.ids().flat_map(|id| {
        graph
            .operands(id)
            .into_iter()
            .map(move |operand| (operand, id))
    })
}

fn colour(phases: Option<&[Phase]>, id: NodeId) -> &'static str {
    match phases.and_then(|phases| phases.get(id.index())) {
        None => "#f2f2f2",
        Some(Phase::Once) => "#e3e9f2",
        Some(Phase::Step) => "#e2f0d9",
        Some(Phase::Minibatch) => "#fbe5d0",
    }
}

pub(super) fn escape(text: &str, quote: char) -> String {
    text.replace('\\', "\\\\")
        .replace(quote, &format!("\\{quote}"))
        .replace('\n', "\\n")
}

pub(super) fn markup(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
