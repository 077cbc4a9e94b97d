//! What a run takes, known before it: the shapes of its models, the memory of each phase, the operations of a step.
//!
//! An account is no measurement: it adds up, term by term, what the runtime will allocate at the moments of a step, from the
//! sizes that are known once a plan is checked. Lengths are the longest that there can be.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod account;
mod arguments;
pub mod error;
mod fit;
pub mod language_model;
mod lengths;
pub mod machine;
pub mod memory;
pub mod model;
mod optimizer;
pub mod pretrained;
mod reading;
mod sizes;
mod stage;
mod tell;
mod transformed;
mod work;

pub use account::{Account, ModelAccount, Options, Phase, PhaseAccount, StageAccount, account};
pub use error::{ArgumentError, Unreadable};
pub use fit::misfits;
pub use lengths::Lengths;
pub use optimizer::MOST_JOINED;
pub use transformed::Transformed;
pub use work::Work;
