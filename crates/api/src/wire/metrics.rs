//! What a deployment used: the parameters of the question, and series as three lists of equal length.
//!
//! Units (nobody documents them): `cpu` is percent of what the deployment may use, `mem` MiB (what "MB" means elsewhere
//! in this API), `network` bytes per second; the totals are bytes since the start. `cpu_throttle_total` is the seconds for
//! which its CPU limit has held it back, `cpu_throttle_rate` how fast they grow, in percent.

use serde::ser::SerializeSeq;
use serde::{Serialize, Serializer};
use spawnpoint_engine::metrics::{Detail, MetricsQuery, Report, Series, Step};
use spawnpoint_model::{Invalid, Invalids};
use utoipa::ToSchema;

use crate::dates::{self, Label, MillisDate};
use crate::pagination::Parameters;

const STEPS: [(&str, Step); 5] = [
    ("30s", Step::HalfMinute),
    ("1m", Step::Minute),
    ("5m", Step::FiveMinutes),
    ("10m", Step::TenMinutes),
    ("1h", Step::Hour),
];

/// Reads `start_time`, `end_time`, `steps` and `raw`. What is empty is absent.
///
/// # Errors
/// Every parameter that cannot be read.
pub fn read_query(parameters: &Parameters) -> Result<MetricsQuery, Invalids> {
    let mut invalids = Invalids::default();
    let mut query = MetricsQuery::default();
    for (name, time) in [("start_time", &mut query.start), ("end_time", &mut query.end)] {
        let read = given(parameters, name).map(dates::parse).transpose();
        *time = read.unwrap_or_else(|invalid| {
            invalids.push(invalid.within(name));
            None
        });
    }
    let step = given(parameters, "steps").map(|text| STEPS.into_iter().find(|(name, _)| *name == text));
    match step {
        None => {}
        Some(Some((_, step))) => query.detail = Detail::Steps(step),
        Some(None) => invalids.push(Invalid::new("steps", "must be one of 30s, 1m, 5m, 10m, 1h")),
    }
    match given(parameters, "raw").map(str::to_ascii_lowercase).as_deref() {
        None | Some("false" | "0") => {}
        Some("true" | "1") => query.detail = Detail::Raw,
        Some(_) => invalids.push(Invalid::new("raw", "must be true or false")),
    }
    invalids.into_result()?;
    Ok(query)
}

fn given<'a>(parameters: &'a Parameters, name: &str) -> Option<&'a str> {
    parameters.get(name).map(str::trim).filter(|text| !text.is_empty())
}

/// The answer.
#[derive(Serialize, ToSchema)]
#[schema(as = MetricsResponse)]
pub struct MetricsBody<'a> {
    total: TotalBody<'a>,
    /// Percent of what the deployment may use.
    cpu: SeriesBody<'a>,
    /// MiB in use, without what the kernel keeps of files.
    mem: SeriesBody<'a>,
    network: NetworkBody<'a>,
    /// For how much of the time the CPU limit held it back, in percent.
    cpu_throttle_rate: SeriesBody<'a>,
    /// The same in all, in seconds.
    cpu_throttle_total: SeriesBody<'a>,
}

/// Bytes since the start.
#[derive(Serialize, ToSchema)]
#[schema(as = TotalMetrics)]
struct TotalBody<'a> {
    receive_total: SeriesBody<'a>,
    transmit_total: SeriesBody<'a>,
    disk_read_total: SeriesBody<'a>,
    disk_write_total: SeriesBody<'a>,
}

/// Bytes per second.
#[derive(Serialize, ToSchema)]
#[schema(as = NetworkMetrics)]
struct NetworkBody<'a> {
    receive: SeriesBody<'a>,
    transmit: SeriesBody<'a>,
}

impl<'a> MetricsBody<'a> {
    /// Of what the engine tells.
    #[must_use]
    pub fn of(report: &'a Report) -> Self {
        Self {
            total: TotalBody {
                receive_total: SeriesBody::of(&report.receive_total),
                transmit_total: SeriesBody::of(&report.transmit_total),
                disk_read_total: SeriesBody::of(&report.disk_read_total),
                disk_write_total: SeriesBody::of(&report.disk_write_total),
            },
            cpu: SeriesBody::of(&report.cpu),
            mem: SeriesBody::of(&report.memory),
            network: NetworkBody {
                receive: SeriesBody::of(&report.receive),
                transmit: SeriesBody::of(&report.transmit),
            },
            cpu_throttle_rate: SeriesBody::of(&report.throttle_rate),
            cpu_throttle_total: SeriesBody::of(&report.throttle_total),
        }
    }
}

/// A series: three lists of equal length.
#[derive(Serialize, ToSchema)]
#[schema(as = Metrics)]
struct SeriesBody<'a> {
    /// When, on a clock (UTC).
    #[serde(serialize_with = "labels")]
    #[schema(value_type = Vec<String>, example = json!(["14:17:30", "14:18:00"]))]
    labels: &'a Series,
    /// How much.
    #[serde(serialize_with = "datasets")]
    #[schema(value_type = Vec<f64>, example = json!([49.8, 50]))]
    datasets: &'a Series,
    /// When: where the step begins, or when the figure was read (UTC).
    #[serde(serialize_with = "timestamps")]
    #[schema(value_type = Vec<String>, example = json!(["2021-07-14 14:17:30.000", "2021-07-14 14:18:00.000"]))]
    timestamps: &'a Series,
}

impl<'a> SeriesBody<'a> {
    const fn of(series: &'a Series) -> Self {
        Self { labels: series, datasets: series, timestamps: series }
    }
}

fn labels<S: Serializer>(series: &Series, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(series.iter().map(|(at, _)| Label(*at)))
}

fn timestamps<S: Serializer>(series: &Series, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(series.iter().map(|(at, _)| MillisDate(*at)))
}

/// Whole numbers without a point: one published schema wants integers. Others to a thousandth.
fn datasets<S: Serializer>(series: &Series, serializer: S) -> Result<S::Ok, S::Error> {
    /// Beyond it, whole numbers are not exact anyway.
    const WHOLE_MAX: f64 = 9e15;
    let mut list = serializer.serialize_seq(Some(series.len()))?;
    for (_, value) in series {
        let rounded = (value * 1000.0).round() / 1000.0;
        if rounded.fract() == 0.0 && rounded.abs() < WHOLE_MAX {
            list.serialize_element(&(rounded as i64))?;
        } else {
            list.serialize_element(&rounded)?;
        }
    }
    list.end()
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use spawnpoint_model::Timestamp;

    use super::*;

    fn read(query: &str) -> Result<MetricsQuery, String> {
        read_query(&Parameters::read(Some(query))).map_err(|invalids| invalids.to_string())
    }

    #[test]
    fn every_parameter_may_be_left_out_or_empty() {
        assert_eq!(read(""), Ok(MetricsQuery::default()));
        assert_eq!(read("start_time=&end_time=%20&steps=&raw="), Ok(MetricsQuery::default()));
    }

    #[test]
    fn times_are_read_in_both_forms() {
        let at = |micros| Some(Timestamp(micros));
        let query = read("start_time=2021-07-10%2000:00:00.00&end_time=2021-07-10T01:00:00Z").unwrap();
        assert_eq!((query.start, query.end), (at(1_625_875_200_000_000), at(1_625_878_800_000_000)));
        let query = read("start_time=2021-07-10+00:00:00&end_time=2021-07-10+00:00:00.5").unwrap();
        assert_eq!((query.start, query.end), (at(1_625_875_200_000_000), at(1_625_875_200_500_000)));
    }

    #[test]
    fn raw_is_a_text_or_a_number_and_overrules_steps() {
        for (text, raw) in [("true", true), ("TRUE", true), ("1", true), ("false", false), ("0", false)] {
            let detail = read(&format!("steps=5m&raw={text}")).unwrap().detail;
            assert_eq!(detail, if raw { Detail::Raw } else { Detail::Steps(Step::FiveMinutes) }, "{text}");
        }
        for (name, step) in STEPS {
            assert_eq!(read(&format!("steps={name}")).unwrap().detail, Detail::Steps(step));
        }
    }

    #[test]
    fn every_bad_parameter_is_named_with_what_is_allowed() {
        let problem = read("start_time=yesterday&end_time=1626000000&steps=2m&raw=yes").unwrap_err();
        for part in [
            "start_time: must be a time",
            "end_time: must be a time",
            "steps: must be one of 30s",
            "raw: must be",
        ] {
            assert!(problem.contains(part), "{part} in {problem}");
        }
        for bad in ["30", "30S", "0s", "1d", "%00"] {
            assert!(read(&format!("steps={bad}")).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_series_is_three_lists_of_equal_length() {
        let at = |micros: i64| Timestamp(1_626_272_257_711_000 + micros);
        let cpu = vec![(at(0), 50.0), (at(30_000_999), 33.333_333), (at(60_000_000), 0.000_1)];
        let receive_total = vec![(at(0), 1e12)];
        let report = Report { cpu, receive_total, ..Report::default() };
        let body = serde_json::to_value(MetricsBody::of(&report)).unwrap();
        let expected = json!({
            "labels": ["14:17:37", "14:18:07", "14:18:37"],
            "datasets": [50, 33.333, 0],
            "timestamps": ["2021-07-14 14:17:37.711", "2021-07-14 14:18:07.711", "2021-07-14 14:18:37.711"]
        });
        assert_eq!(body["cpu"], expected);
        assert_eq!(body["total"]["receive_total"]["datasets"].to_string(), "[1000000000000]");
        assert_eq!(body["network"]["transmit"], json!({"labels": [], "datasets": [], "timestamps": []}));
    }
}
