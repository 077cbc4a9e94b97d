//! A graph as text, one line a node, and as pictures (`dump/picture.rs`).
//!
//! ```text
//! %7 = reduce(mean, over: token) %5 mask %6 : real[prompt, sample]  # loss.ppo_clip
//! ```

mod fusion;
mod picture;

pub use fusion::{fusion, fusion_dot, fusion_mermaid};
pub use picture::{dot, mermaid, svg};

use std::fmt::Write;

use crate::array::{Array, Elements};
use crate::graph::{DrawArg, Graph, ModelRef, NodeId, Op, ScanBody};
use crate::phase::Phase;
use crate::ty::{DimId, Dims, Ty};

/// A graph, its phases and its sinks as text. The same graph gives the same text.
pub fn text(graph: &Graph, phases: Option<&[Phase]>, sinks: &[(String, NodeId)]) -> String {
    let mut text = String::new();
    for id in graph.ids() {
        if let Some(phase) = phases.and_then(|phases| phases.get(id.index())) {
            let _ = write!(text, "{:<9} ", phase_name(*phase));
        }
        let _ = writeln!(text, "{}", line(graph, id));
        if let Op::Scan { body, .. } = graph.op(id) {
            write_body(&mut text, body, 1);
        }
    }
    for state in &graph.states {
        let _ = writeln!(
            text,
            "state {} : {} init %{} next %{}",
            state.name,
            show(&graph.dims, &state.ty),
            state.initial.index(),
            state.next.index()
        );
    }
    for (name, id) in sinks {
        let _ = writeln!(text, "{name} = %{}", id.index());
    }
    text
}

/// `once`, `step`, `minibatch`
pub fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Once => "once",
        Phase::Step => "step",
        Phase::Minibatch => "minibatch",
    }
}

/// One node, as in [`text`].
pub fn line(graph: &Graph, id: NodeId) -> String {
    let node = graph.node(id);
    let operands = operands(graph, id);
    let space = if operands.is_empty() { "" } else { " " };
    let call = node
        .call
        .and_then(|call| graph.calls.get(call.0 as usize))
        .map_or(String::new(), |call| format!("  # {}", call.block));
    format!(
        "%{} = {}{space}{operands} : {}{call}",
        id.index(),
        head(graph, id),
        show(&graph.dims, &node.ty)
    )
}

fn write_body(text: &mut String, body: &ScanBody, depth: usize) {
    let indent = "    ".repeat(depth);
    for id in body.graph.ids() {
        let _ = writeln!(text, "{indent}{}", line(&body.graph, id));
        if let Op::Scan { body, .. } = body.graph.op(id) {
            write_body(text, body, depth + 1);
        }
    }
    let next: Vec<String> = body
        .next
        .iter()
        .map(|next| format!("%{}", next.index()))
        .collect();
    let _ = writeln!(text, "{indent}next {}", next.join(" "));
}

/// The operands, with a word before those that play a part of their own.
fn operands(graph: &Graph, id: NodeId) -> String {
    let all: Vec<String> = graph
        .operands(id)
        .iter()
        .map(|operand| format!("%{}", operand.index()))
        .collect();
    let named = |word: &str| match all.as_slice() {
        [x, y] => format!("{x} {word} {y}"),
        other => other.join(" "),
    };
    if let Op::Scan {
        xs,
        captured,
        carries,
        ..
    } = graph.op(id)
    {
        let ends = [*xs, xs + captured, xs + captured + carries, all.len()];
        let starts = [0, ends[0], ends[1], ends[2]];
        let words = ["", "captured ", "init ", "mask "];
        let parts = starts.into_iter().zip(ends).zip(words);
        let some = parts.filter(|((start, end), _)| start < end);
        some.map(|((start, end), word)| format!("{word}{}", all[start..end].join(" ")))
            .collect::<Vec<_>>()
            .join(" ")
    } else if matches!(graph.op(id), Op::Shift { .. }) {
        named("fill")
    } else if matches!(graph.op(id), Op::Gather { .. } | Op::ScatterAdd { .. }) {
        named("at")
    } else if matches!(
        graph.op(id),
        Op::Broadcast | Op::Reduce { .. } | Op::ArgReduce { .. } | Op::ArgSort { .. }
    ) {
        named("mask")
    } else {
        all.join(" ")
    }
}

/// The primitive and its attributes.
pub fn head(graph: &Graph, id: NodeId) -> String {
    let dims = &graph.dims;
    let name = |dim: &DimId| dim_name(dims, *dim);
    match graph.op(id) {
        Op::Literal(array) => format!("literal {}", literal(array)),
        Op::Input(input) => format!("input {input}"),
        Op::Mask(dim) => format!("mask({})", name(dim)),
        Op::Size(dim) => format!("size({})", name(dim)),
        Op::Position(dim) => format!("position({})", name(dim)),
        Op::Step => "step".to_string(),
        Op::Steps => "steps".to_string(),
        Op::State(state) => format!(
            "state({})",
            graph.states.get(*state).map_or("?", |state| &state.name)
        ),
        Op::Draw(draw) => match graph.draws.get(*draw) {
            Some(draw) => {
                let args: Vec<String> = draw
                    .args
                    .iter()
                    .map(|(name, arg)| format!("{name}: {}", draw_arg(arg)))
                    .collect();
                format!("{}({})", draw.block, args.join(", "))
            }
            None => "draw ?".to_string(),
        },
        Op::Field(field) => format!("field {field}"),
        Op::Model { model, output } => format!("{output:?}({})", model_name(model)).to_lowercase(),
        Op::Backward { model, outputs } => {
            format!("backward({}, {outputs:?})", model_name(model)).to_lowercase()
        }
        Op::Trainable(model) => format!("trainable({})", model_name(model)),
        Op::Random { kind, key } => format!("random.{kind:?}(key: {key})").to_lowercase(),
        Op::Unary(op) => snake(&format!("{op:?}")),
        Op::Binary(op) => snake(&format!("{op:?}")),
        Op::Select => "select".to_string(),
        Op::Cast(elem) => format!("cast({})", elem.name()),
        Op::Text(op) => snake(&format!("text.{op:?}")),
        Op::Broadcast => "broadcast".to_string(),
        Op::Rename(pairs) => {
            let pairs: Vec<String> = pairs
                .iter()
                .map(|(old, new)| format!("{}: {}", name(old), name(new)))
                .collect();
            format!("rename({})", pairs.join(", "))
        }
        Op::Reduce { kind, over } => format!(
            "reduce({}, over: {})",
            snake(&format!("{kind:?}")),
            names(dims, over)
        ),
        Op::ArgReduce {
            largest: true,
            over,
        } => format!("argmax(over: {})", name(over)),
        Op::ArgReduce {
            largest: false,
            over,
        } => format!("argmin(over: {})", name(over)),
        Op::Contract { over } => format!("contract(over: {})", names(dims, over)),
        Op::Scan {
            over,
            reverse,
            part,
            ..
        } => format!(
            "scan(over: {}{}, part: {part})",
            name(over),
            backwards(*reverse)
        ),
        Op::Cumsum { over, reverse } => {
            format!("cumsum(over: {}{})", name(over), backwards(*reverse))
        }
        Op::Shift { over, by } => format!("shift(over: {}, by: {by})", name(over)),
        Op::ArgSort { over, descending } => format!(
            "argsort(over: {}{})",
            name(over),
            if *descending { ", descending" } else { "" }
        ),
        Op::Gather { over } => format!("gather(over: {})", name(over)),
        Op::ScatterAdd { over } => format!("scatter_add(over: {})", name(over)),
        Op::Stack(dim) => format!("stack(as: {})", name(dim)),
        Op::Split { dim, into } => format!("split({}, into: {})", name(dim), names(dims, into)),
        Op::Merge { dims: parts, into } => {
            format!("merge({}, into: {})", names(dims, parts), name(into))
        }
        Op::Factor {
            factor,
            row,
            col,
            rank,
        } => {
            let rank = rank.map_or(String::new(), |rank| {
                format!(", rank: {}", dim_name(dims, rank))
            });
            format!(
                "{}(row: {}, col: {}{rank})",
                snake(&format!("{factor:?}")),
                name(row),
                name(col)
            )
        }
        Op::Solve { row, col } => format!("solve(row: {}, col: {})", name(row), name(col)),
        Op::StopGrad => "stop_grad".to_string(),
        Op::Grad => "grad".to_string(),
    }
}

/// `real[prompt, sample]`, with a number where several dimensions have one name.
pub fn show(dims: &Dims, ty: &Ty) -> String {
    match ty.dims.as_slice() {
        [] => ty.elem.name().to_string(),
        some => {
            let names: Vec<String> = some.iter().map(|&dim| dim_name(dims, dim)).collect();
            format!("{}[{}]", ty.elem.name(), names.join(", "))
        }
    }
}

/// The name of a dimension; `prompt.2` is the second with the name `prompt`.
fn dim_name(dims: &Dims, dim: DimId) -> String {
    let name = dims.name(dim);
    match dims
        .ids()
        .take_while(|&other| other < dim)
        .filter(|&other| dims.name(other) == name)
        .count()
    {
        0 => name.to_string(),
        before => format!("{name}.{}", before + 1),
    }
}

/// One name, or several in brackets.
fn names(dims: &Dims, over: &[DimId]) -> String {
    match over {
        [one] => dim_name(dims, *one),
        several => format!(
            "[{}]",
            several
                .iter()
                .map(|&dim| dim_name(dims, dim))
                .collect::<Vec<_>>()
                .join(", ")
        ),
    }
}

fn backwards(reverse: bool) -> &'static str {
    if reverse { ", reverse" } else { "" }
}

fn model_name(model: &ModelRef) -> String {
    match model.frozen {
        None => format!("model {}", model.model),
        Some(0) => format!("frozen model {}", model.model),
        Some(every) => format!("frozen model {} every {every}", model.model),
    }
}

fn draw_arg(arg: &DrawArg) -> String {
    match arg {
        DrawArg::Static(array) => literal(array),
        DrawArg::Model(model) => model_name(model),
        DrawArg::Data(data) => format!(
            "data {}{}",
            data.data,
            if data.held_out { " held out" } else { "" }
        ),
        DrawArg::Operand(operand) => format!("operand {operand}"),
        DrawArg::Record(fields) => {
            let fields: Vec<String> = fields
                .iter()
                .map(|(name, operand)| format!("{name}: operand {operand}"))
                .collect();
            format!("{{ {} }}", fields.join(", "))
        }
    }
}

/// `LogSumExp` as `log_sum_exp`; what stands in quotes stays.
fn snake(name: &str) -> String {
    let mut snake = String::new();
    let mut quoted = false;
    let mut before = '.';
    for letter in name.chars() {
        quoted ^= letter == '"' && before != '\\';
        if letter.is_uppercase() && !quoted {
            if before.is_alphanumeric() {
                snake.push('_');
            }
            snake.extend(letter.to_lowercase());
        } else {
            snake.push(letter);
        }
        before = letter;
    }
    snake
}

/// Arrays with more elements are cut short.
const SHOWN_ELEMENTS: usize = 16;

/// A scalar, or nested lists.
fn literal(array: &Array) -> String {
    let elements: Vec<String> = match &array.elements {
        Elements::Real(elements) => elements.iter().map(|x| format!("{x:?}")).collect(),
        Elements::Int(elements) => elements.iter().map(i64::to_string).collect(),
        Elements::Bool(elements) => elements.iter().map(bool::to_string).collect(),
        Elements::Text(elements) => elements.iter().map(|x| format!("{x:?}")).collect(),
    };
    if elements.len() > SHOWN_ELEMENTS {
        return format!(
            "[{}, … {} elements]",
            elements[..SHOWN_ELEMENTS].join(", "),
            elements.len()
        );
    }
    nested(&array.shape, &elements)
}

fn nested(shape: &[usize], elements: &[String]) -> String {
    match shape {
        [] => elements.first().cloned().unwrap_or_default(),
        [_] => format!("[{}]", elements.join(", ")),
        [n, inner @ ..] => {
            let width: usize = inner.iter().product();
            let parts: Vec<String> = (0..*n)
                .map(|i| nested(inner, &elements[i * width..(i + 1) * width]))
                .collect();
            format!("[{}]", parts.join(", "))
        }
    }
}
