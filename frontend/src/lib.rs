//! What both executables share: sources on disk, settings, diagnostics on the terminal.
