//! Lines over steps, as SVG; the script of the page reads the points that stand beside each line.

use std::fmt::Write;

use super::COLOURS;
use super::markup::{Markup, escaped};
use crate::curve::{Curve, thinned};
use crate::number::number;

const WIDTH: f64 = 380.0;
const HEIGHT: f64 = 190.0;
const LEFT: f64 = 50.0;
const RIGHT: f64 = 10.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 24.0;

/// A line has so many points at most.
const MOST_POINTS: usize = 240;
/// Longer ones are also drawn smoothly.
const LONG: usize = 40;

/// Curves of one number, each with the name and the place of its run.
pub(super) fn chart(page: &mut Markup, title: &str, curves: &[(usize, &str, &Curve)]) {
    let points = || curves.iter().flat_map(|(_, _, curve)| &curve.points);
    let ys = || points().map(|point| point.1);
    let (low, high) = (
        ys().fold(f64::INFINITY, f64::min),
        ys().fold(f64::NEG_INFINITY, f64::max),
    );
    if !low.is_finite() || !high.is_finite() {
        return;
    }
    let (low, high, ticks) = scale(low, high);
    let first = points().map(|point| point.0).min().unwrap_or(0) as f64;
    let last = points().map(|point| point.0).max().unwrap_or(1) as f64;
    let x = |step: f64| {
        let share = if last > first {
            (step - first) / (last - first)
        } else {
            0.5
        };
        LEFT + share * (WIDTH - LEFT - RIGHT)
    };
    let y = |value: f64| {
        let share = ((value - low) / (high - low)).clamp(0.0, 1.0);
        HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)
    };
    page.raw("<figure class=\"chart\"><figcaption>")
        .text(title)
        .raw("</figcaption>");
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">",
        escaped(title)
    );
    for tick in ticks {
        let at = y(tick);
        let _ = write!(
            svg,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.0}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
             <text x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            WIDTH - RIGHT,
            LEFT - 6.0,
            at + 3.5,
            mark(tick)
        );
    }
    for (step, anchor) in [(first, "start"), (last, "end")] {
        let _ = write!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.0}\" text-anchor=\"{anchor}\">{step:.0}</text>",
            x(step),
            HEIGHT - 8.0
        );
        if last <= first {
            break;
        }
    }
    svg += "<line class=\"cross\" y1=\"10\" y2=\"166\" hidden=\"\"/>";
    for (place, name, curve) in curves {
        let drawn = thinned(&curve.points, MOST_POINTS);
        let colour = place % COLOURS;
        let listed: Vec<String> = drawn
            .iter()
            .map(|&(step, value)| {
                format!("{:.1},{:.1},{step:.0},{}", x(step), y(value), number(value))
            })
            .collect();
        let path = |points: &[(f64, f64)]| {
            let points = points
                .iter()
                .map(|&(step, value)| format!("{:.1} {:.1}", x(step), y(value)));
            format!("M{}", points.collect::<Vec<_>>().join("L"))
        };
        let is_long = drawn.len() > LONG;
        let _ = write!(
            svg,
            "<path class=\"line c{colour}{}\" data-name=\"{}\" data-points=\"{}\" d=\"{}\"/>",
            if is_long { " faint" } else { "" },
            escaped(name),
            listed.join(" "),
            path(&drawn)
        );
        if is_long {
            let _ = write!(
                svg,
                "<path class=\"line c{colour}\" d=\"{}\"/>",
                path(&smooth(&drawn))
            );
        }
        if let ([(step, value)], false) = (drawn.as_slice(), is_long) {
            let _ = write!(
                svg,
                "<circle class=\"c{colour}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"2.5\"/>",
                x(*step),
                y(*value)
            );
        }
    }
    svg += "</svg></figure>";
    page.raw(&svg);
}

/// A line by itself, as wide as a word.
pub(super) fn spark(page: &mut Markup, curve: &Curve, place: usize) {
    let drawn = thinned(&curve.points, 60);
    if drawn.len() < 2 {
        return;
    }
    let ys = || drawn.iter().map(|point| point.1);
    let (low, high) = (
        ys().fold(f64::INFINITY, f64::min),
        ys().fold(f64::NEG_INFINITY, f64::max),
    );
    let y = |value: f64| {
        if high > low {
            22.0 - 20.0 * (value - low) / (high - low)
        } else {
            12.0
        }
    };
    let points: Vec<String> = drawn
        .iter()
        .enumerate()
        .map(|(index, &(_, value))| {
            let x = 2.0 + 86.0 * index as f64 / (drawn.len() - 1) as f64;
            format!("{x:.1} {:.1}", y(value))
        })
        .collect();
    page.raw(&format!(
        "<svg class=\"spark\" viewBox=\"0 0 90 24\" aria-hidden=\"true\"><path class=\"line c{}\" d=\"M{}\"/></svg>",
        place % COLOURS,
        points.join("L")
    ));
}

/// A round number beside an axis, in seven letters: `2.5`, `150k`, `-1.25e-7`.
fn mark(value: f64) -> String {
    let size = value.abs();
    match size {
        1e15.. => short(value),
        1e12.. => format!("{}T", number(value / 1e12)),
        1e9.. => format!("{}G", number(value / 1e9)),
        1e6.. => format!("{}M", number(value / 1e6)),
        1e4.. => format!("{}k", number(value / 1e3)),
        ..1e-3 if size > 0.0 => short(value),
        _ => number(value),
    }
}

/// With an exponent, and no zeros at the end of the digits before it.
fn short(value: f64) -> String {
    let text = format!("{value:.2e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let digits = digits.trim_end_matches('0').trim_end_matches('.');
    format!("{digits}e{exponent}")
}

/// The range and the marks of an axis: about four round numbers.
fn scale(low: f64, high: f64) -> (f64, f64, Vec<f64>) {
    let size = low.abs().max(high.abs());
    // A constant, or nearly one, runs through the middle.
    let (low, high) = if high - low > 1e-9 * size.max(1e-9) {
        (low, high)
    } else {
        let room = if size > 0.0 { size / 2.0 } else { 1.0 };
        (low - room, high + room)
    };
    let rough = (high - low) / 4.0;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 2.5, 5.0, 10.0]
        .into_iter()
        .map(|factor| factor * power)
        .find(|step| *step >= rough)
        .unwrap_or(rough);
    let (from, to) = ((low / step).floor(), (high / step).ceil());
    let marks = (0..=((to - from) as usize).min(12)).map(|mark| {
        let value = (from + mark as f64) * step;
        // Sums of what has no short binary form end near 0, not at it.
        if value.abs() < step * 1e-9 {
            0.0
        } else {
            value
        }
    });
    (from * step, to * step, marks.collect())
}

/// The mean of each point with its neighbours.
fn smooth(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let reach = (points.len() / 30).max(2);
    let mean = |index: usize| {
        let part = &points[index.saturating_sub(reach)..(index + reach + 1).min(points.len())];
        part.iter().map(|point| point.1).sum::<f64>() / part.len() as f64
    };
    (0..points.len())
        .map(|index| (points[index].0, mean(index)))
        .collect()
}
