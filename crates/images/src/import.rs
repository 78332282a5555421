//! Images from files: `docker save` archives and OCI layouts (directories or archives, plain or compressed).
//!
//! An archive is first taken apart into the store's `tmp`: its parts come in any order. Everything is checked as if it came from a registry.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;

use crate::archive::{Kind, Reader};
use crate::disk::Scratch;
use crate::fetch::stage;
use crate::layer::{Expected, ImageBudget, decode, has_room};
use crate::manifest::{Descriptor, Document, chain_ids, choose, printable, read_config, read_document};
use crate::pull::Staged;
use crate::store::Inner;
use crate::tree::{inside, joined};
use crate::unpack::read_error;
use crate::{Digest, Limits, Named, Platform, PullError, Reference, StoreError};

/// Files of an archive.
const MAX_PARTS: usize = 20_000;
/// Images of an archive.
const MAX_IMAGES: usize = 256;
/// Links that lead to links.
const MAX_LINKS: usize = 8;
const REF_NAME: &str = "org.opencontainers.image.ref.name";
const CONTAINERD_NAME: &str = "io.containerd.image.name";

/// See [`Store::import`](crate::Store::import).
pub(crate) fn import(
    store: &Arc<Inner>,
    path: &Path,
    name: Option<&Reference>,
) -> Result<Vec<Named>, PullError> {
    let meta = fs::metadata(path).map_err(|e| StoreError::io("read", path, &e))?;
    let source = if meta.is_dir() { Source::Dir(path.to_owned()) } else { Source::archive(store, path)? };
    let limits = &store.options.limits;
    // Docker's newer archives are both; a layout says more.
    let found = if source.has("index.json") {
        layout(&source, limits)?
    } else if source.has("manifest.json") {
        docker(&source, limits)?
    } else {
        return Err(refused("it holds neither index.json (an OCI layout) nor manifest.json (docker save)"));
    };
    if found.is_empty() {
        return Err(refused("it holds no image"));
    }
    if found.len() > 1 && name.is_some() {
        return Err(refused("it holds several images, so one name cannot be theirs"));
    }
    found.into_iter().map(|image| take(store, &source, image, name)).collect()
}

fn refused(why: &str) -> PullError {
    StoreError::Archive(why.to_owned()).into()
}

/// Where the parts are.
enum Source {
    Dir(PathBuf),
    Parts { files: HashMap<Vec<u8>, PathBuf>, links: HashMap<Vec<u8>, Vec<u8>>, _scratch: Scratch },
}

impl Source {
    /// Takes an archive apart.
    fn archive(store: &Inner, path: &Path) -> Result<Self, PullError> {
        let limits = &store.options.limits;
        let file = File::open(path).map_err(|e| StoreError::io("read", path, &e))?;
        let mut file = BufReader::new(file);
        let mut archive = Reader::new(BufReader::with_capacity(128 << 10, decode(&mut file)?));
        let scratch = store.disk.scratch()?;
        let (mut files, mut links) = (HashMap::new(), HashMap::new());
        let mut total = 0_u64;
        let broken = |e: io::Error| match read_error(e) {
            PullError::Refused(why) => PullError::Store(StoreError::Archive(why)),
            other => other,
        };
        while let Some(entry) = archive.next().map_err(broken)? {
            let name = inside(&entry.path).map_err(refused)?;
            if files.len() + links.len() >= MAX_PARTS {
                return Err(refused("it has too many files"));
            }
            match entry.kind {
                Kind::File => {}
                Kind::Symlink | Kind::Link => {
                    let mut target = if entry.kind == Kind::Link {
                        Vec::new()
                    } else {
                        joined(&name[..name.len().max(1) - 1])
                    };
                    target.push(b'/');
                    target.extend_from_slice(&entry.link);
                    links.insert(joined(&name), joined(&inside(&target).map_err(refused)?));
                    continue;
                }
                _ => continue,
            }
            total = total.saturating_add(entry.size);
            if total > limits.unpacked_bytes || entry.size > limits.layer_bytes.max(limits.unpacked_bytes) {
                return Err(refused("it is too large"));
            }
            has_room(&scratch.path, entry.size, limits)?;
            let part = scratch.path.join(files.len().to_string());
            let mut out = File::create(&part).map_err(|e| StoreError::io("write", &part, &e))?;
            io::copy(&mut archive, &mut out).map_err(|e| match e.raw_os_error() {
                Some(_) => StoreError::io("write", &part, &e).into(),
                None => broken(e),
            })?;
            files.insert(joined(&name), part);
        }
        Ok(Self::Parts { files, links, _scratch: scratch })
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        let wanted = inside(name.as_bytes()).ok()?;
        match self {
            Self::Dir(dir) => {
                let path = dir.join(std::str::from_utf8(&joined(&wanted)).ok()?);
                // A link of somebody's directory must not lead out of it.
                let (real, root) = (path.canonicalize().ok()?, dir.canonicalize().ok()?);
                (real.starts_with(root) && real.is_file()).then_some(real)
            }
            Self::Parts { files, links, .. } => {
                let mut name = joined(&wanted);
                for _ in 0..MAX_LINKS {
                    match links.get(&name) {
                        Some(next) => name.clone_from(next),
                        None => break,
                    }
                }
                files.get(&name).cloned()
            }
        }
    }

    fn has(&self, name: &str) -> bool {
        self.path(name).is_some()
    }

    fn open(&self, name: &str) -> Result<File, PullError> {
        let path = self.path(name).ok_or_else(|| refused(&format!("it lacks {}", printable(name))))?;
        Ok(File::open(&path).map_err(|e| StoreError::io("read", &path, &e))?)
    }

    /// A document that fits in memory.
    fn read(&self, name: &str, most: u64) -> Result<Vec<u8>, PullError> {
        let mut bytes = Vec::new();
        let file = self.open(name)?;
        file.take(most + 1)
            .read_to_end(&mut bytes)
            .map_err(|e| StoreError::io("read", Path::new(name), &e))?;
        if bytes.len() as u64 > most {
            return Err(refused(&format!("{} is too large", printable(name))));
        }
        Ok(bytes)
    }
}

/// An image in an archive.
struct Found {
    digest: Digest,
    names: Vec<String>,
    config: Vec<u8>,
    /// The parts that hold its layers, and what is said of them.
    layers: Vec<(String, Option<Descriptor>)>,
}

fn blob(digest: &Digest) -> String {
    format!("blobs/{}", digest.as_str().replace(':', "/"))
}

/// A blob of a layout that fits in memory, checked.
fn checked(source: &Source, descriptor: &Descriptor, most: u64) -> Result<Vec<u8>, PullError> {
    let bytes = source.read(&blob(&descriptor.digest), most)?;
    let mut hasher = descriptor.digest.hasher();
    hasher.update(&bytes);
    if hasher.finish() == descriptor.digest {
        return Ok(bytes);
    }
    Err(PullError::refused(format!("{} is not what its digest says", descriptor.digest)))
}

/// The images of an OCI layout that this machine can run, one for each name.
fn layout(source: &Source, limits: &Limits) -> Result<Vec<Found>, PullError> {
    let bytes = source.read("index.json", limits.manifest_bytes)?;
    let Document::Index(index) = read_document(&bytes, limits)? else {
        return Err(refused("its index.json is no index"));
    };
    // Entries with the same name are one image for several platforms; those without any are, too.
    let mut groups: BTreeMap<Option<String>, Vec<Descriptor>> = BTreeMap::new();
    for descriptor in index {
        let name =
            descriptor.annotations.get(CONTAINERD_NAME).or_else(|| descriptor.annotations.get(REF_NAME));
        groups.entry(name.cloned()).or_default().push(descriptor);
    }
    if groups.len() > MAX_IMAGES {
        return Err(refused("it has too many images"));
    }
    let mut found: Vec<Found> = Vec::new();
    for (name, group) in groups {
        let (descriptor, manifest) = descend(source, group, limits)?;
        let names = name.into_iter().collect();
        if let Some(known) = found.iter_mut().find(|known| known.digest == descriptor.digest) {
            known.names.extend::<Vec<String>>(names);
            continue;
        }
        found.push(Found {
            digest: descriptor.digest,
            names,
            config: checked(source, &manifest.config, limits.config_bytes)?,
            layers: manifest.layers.into_iter().map(|layer| (blob(&layer.digest), Some(layer))).collect(),
        });
    }
    Ok(found)
}

fn descend(
    source: &Source,
    mut index: Vec<Descriptor>,
    limits: &Limits,
) -> Result<(Descriptor, crate::manifest::Manifest), PullError> {
    for _ in 0..4 {
        let chosen = choose(&index, &Platform::here())?.clone();
        match read_document(&checked(source, &chosen, limits.manifest_bytes)?, limits)? {
            Document::Image(manifest) => return Ok((chosen, manifest)),
            Document::Index(next) => index = next,
        }
    }
    Err(refused("its index leads to indexes without end"))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

/// The images of a `docker save` archive. It has no manifests; the digest is that of the configuration, as Docker's image ids are.
fn docker(source: &Source, limits: &Limits) -> Result<Vec<Found>, PullError> {
    let bytes = source.read("manifest.json", limits.manifest_bytes)?;
    let saved: Vec<Saved> = serde_json::from_slice(&bytes)
        .map_err(|e| refused(&format!("its manifest.json cannot be read: {e}")))?;
    if saved.len() > MAX_IMAGES {
        return Err(refused("it has too many images"));
    }
    let mut found = Vec::new();
    for image in saved {
        let layers = image.layers.unwrap_or_default();
        if layers.len() > limits.layers {
            return Err(refused("an image has too many layers"));
        }
        let config = source.read(&image.config, limits.config_bytes)?;
        found.push(Found {
            digest: Digest::of(&config),
            names: image.repo_tags.unwrap_or_default(),
            config,
            layers: layers.into_iter().map(|layer| (layer, None)).collect(),
        });
    }
    Ok(found)
}

/// Takes one image in.
fn take(
    store: &Arc<Inner>,
    source: &Source,
    found: Found,
    name: Option<&Reference>,
) -> Result<Named, PullError> {
    let names: Vec<String> = match name {
        Some(name) => vec![name.to_string()],
        // A bare tag (as umoci and buildah write it) names nothing.
        None => {
            let full = found.names.iter().filter(|name| name.contains(['/', ':']));
            full.filter_map(|name| name.parse::<Reference>().ok()).map(|name| name.to_string()).collect()
        }
    };
    if let Some(image) = store.image(&found.digest) {
        let here = |name: &String| Ok(store.name(name, &found.digest)?);
        if names.iter().map(here).collect::<Result<Vec<bool>, PullError>>()?.into_iter().all(|here| here) {
            return Ok(Named { names, image });
        }
    }
    let limits = &store.options.limits;
    let config = read_config(&found.config, &Platform::here(), found.layers.len())?;
    let budget = ImageBudget::new(limits, &store.disk.part("tmp"));
    let chain = chain_ids(&config.diff_ids);
    let _wanted = store.want(config.diff_ids.iter().chain(&chain).cloned());
    let mut staged = Vec::new();
    for (at, (part, layer)) in found.layers.iter().enumerate() {
        let known = store.disk.layer(&config.diff_ids[at]).or_else(|| store.disk.layer(&chain[at]));
        if let Some(record) = known {
            staged.push(Staged::Ready(record));
            continue;
        }
        let told = layer.as_ref().map(|layer| (&layer.digest, layer.size));
        let expected = Expected { blob: told, diff_id: &config.diff_ids[at], resumed: false };
        staged.push(stage(store, source.open(part)?, &expected, &budget).map_err(|e| e.error)?);
    }
    let image = store.finish(&found.digest, config, staged, &budget, &names)?;
    let image = image.ok_or_else(|| refused("layers were removed while it was taken in; try again"))?;
    Ok(Named { names, image })
}
