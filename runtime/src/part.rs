//! What a run is at inside a step, for whoever watches it from another thread.
//!
//! The work counts in a few numbers that it never reads; without anybody who looks, this is all that happens.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};

/// A part of a run that may take long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Part {
    Loading,
    Rollout,
    Update,
    Saving,
}

static PART: AtomicU8 = AtomicU8::new(0);
static IS_EVALUATION: AtomicBool = AtomicBool::new(false);
static DONE: AtomicU64 = AtomicU64::new(0);
static ALL: AtomicU64 = AtomicU64::new(0);
/// Of the unit that is not done yet.
static INNER_DONE: AtomicU64 = AtomicU64::new(0);
static INNER_ALL: AtomicU64 = AtomicU64::new(0);

/// Begins a part of so many units; 0 if nobody knows how many.
pub(crate) fn begin(part: Part, all: u64) {
    DONE.store(0, Relaxed);
    ALL.store(all, Relaxed);
    INNER_ALL.store(0, Relaxed);
    PART.store(part as u8 + 1, Relaxed);
}

/// So many more units are done.
pub(crate) fn advance(units: u64) {
    DONE.fetch_add(units, Relaxed);
    INNER_ALL.store(0, Relaxed);
}

/// How far the unit is that is not done yet.
pub(crate) fn inside(done: u64, all: u64) {
    INNER_DONE.store(done, Relaxed);
    INNER_ALL.store(all, Relaxed);
}

/// Nothing more of this part.
pub(crate) fn end() {
    PART.store(0, Relaxed);
}

/// Whatever is drawn inside is of an evaluation.
pub(crate) fn evaluating<T>(of: impl FnOnce() -> T) -> T {
    IS_EVALUATION.store(true, Relaxed);
    let result = of();
    IS_EVALUATION.store(false, Relaxed);
    end();
    result
}

/// `rollout 12/64`; empty between the parts.
pub(crate) fn now() -> String {
    let name = match PART.load(Relaxed) {
        _ if IS_EVALUATION.load(Relaxed) => "evaluation",
        1 => "loading",
        2 => "rollout",
        3 => "update",
        4 => "saving",
        _ => return String::new(),
    };
    let (done, all) = (DONE.load(Relaxed), ALL.load(Relaxed));
    let (inner, of_inner) = (INNER_DONE.load(Relaxed), INNER_ALL.load(Relaxed));
    match (all, of_inner) {
        (0, _) => name.to_string(),
        (_, 0 | 1) => format!("{name} {}/{all}", done.min(all)),
        (1, _) => format!("{name} {}/{of_inner}", inner.min(of_inner)),
        _ => format!("{name} {}/{all} {inner}/{of_inner}", done.min(all)),
    }
}
