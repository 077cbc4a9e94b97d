//! Tells the engine where its libtorch is, so that it starts without a variable in the environment.

use std::env;
use std::process::ExitCode;

use rlp_locate::Place;

fn main() -> ExitCode {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=LIBTORCH");
    // Cargo's configuration gives the variable a value where the user gives none: the link that `cargo xtask setup` makes.
    let named = env::var_os("LIBTORCH").map(|torch| Place::Named {
        variable: "LIBTORCH",
        torch: torch.into(),
    });
    let torch = match rlp_locate::find(named) {
        Ok(torch) => torch,
        Err(missing) => {
            println!("cargo::error={missing}");
            println!(
                "cargo::error=help: run `cargo xtask setup`, or let `LIBTORCH` name the `torch` folder of libtorch {}",
                rlp_locate::VERSION
            );
            return ExitCode::FAILURE;
        }
    };
    // Searched after LD_LIBRARY_PATH, in this order: the checkout's libtorch from `target/debug` and from `target/debug/deps`,
    // which holds when the checkout is moved, then the one of this build, which holds when the executable is.
    let libtorch = ".libtorch/torch/lib";
    println!("cargo::rustc-link-arg=-Wl,--enable-new-dtags");
    println!("cargo::rustc-link-arg=-Wl,-rpath,$ORIGIN/../../{libtorch}");
    println!("cargo::rustc-link-arg=-Wl,-rpath,$ORIGIN/../../../{libtorch}");
    println!(
        "cargo::rustc-link-arg=-Wl,-rpath,{}",
        torch.join("lib").display()
    );
    ExitCode::SUCCESS
}
