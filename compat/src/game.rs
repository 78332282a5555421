//! The game of the tests: `crates/game`, built on the spot as the product builds it, and an image of that one program.

use std::fs::File;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// The game.
#[derive(Clone, Debug)]
pub struct Game {
    /// What it was made from: another source has another one.
    pub tag: String,
    /// The static program.
    program: PathBuf,
}

/// Builds it, or finds it built.
///
/// # Panics
/// It does not build.
#[must_use]
pub fn build() -> Game {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/game/src/main.rs");
    let mut hasher = DefaultHasher::new();
    for file in [&source, &source.with_file_name("web.rs")] {
        std::fs::read(file).unwrap().hash(&mut hasher);
    }
    let tag = format!("{:016x}", hasher.finish());
    let program = std::env::temp_dir().join(format!("spawnpoint-compat-game.{tag}"));
    // One test process makes it, the others find it.
    let lock = File::create(std::env::temp_dir().join("spawnpoint-compat-game.lock")).unwrap();
    lock.lock().unwrap();
    if !program.exists() {
        let draft = program.with_extension("draft");
        compile(&source, &draft);
        std::fs::rename(draft, &program).unwrap();
    }
    Game { tag, program }
}

/// Builds the game server as the product does: one lone file, static.
fn compile(source: &Path, output: &Path) {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let options =
        ["-C", "target-feature=+crt-static", "-C", "opt-level=s", "-C", "panic=abort", "-C", "strip=symbols"];
    let mut build = Command::new(rustc);
    build.args(options).args(["--edition", "2024", "--crate-name", "game"]).arg(source).arg("-o").arg(output);
    assert!(build.status().unwrap().success(), "the game server does not build by itself");
}

impl Game {
    /// Where the program is.
    #[must_use]
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// The one layer of its image.
    ///
    /// # Panics
    /// The program is gone.
    #[must_use]
    pub fn layer(&self) -> Vec<u8> {
        tar("game", &std::fs::read(&self.program).unwrap())
    }

    /// The configuration of its image.
    #[must_use]
    pub fn configuration(&self, layer: &[u8]) -> Value {
        let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
        json!({
            "architecture": architecture, "os": "linux", "config": {"Entrypoint": ["/game"], "WorkingDir": "/"},
            "rootfs": {"type": "layers", "diff_ids": [digest(layer)]}, "history": [{"created_by": "spawnpoint"}],
        })
    }
}

/// The name of some bytes in a registry.
#[must_use]
pub fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// A tar archive of one program.
fn tar(name: &str, content: &[u8]) -> Vec<u8> {
    let mut header = [0_u8; 512];
    let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, name);
    put(100, "0000755\0");
    put(108, "0000000\0");
    put(116, "0000000\0");
    put(124, &format!("{:011o} ", content.len()));
    put(136, "00000000000 ");
    // The sum is taken with blanks in its own place.
    put(148, "        ");
    put(156, "0");
    put(257, "ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut archive = header.to_vec();
    archive.extend_from_slice(content);
    archive.resize(archive.len().next_multiple_of(512) + 1024, 0);
    archive
}
