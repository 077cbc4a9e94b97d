//! `cargo xtask setup`: a checkout gets `.libtorch/torch`, a link to a libtorch of this machine or to one that is fetched.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use rlp_locate::{Missing, Place, VERSION};

/// A wheel that is fetched only as the file it was when rlpc was tested with it.
struct Wheel {
    requirement: &'static str,
    file: &'static str,
    sha256: &'static str,
}

/// What makes a libtorch for the CPU: torch without the CUDA libraries that its metadata asks for (3.5 GB), except the two
/// that `libtorch_cpu.so` is linked to.
const WHEELS: [Wheel; 3] = [
    Wheel {
        requirement: "torch==2.11.0",
        file: "torch-2.11.0-cp312-cp312-manylinux_2_28_x86_64.whl",
        sha256: "0f68f4ac6d95d12e896c3b7a912b5871619542ec54d3649cf48cc1edd4dd2756",
    },
    Wheel {
        requirement: "nvidia-cuda-runtime==13.0.96",
        file: "nvidia_cuda_runtime-13.0.96-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
        sha256: "7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548",
    },
    Wheel {
        requirement: "nvidia-cuda-cupti==13.0.85",
        file: "nvidia_cuda_cupti-13.0.85-py3-none-manylinux_2_25_x86_64.whl",
        sha256: "4eb01c08e859bf924d222250d2e8f8b8ff6d3db4721288cf35d14252a4d933c8",
    },
];

/// Puts `.libtorch/torch` into the checkout, unless a libtorch of the right version is there.
pub(crate) fn setup(checkout: &Path) -> Result<(), String> {
    compiler_is_there()?;
    let link = checkout.join(".libtorch/torch");
    let torch = match choose(&link, env::var_os("LIBTORCH")) {
        Ok(torch) => torch,
        Err(refused @ Missing::Refused { .. }) => {
            return Err(format!("{refused}\nhelp: {}", refused.help()));
        }
        Err(Missing::Nowhere { others }) => {
            for (torch, version) in others {
                println!(
                    "passing over libtorch {version} in {}: rlpc needs {VERSION}",
                    torch.display()
                );
            }
            fetch(checkout)?
        }
    };
    point(&link, &torch)
}

/// A libtorch of this machine: the one that the user names, the one that is linked already, or Python's.
fn choose(link: &Path, named: Option<OsString>) -> Result<PathBuf, Missing> {
    // Without a value from the user, Cargo's configuration sets the variable to the link itself.
    let named = named
        .map(PathBuf::from)
        .filter(|torch| !torch.ends_with(".libtorch/torch"))
        .map(|torch| Place::Named {
            variable: "LIBTORCH",
            torch,
        });
    let linked = Place::Usual(link.to_owned());
    let python = || rlp_locate::python_torch().map(Place::Usual);
    rlp_locate::find(
        named
            .into_iter()
            .chain([linked])
            .chain(std::iter::once_with(python).flatten()),
    )
}

/// Downloads and unpacks libtorch into the cache, or finds it there.
fn fetch(checkout: &Path) -> Result<PathBuf, String> {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        return Err(format!(
            "libtorch is fetched for Linux on x86-64 only; elsewhere install torch {VERSION} for Python"
        ));
    }
    let cache = rlp_locate::cache(env::var_os)
        .ok_or("neither RLPC_CACHE nor HOME names a folder for libtorch")?;
    let torch = rlp_locate::fetched(&cache);
    let mut script = Command::new("python3");
    script
        .arg("-B")
        .arg(checkout.join("xtask/fetch_libtorch.py"));
    script.arg(&cache).arg(format!("libtorch-{VERSION}"));
    for wheel in &WHEELS {
        script.args([wheel.requirement, wheel.file, wheel.sha256]);
    }
    match script.status() {
        Ok(status) if status.success() => Ok(torch),
        Ok(_) => Err(format!(
            "libtorch could not be fetched\nhelp: a libtorch {VERSION} that is on this machine can be named in `LIBTORCH`"
        )),
        Err(error) => Err(format!(
            "python3, which fetches libtorch, cannot be started: {error}"
        )),
    }
}

/// Makes `link` a symbolic link to `torch`, in one step that other processes see wholly or not at all.
fn point(link: &Path, torch: &Path) -> Result<(), String> {
    if fs::canonicalize(link).is_ok_and(|linked| linked == torch) {
        return Ok(());
    }
    let new = link.with_extension(std::process::id().to_string());
    let folder = link.parent().unwrap_or(link);
    fs::create_dir_all(folder)
        .and_then(|()| symlink(torch, &new))
        .and_then(|()| fs::rename(&new, link))
        .map_err(|error| {
            format!(
                "{} cannot be made a link to {}: {error}",
                link.display(),
                torch.display()
            )
        })?;
    println!("libtorch {VERSION} is {}", torch.display());
    Ok(())
}

/// Fails early where the wrappers of libtorch would fail late: they are C++, and Rust alone brings no compiler for it.
fn compiler_is_there() -> Result<(), String> {
    let compiler = env::var_os("CXX").unwrap_or("c++".into());
    match Command::new(&compiler).arg("--version").output() {
        Ok(_) => Ok(()),
        Err(_) => Err(format!(
            "there is no C++ compiler `{}`, which building on libtorch needs (Debian and Ubuntu: the package g++)",
            compiler.to_string_lossy()
        )),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// A folder with a checkout's link and a libtorch to point it to, removed at the end.
    fn with_folder(name: &str, test: impl FnOnce(&Path, &Path)) {
        let folder = env::temp_dir().join(format!("xtask-{name}-{}", std::process::id()));
        let torch = folder.join("cache/torch");
        fs::create_dir_all(torch.join("lib")).unwrap();
        fs::write(torch.join("lib/libtorch_cpu.so"), "").unwrap();
        fs::write(
            torch.join("version.py"),
            format!("__version__ = '{VERSION}'"),
        )
        .unwrap();
        test(
            &folder.join("checkout/.libtorch/torch"),
            &fs::canonicalize(torch).unwrap(),
        );
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn the_libtorch_that_the_user_names_is_linked_and_kept() {
        with_folder("named", |link, torch| {
            let named = choose(link, Some(torch.as_os_str().to_owned())).unwrap();
            point(link, &named).unwrap();
            assert_eq!(fs::read_link(link).unwrap(), torch);
            // Now Cargo sets the variable to the link, or nothing sets it: what is linked stays.
            assert_eq!(
                choose(link, Some(link.as_os_str().to_owned())).unwrap(),
                torch
            );
            assert_eq!(choose(link, None).unwrap(), torch);
        });
    }

    #[test]
    fn a_link_to_nowhere_is_replaced() {
        with_folder("dangling", |link, torch| {
            fs::create_dir_all(link.parent().unwrap()).unwrap();
            symlink("/nowhere", link).unwrap();
            point(link, torch).unwrap();
            assert_eq!(fs::canonicalize(link).unwrap(), torch);
        });
    }
}
