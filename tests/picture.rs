//! The picture in the README is what the command prints; with `BLESS=1` it is drawn anew.

use std::fs;
use std::process::Command;

use crate::disk;

/// Width of a character and height of a line, in units of the drawing.
const CELL: (f64, f64) = (8.0, 18.0);

/// A terminal's colours, by their ANSI numbers.
fn color(code: &str) -> &'static str {
    match code {
        "31" => "#ff7b72",
        "33" => "#e3b341",
        "32" => "#7ee787",
        "35" => "#d2a8ff",
        "36" => "#79c0ff",
        _ => "#8b949e",
    }
}

/// One line of a terminal as pieces of a text element.
fn pieces(line: &str) -> String {
    let mut drawn = String::new();
    let mut fill = None;
    for (index, piece) in line.split('\u{1b}').enumerate() {
        let text = match (index, piece.split_once('m')) {
            (0, _) | (_, None) => piece,
            (_, Some((codes, text))) => {
                let first = codes
                    .trim_start_matches('[')
                    .split(';')
                    .next()
                    .unwrap_or_default();
                fill = (first != "0").then(|| color(first));
                text
            }
        };
        let text = text
            .replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;");
        match fill {
            _ if text.is_empty() => {}
            Some(fill) => drawn += &format!("<tspan fill=\"{fill}\">{text}</tspan>"),
            None => drawn += &text,
        }
    }
    drawn
}

fn picture(lines: &[&str]) -> String {
    let plain = |line: &str| {
        line.split('\u{1b}')
            .map(|piece| {
                piece
                    .split_once('m')
                    .map_or(piece, |(_, text)| text)
                    .chars()
                    .count()
            })
            .sum()
    };
    let columns: usize = lines.iter().map(|line| plain(line)).max().unwrap_or(0);
    let (width, height) = (
        CELL.0 * (columns + 3) as f64,
        CELL.1 * (lines.len() + 1) as f64,
    );
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\">\n\
         <rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"#0d1117\"/>\n\
         <g font-family=\"'DejaVu Sans Mono', Menlo, Consolas, monospace\" font-size=\"13.3\" fill=\"#e6edf3\" xml:space=\"preserve\" style=\"white-space:pre\">\n"
    );
    for (index, line) in lines.iter().enumerate() {
        let y = CELL.1 * (index as f64 + 1.2);
        svg += &format!("<text x=\"12\" y=\"{y:.1}\">{}</text>\n", pieces(line));
    }
    svg + "</g>\n</svg>\n"
}

#[test]
fn the_picture_of_a_diagnostic_is_what_the_command_prints() {
    let output = Command::new(env!("CARGO_BIN_EXE_rlpc"))
        .args(["check", "--color", "always", "docs/diagnostic.rlp"])
        .current_dir(disk::root())
        .output()
        .expect("the command runs");
    let printed = String::from_utf8_lossy(&output.stderr);
    let drawn = picture(&printed.lines().collect::<Vec<_>>());
    let path = disk::root().join("docs/diagnostic.svg");
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, &drawn).expect("docs/diagnostic.svg");
    }
    let kept = fs::read_to_string(&path).expect("docs/diagnostic.svg");
    assert!(
        kept == drawn,
        "docs/diagnostic.svg shows something else; BLESS=1 draws it anew"
    );
}
