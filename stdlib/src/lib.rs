//! The standard library: `.rlp` files, one folder a kind, embedded in the program.

include!(concat!(env!("OUT_DIR"), "/library.rs"));

/// The text of a file, by its path: `loss/ppo_clip.rlp`.
pub fn file(path: &str) -> Option<&'static str> {
    let index = FILES.binary_search_by_key(&path, |&(path, _)| path).ok()?;
    Some(FILES[index].1)
}

/// Path and text of every file, in alphabetical order of the paths.
pub fn files() -> impl Iterator<Item = (&'static str, &'static str)> {
    FILES.iter().copied()
}

/// The path of the file that defines `KIND.NAME`.
pub fn defining(kind: &str, name: &str) -> Option<&'static str> {
    let index = BLOCKS
        .binary_search_by_key(&(kind, name), |&(kind, name, _)| (kind, name))
        .ok()?;
    Some(BLOCKS[index].2)
}

/// The names of all blocks of a kind, in alphabetical order.
pub fn names(kind: &str) -> impl Iterator<Item = &'static str> {
    BLOCKS
        .iter()
        .filter(move |(of, _, _)| *of == kind)
        .map(|&(_, name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_found_in_its_file() {
        assert_eq!(defining("loss", "ppo_clip"), Some("loss/ppo_clip.rlp"));
        assert_eq!(
            defining("loss", "ppo_clip_token"),
            Some("loss/ppo_clip.rlp")
        );
        assert_eq!(defining("sampler", "rollout"), Some("sampler/rollout.rlp"));
        assert_eq!(defining("loss", "rollout"), None);
        assert!(
            file("loss/ppo_clip.rlp").is_some_and(|text| text.contains("\nloss ppo_clip_token("))
        );
        assert_eq!(file("loss/ppo.rlp"), None);
    }

    #[test]
    fn names_are_those_of_the_kind() {
        assert_eq!(
            names("schedule").collect::<Vec<_>>(),
            ["constant_with_warmup", "cosine", "linear", "wsd"]
        );
        assert_eq!(names("quest").count(), 0);
    }

    /// A family may bring a helper of kind `fn` along; every other block stands in the folder of its kind.
    #[test]
    fn blocks_stand_in_the_folder_of_their_kind() {
        for &(kind, name, path) in BLOCKS {
            assert!(
                path.starts_with(&format!("{kind}/")) || kind == "fn",
                "`{kind}.{name}` is in {path}"
            );
        }
    }

    #[test]
    fn files_say_what_they_are_and_test_what_can_be_tested() {
        for (path, text) in files() {
            assert!(text.starts_with("//! "), "{path} does not say what it is");
            assert!(
                text.contains("\ntest \"") || text.contains("\nnative "),
                "{path} has no test"
            );
        }
    }

    #[test]
    fn blocks_give_their_source() {
        for (path, text) in files() {
            let sources = text
                .lines()
                .filter(|line| line.starts_with("/// Source: "))
                .count();
            let blocks = BLOCKS.iter().filter(|(_, _, of)| *of == path).count();
            assert_eq!(sources, blocks, "{path}");
        }
    }
}
