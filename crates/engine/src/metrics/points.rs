//! A point: what one workload had used at one moment; and how many of them are packed into few bytes.
//!
//! Counters are kept as the host counted them, from the start of the attempt. So a point that was lost or written twice
//! changes nothing that stands in the others, and a mean over any span is exact: it is a difference of two counters.

use spawnpoint_driver::Stats;
use spawnpoint_model::Timestamp;

/// How many counters there are.
pub(super) const COUNTERS: usize = 6;
/// The first byte of everything that is packed: the form of the rest.
const FORM: u8 = 1;
/// Fields of a point that may be absent: the counters and three more.
const FIELDS: usize = COUNTERS + 3;

/// What only grows while an attempt runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)]
pub(super) enum Counter {
    /// Microseconds of CPU.
    Cpu,
    /// Microseconds for which the CPU limit held it back.
    Throttled,
    /// Bytes.
    Received,
    /// Bytes.
    Sent,
    /// Bytes.
    DiskRead,
    /// Bytes.
    DiskWritten,
}

/// What a workload had used at one moment. A point of a coarser tier stands for all those since the one before it: its
/// counters are those of the last one, which is why nothing is lost by thinning but detail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Point {
    /// How coarse it is: as sampled, for a minute, for ten. Not packed; whatever it is packed into has it.
    pub(super) tier: u32,
    /// When; kept to the millisecond.
    pub(super) at: Timestamp,
    /// Which attempt of the deployment.
    pub(super) attempt: u32,
    /// In the order of [`Counter`].
    pub(super) counters: [Option<u64>; COUNTERS],
    /// Bytes in use; of several points, their mean.
    pub(super) memory: Option<u64>,
    /// The most bytes that were seen in use, if the point stands for several.
    pub(super) memory_peak: Option<u64>,
    /// The most CPU that was seen in use between two points, in thousandths of a CPU, if it stands for several.
    pub(super) cpu_peak: Option<u64>,
}

impl Point {
    /// A point that tells nothing yet.
    pub(super) const fn empty(at: Timestamp, attempt: u32) -> Self {
        let counters = [None; COUNTERS];
        Self { tier: 0, at, attempt, counters, memory: None, memory_peak: None, cpu_peak: None }
    }

    /// A reading of an attempt, made at `now` or its age before.
    pub(super) fn of(stats: &Stats, attempt: u32, now: Timestamp) -> Self {
        let age = i64::try_from(stats.age.as_micros()).unwrap_or(i64::MAX);
        let counters = [
            stats.cpu_micros,
            stats.throttled_micros,
            stats.received_bytes,
            stats.sent_bytes,
            stats.disk_read_bytes,
            stats.disk_written_bytes,
        ];
        let at = now.micros().saturating_sub(age);
        // As it will be packed: a point is the same before and after it was stored.
        let at = Timestamp(at - at.rem_euclid(1000));
        Self { counters, memory: stats.memory_bytes, ..Self::empty(at, attempt) }
    }

    fn fields(&self) -> [Option<u64>; FIELDS] {
        let mut fields = [None; FIELDS];
        fields[..COUNTERS].copy_from_slice(&self.counters);
        fields[COUNTERS..].copy_from_slice(&[self.memory, self.memory_peak, self.cpu_peak]);
        fields
    }
}

/// Points packed: every number as its difference to the one before it in the fewest bytes. A minute of a quiet server
/// takes about a hundred.
#[derive(Debug)]
pub(super) struct Packed {
    bytes: Vec<u8>,
    /// The last point's time in milliseconds, and the last value of each field.
    at: i64,
    before: [u64; FIELDS],
}

impl Packed {
    /// None yet.
    pub(super) fn new() -> Self {
        Self { bytes: vec![FORM], at: 0, before: [0; FIELDS] }
    }

    /// One more.
    pub(super) fn push(&mut self, point: &Point) {
        let millis = point.at.micros() / 1000;
        put(&mut self.bytes, zigzag(millis.wrapping_sub(self.at)));
        self.at = millis;
        put(&mut self.bytes, point.attempt.into());
        let fields = point.fields();
        let present = fields.iter().enumerate().filter(|(_, field)| field.is_some());
        put(&mut self.bytes, present.fold(0, |mask, (i, _)| mask | 1 << i));
        for (field, before) in fields.into_iter().zip(&mut self.before) {
            if let Some(value) = field {
                put(&mut self.bytes, zigzag(value.wrapping_sub(*before).cast_signed()));
                *before = value;
            }
        }
    }

    /// As they are stored.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Packs points.
pub(super) fn pack(points: &[Point]) -> Vec<u8> {
    let mut packed = Packed::new();
    points.iter().for_each(|point| packed.push(point));
    packed.bytes
}

/// Unpacks the points of a tier; `None` if that is not what they are.
pub(super) fn unpack(bytes: &[u8], tier: u32) -> Option<Vec<Point>> {
    let (form, mut rest) = bytes.split_first()?;
    if *form != FORM {
        return None;
    }
    let mut points = Vec::new();
    let (mut at, mut before) = (0_i64, [0_u64; FIELDS]);
    while !rest.is_empty() {
        at = at.wrapping_add(unzigzag(take(&mut rest)?));
        let attempt = u32::try_from(take(&mut rest)?).ok()?;
        let mask = take(&mut rest)?;
        let mut fields = [None; FIELDS];
        for (i, (field, before)) in fields.iter_mut().zip(&mut before).enumerate() {
            if mask & 1 << i != 0 {
                *before = before.wrapping_add(unzigzag(take(&mut rest)?).cast_unsigned());
                *field = Some(*before);
            }
        }
        let mut counters = [None; COUNTERS];
        counters.copy_from_slice(&fields[..COUNTERS]);
        let [memory, memory_peak, cpu_peak] = [fields[COUNTERS], fields[COUNTERS + 1], fields[COUNTERS + 2]];
        let at = Timestamp(at.checked_mul(1000)?);
        points.push(Point { tier, at, attempt, counters, memory, memory_peak, cpu_peak });
    }
    Some(points)
}

/// Small differences of either sign become small numbers.
const fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)).cast_unsigned()
}

const fn unzigzag(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -(number & 1).cast_signed()
}

/// Seven bits a byte, the lowest first; the eighth says that more follow.
fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    out.push(number.to_le_bytes()[0]);
}

fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_comes_out_as_it_was() {
        let extremes = Point {
            tier: 0,
            at: Timestamp(1_790_000_000_123_000),
            attempt: u32::MAX,
            counters: [Some(0), Some(u64::MAX), None, Some(1 << 63), Some(7), None],
            memory: Some(u64::MAX),
            memory_peak: Some(0),
            cpu_peak: None,
        };
        let earlier = Point::empty(Timestamp(-5000), 1);
        for points in [vec![], vec![extremes], vec![extremes, earlier, extremes, extremes]] {
            assert_eq!(unpack(&pack(&points), 0), Some(points));
        }
    }

    #[test]
    fn a_minute_of_a_quiet_server_takes_few_bytes() {
        let at = |n: u64| Timestamp(1_790_000_000_000_000 + i64::try_from(n).unwrap() * 10_000_000);
        let point = |n: u64| Point {
            counters: [
                Some(5_000_000 + n * 90_000),
                Some(0),
                Some(n * 20_000),
                Some(n * 30_000),
                Some(0),
                Some(0),
            ],
            memory: Some(104_857_600 + n * 4096),
            ..Point::empty(at(n), 1)
        };
        let bytes = pack(&(0..6).map(point).collect::<Vec<_>>()).len();
        assert!(bytes <= 120, "{bytes}");
    }

    #[test]
    fn what_was_never_packed_is_refused_and_breaks_nothing() {
        let whole = pack(&[Point { counters: [Some(300); COUNTERS], ..Point::empty(Timestamp(0), 1) }]);
        assert_eq!(unpack(&[], 0), None);
        assert_eq!(unpack(&[2], 0), None);
        assert_eq!(unpack(&[FORM; 7], 0), None);
        assert_eq!(unpack(&[&[FORM][..], &[0xff; 30]].concat(), 0), None);
        for length in 2..whole.len() {
            assert_eq!(unpack(&whole[..length], 0), None, "{length}");
        }
    }
}
