//! Which libtorch rlpc needs, and where on this machine one may be; known without linking to it.

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The release of libtorch that `tch` is written for. Its C++ interface changes with every release, so no other will do.
pub const VERSION: &str = "2.11.0";

/// A folder in which a libtorch may be: one with `lib/` and `include/`, as the folder of Python's `torch` package is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// The user named it in an environment variable, so it is right or refused.
    Named {
        variable: &'static str,
        torch: PathBuf,
    },
    /// It is often there; if not, the next place is tried.
    Usual(PathBuf),
}

/// Why no libtorch can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Missing {
    /// The folder that the user named holds another release, or none.
    Refused {
        variable: &'static str,
        torch: PathBuf,
        found: Option<String>,
    },
    /// No place holds the wanted release; `others` are the releases that were passed over.
    Nowhere { others: Vec<(PathBuf, String)> },
}

impl Missing {
    /// What the user can do about it.
    pub fn help(&self) -> String {
        match self {
            Self::Refused { variable, .. } => format!(
                "unset `{variable}`, or let it name the `torch` folder of libtorch {VERSION}"
            ),
            Self::Nowhere { .. } => format!(
                "fetch it with `cargo xtask setup` in a checkout of rlpc or with `pip install torch=={VERSION}`, \
                 or name its `torch` folder in `RLPC_TORCH`"
            ),
        }
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused {
                variable,
                torch,
                found: Some(version),
            } => write!(
                f,
                "`{variable}` names libtorch {version} in {}, and rlpc needs {VERSION}",
                torch.display()
            ),
            Self::Refused {
                variable,
                torch,
                found: None,
            } => write!(
                f,
                "`{variable}` names {}, which holds no libtorch",
                torch.display()
            ),
            Self::Nowhere { others } => {
                write!(f, "libtorch {VERSION} was not found on this machine")?;
                for (torch, version) in others {
                    write!(f, "; passed over {version} in {}", torch.display())?;
                }
                Ok(())
            }
        }
    }
}

impl std::error::Error for Missing {}

/// The first place that holds the wanted release, with symbolic links resolved.
pub fn find(places: impl IntoIterator<Item = Place>) -> Result<PathBuf, Missing> {
    let mut others = Vec::new();
    for place in places {
        let (torch, variable) = match place {
            Place::Named { variable, torch } => (torch, Some(variable)),
            Place::Usual(torch) => (torch, None),
        };
        match (version(&torch), variable) {
            (Some(version), _) if is_wanted(&version) => {
                return Ok(fs::canonicalize(&torch).unwrap_or(torch));
            }
            (found, Some(variable)) => {
                return Err(Missing::Refused {
                    variable,
                    torch,
                    found,
                });
            }
            (Some(version), None) => others.push((torch, version)),
            (None, None) => {}
        }
    }
    Err(Missing::Nowhere { others })
}

/// The release of the libtorch in a folder, such as `2.11.0+cu130`; none if the folder holds none.
pub fn version(torch: &Path) -> Option<String> {
    if !torch.join("lib/libtorch_cpu.so").exists() {
        return None;
    }
    // A Python package says `__version__ = '2.11.0+cu130'`, an archive of libtorch alone has a one-line file.
    let from_python = || {
        let text = fs::read_to_string(torch.join("version.py")).ok()?;
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("__version__"))?;
        Some(line.trim_matches([' ', '=', '\'', '"']).to_owned())
    };
    let from_archive = || {
        let text = fs::read_to_string(torch.join("build-version")).ok()?;
        Some(text.trim().to_owned())
    };
    from_python().or_else(from_archive)
}

fn is_wanted(version: &str) -> bool {
    version.split('+').next() == Some(VERSION)
}

/// Where a program at `executable` finds the libtorch it was built for, nearest first; `variable` reads the environment.
pub fn places(
    executable: &Path,
    variable: impl Fn(&'static str) -> Option<OsString>,
) -> Vec<Place> {
    let variable = |name| variable(name).filter(|value| !value.is_empty());
    let named = ["RLPC_TORCH", "LIBTORCH"].map(|name| {
        variable(name).map(|torch| Place::Named {
            variable: name,
            torch: torch.into(),
        })
    });
    let mut usual = Vec::new();
    for folder in executable.ancestors().skip(1) {
        usual.push(folder.join(".libtorch/torch"));
        usual.extend(python_packages(folder));
    }
    for name in ["VIRTUAL_ENV", "CONDA_PREFIX"] {
        usual.extend(variable(name).into_iter().flat_map(python_packages));
    }
    usual.extend(cache(variable).map(|cache| fetched(&cache)));
    let usual = usual.into_iter().map(Place::Usual);
    named.into_iter().flatten().chain(usual).collect()
}

/// `lib/python3*/site-packages/torch` of a Python installation, in the order of their names.
fn python_packages(prefix: impl AsRef<Path>) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(prefix.as_ref().join("lib")) else {
        return Vec::new();
    };
    let mut packages: Vec<_> = entries
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("python3"))
        .map(|entry| entry.path().join("site-packages/torch"))
        .collect();
    packages.sort();
    packages
}

/// The folder that all checkouts of this user share; none when no variable says where the home folder is.
pub fn cache(variable: impl Fn(&'static str) -> Option<OsString>) -> Option<PathBuf> {
    let path = |name| {
        variable(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    path("RLPC_CACHE")
        .or_else(|| Some(path("XDG_CACHE_HOME")?.join("rlpc")))
        .or_else(|| Some(path("HOME")?.join(".cache/rlpc")))
}

/// Where in the cache the fetched libtorch is.
pub fn fetched(cache: &Path) -> PathBuf {
    cache.join(format!("libtorch-{VERSION}/torch"))
}

/// The folder of the `torch` package that `python3` would import; it is asked without importing, which takes seconds.
pub fn python_torch() -> Option<PathBuf> {
    const FIND: &str = "import importlib.util; print(importlib.util.find_spec('torch').submodule_search_locations[0])";
    let output = Command::new("python3").args(["-c", FIND]).output().ok()?;
    let folder = String::from_utf8(output.stdout).ok()?;
    (output.status.success()).then(|| PathBuf::from(folder.trim_end()))
}

#[cfg(test)]
mod tests;
