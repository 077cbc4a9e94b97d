//! `rlpc new`: a folder with a pipeline, a block with its test, and a page that says what to do with them.

use std::fs;
use std::path::Path;

use rlp_frontend::files::{reason, write_file};

use crate::answer::{Answer, Exit};
use crate::arguments::{New, Template};

/// Names and texts of the files; `my_project` stands for its name.
fn files(template: Template) -> [(&'static str, &'static str); 4] {
    let pipeline = match template {
        Template::Grpo => include_str!("template/grpo.rlp"),
        Template::Supervised => include_str!("template/supervised.rlp"),
    };
    [
        ("pipeline.rlp", pipeline),
        ("mine.rlp", include_str!("template/mine.rlp")),
        ("README.md", include_str!("template/README.md")),
        (".gitignore", "/runs\n"),
    ]
}

pub(crate) fn run(arguments: &New) -> Answer {
    let folder = &arguments.folder;
    let shown = folder.display();
    let name = pipeline_name(folder);
    if is_taken(folder) {
        return Answer::misused(
            &format!("`{shown}` exists and is not an empty folder"),
            None,
        );
    }
    if let Err(error) = fs::create_dir_all(folder) {
        let message = format!("`{shown}` cannot be made: {}", reason(&error));
        return Answer::refusal(Exit::Problems, &message, None);
    }
    for (file, text) in files(arguments.template) {
        let path = folder.join(file);
        if let Err(why) = write_file(&path, &text.replace("my_project", &name)) {
            let message = format!("`{}` cannot be written: {why}", path.display());
            return Answer::refusal(Exit::Problems, &message, None);
        }
    }
    Answer::done(format!(
        "made `{shown}`\n\n    rlpc run {shown}/pipeline.rlp      trains a model\n    rlpc test {shown}/mine.rlp         runs the \
         test of its own block\n"
    ))
}

/// The folder's name as a name of the language.
fn pipeline_name(folder: &Path) -> String {
    let name = folder
        .file_name()
        .map_or(String::new(), |name| name.to_string_lossy().to_lowercase());
    let name: String = name
        .chars()
        .map(|letter| {
            if letter.is_ascii_alphanumeric() {
                letter
            } else {
                '_'
            }
        })
        .collect();
    if name.starts_with(|first: char| first.is_ascii_alphabetic()) {
        name
    } else {
        format!("project{name}")
    }
}

/// Whether something stands where the folder should be made that would be lost or mixed up.
fn is_taken(folder: &Path) -> bool {
    match fs::read_dir(folder) {
        Ok(mut entries) => entries.next().is_some(),
        Err(_) => folder.symlink_metadata().is_ok(),
    }
}
