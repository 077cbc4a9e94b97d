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
    says_so(text).then(|| sentence(text).to_string())
}

/// What libtorch says, without what stands around it: `can't allocate memory: you tried to allocate 2961408 bytes`.
pub(crate) fn sentence(text: &str) -> &str {
    // In this order: a panic holds the message, which holds the check that failed.
    let before = ["Torch(\"", "DefaultCPUAllocator: "];
    let begun = before.iter().fold(text, |text, words| {
        text.split_once(words).map_or(text, |(_, rest)| rest)
    });
    let line = begun.split(['\n', '\\']).next().unwrap_or_default();
    line.split(". Error code").next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::sentence;

    #[test]
    fn what_stands_around_the_sentence_is_left_out() {
        let bare = "can't allocate memory: you tried to allocate 64 bytes";
        let check = format!(
            "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: {bare}. Error code 12 (Cannot allocate memory)"
        );
        let panic =
            format!("called `Result::unwrap()` on an `Err` value: Torch(\"{check}\\nframe #0\")");
        for text in [bare, &check, &panic] {
            assert_eq!(sentence(text), bare);
        }
        let on_gpu = "CUDA out of memory. Tried to allocate 2.00 GiB";
        assert_eq!(sentence(&format!("Torch(\"{on_gpu}\\n\")")), on_gpu);
    }
}
