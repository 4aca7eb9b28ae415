//! Look-ups against servers that answer, lie, cut, fail and are silent.

use std::collections::BTreeSet;

use domain::base::Message;
use proptest::prelude::*;

use super::*;
use crate::egress::rules::Whose;
use crate::egress::rules::tests::rules;

fn permitted(name: &str) -> Permitted {
    let name = Name::parse(name).unwrap();
    rules(&[&format!("{name}:443")], &[]).permit(&name).unwrap()
}

fn settings(text: &str) -> Arc<Settings> {
    Arc::new(Settings::parse(text.as_bytes(), |_| None))
}

fn one_server() -> Arc<Settings> {
    settings("nameserver 192.0.2.53\n")
}

/// A record of an answer: owner, type, data.
fn record(owner: &str, kind: u16, data: &[u8]) -> Vec<u8> {
    let mut bytes = wire(owner);
    bytes.extend(kind.to_be_bytes());
    bytes.extend([0, 1, 0, 0, 0, 9]);
    bytes.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
    bytes.extend(data);
    bytes
}

fn wire(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.split('.') {
        bytes.push(u8::try_from(label.len()).unwrap());
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes
}

const RA: u8 = 0x80;

/// An answer to `query` with these records; `low` is the second byte of flags.
fn answer(query: &[u8], low: u8, records: &[Vec<u8>]) -> Vec<u8> {
    let mut message = query.to_vec();
    message[2] |= 0x80;
    message[3] = low;
    message[7] = u8::try_from(records.len()).unwrap();
    message.extend(records.concat());
    message
}

struct Asking {
    lookup: Lookup,
    now: Instant,
    /// Every name that was ever asked for.
    names: BTreeSet<String>,
}

impl Asking {
    fn new(name: &str, settings: &Arc<Settings>) -> Self {
        Self {
            lookup: Lookup::new(&permitted(name), settings),
            now: Instant::now(),
            names: BTreeSet::new(),
        }
    }

    fn questions(&mut self) -> Vec<Ask> {
        let asks = self.lookup.questions(self.now, || 0x1234);
        for ask in &asks {
            let message = Message::from_octets(&*ask.query).unwrap();
            let question = message.sole_question().unwrap();
            self.names.insert(question.qname().to_string());
        }
        asks
    }

    fn hear(&mut self, ask: &Ask, message: &[u8]) -> Taken {
        self.lookup.hear(ask.number, message, self.now)
    }

    fn outcome(&self) -> Option<Result<Vec<String>, Failure>> {
        let outcome = self.lookup.outcome(self.now)?;
        Some(outcome.map(|all| all.iter().map(ToString::to_string).collect()))
    }
}

fn found(addresses: &[&str]) -> Option<Result<Vec<String>, Failure>> {
    Some(Ok(addresses.iter().map(|a| (*a).to_owned()).collect()))
}

const V4: [u8; 4] = [1, 2, 3, 4];
const V6: [u8; 16] = [0x26, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

#[test]
fn both_families_are_asked_at_once_and_both_answers_count() {
    let mut asking = Asking::new("a.example", &one_server());
    let asks = asking.questions();
    assert_eq!(asks.len(), 2);
    assert!(asks.iter().all(|ask| ask.transport == Transport::Udp));
    assert!(asking.questions().is_empty());
    let v4 = answer(&asks[1].query, RA, &[record("A.Example", 1, &V4)]);
    assert_eq!(asking.hear(&asks[1], &v4), Taken::Done);
    assert_eq!(asking.outcome(), None);
    let v6 = answer(&asks[0].query, RA, &[record("a.example", 28, &V6)]);
    asking.hear(&asks[0], &v6);
    assert_eq!(asking.outcome(), found(&["2606::1", "1.2.3.4"]));
    assert_eq!(asking.lookup.next_moment(), None);
    assert_eq!(asking.names, BTreeSet::from(["a.example".to_owned()]));
}

#[test]
fn an_answer_to_something_else_is_not_heard() {
    let mut asking = Asking::new("a.example", &one_server());
    let asks = asking.questions();
    let good = answer(&asks[1].query, RA, &[record("a.example", 1, &V4)]);
    let changed = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut message = good.clone();
        change(&mut message);
        message
    };
    for (message, what) in [
        (changed(&|m| m[1] ^= 1), "another number"),
        (changed(&|m| m[2] &= 0x7f), "a question"),
        (changed(&|m| m[5] = 0), "no question"),
        (changed(&|m| m[13] = b'b'), "another name"),
        (changed(&|m| m[24] = 28), "another type"),
        (changed(&|m| m[26] = 3), "another class"),
        (Vec::new(), "nothing"),
        (vec![0; 4000], "zeroes"),
    ] {
        assert_eq!(asking.hear(&asks[1], &message), Taken::Ignored, "{what}");
        assert!(asking.lookup.waits_for(asks[1].number), "{what}");
    }
    assert_eq!(asking.hear(&asks[1], &good), Taken::Done);
    assert!(!asking.lookup.waits_for(asks[1].number));
    let other = answer(&asks[1].query, RA, &[record("a.example", 1, &[6, 6, 6, 6])]);
    assert_eq!(asking.hear(&asks[1], &other), Taken::Done, "late");
    asking.now += PATIENCE;
    assert_eq!(asking.outcome(), found(&["1.2.3.4"]));
}

#[test]
fn only_addresses_to_which_the_name_leads_count() {
    let alias = |from: &str, to: &str| record(from, 5, &wire(to));
    for (records, expected) in [
        (
            vec![alias("a.example", "b.example"), record("b.example", 1, &V4)],
            found(&["1.2.3.4"]),
        ),
        (
            vec![
                record("c.example", 1, &V4),
                alias("b.example", "c.example"),
                alias("a.example", "B.example"),
            ],
            found(&["1.2.3.4"]),
        ),
        (
            // An alias stands alone; what stands beside it is not the name's.
            vec![
                alias("a.example", "b.example"),
                record("a.example", 1, &[6, 6, 6, 6]),
                record("b.example", 1, &V4),
            ],
            found(&["1.2.3.4"]),
        ),
        (
            vec![record("victim.example", 1, &[6, 6, 6, 6])],
            Some(Err(Failure::NoAddress)),
        ),
        (
            vec![record("a.example", 28, &V6)],
            Some(Err(Failure::NoAddress)),
        ),
        (
            vec![alias("a.example", "b.example")],
            Some(Err(Failure::NoAddress)),
        ),
    ] {
        let mut asking = Asking::new("a.example", &one_server());
        let asks = asking.questions();
        asking.hear(&asks[0], &answer(&asks[0].query, RA, &[]));
        asking.hear(&asks[1], &answer(&asks[1].query, RA, &records));
        assert_eq!(asking.outcome(), expected);
        assert!(asking.questions().is_empty());
    }
}

#[test]
fn an_alias_that_a_server_does_not_follow_is_asked_for() {
    let mut asking = Asking::new("a.example", &one_server());
    let asks = asking.questions();
    asking.hear(&asks[0], &answer(&asks[0].query, 3, &[]));
    let alias = record("a.example", 5, &wire("b.other"));
    asking.hear(&asks[1], &answer(&asks[1].query, 0, &[alias]));
    assert_eq!(asking.outcome(), None);
    let again = asking.questions();
    assert_eq!(again.len(), 1);
    let v4 = answer(&again[0].query, 0, &[record("b.other", 1, &V4)]);
    asking.hear(&again[0], &v4);
    assert_eq!(asking.outcome(), found(&["1.2.3.4"]));
}

#[test]
fn aliases_in_a_circle_or_without_end_cost_a_bounded_number_of_questions() {
    for next in [
        |_: usize| "b.example".to_owned(),
        |n: usize| format!("n{n}.example"),
    ] {
        let mut asking = Asking::new("a.example", &one_server());
        let mut total = 0;
        while asking.outcome().is_none() {
            for ask in asking.questions() {
                total += 1;
                let message = Message::from_octets(&*ask.query).unwrap();
                let owner = message.sole_question().unwrap().qname().to_string();
                let alias = record(&owner, 5, &wire(&next(total)));
                let reply = answer(&ask.query, 0, &[alias]);
                asking.hear(&ask, &reply);
            }
        }
        assert!(total <= 2 * MAX_QUESTIONS, "{total}");
        assert!(asking.outcome().unwrap().is_err());
    }
}

#[test]
fn a_cut_answer_is_asked_for_again_over_tcp() {
    let mut asking = Asking::new("a.example", &one_server());
    let asks = asking.questions();
    let mut cut = answer(&asks[1].query, RA, &[]);
    cut[2] |= 2;
    asking.hear(&asks[1], &cut);
    let again = asking.questions();
    assert_eq!((again.len(), again[0].transport), (1, Transport::Tcp));
    assert_eq!(again[0].server, asks[1].server);
    // A server that cuts over TCP as well is of no use.
    asking.hear(&again[0], &cut);
    assert_ne!(asking.questions().len(), 0);
}

#[test]
fn servers_that_fail_are_followed_by_the_next_and_all_come_round_again() {
    let settings =
        settings("nameserver 192.0.2.1\nnameserver 192.0.2.2\noptions attempts:2 timeout:1\n");
    let mut asking = Asking::new("a.example", &settings);
    let mut servers = Vec::new();
    for round in 0.. {
        let asks = asking.questions();
        let Some(ask) = asks.iter().find(|ask| ask.query.ends_with(&[0, 1, 0, 1])) else {
            break;
        };
        servers.push(ask.server.to_string());
        match round {
            0 => asking.lookup.broke(ask.number),
            1 => {
                asking.hear(ask, &answer(&ask.query, RA | 2, &[]));
            }
            _ => {}
        }
        for other in asks.iter().filter(|other| other.number != ask.number) {
            asking.lookup.broke(other.number);
        }
        if asking.lookup.waits_for(ask.number) {
            asking.now = asking.lookup.next_moment().unwrap();
        }
    }
    let expected = [
        "192.0.2.1:53",
        "192.0.2.2:53",
        "192.0.2.1:53",
        "192.0.2.2:53",
    ];
    assert_eq!(servers, expected);
    assert_eq!(asking.outcome(), Some(Err(Failure::NoAnswer)));
    assert_eq!(asking.lookup.next_moment(), None);
}

#[test]
fn a_name_that_does_not_exist_is_not_asked_for_twice() {
    let mut asking = Asking::new("a.example", &one_server());
    for ask in asking.questions() {
        asking.hear(&ask, &answer(&ask.query, RA | 3, &[]));
    }
    assert!(asking.questions().is_empty());
    assert_eq!(asking.outcome(), Some(Err(Failure::NoSuchName)));
}

#[test]
fn addresses_beyond_all_measure_are_left_out() {
    let records: Vec<_> = (0..200)
        .map(|n| record("a.example", 1, &[1, 2, 3, n]))
        .collect();
    let mut asking = Asking::new("a.example", &one_server());
    let asks = asking.questions();
    asking.hear(&asks[1], &answer(&asks[1].query, RA, &records));
    asking.now += PATIENCE;
    assert_eq!(asking.outcome().unwrap().unwrap().len(), MAX_ADDRESSES);
}

#[test]
fn rebinding_gains_nothing() {
    let rules = rules(&["a.example:443"], &[]);
    let admit = |addresses: &[&str]| {
        let all: Vec<IpAddr> = addresses.iter().map(|a| a.parse().unwrap()).collect();
        let protocol = crate::egress::destination::Protocol::Tcp;
        let admitted = rules.admit(protocol, &all, 443, |_| Whose::Another);
        admitted.map_err(|refusal| refusal.to_string())
    };
    let public: IpAddr = "1.2.3.4".parse().unwrap();
    assert_eq!(admit(&["1.2.3.4"]), Ok(vec![public]));
    // First public, then private; and both at once.
    assert_eq!(
        admit(&["10.0.0.1"]),
        Err("10.0.0.1 is an address of a private network".into())
    );
    assert_eq!(
        admit(&["127.0.0.1", "1.2.3.4", "::ffff:10.0.0.1"]),
        Ok(vec![public])
    );
    assert_eq!(
        admit(&["169.254.169.254", "::1"]),
        Err("169.254.169.254 is a cloud's metadata service".into())
    );
    assert_eq!(admit(&[]), Ok(vec![]));
}

proptest! {
    #[test]
    fn whatever_recursive_servers_answer_only_the_name_is_asked_for(
        answers in proptest::collection::vec(
            (any::<u8>(), proptest::collection::vec(any::<u8>(), 0..60)), 0..40,
        ),
    ) {
        let mut asking = Asking::new("a.example", &one_server());
        for (low, tail) in answers {
            for ask in asking.questions() {
                let mut message = answer(&ask.query, low | RA, &[]);
                message[7] = 1;
                message.extend(&tail);
                asking.hear(&ask, &message);
            }
            asking.now += Duration::from_millis(600);
        }
        let expected = BTreeSet::from(["a.example".to_owned()]);
        prop_assert!(asking.names.is_subset(&expected), "{:?}", asking.names);
        prop_assert!(asking.lookup.next_number as usize <= 2 * MAX_QUESTIONS);
    }
}
