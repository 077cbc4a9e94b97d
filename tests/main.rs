//! The command as a user runs it, and what must stay true of the workspace.

mod boundaries;
mod disk;
mod explain;
mod language;
