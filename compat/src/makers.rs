//! Images of the game as other people's tools make them: `docker build`, `buildah`, `umoci`. Each is a small system as Alpine
//! and Debian lay it out, in several layers, of which later ones change what earlier ones had.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::json;
use tempfile::TempDir;

use crate::game::Game;
use crate::registry::{LOGIN_BASE64, PASSWORD, Registry, USERNAME};
use crate::say;

/// What later layers do, one layer a line: files that go, a folder that is replaced, links of both kinds.
const CHANGES: [&str; 3] = [
    "rm /etc/gone && rm -r /srv/old && mkdir /srv/old && echo new > /srv/old/new",
    "ln /usr/games/game /usr/games/play && ln -s old/new /srv/link && echo extra > /bin/extra && chown 1000:1000 /home/game/save",
    "mkdir -p /srv/a/b && echo x > /srv/a/b/x && rm -r /srv/a/b && echo file > /srv/a/b",
];
/// The user that the images name, and its number.
pub const USER: (&str, u32) = ("game", 1000);
/// What the game reads of its own files if every layer was laid over the one before as it should be.
pub const FILES: [(&str, &str); 5] = [
    ("/srv/old/new", "new"),
    ("/srv/link", "new"),
    ("/usr/bin/extra", "extra"),
    ("/srv/a/b", "file"),
    ("/home/game/save", "save"),
];
/// What must be gone.
pub const GONE: [&str; 2] = ["/etc/gone", "/srv/old/a"];

/// Who makes an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Maker {
    /// `docker build` and `docker push`.
    Docker,
    /// `buildah`, with an OCI manifest.
    Buildah,
    /// `umoci`, and `skopeo` to push.
    Umoci,
}

impl Maker {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Docker, Self::Buildah, Self::Umoci];

    /// As a name of an image.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Buildah => "buildah",
            Self::Umoci => "umoci",
        }
    }

    const fn programs(self) -> &'static [&'static str] {
        match self {
            Self::Docker => &["docker"],
            Self::Buildah => &["buildah"],
            Self::Umoci => &["umoci", "skopeo"],
        }
    }

    /// Whether its programs are here; says what is missing.
    ///
    /// # Panics
    /// They are required.
    #[must_use]
    pub fn is_here(self) -> bool {
        let is_set = |name: &str, value: &str| std::env::var(name).is_ok_and(|set| set == value);
        let required = is_set("CI", "true") || is_set("SPAWNPOINT_REQUIRE_DOCKER", "1");
        let there = |program: &&&str| {
            let find =
                Command::new("sh").args(["-c", "command -v \"$0\"", program]).stdout(Stdio::null()).status();
            find.is_ok_and(|status| status.success())
        };
        let mut needed = self.programs().iter().chain(&["busybox"]);
        let Some(missing) = needed.find(|program| !there(program)) else { return true };
        assert!(!required, "{missing} is required here");
        say(&format!("skipped: no image of {}: {missing} is not installed", self.name()));
        false
    }

    /// Makes an image of the game and pushes it to a registry.
    ///
    /// # Panics
    /// A tool fails.
    pub fn push(self, game: &Game, registry: &Registry, name: &str, tag: &str) {
        let work = tempfile::tempdir().unwrap();
        let to = format!("{}/{name}:{tag}", registry.address);
        match self {
            Self::Docker => by_docker(&work, game, registry, &to),
            Self::Buildah => by_buildah(&work, game, registry, &to),
            Self::Umoci => by_umoci(&work, game, registry, &to),
        }
    }
}

/// The first layer.
fn small_system(at: &Path, game: &Game) {
    for dir in ["usr/bin", "usr/games", "etc", "tmp", "home/game", "srv/old"] {
        fs::create_dir_all(at.join(dir)).unwrap();
    }
    fs::copy("/bin/busybox", at.join("usr/bin/busybox")).unwrap();
    for name in ["sh", "rm", "mkdir", "ln", "echo", "chown"] {
        fs::hard_link(at.join("usr/bin/busybox"), at.join("usr/bin").join(name)).unwrap();
    }
    symlink("usr/bin", at.join("bin")).unwrap();
    fs::copy(game.program(), at.join("usr/games/game")).unwrap();
    fs::set_permissions(at.join("usr/games/game"), Permissions::from_mode(0o755)).unwrap();
    let (name, number) = USER;
    let users = format!("root:x:0:0::/root:/bin/sh\n{name}:x:{number}:{number}::/home/game:/bin/sh\n");
    for (path, text) in [("etc/passwd", users.as_str()), ("etc/gone", "gone"), ("srv/old/a", "a")] {
        fs::write(at.join(path), text).unwrap();
    }
    // Nobody but its owner may read it, and that is root until a later layer says otherwise.
    fs::write(at.join("home/game/save"), "save").unwrap();
    fs::set_permissions(at.join("home/game/save"), Permissions::from_mode(0o600)).unwrap();
}

fn by_docker(work: &TempDir, game: &Game, registry: &Registry, to: &str) {
    small_system(&work.path().join("system"), game);
    let mut dockerfile = "FROM scratch\nCOPY system /\n".to_owned();
    for change in CHANGES {
        dockerfile.push_str(&format!("RUN {change}\n"));
    }
    dockerfile.push_str(&format!("USER {}\nENTRYPOINT [\"/usr/games/play\"]\n", USER.0));
    fs::write(work.path().join("Dockerfile"), dockerfile).unwrap();
    let logins = json!({"auths": {registry.address.as_str(): {"auth": LOGIN_BASE64}}});
    let settings = work.path().join("settings");
    fs::create_dir(&settings).unwrap();
    fs::write(settings.join("config.json"), logins.to_string()).unwrap();
    run("docker", &["build", "-q", "--no-cache", "--network", "none", "-t", to, &path(work.path())]);
    run("docker", &["--config", &path(&settings), "push", "-q", to]);
    run("docker", &["rmi", to]);
}

fn by_buildah(work: &TempDir, game: &Game, registry: &Registry, to: &str) {
    let system = work.path().join("system");
    small_system(&system, game);
    let (root, runroot) = (path(&work.path().join("storage")), path(&work.path().join("run")));
    let buildah = |arguments: &[&str]| {
        // A store of its own, which needs neither overlay mounts nor a daemon.
        let store = ["--storage-driver", "vfs", "--root", &root, "--runroot", &runroot];
        run("buildah", &[&store, arguments].concat())
    };
    let mut from = "scratch".to_owned();
    for (number, change) in [None, Some(CHANGES[0]), Some(CHANGES[1]), Some(CHANGES[2])].iter().enumerate() {
        let container = buildah(&["from", "--pull-never", &from]);
        match change {
            None => buildah(&["copy", &container, &path(&system), "/"]),
            Some(change) => {
                buildah(&["run", "--isolation", "chroot", &container, "--", "/bin/sh", "-c", change])
            }
        };
        if number == CHANGES.len() {
            // A number where the others have a name.
            let (user, entrypoint) = (USER.1.to_string(), "[\"/usr/games/play\"]");
            buildah(&["config", "--user", &user, "--entrypoint", entrypoint, &container]);
        }
        from = format!("localhost/made:{number}");
        buildah(&["commit", "-q", &container, &from]);
    }
    let (login, target) = (format!("{USERNAME}:{PASSWORD}"), format!("docker://{to}"));
    let mut push = vec!["push", "-q", "--tls-verify=false", "--format", "oci"];
    if registry.has_login {
        push.extend(["--creds", &login]);
    }
    push.extend([from.as_str(), target.as_str()]);
    buildah(&push);
}

fn by_umoci(work: &TempDir, game: &Game, registry: &Registry, to: &str) {
    let layout = path(&work.path().join("layout"));
    let (image, bundle) = (format!("{layout}:v1"), path(&work.path().join("bundle")));
    let repack = || run("umoci", &["repack", "--refresh-bundle", "--image", &image, &bundle]);
    run("umoci", &["init", "--layout", &layout]);
    run("umoci", &["new", "--image", &image]);
    run("umoci", &["unpack", "--image", &image, &bundle]);
    let root = work.path().join("bundle/rootfs");
    small_system(&root, game);
    repack();
    for change in CHANGES {
        run("chroot", &[&path(&root), "/bin/sh", "-c", change]);
        repack();
    }
    let config =
        ["config", "--image", &image, "--config.user", USER.0, "--config.entrypoint", "/usr/games/play"];
    run("umoci", &config);
    let (login, target) = (format!("{USERNAME}:{PASSWORD}"), format!("docker://{to}"));
    let mut copy = vec!["copy", "-q", "--insecure-policy", "--dest-tls-verify=false"];
    if registry.has_login {
        copy.extend(["--dest-creds", &login]);
    }
    let from = format!("oci:{image}");
    copy.extend([from.as_str(), target.as_str()]);
    run("skopeo", &copy);
}

fn path(path: &Path) -> String {
    path.display().to_string()
}

/// Runs a program to its good end, and gives what it printed.
fn run(program: &str, arguments: &[&str]) -> String {
    let mut command = Command::new(program);
    let output = command.args(arguments).env("DOCKER_BUILDKIT", "0").stdin(Stdio::null()).output().unwrap();
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{program} {arguments:?}: {errors} {said}");
    said.trim().to_owned()
}
