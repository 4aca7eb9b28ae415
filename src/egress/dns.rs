//! The sandbox's own name service: one message from inside in, one message out, and nothing else.
//!
//! Pure: bytes, rules and stand-in addresses go in, an answer comes out; nothing is ever asked outside,
//! so a query carries nothing out, whatever its labels say. An allowed name gets its stand-in addresses
//! ([`super::synthetic`]) for A and AAAA, and an empty answer for every other type; any other name does
//! not exist. The codec is the crate `domain`; what it reads is held to the letter: one question, not
//! compressed, no records but OPT.
#![forbid(unsafe_code)]

use std::fmt::Write as _;

use domain::base::iana::{Class, Opcode, Rcode};
use domain::base::message_builder::{AdditionalBuilder, MessageBuilder, PushError};
use domain::base::name::ToLabelIter;
use domain::base::{Message, ParsedName, Question, Rtype, Ttl};
use domain::dep::octseq::array::Array;
use domain::rdata::{A, Aaaa};

use super::lookup::Failure;
use super::name::Name;
use super::rules::{Permitted, Reason, Refusal, Rules};
use super::synthetic::{Pair, Synthetic};
use crate::learn::Learning;

/// The longest message that is read from inside.
pub const MAX_QUERY: usize = 1024;
/// What one of ours may take: a question, two addresses, OPT.
const MAX_REPLY: usize = 512;
/// How long programs may remember an answer: a name keeps its address, so it does not matter.
const TTL: Ttl = Ttl::from_secs(60);
/// What `localhost` is, in whatever sandbox (RFC 6761, 6.3).
const LOCALHOST: Pair = Pair {
    v4: std::net::Ipv4Addr::LOCALHOST,
    v6: std::net::Ipv6Addr::LOCALHOST,
};

/// What became of a message from inside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// What to send back; nothing for what is no query at all.
    pub reply: Option<Vec<u8>>,
    /// The allowed name that was asked for. Its listeners must be there before the reply is sent.
    pub asked: Option<Permitted>,
    /// The name that was refused.
    pub refused: Option<RefusedName>,
    /// The name that is refused and answered all the same, because it is learned what is asked for.
    pub noted: Option<Name>,
}

/// A name that was asked for and is not allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedName {
    /// As it was asked for, printable.
    pub name: String,
    /// The type of record that was asked for.
    pub record: String,
    /// Why.
    pub refusal: Refusal,
}

/// What is known of a name inside.
enum Answer {
    /// It stands for these.
    Addresses(Pair),
    /// It does not exist.
    NoSuchName,
    /// It is allowed, but there are no more stand-ins.
    Full,
}

type Builder = MessageBuilder<Array<MAX_REPLY>>;

/// Answer one message (without the length that precedes it over TCP).
#[must_use]
pub fn hear(message: &[u8], rules: &Rules, synthetic: &mut Synthetic) -> Heard {
    let mut heard = Heard::default();
    // A message marked as an answer is never answered: two servers could do so for ever.
    let Ok(query) = Message::from_octets(message) else {
        return heard;
    };
    if query.header().qr() || message.len() > MAX_QUERY {
        return heard;
    }
    if query.header().opcode() != Opcode::QUERY {
        heard.reply = bare(&query, Rcode::NOTIMP);
        return heard;
    }
    let Some((question, edns)) = strictly(&query) else {
        heard.reply = bare(&query, Rcode::FORMERR);
        return heard;
    };
    if question.qclass() != Class::IN {
        heard.reply = reply(&query, &question, edns, Rcode::REFUSED, None);
        return heard;
    }
    let answer = answer(&question, rules, synthetic, &mut heard);
    heard.reply = match answer {
        Answer::Addresses(pair) => reply(&query, &question, edns, Rcode::NOERROR, Some(pair)),
        Answer::NoSuchName => reply(&query, &question, edns, Rcode::NXDOMAIN, None),
        Answer::Full => reply(&query, &question, edns, Rcode::SERVFAIL, None),
    };
    heard
}

type Asked<'a> = Question<ParsedName<&'a [u8]>>;

/// The question, and whether there is an OPT record; `None` unless the message is as a query must be.
fn strictly<'a>(query: &Message<&'a [u8]>) -> Option<(Asked<'a>, Edns)> {
    let counts = query.header_counts();
    if counts.qdcount() != 1 || counts.ancount() != 0 || counts.nscount() != 0 {
        return None;
    }
    let mut questions = query.question();
    let question = questions.next()?.ok()?;
    // Header, name, type, class: a compressed name would be shorter here than it is.
    let plain_end = 12 + usize::from(question.qname().compose_len()) + 4;
    if questions.pos() != plain_end {
        return None;
    }
    let mut edns = Edns::Without;
    let mut records = query.additional().ok()?;
    for record in &mut records {
        match (record.ok()?.rtype(), edns) {
            (Rtype::OPT, Edns::Without) => edns = Edns::With,
            (Rtype::OPT, Edns::With) => return None,
            // A signature or a cookie: nothing that changes the answer.
            _ => {}
        }
    }
    (records.pos() == query.as_slice().len()).then_some((question, edns))
}

/// Whether the one who asks speaks EDNS (RFC 6891).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Edns {
    With,
    Without,
}

fn answer(
    question: &Asked<'_>,
    rules: &Rules,
    synthetic: &mut Synthetic,
    heard: &mut Heard,
) -> Answer {
    let labels = question.qname().iter();
    let labels = labels.map(|label| label.as_slice());
    let name = Name::from_labels(labels.filter(|label| !label.is_empty()));
    if name.as_ref().is_some_and(Name::is_localhost) {
        return Answer::Addresses(LOCALHOST);
    }
    if let Some(permitted) = name.as_ref().and_then(|name| rules.permit(name)) {
        let pair = synthetic.assign(&permitted);
        heard.asked = pair.map(|_| permitted);
        return pair.map_or(Answer::Full, Answer::Addresses);
    }
    if let Some(name) = name
        .as_ref()
        .filter(|_| rules.learns() == Some(Learning::Denying))
    {
        heard.noted = Some(name.clone());
        return synthetic.note(name).map_or(Answer::Full, Answer::Addresses);
    }
    heard.refused = Some(RefusedName {
        name: printable(question.qname()),
        record: question.qtype().to_string(),
        refusal: Refusal {
            reason: Reason::NotAllowed,
            remedy: name.map(|name| format!("{name}:PORT")),
        },
    });
    Answer::NoSuchName
}

/// A name for people: what is not plain in its labels as `\DDD`, as in zone files.
fn printable(name: &ParsedName<&[u8]>) -> String {
    let mut text = String::new();
    for label in name.iter().filter(|label| !label.is_empty()) {
        if !text.is_empty() {
            text.push('.');
        }
        for &byte in label.as_slice() {
            match byte {
                b'.' | b'\\' | b'"' => write!(text, "\\{}", char::from(byte)),
                b'!'..=b'~' => write!(text, "{}", char::from(byte)),
                _ => write!(text, "\\{byte:03}"),
            }
            .expect("a String takes any text");
        }
    }
    match text.is_empty() {
        true => ".".to_owned(),
        false => text,
    }
}

/// An answer without a question: what was asked could not be read.
fn bare(query: &Message<&[u8]>, code: Rcode) -> Option<Vec<u8>> {
    let mut builder = Builder::from_target(Array::new()).ok()?;
    head(&mut builder, query, code);
    Some(builder.finish().as_ref().to_vec())
}

fn head(builder: &mut Builder, query: &Message<&[u8]>, code: Rcode) {
    let asked = query.header();
    let header = builder.header_mut();
    header.set_id(asked.id());
    header.set_qr(true);
    header.set_opcode(asked.opcode());
    header.set_rd(asked.rd());
    // Go takes an empty answer without this bit for a broken delegation, and asks the next server.
    header.set_ra(true);
    header.set_rcode(code);
}

fn reply(
    query: &Message<&[u8]>,
    question: &Asked<'_>,
    edns: Edns,
    code: Rcode,
    pair: Option<Pair>,
) -> Option<Vec<u8>> {
    let mut builder = Builder::from_target(Array::new()).ok()?;
    head(&mut builder, query, code);
    let built = sections(builder, question, edns, pair).ok()?;
    Some(built.finish().as_ref().to_vec())
}

fn sections(
    builder: Builder,
    question: &Asked<'_>,
    edns: Edns,
    pair: Option<Pair>,
) -> Result<AdditionalBuilder<Array<MAX_REPLY>>, PushError> {
    let mut questions = builder.question();
    questions.push(question)?;
    let mut answers = questions.answer();
    if let Some(pair) = pair {
        match question.qtype() {
            Rtype::A => answers.push((question.qname(), TTL, A::new(pair.v4)))?,
            Rtype::AAAA => answers.push((question.qname(), TTL, Aaaa::new(pair.v6)))?,
            _ => {}
        }
    }
    let mut additional = answers.additional();
    if edns == Edns::With {
        additional.opt(|opt| {
            opt.set_udp_payload_size(1232);
            Ok(())
        })?;
    }
    Ok(additional)
}

/// One of our replies, turned into the one for a name of which nothing was found. Only its header and the
/// question stay.
#[must_use]
pub fn without_answers(reply: &[u8], failure: Failure) -> Vec<u8> {
    const HEADER: usize = 12;
    let code = match failure {
        Failure::NoSuchName => Rcode::NXDOMAIN,
        Failure::NoAddress => Rcode::NOERROR,
        Failure::NoAnswer => Rcode::SERVFAIL,
    };
    let parsed = Message::from_octets(reply).ok();
    let end = parsed.and_then(|message| {
        let mut questions = message.question();
        questions.next()?.ok()?;
        Some(questions.pos())
    });
    let mut made = reply
        .get(..end.unwrap_or(HEADER))
        .unwrap_or_default()
        .to_vec();
    if let Some(low) = made.get_mut(3) {
        *low = *low & 0xf0 | code.to_int();
    }
    for counted in made.get_mut(6..HEADER).into_iter().flatten() {
        *counted = 0;
    }
    made
}

/// What stands at the head of a TCP stream of messages (RFC 1035, 4.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framed<'a> {
    /// Not a whole message yet.
    More,
    /// One message; the stream goes on this many bytes later.
    Message(&'a [u8], usize),
    /// Longer than is read, or empty: nothing more can be made of the stream.
    Unreadable,
}

/// The first message of `stream`, of `most` bytes at most.
#[must_use]
pub fn unframe(stream: &[u8], most: usize) -> Framed<'_> {
    let Some((length, rest)) = stream.split_first_chunk::<2>() else {
        return Framed::More;
    };
    let length = usize::from(u16::from_be_bytes(*length));
    if length == 0 || length > most {
        return Framed::Unreadable;
    }
    rest.get(..length)
        .map_or(Framed::More, |message| Framed::Message(message, length + 2))
}

/// `message` as it goes over TCP; `None` for one that is too long for it.
#[must_use]
pub fn frame(message: &[u8]) -> Option<Vec<u8>> {
    let length = u16::try_from(message.len()).ok()?;
    let mut framed = length.to_be_bytes().to_vec();
    framed.extend_from_slice(message);
    Some(framed)
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use proptest::prelude::*;

    use super::*;
    use crate::egress::rules::tests::rules;

    const TXT: u16 = 16;
    const ANY: u16 = 255;

    /// A query by hand, so that what the codec would not write can be asked as well.
    fn query(labels: &[&[u8]], kind: u16, class: u16) -> Vec<u8> {
        let mut message = vec![0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in labels {
            message.push(u8::try_from(label.len()).unwrap());
            message.extend_from_slice(label);
        }
        message.push(0);
        message.extend(kind.to_be_bytes());
        message.extend(class.to_be_bytes());
        message
    }

    #[test]
    fn a_reply_for_a_name_that_was_not_found_has_its_question_and_nothing_else() {
        let rules = rules(&["a.example:1"], &[]);
        let mut asked = query(&labels("a.example"), 1, 1);
        asked[11] = 1;
        asked.extend(opt());
        let reply = hear(&asked, &rules, &mut Synthetic::default())
            .reply
            .unwrap();
        assert_eq!(read(&reply).1.len(), 1);
        for (failure, code) in [
            (Failure::NoSuchName, 3),
            (Failure::NoAddress, 0),
            (Failure::NoAnswer, 2),
        ] {
            let made = without_answers(&reply, failure);
            assert_eq!(read(&made), (code, vec![]));
            assert_eq!(made.len(), asked.len() - opt().len());
            assert_eq!(&made[12..], &asked[12..made.len()]);
        }
        assert_eq!(without_answers(&[], Failure::NoAnswer), [0; 0]);
    }

    fn labels(name: &str) -> Vec<&[u8]> {
        name.split('.').map(str::as_bytes).collect()
    }

    fn opt() -> Vec<u8> {
        // The root, OPT, 4096 bytes, no flags, no options.
        vec![0, 0, 41, 16, 0, 0, 0, 0x80, 0, 0, 0]
    }

    /// The code of a reply and the addresses in it.
    fn read(reply: &[u8]) -> (u8, Vec<IpAddr>) {
        let message = Message::from_octets(reply).unwrap();
        assert_eq!(message.header().id(), 0xabcd);
        assert!(message.header().qr() && message.header().ra() && !message.header().tc());
        let mut addresses = Vec::new();
        for record in message.answer().unwrap() {
            let record = record.unwrap();
            assert_eq!(record.class(), Class::IN);
            if let Ok(Some(a)) = record.to_record::<A>() {
                addresses.push(a.data().addr().into());
            }
            if let Ok(Some(aaaa)) = record.to_record::<Aaaa>() {
                addresses.push(aaaa.data().addr().into());
            }
        }
        (message.header().rcode().to_int(), addresses)
    }

    fn hear_one(message: &[u8]) -> Heard {
        let rules = rules(
            &["api.example.com:443", "*.example.org:80"],
            &["no.example.org:1-65535"],
        );
        hear(message, &rules, &mut Synthetic::default())
    }

    #[test]
    fn an_allowed_name_gets_its_stand_ins_and_nothing_of_other_types() {
        for name in ["api.example.com", "API.Example.COM", "a.b.example.org"] {
            for (kind, addresses) in [
                (1, vec!["198.18.0.16"]),
                (28, vec!["fd73:616e:6462:6f78::10"]),
                (TXT, vec![]),
                (ANY, vec![]),
                (5, vec![]),
                (15, vec![]),
                (33, vec![]),
                (64, vec![]),
                (65, vec![]),
                (252, vec![]),
            ] {
                let addresses: Vec<IpAddr> = addresses.iter().map(|a| a.parse().unwrap()).collect();
                let message = query(&labels(name), kind, 1);
                let heard = hear_one(&message);
                let reply = heard.reply.unwrap();
                assert_eq!(read(&reply), (0, addresses), "{name} {kind}");
                // The question comes back as it was, in the case of the one who asked.
                assert_eq!(reply[12..message.len()], message[12..]);
                let asked = heard.asked.unwrap();
                assert_eq!(asked.name().as_str(), name.to_ascii_lowercase());
                assert_eq!(heard.refused, None);
            }
        }
    }

    #[test]
    fn any_other_name_does_not_exist_whatever_its_labels_and_type() {
        let nul: &[&[u8]] = &[b"api", b"example", b"com\0evil"];
        let dotted: &[&[u8]] = &[b"api.example", b"com"];
        let one: &[&[u8]] = &[b"api.example.com"];
        let empty: &[&[u8]] = &[];
        for (labels, shown) in [
            (labels("c2VjcmV0.evil.example"), "c2VjcmV0.evil.example"),
            (labels("secret.api.example.com"), "secret.api.example.com"),
            (labels("notapi.example.com"), "notapi.example.com"),
            (labels("api.example.com.evil"), "api.example.com.evil"),
            (labels("example.org"), "example.org"),
            (labels("notexample.org"), "notexample.org"),
            (labels("no.example.org"), "no.example.org"),
            (labels("api"), "api"),
            (labels("4.3.2.1.in-addr.arpa"), "4.3.2.1.in-addr.arpa"),
            (labels("bücher.example"), "b\\195\\188cher.example"),
            (nul.to_vec(), "api.example.com\\000evil"),
            (dotted.to_vec(), "api\\.example.com"),
            (one.to_vec(), "api\\.example\\.com"),
            (empty.to_vec(), "."),
        ] {
            for kind in [1, 28, TXT, ANY, 65] {
                let heard = hear_one(&query(&labels, kind, 1));
                assert_eq!(read(&heard.reply.unwrap()), (3, vec![]), "{shown} {kind}");
                assert_eq!(heard.asked, None, "{shown}");
                assert_eq!(heard.refused.unwrap().name, shown);
            }
        }
    }

    #[test]
    fn the_refusal_says_which_flag_would_allow_the_name() {
        let refused = hear_one(&query(&labels("evil.example"), 28, 1))
            .refused
            .unwrap();
        assert_eq!(refused.record, "AAAA");
        assert_eq!(
            refused.refusal.flag(),
            Some("--allow evil.example:PORT".into())
        );
        let no_name: &[&[u8]] = &[b"a b"];
        let refused = hear_one(&query(no_name, 1, 1)).refused.unwrap();
        assert_eq!(refused.refusal.flag(), None);
    }

    #[test]
    fn localhost_is_the_sandbox_itself() {
        for name in ["localhost", "LOCALHOST", "db.localhost"] {
            let heard = hear_one(&query(&labels(name), 1, 1));
            assert_eq!(heard.asked, None);
            let expected = (0, vec!["127.0.0.1".parse().unwrap()]);
            assert_eq!(read(&heard.reply.unwrap()), expected);
        }
    }

    #[test]
    fn edns_is_spoken_with_those_who_speak_it() {
        let mut message = query(&labels("api.example.com"), 1, 1);
        let plain = hear_one(&message).reply.unwrap();
        message[11] = 1;
        message.extend(opt());
        let extended = hear_one(&message).reply.unwrap();
        assert!(Message::from_octets(&*plain).unwrap().opt().is_none());
        assert!(Message::from_octets(&*extended).unwrap().opt().is_some());
        assert_eq!(read(&plain), read(&extended));
    }

    #[test]
    fn what_is_no_proper_query_gets_an_error_or_nothing() {
        let good = query(&labels("api.example.com"), 1, 1);
        let with = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut message = good.clone();
            change(&mut message);
            let heard = hear_one(&message);
            assert_eq!((heard.asked, heard.refused), (None, None));
            heard.reply.map(|reply| read(&reply).0)
        };
        // The control.
        assert_eq!(read(&hear_one(&good).reply.unwrap()).0, 0);
        assert_eq!(with(&|m| m.truncate(11)), None);
        assert_eq!(with(&|m| m.clear()), None);
        assert_eq!(with(&|m| m[2] |= 0x80), None, "an answer");
        assert_eq!(with(&|m| m.resize(MAX_QUERY + 1, 0)), None, "too long");
        assert_eq!(with(&|m| m[2] |= 0x28), Some(4), "an update");
        for (change, what) in [
            (
                &(|m: &mut Vec<u8>| m.truncate(20)) as &dyn Fn(&mut Vec<u8>),
                "cut in the name",
            ),
            (&|m| m.truncate(30), "cut in the type"),
            (&|m| m[5] = 0, "no question"),
            (&|m| m[5] = 2, "two questions"),
            (&|m| m[7] = 1, "an answer in it"),
            (&|m| m[9] = 1, "an authority in it"),
            (&|m| m[11] = 1, "a record that is not there"),
            (&|m| m.push(0), "something behind it"),
            (&|m| m[12] = 64, "a label of a kind unknown"),
            (
                &|m| {
                    m.splice(12..29, [0xc0, 0]);
                },
                "compressed",
            ),
            (
                &|m| {
                    m.splice(12..29, [0xc0, 12]);
                },
                "compressed in a circle",
            ),
            (
                &|m| {
                    m[11] = 2;
                    m.extend(opt());
                    m.extend(opt());
                },
                "OPT twice",
            ),
        ] {
            assert_eq!(with(change), Some(1), "{what}");
        }
        let chaos = query(&labels("version.bind"), TXT, 3);
        assert_eq!(read(&hear_one(&chaos).reply.unwrap()).0, 5);
    }

    #[test]
    fn with_no_stand_ins_left_known_names_still_answer() {
        let rules = rules(&["*.example:1"], &[]);
        let mut synthetic = Synthetic::default();
        for number in 0..super::super::synthetic::MAX_NAMES {
            let name = format!("n{number}.example");
            let heard = hear(&query(&labels(&name), 1, 1), &rules, &mut synthetic);
            assert!(heard.asked.is_some());
        }
        let heard = hear(
            &query(&labels("more.example"), 1, 1),
            &rules,
            &mut synthetic,
        );
        assert_eq!((read(&heard.reply.unwrap()).0, heard.asked), (2, None));
        let heard = hear(&query(&labels("n5.example"), 1, 1), &rules, &mut synthetic);
        assert_eq!(read(&heard.reply.unwrap()).0, 0);
    }

    #[test]
    fn a_stream_is_cut_into_messages() {
        let mut stream = frame(b"abc").unwrap();
        stream.extend(frame(b"de").unwrap());
        assert_eq!(unframe(&stream, 10), Framed::Message(b"abc", 5));
        assert_eq!(unframe(&stream[5..], 10), Framed::Message(b"de", 4));
        assert_eq!(unframe(&stream[..4], 10), Framed::More);
        assert_eq!(unframe(&stream[..1], 10), Framed::More);
        assert_eq!(unframe(&stream, 2), Framed::Unreadable);
        assert_eq!(unframe(&[0, 0, 1], 2), Framed::Unreadable);
        assert_eq!(frame(&vec![0; 65536]), None);
    }

    proptest! {
        #[test]
        fn only_names_that_rules_allow_are_ever_asked_for(
            labels in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..20), 0..6),
            kind in any::<u16>(),
        ) {
            let labels: Vec<&[u8]> = labels.iter().map(Vec::as_slice).collect();
            let heard = hear_one(&query(&labels, kind, 1));
            prop_assert!(heard.asked.is_none());
            prop_assert!(heard.reply.is_some_and(|reply| reply.len() <= MAX_REPLY));
        }

        #[test]
        fn any_bytes_are_answered_with_a_message_or_nothing(
            bytes in proptest::collection::vec(any::<u8>(), 0..80),
        ) {
            let mut bytes = bytes;
            if let Some(flags) = bytes.get_mut(2) {
                *flags &= 7;
            }
            if let Some(reply) = hear_one(&bytes).reply {
                prop_assert!(Message::from_octets(reply).is_ok_and(|m| m.header().qr()));
            }
        }
    }
}
