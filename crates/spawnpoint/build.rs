//! Compiles the demo's game server (`crates/game`) into a static program that the binary carries: `spawnpoint demo` makes an
//! image of it on the spot and asks no registry. It has no dependencies, so `rustc` alone builds it.

use std::env;
use std::error::Error;
use std::path::PathBuf;
use std::process::Command;

/// What the game is compiled for: containers run Linux, whatever their control plane runs on.
struct Target {
    triple: String,
    linker: Option<PathBuf>,
    /// What may be missing.
    hint: String,
}

impl Target {
    fn of_the_game() -> Result<Self, Box<dyn Error>> {
        if env::var("CARGO_CFG_TARGET_OS")? == "linux" {
            // Cargo tells where another architecture has a linker of its own.
            let linker = env::var_os("RUSTC_LINKER").map(PathBuf::from);
            let hint = "is the static C library there? Debian: libc6-dev".to_owned();
            return Ok(Self { triple: env::var("TARGET")?, linker, hint });
        }
        let triple = format!("{}-unknown-linux-musl", env::var("CARGO_CFG_TARGET_ARCH")?);
        let hint = format!("is Linux there to compile for? rustup target add {triple}");
        // Rust brings a linker for it, and its C library.
        Ok(Self { triple, linker: Some("rust-lld".into()), hint })
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let source = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../game/src/main.rs");
    let program = PathBuf::from(env::var("OUT_DIR")?).join("game");
    let options = ["target-feature=+crt-static", "opt-level=s", "panic=abort", "strip=symbols"];
    let mut rustc = Command::new(env::var("RUSTC")?);
    rustc.args(["--edition", "2024", "--crate-name", "game", "--crate-type", "bin"]);
    let target = Target::of_the_game()?;
    rustc.args(["--target", &target.triple]);
    if let Some(linker) = &target.linker {
        rustc.arg("-C").arg(format!("linker={}", linker.display()));
    }
    for option in options {
        rustc.args(["-C", option]);
    }
    // Cargo asked for its own output formats and wrappers in the environment; this is a compilation of its own.
    rustc.env_remove("CARGO_ENCODED_RUSTFLAGS").arg("-o").arg(&program).arg(&source);
    let status = rustc.status()?;
    if !status.success() {
        return Err(format!("the game server did not compile ({status}); {}", target.hint).into());
    }
    let emit = |line: String| {
        use std::io::Write as _;
        writeln!(std::io::stdout(), "{line}")
    };
    emit(format!("cargo::rerun-if-changed={}", source.with_file_name("").display()))?;
    emit("cargo::rerun-if-changed=build.rs".to_owned())?;
    Ok(())
}
