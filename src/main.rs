//! The `credenza` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    credenza::main()
}
