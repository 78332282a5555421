//! Mistakes are tested by what a person would read; every option by being in the default file.

use super::*;

/// The kernel of a machine that nobody changed.
fn kernel() -> KernelPorts {
    KernelPorts::parse("32768\t60999\n", "\n")
}

fn load_text_with(text: &str, variables: &[(&str, &str)]) -> Result<Loaded, Problem> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("spawnpoint.toml");
    std::fs::write(&path, text).unwrap();
    let variables = Variables::new(variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
    load(Some(&path), &variables, &Overrides::default(), &kernel())
}

fn load_text(text: &str) -> Result<Loaded, Problem> {
    load_text_with(text, &[])
}

/// What a person reads about a mistake, without the temporary directory's name.
fn mistake(text: &str) -> String {
    let text = load_text(text).unwrap_err().to_string();
    text.split_once("spawnpoint.toml").map(|(_, rest)| rest.to_owned()).unwrap_or(text)
}

/// The default file with every option that is off turned on.
fn all_options() -> String {
    DEFAULT_TEXT
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(option) if !option.starts_with(' ') => option,
            _ => line,
        })
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn the_default_file_says_what_the_code_does_without_a_file() {
    assert_eq!(toml::from_str::<Config>(DEFAULT_TEXT).unwrap(), Config::default());
}

#[test]
fn every_option_stands_in_the_default_file_and_in_the_guide() {
    let text = all_options();
    let everything: toml::Table = text.parse().unwrap();
    let guide = include_str!("../../../../docs/configuration.md");
    let sections = [
        "api",
        "data",
        "store",
        "secrets",
        "domain",
        "dns",
        "tls",
        "tls.acme",
        "limits",
        "webhooks",
        "storage",
        "oci",
        "geo",
        "beacon",
        "callback",
        "retention",
        "metrics",
        "logs",
        "registry",
        "log",
    ];
    for section in sections {
        // The reader itself tells which options it knows, when it is given one that it does not.
        let err = toml::from_str::<Config>(&format!("[{section}]\nno_such_option = 1")).unwrap_err();
        let known: Vec<&str> = err.message().split('`').skip(3).step_by(2).collect();
        assert!(!known.is_empty(), "{section}: {err}");
        let inner = |table: &toml::Value, key: &str| table.get(key).cloned().unwrap();
        let table = section.split('.').fold(toml::Value::Table(everything.clone()), |t, key| inner(&t, key));
        for key in known {
            assert!(table.get(key).is_some(), "{section}.{key} is missing in config.default.toml");
            let variable = format!("SPAWNPOINT_{}__{key}", section.replace('.', "__")).to_uppercase();
            assert!(
                guide.contains(&format!("`{variable}`")),
                "{variable} is missing in docs/configuration.md"
            );
        }
    }
    let site = &everything["site"][0];
    let host = &site["host"][0];
    let fleet = &everything["private_fleet"][0];
    let centroid = &fleet["centroid"];
    for (unknown, table) in [
        ("[[site]]\nno_such_option = 1", site),
        ("[[site]]\nname=''\ncity=''\nlatitude=0\nlongitude=0\n[[site.host]]\nno_such_option = 1", host),
        ("[[private_fleet]]\nno_such_option = 1", fleet),
        ("[[private_fleet]]\nname=''\ncentroid = { no_such_option = 1 }", centroid),
    ] {
        let err = toml::from_str::<Config>(unknown).unwrap_err();
        for key in err.message().split('`').skip(3).step_by(2) {
            assert!(
                table.get(key).is_some(),
                "{key} of a site, host or fleet is missing in config.default.toml"
            );
        }
    }
}

#[test]
fn every_option_may_be_turned_on_at_once() {
    // But for what excludes something else: a certificate comes from one place.
    let told = mistake(&all_options());
    assert!(told.contains("tls.acme: cannot be there together with tls.certificate"), "{told}");
    let without = |prefixes: &[&str]| -> String {
        let text = all_options();
        let kept = text.lines().filter(|line| !prefixes.iter().any(|prefix| line.starts_with(prefix)));
        kept.collect::<Vec<_>>().join("\n")
    };
    let by_acme = without(&["certificate =", "key = \"/etc/spawnpoint/wildcard", "tls = { certificate"])
        .replacen("listen = []", "listen = [\"127.0.0.1:5353\"]", 1)
        .replacen("spawnpoint.localhost", "play.example.com", 1);
    assert!(load_text(&by_acme).unwrap().config.tls.acme.is_some());
    let (files, acme) =
        all_options().split_once("\n[tls.acme]\n").map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    let after = acme.split_once("\n[limits]").map(|(_, rest)| format!("\n[limits]{rest}")).unwrap();
    let loaded = load_text(&format!("{files}{after}")).unwrap();
    assert_eq!(loaded.plan.hosts.len(), 1);
    assert_eq!(loaded.config.webhooks.allow_networks, []);
    assert_eq!(loaded.plan.private_fleets[0].centroid.label, "Midwest");
}

#[test]
fn with_no_file_there_is_one_local_site_on_this_machine() {
    let loaded = load(None, &Variables::default(), &Overrides::default(), &kernel()).unwrap();
    assert_eq!(loaded.plan.sites.len(), 1);
    let host = &loaded.plan.hosts[0];
    assert_eq!(host.id.as_str(), "local");
    assert_eq!(host.driver.to_string(), "auto");
    assert_eq!(host.public_address.to_string(), "127.0.0.1");
    assert_eq!(host.port_range, 30000..=32767);
    assert_eq!(loaded.config.store_url().to_string(), "sqlite:spawnpoint-data/spawnpoint.db");
}

#[test]
fn a_mistake_names_the_line_the_key_and_what_is_allowed() {
    let cases = [
        ("[api]\nlisten = \"0.0.0.0:80\"\nport = 3\n", &["line 3", "`port`", "`listen`"][..]),
        ("[api]\nlisten = \"nowhere\"\n", &["line 2", "listen", "invalid socket address"]),
        ("[apis]\n", &["line 1", "`apis`", "`webhooks`"]),
        ("[limits]\ndeploy_per_second = -1\n", &["line 2", "deploy_per_second", "u32"]),
        ("[metrics]\ndays = 7\nsample_seconds = 61\n", &["line 3", "metrics.sample_seconds", "0 to 60"]),
        ("[store]\nurl = \"mysql://x\"\n", &["line 2", "sqlite:PATH", "postgres://"]),
        ("[log]\nlevel = \"loud\"\n", &["line 2", "\"loud\"", "debug"]),
        ("[log]\nlevel = \"info,bollard::docker=debug\"\n", &["line 2", "bollard", "secrets"]),
        ("[log]\nformat = \"xml\"\n", &["line 2", "`xml`", "`json`"]),
        ("[webhooks]\nallow_networks = [\"10.0.0.0/33\"]\n", &["line 2", "10.0.0.0/33", "10.0.0.0/8"]),
        ("\n[domain]\nsuffix = \"a..b\"\n", &["line 3", "domain.suffix", "play.example.com"]),
        ("[beacon]\nudp_port = 60000\n", &["line 2", "beacon.udp_port", "1 to 59999"]),
        (
            "[beacon]\nenabled = true\nudp_port = 0\ntcp_port = 0\n",
            &["line 2", "beacon.enabled", "udp_port or a tcp_port"],
        ),
        ("[beacon]\npublic_host = \"a b\"\n", &["line 2", "beacon.public_host", "an address or a name"]),
        (
            "[beacon]\nenabled = true\ntcp_port = 30000\n",
            &["line 3", "beacon.tcp_port", "port_range of host local"],
        ),
        (
            "[[site]]\nname = \"a\"\ncity = \"X\"\nlatitude = 1\nlongitude = 0\nbeacon = { udp_port = 8090 }\n",
            &["line 6", "site[0].beacon.host", "players reach it"],
        ),
        ("[callback]\nport = 0\n", &["line 2", "callback.port", "1 to 65535"]),
        ("[oci]\npool = 65\n", &["line 2", "oci.pool", "1 to 64"]),
        ("[oci]\nrun_dir = \"run\"\n", &["line 2", "oci.run_dir", "absolute path"]),
        ("[oci]\nrun_dir = \"/run/../x\"\n", &["line 2", "oci.run_dir", "absolute path"]),
        ("[oci]\nsubnet = \"10.0.0.0/8\"\n", &["line 2", "subnet", "10.0.0.0/8", "16 to 24 bits"]),
        ("[callback]\nurl = \"ftp://x\"\n", &["line 2", "http://"]),
        (
            "[api]\nclient_address_header = \"X Y\"\n",
            &["line 2", "api.client_address_header", "header's name"],
        ),
        ("[[site]]\ncity = \"X\"\nlatitude = 0\nlongitude = 0\n", &["line 1", "missing field `name`"]),
        (
            "[[site]]\nname = \"a b\"\ncity = \"X\"\nlatitude = 0\nlongitude = 0\n",
            &["line 2", "site[0].name", "letters"],
        ),
        (
            "[[site]]\nname = \"a\"\ncity = \"X\"\nlatitude = 91\nlongitude = 0\n",
            &["line 4", "site[0].latitude", "-90 to 90"],
        ),
        ("not toml", &["line 1"]),
    ];
    for (text, wanted) in cases {
        let message = mistake(text);
        for part in wanted {
            assert!(message.contains(part), "{text:?} gave {message:?}, in which {part:?} is missing");
        }
    }
}

/// A site with these hosts.
fn site(hosts: &str) -> String {
    format!("[[site]]\nname = \"s\"\ncity = \"S\"\nlatitude = 1\nlongitude = 2\n{hosts}")
}

#[test]
fn a_mistake_in_a_host_names_its_line() {
    let capacity = "capacity = { cpu_units = 1024, memory_mib = 1024 }";
    let cases = [
        (String::from("[[site.host]]\nname = \"h\"\ndriver = \"kubernetes\"\n"), &["line 8", "driver", "planned"][..]),
        (
            String::from("[[site.host]]\nname = \"h\"\ndriver = \"oci\"\nendpoint = \"unix:///x\"\n"),
            &["endpoint", "this machine"][..],
        ),
        ("[[site.host]]\nname = \"h\"\ndriver = \"podman\"\n".into(), &["line 8", "`podman`", "`docker`"]),
        ("[[site.host]]\nname = \"h\"\nendpoint = \"tcp://192.0.2.1:2376\"\n".into(), &["line 8", "needs tls"]),
        ("[[site.host]]\nname = \"h\"\nendpoint = \"192.0.2.1\"\n".into(), &["line 8", "tcp://ADDRESS:PORT"]),
        ("[[site.host]]\nname = \"h\"\nport_range = \"32000-33000\"\n".into(), &["line 8", "port 32768", "ip_local_reserved_ports"]),
        ("[[site.host]]\nname = \"h\"\nport_range = \"31000-30000\"\n".into(), &["line 8", "not a range"]),
        ("[[site.host]]\nname = \"h\"\nport_range = \"80-90\"\n".into(), &["line 8", "not a range"]),
        ("[[site.host]]\nname = \"h\"\npublic_address = \"0.0.0.0\"\n".into(), &["line 8", "no address that players"]),
        (
            "[[site.host]]\nname = \"h\"\nendpoint = \"tcp://games.example:2376\"\ntls = { ca = \"a\", cert = \"b\", key = \"c\" }\n".into(),
            &["line 6", "public_address", "say where players reach it"],
        ),
        ("[[site.host]]\nname = \"h\"\nbeacon = { udp_port = 0 }\n".into(), &["line 8", "host[0].beacon.udp_port", "1 to 59999"]),
        ("[[site.host]]\nname = \"h\"\nbeacon = { host = \"0.0.0.0\", udp_port = 1 }\n".into(), &["line 8", "beacon.host", "no address that players"]),
        ("[[site.host]]\nname = \"h\"\nbeacon = {}\n".into(), &["line 8", "beacon", "needs a udp_port or a tcp_port"]),
        ("[[site.host]]\nname = \"h\"\n[[site.host]]\nname = \"h\"\n".into(), &["line 9", "two hosts are named"]),
        (
            format!("[[site.host]]\nname = \"a\"\n{capacity}\n[[site.host]]\nname = \"b\"\n{capacity}\n"),
            &["line 9", "site[0].host[1].port_range", "host b", "host a", "overlaps"],
        ),
        (
            "[[site.host]]\nname = \"a\"\nport_range = \"30000-30100\"\n[[site.host]]\nname = \"b\"\nport_range = \"30200-30300\"\n".into(),
            &["line 9", "capacity", "share this machine"],
        ),
    ];
    for (hosts, wanted) in cases {
        let message = mistake(&site(&hosts));
        for part in wanted {
            assert!(message.contains(part), "{hosts:?} gave {message:?}, in which {part:?} is missing");
        }
    }
}

#[test]
fn a_host_has_its_own_beacon_or_its_sites_or_that_of_this_machine() {
    let hosts = "beacon = { host = \"b.example\", tcp_port = 7 }\n\
        [[site.host]]\nname = \"own\"\npublic_address = \"203.0.113.7\"\nbeacon = { udp_port = 9 }\ndriver = \"fake\"\n\
        [[site.host]]\nname = \"sites\"\ndriver = \"fake\"\n";
    let tls = "tls = { ca = \"a\", cert = \"b\", key = \"c\" }";
    let elsewhere = format!(
        "[[site]]\nname = \"t\"\ncity = \"T\"\nlatitude = 1\nlongitude = 2\n\
         [[site.host]]\nname = \"here\"\npublic_address = \"203.0.113.8\"\ndriver = \"fake\"\n\
         [[site.host]]\nname = \"away\"\nendpoint = \"tcp://203.0.113.9:2376\"\n{tls}\n"
    );
    let of = |section: &str| {
        let loaded = load_text(&format!("{section}{}{elsewhere}", site(hosts))).unwrap();
        let shown = |plan: &HostPlan| match &plan.beacon {
            Some(beacon) => {
                let port = |port: Option<u16>| port.map_or("-".to_owned(), |port| port.to_string());
                format!("{} {} {}", beacon.host, port(beacon.udp_port), port(beacon.tcp_port))
            }
            None => "none".to_owned(),
        };
        loaded.plan.hosts.iter().map(shown).collect::<Vec<_>>()
    };
    let named = ["203.0.113.7 9 -", "b.example - 7"];
    assert_eq!(of(""), [named[0], named[1], "none", "none"]);
    let on = "[beacon]\nenabled = true\ntcp_port = 0\n";
    assert_eq!(of(on), [named[0], named[1], "203.0.113.8 8090 -", "none"]);
    let with_name = format!("{on}public_host = \"ping.example\"\n");
    assert_eq!(of(&with_name), [named[0], named[1], "ping.example 8090 -", "none"]);
}

#[test]
fn ports_that_the_kernel_keeps_free_may_be_given_out() {
    let kernel = KernelPorts::parse("1024 65535", "30000-32767,40000");
    assert_eq!(kernel.first_taken(&(30000..=32767)), None);
    assert_eq!(kernel.first_taken(&(29999..=32767)), Some(29999));
    assert_eq!(
        KernelPorts::parse("", "").first_taken(&(1..=65535)),
        None,
        "an unknown kernel is not guessed at"
    );
}

#[test]
fn the_environment_wins_over_the_file_and_flags_win_over_both() {
    let text = "[api]\nlisten = \"127.0.0.1:1\"\n[limits]\ndeploy_per_second = 1\n[domain]\nsuffix = \"file.example\"\n";
    let variables = [
        ("SPAWNPOINT_API__LISTEN", "127.0.0.1:2"),
        ("SPAWNPOINT_LIMITS__DEPLOY_PER_SECOND", "2"),
        ("SPAWNPOINT_WEBHOOKS__ALLOW_NETWORKS", "[\"10.0.0.0/8\", \"::1\"]"),
        ("SPAWNPOINT_DOMAIN__SUFFIX", "42"),
        ("SPAWNPOINT_ADMIN_TOKEN", "no option"),
    ];
    let config = load_text_with(text, &variables).unwrap().config;
    assert_eq!(config.api.listen.port(), 2);
    assert_eq!(config.limits, Limits { deploy_per_second: 2, ..Limits::default() });
    assert_eq!(config.webhooks.allow_networks.len(), 2);
    assert_eq!(config.domain.suffix, "42", "a number is a text where a text is wanted");

    let overrides = Overrides { data_dir: Some("/x".into()), listen: Some("127.0.0.1:3".parse().unwrap()) };
    let variables = Variables::new([("SPAWNPOINT_API__LISTEN".to_owned(), "127.0.0.1:2".to_owned())]);
    let config = load(None, &variables, &overrides, &kernel()).unwrap().config;
    assert_eq!((config.api.listen.port(), config.data.dir), (3, "/x".into()));
}

#[test]
fn a_registry_may_come_from_the_environment_and_is_whole_or_not_there() {
    let whole = [
        ("SPAWNPOINT_REGISTRY__PROJECT", "games"),
        ("SPAWNPOINT_REGISTRY__TOKEN_FILE", "/run/token"),
        ("SPAWNPOINT_REGISTRY__URL", "registry.example.com"),
        ("SPAWNPOINT_REGISTRY__USERNAME", "robot"),
    ];
    assert_eq!(load_text_with("", &whole).unwrap().config.registry.unwrap().username, "robot");
    let err = load_text_with("", &whole[..3]).unwrap_err().to_string();
    assert!(err.contains("registry.username: is missing"), "{err}");
    assert!(mistake("[registry]\nurl = \"x\"\n").contains("line 1: registry.project"));
    let of = |url: &str, project: &str| {
        let rest = "username = \"robot\"\ntoken_file = \"/run/token\"";
        load_text_with(&format!("[registry]\nurl = \"{url}\"\nproject = \"{project}\"\n{rest}\n"), &[])
    };
    for good in ["registry.example.com", "127.0.0.1:5000", "[::1]:5000", "docker.io"] {
        assert!(of(good, "games/eu").is_ok(), "{good}");
    }
    for bad in ["https://registry.example.com", "a/b", "user@a", "a b", "a?b", "a:port"] {
        assert!(of(bad, "games").unwrap_err().to_string().contains("registry.url: must be"), "{bad}");
    }
    for bad in ["Games", "games/", "../games", "games?x"] {
        assert!(of("a", bad).unwrap_err().to_string().contains("registry.project: must be"), "{bad}");
    }
}

#[test]
fn a_mistake_in_the_environment_names_the_variable() {
    for (name, value, wanted) in [
        ("SPAWNPOINT_API__PORT", "1", "`port`"),
        ("SPAWNPOINT_API__LISTEN", "here", "socket address"),
        ("SPAWNPOINT_NOPE__X", "1", "`nope`"),
        ("SPAWNPOINT_LIMITS__DEPLOY_PER_SECOND", "many", "u32"),
    ] {
        let message = load_text_with("", &[(name, value)]).unwrap_err().to_string();
        assert!(message.contains(name) && message.contains(wanted), "{message}");
    }
}

#[test]
fn an_option_written_with_one_underscore_is_pointed_out() {
    let loaded =
        load_text_with("", &[("SPAWNPOINT_API_LISTEN", "x"), ("SPAWNPOINT_SERVICE_HOST", "y")]).unwrap();
    assert_eq!(loaded.warnings.len(), 1);
    assert!(loaded.warnings[0].contains("SPAWNPOINT_API__LISTEN"), "{:?}", loaded.warnings);
}

#[test]
fn a_database_address_is_shown_without_its_password() {
    let url = StoreUrl::try_from("postgres://user:secret@db.example:6000/games".to_owned()).unwrap();
    assert_eq!(format!("{url} {url:?}"), "postgres://db.example:6000/games postgres://db.example:6000/games");
}

#[test]
fn a_missing_file_is_named() {
    let err = load(Some(Path::new("/no/such.toml")), &Variables::default(), &Overrides::default(), &kernel());
    assert!(err.unwrap_err().to_string().starts_with("/no/such.toml: cannot read"));
}

#[test]
fn the_examples_are_valid() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let mut seen = Vec::new();
    for entry in std::fs::read_dir(examples).unwrap() {
        let path = entry.unwrap().path();
        let loaded = load(Some(&path), &Variables::default(), &Overrides::default(), &kernel()).unwrap();
        seen.push((
            path.file_stem().unwrap().to_string_lossy().into_owned(),
            loaded.plan.sites.len(),
            loaded.plan.hosts.len(),
        ));
    }
    seen.sort();
    let expected =
        [("hosts-over-tls", 2, 4), ("laptop", 1, 1), ("private-fleet", 1, 3), ("three-cities", 3, 3)];
    assert_eq!(seen, expected.map(|(name, sites, hosts)| (name.to_owned(), sites, hosts)));
}

#[test]
fn a_private_fleet_is_declared_once_and_stands_where_it_says_or_where_its_first_host_does() {
    let fleet = |rest: &str| {
        let hosts = "[[site.host]]\nname = \"a\"\ndriver = \"fake\"\nprivate_fleet = \"gold\"\n";
        site(&format!("{hosts}[[private_fleet]]\nname = \"gold\"\n{rest}"))
    };
    let centroid = load_text(&fleet("")).unwrap().plan.private_fleets.remove(0).centroid;
    assert_eq!((centroid.label.as_str(), centroid.at.latitude, centroid.at.longitude), ("gold", 1.0, 2.0));
    assert_eq!((centroid.radius_km, centroid.desired_host_count), (0.0, 1));
    let written = "centroid = { latitude = 3, longitude = 4, radius_km = 5.5, desired_host_count = 6 }\n";
    let centroid = load_text(&fleet(written)).unwrap().plan.private_fleets.remove(0).centroid;
    assert_eq!((centroid.at.latitude, centroid.radius_km, centroid.desired_host_count), (3.0, 5.5, 6));
    let at = |field: &str| format!("centroid = {{ latitude = 0, longitude = 0, {field} }}\n");
    for (text, wanted) in [
        (
            site("[[site.host]]\nname = \"a\"\nprivate_fleet = \"gold\"\n"),
            &["line 8", "no [[private_fleet]]", "gold"][..],
        ),
        (fleet("[[private_fleet]]\nname = \"gold\"\n"), &["private_fleet[1].name", "two private fleets"]),
        ("[[private_fleet]]\nname = \"a/b\"\n".to_owned(), &["line 2", "private_fleet[0].name", "letters"]),
        (fleet(&at("radius_km = -1")), &["private_fleet[0].centroid.radius_km", "0 to"]),
        (fleet(&at("desired_host_count = 100001")), &["desired_host_count", "at most"]),
        (fleet("centroid = { latitude = 91, longitude = 0 }\n"), &["centroid.latitude", "-90 to 90"]),
        (fleet(&at("label = \"\"")), &["centroid.label", "1 to 255"]),
    ] {
        let message = mistake(&text);
        for part in wanted {
            assert!(message.contains(part), "{text:?} gave {message:?}, in which {part:?} is missing");
        }
    }
}

#[test]
fn mistakes_in_names_and_certificates_name_the_option() {
    let acme =
        |rest: &str| format!("[tls.acme]\ndirectory = \"https://ca.test/dir\"\nterms_agreed = true\n{rest}");
    for (text, expected) in [
        ("[dns]\nseconds = 0", "dns.seconds"),
        ("[dns]\nlisten = [\"here\"]", "invalid socket address"),
        ("[dns]\nname_servers = [\"ns\"]", "dns.name_servers"),
        ("[dns]\nname_servers = [\"a.b\", \"a.b\", \"a.b\", \"a.b\", \"a.b\"]", "dns.name_servers"),
        ("[tls]\ncertificate = \"c.pem\"", "tls.key"),
        ("[tls]\nkey = \"k.pem\"", "tls.certificate"),
        ("[tls]\nidle_seconds = 1", "tls.idle_seconds"),
        ("[tls]\nconnections_per_deployment = 0", "tls.connections_per_deployment"),
        ("[api]\ntls = { certificate = \"c.pem\" }", "missing field `key`"),
        ("[tls.acme]", "tls.acme.directory"),
        ("[tls.acme]\ndirectory = \"http://ca.test/dir\"", "tls.acme.directory"),
        ("[tls.acme]\ndirectory = \"https://ca.test/dir\"", "tls.acme.terms_agreed: must be true"),
        (&acme("contact = [\"you@example.com\"]"), "tls.acme.contact"),
        (&acme("names = [\"*.example.com\"]"), "tls.acme.names"),
        (&acme("names = [\"a.b\", \"a.b\", \"a.b\", \"a.b\", \"a.b\"]"), "tls.acme.names"),
        (&acme("retry_seconds = 0"), "tls.acme.retry_seconds"),
        (&acme("eab = { kid = \"\", key_file = \"k\" }"), "tls.acme.eab"),
        (&acme("eab = { kid = \"k\" }"), "missing field `key_file`"),
        (&acme(""), "tls.acme: needs dns.listen"),
        (&acme("[dns]\nlisten = [\"127.0.0.1:53\"]"), "domain.suffix: must be a domain of yours"),
        (&acme("[tls]\ncertificate = \"c\"\nkey = \"k\""), "cannot be there together with tls.certificate"),
        (&acme("api = true\n[api]\ntls = { certificate = \"c\", key = \"k\" }"), "tls.acme.api"),
    ] {
        let told = mistake(text);
        assert!(told.contains(expected), "{text}: {told}");
    }
}

#[test]
fn a_certificate_by_acme_is_for_the_wildcard_first_and_each_name_once() {
    let acme =
        Acme { names: vec!["Play.test".into(), "play.test".into(), "api.test".into()], ..Acme::default() };
    assert_eq!(acme.all_names("PLAY.test"), ["*.play.test", "play.test", "api.test"]);
}
