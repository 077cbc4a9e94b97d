//! Folders of models: those that lie here, and copies to spoil.

use std::path::{Path, PathBuf};

use rlp_runtime::pretrained::{Pretrained, Prompting};
use rlp_runtime::tokenizer::Tokenizer;

/// The models that lie here, one of every family.
pub(crate) fn shipped() -> Vec<PathBuf> {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pretrained/models");
    all(&models)
}

/// The models below a folder.
pub(crate) fn all(models: &Path) -> Vec<PathBuf> {
    let entries = models.read_dir().unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.join("config.json").exists());
    paths.sort();
    assert!(!paths.is_empty(), "no models below {}", models.display());
    paths
}

pub(crate) fn open(path: &Path) -> Pretrained {
    tch::set_num_threads(1);
    Pretrained::open(path).unwrap_or_else(|fault| panic!("{}: {fault}", path.display()))
}

pub(crate) fn tokenizer(pretrained: &Pretrained, is_chat: bool, system: &str) -> Tokenizer {
    let system = system.to_string();
    pretrained.tokenizer(Prompting { is_chat, system }).unwrap()
}

/// A folder of this test's own, below the one that cargo gives tests.
pub(crate) fn scratch(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).unwrap();
    path
}

/// A copy of one of the models, to be changed.
pub(crate) fn copied(model: &str, name: &str) -> PathBuf {
    let from = shipped().into_iter().find(|path| path.ends_with(model));
    let to = scratch(name);
    for entry in from.unwrap().read_dir().unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
    to
}
