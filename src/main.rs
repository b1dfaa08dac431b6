//! Entry point: parse, call, exit.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(u8::from(drydock::cli::run(std::env::args_os())))
}
