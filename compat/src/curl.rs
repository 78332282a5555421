//! `curl`, for clients that speak TLS.

use std::path::Path;
use std::process::Command;

/// What `curl` says of a URL under the domain, which it takes for this machine: exit code, and body with status.
///
/// # Panics
/// There is no `curl`.
#[must_use]
pub fn curl(url: &str, ca: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let host = url.split("://").nth(1).unwrap().split('/').next().unwrap();
    let output = Command::new("curl")
        .args(["-sS", "-m", "20", "--noproxy", "*", "--resolve", &format!("{host}:127.0.0.1")])
        .args(["-w", "\n%{http_code}", "--cacert"])
        .arg(ca)
        .args(arguments)
        .arg(url)
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}
