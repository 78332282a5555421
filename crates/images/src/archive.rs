//! Reads tar archives as layers have them: ustar, GNU long names, PAX, and the four ways to write sparse files.
//!
//! Why not the `tar` crate: it reads long names and PAX records of any size into memory, and splits PAX records at line ends, which
//! binary attributes (`security.capability`) contain. Semantics are those of Go's reader, which Docker and containerd use.

use std::io::{self, Read};

const BLOCK: usize = 512;
/// Bytes of a long name, PAX records or a sparse map.
const MAX_EXTENSION: u64 = 1 << 20;
/// Pieces of a sparse file.
const MAX_PIECES: usize = 1 << 16;

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    File,
    Link,
    Symlink,
    Char,
    Block,
    Directory,
    Fifo,
}

/// An entry, without its data.
#[derive(Clone, Debug)]
pub struct Entry {
    pub path: Vec<u8>,
    pub kind: Kind,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Seconds and nanoseconds.
    pub mtime: (i64, u32),
    pub link: Vec<u8>,
    pub device: (u32, u32),
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Bytes of the file, holes included.
    pub size: u64,
    /// Where the data goes (offset, length), if it is not in one piece.
    pub pieces: Option<Vec<(u64, u64)>>,
}

/// What PAX records or GNU entries say of the entry that follows.
#[derive(Default)]
struct Extension {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u64>,
    gid: Option<u64>,
    mtime: Option<(i64, u32)>,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    sparse: Sparse,
}

#[derive(Default)]
struct Sparse {
    major: Option<u64>,
    minor: Option<u64>,
    name: Option<Vec<u8>>,
    size: Option<u64>,
    map: Option<Vec<(u64, u64)>>,
    offset: Option<u64>,
}

/// A reader of entries. After [`Self::next`], it reads that entry's data.
pub struct Reader<R> {
    inner: R,
    left: u64,
    padding: u64,
}

/// The archive breaks its format's rules.
pub fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

impl<R: Read> Reader<R> {
    pub const fn new(inner: R) -> Self {
        Self { inner, left: 0, padding: 0 }
    }

    /// What is behind the last entry that was read.
    pub fn into_inner(self) -> R {
        self.inner
    }

    /// The next entry; none at the end.
    pub fn next(&mut self) -> io::Result<Option<Entry>> {
        let mut extension = Extension::default();
        loop {
            self.skip()?;
            let Some(header) = self.header()? else { return Ok(None) };
            let flag = header[156];
            let size = number(&header[124..136])?;
            match flag {
                b'x' => {
                    let records = self.extension(size)?;
                    pax(&records, &mut extension)?;
                }
                // Docker ignores what is said of all entries.
                b'g' => {
                    self.extension(size)?;
                }
                b'L' => extension.path = Some(until_nul(&self.extension(size)?).to_vec()),
                b'K' => extension.link = Some(until_nul(&self.extension(size)?).to_vec()),
                _ => return self.entry(&header, size, extension).map(Some),
            }
        }
    }

    fn entry(&mut self, header: &[u8; BLOCK], size: u64, extension: Extension) -> io::Result<Entry> {
        let Extension { path, link, size: pax_size, uid, gid, mtime, xattrs, sparse } = extension;
        let path = path.unwrap_or_else(|| header_path(header));
        let kind = match header[156] {
            b'0' | 0 if path.ends_with(b"/") => Kind::Directory,
            b'0' | 0 | b'7' | b'S' => Kind::File,
            b'1' => Kind::Link,
            b'2' => Kind::Symlink,
            b'3' => Kind::Char,
            b'4' => Kind::Block,
            b'5' => Kind::Directory,
            b'6' => Kind::Fifo,
            _ => return Err(bad("an entry is of a kind that layers do not have")),
        };
        // Only files have data, whatever the header says of others.
        let stored = if kind == Kind::File { pax_size.unwrap_or(size) } else { 0 };
        self.left = stored;
        self.padding = (BLOCK as u64 - stored % BLOCK as u64) % BLOCK as u64;
        let field = |from: usize, to: usize| number(&header[from..to]);
        let small = |n: u64| u32::try_from(n).map_err(|_| bad("an owner or device number is too large"));
        let device = match kind {
            Kind::Char | Kind::Block => (small(field(329, 337)?)?, small(field(337, 345)?)?),
            _ => (0, 0),
        };
        let mut entry = Entry {
            path,
            kind,
            mode: u32::try_from(field(100, 108)? & 0o7777).unwrap_or(0),
            uid: small(uid.map_or_else(|| field(108, 116), Ok)?)?,
            gid: small(gid.map_or_else(|| field(116, 124), Ok)?)?,
            mtime: mtime.map_or_else(|| signed(&header[136..148]).map(|s| (s, 0)), Ok)?,
            link: link.unwrap_or_else(|| until_nul(&header[157..257]).to_vec()),
            device,
            xattrs,
            size: stored,
            pieces: None,
        };
        if kind == Kind::File {
            self.sparse(header, sparse, &mut entry)?;
        }
        if entry.path.contains(&0) || entry.link.contains(&0) {
            return Err(bad("a name contains a zero byte"));
        }
        Ok(entry)
    }

    /// Finds out where the pieces of a sparse file go.
    fn sparse(&mut self, header: &[u8; BLOCK], sparse: Sparse, entry: &mut Entry) -> io::Result<()> {
        let pieces = if header[156] == b'S' {
            entry.size = number(&header[483..495])?;
            self.old_gnu_map(header)?
        } else if sparse.major == Some(1) && sparse.minor == Some(0) {
            self.map_in_data()?
        } else if let Some(map) = sparse.map {
            map
        } else {
            return Ok(());
        };
        if let Some(name) = sparse.name {
            entry.path = name;
        }
        if let Some(size) = sparse.size {
            entry.size = size;
        }
        let mut end = 0_u64;
        let mut data = 0_u64;
        for (offset, length) in &pieces {
            if *offset < end {
                return Err(bad("the pieces of a sparse file overlap"));
            }
            end = offset.checked_add(*length).ok_or_else(|| bad("a sparse file is too large"))?;
            data += length;
        }
        if end > entry.size || data != self.left {
            return Err(bad("the pieces of a sparse file do not fit its size"));
        }
        entry.pieces = Some(pieces);
        Ok(())
    }

    fn old_gnu_map(&mut self, header: &[u8; BLOCK]) -> io::Result<Vec<(u64, u64)>> {
        let mut pieces = Vec::new();
        gnu_pieces(&header[386..482], &mut pieces)?;
        let mut more = header[482] != 0;
        while more {
            let mut block = [0; BLOCK];
            self.inner.read_exact(&mut block)?;
            gnu_pieces(&block[..504], &mut pieces)?;
            more = block[504] != 0;
        }
        Ok(pieces)
    }

    /// PAX 1.0: decimal numbers, one a line, in the first blocks of the data.
    fn map_in_data(&mut self) -> io::Result<Vec<(u64, u64)>> {
        let mut text = Vec::new();
        let mut numbers: Vec<u64> = Vec::new();
        let mut wanted = 1;
        while numbers.len() < wanted {
            if text.len() as u64 > MAX_EXTENSION || self.left < BLOCK as u64 {
                return Err(bad("the map of a sparse file does not end"));
            }
            let mut block = [0; BLOCK];
            self.inner.read_exact(&mut block)?;
            self.left -= BLOCK as u64;
            text.extend_from_slice(&block);
            while let Some(at) = text.iter().position(|b| *b == b'\n') {
                if numbers.len() == wanted {
                    break;
                }
                numbers.push(decimal(&text[..at])?);
                text.drain(..=at);
                if numbers.len() == 1 {
                    wanted = usize::try_from(numbers[0])
                        .ok()
                        .filter(|n| *n <= MAX_PIECES)
                        .map_or(0, |n| 1 + 2 * n);
                    if wanted == 0 {
                        return Err(bad("a sparse file has too many pieces"));
                    }
                }
            }
        }
        Ok(numbers[1..].chunks_exact(2).map(|pair| (pair[0], pair[1])).collect())
    }

    /// A header with a good checksum; none at the end of the archive.
    fn header(&mut self) -> io::Result<Option<[u8; BLOCK]>> {
        let mut header = [0; BLOCK];
        let mut have = 0;
        while have < BLOCK {
            match self.inner.read(&mut header[have..])? {
                0 if have == 0 => return Ok(None),
                0 => return Err(bad("the archive ends in the middle of a header")),
                n => have += n,
            }
        }
        if header.iter().all(|b| *b == 0) {
            return Ok(None);
        }
        let told = number(&header[148..156])?;
        let (mut unsigned, mut signed) = (0_i64, 0_i64);
        for (at, byte) in header.iter().enumerate() {
            let byte = if (148..156).contains(&at) { b' ' } else { *byte };
            unsigned += i64::from(byte);
            signed += i64::from(byte.cast_signed());
        }
        let told = i64::try_from(told).unwrap_or(-1);
        if told != unsigned && told != signed {
            return Err(bad("a header's checksum is wrong: this is no tar archive, or a broken one"));
        }
        Ok(Some(header))
    }

    fn extension(&mut self, size: u64) -> io::Result<Vec<u8>> {
        if size > MAX_EXTENSION {
            return Err(bad("a name or attribute is too long"));
        }
        self.left = size;
        self.padding = (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64;
        let mut bytes = Vec::new();
        self.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Passes over what is left of the entry before.
    fn skip(&mut self) -> io::Result<()> {
        io::copy(self, &mut io::sink())?;
        let padding = std::mem::take(&mut self.padding);
        // An archive may end without it: `umoci insert` makes such.
        io::copy(&mut self.inner.by_ref().take(padding), &mut io::sink()).map(|_| ())
    }
}

impl<R: Read> Read for Reader<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 || buf.is_empty() {
            return Ok(0);
        }
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buf.len());
        let n = self.inner.read(&mut buf[..most])?;
        if n == 0 {
            return Err(bad("the archive ends in the middle of a file"));
        }
        self.left -= n as u64;
        Ok(n)
    }
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|b| *b == 0).next().unwrap_or_default()
}

fn header_path(header: &[u8; BLOCK]) -> Vec<u8> {
    let name = until_nul(&header[..100]);
    // GNU's old magic has other things where ustar has a prefix.
    let prefix = if &header[257..263] == b"ustar\0" { until_nul(&header[345..500]) } else { &[] };
    if prefix.is_empty() {
        return name.to_vec();
    }
    [prefix, b"/", name].concat()
}

/// Octal digits, or GNU's base 256.
fn number(field: &[u8]) -> io::Result<u64> {
    u64::try_from(signed(field)?).map_err(|_| bad("a number in a header is negative"))
}

fn signed(field: &[u8]) -> io::Result<i64> {
    let broken = || bad("a number in a header cannot be read");
    if field[0] & 0x80 != 0 {
        let negative = field[0] & 0x40 != 0;
        let mut value = if negative { -1_i128 } else { 0 };
        for (at, byte) in field.iter().enumerate() {
            let byte = if at == 0 && !negative { byte & 0x7f } else { *byte };
            value = value << 8 | i128::from(byte);
        }
        return i64::try_from(value).map_err(|_| broken());
    }
    let text = std::str::from_utf8(until_nul(field)).map_err(|_| broken())?.trim_matches([' ', '\0']);
    if text.is_empty() {
        return Ok(0);
    }
    i64::from_str_radix(text, 8).map_err(|_| broken())
}

fn decimal(text: &[u8]) -> io::Result<u64> {
    let text = std::str::from_utf8(text).map_err(|_| bad("a number is no text"))?;
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(bad("a number has other things than digits"));
    }
    text.parse().map_err(|_| bad("a number is too large"))
}

fn gnu_pieces(fields: &[u8], pieces: &mut Vec<(u64, u64)>) -> io::Result<()> {
    for piece in fields.chunks_exact(24).take_while(|piece| piece[0] != 0) {
        if pieces.len() == MAX_PIECES {
            return Err(bad("a sparse file has too many pieces"));
        }
        pieces.push((number(&piece[..12])?, number(&piece[12..])?));
    }
    Ok(())
}

/// `length key=value\n`, where the value may be anything.
fn pax(mut records: &[u8], extension: &mut Extension) -> io::Result<()> {
    let broken = || bad("PAX records cannot be read");
    while !records.is_empty() {
        let space = records.iter().position(|b| *b == b' ').ok_or_else(broken)?;
        let length = usize::try_from(decimal(&records[..space])?).map_err(|_| broken())?;
        if length <= space + 1 || length > records.len() || records[length - 1] != b'\n' {
            return Err(broken());
        }
        let record = &records[space + 1..length - 1];
        let equals = record.iter().position(|b| *b == b'=').ok_or_else(broken)?;
        pax_record(&record[..equals], &record[equals + 1..], extension)?;
        records = &records[length..];
    }
    Ok(())
}

fn pax_record(key: &[u8], value: &[u8], extension: &mut Extension) -> io::Result<()> {
    if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
        extension.xattrs.push((name.to_vec(), value.to_vec()));
        return Ok(());
    }
    // An empty value means: as if it were not there.
    let some = !value.is_empty();
    let text = || some.then(|| value.to_vec());
    let count = || if some { decimal(value).map(Some) } else { Ok(None) };
    let sparse = &mut extension.sparse;
    match key {
        b"path" => extension.path = text(),
        b"linkpath" => extension.link = text(),
        b"size" => extension.size = count()?,
        b"uid" => extension.uid = count()?,
        b"gid" => extension.gid = count()?,
        b"mtime" => extension.mtime = if some { Some(pax_time(value)?) } else { None },
        b"GNU.sparse.major" => sparse.major = count()?,
        b"GNU.sparse.minor" => sparse.minor = count()?,
        b"GNU.sparse.name" => sparse.name = text(),
        b"GNU.sparse.size" | b"GNU.sparse.realsize" => sparse.size = count()?,
        b"GNU.sparse.map" => {
            let numbers: Vec<u64> = value
                .split(|b| *b == b',')
                .filter(|n| !n.is_empty())
                .map(decimal)
                .collect::<io::Result<_>>()?;
            if !numbers.len().is_multiple_of(2) || numbers.len() / 2 > MAX_PIECES {
                return Err(bad("the map of a sparse file cannot be read"));
            }
            sparse.map = Some(numbers.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect());
        }
        b"GNU.sparse.offset" => sparse.offset = count()?,
        b"GNU.sparse.numbytes" => {
            let (Some(offset), Some(length)) = (sparse.offset.take(), count()?) else {
                return Err(bad("the map of a sparse file cannot be read"));
            };
            sparse.map.get_or_insert_default().push((offset, length));
        }
        _ => {}
    }
    Ok(())
}

/// `1700000000.123456789`, possibly negative.
fn pax_time(value: &[u8]) -> io::Result<(i64, u32)> {
    let broken = || bad("a time cannot be read");
    let text = std::str::from_utf8(value).map_err(|_| broken())?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().map_err(|_| broken())?;
    let digits: String = fraction.chars().chain(std::iter::repeat('0')).take(9).collect();
    let nanos: u32 = digits.parse().map_err(|_| broken())?;
    if whole.starts_with('-') && nanos > 0 {
        return Ok((seconds - 1, 1_000_000_000 - nanos));
    }
    Ok((seconds, nanos))
}

#[cfg(test)]
mod tests;
