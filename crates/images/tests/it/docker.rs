//! A real registry (Debian's `docker-registry`), images made by real tools (docker, buildah, umoci), and Docker's own view of
//! them: what a mount of our layers shows is what Docker shows.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use spawnpoint_images::{Credentials, PullError, PullOptions, Reference};
use spawnpoint_model::Plaintext;

use crate::fake::{eventually, required, root, store};
use crate::tree::{Mount, differences, tree};

const PASSWORD: &str = "canary-registry-77";
/// The login `robot` with that password, as `htpasswd -nbB` writes it.
const HTPASSWD: &str = "robot:$2y$05$B/pEODsOcBl91QJZ.jadSOKNprlMI29uo/6ZLcxMyjXFKqNyU17VW\n";

/// A registry on loopback. Ends with this value.
struct Registry {
    address: String,
    child: Child,
    _dir: tempfile::TempDir,
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether programs are here; says which is not.
fn have(tools: &[&str]) -> bool {
    let missing = tools.iter().find(|tool| {
        let mut probe = Command::new("sh");
        let probe = probe.args(["-c", "command -v \"$0\" >/dev/null 2>&1", tool]);
        !probe.status().is_ok_and(|status| status.success())
    });
    let Some(missing) = missing else { return true };
    assert!(
        !required(),
        "{missing} is required here (apt-get install docker-registry buildah umoci skopeo busybox-static)"
    );
    println!("skipped: {missing} is not installed");
    false
}

fn have_docker() -> bool {
    let answers =
        have(&["docker"]) && Command::new("docker").arg("version").output().is_ok_and(|o| o.status.success());
    assert!(answers || !required(), "a Docker engine is required here");
    if !answers {
        println!("skipped: no Docker engine answers");
    }
    answers
}

impl Registry {
    async fn start(with_login: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        let mut config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\nhttp: {{addr: \"127.0.0.1:{port}\"}}\n",
            dir.path().join("data").display()
        );
        if with_login {
            let htpasswd = dir.path().join("htpasswd");
            fs::write(&htpasswd, HTPASSWD).unwrap();
            config.push_str(&format!("auth:\n  htpasswd: {{realm: test, path: {}}}\n", htpasswd.display()));
        }
        let file = dir.path().join("config.yml");
        fs::write(&file, config).unwrap();
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let registry =
            Self { address: format!("127.0.0.1:{port}"), child: command.spawn().unwrap(), _dir: dir };
        let at = std::net::SocketAddr::from(([127, 0, 0, 1], port));
        let listens =
            || std::net::TcpStream::connect_timeout(&at, std::time::Duration::from_millis(200)).is_ok();
        eventually("the registry listens", listens).await;
        registry
    }

    fn reference(&self, name: &str) -> Reference {
        format!("{}/{name}", self.address).parse().unwrap()
    }
}

/// Runs a program to its good end, and gives what it printed.
fn run(program: &str, args: &[&str]) -> String {
    let out =
        Command::new(program).args(args).env("DOCKER_BUILDKIT", "0").stdin(Stdio::null()).output().unwrap();
    let errors = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{program} {args:?}: {errors} {}", String::from_utf8_lossy(&out.stdout));
    String::from_utf8_lossy(&out.stdout).trim().to_owned()
}

/// Engine's images and containers of this test; gone with it.
#[derive(Default)]
struct Left {
    images: Vec<String>,
    containers: Vec<String>,
}

impl Drop for Left {
    fn drop(&mut self) {
        for container in &self.containers {
            let _ = Command::new("docker").args(["rm", "-f", container]).output();
        }
        for image in &self.images {
            let _ = Command::new("docker").args(["rmi", "-f", image]).output();
        }
    }
}

/// A name that no other run uses.
fn own_name(what: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{what}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A small system as Alpine and Debian lay it out: symlinked roots, links, set-user-id files, several owners.
fn small_system(at: &Path) {
    for dir in ["usr/bin", "usr/lib", "etc", "tmp", "home/game", "srv/old/deep", "var/log", "root"] {
        fs::create_dir_all(at.join(dir)).unwrap();
    }
    fs::copy("/bin/busybox", at.join("usr/bin/busybox")).unwrap();
    for name in
        ["sh", "ls", "rm", "mkdir", "ln", "chmod", "chown", "mv", "touch", "cp", "echo", "mkfifo", "mknod"]
    {
        fs::hard_link(at.join("usr/bin/busybox"), at.join("usr/bin").join(name)).unwrap();
    }
    symlink("usr/bin", at.join("bin")).unwrap();
    symlink("/usr/lib", at.join("lib")).unwrap();
    symlink("../var/log", at.join("srv/logs")).unwrap();
    let put = |path: &str, text: &str, mode: u32, uid: u32, gid: u32| {
        fs::write(at.join(path), text).unwrap();
        chown(at.join(path), Some(uid), Some(gid)).unwrap();
        fs::set_permissions(at.join(path), fs::Permissions::from_mode(mode)).unwrap();
    };
    put("etc/passwd", "root:x:0:0::/root:/bin/sh\ngame:x:1000:1000::/home/game:/bin/sh\n", 0o644, 0, 0);
    put("etc/shadow", "root:*:::::::\n", 0o640, 0, 42);
    put("etc/gone", "gone", 0o644, 0, 0);
    put("usr/bin/su", "su", 0o4755, 0, 0);
    put("usr/bin/wall", "wall", 0o2755, 0, 5);
    put("usr/lib/lib.so.1", "lib", 0o644, 0, 0);
    put("home/game/save", "save", 0o600, 1000, 1000);
    put("srv/old/a", "a", 0o644, 123_456, 654_321);
    put("srv/old/deep/b", "b", 0o644, 7, 8);
    symlink("lib.so.1", at.join("usr/lib/lib.so")).unwrap();
    chown(at.join("home/game"), Some(1000), Some(1000)).unwrap();
    fs::set_permissions(at.join("tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
    fs::set_permissions(at.join("root"), fs::Permissions::from_mode(0o700)).unwrap();
    let capability = b"\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let name = at.join("usr/bin/wall");
    rustix::fs::lsetxattr(&name, "security.capability", capability, rustix::fs::XattrFlags::empty()).unwrap();
}

/// What is done to it, one layer a line: every kind of change that a layer can express.
const CHANGES: &[&str] = &[
    "rm /etc/gone && rm /usr/lib/lib.so",
    "rm -r /srv/old && mkdir /srv/old && echo new > /srv/old/new",
    "ln /usr/bin/su /usr/bin/su2 && ln -s /etc/passwd /srv/passwd",
    "chmod 4711 /usr/bin/wall && chown 1000:5 /home/game/save && chmod 1770 /home/game",
    "mkdir -p /a/b/c && echo x > /a/b/c/x && mkfifo /a/pipe && mknod /a/zero c 1 5",
    "rm -r /a/b && echo file > /a/b && rm /srv/passwd && mkdir /srv/passwd && echo y > /srv/passwd/y",
    "mv /var/log /var/logs && ln -s logs /var/log && echo line > /var/log/line",
    "echo bin > /bin/extra && echo lib > /lib/extra",
    "rm -r /srv/passwd && rm /a/zero && touch /a/b",
];

/// Pulls with both, mounts ours, exports Docker's, and compares.
async fn equals_docker(reference: &Reference) {
    let test = store();
    let image = test.store.pull(reference, None, &PullOptions::default()).await.unwrap();
    let name = reference.to_string();
    let mut left = Left::default();
    run("docker", &["pull", "-q", &name]);
    left.images.push(name.clone());
    let container = run("docker", &["create", "--network", "none", &name, "/x"]);
    left.containers.push(container.clone());
    let exported = tempfile::tempdir().unwrap();
    let unpack = format!(
        "docker export {container} | tar -C {} -x -p --numeric-owner --same-owner --xattrs --xattrs-include='*'",
        exported.path().display()
    );
    run("sh", &["-c", &unpack]);
    let mount = Mount::new(&image);
    let (ours, theirs) = (tree(&mount.root), tree(exported.path()));
    let found = differences(&ours, &theirs);
    assert!(found.is_empty(), "{name}: {} differences\n{}", found.len(), found.join("\n"));
    assert!(ours.len() > 3, "{name}: nothing was compared");
    println!("{name}: {} files in {} layers are equal", ours.len(), image.layers.len());
    let inspected = run(
        "docker",
        &["inspect", "-f", "{{json .Config.Entrypoint}} {{.Config.User}} {{.Config.WorkingDir}}", &name],
    );
    let config = &image.config;
    let entrypoint = serde_json::to_string(&config.entrypoint).unwrap();
    let told = format!("{entrypoint} {} {}", config.user, config.working_dir);
    assert_eq!(told.trim(), inspected.replace("null", "[]").trim());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_docker_builds_looks_as_docker_shows_it() {
    if !root() || !have(&["docker-registry", "busybox"]) || !have_docker() {
        return;
    }
    let registry = Registry::start(false).await;
    let context = tempfile::tempdir().unwrap();
    small_system(&context.path().join("system"));
    fs::write(context.path().join("extra"), "extra").unwrap();
    let mut dockerfile = "FROM scratch\nCOPY system /\n".to_owned();
    for change in CHANGES {
        dockerfile.push_str(&format!("RUN {change}\n"));
    }
    dockerfile.push_str("COPY --chown=1000:1000 extra /home/game/new/extra\nUSER 1000:1000\nWORKDIR /home/game\nENTRYPOINT [\"/bin/sh\"]\n");
    fs::write(context.path().join("Dockerfile"), dockerfile).unwrap();
    let reference = registry.reference(&format!("{}:1", own_name("docker")));
    let name = reference.to_string();
    let _left = Left { images: vec![name.clone()], containers: Vec::new() };
    run("docker", &["build", "-q", "--network", "none", "-t", &name, context.path().to_str().unwrap()]);
    run("docker", &["push", "-q", &name]);
    let saved = context.path().join("saved.tar");
    run("docker", &["save", "-o", saved.to_str().unwrap(), &name]);
    equals_docker(&reference).await;
    // The same image from a file is the same tree.
    let test = store();
    let saved = tokio::task::block_in_place(|| test.store.import(&saved, None).unwrap());
    assert_eq!(saved[0].names, std::slice::from_ref(&name));
    let pulled = test.store.pull(&reference, None, &PullOptions::default()).await.unwrap();
    assert_eq!(saved[0].image.layers, pulled.layers);
}

/// Runs buildah with a store of its own, which needs neither overlay mounts nor a daemon.
fn buildah(work: &Path, args: &[&str]) -> String {
    let (root, runroot) = (work.join("storage"), work.join("run"));
    let mut all = vec![
        "--storage-driver",
        "vfs",
        "--root",
        root.to_str().unwrap(),
        "--runroot",
        runroot.to_str().unwrap(),
    ];
    all.extend_from_slice(args);
    run("buildah", &all)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_buildah_builds_looks_as_docker_shows_it() {
    if !root() || !have(&["docker-registry", "busybox", "buildah"]) || !have_docker() {
        return;
    }
    let (registry, other) = (Registry::start(false).await, Registry::start(false).await);
    let work = tempfile::tempdir().unwrap();
    let system = work.path().join("system");
    small_system(&system);
    let to = own_name("buildah");
    let mut from = "scratch".to_owned();
    for (n, changes) in [&CHANGES[..0], &CHANGES[..3], &CHANGES[3..6], &CHANGES[6..]].into_iter().enumerate()
    {
        let container = buildah(work.path(), &["from", "--pull-never", &from]);
        if n == 0 {
            buildah(work.path(), &["copy", &container, system.to_str().unwrap(), "/"]);
        }
        for change in changes {
            buildah(
                work.path(),
                &[
                    "run",
                    "--isolation",
                    "chroot",
                    "--cap-add",
                    "CAP_MKNOD",
                    &container,
                    "--",
                    "/bin/sh",
                    "-c",
                    change,
                ],
            );
        }
        if n == 3 {
            buildah(work.path(), &["config", "--user", "game", "--entrypoint", "[\"/bin/sh\"]", &container]);
        }
        from = format!("localhost/{to}:{n}");
        buildah(work.path(), &["commit", "-q", &container, &from]);
    }
    let plain = registry.reference(&format!("{to}:oci"));
    for (tag, options) in [
        ("oci", &["--format", "oci"][..]),
        ("docker", &["--format", "v2s2"]),
        ("zstd", &["--format", "oci", "--compression-format", "zstd"]),
    ] {
        // The registry with the other forms would be told to use what it has.
        let registry = if tag == "zstd" { &other } else { &registry };
        let reference = registry.reference(&format!("{to}:{tag}"));
        let target = format!("docker://{reference}");
        let mut args = vec!["push", "-q", "--tls-verify=false"];
        args.extend_from_slice(options);
        args.extend([from.as_str(), target.as_str()]);
        buildah(work.path(), &args);
        match tag {
            "zstd" => zstd_is_the_same(&reference, &plain).await,
            _ => equals_docker(&reference).await,
        }
    }
}

/// Docker 20.10 knows no zstd; such an image must be what the other is.
async fn zstd_is_the_same(zstd: &Reference, plain: &Reference) {
    let (test, other) = (store(), store());
    let zstd = test.store.pull(zstd, None, &PullOptions::default()).await.unwrap();
    let plain = other.store.pull(plain, None, &PullOptions::default()).await.unwrap();
    assert_ne!(plain.digest, zstd.digest);
    let (ours, theirs) = (Mount::new(&zstd), Mount::new(&plain));
    let found = differences(&tree(&ours.root), &tree(&theirs.root));
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_umoci_builds_looks_as_docker_shows_it() {
    if !root() || !have(&["docker-registry", "busybox", "umoci", "skopeo"]) || !have_docker() {
        return;
    }
    let registry = Registry::start(false).await;
    let work = tempfile::tempdir().unwrap();
    let path = |name: &str| work.path().join(name).to_str().unwrap().to_owned();
    let (layout, image, bundle) = (path("layout"), path("layout") + ":v1", path("bundle"));
    run("umoci", &["init", "--layout", &layout]);
    run("umoci", &["new", "--image", &image]);
    run("umoci", &["unpack", "--image", &image, &bundle]);
    let rootfs = work.path().join("bundle/rootfs");
    small_system(&rootfs);
    run("umoci", &["repack", "--refresh-bundle", "--image", &image, &bundle]);
    for (n, changes) in [&CHANGES[..2], &CHANGES[2..6], &CHANGES[6..]].into_iter().enumerate() {
        for change in changes {
            run("chroot", &[rootfs.to_str().unwrap(), "/bin/sh", "-c", change]);
        }
        run("umoci", &["repack", "--refresh-bundle", "--image", &image, &bundle]);
        assert!(n < 3);
    }
    fs::write(work.path().join("inserted"), "inserted").unwrap();
    run("umoci", &["insert", "--image", &image, &path("inserted"), "/var/new/inserted"]);
    run(
        "umoci",
        &["config", "--image", &image, "--config.user", "1000:1000", "--config.entrypoint", "/bin/sh"],
    );
    let reference = registry.reference(&format!("{}:1", own_name("umoci")));
    let (from, to) = (format!("oci:{image}"), format!("docker://{reference}"));
    run("skopeo", &["copy", "-q", "--insecure-policy", "--dest-tls-verify=false", &from, &to]);
    equals_docker(&reference).await;
    // The layout itself, as a directory.
    let (test, dir) = (store(), PathBuf::from(layout));
    let own: Reference = "r.test/umoci:1".parse().unwrap();
    let imported = tokio::task::block_in_place(|| test.store.import(&dir, Some(&own)).unwrap());
    let pulled = test.store.pull(&reference, None, &PullOptions::default()).await.unwrap();
    assert_eq!(imported[0].image, pulled);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_with_a_login_serves_who_has_it() {
    if !root() || !have(&["docker-registry", "busybox", "umoci", "skopeo"]) {
        return;
    }
    let registry = Registry::start(true).await;
    let work = tempfile::tempdir().unwrap();
    let layout = work.path().join("layout").to_str().unwrap().to_owned();
    let image = format!("{layout}:v1");
    run("umoci", &["init", "--layout", &layout]);
    run("umoci", &["new", "--image", &image]);
    run("umoci", &["insert", "--image", &image, "/bin/busybox", "/busybox"]);
    let reference = registry.reference("studio/arena:1");
    let (from, to) = (format!("oci:{image}"), format!("docker://{reference}"));
    let login = format!("robot:{PASSWORD}");
    run(
        "skopeo",
        &["copy", "-q", "--insecure-policy", "--dest-tls-verify=false", "--dest-creds", &login, &from, &to],
    );
    let test = store();
    let credentials =
        |password: &str| Credentials { username: "robot".to_owned(), password: Plaintext::new(password) };
    for wrong in [None, Some(credentials("wrong"))] {
        let error = test.store.pull(&reference, wrong.as_ref(), &PullOptions::default()).await.unwrap_err();
        assert!(matches!(error, PullError::Denied { status: 401 }), "{error}");
    }
    let right = credentials(PASSWORD);
    let image = test.store.pull(&reference, Some(&right), &PullOptions::default()).await.unwrap();
    assert_eq!(fs::read(image.layers[0].join("busybox")).unwrap(), fs::read("/bin/busybox").unwrap());
    let missing =
        test.store.pull(&registry.reference("studio/none:1"), Some(&right), &PullOptions::default()).await;
    assert!(matches!(missing, Err(PullError::NotFound)), "{missing:?}");
}
