//! What a new user sees first does what it says: the block of the README, and those that `rlpc new` makes.

use crate::Folder;

fn passes(name: &str, text: &str) {
    let folder = Folder::new(name);
    folder.write("mine.rlp", text);
    let said = folder.said(&["test", "mine.rlp"]);
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
    assert!(said.out.contains("1 passed, 0 failed"), "{}", said.out);
}

#[test]
fn the_block_of_a_new_project_passes_its_test() {
    passes("new-block", include_str!("../../../cli/template/mine.rlp"));
}

#[test]
fn the_block_of_the_readme_passes_its_test() {
    let readme = include_str!("../../../README.md");
    let mut fenced = readme.split("```rlp\n").skip(1);
    let block = fenced.find_map(|rest| {
        let (text, _) = rest.split_once("```")?;
        text.contains("test \"").then_some(text)
    });
    passes("readme-block", block.unwrap());
}

#[test]
fn a_new_project_trains() {
    let folder = Folder::new("new-project");
    folder.write("mine.rlp", include_str!("../../../cli/template/mine.rlp"));
    folder.write("p.rlp", include_str!("../../../cli/template/grpo.rlp"));
    let said = folder.said(&["run", "p.rlp", "--steps", "2", "--quiet"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
}
