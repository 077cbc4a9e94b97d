//! The engine behind `rlpc run`, `rlpc eval` and `rlpc test`.

use std::process::ExitCode;

fn main() -> ExitCode {
    rlp_runtime::memory::keep_freed();
    rlp_runtime::command::main()
}
