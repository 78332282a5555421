//! Points in time as they are written: v1 with a blank and without a zone, v2 as RFC 3339. Both are read everywhere.

use std::fmt;

use serde::{Serialize, Serializer};
use spawnpoint_model::{Invalid, Timestamp};
use utoipa::ToSchema;

/// `2026-04-11 08:30:12.004211`: UTC, a blank, always six digits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ToSchema)]
#[schema(value_type = String, format = "v1-time")]
pub struct V1Date(pub Timestamp);

/// `2026-04-11T08:30:12.004211Z`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ToSchema)]
#[schema(value_type = String, format = DateTime, example = "2026-04-11T08:30:12.004211Z")]
pub struct V2Date(pub Timestamp);

/// `2026-04-11 08:30:12.004`, as figures are dated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MillisDate(pub Timestamp);

/// `08:30:12`: the same on a clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Label(pub Timestamp);

const LENGTH: usize = 27;

/// Writes without allocating: a status answer holds two of these, and they are its most expensive part otherwise.
fn write(at: Timestamp, separator: u8) -> [u8; LENGTH] {
    let civil = jiff::Timestamp::from_microsecond(at.micros())
        .map_or(jiff::civil::DateTime::MAX, |t| jiff::tz::Offset::UTC.to_datetime(t));
    let mut out = *b"0000-00-00 00:00:00.000000Z";
    let mut put = |from: usize, digits: usize, value: i64| {
        let mut rest = value.max(0);
        for place in out.iter_mut().skip(from).take(digits).rev() {
            *place = b'0' + u8::try_from(rest % 10).unwrap_or(0);
            rest /= 10;
        }
    };
    put(0, 4, civil.year().into());
    put(5, 2, civil.month().into());
    put(8, 2, civil.day().into());
    put(11, 2, civil.hour().into());
    put(14, 2, civil.minute().into());
    put(17, 2, civil.second().into());
    put(20, 6, i64::from(civil.subsec_nanosecond()) / 1000);
    out[10] = separator;
    out
}

impl fmt::Display for V1Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&write(self.0, b' ')[..LENGTH - 1]).unwrap_or_default())
    }
}

impl fmt::Display for V2Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&write(self.0, b'T')).unwrap_or_default())
    }
}

impl Serialize for V1Date {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(std::str::from_utf8(&write(self.0, b' ')[..LENGTH - 1]).unwrap_or_default())
    }
}

impl Serialize for V2Date {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(std::str::from_utf8(&write(self.0, b'T')).unwrap_or_default())
    }
}

impl Serialize for MillisDate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(std::str::from_utf8(&write(self.0, b' ')[..23]).unwrap_or_default())
    }
}

impl Serialize for Label {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(std::str::from_utf8(&write(self.0, b' ')[11..19]).unwrap_or_default())
    }
}

/// Reads either form; without a zone it is UTC, without a time of day it is midnight.
///
/// # Errors
/// What is allowed; the field is left empty.
pub fn parse(text: &str) -> Result<Timestamp, Invalid> {
    let text = text.trim();
    let zoned = text.parse::<jiff::Timestamp>().ok();
    let civil = || {
        text.parse::<jiff::civil::DateTime>().ok().and_then(|d| jiff::tz::Offset::UTC.to_timestamp(d).ok())
    };
    zoned.or_else(civil).map(|t| Timestamp(t.as_microsecond())).ok_or_else(|| {
        Invalid::new("", "must be a time such as 2026-04-11T08:30:12Z or 2026-04-11 08:30:12.004211 (UTC)")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Timestamp = Timestamp(1_775_896_212_004_211);

    #[test]
    fn v1_has_a_blank_six_digits_and_no_zone() {
        assert_eq!(V1Date(AT).to_string(), "2026-04-11 08:30:12.004211");
        assert_eq!(V1Date(Timestamp(0)).to_string(), "1970-01-01 00:00:00.000000");
        assert_eq!(serde_json::to_string(&V1Date(AT)).unwrap(), "\"2026-04-11 08:30:12.004211\"");
    }

    #[test]
    fn v2_is_rfc_3339() {
        assert_eq!(V2Date(AT).to_string(), "2026-04-11T08:30:12.004211Z");
        assert_eq!(V2Date(Timestamp(i64::MAX)).to_string(), "9999-12-31T23:59:59.999999Z");
    }

    #[test]
    fn both_forms_are_read_with_any_number_of_digits() {
        for text in [
            "2026-04-11 08:30:12.004211",
            "2026-04-11T08:30:12.004211Z",
            " 2026-04-11T10:30:12.004211+02:00 ",
        ] {
            assert_eq!(parse(text), Ok(AT), "{text}");
        }
        assert_eq!(parse("2026-04-11 08:30:12"), Ok(Timestamp(1_775_896_212_000_000)));
        assert_eq!(parse("2026-04-11"), Ok(Timestamp(1_775_865_600_000_000)));
        for text in ["", "yesterday", "2026-13-01", "1775896212"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
