//! The zygote alone: what the product's binary becomes with its hidden first argument. The tests' engines start it.

use std::process::ExitCode;

fn main() -> ExitCode {
    spawnpoint_driver_oci::zygote_main().unwrap_or(ExitCode::FAILURE)
}
