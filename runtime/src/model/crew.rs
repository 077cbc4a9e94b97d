//! Work of the model on several threads, whose results do not depend on how many there are.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// The threads that do a work together.
pub(super) struct Crew {
    /// One of them has panicked, and its turns will never come.
    is_broken: AtomicBool,
}

/// What one after the other changes, in the order of their numbers, whichever thread does it: sums whose terms are added
/// in the same order with any number of threads.
pub(super) struct InTurns<S> {
    /// Whose turn it is.
    state: Mutex<(usize, S)>,
    passed: Condvar,
}

/// As many as libtorch has.
pub(super) fn threads() -> usize {
    tch::get_num_threads().max(1) as usize
}

/// Does `work` on each item with its number, on at most so many threads. Items are begun in their order, so who waits for a
/// turn of an earlier item waits for one that has been begun. `tools` are a thread's own.
pub(super) fn each<I, W>(
    threads: usize,
    items: impl ExactSizeIterator<Item = I> + Send,
    tools: impl Fn() -> W + Sync,
    work: impl Fn(&Crew, &mut W, usize, I) + Sync,
) {
    let threads = threads.min(items.len());
    let crew = Crew {
        is_broken: AtomicBool::new(false),
    };
    let items = Mutex::new(items.enumerate());
    let run = || {
        let _watch = Watch(&crew);
        let mut tools = tools();
        loop {
            let item = lock(&items).next();
            let Some((number, item)) = item else { break };
            work(&crew, &mut tools, number, item);
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(run);
        }
        run();
    });
}

impl Crew {
    /// Changes a value when all earlier turns have passed.
    pub(super) fn at<S>(&self, place: &InTurns<S>, turn: usize, change: impl FnOnce(&mut S)) {
        /// Who waits is woken; this is how often he looks whether he still has to.
        const LOOK: Duration = Duration::from_millis(20);
        let mut state = lock(&place.state);
        while state.0 != turn {
            assert!(
                !self.is_broken.load(Ordering::Relaxed),
                "another thread of the model has failed"
            );
            let waited = place.passed.wait_timeout(state, LOOK);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        change(&mut state.1);
        state.0 += 1;
        place.passed.notify_all();
    }
}

impl<S> InTurns<S> {
    pub(super) fn new(state: S) -> InTurns<S> {
        InTurns {
            state: Mutex::new((0, state)),
            passed: Condvar::new(),
        }
    }

    pub(super) fn into_inner(self) -> S {
        let state = self.state.into_inner();
        state.unwrap_or_else(PoisonError::into_inner).1
    }
}

fn lock<S>(mutex: &Mutex<S>) -> MutexGuard<'_, S> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Tells the others when its thread panics.
struct Watch<'a>(&'a Crew);

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.is_broken.store(true, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{InTurns, each};

    #[test]
    fn turns_come_in_order() {
        let places: Vec<InTurns<Vec<usize>>> = (0..5).map(|_| InTurns::new(Vec::new())).collect();
        let visits = |crew: &super::Crew, (): &mut (), number: usize, item: usize| {
            for place in &places {
                crew.at(place, number, |seen| seen.push(item));
            }
        };
        each(3, 10..50, || (), visits);
        for place in places {
            assert_eq!(place.into_inner(), (10..50).collect::<Vec<_>>());
        }
    }

    #[test]
    #[should_panic]
    fn who_waits_for_one_that_failed_fails_too() {
        let place = InTurns::new(());
        each(
            2,
            0..2,
            || (),
            |crew, (), number, _| {
                assert!(number != 0, "fails before its turn");
                crew.at(&place, number, |()| ());
            },
        );
    }
}
