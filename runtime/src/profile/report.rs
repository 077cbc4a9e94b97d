//! A profile as it is shown and kept.

use std::collections::BTreeMap;

use rlp_compiler::source::SourceMap;
use rlp_record::number::{bytes, time};
use rlp_record::table::table;
use serde_json::{Value as Json, json};

use super::{Key, Phase, Place, Recorder, Work};

/// The times of a run.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Profile {
    seconds: f64,
    stages: Vec<String>,
    rows: Vec<Entry>,
    events: Vec<Traced>,
    loaded: Option<u64>,
    /// By stage and phase, bytes.
    peaks: BTreeMap<(usize, Phase), u64>,
}

#[derive(Clone, PartialEq, Debug)]
struct Entry {
    key: Key,
    /// Without what other rows have.
    seconds: f64,
    calls: u64,
}

/// A span of time, for a trace: the row that it belongs to, its start and length in microseconds.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Traced {
    row: usize,
    start: f64,
    length: f64,
}

impl Phase {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Phase::Rollout => "rollout",
            Phase::Update => "update",
            Phase::Optimizer => "optimizer",
            Phase::Report => "report",
        }
    }
}

impl Work {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Work::PromptReading => "prompt reading",
            Work::Decoding => "decoding",
            Work::Forward => "forward",
            Work::Head => "head",
            Work::Backward => "backward",
            Work::LossGradient => "loss gradient",
        }
    }
}

/// Rows below this share of the whole are shown as one.
const SMALLEST_SHARE: f64 = 0.001;
/// An expression is shown by so many characters of its line.
const LONGEST_LINE: usize = 48;

impl Profile {
    pub(super) fn new(recorder: &Recorder) -> Profile {
        let micros = |duration: std::time::Duration| duration.as_secs_f64() * 1e6;
        Profile {
            seconds: recorder.rows.iter().map(|row| row.own.as_secs_f64()).sum(),
            stages: recorder.stages.clone(),
            loaded: recorder.loaded,
            peaks: recorder.peaks.clone(),
            rows: recorder
                .rows
                .iter()
                .map(|row| Entry {
                    key: row.key.clone(),
                    seconds: row.own.as_secs_f64(),
                    calls: row.counts.values().copied().max().unwrap_or(0),
                })
                .collect(),
            events: recorder
                .events
                .iter()
                .map(|event| Traced {
                    row: event.row,
                    start: micros(event.start),
                    length: micros(event.length),
                })
                .collect(),
        }
    }

    /// Lines of a table, the longest times first in each phase.
    pub(crate) fn table(&self, sources: &SourceMap) -> Vec<String> {
        let head = ["stage", "phase", "time", "share", "calls", "what", "where"];
        let mut rows = vec![head.map(str::to_string)];
        let share = |seconds: f64| format!("{:.1} %", 100.0 * seconds / self.seconds.max(1e-9));
        let mut rest = 0.0;
        for line in self.lines(sources) {
            if line.seconds < SMALLEST_SHARE * self.seconds {
                rest += line.seconds;
                continue;
            }
            rows.push([
                line.stage.clone(),
                line.phase.to_string(),
                time(line.seconds),
                share(line.seconds),
                line.calls.to_string(),
                line.what(),
                line.at(),
            ]);
        }
        let mut last = |what: &str, seconds: f64| {
            let nothing = String::new;
            rows.push([
                nothing(),
                nothing(),
                time(seconds),
                share(seconds),
                nothing(),
                what.to_string(),
                nothing(),
            ]);
        };
        if rest > 0.0 {
            last("shorter ones", rest);
        }
        last("in all", self.seconds);
        table(&rows, &[0, 1, 5, 6])
    }

    /// The content of `profile.json`.
    pub(crate) fn to_json(&self, sources: &SourceMap) -> Json {
        let rows: Vec<Json> = self
            .lines(sources)
            .iter()
            .map(|line| {
                json!({
                    "stage": line.stage, "phase": line.phase, "block": line.block, "work": line.work,
                    "file": line.file, "line": line.line, "seconds": line.seconds,
                    "share": line.seconds / self.seconds.max(1e-9), "calls": line.calls,
                })
            })
            .collect();
        let peaks = self.peaks.iter().map(|((stage, phase), bytes)| {
            json!({ "stage": self.stages[*stage], "phase": phase.name(), "bytes": bytes })
        });
        json!({
            "seconds": self.seconds, "rows": rows,
            "memory": { "loading": self.loaded, "phases": peaks.collect::<Vec<_>>() },
        })
    }

    /// Lines of a table: how much memory was resident at most.
    pub(crate) fn memory_table(&self) -> Vec<String> {
        let row = |stage: &str, phase: &str, peak: u64| {
            [stage.to_string(), phase.to_string(), bytes(peak as f64)]
        };
        let mut rows = vec![["stage", "phase", "peak memory"].map(str::to_string)];
        rows.extend(self.loaded.map(|peak| row("", "loading", peak)));
        let peaks = self.peaks.iter();
        rows.extend(
            peaks.map(|((stage, phase), peak)| row(&self.stages[*stage], phase.name(), *peak)),
        );
        [vec![String::new()], table(&rows, &[0, 1])].concat()
    }

    /// The content of `trace.json`, in the format that trace viewers of browsers read.
    pub(crate) fn to_trace(&self, sources: &SourceMap) -> Json {
        let lines: Vec<Line> = self
            .rows
            .iter()
            .map(|row| self.line(row, sources))
            .collect();
        let events: Vec<Json> = self
            .events
            .iter()
            .map(|event| {
                let line = &lines[event.row];
                json!({
                    "name": line.what(), "cat": line.phase, "ph": "X", "ts": event.start, "dur": event.length,
                    "pid": 1, "tid": 1, "args": { "where": line.at() },
                })
            })
            .collect();
        json!({ "traceEvents": events, "displayTimeUnit": "ms" })
    }

    /// The rows by place in the text, in the order of stages and phases, and by time in each.
    fn lines(&self, sources: &SourceMap) -> Vec<Line> {
        type Group = (
            Option<usize>,
            Option<Phase>,
            String,
            Option<Work>,
            String,
            usize,
        );
        let mut merged: BTreeMap<Group, Line> = BTreeMap::new();
        for row in &self.rows {
            let line = self.line(row, sources);
            let Key {
                stage, phase, work, ..
            } = row.key;
            let group = (
                stage,
                phase,
                line.block.clone(),
                work,
                line.file.clone(),
                line.line,
            );
            merged
                .entry(group)
                .and_modify(|known| {
                    known.seconds += line.seconds;
                    known.calls = known.calls.max(line.calls);
                })
                .or_insert(line);
        }
        let mut lines: Vec<(Group, Line)> = merged.into_iter().collect();
        lines.sort_by(|(group, line), (other_group, other)| {
            let place = (group.0, group.1).cmp(&(other_group.0, other_group.1));
            place.then(other.seconds.total_cmp(&line.seconds))
        });
        lines.into_iter().map(|(_, line)| line).collect()
    }

    fn line(&self, row: &Entry, sources: &SourceMap) -> Line {
        let Key {
            stage,
            phase,
            place,
            work,
        } = &row.key;
        let (block, file, number) = match place {
            Some(Place { span, block }) => {
                let (number, _) = sources.place(*span);
                let source = sources.get(span.source);
                let text = source
                    .text
                    .lines()
                    .nth(number - 1)
                    .unwrap_or_default()
                    .trim();
                let name = block.clone().unwrap_or_else(|| shortened(text));
                (name, source.path.clone(), number)
            }
            None => (String::new(), String::new(), 0),
        };
        Line {
            stage: stage.map_or(String::new(), |stage| self.stages[stage].clone()),
            phase: phase.map_or("", Phase::name),
            block,
            work: work.map(Work::name),
            file,
            line: number,
            seconds: row.seconds,
            calls: row.calls,
        }
    }
}

fn shortened(text: &str) -> String {
    if text.chars().count() <= LONGEST_LINE {
        return text.to_string();
    }
    text.chars().take(LONGEST_LINE - 1).chain(['…']).collect()
}

/// A row in words.
struct Line {
    stage: String,
    phase: &'static str,
    /// The block, or the line of the expression; empty for the loop's own time.
    block: String,
    work: Option<&'static str>,
    file: String,
    /// From 1; 0 for what has no place.
    line: usize,
    seconds: f64,
    calls: u64,
}

impl Line {
    fn what(&self) -> String {
        match (self.block.as_str(), self.work) {
            ("", None) => "the loop itself".to_string(),
            ("", Some(work)) => work.to_string(),
            (block, None) => block.to_string(),
            (block, Some(work)) => format!("{block}: {work}"),
        }
    }

    fn at(&self) -> String {
        if self.line == 0 {
            String::new()
        } else {
            format!("{}:{}", self.file, self.line)
        }
    }
}
