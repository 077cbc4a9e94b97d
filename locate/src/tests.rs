//! Each way in which a libtorch is found, refused or passed over, in folders that only look like one.
#![allow(clippy::unwrap_used)]

use super::*;

/// A folder that is removed when the test ends.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("rlp-locate-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        Self(fs::canonicalize(folder).unwrap())
    }

    /// Puts a libtorch of that release into a folder below.
    fn torch(&self, folder: &str, version: &str) -> PathBuf {
        let torch = self.0.join(folder);
        fs::create_dir_all(torch.join("lib")).unwrap();
        fs::write(torch.join("lib/libtorch_cpu.so"), "").unwrap();
        let text =
            format!("from typing import Optional\n\n__version__ = '{version}'\ndebug = False\n");
        fs::write(torch.join("version.py"), text).unwrap();
        torch
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

fn search(scratch: &Scratch, variables: &[(&str, &Path)]) -> Result<PathBuf, Missing> {
    find(places(
        &scratch.0.join("checkout/target/debug/rlpc"),
        |name| {
            let (_, value) = variables.iter().find(|(known, _)| *known == name)?;
            Some(value.as_os_str().to_owned())
        },
    ))
}

#[test]
fn every_place_is_searched_nearest_first() {
    let scratch = Scratch::new("places");
    let home = scratch.0.join("home");
    let venv = scratch.0.join("venv");
    let variables = [("HOME", &*home), ("VIRTUAL_ENV", &*venv)];
    // From the farthest place to the nearest: each new one is preferred to those before it.
    for folder in [
        "home/.cache/rlpc/libtorch-2.11.0/torch",
        "venv/lib/python3.12/site-packages/torch",
        "checkout/lib/python3.12/site-packages/torch",
        "checkout/.libtorch/torch",
    ] {
        let torch = scratch.torch(folder, "2.11.0+cu130");
        assert_eq!(search(&scratch, &variables), Ok(torch));
    }
}

#[test]
fn a_named_folder_is_right_or_refused() {
    let scratch = Scratch::new("named");
    scratch.torch("checkout/.libtorch/torch", "2.11.0");
    let right = scratch.torch("right", "2.11.0+cpu");
    let old = scratch.torch("old", "2.9.1+cu128");
    let empty = scratch.0.join("empty");
    assert_eq!(search(&scratch, &[("LIBTORCH", &right)]), Ok(right.clone()));
    assert_eq!(
        search(&scratch, &[("LIBTORCH", &old), ("RLPC_TORCH", &right)]),
        Ok(right)
    );
    let refused = search(&scratch, &[("LIBTORCH", &old)]).unwrap_err();
    assert_eq!(
        refused.to_string(),
        format!(
            "`LIBTORCH` names libtorch 2.9.1+cu128 in {}, and rlpc needs 2.11.0",
            old.display()
        )
    );
    let refused = search(&scratch, &[("RLPC_TORCH", &empty)]).unwrap_err();
    assert_eq!(
        refused.to_string(),
        format!(
            "`RLPC_TORCH` names {}, which holds no libtorch",
            empty.display()
        )
    );
}

#[test]
fn another_release_in_a_usual_place_is_passed_over_and_named() {
    let scratch = Scratch::new("others");
    let venv = scratch.0.join("venv");
    let old = scratch.torch("venv/lib/python3.12/site-packages/torch", "2.9.1");
    let missing = search(&scratch, &[("VIRTUAL_ENV", &venv)]).unwrap_err();
    assert_eq!(
        missing.to_string(),
        format!(
            "libtorch 2.11.0 was not found on this machine; passed over 2.9.1 in {}",
            old.display()
        )
    );
}

#[test]
fn an_archive_of_libtorch_says_its_release_in_a_file_of_its_own() {
    let scratch = Scratch::new("archive");
    let torch = scratch.torch("libtorch", "");
    fs::remove_file(torch.join("version.py")).unwrap();
    fs::write(torch.join("build-version"), "2.11.0+cpu\n").unwrap();
    assert_eq!(version(&torch).as_deref(), Some("2.11.0+cpu"));
}

#[test]
fn the_cache_is_where_the_first_variable_says() {
    let variable = |set: &'static [&'static str]| {
        move |name| {
            let value = OsString::from(format!("/{name}"));
            set.contains(&name).then_some(value)
        }
    };
    let all = variable(&["RLPC_CACHE", "XDG_CACHE_HOME", "HOME"]);
    assert_eq!(cache(all), Some("/RLPC_CACHE".into()));
    assert_eq!(
        cache(variable(&["XDG_CACHE_HOME", "HOME"])),
        Some("/XDG_CACHE_HOME/rlpc".into())
    );
    assert_eq!(cache(variable(&["HOME"])), Some("/HOME/.cache/rlpc".into()));
    assert_eq!(cache(variable(&[])), None);
}
