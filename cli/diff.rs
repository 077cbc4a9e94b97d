//! What changes between two texts, line by line, as `diff -u` shows it.

use std::fmt::Write;

/// Lines shown before and after a change.
const CONTEXT: usize = 3;

/// Beyond so many pairs of lines the middle of two texts counts as replaced as a whole.
const MOST_PAIRS: usize = 4_000_000;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Kept,
    Removed,
    Added,
}

/// The changes from `old` to `new`; empty if there are none.
pub(crate) fn diff(path: &str, old: &str, new: &str) -> String {
    if old == new {
        return String::new();
    }
    let lines = edits(&Vec::from_iter(old.lines()), &Vec::from_iter(new.lines()));
    let mut text = format!("--- {path}\n+++ {path}\n");
    let changes: Vec<usize> = (0..lines.len())
        .filter(|&at| lines[at].0 != Kind::Kept)
        .collect();
    for hunk in changes.chunk_by(|left, right| right - left <= 2 * CONTEXT + 1) {
        let (Some(first), Some(last)) = (hunk.first(), hunk.last()) else {
            continue;
        };
        let (start, end) = (
            first.saturating_sub(CONTEXT),
            (last + CONTEXT + 1).min(lines.len()),
        );
        let count = |lines: &[(Kind, &str)], without: Kind| {
            lines.iter().filter(|(kind, _)| *kind != without).count()
        };
        let (before, inside) = (&lines[..start], &lines[start..end]);
        let _ = writeln!(
            text,
            "@@ -{},{} +{},{} @@",
            count(before, Kind::Added) + 1,
            count(inside, Kind::Added),
            count(before, Kind::Removed) + 1,
            count(inside, Kind::Removed)
        );
        for (kind, line) in inside {
            let mark = match kind {
                Kind::Kept => ' ',
                Kind::Removed => '-',
                Kind::Added => '+',
            };
            let _ = writeln!(text, "{mark}{line}");
        }
    }
    text
}

/// All lines of both texts: what both have in common is as much as can be.
fn edits<'a>(old: &[&'a str], new: &[&'a str]) -> Vec<(Kind, &'a str)> {
    let same = |(left, right): &(&&str, &&str)| left == right;
    let head = old.iter().zip(new).take_while(same).count();
    let tail = old[head..]
        .iter()
        .rev()
        .zip(new[head..].iter().rev())
        .take_while(same)
        .count();
    let (middle_old, middle_new) = (&old[head..old.len() - tail], &new[head..new.len() - tail]);
    let mut lines: Vec<(Kind, &str)> = old[..head].iter().map(|line| (Kind::Kept, *line)).collect();
    lines.extend(middle(middle_old, middle_new));
    lines.extend(
        old[old.len() - tail..]
            .iter()
            .map(|line| (Kind::Kept, *line)),
    );
    lines
}

/// The longest common subsequence, by dynamic programming.
fn middle<'a>(old: &[&'a str], new: &[&'a str]) -> Vec<(Kind, &'a str)> {
    if old.len() * new.len() > MOST_PAIRS {
        let removed = old.iter().map(|line| (Kind::Removed, *line));
        return removed
            .chain(new.iter().map(|line| (Kind::Added, *line)))
            .collect();
    }
    // common[i][j]: how many lines old[i..] and new[j..] share.
    let mut common = vec![vec![0usize; new.len() + 1]; old.len() + 1];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            common[i][j] = if old[i] == new[j] {
                common[i + 1][j + 1] + 1
            } else {
                common[i + 1][j].max(common[i][j + 1])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut lines = Vec::new();
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            lines.push((Kind::Kept, old[i]));
            (i, j) = (i + 1, j + 1);
        } else if j == new.len() || i < old.len() && common[i + 1][j] >= common[i][j + 1] {
            lines.push((Kind::Removed, old[i]));
            i += 1;
        } else {
            lines.push((Kind::Added, new[j]));
            j += 1;
        }
    }
    lines
}
