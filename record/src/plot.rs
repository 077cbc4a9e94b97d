//! Curves in the terminal, in the dots of Braille letters: two by four of them a cell.

use crate::curve::{Curve, thinned};
use crate::number::number;

/// The width of the picture alone, in cells, even on a wide terminal.
const MOST_WIDTH: usize = 96;

/// A picture for each curve, all of one scale: its name and ends, the values to the left and the steps below.
///
/// `width` is that of the terminal, `height` that of a picture.
pub fn plot(curves: &[(&str, &Curve)], width: usize, height: usize) -> Vec<String> {
    let points = || curves.iter().flat_map(|(_, curve)| &curve.points);
    let ys = || points().map(|point| point.1);
    let (low, high) = (
        ys().fold(f64::INFINITY, f64::min),
        ys().fold(f64::NEG_INFINITY, f64::max),
    );
    if !low.is_finite() || !high.is_finite() {
        return vec!["nothing to plot".to_string()];
    }
    // A constant runs through the middle.
    let (low, high) = if high > low {
        (low, high)
    } else {
        (low - 0.5, high + 0.5)
    };
    let first = points().map(|point| point.0).min().unwrap_or(0);
    let last = points().map(|point| point.0).max().unwrap_or(0);
    let labels = [number(high), number((low + high) / 2.0), number(low)];
    let margin = labels.iter().map(String::len).max().unwrap_or(0);
    let columns = width.saturating_sub(margin + 4).clamp(16, MOST_WIDTH);
    let rows = height.clamp(3, 60);
    let (from, to) = (first as f64, last as f64);
    let share = |value: f64, from: f64, to: f64| {
        if to > from {
            ((value - from) / (to - from)).clamp(0.0, 1.0)
        } else {
            0.5
        }
    };
    let mut lines = Vec::new();
    for (name, curve) in curves {
        let ends = curve.first().zip(curve.last());
        let ends = ends.map_or(String::new(), |(first, last)| {
            format!("  {} → {}", number(first), number(last))
        });
        lines.push(format!("{name}{ends}"));
        let mut picture = Picture::new(columns, rows);
        let mut before: Option<(usize, usize)> = None;
        for (step, value) in thinned(&curve.points, columns * 2) {
            let x = (share(step, from, to) * (columns * 2 - 1) as f64).round();
            let y = ((1.0 - share(value, low, high)) * (rows * 4 - 1) as f64).round();
            let here = (x as usize, y as usize);
            for (x, y) in line(before.unwrap_or(here), here) {
                picture.dot(x, y);
            }
            before = Some(here);
        }
        for (row, drawn) in picture.lines().enumerate() {
            let label = match row {
                0 => &labels[0],
                row if row == rows / 2 => &labels[1],
                row if row + 1 == rows => &labels[2],
                _ => "",
            };
            lines.push(format!("{label:>margin$} │{drawn}"));
        }
        let (first, last) = (first.to_string(), last.to_string());
        let room = columns.saturating_sub(first.len() + last.len());
        let (before, between) = (" ".repeat(margin), " ".repeat(room));
        lines.push(format!("{before} └{}", "─".repeat(columns)));
        lines.push(format!("{before}  {first}{between}{last}"));
    }
    lines
}

/// Cells of dots.
struct Picture(Vec<Vec<u8>>);

impl Picture {
    fn new(columns: usize, rows: usize) -> Picture {
        Picture(vec![vec![0; columns]; rows])
    }

    fn dot(&mut self, x: usize, y: usize) {
        // The dots of a Braille letter, by column and row.
        const BITS: [[u8; 4]; 2] = [[0x01, 0x02, 0x04, 0x40], [0x08, 0x10, 0x20, 0x80]];
        self.0[y / 4][x / 2] |= BITS[x % 2][y % 4];
    }

    fn lines(&self) -> impl Iterator<Item = String> {
        let letter = |&dots: &u8| char::from_u32(0x2800 + u32::from(dots));
        self.0
            .iter()
            .map(move |cells| cells.iter().filter_map(letter).collect())
    }
}

/// The dots between two, ends included.
fn line(from: (usize, usize), to: (usize, usize)) -> Vec<(usize, usize)> {
    let length = from.0.abs_diff(to.0).max(from.1.abs_diff(to.1)).max(1);
    let between = |from: usize, to: usize, part: usize| {
        let share = part as f64 / length as f64;
        (from as f64 + (to as f64 - from as f64) * share).round() as usize
    };
    (0..=length)
        .map(|part| (between(from.0, to.0, part), between(from.1, to.1, part)))
        .collect()
}
