//! Databases of positions, written by the tests that need them: the format is small (maxmind.github.io/MaxMind-DB). The tests
//! of the binary's own reader include this file.

use std::net::IpAddr;

/// A value of the data section.
pub enum Value<'a> {
    /// A text of fewer than 29 bytes.
    Text(&'a str),
    /// A double.
    Degrees(f64),
    /// 16 bits.
    Short(u16),
    /// 32 bits.
    Number(u32),
    /// 64 bits.
    Long(u64),
    /// Keys and values.
    Map(Vec<(&'a str, Value<'a>)>),
    /// Values.
    List(Vec<Value<'a>>),
}

impl Value<'_> {
    fn write(&self, out: &mut Vec<u8>) {
        let size = |len: usize| u8::try_from(len).unwrap();
        match self {
            Value::Text(text) => {
                assert!(text.len() < 29, "longer texts have another head");
                out.push(2 << 5 | size(text.len()));
                out.extend(text.as_bytes());
            }
            Value::Degrees(degrees) => {
                out.push(3 << 5 | 8);
                out.extend(degrees.to_be_bytes());
            }
            Value::Short(number) => {
                out.push(5 << 5 | 2);
                out.extend(number.to_be_bytes());
            }
            Value::Long(number) => {
                out.extend([8, 9 - 7]);
                out.extend(number.to_be_bytes());
            }
            Value::Number(number) => {
                out.push(6 << 5 | 4);
                out.extend(number.to_be_bytes());
            }
            Value::Map(entries) => {
                out.push(7 << 5 | size(entries.len()));
                for (key, value) in entries {
                    Value::Text(key).write(out);
                    value.write(out);
                }
            }
            Value::List(items) => {
                out.extend([size(items.len()), 11 - 7]);
                items.iter().for_each(|item| item.write(out));
            }
        }
    }
}

/// The bits of an address as the tree has them: IPv4 stands under `::/96`.
fn bits(address: IpAddr, prefix: usize) -> Vec<usize> {
    let (number, prefix) = match address {
        IpAddr::V4(v4) => (u128::from(v4.to_bits()), prefix + 96),
        IpAddr::V6(v6) => (v6.to_bits(), prefix),
    };
    (0..prefix).map(|bit| usize::from(number >> (127 - bit) & 1 == 1)).collect()
}

/// Writes a database in which each network (address and bits of its prefix) has its record.
///
/// # Panics
/// It does not fit into the smallest form.
#[must_use]
pub fn database(networks: &[(&str, usize, Value<'_>)]) -> Vec<u8> {
    /// What a side of a node leads to.
    #[derive(Clone, Copy)]
    enum Side {
        Nothing,
        Node(usize),
        Data(usize),
    }
    let mut nodes = vec![[Side::Nothing; 2]];
    let mut data = Vec::new();
    for (address, prefix, record) in networks {
        let bits = bits(address.parse().unwrap(), *prefix);
        let (last, path) = bits.split_last().unwrap();
        let mut node = 0;
        for bit in path {
            node = match nodes[node][*bit] {
                Side::Node(next) => next,
                Side::Nothing | Side::Data(_) => {
                    nodes.push([Side::Nothing; 2]);
                    let next = nodes.len() - 1;
                    nodes[node][*bit] = Side::Node(next);
                    next
                }
            };
        }
        nodes[node][*last] = Side::Data(data.len());
        record.write(&mut data);
    }
    let count = nodes.len();
    let mut out = Vec::new();
    for side in nodes.iter().flatten() {
        let number = match side {
            Side::Nothing => count,
            Side::Node(node) => *node,
            Side::Data(offset) => count + 16 + offset,
        };
        out.extend(&u32::try_from(number).unwrap().to_be_bytes()[1..]);
    }
    out.extend([0; 16]);
    out.extend(data);
    out.extend(b"\xab\xcd\xefMaxMind.com");
    Value::Map(vec![
        ("binary_format_major_version", Value::Short(2)),
        ("binary_format_minor_version", Value::Short(0)),
        ("build_epoch", Value::Long(1_700_000_000)),
        ("database_type", Value::Text("Test-City")),
        ("description", Value::Map(vec![("en", Value::Text("a test"))])),
        ("ip_version", Value::Short(6)),
        ("languages", Value::List(vec![Value::Text("en")])),
        ("node_count", Value::Number(u32::try_from(count).unwrap())),
        ("record_size", Value::Short(24)),
    ])
    .write(&mut out);
    out
}

/// A coordinate of a record.
#[must_use]
pub fn point(latitude: f64, longitude: f64) -> Value<'static> {
    Value::Map(vec![("latitude", Value::Degrees(latitude)), ("longitude", Value::Degrees(longitude))])
}

/// A record as MaxMind writes it: continent, country (code and name each), latitude and longitude.
#[must_use]
pub fn city<'a>(
    continent: (&'a str, &'a str),
    country: (&'a str, &'a str),
    latitude: f64,
    longitude: f64,
) -> Value<'a> {
    let named = |key: &'a str, (code, name): (&'a str, &'a str)| {
        Value::Map(vec![(key, Value::Text(code)), ("names", Value::Map(vec![("en", Value::Text(name))]))])
    };
    Value::Map(vec![
        ("continent", named("code", continent)),
        ("country", named("iso_code", country)),
        ("location", point(latitude, longitude)),
    ])
}
