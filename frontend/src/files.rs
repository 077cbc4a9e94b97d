//! The sources of a program: files of the user's own, and the standard library that is part of the executable.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use rlp_compiler::source::Sources;

/// The largest file that is read. The whole standard library is a tenth of it.
pub const MAX_BYTES: u64 = 4 << 20;

/// What the paths of the standard library begin with.
const STANDARD: &str = "std/";

/// Reads the user's files from the disk, and those of the standard library from the executable itself.
#[derive(Default)]
pub struct Files {
    /// What is known without the disk, by path: a text, or why there is none.
    known: Vec<(String, Result<Arc<str>, String>)>,
    /// Whether the disk is not asked for more.
    is_closed: bool,
}

impl Files {
    pub fn new() -> Files {
        Files::default()
    }

    /// Which know what is added and the standard library, and nothing else.
    pub fn closed() -> Files {
        Files {
            is_closed: true,
            ..Files::default()
        }
    }

    /// Lets a text that is on no disk go by `path`: what came through a pipe. Or says why there is no text.
    pub fn add(&mut self, path: &str, text: Result<String, String>) {
        self.known.push((path.to_string(), text.map(Arc::from)));
    }

    /// The path by which the compiler knows a file that the user named: `./std/mine.rlp` for one in a folder
    /// `std` of the user's own.
    pub fn path_of(written: &Path) -> String {
        own(plain(written))
    }
}

impl Sources for Files {
    fn read(&self, path: &str) -> Result<Arc<str>, String> {
        if let Some((_, text)) = self.known.iter().find(|(known, _)| known == path) {
            return text.clone();
        }
        if let Some(standard) = path.strip_prefix(STANDARD) {
            let text = rlp_stdlib::file(standard).ok_or("the standard library has no such file")?;
            return Ok(Arc::from(text));
        }
        if self.is_closed {
            return Err("it was not there when this run was planned".to_string());
        }
        read_file(Path::new(path)).map(Arc::from)
    }

    fn resolve(&self, from: &str, written: &str) -> String {
        let folder = Path::new(from).parent().unwrap_or(Path::new(""));
        if from.starts_with(STANDARD) && !Path::new(written).is_absolute() {
            return plain(&folder.join(written));
        }
        own(plain(&folder.join(written)))
    }

    fn defining(&self, kind: &str, name: &str) -> Option<String> {
        rlp_stdlib::defining(kind, name).map(|path| format!("{STANDARD}{path}"))
    }

    fn standard(&self, kind: &str) -> Vec<String> {
        rlp_stdlib::names(kind).map(str::to_string).collect()
    }
}

/// Keeps a file of the user's own apart from the standard library.
fn own(path: String) -> String {
    if path.starts_with(STANDARD) {
        format!("./{path}")
    } else {
        path
    }
}

/// The path without `.` and, where it can be seen from the path alone, without `..`; parts are joined by `/`.
fn plain(path: &Path) -> String {
    let mut parts = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir
                if matches!(parts.components().next_back(), Some(Component::Normal(_))) =>
            {
                parts.pop();
            }
            Component::ParentDir
            | Component::Normal(_)
            | Component::RootDir
            | Component::Prefix(_) => parts.push(part),
        }
    }
    parts.to_string_lossy().into_owned()
}

/// Reads a text file from the disk.
///
/// # Errors
/// A sentence, without the path: missing, a folder, not readable, too large, or not UTF-8 (and where).
pub fn read_file(path: &Path) -> Result<String, String> {
    if path.is_dir() {
        return Err("it is a folder".to_string());
    }
    let file = File::open(path).map_err(|error| reason(&error))?;
    read_text(file)
}

/// Reads a text of bounded size, as [`read_file`] does.
///
/// # Errors
/// A sentence: not readable, too large, or not UTF-8 (and where).
pub fn read_text(from: impl Read) -> Result<String, String> {
    // No more than the limit is ever read, so that an endless device ends here too.
    let mut bytes = Vec::new();
    from.take(MAX_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| reason(&error))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(format!("it is larger than {} MiB", MAX_BYTES >> 20));
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let line = 1 + error.as_bytes()[..at]
            .iter()
            .filter(|&&byte| byte == b'\n')
            .count();
        format!(
            "it is not UTF-8: byte {at}, on line {line}, is 0x{:02x}",
            error.as_bytes()[at]
        )
    })
}

/// Replaces the text of a file, or makes it: at no moment is there less than the old text or the whole new one.
///
/// # Errors
/// A sentence, without the path: no permission, a full disk.
pub fn write_file(path: &Path, text: &str) -> Result<(), String> {
    // Behind a symbolic link the file itself is replaced.
    let path = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}.new", std::process::id()));
    let beside = path.with_file_name(name);
    let written = write_new(&beside, &path, text).and_then(|()| fs::rename(&beside, &path));
    written.map_err(|error| {
        // What is left of the attempt is of no use, and of no harm if it cannot be removed either.
        let _ = fs::remove_file(&beside);
        reason(&error)
    })
}

/// Writes a file with the permissions of another one, if that exists.
fn write_new(path: &Path, like: &Path, text: &str) -> std::io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(text.as_bytes())?;
    if let Ok(old) = fs::metadata(like) {
        file.set_permissions(old.permissions())?;
    }
    file.sync_all()
}

/// Why the system refuses a file, in our words where they say more than its own.
pub fn reason(error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::NotFound => "there is no such file".to_string(),
        ErrorKind::PermissionDenied => "access is denied".to_string(),
        ErrorKind::NotADirectory => "a part of its path is a file, not a folder".to_string(),
        ErrorKind::StorageFull => "the disk is full".to_string(),
        ErrorKind::ReadOnlyFilesystem => "the disk is read-only".to_string(),
        _ => {
            // `No space left on device (os error 28)`: the number helps nobody.
            let text = error.to_string();
            text.split(" (os error")
                .next()
                .unwrap_or_default()
                .to_lowercase()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_as_plain_as_it_can_be() {
        let files = Files::new();
        assert_eq!(files.resolve("a/b/main.rlp", "mine.rlp"), "a/b/mine.rlp");
        assert_eq!(files.resolve("a/b/main.rlp", "../mine.rlp"), "a/mine.rlp");
        assert_eq!(files.resolve("main.rlp", "./x/../mine.rlp"), "mine.rlp");
        assert_eq!(
            files.resolve("main.rlp", "../../mine.rlp"),
            "../../mine.rlp"
        );
        assert_eq!(
            files.resolve("a/main.rlp", "/other/mine.rlp"),
            "/other/mine.rlp"
        );
    }

    #[test]
    fn a_folder_named_std_is_not_the_standard_library() {
        let files = Files::new();
        assert_eq!(Files::path_of(Path::new("std/mine.rlp")), "./std/mine.rlp");
        assert_eq!(files.resolve("main.rlp", "std/mine.rlp"), "./std/mine.rlp");
        assert_eq!(
            files.resolve("./std/mine.rlp", "other.rlp"),
            "./std/other.rlp"
        );
        assert_eq!(
            files.resolve("std/loss/dpo.rlp", "ipo.rlp"),
            "std/loss/ipo.rlp"
        );
    }

    #[test]
    fn the_standard_library_is_read_by_the_path_that_defines_a_block() {
        let files = Files::new();
        let path = files.defining("loss", "ppo_clip").unwrap();
        assert_eq!(path, "std/loss/ppo_clip.rlp");
        assert!(files.read(&path).unwrap().contains("loss ppo_clip("));
        assert!(files.standard("loss").contains(&"ppo_clip".to_string()));
        assert_eq!(files.defining("loss", "missing"), None);
        assert_eq!(
            files.read("std/loss/missing.rlp"),
            Err("the standard library has no such file".to_string())
        );
    }

    #[test]
    fn a_text_that_came_through_a_pipe_has_a_path() {
        let mut files = Files::new();
        files.add("<stdin>", Ok("loss l() -> real { 0 }".to_string()));
        assert_eq!(
            files.read("<stdin>").as_deref(),
            Ok("loss l() -> real { 0 }")
        );
        assert_eq!(files.resolve("<stdin>", "mine.rlp"), "mine.rlp");
    }

    #[test]
    fn a_text_that_is_no_text_is_refused_with_the_place() {
        assert_eq!(read_text(&b"let a = 1"[..]), Ok("let a = 1".to_string()));
        assert_eq!(
            read_text(&b"let\nb = \xff"[..]),
            Err("it is not UTF-8: byte 8, on line 2, is 0xff".to_string())
        );
        assert_eq!(
            read_text(std::io::repeat(b'a')),
            Err("it is larger than 4 MiB".to_string())
        );
    }

    #[test]
    fn what_cannot_be_read_is_said_in_a_sentence() {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        assert_eq!(
            read_file(&here.join("missing.rlp")),
            Err("there is no such file".to_string())
        );
        assert_eq!(read_file(here), Err("it is a folder".to_string()));
        assert_eq!(
            read_file(&here.join("Cargo.toml/x")),
            Err("a part of its path is a file, not a folder".to_string())
        );
        assert_eq!(
            read_file(Path::new("/dev/zero")),
            Err("it is larger than 4 MiB".to_string())
        );
    }
}
