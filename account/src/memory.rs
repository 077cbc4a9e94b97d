//! Amounts of memory by what they are for, and the moments of a run at which they are added up.

use std::ops::{Add, AddAssign, Index, IndexMut};

/// What memory is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Term {
    /// The program and libtorch themselves.
    Base,
    /// Parameters, frozen copies, and copies laid out for products.
    Weights,
    /// States of rules, and values that an update replaces.
    Optimizer,
    Gradients,
    /// Keys and values of rollouts.
    Cache,
    /// What the way back through a model needs, and what layers work on.
    Activations,
    /// Logits, a chunk at a time.
    Logp,
    /// What was drawn, and the other tensors of the graph.
    Graph,
}

impl Term {
    pub const ALL: [Term; 8] = [
        Term::Base,
        Term::Weights,
        Term::Optimizer,
        Term::Gradients,
        Term::Cache,
        Term::Activations,
        Term::Logp,
        Term::Graph,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Term::Base => "base",
            Term::Weights => "weights",
            Term::Optimizer => "optimizer",
            Term::Gradients => "gradients",
            Term::Cache => "cache",
            Term::Activations => "activations",
            Term::Logp => "logits",
            Term::Graph => "graph",
        }
    }
}

/// Bytes of each term.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Amounts([u64; Term::ALL.len()]);

impl Amounts {
    pub(crate) fn of(term: Term, bytes: u64) -> Amounts {
        Amounts::default().with(term, bytes)
    }

    #[must_use]
    pub(crate) fn with(mut self, term: Term, bytes: u64) -> Amounts {
        self[term] += bytes;
        self
    }

    /// For folds.
    pub(crate) fn add_up(self, other: Amounts) -> Amounts {
        self + other
    }

    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// What takes most, beside what is there before anything runs.
    pub fn largest(&self) -> Term {
        let moving = Term::ALL.into_iter().filter(|term| *term != Term::Base);
        moving
            .max_by_key(|term| self[*term])
            .unwrap_or(Term::Weights)
    }
}

impl Index<Term> for Amounts {
    type Output = u64;

    fn index(&self, term: Term) -> &u64 {
        &self.0[term as usize]
    }
}

impl IndexMut<Term> for Amounts {
    fn index_mut(&mut self, term: Term) -> &mut u64 {
        &mut self.0[term as usize]
    }
}

impl Add for Amounts {
    type Output = Amounts;

    fn add(mut self, other: Amounts) -> Amounts {
        self += other;
        self
    }
}

impl AddAssign for Amounts {
    fn add_assign(&mut self, other: Amounts) {
        for term in Term::ALL {
            self[term] += other[term];
        }
    }
}

/// The one of several moments at which most is in use.
pub(crate) fn peak(moments: impl IntoIterator<Item = Amounts>) -> Amounts {
    let most = moments.into_iter().max_by_key(Amounts::total);
    most.unwrap_or_default()
}
