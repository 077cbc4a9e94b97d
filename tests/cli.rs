//! The command from outside: each page of `tests/cli/` is a session in a folder of its own.
//!
//! ```` ```rlp NAME ```` makes a file. In ```` ```console ```` a line `$ …` is run by `sh`; what follows is what it prints on both
//! streams, `…` standing for any lines or any part of one, and `[exit N]` where it does not end in 0. With `BLESS=1` the pages are
//! written anew.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::disk;

/// A folder that is removed when the session ends.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("rlpc-cli-{name}-{}", std::process::id()));
        // What an earlier process of the same number has left.
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What a line of `sh` prints and how it ends.
fn answer(folder: &Path, line: &str) -> String {
    let rlpc = Path::new(env!("CARGO_BIN_EXE_rlpc"));
    let beside = rlpc.parent().unwrap_or(rlpc).display();
    let output = Command::new("sh")
        .args(["-c", &format!("exec 2>&1; {line}")])
        .current_dir(folder)
        .env("PATH", format!("{beside}:/usr/bin:/bin"))
        .env("RLPC", rlpc)
        .env_remove("NO_COLOR")
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{line}: {error}"));
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    match output.status.code() {
        Some(0) => text,
        Some(code) => format!("{text}[exit {code}]\n"),
        None => format!("{text}[killed]\n"),
    }
}

/// Runs a page: the page as it should be, given what the command prints now.
fn run(page: &str, folder: &Path) -> String {
    let mut lines = page.lines().peekable();
    let mut now = String::new();
    while let Some(line) = lines.next() {
        now += &format!("{line}\n");
        if let Some(name) = line.strip_prefix("```rlp ") {
            let mut text = String::new();
            while let Some(line) = lines.next_if(|line| *line != "```") {
                text += &format!("{line}\n");
            }
            now += &text;
            fs::write(folder.join(name), text).unwrap_or_else(|error| panic!("{name}: {error}"));
        } else if let Some(command) = line.strip_prefix("$ ") {
            let mut expected = String::new();
            while let Some(line) = lines.next_if(|line| *line != "```" && !line.starts_with("$ ")) {
                expected += &format!("{line}\n");
            }
            let printed = answer(folder, command);
            now += if matches(&printed, &expected) {
                &expected
            } else {
                &printed
            };
        }
    }
    now
}

/// Whether a text is as expected, where `…` stands for anything.
fn matches(text: &str, expected: &str) -> bool {
    let mut parts = expected.split('…');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else {
        return false;
    };
    let mut parts = parts.peekable();
    while let Some(part) = parts.next() {
        let at = if parts.peek().is_none() {
            rest.strip_suffix(part).map(str::len)
        } else {
            rest.find(part)
        };
        let Some(at) = at else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.is_empty()
}

#[test]
fn sessions_print_what_their_pages_say() {
    let mut wrong = Vec::new();
    let pages = disk::files_below("tests/cli", "md");
    assert!(pages.len() >= 8, "{} pages", pages.len());
    for (path, page) in pages {
        let name = path.replace(['/', '.'], "-");
        let folder = Folder::new(&name);
        let now = run(&page, &folder.0);
        if now == page {
            continue;
        }
        if std::env::var_os("BLESS").is_some() {
            fs::write(disk::root().join(&path), &now)
                .unwrap_or_else(|error| panic!("{path}: {error}"));
        }
        let line = now
            .lines()
            .zip(page.lines())
            .take_while(|(now, then)| now == then)
            .count();
        let part: Vec<&str> = now.lines().skip(line.saturating_sub(3)).take(12).collect();
        wrong.push(format!("{path}:{}: now\n{}", line + 1, part.join("\n")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn a_pattern_stands_for_anything() {
    assert!(matches("took 12 ms\n", "took … ms\n"));
    assert!(matches("a\nb\nc\n", "a\n…c\n"));
    assert!(matches("", ""));
    assert!(!matches("took 12 s\n", "took … ms\n"));
    assert!(!matches("a\nb\n", "a\n"));
    assert!(!matches("a\n", "…b…\n"));
}
