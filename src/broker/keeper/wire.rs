//! What broker and keeper say to each other: small messages of fixed form over a `SOCK_SEQPACKET`
//! pair, little-endian.
//!
//! ```text
//! request   kind  token (8)                            descriptors
//!   launch    1     •       0                          as the shape says ([`super::Shape`])
//!   launch    1     •       1  values (connection.rs)  the connection
//!   signal    2     •       number (4)
//!   reload    3     0
//! answer
//!   started   1     •       pid (4)                    pidfd, status, and a spare's `go`
//!   failed    2     •       text
//!   reloaded  3     0
//!   kept      4     0       text
//! ```
//!
//! Pure, and strict: bytes that the encoders do not make are no message. The keeper ends at the first
//! such request, because the broker makes none.
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use nix::sys::signal::Signal;

use super::Token;
use crate::broker::connection;

/// No request is longer.
pub const LONGEST_REQUEST: usize = 10 + connection::LONGEST;
/// No answer is longer.
pub const LONGEST_ANSWER: usize = 9 + LONGEST_TEXT;
/// The longest text of an answer; longer ones are cut.
const LONGEST_TEXT: usize = 1024;

const LAUNCH: u8 = 1;
const SIGNAL: u8 = 2;
const RELOAD: u8 = 3;

const STARTED: u8 = 1;
const FAILED: u8 = 2;
const RELOADED: u8 = 3;
const KEPT: u8 = 4;

/// What the broker asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// A sandbox.
    Launch {
        /// The broker's name for it.
        token: Token,
        /// The values of its connection ([`connection::decode`]), if it is to serve one at once.
        values: Option<Vec<u8>>,
    },
    /// A signal for a sandbox's command.
    Signal {
        /// Which sandbox.
        token: Token,
        /// Which signal.
        signal: Signal,
    },
    /// A new plan, from the policy as it is now.
    Reload,
}

impl Request {
    /// The bytes of one request.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Launch { token, values } => {
                let mut bytes = head(LAUNCH, Some(*token));
                bytes.push(u8::from(values.is_some()));
                bytes.extend_from_slice(values.as_deref().unwrap_or_default());
                bytes
            }
            Self::Signal { token, signal } => {
                let mut bytes = head(SIGNAL, Some(*token));
                bytes.extend_from_slice(&(*signal as i32).to_le_bytes());
                bytes
            }
            Self::Reload => head(RELOAD, None),
        }
    }

    /// Read one request; `None` for bytes that [`Request::encode`] does not make.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (kind, number, rest) = split_head(bytes)?;
        match kind {
            LAUNCH => {
                let token = Token::new(number)?;
                let values = match rest.split_first()? {
                    (0, []) => None,
                    (1, values) => Some(connection::decode(values).map(|_| values.to_vec())?),
                    _ => return None,
                };
                Some(Self::Launch { token, values })
            }
            SIGNAL => {
                let token = Token::new(number)?;
                let signal = i32::from_le_bytes(rest.try_into().ok()?);
                let signal = Signal::try_from(signal).ok()?;
                Some(Self::Signal { token, signal })
            }
            RELOAD if number == 0 && rest.is_empty() => Some(Self::Reload),
            _ => None,
        }
    }
}

/// What the keeper says, without the descriptors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A sandbox's command runs, or it waits for its connection.
    Started {
        /// Which sandbox.
        token: Token,
        /// Its first process, in the keeper's pid namespace.
        pid: i32,
    },
    /// A sandbox could not be launched, or a spare one could not go on.
    Failed {
        /// Which sandbox.
        token: Token,
        /// Step, object and reason, printable.
        message: String,
    },
    /// The new plan is used from now on.
    Reloaded,
    /// There is no new plan: the old one is kept.
    Kept(String),
}

impl Answer {
    /// The bytes of one answer.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Started { token, pid } => {
                let mut bytes = head(STARTED, Some(*token));
                bytes.extend_from_slice(&pid.to_le_bytes());
                bytes
            }
            Self::Failed { token, message } => with_text(head(FAILED, Some(*token)), message),
            Self::Reloaded => head(RELOADED, None),
            Self::Kept(message) => with_text(head(KEPT, None), message),
        }
    }

    /// Read one answer; `None` for bytes that [`Answer::encode`] does not make.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (kind, number, rest) = split_head(bytes)?;
        match kind {
            STARTED => Some(Self::Started {
                token: Token::new(number)?,
                pid: i32::from_le_bytes(rest.try_into().ok()?),
            }),
            FAILED => Some(Self::Failed {
                token: Token::new(number)?,
                message: text(rest)?,
            }),
            RELOADED if number == 0 && rest.is_empty() => Some(Self::Reloaded),
            KEPT if number == 0 => Some(Self::Kept(text(rest)?)),
            _ => None,
        }
    }
}

fn head(kind: u8, token: Option<Token>) -> Vec<u8> {
    let number = token.map_or(0, Token::number);
    [&[kind][..], &number.to_le_bytes()].concat()
}

fn split_head(bytes: &[u8]) -> Option<(u8, u64, &[u8])> {
    let (&kind, rest) = bytes.split_first()?;
    let (number, rest) = rest.split_first_chunk()?;
    Some((kind, u64::from_le_bytes(*number), rest))
}

fn with_text(mut bytes: Vec<u8>, text: &str) -> Vec<u8> {
    let end = text.floor_char_boundary(LONGEST_TEXT);
    bytes.extend_from_slice(text.get(..end).unwrap_or_default().as_bytes());
    bytes
}

fn text(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?;
    (text.len() <= LONGEST_TEXT && !text.contains(char::is_control)).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::channel::{Address, UnixName};
    use crate::broker::connection::Connection;

    fn token(number: u64) -> Token {
        Token::new(number).unwrap()
    }

    fn values() -> Vec<u8> {
        let address = Address::Unix(UnixName::new(b"/run/x").unwrap());
        let connection = Connection {
            listener: "x".to_owned(),
            peer: address.clone(),
            local: address,
            credentials: None,
        };
        connection.encode()
    }

    fn requests() -> Vec<Request> {
        vec![
            Request::Launch {
                token: token(0),
                values: None,
            },
            Request::Launch {
                token: token(u64::MAX / 4),
                values: Some(values()),
            },
            Request::Signal {
                token: token(7),
                signal: Signal::SIGTERM,
            },
            Request::Reload,
        ]
    }

    fn answers() -> Vec<Answer> {
        let message = "cannot mount a fresh /proc: Ach, n\u{f6}".to_owned();
        vec![
            Answer::Started {
                token: token(7),
                pid: 4711,
            },
            Answer::Failed {
                token: token(7),
                message: message.clone(),
            },
            Answer::Reloaded,
            Answer::Kept(message),
        ]
    }

    #[test]
    fn requests_and_answers_survive_the_way() {
        for request in requests() {
            let bytes = request.encode();
            assert!(bytes.len() <= LONGEST_REQUEST);
            assert_eq!(Request::decode(&bytes), Some(request));
        }
        for answer in answers() {
            let bytes = answer.encode();
            assert!(bytes.len() <= LONGEST_ANSWER);
            assert_eq!(Answer::decode(&bytes), Some(answer));
        }
    }

    #[test]
    fn a_request_that_is_longer_or_shorter_is_none() {
        for request in requests() {
            let bytes = request.encode();
            for length in 0..bytes.len() {
                assert_eq!(Request::decode(&bytes[..length]), None, "{request:?}");
            }
            assert_eq!(
                Request::decode(&[&bytes[..], &[0]].concat()),
                None,
                "{request:?}"
            );
        }
    }

    #[test]
    fn other_bytes_are_no_request() {
        let launch =
            |flag: u8, values: &[u8]| [&head(LAUNCH, Some(token(1)))[..], &[flag], values].concat();
        assert!(Request::decode(&launch(0, b"")).is_some(), "the control");
        assert!(
            Request::decode(&launch(1, &values())).is_some(),
            "the control"
        );
        let signal =
            |number: i32| [&head(SIGNAL, Some(token(1)))[..], &number.to_le_bytes()].concat();
        assert!(Request::decode(&signal(15)).is_some(), "the control");
        let mut odd = values();
        odd.push(0);
        for (bytes, why) in [
            (launch(2, b""), "a flag that is none"),
            (launch(0, &values()), "values without the flag"),
            (launch(1, b""), "the flag without values"),
            (launch(1, &odd), "values that are none"),
            (signal(0), "no signal"),
            (signal(-1), "no signal"),
            (signal(65), "no signal"),
            (
                [&[SIGNAL][..], &[0xff; 8], &[15, 0, 0, 0]].concat(),
                "no token",
            ),
            (head(RELOAD, Some(token(1))), "a reload of one sandbox"),
            (head(0, None), "no kind"),
            (head(9, None), "no kind"),
            (b"LD_PRELOAD=/x".to_vec(), "text"),
        ] {
            assert_eq!(Request::decode(&bytes), None, "{why}");
        }
    }

    #[test]
    fn text_that_a_terminal_would_act_on_is_no_answer() {
        let failed = |text: &[u8]| [&head(FAILED, Some(token(1)))[..], text].concat();
        assert!(Answer::decode(&failed(b"fine")).is_some(), "the control");
        assert_eq!(Answer::decode(&failed(b"\x1b[2J")), None);
        assert_eq!(Answer::decode(&failed(b"\xff")), None);
        assert_eq!(Answer::decode(&failed(&[b'x'; LONGEST_TEXT + 1])), None);
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let message = "\u{f6}".repeat(LONGEST_TEXT);
        let failed = Answer::Failed {
            token: token(1),
            message,
        };
        let bytes = failed.encode();
        assert_eq!(bytes.len(), LONGEST_ANSWER);
        assert!(Answer::decode(&bytes).is_some());
    }
}
