//! `spawnpoint image`: the embedded runtime's images; and the store as the configuration has it.

use std::net::IpAddr;
use std::sync::Arc;

use indicatif::{HumanBytes, ProgressBar};
use spawnpoint_engine::outbound::guard::Guard;
use spawnpoint_images::{
    AddressPolicy, Credentials, Named, Progress, PruneWhat, PullOptions, Reference, Removed, Store,
    StoreOptions,
};
use spawnpoint_model::Plaintext;

use super::linux::{as_file, folder};
use crate::cli::ImageCommand;
use crate::config::Config;
use crate::console::{count, print, print_table};
use crate::failure::Failure;
use crate::server::networks;
use crate::{demo, keys, local};

/// Registries lie where users' addresses may lie: whoever names an image must not reach into the operator's network.
struct Guarded(Guard);

impl AddressPolicy for Guarded {
    fn permits(&self, address: IpAddr) -> bool {
        self.0.permits(address)
    }

    fn check(&self, url: &reqwest::Url) -> Result<(), String> {
        self.0.check_url(url)
    }
}

/// The image store of an installation.
///
/// # Errors
/// Its folder cannot be used.
pub fn open(config: &Config) -> Result<Store, Failure> {
    let allowed = networks(config, &config.images.allow_networks);
    let options =
        StoreOptions { addresses: Arc::new(Guarded(Guard::new(&allowed))), ..StoreOptions::default() };
    let dir = folder(&config.data.dir);
    keys::make_data_dir(&config.data.dir).map_err(Failure::new)?;
    std::fs::create_dir_all(&dir)?;
    Store::open_with(dir.join("images"), options).map_err(failed)
}

fn failed(err: impl std::fmt::Display) -> Failure {
    Failure::new(err.to_string())
}

/// Carries out a command.
///
/// # Errors
/// A sentence.
pub async fn command(config: &Config, command: &ImageCommand) -> Result<(), Failure> {
    let store = open(config)?;
    match command {
        ImageCommand::Import { path, name } => {
            let name: Option<Reference> = name.as_deref().map(str::parse).transpose().map_err(failed)?;
            let images = store.import(path, name.as_ref()).map_err(failed)?;
            images.iter().for_each(show);
        }
        ImageCommand::Demo => {
            let archive = local::archive_of(demo::IMAGE, demo::GAME, "game")?;
            let file = as_file(&archive)?;
            store.import(file.path(), None).map_err(failed)?.iter().for_each(show);
        }
        ImageCommand::Pull { name, username, password_file } => {
            let credentials = match (username, password_file) {
                (Some(username), Some(file)) => {
                    let secret: Plaintext = keys::read_secret(file).map_err(Failure::new)?;
                    Some(Credentials { username: username.clone(), password: secret })
                }
                _ => None,
            };
            pull(&store, name, credentials.as_ref()).await?;
        }
        ImageCommand::Ls => {
            let mut rows = vec![["NAME", "DIGEST", "SIZE"].map(str::to_owned).to_vec()];
            for Named { names, image } in store.list().map_err(failed)? {
                let size = HumanBytes(image.size).to_string();
                let row = |name: String| vec![name, image.digest.to_string(), size.clone()];
                if names.is_empty() {
                    rows.push(row("-".to_owned()));
                }
                rows.extend(names.into_iter().map(row));
            }
            print_table(&rows);
        }
        ImageCommand::Rm { name } => match store.remove(name).map_err(failed)? {
            Removed::Absent => return Err(Failure::new(format!("there is no image {name:?}"))),
            Removed::Name => print("the name is removed; the image has others"),
            Removed::Image => print("the image is removed"),
        },
        ImageCommand::Prune { all } => {
            let what = if *all { PruneWhat::Unused } else { PruneWhat::Nameless };
            let pruned = store.prune(what).map_err(failed)?;
            let (images, layers) = (count(pruned.images, "image"), count(pruned.layers, "layer"));
            print(&format!("removed {images} and {layers}, {}", HumanBytes(pruned.bytes)));
        }
    }
    Ok(())
}

async fn pull(store: &Store, name: &str, credentials: Option<&Credentials>) -> Result<(), Failure> {
    let reference: Reference = name.parse().map_err(failed)?;
    let bar = ProgressBar::no_length();
    let told = |now: Progress| {
        if let Some(total) = now.total {
            bar.set_length(total);
        }
        bar.set_position(now.downloaded);
    };
    let options = PullOptions { progress: Some(&told), ..PullOptions::default() };
    let pulled = store.pull(&reference, credentials, &options).await;
    bar.finish_and_clear();
    let image = pulled.map_err(failed)?;
    show(&Named { names: vec![reference.to_string()], image });
    Ok(())
}

fn show(named: &Named) {
    let name = if named.names.is_empty() { "-".to_owned() } else { named.names.join(", ") };
    print(&format!("{name}  {}  {}", named.image.digest, HumanBytes(named.image.size)));
}
