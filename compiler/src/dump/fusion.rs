//! A fused graph as text and as pictures: kernels as boxes around their nodes, with the bytes that they move.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::picture::{escape, markup};
use super::{dim_name, head, line, show};
use crate::graph::{Graph, NodeId};
use crate::kernel::Kernel;
use crate::pass::fuse::{FusedPart, Step, width};
use crate::ty::{DimId, Dims, Ty};

/// The steps of a part, in the order in which they run.
pub fn fusion(part: &FusedPart) -> String {
    let graph = &part.graph;
    let mut text = String::new();
    let mut number = 0;
    for step in &part.fusion.steps {
        match step {
            Step::Node(id) => drop(writeln!(text, "node {}", line(graph, *id))),
            Step::Kernel(kernel) => {
                number += 1;
                let _ = writeln!(text, "kernel {number} {}", title(graph, kernel));
                for input in &kernel.inputs {
                    let ty = show(&graph.dims, graph.ty(input.node));
                    let _ = writeln!(text, "    read %{} : {ty}", input.node.index());
                }
                for id in nodes(kernel) {
                    let _ = writeln!(text, "    {}", line(graph, id));
                }
                for output in &kernel.outputs {
                    let ty = show(&graph.dims, graph.ty(output.node));
                    let _ = writeln!(text, "    write %{} : {ty}", output.node.index());
                }
            }
        }
    }
    for (name, id) in &part.sinks {
        let _ = writeln!(text, "{name} = %{}", id.index());
    }
    text
}

/// Graphviz.
pub fn fusion_dot(part: &FusedPart) -> String {
    let graph = &part.graph;
    let mut text = String::from(
        "digraph {\n    node [shape=box, style=\"rounded,filled\", fontname=\"monospace\", fillcolor=\"#f2f2f2\"];\n",
    );
    for shape in shapes(part) {
        match shape {
            Shape::Open(number, title) => {
                let title = escape(&title, '"');
                let _ = writeln!(
                    text,
                    "    subgraph cluster_{number} {{\n    label=\"{title}\";"
                );
            }
            Shape::Close => text += "    }\n",
            Shape::Node(name, id) => {
                let label = format!("{}\n{}", head(graph, id), show(&graph.dims, graph.ty(id)));
                let _ = writeln!(text, "    {name} [label=\"{}\"];", escape(&label, '"'));
            }
            Shape::Edge(from, to) => drop(writeln!(text, "    {from} -> {to};")),
        }
    }
    text + "}\n"
}

/// Mermaid.
pub fn fusion_mermaid(part: &FusedPart) -> String {
    let graph = &part.graph;
    let mut text = String::from("flowchart TD\n");
    for shape in shapes(part) {
        match shape {
            Shape::Open(number, title) => {
                let _ = writeln!(text, "    subgraph k{number} [\"{}\"]", markup(&title));
            }
            Shape::Close => text += "    end\n",
            Shape::Node(name, id) => {
                let ty = show(&graph.dims, graph.ty(id));
                let _ = writeln!(
                    text,
                    "    {name}[\"{}<br/>{}\"]",
                    markup(&head(graph, id)),
                    markup(&ty)
                );
            }
            Shape::Edge(from, to) => drop(writeln!(text, "    {from} --> {to}")),
        }
    }
    text
}

/// What a picture is made of, in an order that both languages take.
enum Shape {
    Open(usize, String),
    Node(String, NodeId),
    Close,
    Edge(String, String),
}

/// A node that several kernels compute stands in each.
fn shapes(part: &FusedPart) -> Vec<Shape> {
    let graph = &part.graph;
    let mut shapes = Vec::new();
    let mut edges = Vec::new();
    // The name of what a node is in memory, once a step left it there.
    let mut stored: BTreeMap<NodeId, String> = BTreeMap::new();
    let mut number = 0;
    for step in &part.fusion.steps {
        let within = match step {
            Step::Node(id) => BTreeMap::from([(*id, format!("n{}", id.index()))]),
            Step::Kernel(kernel) => {
                number += 1;
                shapes.push(Shape::Open(
                    number,
                    format!("kernel {number} {}", title(graph, kernel)),
                ));
                nodes(kernel)
                    .into_iter()
                    .map(|id| (id, format!("k{number}n{}", id.index())))
                    .collect()
            }
        };
        for (&id, name) in &within {
            shapes.push(Shape::Node(name.clone(), id));
            for operand in graph.operands(id) {
                let from = within.get(&operand).or_else(|| stored.get(&operand));
                edges.extend(from.map(|from| Shape::Edge(from.clone(), name.clone())));
            }
        }
        if let Step::Kernel(_) = step {
            shapes.push(Shape::Close);
        }
        stored.extend(
            step.writes()
                .into_iter()
                .filter_map(|id| Some((id, within.get(&id)?.clone()))),
        );
    }
    shapes.extend(edges);
    shapes
}

/// The nodes that a kernel computes.
fn nodes(kernel: &Kernel) -> BTreeSet<NodeId> {
    let written = kernel.outputs.iter().map(|output| output.node);
    let computed = kernel.body.iter().map(|instruction| instruction.node);
    let mut nodes: BTreeSet<NodeId> = computed.chain(written).collect();
    for input in &kernel.inputs {
        nodes.remove(&input.node);
    }
    nodes
}

/// `over prompt × [sample, token], reads 5·prompt·sample·token bytes, writes 4`
fn title(graph: &Graph, kernel: &Kernel) -> String {
    let dims = &graph.dims;
    let product = |of: &[DimId]| names(dims, of).join("·");
    let over = match (kernel.rows.as_slice(), kernel.cells.as_slice()) {
        ([], []) => "of one cell".to_string(),
        ([], cells) => format!("over {}", product(cells)),
        (rows, []) => format!("over {} rows", product(rows)),
        (rows, cells) => format!("over {} rows of {}", product(rows), product(cells)),
    };
    let types = |nodes: Vec<NodeId>| {
        nodes
            .into_iter()
            .map(|id| graph.ty(id))
            .collect::<Vec<&Ty>>()
    };
    let read = types(kernel.inputs.iter().map(|input| input.node).collect());
    let written = types(kernel.outputs.iter().map(|output| output.node).collect());
    format!(
        "{over}, reads {} bytes, writes {}",
        bytes(dims, &read),
        bytes(dims, &written)
    )
}

/// `9·prompt·sample + 4`, in single precision; a number where all sizes are known.
fn bytes(dims: &Dims, types: &[&Ty]) -> String {
    let mut terms: BTreeMap<&[DimId], u64> = BTreeMap::new();
    for ty in types {
        *terms.entry(&ty.dims).or_default() += width(ty.elem);
    }
    let count = |of: &[DimId]| {
        of.iter()
            .map(|&dim| dims.get(dim).size)
            .product::<Option<u64>>()
    };
    let known: Option<u64> = terms
        .iter()
        .map(|(of, width)| Some(count(of)? * width))
        .sum::<Option<u64>>();
    if let Some(known) = known {
        return known.to_string();
    }
    let term = |(of, width): (&&[DimId], &u64)| {
        [vec![width.to_string()], names(dims, of)]
            .concat()
            .join("·")
    };
    terms
        .iter()
        .rev()
        .map(term)
        .collect::<Vec<String>>()
        .join(" + ")
}

fn names(dims: &Dims, of: &[DimId]) -> Vec<String> {
    of.iter().map(|&dim| dim_name(dims, dim)).collect()
}
