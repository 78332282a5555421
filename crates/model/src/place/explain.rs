//! Why each host was or was not taken, in words for people.
//!
//! What it must not know: how [`super::place`] gets to its answer quickly. It looks at every host, and is the
//! exhaustive answer that the tests hold `place` to. Entry point: [`explain()`].

use std::fmt;
use std::sync::Arc;

use super::score::Score;
use super::{Ask, Hosts, Room, Wanted};
use crate::filter::{FilterType, LocationField, LocationFilter};
use crate::site::Host;

/// What became of one host.
#[derive(Clone, PartialEq, Debug)]
pub struct Considered<'a> {
    /// The host.
    pub host: &'a Arc<Host>,
    /// Taken, or why not.
    pub verdict: Verdict<'a>,
}

/// Taken, or why not.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Verdict<'a> {
    /// It could take the deployment.
    Usable {
        /// 1 = it was taken; the others would have come next in this order.
        rank: usize,
        /// Its place among the preferred hosts, from 1.
        preferred: Option<usize>,
        /// `None`: no player's position is known.
        score: Option<Score>,
        /// Parts per million of it that are free.
        free_share: u32,
    },
    /// It could not.
    Refused(Refusal<'a>),
}

/// Why a host cannot take a deployment. The first that holds, in this order.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Refusal<'a> {
    /// It belongs to a private fleet and was not named.
    Private {
        /// The fleet.
        fleet: &'a str,
    },
    /// Its operator takes no new deployments there.
    Cordoned,
    /// Its driver does not answer, or says that it is not well.
    Unhealthy,
    /// This deployment has failed there already.
    Avoided,
    /// Its site does not pass a filter.
    Filtered(&'a LocationFilter),
    /// Access lists cannot be put in force there, and the version has one.
    NoAccessLists,
    /// A port wants TLS ended in front of it, and that is not possible there.
    EndsNoTls,
    /// It does not hold the image, and only hosts that do were asked for.
    NotCached {
        /// The image.
        image: &'a str,
    },
    /// Too little CPU, memory or ports.
    Full {
        /// What was asked for.
        asked: Room,
        /// What is free.
        free: Room,
    },
}

/// Says of every host of `hosts` what becomes of it: first the usable ones by rank, then the others by id.
#[must_use]
pub fn explain<'a>(ask: &Ask<'a>, hosts: &'a Hosts) -> Vec<Considered<'a>> {
    let wanted = Wanted::new(ask, hosts);
    let (mut usable, mut refused) = (Vec::new(), Vec::new());
    for (number, view) in hosts.views().iter().enumerate() {
        match wanted.refusal(number) {
            Some(refusal) => {
                refused.push(Considered { host: &view.host, verdict: Verdict::Refused(refusal) })
            }
            None => {
                let score = wanted.score(hosts.position(number));
                usable.push((
                    wanted.rank(number, wanted.preference(number), score.map(Score::points)),
                    number,
                    score,
                ));
            }
        }
    }
    usable.sort_by(|a, b| a.0.cmp(&b.0));
    refused.sort_by(|a, b| a.host.id.cmp(&b.host.id));
    let ranked = usable.into_iter().enumerate().map(|(place, (_, number, score))| {
        let view = &hosts.views()[number];
        let preferred = wanted.preference(number).map(|p| p + 1);
        let verdict = Verdict::Usable { rank: place + 1, preferred, score, free_share: view.free_share() };
        Considered { host: &view.host, verdict }
    });
    ranked.chain(refused).collect()
}

/// Why no host could be taken, in one sentence that names no host: how many fell out for which reason, in the order in
/// which the reasons are looked at.
#[must_use]
pub fn summary(considered: &[Considered<'_>]) -> String {
    let mut counts = [0_usize; Refusal::KINDS.len()];
    for one in considered {
        if let Verdict::Refused(refusal) = one.verdict {
            counts[refusal.kind()] += 1;
        }
    }
    let told: Vec<_> = (counts.iter().zip(Refusal::KINDS).filter(|(count, _)| **count > 0))
        .map(|(count, kind)| format!("{count} {kind}"))
        .collect();
    match considered.len() {
        0 => "no host can take this deployment now: there is none".to_owned(),
        all if told.is_empty() => format!("no host can take this deployment now ({all} were looked at)"),
        all => format!("no host can take this deployment now; of {all}: {}", told.join(", ")),
    }
}

impl Refusal<'_> {
    /// What [`summary`] says of each kind.
    const KINDS: [&'static str; 9] = [
        "of private fleets that were not asked for",
        "cordoned",
        "not answering",
        "on which it has failed already",
        "outside of the filters",
        "where access lists cannot be put in force",
        "on which no TLS can be ended",
        "without the image",
        "without enough free CPU, memory or ports",
    ];

    const fn kind(&self) -> usize {
        match self {
            Self::Private { .. } => 0,
            Self::Cordoned => 1,
            Self::Unhealthy => 2,
            Self::Avoided => 3,
            Self::Filtered(_) => 4,
            Self::NoAccessLists => 5,
            Self::EndsNoTls => 6,
            Self::NotCached { .. } => 7,
            Self::Full { .. } => 8,
        }
    }
}

impl fmt::Display for Considered<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.host.id, self.host.site.id, self.verdict)
    }
}

impl fmt::Display for Verdict<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usable { rank, preferred, score, free_share } => {
                match rank {
                    1 => f.write_str("chosen")?,
                    _ => write!(f, "ranked {rank}")?,
                }
                if let Some(preferred) = preferred {
                    write!(f, ", preferred host {preferred}")?;
                }
                match score {
                    Some(score) => write!(f, ", {score}")?,
                    None => f.write_str(", no player's position is known")?,
                }
                write!(f, ", {}% free", free_share / 10_000)
            }
            Self::Refused(refusal) => refusal.fmt(f),
        }
    }
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (score, mean, worst) = (self.ms(), self.mean_ms(), self.worst_ms());
        write!(f, "score {score:.1} (estimated round trip: mean {mean:.1} ms, worst {worst:.1} ms)")
    }
}

impl fmt::Display for Refusal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Private { fleet } => {
                write!(f, "belongs to the private fleet {fleet} and was not asked for")
            }
            Self::Cordoned => f.write_str("cordoned: takes no new deployments"),
            Self::Unhealthy => f.write_str("unhealthy: its driver does not answer or reports a problem"),
            Self::Avoided => f.write_str("avoided: this deployment has failed there already"),
            Self::Filtered(filter) => write_filter(f, filter),
            Self::NoAccessLists => f.write_str("cannot put access lists in force: its engine is on another machine, or Spawnpoint may not set firewall rules there"),
            Self::EndsNoTls => f.write_str(
                "ends no TLS: a port asks for tls_upgrade, and this host's engine is on another machine",
            ),
            Self::NotCached { image } => write!(f, "does not hold the image {image}"),
            Self::Full { asked, free } => write_full(f, *asked, *free),
        }
    }
}

fn write_filter(f: &mut fmt::Formatter<'_>, filter: &LocationFilter) -> fmt::Result {
    let field = match filter.field {
        LocationField::City => "city",
        LocationField::Country => "country",
        LocationField::Continent => "continent",
        LocationField::Region => "region",
        LocationField::AdministrativeDivision => "administrative division",
        LocationField::LocationTags => "location tags",
    };
    let how = match filter.filter_type {
        FilterType::Any => "any of",
        FilterType::All => "all of",
        FilterType::Not => "none of",
    };
    write!(f, "filtered out: {field} must be {how} {}", filter.values.join(", "))
}

fn write_full(f: &mut fmt::Formatter<'_>, asked: Room, free: Room) -> fmt::Result {
    let amounts = [
        ("CPU units", asked.resources.cpu.0, free.resources.cpu.0),
        ("MiB of memory", asked.resources.memory.0, free.resources.memory.0),
        ("ports", asked.ports, free.ports),
    ];
    f.write_str("full:")?;
    let mut before = "";
    for (unit, asked, free) in amounts.into_iter().filter(|(_, asked, free)| asked > free) {
        write!(f, "{before} {asked} {unit} asked for and {free} free")?;
        before = ",";
    }
    Ok(())
}
