//! HTTP and WebSocket on the game's TCP ports: a first line that ends in `HTTP/1.1` is taken for a request.
//!
//! A request is answered with its own head and body, so that a test sees what arrived. A WebSocket gets for each message what
//! a line would get. As small as the rest: what the tests do not send is not understood.

use std::io::{self, BufRead, Read, Write};

/// Bytes of a body or a message.
const BYTES_MAX: u64 = 1024 * 1024;
/// What RFC 6455 has hashed with the key.
const MAGIC: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Whether a line begins a request.
pub fn is_request(line: &str) -> bool {
    line.trim_end().ends_with(" HTTP/1.1")
}

/// Answers the request that begins with `first`, and those that follow it.
pub fn serve(
    first: String,
    reader: &mut impl BufRead,
    stream: &mut impl Write,
    reply: &dyn Fn(String) -> String,
) -> io::Result<()> {
    let mut first = first;
    loop {
        let mut head = vec![first.trim_end().to_owned()];
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            match line.trim_end() {
                "" => break,
                header => head.push(header.to_owned()),
            }
        }
        let header = |name: &str| {
            let named =
                |line: &&String| line.split(':').next().is_some_and(|key| key.eq_ignore_ascii_case(name));
            head.iter().skip(1).find(named).and_then(|line| Some(line.split_once(':')?.1.trim()))
        };
        if let Some(key) = header("sec-websocket-key") {
            let accept = base64(&sha1(format!("{key}{MAGIC}").as_bytes()));
            write!(
                stream,
                "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-accept: {accept}\r\n\r\n"
            )?;
            return messages(reader, stream, reply);
        }
        let length: u64 = header("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
        let mut body = Vec::new();
        reader.by_ref().take(length.min(BYTES_MAX)).read_to_end(&mut body)?;
        let text = format!("{}\n\n{}", head.join("\n"), String::from_utf8_lossy(&body));
        write!(
            stream,
            "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {}\r\n\r\n{text}",
            text.len()
        )?;
        first = String::new();
        if reader.read_line(&mut first)? == 0 || !is_request(&first) {
            return Ok(());
        }
    }
}

/// Messages of a WebSocket, one frame each, until its end.
fn messages(
    reader: &mut impl BufRead,
    stream: &mut impl Write,
    reply: &dyn Fn(String) -> String,
) -> io::Result<()> {
    const TEXT: u8 = 1;
    const CLOSE: u8 = 8;
    const PING: u8 = 9;
    const PONG: u8 = 10;
    loop {
        let mut start = [0; 2];
        reader.read_exact(&mut start)?;
        let length = match start[1] & 0x7f {
            126 => u64::from(u16::from_be_bytes(take(reader)?)),
            127 => u64::from_be_bytes(take(reader)?),
            short => u64::from(short),
        };
        let mask: [u8; 4] = take(reader)?;
        if length > BYTES_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut message = Vec::new();
        reader.by_ref().take(length).read_to_end(&mut message)?;
        message.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
        let (kind, answer) = match start[0] & 0x0f {
            TEXT => (TEXT, reply(String::from_utf8_lossy(&message).into_owned()).into_bytes()),
            PING => (PONG, message),
            other => (other, message),
        };
        let mut frame = vec![0x80 | kind];
        match u16::try_from(answer.len()) {
            Ok(length @ 0..=125) => frame.push(length.to_be_bytes()[1]),
            Ok(length) => frame.extend([&[126][..], &length.to_be_bytes()].concat()),
            Err(_) => frame.extend([&[127][..], &(answer.len() as u64).to_be_bytes()].concat()),
        }
        frame.extend(answer);
        stream.write_all(&frame)?;
        if kind == CLOSE {
            return Ok(());
        }
    }
}

fn take<const N: usize>(reader: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    reader.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// SHA-1, as the handshake wants it; it protects nothing there.
fn sha1(message: &[u8]) -> [u8; 20] {
    let mut padded = message.to_vec();
    padded.push(0x80);
    while padded.len() % 64 != 56 {
        padded.push(0);
    }
    padded.extend((message.len() as u64 * 8).to_be_bytes());
    let mut hash: [u32; 5] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];
    for block in padded.chunks_exact(64) {
        let mut words = [0_u32; 80];
        for (word, bytes) in words.iter_mut().zip(block.chunks_exact(4)) {
            *word = bytes.iter().fold(0, |word, byte| word << 8 | u32::from(*byte));
        }
        for i in 16..80 {
            words[i] = (words[i - 3] ^ words[i - 8] ^ words[i - 14] ^ words[i - 16]).rotate_left(1);
        }
        let [mut a, mut b, mut c, mut d, mut e] = hash;
        for (i, word) in words.iter().enumerate() {
            let (mixed, constant) = match i / 20 {
                0 => (b & c | !b & d, 0x5a82_7999),
                1 => (b ^ c ^ d, 0x6ed9_eba1),
                2 => (b & c | b & d | c & d, 0x8f1b_bcdc),
                _ => (b ^ c ^ d, 0xca62_c1d6),
            };
            let next = a
                .rotate_left(5)
                .wrapping_add(mixed)
                .wrapping_add(e)
                .wrapping_add(constant)
                .wrapping_add(*word);
            (e, d, c, b, a) = (d, c, b.rotate_left(30), a, next);
        }
        for (total, part) in hash.iter_mut().zip([a, b, c, d, e]) {
            *total = total.wrapping_add(part);
        }
    }
    let mut bytes = [0; 20];
    for (four, word) in bytes.chunks_exact_mut(4).zip(hash) {
        four.copy_from_slice(&word.to_be_bytes());
    }
    bytes
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let bits =
            (0..3).fold(0_usize, |bits, i| bits << 8 | usize::from(three.get(i).copied().unwrap_or(0)));
        for i in 0..4 {
            text.push(if i <= three.len() { char::from(DIGITS[bits >> (18 - 6 * i) & 63]) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_handshake_of_the_standards_example_is_answered_as_it_says() {
        let accept = base64(&sha1(format!("dGhlIHNhbXBsZSBub25jZQ=={MAGIC}").as_bytes()));
        assert_eq!(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        for (length, first) in [(0, 0xda), (55, 0xc1), (56, 0xc2), (63, 0x03), (64, 0x00), (119, 0xee)] {
            assert_eq!(sha1(&vec![b'a'; length])[0], first, "{length}");
        }
    }

    #[test]
    fn a_request_is_answered_with_itself_and_a_websocket_message_with_what_a_line_gets() {
        let asked = b"host: a\r\ncontent-length: 2\r\n\r\nhiGET /ws HTTP/1.1\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n\
                      \x81\x84\x01\x01\x01\x01qhof\x88\x80\x00\x00\x00\x00";
        let mut told = Vec::new();
        let reply = |text: String| format!("{text}!");
        serve("POST / HTTP/1.1".into(), &mut &asked[..], &mut told, &reply).unwrap();
        let told = String::from_utf8_lossy(&told);
        assert!(
            told.contains("\r\n\r\nPOST / HTTP/1.1\nhost: a\ncontent-length: 2\n\nhiHTTP/1.1 101 "),
            "{told}"
        );
        assert!(
            told.contains("accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n\u{fffd}\u{5}ping!\u{fffd}\0"),
            "{told:?}"
        );
    }
}
