//! What is answered to what.

use super::*;

struct Table;

#[async_trait::async_trait]
impl Names for Table {
    async fn find(&self, label: &str) -> Known {
        match label {
            "5d1e07a9c34b" => Known::At("203.0.113.7".parse().unwrap()),
            "6d1e07a9c34b" => Known::At("2001:db8::7".parse().unwrap()),
            "unwell" => Known::Unknown,
            "_acme-challenge" => Known::Says((0..9).map(|n| format!("{n}").repeat(43)).collect()),
            _ => Known::Nothing,
        }
    }
}

fn zone() -> Zone {
    Zone::new(&ZoneConfig {
        domain: "Play.Example.com".into(),
        name_servers: vec!["ns1.play.example.com".into(), "ns.elsewhere.example".into()],
        addresses: vec!["203.0.113.1".parse().unwrap()],
        seconds: 30,
        serial: 7,
    })
    .unwrap()
}

fn question(name: &str, kind: RecordType) -> Vec<u8> {
    let mut message = Message::query();
    message.metadata.id = 4711;
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message.to_vec().unwrap()
}

async fn ask(name: &str, kind: RecordType) -> Message {
    let bytes = zone().answer(&question(name, kind), &Table).await.unwrap();
    let answer = Message::from_vec(&bytes).unwrap();
    assert_eq!(answer.metadata.id, 4711);
    assert!(!answer.metadata.recursion_available, "it never asks anybody");
    answer
}

/// Response code, whether it speaks for the zone, answers, authorities.
fn told(answer: &Message) -> (ResponseCode, bool, Vec<String>, usize) {
    let answers = answer.answers.iter().map(|record| format!("{} {}", record.ttl, record.data)).collect();
    (answer.metadata.response_code, answer.metadata.authoritative, answers, answer.authorities.len())
}

#[tokio::test]
async fn a_known_name_leads_to_its_address_in_any_case_and_is_forgotten_soon() {
    let answer = ask("5D1e07A9c34b.pLay.example.COM.", RecordType::A).await;
    assert_eq!(told(&answer), (ResponseCode::NoError, true, vec!["30 203.0.113.7".into()], 0));
    let echoed = answer.queries[0].name().to_ascii();
    assert_eq!(echoed, "5D1e07A9c34b.pLay.example.COM.", "resolvers check their own spelling");
    let answer = ask("6d1e07a9c34b.play.example.com.", RecordType::AAAA).await;
    assert_eq!(told(&answer), (ResponseCode::NoError, true, vec!["30 2001:db8::7".into()], 0));
}

#[tokio::test]
async fn a_name_says_its_texts_to_who_asks_for_them_and_they_fit_into_an_answer() {
    let name = "_acme-Challenge.play.example.com.";
    let answer = ask(name, RecordType::TXT).await;
    let (code, authoritative, texts, _) = told(&answer);
    assert_eq!((code, authoritative, texts.len()), (ResponseCode::NoError, true, TEXTS_MAX));
    assert_eq!(texts[1], format!("1 {}", "1".repeat(43)));
    assert!(!answer.metadata.truncation);
    let other = ask(name, RecordType::A).await;
    assert_eq!(told(&other), (ResponseCode::NoError, true, vec![], 1));
}

#[tokio::test]
async fn another_type_of_a_known_name_is_nothing_and_no_missing_name() {
    for kind in [RecordType::AAAA, RecordType::MX, RecordType::TXT] {
        let answer = ask("5d1e07a9c34b.play.example.com.", kind).await;
        assert_eq!(told(&answer), (ResponseCode::NoError, true, vec![], 1), "{kind}");
    }
    let any = ask("5d1e07a9c34b.play.example.com.", RecordType::ANY).await;
    assert_eq!(any.answers.len(), 1);
}

#[tokio::test]
async fn any_other_name_of_the_zone_is_not_there_and_that_is_forgotten_soon() {
    for name in ["0d1e07a9c34b.play.example.com.", "a.5d1e07a9c34b.play.example.com.", "*.play.example.com."]
    {
        let answer = ask(name, RecordType::A).await;
        assert_eq!(told(&answer), (ResponseCode::NXDomain, true, vec![], 1), "{name}");
        let soa = &answer.authorities[0];
        assert_eq!((soa.record_type(), soa.ttl), (RecordType::SOA, NOT_THERE_SECONDS));
    }
}

#[tokio::test]
async fn what_cannot_be_told_now_is_to_be_asked_again() {
    let answer = ask("unwell.play.example.com.", RecordType::A).await;
    assert_eq!(told(&answer), (ResponseCode::ServFail, false, vec![], 0));
}

#[tokio::test]
async fn names_of_other_zones_other_classes_and_transfers_are_refused() {
    for name in ["example.com.", "www.example.org.", ".", "5d1e07a9c34b.display.example.com."] {
        assert_eq!(
            told(&ask(name, RecordType::A).await),
            (ResponseCode::Refused, false, vec![], 0),
            "{name}"
        );
    }
    assert_eq!(
        ask("play.example.com.", RecordType::AXFR).await.metadata.response_code,
        ResponseCode::Refused
    );
    let mut chaos = Message::from_vec(&question("play.example.com.", RecordType::TXT)).unwrap();
    chaos.queries[0].set_query_class(DNSClass::CH);
    let answer = zone().answer(&chaos.to_vec().unwrap(), &Table).await.unwrap();
    assert_eq!(Message::from_vec(&answer).unwrap().metadata.response_code, ResponseCode::Refused);
}

#[tokio::test]
async fn the_zone_names_its_servers_and_the_address_of_its_own() {
    let servers = ask("play.example.com.", RecordType::NS).await;
    let expected = vec!["3600 ns1.play.example.com.".into(), "3600 ns.elsewhere.example.".into()];
    assert_eq!(told(&servers), (ResponseCode::NoError, true, expected, 0));
    let soa = ask("PLAY.example.com.", RecordType::SOA).await;
    assert!(
        soa.answers[0].data.to_string().contains("ns1.play.example.com. hostmaster.play.example.com. 7 ")
    );
    let server = ask("ns1.play.example.com.", RecordType::A).await;
    assert_eq!(told(&server).2, ["3600 203.0.113.1"]);
    assert_eq!(
        told(&ask("play.example.com.", RecordType::A).await),
        (ResponseCode::NoError, true, vec![], 1)
    );
}

#[tokio::test]
async fn an_answer_is_a_little_longer_than_its_question_and_a_shortened_one_not_at_all() {
    for (name, kind) in [
        ("5d1e07a9c34b.play.example.com.", RecordType::A),
        ("0d1e07a9c34b.play.example.com.", RecordType::ANY),
        ("play.example.com.", RecordType::ANY),
        ("example.com.", RecordType::ANY),
    ] {
        let asked = question(name, kind);
        let answer = zone().answer(&asked, &Table).await.unwrap();
        assert!(answer.len() <= asked.len() + 160, "{name}: {} for {}", answer.len(), asked.len());
        let short = zone().shortened(&asked).unwrap();
        assert!(short.len() <= asked.len());
        assert!(Message::from_vec(&short).unwrap().metadata.truncation);
    }
}

#[tokio::test]
async fn answers_and_rubbish_are_never_answered_and_half_questions_are_refused() {
    let asked = question("5d1e07a9c34b.play.example.com.", RecordType::A);
    let answer = zone().answer(&asked, &Table).await.unwrap();
    assert_eq!(zone().answer(&answer, &Table).await, None);
    assert_eq!(zone().answer(b"", &Table).await, None);
    assert_eq!(zone().answer(b"12345678901", &Table).await, None);
    for cut in 12..asked.len() {
        let told = zone().answer(&asked[..cut], &Table).await.unwrap();
        assert_eq!(Message::from_vec(&told).unwrap().metadata.response_code, ResponseCode::FormErr);
    }
    let mut notify = asked.clone();
    notify[2] = 0x20;
    let told = zone().answer(&notify, &Table).await.unwrap();
    assert_eq!(Message::from_vec(&told).unwrap().metadata.response_code, ResponseCode::NotImp);
}

#[tokio::test]
async fn who_speaks_edns_is_answered_in_it_and_an_unknown_version_is_refused() {
    let mut message = Message::from_vec(&question("5d1e07a9c34b.play.example.com.", RecordType::A)).unwrap();
    let mut edns = Edns::new();
    edns.set_max_payload(4096);
    message.set_edns(edns.clone());
    let answer = zone().answer(&message.to_vec().unwrap(), &Table).await.unwrap();
    assert_eq!(Message::from_vec(&answer).unwrap().edns.unwrap().max_payload(), UDP_BYTES);
    edns.set_version(1);
    message.set_edns(edns);
    let answer = zone().answer(&message.to_vec().unwrap(), &Table).await.unwrap();
    let answer = Message::from_vec(&answer).unwrap();
    // Numbers are compared: 16 has two names.
    let code = u16::from(answer.metadata.response_code);
    assert_eq!((code, answer.answers.len()), (u16::from(ResponseCode::BADVERS), 0));
}
