//! The hand-over from `rlpc` to `rlpc-engine`, the executable beside it that is linked to libtorch.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::iter;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use rlp_locate::{Missing, Place};

/// Why the engine could not be started, and what to do about it.
#[derive(Debug)]
pub(crate) struct EngineError {
    pub(crate) message: String,
    pub(crate) help: String,
}

impl From<Missing> for EngineError {
    fn from(missing: Missing) -> Self {
        Self {
            message: missing.to_string(),
            help: missing.help(),
        }
    }
}

/// Turns this process into the engine with the given arguments; returns only if that is impossible.
pub(crate) fn exec_engine(arguments: impl IntoIterator<Item = OsString>) -> EngineError {
    let command = env::current_exe()
        .map_err(|error| not_started(format!("the path of rlpc is unknown: {error}")))
        .and_then(|executable| engine(&executable, env::var_os));
    match command {
        Ok(mut command) => {
            let error = command.args(arguments).exec();
            let engine = command.get_program().to_string_lossy();
            not_started(format!("{engine} cannot be started: {error}"))
        }
        Err(error) => error,
    }
}

fn not_started(message: String) -> EngineError {
    EngineError {
        message,
        help: "in a checkout, `cargo build --workspace` builds both executables of rlpc".to_owned(),
    }
}

/// The engine in the folder of `executable`, with the libtorch it needs in reach of the loader.
fn engine(
    executable: &Path,
    variable: impl Fn(&'static str) -> Option<OsString>,
) -> Result<Command, EngineError> {
    // What was called may be a symbolic link in a folder of the search path.
    let executable = fs::canonicalize(executable).unwrap_or_else(|_| executable.to_owned());
    let engine = executable.with_file_name("rlpc-engine");
    if !engine.is_file() {
        return Err(not_started(format!(
            "{} is missing, the part of rlpc that runs pipelines",
            engine.display()
        )));
    }
    // Python is asked last, because starting it takes longer than all the rest.
    let python = iter::once_with(|| rlp_locate::python_torch().map(Place::Usual)).flatten();
    let torch = rlp_locate::find(
        rlp_locate::places(&engine, &variable)
            .into_iter()
            .chain(python),
    )?;
    let mut path = torch.join("lib").into_os_string();
    if let Some(further) = variable("LD_LIBRARY_PATH").filter(|further| !further.is_empty()) {
        path.push(":");
        path.push(further);
    }
    let mut command = Command::new(engine);
    command.env("LD_LIBRARY_PATH", path);
    if variable("OMP_WAIT_POLICY").is_none() {
        // Threads that wait for each other sleep. By default they spin, and on a machine that others use
        // too, they then take the cores from the very thread that they wait for.
        command.env("OMP_WAIT_POLICY", "passive");
    }
    Ok(command)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::ffi::OsStr;
    use std::path::PathBuf;

    use super::*;

    /// A checkout with both executables and a libtorch, removed at the end.
    struct Checkout(PathBuf);

    impl Checkout {
        fn new(name: &str, version: &str) -> Self {
            let folder = env::temp_dir().join(format!("rlpc-{name}-{}", std::process::id()));
            for file in [
                "target/debug/rlpc",
                "target/debug/rlpc-engine",
                ".libtorch/torch/lib/libtorch_cpu.so",
            ] {
                fs::create_dir_all(folder.join(file).parent().unwrap()).unwrap();
                fs::write(folder.join(file), "").unwrap();
            }
            let text = format!("__version__ = '{version}'\n");
            fs::write(folder.join(".libtorch/torch/version.py"), text).unwrap();
            Self(fs::canonicalize(folder).unwrap())
        }

        fn rlpc(&self) -> PathBuf {
            self.0.join("target/debug/rlpc")
        }

        fn engine(&self) -> PathBuf {
            self.0.join("target/debug/rlpc-engine")
        }

        fn lib(&self) -> PathBuf {
            self.0.join(".libtorch/torch/lib")
        }
    }

    impl Drop for Checkout {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    fn library_path(command: &Command) -> &OsStr {
        let (_, value) = command
            .get_envs()
            .find(|(name, _)| *name == "LD_LIBRARY_PATH")
            .unwrap();
        value.unwrap()
    }

    #[test]
    fn the_engine_is_beside_the_executable_that_a_link_leads_to() {
        let checkout = Checkout::new("link", "2.11.0");
        let link = checkout.0.join("rlpc");
        std::os::unix::fs::symlink(checkout.rlpc(), &link).unwrap();
        let command = engine(&link, |_| None).unwrap();
        assert_eq!(command.get_program(), checkout.engine());
        assert_eq!(library_path(&command), checkout.lib());
    }

    #[test]
    fn libraries_that_the_user_names_come_after_libtorch() {
        let checkout = Checkout::new("libraries", "2.11.0");
        let named = |name| (name == "LD_LIBRARY_PATH").then(|| "/opt/lib".into());
        let command = engine(&checkout.rlpc(), named).unwrap();
        let expected = format!("{}:/opt/lib", checkout.lib().display());
        assert_eq!(library_path(&command), OsStr::new(&expected));
    }

    #[test]
    fn a_missing_engine_is_named() {
        let checkout = Checkout::new("missing", "2.11.0");
        fs::remove_file(checkout.engine()).unwrap();
        let error = engine(&checkout.rlpc(), |_| None).unwrap_err();
        let expected = format!(
            "{} is missing, the part of rlpc that runs pipelines",
            checkout.engine().display()
        );
        assert_eq!(error.message, expected);
    }

    #[test]
    fn another_libtorch_is_refused() {
        let checkout = Checkout::new("other", "2.9.1");
        let torch = checkout.0.join(".libtorch/torch");
        let named = |name| (name == "RLPC_TORCH").then(|| torch.clone().into());
        let error = engine(&checkout.rlpc(), named).unwrap_err();
        let expected = format!(
            "`RLPC_TORCH` names libtorch 2.9.1 in {}, and rlpc needs 2.11.0",
            torch.display()
        );
        assert_eq!(error.message, expected);
        assert_eq!(
            error.help,
            "unset `RLPC_TORCH`, or let it name the `torch` folder of libtorch 2.11.0"
        );
    }
}
