//! Runs as they are kept: read from their folders, listed, compared, plotted, and shown on a page.
//!
//! What is read here may be old, cut off or damaged: nothing of it stops a command, and what cannot be read is said.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod compare;
mod curve;
mod list;
pub mod number;
mod page;
mod plot;
mod read;
mod run;
pub mod table;

pub use curve::{Curve, thinned};
pub use list::{Listed, list};
pub use page::page;
pub use plot::plot;
pub use run::{Ending, Run, Sample, Stage, Timing, Warned};
