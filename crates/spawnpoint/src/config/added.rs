//! Hosts that are added over the API, held against the configuration: the same checks as for a host of the file, and
//! one more. Whoever adds a host is no one who may write the configuration: he names an engine that a host of the file
//! has, or one on another machine that the files of `[added_hosts.tls]` fit; no path of this machine ever.

use spawnpoint_model::Invalid;
use spawnpoint_model::added::{AddedBeacon, AddedDriver, AddedHost};
use spawnpoint_model::units::Resources;

use super::plan::{DOCKER_SOCKET, local_site};
use super::{
    CapacityText, Config, DriverKind, DriverPlan, Endpoint, Host, HostPlan, KernelPorts, NamedBeacon, Plan,
    PortRange, Problem, SecurityKind, default_base_clock_mhz,
};

/// How the host is called in keys of problems.
const KEY: &str = "host";

impl Config {
    /// An added host in the model's terms, beside the hosts of `plan` and the other added ones.
    ///
    /// # Errors
    /// What is wrong or not allowed, by its field.
    pub fn plan_added(
        &self,
        plan: &Plan,
        added: &AddedHost,
        beside: &[AddedHost],
        kernel: &KernelPorts,
    ) -> Result<HostPlan, Invalid> {
        let mut all = Plan { sites: Vec::new(), hosts: plan.hosts.clone(), private_fleets: Vec::new() };
        // One that does not fit the configuration any more is not here, and stands in nobody's way.
        all.hosts.extend(beside.iter().filter_map(|other| self.planned(plan, other).ok()));
        all.hosts.push(self.planned(plan, added)?);
        all.check_newest_host(KEY, kernel).map_err(of_field)?;
        all.hosts.pop().ok_or_else(|| Invalid::new("host_id", "is missing"))
    }

    fn planned(&self, plan: &Plan, added: &AddedHost) -> Result<HostPlan, Invalid> {
        let local = local_site();
        let mut sites = self.sites.iter().chain(self.sites.is_empty().then_some(&local));
        let site = sites.find(|site| site.name == added.site.as_str());
        let placed = plan.sites.iter().find(|site| site.id == added.site);
        let Some((site, placed)) = site.zip(placed) else {
            return Err(Invalid::new("site", "there is no site with this name in the configuration"));
        };
        let driver = self.allowed_driver(plan, added)?;
        let host = host_of(added, &driver);
        let mut planned = host.placed(KEY, site.driver, placed).map_err(of_field)?;
        planned.driver = driver;
        planned.beacon = self.beacon_of(site, &host, &planned, "site", KEY).map_err(of_field)?;
        Ok(planned)
    }

    /// What runs workloads on it, if it may be named from outside.
    fn allowed_driver(&self, plan: &Plan, added: &AddedHost) -> Result<DriverPlan, Invalid> {
        if added.driver == AddedDriver::Fake {
            return match &added.endpoint {
                Some(_) => Err(Invalid::new("endpoint", "a fake host has no endpoint")),
                None if plan.hosts.iter().any(|host| host.driver == DriverPlan::Fake) => Ok(DriverPlan::Fake),
                None => Err(Invalid::new("driver", "is fake for no host of the configuration")),
            };
        }
        let local = format!("unix://{DOCKER_SOCKET}");
        let named = added.endpoint.as_deref().unwrap_or(&local).trim_end_matches('/');
        let known = plan.hosts.iter().find_map(|host| match &host.driver {
            DriverPlan::Docker(endpoint) if endpoint.to_string() == named => Some(host.driver.clone()),
            _ => None,
        });
        if let Some(known) = known {
            return Ok(known);
        }
        match &self.added_hosts.tls {
            Some(tls) if named.starts_with("tcp://") => {
                let endpoint = Endpoint::parse(named, Some(tls.clone()))
                    .map_err(|_| Invalid::new("endpoint", "must be tcp://ADDRESS:PORT"))?;
                if endpoint.is_local() {
                    return Err(Invalid::new(
                        "endpoint",
                        "an engine of this machine must be one that a host of the configuration has",
                    ));
                }
                Ok(DriverPlan::Docker(endpoint))
            }
            Some(_) => Err(Invalid::new(
                "endpoint",
                "must be tcp://ADDRESS:PORT of another machine, or an engine that a host of the configuration has",
            )),
            None => Err(Invalid::new(
                "endpoint",
                "must be an engine that a host of the configuration has: others need added_hosts.tls there",
            )),
        }
    }
}

/// The host as the file would have it.
fn host_of(added: &AddedHost, driver: &DriverPlan) -> Host {
    let (endpoint, tls) = match driver {
        DriverPlan::Docker(endpoint) => {
            let tls = match endpoint {
                Endpoint::Tcp { tls, .. } => tls.clone(),
                Endpoint::Unix(_) => None,
            };
            (Some(endpoint.to_string()), tls)
        }
        DriverPlan::Oci | DriverPlan::Auto | DriverPlan::Fake => (None, None),
    };
    // What was measured is no promise: beside another host on the same engine somebody has to say what is whose.
    let said = added.capacity.filter(|_| !added.measured);
    Host {
        name: added.id.as_str().to_owned(),
        public_address: added.public_address,
        driver: Some(match added.driver {
            AddedDriver::Docker => DriverKind::Docker,
            AddedDriver::Fake => DriverKind::Fake,
        }),
        endpoint,
        tls,
        capacity: said
            .map(|Resources { cpu, memory }| CapacityText { cpu_units: cpu.0, memory_mib: memory.0 }),
        port_range: added.port_range.map_or_else(PortRange::default, |(first, last)| PortRange(first..=last)),
        beacon: added.beacon.clone().map(|AddedBeacon { host, udp_port, tcp_port }| NamedBeacon {
            host,
            udp_port,
            tcp_port,
        }),
        private_fleet: added.private_fleet.clone(),
        cordoned: false,
        base_clock_mhz: added.base_clock_mhz.unwrap_or_else(default_base_clock_mhz),
        security: if added.restricted { SecurityKind::Restricted } else { SecurityKind::Baseline },
    }
}

/// A problem of the configuration as one of the API's field. The beacon of this machine is not the caller's: what is wrong
/// then is the range.
fn of_field(problem: Problem) -> Invalid {
    let (key, text) = problem.into_parts();
    let field = key.as_deref().and_then(|key| key.strip_prefix("host."));
    let field = match field {
        Some("name") => "host_id",
        Some(field) => field,
        None => "port_range",
    };
    Invalid::new(field, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SITE: &str = "[[site]]\nname = \"a\"\ncity = \"A\"\nlatitude = 1\nlongitude = 2\n\
                        [[site.host]]\nname = \"a-1\"\ndriver = \"docker\"\nport_range = \"20000-20999\"\n\
                        capacity = { cpu_units = 1024, memory_mib = 1024 }\n";
    const TLS: &str = "[added_hosts.tls]\nca = \"/ca\"\ncert = \"/cert\"\nkey = \"/key\"\n";

    fn new() -> AddedHost {
        AddedHost {
            id: "b".into(),
            site: "a".into(),
            public_address: None,
            driver: AddedDriver::Docker,
            endpoint: None,
            capacity: Some(Resources::default()),
            measured: false,
            port_range: Some((21_000, 21_999)),
            private_fleet: None,
            beacon: None,
            base_clock_mhz: None,
            restricted: false,
        }
    }

    fn planned(text: &str, added: &AddedHost, beside: &[AddedHost]) -> Result<HostPlan, String> {
        let config: Config = toml::from_str(text).unwrap();
        let plan = config.checked_plan(&KernelPorts::default()).unwrap();
        let planned = config.plan_added(&plan, added, beside, &KernelPorts::default());
        planned.map_err(|invalid| invalid.field)
    }

    #[test]
    fn only_engines_that_the_configuration_allows_can_be_named() {
        let with = |text: &str, endpoint: &str| {
            let added = AddedHost { endpoint: Some(endpoint.to_owned()), ..new() };
            planned(text, &added, &[]).map(|host| host.driver)
        };
        let socket = planned(SITE, &new(), &[]).unwrap().driver;
        assert_eq!(socket, DriverPlan::Docker(Endpoint::Unix(DOCKER_SOCKET.into())));
        assert_eq!(with(SITE, "unix:///var/run/docker.sock"), Ok(socket));
        let (open, tls) = (SITE.to_owned(), format!("{TLS}{SITE}"));
        for bad in [
            "unix:///run/other.sock",
            "unix:///var/run/../run/docker.sock",
            "/var/run/docker.sock",
            "tcp://127.0.0.1:2375",
            "tcp://localhost:2375",
            "tcp://[::1]:2375",
            "http://203.0.113.7:2375",
            "tcp://203.0.113.7",
            "tcp://:2376",
            "",
        ] {
            for text in [&open, &tls] {
                assert_eq!(with(text, bad), Err("endpoint".to_owned()), "{bad}");
            }
        }
        assert_eq!(
            with(&open, "tcp://203.0.113.7:2376"),
            Err("endpoint".to_owned()),
            "without files for TLS"
        );
        let Ok(DriverPlan::Docker(Endpoint::Tcp { tls: Some(files), .. })) =
            with(&tls, "tcp://203.0.113.7:2376")
        else {
            panic!("it is connected with the files of the configuration")
        };
        assert_eq!(files.ca.to_str(), Some("/ca"));
    }

    #[test]
    fn an_added_host_is_checked_as_one_of_the_file() {
        let bad = |added: AddedHost, beside: &[AddedHost]| planned(SITE, &added, beside).unwrap_err();
        assert_eq!(bad(AddedHost { site: "z".into(), ..new() }, &[]), "site");
        assert_eq!(bad(AddedHost { driver: AddedDriver::Fake, ..new() }, &[]), "driver");
        assert_eq!(bad(AddedHost { port_range: Some((20_500, 22_000)), ..new() }, &[]), "port_range");
        assert_eq!(bad(AddedHost { measured: true, ..new() }, &[]), "capacity");
        assert_eq!(bad(AddedHost { public_address: "0.0.0.0".parse().ok(), ..new() }, &[]), "public_address");
        let silent = AddedBeacon { host: None, udp_port: None, tcp_port: None };
        assert_eq!(bad(AddedHost { beacon: Some(silent), ..new() }, &[]), "beacon.udp_port");
        let other = AddedHost { id: "c".into(), ..new() };
        assert_eq!(
            bad(new(), std::slice::from_ref(&other)),
            "port_range",
            "the other added one has these ports"
        );
        let elsewhere = AddedHost { site: "z".into(), ..other };
        assert!(planned(SITE, &new(), &[elsewhere]).is_ok(), "it does not fit any more, and is not here");
        let fake = format!("{SITE}[[site.host]]\nname = \"f\"\ndriver = \"fake\"\n");
        assert!(planned(&fake, &AddedHost { driver: AddedDriver::Fake, ..new() }, &[]).is_ok());
    }
}
