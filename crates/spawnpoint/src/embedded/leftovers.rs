//! `spawnpoint leftovers`: which installations have something of the embedded runtime on this machine, and how one that is no
//! more is taken away.

use std::path::Path;

use spawnpoint_driver_oci::leftovers::{self, Leftover, Refused};

use crate::console::{print, print_table};
use crate::failure::Failure;

fn state(left: &Leftover) -> &'static str {
    match (left.control_plane, left.running) {
        (true, _) => "at work",
        (false, 0) => "left over",
        (false, _) => "runs without its control plane",
    }
}

/// Lists them.
///
/// # Errors
/// The machine cannot be looked at.
pub async fn list(run_dir: &Path) -> Result<(), Failure> {
    let found = leftovers::find(run_dir).await.map_err(|why| Failure::new(why.to_string()))?;
    if found.is_empty() {
        print("nothing of the embedded runtime is on this machine");
        return Ok(());
    }
    let heads = ["INSTALLATION", "STATE", "RUNNING", "NETWORKS", "ZYGOTE", "FOLDER"];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    for left in &found {
        rows.push(vec![
            left.id.clone(),
            state(left).to_owned(),
            left.running.to_string(),
            left.networks.to_string(),
            if left.zygote { "yes" } else { "no" }.to_owned(),
            left.run.display().to_string(),
        ]);
    }
    print_table(&rows);
    print("");
    print(
        "`spawnpoint leftovers --remove INSTALLATION` takes one away whose control plane does not come back.",
    );
    Ok(())
}

/// Takes one away.
///
/// # Errors
/// There is none, or it is at work.
pub async fn remove(run_dir: &Path, id: &str, force: bool) -> Result<(), Failure> {
    let found = leftovers::find(run_dir).await.map_err(|why| Failure::new(why.to_string()))?;
    let Some(left) = found.iter().find(|left| left.id == id) else {
        return Err(Failure::new(format!("there is nothing of an installation {id:?} on this machine")));
    };
    leftovers::remove(left, force).await.map_err(|refused| {
        let hint = match refused {
            Refused::Running(_) => "; --force ends them",
            Refused::AtWork | Refused::Failed(_) => "",
        };
        Failure::new(format!("installation {id} is left as it is: {refused}{hint}"))
    })?;
    print(&format!("installation {id} is gone from this machine; its data directory is as it was"));
    Ok(())
}
