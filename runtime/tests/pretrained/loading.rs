//! What it takes to load a large model.
