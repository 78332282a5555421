//! Private fleets of the configuration, in the model's terms.

use serde::Deserialize;
use spawnpoint_model::geo::GeoPoint;
use spawnpoint_model::site;

use super::plan::{HostPlan, check_name};
use super::{Config, Host, Problem};

/// Characters of a centroid's label.
const LABEL_CHARS_MAX: usize = 255;
/// Half of the way around the earth: nothing is farther away.
const RADIUS_KM_MAX: f64 = 20_040.0;
/// Hosts that may be wanted of one fleet.
const HOSTS_MAX: u32 = 100_000;

/// A private fleet. Hosts name it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrivateFleet {
    /// Its name, unique.
    pub name: String,
    /// Where its hosts were meant to stand; `None` = where they do.
    pub centroid: Option<Centroid>,
}

/// Where the hosts of a fleet were meant to stand. Told to clients; nothing is decided by it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Centroid {
    /// For people; the fleet's name if there is none.
    pub label: Option<String>,
    /// Degrees north.
    pub latitude: f64,
    /// Degrees east.
    pub longitude: f64,
    /// How far around it.
    #[serde(default)]
    pub radius_km: f64,
    /// How many hosts were wanted; as many as there are, if it is not said.
    pub desired_host_count: Option<u32>,
}

impl Config {
    /// A host's private fleet is a declared one: a name that was mistyped would be a fleet of its own otherwise.
    pub(super) fn check_fleet(&self, key: &str, host: &Host) -> Result<(), Problem> {
        match &host.private_fleet {
            Some(name) if !self.private_fleets.iter().any(|fleet| fleet.name == *name) => {
                let text = format!("there is no [[private_fleet]] with name = {name:?}");
                Err(Problem::at(format!("{key}.private_fleet"), text))
            }
            _ => Ok(()),
        }
    }

    /// The private fleets with their centroids; every host's fleet is among them.
    pub(super) fn private_fleets(&self, hosts: &[HostPlan]) -> Result<Vec<site::PrivateFleet>, Problem> {
        let mut fleets: Vec<site::PrivateFleet> = Vec::new();
        for (index, fleet) in self.private_fleets.iter().enumerate() {
            let key = format!("private_fleet[{index}]");
            check_name(&fleet.name).map_err(|text| Problem::at(format!("{key}.name"), text))?;
            if fleets.iter().any(|other| other.name == fleet.name) {
                let text = format!("two private fleets are named {:?}", fleet.name);
                return Err(Problem::at(format!("{key}.name"), text));
            }
            let members: Vec<&HostPlan> =
                hosts.iter().filter(|host| host.private_fleet.as_ref() == Some(&fleet.name)).collect();
            let centroid = fleet
                .centroid(&members)
                .map_err(|(field, text)| Problem::at(format!("{key}.centroid.{field}"), text))?;
            fleets.push(site::PrivateFleet { name: fleet.name.clone(), centroid });
        }
        Ok(fleets)
    }
}

impl PrivateFleet {
    /// The centroid as it is written, or the first host's place; an error names the field.
    fn centroid(&self, members: &[&HostPlan]) -> Result<site::Centroid, (String, String)> {
        let count = u32::try_from(members.len()).unwrap_or(HOSTS_MAX);
        let label = self.name.clone();
        let Some(written) = &self.centroid else {
            let place = members.first().map(|host| &host.site.location);
            let at = place.map_or(GeoPoint { latitude: 0.0, longitude: 0.0 }, |place| GeoPoint {
                latitude: place.latitude,
                longitude: place.longitude,
            });
            return Ok(site::Centroid { label, at, radius_km: 0.0, desired_host_count: count });
        };
        let at = GeoPoint::checked(written.latitude, written.longitude)
            .map_err(|invalid| (invalid.field, invalid.problem))?;
        let label = written.label.clone().unwrap_or(label);
        spawnpoint_model::names::check_text(&label, 1..=LABEL_CHARS_MAX)
            .map_err(|invalid| ("label".to_owned(), invalid.problem))?;
        if !(0.0..=RADIUS_KM_MAX).contains(&written.radius_km) {
            return Err(("radius_km".into(), format!("must be a number from 0 to {RADIUS_KM_MAX}")));
        }
        let desired_host_count = written.desired_host_count.unwrap_or(count);
        if desired_host_count > HOSTS_MAX {
            return Err(("desired_host_count".into(), format!("must be at most {HOSTS_MAX}")));
        }
        Ok(site::Centroid { label, at, radius_km: written.radius_km, desired_host_count })
    }
}
