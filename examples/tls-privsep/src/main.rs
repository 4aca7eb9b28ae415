//! Privilege separation for TLS: who parses what clients send has no key, and who has the key parses
//! nothing that they send.
//!
//! ```text
//! front (trusted)   accepts, hands connections over; never reads a byte of them
//!   ├─ worker       sandboxed: handshakes, records, HTTP; the key file is hidden from it
//!   │    ║ socket pair: "sign this", the signature
//!   └─ key          sandboxed: reads the key, then signs; knows one kind of message
//! ```
//!
//! Neither sandbox can make a socket, so neither can call anybody. Whoever takes the worker over can have
//! handshakes signed while it is there, as it can answer clients anyway; it cannot take the key away. Nor
//! can it have anything else signed: the holder takes nothing but what a TLS 1.3 server signs (RFC 8446,
//! 4.4.3).
//!
//! ```console
//! $ openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 \
//!       -subj /CN=localhost -addext subjectAltName=DNS:localhost -keyout key.pem -out cert.pem
//! $ cargo run -- 127.0.0.1:8443 cert.pem key.pem
//! ```

use std::env;
use std::error::Error;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::ServerConnection;
use rustls::sign::{CertifiedKey, Signer, SigningKey, SingleCertAndKey};
use rustls::{ServerConfig, SignatureAlgorithm, SignatureScheme};
use sandbox::worker::{Connection, Worker};
use sandbox::{Broker, Policy, Sandbox, Stdio};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// What the key signs: the one scheme that is used here.
const SCHEME: SignatureScheme = SignatureScheme::ECDSA_NISTP256_SHA256;
/// How long a client may take for a read or a write.
const PATIENCE: Duration = Duration::from_secs(10);

fn main() -> Result<()> {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["--worker", certificate, key] => worker(certificate, key),
        ["--key", key] => hold(key),
        ["--attack", key, port] => {
            println!("{}", attack(key, port));
            Ok(())
        }
        [address, certificate, key] => front(address, certificate, key),
        _ => Err("usage: tls-privsep ADDRESS CERTIFICATE KEY".into()),
    }
}

// ---- the front ----

fn front(address: &str, certificate: &str, key: &str) -> Result<()> {
    let own = env::current_exe()?;
    let key = PathBuf::from(key).canonicalize()?;
    let (signer, requests) = UnixStream::pair()?;

    let mut holder = Sandbox::new(&own);
    holder.arg("--key").arg(&key);
    holder.policy(Policy::built_in("connection")?);
    holder.stdin(Stdio::from(OwnedFd::from(requests)));
    let mut holder = holder.spawn()?;

    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let mut worker = Sandbox::new(&own);
    worker.arg("--worker").arg(certificate).arg(&key);
    worker.hide(&key);
    worker.stdin(Stdio::from(OwnedFd::from(signer)));
    let mut broker = Broker::new(&mut worker)?;
    say(&format!("listening on {}", listener.local_addr()?))?;

    let input = io::stdin();
    let watched = [listener.as_fd(), input.as_fd()];
    // Until standard input ends. Clients wait in the backlog while the worker has no credit.
    while broker.wait_for_any(&watched)? == 0 {
        if let Some(status) = holder.try_wait()? {
            return Err(format!("the holder of the key has ended: {status}").into());
        }
        while let Some(event) = broker.next_event() {
            say(&format!("{event:?}"))?;
        }
        match listener.accept() {
            Ok(connection) => drop(broker.send(connection)?),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => return Err(error.into()),
        }
    }
    broker.drain(Duration::from_secs(5))?;
    holder.kill()?;
    Ok(())
}

fn say(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

/// The socket that a sandboxed part was given as its standard input.
fn other_part() -> io::Result<UnixStream> {
    Ok(UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?))
}

// ---- the holder of the key ----

/// How every message that a TLS 1.3 server signs begins; a hash follows.
fn server_prefix() -> Vec<u8> {
    let mut prefix = vec![b' '; 64];
    prefix.extend_from_slice(b"TLS 1.3, server CertificateVerify\0");
    prefix
}

fn is_handshake_of_a_server(message: &[u8]) -> bool {
    let hash = message.strip_prefix(server_prefix().as_slice());
    // SHA-256 or SHA-384.
    hash.is_some_and(|hash| matches!(hash.len(), 32 | 48))
}

fn hold(path: &str) -> Result<()> {
    let key = ring::sign::any_ecdsa_type(&PrivateKeyDer::from_pem_file(path)?)?;
    let signer = key
        .choose_scheme(&[SCHEME])
        .ok_or("the key is not one of P-256")?;
    let mut worker = other_part()?;
    let mut length = [0];
    // One message: a byte of length, and as many bytes. The answer is the same; empty for a refusal.
    while worker.read(&mut length)? != 0 {
        let mut message = vec![0; usize::from(length[0])];
        worker.read_exact(&mut message)?;
        let signature = match is_handshake_of_a_server(&message) {
            true => signer.sign(&message)?,
            false => Vec::new(),
        };
        answer(&mut worker, &signature)?;
    }
    Ok(())
}

fn answer(to: &mut UnixStream, bytes: &[u8]) -> Result<()> {
    let mut message = vec![u8::try_from(bytes.len())?];
    message.extend_from_slice(bytes);
    Ok(to.write_all(&message)?)
}

// ---- the worker ----

/// The key, as far as the worker has it: somebody to ask.
#[derive(Clone, Debug)]
struct Remote(Arc<Mutex<UnixStream>>);

impl Remote {
    fn ask(&self, message: &[u8]) -> Result<Vec<u8>> {
        let mut holder = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        answer(&mut holder, message)?;
        let mut length = [0];
        holder.read_exact(&mut length)?;
        let mut signature = vec![0; usize::from(length[0])];
        holder.read_exact(&mut signature)?;
        match signature.is_empty() {
            true => Err("the holder of the key refuses".into()),
            false => Ok(signature),
        }
    }
}

impl SigningKey for Remote {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let signer: Box<dyn Signer> = Box::new(self.clone());
        offered.contains(&SCHEME).then_some(signer)
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ECDSA
    }
}

impl Signer for Remote {
    fn sign(&self, message: &[u8]) -> std::result::Result<Vec<u8>, rustls::Error> {
        self.ask(message)
            .map_err(|error| rustls::Error::General(error.to_string()))
    }

    fn scheme(&self) -> SignatureScheme {
        SCHEME
    }
}

fn worker(certificate: &str, key: &str) -> Result<()> {
    let chain =
        CertificateDer::pem_file_iter(certificate)?.collect::<std::result::Result<_, _>>()?;
    let remote = Remote(Arc::new(Mutex::new(other_part()?)));
    let certified = CertifiedKey::new(chain, Arc::new(remote.clone()));
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        // The holder signs nothing of older versions.
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    let config = Arc::new(config);
    Worker::from_env()?.with_credits(8).serve(4, |connection| {
        // Clients come and go as they like.
        let _ = serve(connection, &config, &remote, key);
    })?;
    Ok(())
}

fn serve(
    mut connection: Connection,
    config: &Arc<ServerConfig>,
    remote: &Remote,
    key: &str,
) -> Result<()> {
    connection.stream.set_read_timeout(Some(PATIENCE))?;
    connection.stream.set_write_timeout(Some(PATIENCE))?;
    let mut tls = ServerConnection::new(Arc::clone(config))?;
    let mut stream = rustls::Stream::new(&mut tls, &mut connection.stream);
    let mut request = [0; 1024];
    let length = stream.read(&mut request)?;
    let request = String::from_utf8_lossy(&request[..length]).into_owned();
    let path = request.split(' ').nth(1).unwrap_or_default();
    // What somebody who has taken the worker over would try.
    let said = match path.strip_prefix("/attack?port=") {
        Some(port) => {
            let signed = match remote.ask(b"a message of the attacker's own") {
                Ok(_) => "signed".to_owned(),
                Err(error) => error.to_string(),
            };
            format!("{}, signature: {signed}", attack(key, port))
        }
        None => "answered".to_owned(),
    };
    write!(
        stream,
        "HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n{said}",
        said.len()
    )?;
    stream.flush()?;
    tls.send_close_notify();
    while tls.wants_write() {
        tls.write_tls(&mut connection.stream)?;
    }
    Ok(())
}

/// Read the key, and call a port of the host: what came of it.
fn attack(key: &str, port: &str) -> String {
    // What is hidden is empty.
    let read = match std::fs::read(key) {
        Ok(bytes) if !bytes.is_empty() => "read".to_owned(),
        Ok(_) => "empty".to_owned(),
        Err(error) => error.to_string(),
    };
    let port = port.parse().unwrap_or_default();
    let dialled = match TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
        Ok(_) => "reached".to_owned(),
        Err(error) => error.to_string(),
    };
    format!("key: {read}, dial: {dialled}")
}
