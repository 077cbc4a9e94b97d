//! Folders that are wrong.
