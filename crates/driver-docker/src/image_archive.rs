//! Makes an image out of one static program, without a registry or a build: what `spawnpoint demo` and the tests run.

use std::collections::BTreeMap;

use serde_json::json;
use sha2::{Digest, Sha256};

/// An image with one file in it.
#[derive(Clone, Debug)]
pub struct SingleBinaryImage<'a> {
    /// `name:tag`
    pub reference: &'a str,
    /// The program; it must not need anything else.
    pub binary: &'a [u8],
    /// Its name in the root directory of the image; also the entrypoint.
    pub file_name: &'a str,
    /// Labels of the image.
    pub labels: &'a [(&'a str, &'a str)],
}

impl SingleBinaryImage<'_> {
    /// The archive that `docker load` (and [`crate::DockerEngine::load_image`]) takes. The same input gives the same
    /// bytes, so the image keeps its id.
    ///
    /// # Errors
    /// Only if the names do not fit into a tar header.
    pub fn archive(&self) -> std::io::Result<Vec<u8>> {
        let layer = tar_of(&[(self.file_name, self.binary, 0o755)])?;
        let labels: BTreeMap<_, _> = self.labels.iter().copied().collect();
        let config = json!({
            "architecture": architecture(),
            "os": "linux",
            "created": "1970-01-01T00:00:00Z",
            "config": { "Entrypoint": [format!("/{}", self.file_name)], "Labels": labels, "WorkingDir": "/" },
            "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{}", hex(&layer))] },
            "history": [{ "created": "1970-01-01T00:00:00Z", "created_by": "spawnpoint" }],
        })
        .to_string();
        let config_name = format!("{}.json", hex(config.as_bytes()));
        let manifest = json!([{
            "Config": config_name,
            "RepoTags": [self.reference],
            "Layers": ["layer.tar"],
        }])
        .to_string();
        tar_of(&[
            ("layer.tar", &layer, 0o644),
            (&config_name, config.as_bytes(), 0o644),
            ("manifest.json", manifest.as_bytes(), 0o644),
        ])
    }
}

/// What image configs call this machine.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn tar_of(files: &[(&str, &[u8], u32)]) -> std::io::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, bytes, mode) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(*mode);
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        archive.append_data(&mut header, name, *bytes)?;
    }
    archive.into_inner()
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn image() -> SingleBinaryImage<'static> {
        SingleBinaryImage {
            reference: "game:1",
            binary: b"\x7fELF",
            file_name: "game",
            labels: &[("a", "b")],
        }
    }

    #[test]
    fn the_same_program_gives_the_same_bytes() {
        assert_eq!(image().archive().unwrap(), image().archive().unwrap());
    }

    #[test]
    fn config_and_layer_are_named_by_their_hashes() {
        let bytes = image().archive().unwrap();
        let mut files = BTreeMap::new();
        for entry in tar::Archive::new(bytes.as_slice()).entries().unwrap() {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().to_str().unwrap().to_owned();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            files.insert(name, content);
        }
        let manifest: serde_json::Value = serde_json::from_slice(&files["manifest.json"]).unwrap();
        let config_name = manifest[0]["Config"].as_str().unwrap();
        let config = &files[config_name];
        assert_eq!(config_name, format!("{}.json", hex(config)));
        let config: serde_json::Value = serde_json::from_slice(config).unwrap();
        assert_eq!(config["rootfs"]["diff_ids"][0], format!("sha256:{}", hex(&files["layer.tar"])));
        assert_eq!(config["config"]["Entrypoint"][0], "/game");
    }
}
