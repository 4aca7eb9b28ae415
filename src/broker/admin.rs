//! Metrics and status for whoever may ask: a very small HTTP server in the broker's loop.
//!
//! It listens on a Unix socket or on loopback, nowhere else, and knows two pages. Whoever connects is
//! not trusted: a request has 4 KiB and five seconds, at most sixteen are under way, a body is refused,
//! and on loopback the Host must be one, so that no page in a browser reads it by a name of its own
//! that turns into 127.0.0.1.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv, send, setsockopt, sockopt};
use nix::sys::time::{TimeVal, TimeValLike};
use tracing::debug;

use super::listen::{Listener, Options, SocketFile, shown};
use super::reactor::{Interest, Key, Reactor};
use crate::error::{Error, Result};
use crate::request::Endpoint;
use crate::sys::parent;
use crate::{descriptor, plan};

/// The longest request, headers included.
const LONGEST_REQUEST: usize = 4096;
/// The most headers.
const MOST_HEADERS: usize = 32;
/// The most clients at a time.
const MOST_CLIENTS: usize = 16;
/// How long a client may take, from connecting to its reply's last byte.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long nobody is accepted after accepting failed.
const REST: Duration = Duration::from_secs(1);
/// The longest status that is read from a broker.
const LONGEST_STATUS: u64 = 16 << 20;

/// A page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Page {
    /// Prometheus' text format.
    Metrics,
    /// JSON.
    Status,
}

impl Page {
    fn content_type(self) -> &'static str {
        match self {
            Self::Metrics => "text/plain; version=0.0.4; charset=utf-8",
            Self::Status => "application/json",
        }
    }
}

/// Whether a reply has its page in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Body {
    /// As GET wants.
    Sent,
    /// As HEAD wants.
    Described,
}

/// Which Host a request may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hosts {
    /// Any: nobody reaches a Unix socket by a name.
    Any,
    /// Loopback alone.
    Loopback,
}

/// What the bytes of a request are so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Request {
    /// Its beginning.
    Partial,
    /// Whole.
    Whole(Page, Body),
    /// Wrong: the status to answer with.
    Wrong(&'static str),
}

/// Read a request. Its bytes are hostile.
fn parse(bytes: &[u8], hosts: Hosts) -> Request {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(bytes) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) if bytes.len() < LONGEST_REQUEST => return Request::Partial,
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
            return Request::Wrong("431 Request Header Fields Too Large");
        }
        Err(_) => return Request::Wrong("400 Bad Request"),
    }
    let all = |name: &'static str| {
        let headers = request.headers.iter();
        headers.filter(move |header| header.name.eq_ignore_ascii_case(name))
    };
    let no_body = all("content-length").all(|header| header.value == b"0")
        && all("transfer-encoding").next().is_none();
    let mut named = all("host");
    let host = match (named.next(), named.next()) {
        (Some(host), None) => Some(host.value),
        // HTTP/1.1 needs one (RFC 9112, 3.2).
        (None, None) if request.version == Some(0) => None,
        _ => return Request::Wrong("400 Bad Request"),
    };
    if !no_body {
        return Request::Wrong("400 Bad Request");
    }
    if hosts == Hosts::Loopback && !host.is_none_or(is_loopback) {
        return Request::Wrong("421 Misdirected Request");
    }
    let body = match request.method {
        Some("GET") => Body::Sent,
        Some("HEAD") => Body::Described,
        _ => return Request::Wrong("405 Method Not Allowed"),
    };
    match request.path {
        Some("/metrics") => Request::Whole(Page::Metrics, body),
        Some("/status") => Request::Whole(Page::Status, body),
        _ => Request::Wrong("404 Not Found"),
    }
}

/// Whether a Host header names loopback: `localhost`, `127.0.0.1:9`, `[::1]`.
fn is_loopback(host: &[u8]) -> bool {
    let Ok(host) = std::str::from_utf8(host) else {
        return false;
    };
    if let Some(rest) = host.strip_prefix('[') {
        let inner = rest.split_once(']').map(|(inner, _)| inner);
        return inner
            .and_then(|inner| inner.parse::<Ipv6Addr>().ok())
            .is_some_and(|address| address.is_loopback());
    }
    let name = host.split(':').next().unwrap_or_default();
    name.eq_ignore_ascii_case("localhost")
        || name
            .parse::<Ipv4Addr>()
            .is_ok_and(|address| address.is_loopback())
}

/// The bytes of a reply.
fn reply(status: &str, content_type: &str, page: &str, body: Body) -> Vec<u8> {
    let mut reply = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\
         Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n",
        page.len()
    );
    if body == Body::Sent {
        reply.push_str(page);
    }
    reply.into_bytes()
}

/// One client.
#[derive(Debug)]
struct Client {
    fd: OwnedFd,
    request: Vec<u8>,
    /// What is left of the reply, once there is one.
    reply: Option<Vec<u8>>,
    sent: usize,
    deadline: Instant,
}

/// Whether a client is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Waits,
    Over,
}

/// The server.
#[derive(Debug)]
pub(crate) struct Admin {
    listener: Listener,
    hosts: Hosts,
    clients: BTreeMap<u64, Client>,
    next: u64,
    /// Accepting begins again then.
    rests_until: Option<Instant>,
}

impl Admin {
    /// Listen on `endpoint`.
    ///
    /// # Errors
    /// When it is neither a Unix socket nor on loopback, or cannot be listened on.
    pub(crate) fn open(endpoint: &Endpoint) -> Result<Self> {
        check_address("--metrics", endpoint)?;
        let listener = Listener::open("metrics", endpoint, &Options::default())?;
        let hosts = match endpoint {
            Endpoint::Tcp { .. } => Hosts::Loopback,
            _ => Hosts::Any,
        };
        Ok(Self {
            listener,
            hosts,
            clients: BTreeMap::new(),
            next: 0,
            rests_until: None,
        })
    }

    /// Where it listens, for people.
    pub(crate) fn address(&self) -> &str {
        &self.listener.address
    }

    /// The socket file, if there is one.
    pub(crate) fn file(&self) -> Option<&SocketFile> {
        self.listener.made.as_ref()
    }

    /// Begin.
    pub(crate) fn watch(&self, reactor: &Reactor) -> Result<()> {
        super::listen::set_nonblocking(&self.listener.fd)?;
        reactor.watch(self.listener.fd.as_fd(), Key::Admin, Interest::Read)
    }

    /// Take whoever has connected.
    pub(crate) fn accept(&mut self, reactor: &Reactor, now: Instant) {
        while self.clients.len() < MOST_CLIENTS {
            let fd = match parent::accept(self.listener.fd.as_fd()) {
                Ok((fd, _)) => fd,
                Err(Errno::EAGAIN) => return,
                Err(Errno::EINTR | Errno::ECONNABORTED) => continue,
                Err(errno) => {
                    debug!(%errno, "nobody can ask for metrics");
                    self.rests_until = now.checked_add(REST);
                    break;
                }
            };
            let id = self.next;
            self.next = self.next.saturating_add(1);
            if reactor
                .watch(fd.as_fd(), Key::Client(id), Interest::Read)
                .is_err()
            {
                return;
            }
            self.clients.insert(
                id,
                Client {
                    fd,
                    request: Vec::new(),
                    reply: None,
                    sent: 0,
                    deadline: now.checked_add(PATIENCE).unwrap_or(now),
                },
            );
        }
        // The kernel's queue holds the others.
        reactor.change(self.listener.fd.as_fd(), Key::Admin, Interest::Nothing);
    }

    /// Go on with one client; `render` makes its page.
    pub(crate) fn serve(
        &mut self,
        id: u64,
        reactor: &Reactor,
        render: impl FnOnce(Page) -> String,
    ) {
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        if client.advance(self.hosts, render) == Progress::Over {
            self.remove(id, reactor);
            return;
        }
        if client.reply.is_some() {
            reactor.change(client.fd.as_fd(), Key::Client(id), Interest::Write);
        }
    }

    /// Let those go whose time is over, and accept again after a rest.
    pub(crate) fn expire(&mut self, reactor: &Reactor, now: Instant) {
        let over: Vec<u64> = self
            .clients
            .iter()
            .filter(|(_, client)| client.deadline <= now)
            .map(|(&id, _)| id)
            .collect();
        for id in over {
            self.remove(id, reactor);
        }
        if self.rests_until.is_some_and(|until| until <= now) {
            self.rests_until = None;
            reactor.change(self.listener.fd.as_fd(), Key::Admin, Interest::Read);
        }
    }

    /// When [`Admin::expire`] has something to do next.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let clients = self.clients.values().map(|client| client.deadline);
        clients.chain(self.rests_until).min()
    }

    fn remove(&mut self, id: u64, reactor: &Reactor) {
        if let Some(client) = self.clients.remove(&id) {
            reactor.forget(client.fd.as_fd());
        }
        if self.rests_until.is_none() {
            reactor.change(self.listener.fd.as_fd(), Key::Admin, Interest::Read);
        }
    }
}

impl Client {
    fn advance(&mut self, hosts: Hosts, render: impl FnOnce(Page) -> String) -> Progress {
        if self.reply.is_none() && self.read(hosts, render) == Progress::Over {
            return Progress::Over;
        }
        match &self.reply {
            Some(_) => self.write(),
            None => Progress::Waits,
        }
    }

    fn read(&mut self, hosts: Hosts, render: impl FnOnce(Page) -> String) -> Progress {
        loop {
            let mut chunk = [0; LONGEST_REQUEST];
            let room = LONGEST_REQUEST.saturating_sub(self.request.len());
            let chunk = chunk.get_mut(..room).unwrap_or_default();
            match recv(self.fd.as_raw_fd(), chunk, MsgFlags::MSG_DONTWAIT) {
                Ok(0) => return Progress::Over,
                Ok(length) => self
                    .request
                    .extend_from_slice(chunk.get(..length).unwrap_or_default()),
                Err(Errno::EAGAIN | Errno::EINTR) => return Progress::Waits,
                Err(_) => return Progress::Over,
            }
            self.reply = match parse(&self.request, hosts) {
                Request::Partial => continue,
                Request::Whole(page, body) => {
                    Some(reply("200 OK", page.content_type(), &render(page), body))
                }
                Request::Wrong(status) => {
                    let page = format!("{status}\n");
                    Some(reply(status, "text/plain", &page, Body::Sent))
                }
            };
            return Progress::Waits;
        }
    }

    fn write(&mut self) -> Progress {
        let reply = self.reply.as_deref().unwrap_or_default();
        while let Some(left) = reply.get(self.sent..).filter(|left| !left.is_empty()) {
            let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
            match send(self.fd.as_raw_fd(), left, flags) {
                Ok(length) => self.sent = self.sent.saturating_add(length),
                Err(Errno::EAGAIN | Errno::EINTR) => return Progress::Waits,
                Err(_) => return Progress::Over,
            }
        }
        Progress::Over
    }
}

/// Metrics are nobody's business but this host's.
///
/// # Errors
/// When `endpoint` is neither a Unix stream socket nor on loopback.
pub(crate) fn check_address(option: &str, endpoint: &Endpoint) -> Result<()> {
    let wrong = |reason: &str| Error::usage(format!("{option} {}", shown(endpoint)), reason);
    match endpoint {
        Endpoint::Unix(_) => Ok(()),
        Endpoint::UnixPackets(_) => Err(wrong("HTTP needs a stream; write unix:PATH")),
        Endpoint::Tcp { host, .. } if host.is_empty() => Err(wrong(
            "only loopback: write tcp:127.0.0.1:PORT or unix:PATH",
        )),
        Endpoint::Tcp { host, port } => {
            let addresses = descriptor::look_up(option, host, *port)?;
            let own = |address: &SocketAddr| address.ip().to_canonical().is_loopback();
            match addresses.iter().all(own) {
                true => Ok(()),
                false => Err(wrong(
                    "only loopback: write tcp:127.0.0.1:PORT or unix:PATH",
                )),
            }
        }
    }
}

/// The status of the broker whose `--metrics` is at `endpoint`, as it sent it.
///
/// # Errors
/// When nobody answers there, or what answers is no broker.
pub(crate) fn fetch_status(endpoint: &Endpoint) -> Result<serde_json::Value> {
    check_address("--status", endpoint)?;
    let failed = |error: std::io::Error| {
        Error::host("ask the broker at", shown(endpoint), plan::errno_of(&error))
    };
    let odd = || Error::usage(shown(endpoint), "what answers there is no broker");
    let fd = descriptor::connect(endpoint)?;
    // It answers at once, or not at all.
    let patience = TimeVal::seconds(10);
    setsockopt(&fd, sockopt::ReceiveTimeout, &patience)
        .and_then(|()| setsockopt(&fd, sockopt::SendTimeout, &patience))
        .map_err(|errno| Error::host("ask the broker at", shown(endpoint), errno))?;
    let mut stream = std::fs::File::from(fd);
    let request = "GET /status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).map_err(failed)?;
    let mut answer = Vec::new();
    stream
        .take(LONGEST_STATUS)
        .read_to_end(&mut answer)
        .map_err(failed)?;
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let Ok(httparse::Status::Complete(length)) = response.parse(&answer) else {
        return Err(odd());
    };
    if response.code != Some(200) {
        return Err(odd());
    }
    let status: serde_json::Value =
        serde_json::from_slice(answer.get(length..).unwrap_or_default()).map_err(|_| odd())?;
    if status.get("hand_over").is_none() {
        return Err(odd());
    }
    Ok(status)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;

    fn unix(path: &Path) -> Endpoint {
        Endpoint::Unix(path.to_path_buf())
    }

    fn request(lines: &str) -> String {
        lines.replace('\n', "\r\n") + "\r\n"
    }

    fn parsed(lines: &str, hosts: Hosts) -> Request {
        parse(request(lines).as_bytes(), hosts)
    }

    #[test]
    fn two_pages_are_known_and_only_to_be_read() {
        let get = |page| Request::Whole(page, Body::Sent);
        let not_found = Request::Wrong("404 Not Found");
        let table = [
            ("GET /metrics HTTP/1.1\nHost: x\n", get(Page::Metrics)),
            ("GET /status HTTP/1.0\n", get(Page::Status)),
            (
                "HEAD /status HTTP/1.1\nHost: x\nContent-Length: 0\n",
                Request::Whole(Page::Status, Body::Described),
            ),
            ("GET / HTTP/1.0\n", not_found),
            ("GET /metrics/ HTTP/1.0\n", not_found),
            ("GET /../status HTTP/1.0\n", not_found),
            (
                "POST /status HTTP/1.0\n",
                Request::Wrong("405 Method Not Allowed"),
            ),
            ("GET /status HTTP/1.1\n", Request::Wrong("400 Bad Request")),
            (
                "GET /status HTTP/1.1\nHost: a\nHost: b\n",
                Request::Wrong("400 Bad Request"),
            ),
            (
                "GET /status HTTP/1.1\nHost: x\nContent-Length: 5\n",
                Request::Wrong("400 Bad Request"),
            ),
            (
                "GET /status HTTP/1.1\nHost: x\nTransfer-Encoding: chunked\n",
                Request::Wrong("400 Bad Request"),
            ),
            ("GET /status HTTP/2.0\n", Request::Wrong("400 Bad Request")),
            ("\u{1}\n", Request::Wrong("400 Bad Request")),
        ];
        for (lines, expected) in table {
            assert_eq!(parsed(lines, Hosts::Any), expected, "{lines}");
        }
    }

    #[test]
    fn every_beginning_of_a_request_is_waited_for() {
        let whole = request("GET /status HTTP/1.1\nHost: localhost\nA: b\n");
        for length in 0..whole.len() {
            let beginning = &whole.as_bytes()[..length];
            assert_eq!(parse(beginning, Hosts::Any), Request::Partial, "{length}");
        }
    }

    proptest! {
        /// Whatever comes is waited for, answered or refused, and a request that is whole stays so.
        #[test]
        fn no_bytes_are_too_strange(
            bytes in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..LONGEST_REQUEST),
                "(GET|HEAD|POST) /(status|metrics|x)? HTTP/1.[01]\r\n(Host: [a-z\\[\\]:.0-9]{0,12}\r\n){0,3}\r\n"
                    .prop_map(String::into_bytes),
            ],
            more in proptest::collection::vec(any::<u8>(), 0..64),
        ) {
            for hosts in [Hosts::Any, Hosts::Loopback] {
                let said = parse(&bytes, hosts);
                let longer = parse(&[bytes.as_slice(), &more].concat(), hosts);
                if matches!(said, Request::Whole(..)) {
                    prop_assert_eq!(said, longer);
                }
            }
        }
    }

    #[test]
    fn a_request_that_does_not_end_is_refused_at_its_limit() {
        let long = format!("GET /status HTTP/1.1\r\nA: {}", "x".repeat(LONGEST_REQUEST));
        let too_large = Request::Wrong("431 Request Header Fields Too Large");
        assert_eq!(
            parse(&long.as_bytes()[..LONGEST_REQUEST], Hosts::Any),
            too_large
        );
        let many = format!(
            "GET /status HTTP/1.1\n{}",
            "A: b\n".repeat(MOST_HEADERS + 1)
        );
        assert_eq!(parsed(&many, Hosts::Any), too_large);
    }

    #[test]
    fn on_loopback_only_loopbacks_names_are_answered() {
        let asked = |host: &str| {
            let lines = format!("GET /status HTTP/1.1\nHost: {host}\n");
            matches!(parsed(&lines, Hosts::Loopback), Request::Whole(..))
        };
        for host in [
            "localhost",
            "LocalHost:9",
            "127.0.0.1:9",
            "127.1.2.3",
            "[::1]:9",
            "[::1]",
        ] {
            assert!(asked(host), "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "192.0.2.1",
            "[2001:db8::1]",
            "[::1",
            "",
        ] {
            assert!(!asked(host), "{host}");
        }
    }

    #[test]
    fn only_this_host_may_ask() {
        let tcp = |host: &str| Endpoint::Tcp {
            host: host.to_owned(),
            port: 0,
        };
        for endpoint in [tcp("127.0.0.1"), tcp("::1"), unix(Path::new("/run/x"))] {
            assert!(
                check_address("--metrics", &endpoint).is_ok(),
                "{endpoint:?}"
            );
        }
        for endpoint in [
            tcp(""),
            tcp("0.0.0.0"),
            tcp("::"),
            tcp("192.0.2.1"),
            Endpoint::UnixPackets("/run/x".into()),
        ] {
            let error = check_address("--metrics", &endpoint).unwrap_err();
            assert!(matches!(error, Error::Usage { .. }), "{error}");
        }
    }

    /// A server with its reactor, driven by hand.
    struct Served {
        admin: Admin,
        reactor: Reactor,
        path: std::path::PathBuf,
        _dir: tempfile::TempDir,
    }

    impl Served {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("admin");
            let admin = Admin::open(&unix(&path)).unwrap();
            let reactor = Reactor::new().unwrap();
            admin.watch(&reactor).unwrap();
            Self {
                admin,
                reactor,
                path,
                _dir: dir,
            }
        }

        /// Handle what is ready until nothing is.
        fn turn(&mut self, now: Instant) {
            loop {
                let ready = self.reactor.wait(Some(Duration::ZERO)).unwrap();
                if ready.is_empty() {
                    return;
                }
                for key in ready {
                    match key {
                        Key::Admin => self.admin.accept(&self.reactor, now),
                        Key::Client(id) => self.admin.serve(id, &self.reactor, |page| {
                            format!("{page:?}").repeat(100_000)
                        }),
                        other => panic!("{other:?}"),
                    }
                }
            }
        }

        fn connect(&self) -> std::os::unix::net::UnixStream {
            std::os::unix::net::UnixStream::connect(&self.path).unwrap()
        }
    }

    #[test]
    fn a_long_page_arrives_whole_at_a_slow_reader() {
        let mut served = Served::new();
        let mut client = served.connect();
        client.set_nonblocking(true).unwrap();
        let now = Instant::now();
        client
            .write_all(request("GET /metrics HTTP/1.0\n").as_bytes())
            .unwrap();
        let mut page = Vec::new();
        loop {
            served.turn(now);
            let mut chunk = [0; 4096];
            match client.read(&mut chunk) {
                Ok(0) => break,
                Ok(length) => page.extend_from_slice(&chunk[..length]),
                Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
            }
        }
        let page = String::from_utf8(page).unwrap();
        let (head, body) = page.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())));
        assert_eq!(body.len(), "Metrics".len() * 100_000);
    }

    #[test]
    fn clients_that_say_nothing_do_not_keep_others_out_for_ever() {
        let mut served = Served::new();
        let silent: Vec<_> = (0..MOST_CLIENTS).map(|_| served.connect()).collect();
        let now = Instant::now();
        served.turn(now);
        let mut other = served.connect();
        other
            .write_all(request("GET /nothing HTTP/1.0\n").as_bytes())
            .unwrap();
        served.turn(now);
        assert_eq!(served.admin.clients.len(), MOST_CLIENTS);
        let later = served.admin.next_deadline().unwrap();
        served.admin.expire(&served.reactor, later);
        served.turn(later);
        let mut answer = String::new();
        other.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
        drop(silent);
        served.turn(later);
        assert!(served.admin.clients.is_empty(), "nothing is kept");
    }
}
