//! A real authority that speaks ACME: Debian's `pebble`, on ports and with keys of its own. It asks the name server that it is
//! told for TXT records.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Map, Value, json};
use tempfile::TempDir;
use tokio::time::Instant;

use crate::registry::free_port;
use crate::{PATIENCE, eventually, say};

/// How long a start may take.
const START: Duration = Duration::from_secs(15);
/// Starts, with other ports each time.
const TRIES: u32 = 3;

/// How one is started.
#[derive(Debug, Clone, Default)]
pub struct Setup {
    /// Port of the name server that it asks.
    pub names: u16,
    /// Its environment.
    pub environment: Vec<(&'static str, &'static str)>,
    /// Seconds for which its certificates are good.
    pub seconds: Option<u32>,
    /// The account that it wants to hear of: kid and key.
    pub binding: Option<(&'static str, &'static str)>,
}

/// An authority. It ends with this value.
#[derive(Debug)]
pub struct Pebble {
    /// Address of its directory.
    pub directory: String,
    /// Who signs its server's certificate.
    pub ca: PathBuf,
    management: u16,
    setup: Setup,
    child: Option<Child>,
    dir: TempDir,
}

impl Pebble {
    /// Whether it is installed; says so if not.
    ///
    /// # Panics
    /// It is required here.
    #[must_use]
    pub fn is_there() -> bool {
        let there = Command::new("pebble").arg("-help").output().is_ok();
        let required = std::env::var("CI").is_ok_and(|set| set == "true");
        assert!(there || !required, "pebble is required here (Debian: pebble)");
        if !there {
            say("skipped: there is no pebble (Debian: pebble)");
        }
        there
    }

    /// Starts one.
    ///
    /// # Panics
    /// It does not answer.
    #[must_use]
    pub fn start(setup: Setup) -> Self {
        let tries = (0..TRIES).find_map(|_| {
            let mut pebble = Self::prepare(setup.clone());
            pebble.run().then_some(pebble)
        });
        tries.unwrap_or_else(|| panic!("pebble does not answer"))
    }

    /// Its files.
    fn prepare(setup: Setup) -> Self {
        let dir = tempfile::tempdir().unwrap();
        make_certificate(dir.path());
        let (port, management) = (free_port(), free_port());
        let mut pebble = json!({
            "listenAddress": format!("127.0.0.1:{port}"),
            "managementListenAddress": format!("127.0.0.1:{management}"),
            "certificate": dir.path().join("cert.pem"), "privateKey": dir.path().join("key.pem"),
            "httpPort": 1, "tlsPort": 1, "ocspResponderURL": "",
            "externalAccountBindingRequired": setup.binding.is_some(),
        });
        if let Some(seconds) = setup.seconds {
            pebble["certificateValidityPeriod"] = json!(seconds);
        }
        if let Some((kid, key)) = setup.binding {
            pebble["externalAccountMACKeys"] = Value::Object(Map::from_iter([(kid.to_owned(), json!(key))]));
        }
        std::fs::write(dir.path().join("config.json"), json!({ "pebble": pebble }).to_string()).unwrap();
        let directory = format!("https://127.0.0.1:{port}/dir");
        let ca = dir.path().join("ca.pem");
        Self { directory, ca, management, setup, child: None, dir }
    }

    /// Ends it and starts it again with another name server: it keeps nothing, and has another root then.
    pub fn restart(&mut self, names: u16) {
        self.end();
        self.setup.names = names;
        assert!(self.run(), "pebble does not answer");
    }

    /// Runs it; `false` if it does not answer soon. (Another program may have got one of its ports in the meantime.)
    fn run(&mut self) -> bool {
        let log = OpenOptions::new().create(true).append(true).open(self.dir.path().join("log")).unwrap();
        let mut command = Command::new("pebble");
        command.args(["-dnsserver", &format!("127.0.0.1:{}", self.setup.names)]);
        command.arg("-config").arg(self.dir.path().join("config.json"));
        command.envs(self.setup.environment.iter().copied()).stdin(Stdio::null());
        command.stdout(log.try_clone().unwrap()).stderr(log);
        self.child = Some(command.spawn().unwrap());
        let started = Instant::now();
        eventually("pebble answers, or does not", PATIENCE, || match self.fetch(&self.directory) {
            Some(_) => Some(true),
            None => (started.elapsed() > START).then_some(false),
        })
    }

    /// Ends it.
    pub fn end(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    fn fetch(&self, url: &str) -> Option<Vec<u8>> {
        let output = Command::new("curl")
            .args(["-sSf", "-m", "5", "--noproxy", "*", "--cacert"])
            .arg(&self.ca)
            .arg(url)
            .output()
            .unwrap();
        output.status.success().then_some(output.stdout)
    }

    /// The root of the certificates that it signs, in a file.
    ///
    /// # Panics
    /// It does not answer.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        let url = format!("https://127.0.0.1:{}/roots/0", self.management);
        let path = self.dir.path().join("root.pem");
        let root = eventually("pebble tells its root", PATIENCE, || self.fetch(&url));
        std::fs::write(&path, root).unwrap();
        path
    }

    /// What it has logged, over all of its lives.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// How many certificates it has signed for others.
    #[must_use]
    pub fn issued(&self) -> usize {
        self.log().matches("Issued certificate serial").count()
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            say("the end of pebble's log:");
            lines[lines.len().saturating_sub(40)..].iter().for_each(|line| say(line));
        }
        self.end();
    }
}

/// Makes a certificate for this machine's own address, and the authority that signs it.
fn make_certificate(dir: &Path) {
    let openssl = |arguments: &str| {
        let made = Command::new("openssl").args(arguments.split(' ')).current_dir(dir).output().unwrap();
        assert!(made.status.success(), "{made:?}");
    };
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    openssl(&format!("req -x509 {key} -days 2 -subj /CN=pebble-ca -keyout ca-key.pem -out ca.pem"));
    openssl(&format!("req {key} -subj /CN=pebble -keyout key.pem -out request.pem"));
    std::fs::write(dir.join("extensions"), "subjectAltName=IP:127.0.0.1,DNS:localhost\n").unwrap();
    let sign = "-CA ca.pem -CAkey ca-key.pem -CAcreateserial -days 2 -extfile extensions";
    openssl(&format!("x509 -req -in request.pem {sign} -out cert.pem"));
}
