//! The command as a user runs it, and what must stay true of the workspace.

mod boundaries;
mod cli;
mod disk;
mod documents;
mod explain;
mod fuzz;
mod language;
mod papers;
mod picture;
mod speed;
mod tidy;
