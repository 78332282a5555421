//! Makes tar archives entry by entry, also such as no honest tool makes.

/// One entry.
#[derive(Clone)]
pub struct Item {
    pub path: Vec<u8>,
    pub kind: u8,
    pub mode: u32,
    pub owner: (u64, u64),
    pub mtime: u64,
    pub link: Vec<u8>,
    pub device: (u32, u32),
    pub data: Vec<u8>,
    pub pax: Vec<(String, Vec<u8>)>,
    /// What the header says, where that is not what is true.
    pub size: Option<u64>,
}

fn item(kind: u8, path: &str) -> Item {
    Item {
        path: path.as_bytes().to_vec(),
        kind,
        mode: 0o644,
        owner: (0, 0),
        mtime: 1_700_000_000,
        link: Vec::new(),
        device: (0, 0),
        data: Vec::new(),
        pax: Vec::new(),
        size: None,
    }
}

pub fn file(path: &str, data: &[u8]) -> Item {
    Item { data: data.to_vec(), ..item(b'0', path) }
}

pub fn dir(path: &str) -> Item {
    Item { mode: 0o755, ..item(b'5', path) }
}

pub fn symlink(path: &str, target: &str) -> Item {
    Item { link: target.as_bytes().to_vec(), mode: 0o777, ..item(b'2', path) }
}

pub fn link(path: &str, target: &str) -> Item {
    Item { link: target.as_bytes().to_vec(), ..item(b'1', path) }
}

pub fn node(kind: u8, path: &str, device: (u32, u32)) -> Item {
    Item { device, ..item(kind, path) }
}

impl Item {
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = mode;
        self
    }

    pub fn owner(mut self, uid: u64, gid: u64) -> Self {
        self.owner = (uid, gid);
        self
    }

    pub fn pax(mut self, key: &str, value: &[u8]) -> Self {
        self.pax.push((key.to_owned(), value.to_vec()));
        self
    }
}

/// The archive of some entries, with its end.
pub fn tarball(items: &[Item]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for item in items {
        put(&mut bytes, item);
    }
    bytes.extend_from_slice(&[0; 1024]);
    bytes
}

pub fn put(bytes: &mut Vec<u8>, item: &Item) {
    let mut pax = item.pax.clone();
    if item.path.len() > 100 {
        pax.push(("path".to_owned(), item.path.clone()));
    }
    if item.link.len() > 100 {
        pax.push(("linkpath".to_owned(), item.link.clone()));
    }
    if !pax.is_empty() {
        let data = pax.iter().flat_map(|(key, value)| record(key, value)).collect();
        put(bytes, &Item { data, ..self::item(b'x', "pax") });
    }
    let mut header = [0_u8; 512];
    let mut text = |at: usize, value: &[u8]| header[at..at + value.len()].copy_from_slice(value);
    text(0, &item.path[..item.path.len().min(100)]);
    text(100, format!("{:07o}", item.mode).as_bytes());
    text(108, format!("{:07o}", item.owner.0).as_bytes());
    text(116, format!("{:07o}", item.owner.1).as_bytes());
    text(124, format!("{:011o}", item.size.unwrap_or(item.data.len() as u64)).as_bytes());
    text(136, format!("{:011o}", item.mtime).as_bytes());
    text(148, b"        ");
    text(156, &[item.kind]);
    text(157, &item.link[..item.link.len().min(100)]);
    text(257, b"ustar\x0000");
    text(329, format!("{:07o}", item.device.0).as_bytes());
    text(337, format!("{:07o}", item.device.1).as_bytes());
    let sum: u32 = header.iter().map(|b| u32::from(*b)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    bytes.extend_from_slice(&header);
    bytes.extend_from_slice(&item.data);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
}

fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    [format!("{length} {key}=").as_bytes(), value, b"\n"].concat()
}
