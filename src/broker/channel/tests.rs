//! There and back, and every way to be wrong.

use std::net::SocketAddrV6;
use std::time::UNIX_EPOCH;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn encoded(message: &ToWorker) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.encode(&mut bytes).unwrap();
    bytes
}

fn answer(message: &FromWorker) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.encode(&mut bytes).unwrap();
    bytes
}

fn delivery() -> Delivery {
    Delivery {
        id: 7,
        listener: ListenerName::new("web").unwrap(),
        peer: Address::Inet("192.0.2.9:51000".parse().unwrap()),
        local: Address::Inet("[2001:db8::1%3]:443".parse().unwrap()),
        accepted: UNIX_EPOCH + Duration::from_millis(1_700_000_000_123),
        deadline: Some(Duration::from_secs(30)),
    }
}

fn with(change: impl FnOnce(&mut Vec<u8>)) -> Decoded<ToWorker> {
    let mut bytes = encoded(&ToWorker::Connections(vec![delivery()]));
    change(&mut bytes);
    ToWorker::decode(&bytes, 1)
}

fn unix_names() -> impl Strategy<Value = UnixName> {
    prop_oneof![
        Just(Vec::new()),
        vec(1_u8.., 1..=SUN_PATH),
        vec(any::<u8>(), 0..SUN_PATH).prop_map(|mut name| {
            name.insert(0, 0);
            name
        }),
    ]
    .prop_map(|bytes| UnixName::new(&bytes).unwrap())
}

fn addresses() -> impl Strategy<Value = Address> {
    prop_oneof![
        any::<([u8; 4], u16)>().prop_map(|(ip, port)| Address::Inet((ip, port).into())),
        any::<([u8; 16], u16, u32)>().prop_map(|(ip, port, scope)| {
            Address::Inet(SocketAddrV6::new(ip.into(), port, 0, scope).into())
        }),
        unix_names().prop_map(Address::Unix),
    ]
}

fn deliveries() -> impl Strategy<Value = Delivery> {
    (
        any::<u64>(),
        "[!-9;<>-z|~]{1,255}",
        addresses(),
        addresses(),
        any::<u64>(),
        proptest::option::of(1_u64..),
    )
        .prop_map(|(id, name, peer, local, accepted, deadline)| Delivery {
            id,
            listener: ListenerName::new(&name).unwrap(),
            peer,
            local,
            accepted: UNIX_EPOCH + Duration::from_nanos(accepted),
            deadline: deadline.map(Duration::from_nanos),
        })
}

fn answers() -> impl Strategy<Value = FromWorker> {
    prop_oneof![
        any::<u32>().prop_map(|credits| FromWorker::Hello { credits }),
        (vec(any::<u64>(), 0..=MOST_IDS), any::<u32>())
            .prop_map(|(ids, credits)| FromWorker::Done { ids, credits }),
        (
            vec(any::<u64>(), 1..=MOST_IDS),
            any::<u32>(),
            proptest::sample::select(&Refusal::ALL[..])
        )
            .prop_map(|(ids, credits, reason)| FromWorker::Refused {
                ids,
                credits,
                reason
            }),
    ]
}

proptest! {
    #[test]
    fn what_a_broker_sends_is_what_its_worker_reads(
        batch in vec(deliveries(), 1..=MOST_CONNECTIONS),
    ) {
        let count = batch.len();
        let message = ToWorker::Connections(batch);
        let bytes = encoded(&message);
        prop_assert!(bytes.len() <= LONGEST);
        prop_assert_eq!(ToWorker::decode(&bytes, count), Ok(message));
    }

    #[test]
    fn what_a_worker_sends_is_what_its_broker_reads(message in answers()) {
        let bytes = answer(&message);
        prop_assert!(bytes.len() <= LONGEST);
        prop_assert_eq!(FromWorker::decode(&bytes), Ok(message));
    }

    #[test]
    fn no_message_is_read_from_a_part_of_another(
        batch in vec(deliveries(), 1..3),
        answer_message in answers(),
        at in any::<prop::sample::Index>(),
    ) {
        let count = batch.len();
        let bytes = encoded(&ToWorker::Connections(batch));
        let part = &bytes[..at.index(bytes.len())];
        prop_assert!(ToWorker::decode(part, count).is_err());
        let bytes = answer(&answer_message);
        prop_assert!(FromWorker::decode(&bytes[..at.index(bytes.len())]).is_err());
    }

    #[test]
    fn there_is_one_spelling_of_every_message(
        batch in vec(deliveries(), 1..3),
        answer_message in answers(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let count = batch.len();
        let mut bytes = encoded(&ToWorker::Connections(batch));
        let place = at.index(bytes.len());
        bytes[place] = byte;
        if let Ok(read) = ToWorker::decode(&bytes, count) {
            prop_assert_eq!(encoded(&read), bytes);
        }
        let mut bytes = answer(&answer_message);
        let place = at.index(bytes.len());
        bytes[place] = byte;
        if let Ok(read) = FromWorker::decode(&bytes) {
            prop_assert_eq!(answer(&read), bytes);
        }
    }

    #[test]
    fn any_bytes_are_a_message_or_a_reason(bytes in vec(any::<u8>(), 0..200)) {
        let _ = ToWorker::decode(&bytes, 1);
        let _ = FromWorker::decode(&bytes);
    }
}

#[test]
fn each_mistake_of_a_broker_has_its_reason() {
    assert_eq!(with(|_| ()), Ok(ToWorker::Connections(vec![delivery()])));
    let table: [(&str, Decoded<ToWorker>, Malformed); 14] = [
        ("version", with(|b| b[0] = 2), Malformed::Version(2)),
        ("kind", with(|b| b[1] = 0x82), Malformed::Kind(0x82)),
        ("no connection", with(|b| b[2] = 0), Malformed::Count(0)),
        ("too many", with(|b| b[2] = 17), Malformed::Count(17)),
        ("one more said", with(|b| b[2] = 2), Malformed::Short(91)),
        (
            "length",
            with(|b| b[4] = 90),
            Malformed::Length { said: 90, has: 91 },
        ),
        (
            "trailing",
            with(|b| {
                b.push(0);
                b[4] = 92;
            }),
            Malformed::Trailing(1),
        ),
        ("padding", with(|b| b[8 + 29] = 1), Malformed::Reserved),
        ("family", with(|b| b[8 + 25] = 2), Malformed::Family(2)),
        (
            "IPv4 behind its four bytes",
            with(|b| b[8 + 36] = 1),
            Malformed::Address,
        ),
        (
            "IPv4 with a scope",
            with(|b| b[8 + 52] = 1),
            Malformed::Address,
        ),
        (
            "Unix with an IP",
            with(|b| b[8 + 25] = 1),
            Malformed::Address,
        ),
        (
            "IPv4 with a path",
            with(|b| {
                b.push(b'/');
                (b[4], b[8 + 26]) = (92, 1);
            }),
            Malformed::Address,
        ),
        ("name", with(|b| b[8 + 80] = b' '), Malformed::Name),
    ];
    for (what, decoded, reason) in table {
        assert_eq!(decoded, Err(reason), "{what}");
    }
    let bytes = encoded(&ToWorker::Connections(vec![delivery()]));
    for came in [0, 2] {
        assert_eq!(
            ToWorker::decode(&bytes, came),
            Err(Malformed::Descriptors { said: 1, came })
        );
    }
    assert_eq!(ToWorker::decode(&[], 0), Err(Malformed::Short(0)));
    let drain = encoded(&ToWorker::Drain);
    assert_eq!(ToWorker::decode(&drain, 0), Ok(ToWorker::Drain));
    assert_eq!(
        ToWorker::decode(&drain, 1),
        Err(Malformed::Descriptors { said: 0, came: 1 })
    );
}

#[test]
fn each_mistake_of_a_worker_has_its_reason() {
    let refused = FromWorker::Refused {
        ids: vec![1, 2],
        credits: 8,
        reason: Refusal::Expired,
    };
    let with = |change: fn(&mut Vec<u8>)| {
        let mut bytes = answer(&refused);
        change(&mut bytes);
        FromWorker::decode(&bytes)
    };
    assert_eq!(with(|_| ()), Ok(refused.clone()));
    for (decoded, reason) in [
        (with(|b| b[0] = 0), Malformed::Version(0)),
        (with(|b| b[1] = 1), Malformed::Kind(1)),
        (with(|b| b[1] = 0x81), Malformed::Count(2)),
        (with(|b| b[1] = 0x82), Malformed::Reserved),
        (with(|b| b[2] = 1), Malformed::Trailing(8)),
        (with(|b| b[2] = 3), Malformed::Short(32)),
        (with(|b| b[3] = 3), Malformed::Count(770)),
        (with(|b| b[12] = 0), Malformed::Reason(0)),
        (with(|b| b[12] = 9), Malformed::Reason(9)),
        (with(|b| b[14] = 1), Malformed::Reserved),
    ] {
        assert_eq!(decoded, Err(reason));
    }
}

#[test]
fn a_message_that_would_be_malformed_is_not_made() {
    let mut bytes = Vec::new();
    for count in [0, MOST_CONNECTIONS + 1] {
        let message = ToWorker::Connections(vec![delivery(); count]);
        assert_eq!(message.encode(&mut bytes), Err(Malformed::Count(count)));
    }
    let none = FromWorker::Refused {
        ids: Vec::new(),
        credits: 1,
        reason: Refusal::Unwanted,
    };
    assert_eq!(none.encode(&mut bytes), Err(Malformed::Count(0)));
    assert!(bytes.is_empty());
    assert!(ListenerName::new("a:b").is_err());
    assert!(UnixName::new(b"a\0b").is_err());
    assert!(UnixName::new(&[1; SUN_PATH + 1]).is_err());
}

#[test]
fn an_address_is_shown_without_surprises() {
    let unix = |name: &[u8]| Address::Unix(UnixName::new(name).unwrap()).to_string();
    assert_eq!(unix(b""), "unix:");
    assert_eq!(unix(b"/run/a\n"), "unix:/run/a\\n");
    assert_eq!(unix(b"\0ab\0"), "unix:@ab\\x00");
    assert_eq!(delivery().peer.to_string(), "192.0.2.9:51000");
}

/// The hex dumps of `docs/channel.md`, in order.
fn documented() -> Vec<Vec<u8>> {
    let page = include_str!("../../../docs/channel.md");
    page.split("```text\n")
        .skip(1)
        .map(|rest| {
            let (dump, _) = rest.split_once("```").unwrap();
            dump.lines()
                .flat_map(|line| line.split_whitespace().skip(1))
                .map(|byte| u8::from_str_radix(byte, 16).unwrap())
                .collect()
        })
        .collect()
}

#[test]
fn the_examples_in_the_document_are_what_they_are_said_to_be() {
    let dumps = documented();
    let [connection, hello, done] = &dumps[..] else {
        panic!("{dumps:?}");
    };
    let one = Delivery {
        id: 1,
        listener: ListenerName::new("web").unwrap(),
        peer: Address::Inet("192.0.2.7:51000".parse().unwrap()),
        local: Address::Inet("198.51.100.1:80".parse().unwrap()),
        accepted: UNIX_EPOCH + Duration::from_secs(1_700_000_000),
        deadline: None,
    };
    assert_eq!(encoded(&ToWorker::Connections(vec![one])), *connection);
    assert_eq!(answer(&FromWorker::Hello { credits: 16 }), *hello);
    let ids = vec![1, 2, 3];
    assert_eq!(answer(&FromWorker::Done { ids, credits: 16 }), *done);
    let page = include_str!("../../../docs/channel.md");
    let drain: Vec<_> = encoded(&ToWorker::Drain)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert!(page.contains(&drain.join(" ")));
    for row in [
        format!("| connections in a message | {MOST_CONNECTIONS} |"),
        format!("| ids in a message | {MOST_IDS} |"),
        format!("| message, either way | {LONGEST} bytes |"),
    ] {
        assert!(page.contains(&row), "{row}");
    }
}

/// They were made by a program of a few lines in another language, from the document.
#[test]
fn what_another_implementation_made_is_read() {
    let seeds = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/seeds/channel");
    let seed = |name: &str| std::fs::read(format!("{seeds}/{name}")).unwrap();
    for (name, count) in [("one", 1), ("four", 4), ("sixteen", 16), ("drain", 0)] {
        let bytes = seed(name);
        let read = ToWorker::decode(&bytes, count).unwrap();
        assert_eq!(encoded(&read), bytes, "{name}");
    }
    for name in ["hello", "done", "credits", "refused"] {
        let bytes = seed(name);
        let read = FromWorker::decode(&bytes).unwrap();
        assert_eq!(answer(&read), bytes, "{name}");
    }
    assert_eq!(
        ToWorker::decode(&seed("other-version"), 0),
        Err(Malformed::Version(2))
    );
}
