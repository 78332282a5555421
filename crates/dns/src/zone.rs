//! From a question's bytes to an answer's. No sockets, no clock.
//!
//! | asked for | answer |
//! |---|---|
//! | `<label>.<domain>` that is known | its A or AAAA, or its TXT; for another type: nothing, with the SOA |
//! | any other name in the zone | NXDOMAIN with the SOA, whose last figure says how briefly to remember it |
//! | the domain itself | SOA, NS; for another type: nothing, with the SOA |
//! | a name server that lies in the zone | its addresses |
//! | a name outside the zone, another class, a transfer | REFUSED |
//! | what is no question | nothing at all to an answer, FORMERR or NOTIMP to the rest |

use std::fmt;
use std::net::IpAddr;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, NS, SOA, TXT};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

use crate::{Known, Names};

/// What an answer may have over its question.
pub const ANSWER_BYTES_MAX: usize = 512;
/// Name servers of a zone.
pub const NAME_SERVERS_MAX: usize = 4;
/// Seconds for which it is remembered that a name is not there: a client may ask for it again when it is ready.
const NOT_THERE_SECONDS: u32 = 2;
/// Seconds for which the zone's own records are remembered.
const ZONE_SECONDS: u32 = 3600;
/// Seconds for which a text is remembered: the next one is asked for soon.
const TEXT_SECONDS: u32 = 1;
/// Texts of a name: more would not fit into an answer.
pub const TEXTS_MAX: usize = 8;
/// What we take over UDP, told to whoever speaks EDNS: what no network has to take apart.
const UDP_BYTES: u16 = 1232;

/// A name of the configuration is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotAName(String);

impl fmt::Display for NotAName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is not a domain name", self.0)
    }
}

impl std::error::Error for NotAName {}

/// What a zone is made of.
#[derive(Clone, Debug)]
pub struct ZoneConfig {
    /// The domain.
    pub domain: String,
    /// Its name servers, as the parent zone names them. None: `ns.<domain>`.
    pub name_servers: Vec<String>,
    /// Addresses of those that lie in the zone.
    pub addresses: Vec<IpAddr>,
    /// Seconds for which a name may be remembered.
    pub seconds: u32,
    /// Serial number of the SOA: greater at each start.
    pub serial: u32,
}

/// A zone.
#[derive(Clone, Debug)]
pub struct Zone {
    apex: Name,
    name_servers: Vec<Name>,
    addresses: Vec<IpAddr>,
    seconds: u32,
    serial: u32,
    responsible: Name,
}

impl Zone {
    /// A zone.
    ///
    /// # Errors
    /// A name is none.
    pub fn new(config: &ZoneConfig) -> Result<Self, NotAName> {
        let parse = |text: &str| {
            let mut name = Name::from_ascii(text).map_err(|_| NotAName(text.to_owned()))?;
            name.set_fqdn(true);
            Ok(name.to_lowercase())
        };
        let apex = parse(&config.domain)?;
        let under = |label: &str| parse(&format!("{label}.{}", config.domain));
        let mut name_servers = Vec::new();
        for text in config.name_servers.iter().take(NAME_SERVERS_MAX) {
            name_servers.push(parse(text)?);
        }
        if name_servers.is_empty() {
            name_servers.push(under("ns")?);
        }
        Ok(Self {
            responsible: under("hostmaster")?,
            apex,
            name_servers,
            addresses: config.addresses.clone(),
            seconds: config.seconds,
            serial: config.serial,
        })
    }

    /// The answer to what was received; `None`: none is due.
    pub async fn answer(&self, received: &[u8], names: &dyn Names) -> Option<Vec<u8>> {
        let question = match parse(received)? {
            Ok(question) => question,
            Err(refusal) => return refusal.to_vec().ok(),
        };
        let query = question.queries.first()?;
        let mut answer = reply(&question);
        match &question.edns {
            Some(edns) if edns.version() > 0 => answer.metadata.response_code = ResponseCode::BADVERS,
            _ => self.look_up(query, &mut answer, names).await,
        }
        let bytes = answer.to_vec().ok()?;
        if bytes.len() <= received.len() + ANSWER_BYTES_MAX {
            Some(bytes)
        } else {
            answer.truncate().to_vec().ok()
        }
    }

    /// "Ask over TCP": no longer than the question. `None`: none is due.
    #[must_use]
    pub fn shortened(&self, received: &[u8]) -> Option<Vec<u8>> {
        let question = parse(received)?.ok()?;
        let mut answer = reply(&question);
        answer.metadata.truncation = true;
        answer.edns = None;
        answer.to_vec().ok()
    }

    async fn look_up(&self, query: &Query, answer: &mut Message, names: &dyn Names) {
        let transfer = matches!(query.query_type(), RecordType::AXFR | RecordType::IXFR);
        let ours = query.query_class() == DNSClass::IN && !transfer && self.apex.zone_of(query.name());
        if !ours {
            answer.metadata.response_code = ResponseCode::Refused;
            return;
        }
        answer.metadata.authoritative = true;
        let records = if *query.name() == self.apex {
            self.of_the_zone()
        } else if self.name_servers.contains(query.name()) {
            let record = |address: &IpAddr| at(query.name(), ZONE_SECONDS, *address);
            self.addresses.iter().map(record).collect()
        } else {
            match self.known(query.name(), names).await {
                Known::At(address) => vec![at(query.name(), self.seconds, address)],
                Known::Says(texts) => {
                    texts.into_iter().take(TEXTS_MAX).map(|text| says(query.name(), text)).collect()
                }
                Known::Nothing => {
                    answer.metadata.response_code = ResponseCode::NXDomain;
                    Vec::new()
                }
                Known::Unknown => {
                    answer.metadata.authoritative = false;
                    answer.metadata.response_code = ResponseCode::ServFail;
                    return;
                }
            }
        };
        let wanted = |record: &Record| {
            query.query_type() == RecordType::ANY || record.record_type() == query.query_type()
        };
        answer.add_answers(records.into_iter().filter(wanted));
        if answer.answers.is_empty() {
            answer.add_authority(self.authority(NOT_THERE_SECONDS));
        }
    }

    /// What is known of a name below the domain: of one label, that is; below a deployment there is nothing.
    async fn known(&self, name: &Name, names: &dyn Names) -> Known {
        if name.num_labels() != self.apex.num_labels() + 1 {
            return Known::Nothing;
        }
        let label =
            name.iter().next().map(<[u8]>::to_ascii_lowercase).and_then(|l| String::from_utf8(l).ok());
        match label {
            Some(label) => names.find(&label).await,
            None => Known::Nothing,
        }
    }

    fn of_the_zone(&self) -> Vec<Record> {
        let servers = self.name_servers.iter();
        let servers = servers
            .map(|name| Record::from_rdata(self.apex.clone(), ZONE_SECONDS, RData::NS(NS(name.clone()))));
        std::iter::once(self.authority(ZONE_SECONDS)).chain(servers).collect()
    }

    fn authority(&self, seconds: u32) -> Record {
        let first = self.name_servers.first().unwrap_or(&self.apex).clone();
        let hour = 3600;
        let soa = SOA::new(
            first,
            self.responsible.clone(),
            self.serial,
            hour,
            600,
            7 * 24 * hour,
            NOT_THERE_SECONDS,
        );
        Record::from_rdata(self.apex.clone(), seconds, RData::SOA(soa))
    }
}

/// Reads a question; a refusal in its place, or `None` if nothing is to be said to it.
fn parse(received: &[u8]) -> Option<Result<Message, Message>> {
    // An answer is never answered: two servers would talk for ever.
    let (head, flags) = (received.get(..12)?, *received.get(2)?);
    if flags & 0x80 != 0 {
        return None;
    }
    let id = u16::from_be_bytes([*head.first()?, *head.get(1)?]);
    let code = OpCode::from_u8((flags >> 3) & 0x0f);
    let refusal = |response| Some(Err(Message::error_msg(id, code, response)));
    if code != OpCode::Query {
        return refusal(ResponseCode::NotImp);
    }
    match Message::from_vec(received) {
        Ok(question)
            if question.queries.len() == 1 && question.metadata.message_type == MessageType::Query =>
        {
            Some(Ok(question))
        }
        Ok(_) | Err(_) => refusal(ResponseCode::FormErr),
    }
}

/// The answer without its records. The question comes back letter by letter: who asks in mixed case checks that.
fn reply(question: &Message) -> Message {
    let mut answer = Message::response(question.metadata.id, OpCode::Query);
    answer.metadata.recursion_desired = question.metadata.recursion_desired;
    answer.add_queries(question.queries.iter().cloned());
    if question.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(UDP_BYTES);
        answer.set_edns(edns);
    }
    answer
}

fn at(name: &Name, seconds: u32, address: IpAddr) -> Record {
    let data = match address {
        IpAddr::V4(v4) => RData::A(A(v4)),
        IpAddr::V6(v6) => RData::AAAA(AAAA(v6)),
    };
    Record::from_rdata(name.clone(), seconds, data)
}

fn says(name: &Name, text: String) -> Record {
    Record::from_rdata(name.clone(), TEXT_SECONDS, RData::TXT(TXT::new(vec![text])))
}

#[cfg(test)]
mod tests;
