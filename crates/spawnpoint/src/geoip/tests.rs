//! A database is written by the test itself: the format is small (maxmind.github.io/MaxMind-DB).

use super::*;

/// A value of the data section.
enum Value<'a> {
    Text(&'a str),
    Degrees(f64),
    Short(u16),
    Number(u32),
    Long(u64),
    Map(Vec<(&'a str, Value<'a>)>),
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

/// Writes a database in which each network has its record.
fn database(networks: &[(&str, usize, Value<'_>)]) -> Vec<u8> {
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

fn point(latitude: f64, longitude: f64) -> Value<'static> {
    Value::Map(vec![("latitude", Value::Degrees(latitude)), ("longitude", Value::Degrees(longitude))])
}

fn open(networks: &[(&str, usize, Value<'_>)]) -> Result<GeoDatabase, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("city.mmdb");
    std::fs::write(&path, database(networks)).unwrap();
    GeoDatabase::open(&path)
}

#[test]
fn an_address_has_the_position_of_its_network() {
    let geo = open(&[
        ("81.2.69.0", 24, Value::Map(vec![("location", point(51.5, -0.12))])),
        ("89.160.20.112", 28, Value::Map(vec![("location", point(59.33, 18.07))])),
        ("2001:218::", 32, point(35.68, 139.69)),
    ])
    .unwrap();
    let at = |address: &str| geo.position(address.parse().unwrap()).map(|p| (p.latitude, p.longitude));
    assert_eq!(at("81.2.69.160"), Some((51.5, -0.12)));
    assert_eq!(at("89.160.20.113"), Some((59.33, 18.07)));
    assert_eq!(at("89.160.20.128"), None, "the next network");
    assert_eq!(at("2001:218::7"), Some((35.68, 139.69)), "coordinates that stand at the top of the record");
    assert_eq!(at("::ffff:81.2.69.160"), Some((51.5, -0.12)), "IPv4 written as IPv6");
}

#[test]
fn private_and_loopback_addresses_are_nowhere_even_if_the_database_says_otherwise() {
    let everywhere = || Value::Map(vec![("location", point(1.0, 2.0))]);
    let geo = open(&[("0.0.0.0", 1, everywhere()), ("128.0.0.0", 1, everywhere())]).unwrap();
    let at = |address: &str| geo.position(address.parse().unwrap());
    assert!(at("8.8.8.8").is_some());
    for private in [
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "127.0.0.1",
        "169.254.1.1",
        "100.64.0.1",
        "::1",
        "fe80::1",
        "fd00::1",
    ] {
        assert_eq!(at(private), None, "{private}");
    }
}

#[test]
fn a_database_without_coordinates_is_refused_at_the_start() {
    let err = open(&[("81.2.69.0", 24, Value::Map(vec![("country", Value::Text("GB"))]))]).err().unwrap();
    assert!(err.contains("holds no coordinates"), "{err}");
}

#[test]
fn a_position_outside_the_globe_is_no_position() {
    let geo = open(&[("81.2.69.0", 24, point(91.0, 0.0)), ("81.2.70.0", 24, point(1.0, 1.0))]).unwrap();
    assert_eq!(geo.position("81.2.69.1".parse().unwrap()), None);
}

#[test]
fn a_file_that_is_no_database_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notes.txt");
    std::fs::write(&path, "hello").unwrap();
    let err = GeoDatabase::open(&path).err().unwrap();
    assert!(err.contains("notes.txt"), "{err}");
}
