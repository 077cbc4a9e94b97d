//! Memory that runs out: an error like any other, also where an operation of libtorch panics.

use std::any::Any;
use std::panic::{self, AssertUnwindSafe};

use crate::error::{Fault, Result};

/// What libtorch says when it finds no memory, on the CPU and on a GPU.
const WORDS: [&str; 3] = [
    "can't allocate memory",
    "not enough memory",
    "out of memory",
];

/// Whether a sentence of libtorch says that there is no memory.
pub(crate) fn says_so(sentence: &str) -> bool {
    WORDS.iter().any(|words| sentence.contains(words))
}

/// What `work` comes to; a panic for want of memory is an error, any other goes on.
///
/// After the error, only what `work` changes as a whole or not at all may be used.
pub(crate) fn told<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        if reason(panic.payload()).is_none() {
            usual(panic);
        }
    }));
    let outcome = panic::catch_unwind(AssertUnwindSafe(work));
    // What was usual before is the default.
    drop(panic::take_hook());
    outcome.unwrap_or_else(|payload| match reason(payload.as_ref()) {
        Some(reason) => Err(Fault::Memory { reason }.into()),
        None => panic::resume_unwind(payload),
    })
}

/// The sentence of a panic for want of memory, without the trace that follows it.
fn reason(payload: &(dyn Any + Send)) -> Option<String> {
    let text = match (payload.downcast_ref::<String>(), payload.downcast_ref()) {
        (Some(text), _) => text.as_str(),
        (None, Some(text)) => *text,
        (None, None) => return None,
    };
    let sentence = text.split(['\n', '\\']).next().unwrap_or_default();
    says_so(text).then(|| sentence.to_string())
}
