//! The process that keeps a lab which outlives the command that made it: `sandbox lab up`.
//!
//! ```text
//! sandbox lab up ── fork ──► keeper ── makes the lab, then answers ──► sandbox lab status, exec, …
//!                ◄─ ready ─
//!                ── go ───► (without it, the keeper takes everything away again and ends)
//! ```
//!
//! One at a time: `up` and `down` hold the lock of the labs' directory. The keeper ends by `down`, or by
//! any signal; what is then left outside ([`super::outside`]) goes with the next `up` or `down`.

use std::fs;
use std::io::{ErrorKind, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{getsockopt, sockopt};
use nix::unistd::geteuid;
use serde_json::{Value as Json, json};

use super::live::Live;
use super::outside::Record;
use super::topology::Topology;
use super::wire::{self, Request};
use super::{check, place, status};
use crate::error::{Error, Result};
use crate::netns::user::make_private;
use crate::plan::errno_of;
use crate::policy::spec;
use crate::sys::{parent, process};

/// The socket's name in a lab's directory.
const SOCKET: &str = "socket";
/// What `up` says to the keeper in the end.
const GO: u8 = 1;

/// The lab of `file`, up and as it says; how many things had to be done for it.
///
/// # Errors
/// What was refused; the lab is then as it was before, or not there.
pub(crate) fn up(file: &Path) -> Result<(String, u64)> {
    let (file, text, topology) = super::read(file)?;
    let labs = place::labs()?;
    let lock = place::lock(&labs)?;
    let directory = labs.join(&topology.name);
    let name = topology.name.clone();
    if let Some(stream) = connect(&directory)? {
        let (done, _) = wire::ask(&stream, &Request::Up { file, text })?;
        return Ok((name, done.as_u64().unwrap_or_default()));
    }
    Record::left_in(directory.clone()).undo();
    let made = start(&file, topology, directory, lock.as_fd())?;
    Ok((name, made))
}

/// Take the lab called `name` away; whether there was one.
///
/// # Errors
/// When its keeper cannot be reached.
pub(crate) fn down(name: &str) -> Result<bool> {
    let labs = place::labs()?;
    let _lock = place::lock(&labs)?;
    let directory = labs.join(name);
    let found = directory.exists();
    if let Some(stream) = connect(&directory)? {
        let keeper = keeper_of(&stream)?;
        match wire::ask(&stream, &Request::Down) {
            // It may be gone before its answer is read.
            Ok(_)
            | Err(Error::Host {
                errno: Errno::ECONNRESET | Errno::EPIPE,
                ..
            }) => {}
            Err(error) => return Err(error),
        }
        wait_for_end(&keeper)?;
    }
    Record::left_in(directory).undo();
    Ok(found)
}

/// The labs that are there, and whether each has a keeper.
pub(crate) fn list() -> Result<Vec<(String, bool)>> {
    let labs = place::labs()?;
    let up = |name: &String| connect(&labs.join(name)).is_ok_and(|stream| stream.is_some());
    let names = place::names(&labs).into_iter();
    Ok(names
        .map(|name| {
            let up = up(&name);
            (name, up)
        })
        .collect())
}

/// Ask the keeper of the lab called `name`.
///
/// # Errors
/// When the lab is not up, or its keeper refuses.
pub(super) fn ask(name: &str, request: &Request) -> Result<(Json, Vec<OwnedFd>)> {
    let Some(stream) = connect(&place::labs()?.join(name))? else {
        return Err(Error::usage(
            format!("lab {name}"),
            format!("it is not up: sandbox lab up {name}.toml"),
        ));
    };
    wire::ask(&stream, request)
}

/// A connection to the keeper whose lab's directory that is; `None` where there is none.
fn connect(directory: &Path) -> Result<Option<UnixStream>> {
    let path = directory.join(SOCKET);
    match UnixStream::connect(&path) {
        Ok(stream) => Ok(Some(stream)),
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::NotFound | ErrorKind::ConnectionRefused
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(Error::host(
            "connect to",
            path.display().to_string(),
            errno_of(&error),
        )),
    }
}

fn keeper_of(stream: &UnixStream) -> Result<OwnedFd> {
    let failed = |errno| Error::host("find", "the lab's keeper", errno);
    let peer = getsockopt(stream, sockopt::PeerCredentials).map_err(failed)?;
    process::pidfd_open(peer.pid()).map_err(failed)
}

fn wait_for_end(keeper: &OwnedFd) -> Result<()> {
    loop {
        let mut gone = [PollFd::new(keeper.as_fd(), PollFlags::POLLIN)];
        match poll(&mut gone, PollTimeout::from(30_000_u16)) {
            Err(Errno::EINTR) => {}
            Ok(0) => return Err(Error::host("end", "the lab's keeper", Errno::ETIMEDOUT)),
            Ok(_) => return Ok(()),
            Err(errno) => return Err(Error::host("wait for", "the lab's keeper", errno)),
        }
    }
}

/// Fork a keeper and wait until the lab is up.
fn start(
    file: &Path,
    topology: Topology,
    directory: PathBuf,
    lock: std::os::fd::BorrowedFd<'_>,
) -> Result<u64> {
    let failed = |errno| Error::host("start", "the lab's keeper", errno);
    let (mut ours, theirs) = UnixStream::pair().map_err(|error| failed(errno_of(&error)))?;
    let lock_number = lock.as_raw_fd();
    let file = file.to_owned();
    let kept = [theirs.as_fd(), lock];
    let run = || {
        let kept = keep(&file, topology, &directory, &theirs);
        // The lock was held until the lab was up, or not to be had.
        let _ = nix::unistd::close(lock_number);
        match kept {
            Some((live, listener)) => serve(live, &listener),
            None => crate::exit::LAUNCHER_FAILED,
        }
    };
    let (_, keeper) = process::fork(&kept, run).map_err(failed)?;
    drop(theirs);
    let mut said = Vec::new();
    let mut buffer = [0; 4096];
    // One answer, ended by a line's end: the connection stays open for the last word.
    while !said.ends_with(b"\n") {
        match ours.read(&mut buffer) {
            Ok(0) => return Err(failed(Errno::ECONNRESET)),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            length => {
                let length = length.map_err(|error| failed(errno_of(&error)))?;
                said.extend_from_slice(buffer.get(..length).unwrap_or_default());
            }
        }
    }
    match serde_json::from_slice(&said) {
        Ok(wire::Answer::Done(done)) => {
            wire::send_all(&ours, &[GO]).map_err(failed)?;
            Ok(done.as_u64().unwrap_or_default())
        }
        Ok(wire::Answer::Refused(refusal)) => {
            // Gone when this is told, with all that it had made.
            drop(ours);
            wait_for_end(&keeper)?;
            Err(refusal.into_error())
        }
        Err(_) => Err(failed(Errno::EPROTO)),
    }
}

/// In the keeper: make the lab, say so, and wait for the word to keep it.
fn keep(
    file: &Path,
    topology: Topology,
    directory: &Path,
    starter: &UnixStream,
) -> Option<(Live, UnixListener)> {
    let made = make(file, topology, directory);
    let said = match &made {
        Ok((_, _, done)) => wire::Answer::Done(json!(done)),
        Err(error) => wire::Answer::Refused(error.into()),
    };
    let mut text = serde_json::to_vec(&said).unwrap_or_default();
    text.push(b'\n');
    let told = wire::send_all(starter, &text).is_ok();
    let mut word = [0];
    let mut starter = starter;
    // Whoever asked for it and is gone by now does not know of it.
    let wanted = told && matches!(starter.read(&mut word), Ok(1)) && word == [GO];
    match made {
        Ok((live, listener, _)) if wanted => Some((live, listener)),
        _ => None,
    }
}

fn make(file: &Path, topology: Topology, directory: &Path) -> Result<(Live, UnixListener, usize)> {
    let failed = |action: &'static str| move |errno| Error::host(action, "the lab's keeper", errno);
    // A terminal's signals and a caller's pipes are not the lab's.
    process::leave_caller().map_err(failed("part the caller from"))?;
    parent::swap_signal_mask(0).map_err(failed("unblock signals for"))?;
    let _ = parent::raise_descriptor_limit();
    make_private(directory)?;
    let record = Record::new(directory.to_owned());
    let mut live = Live::new(file, topology.clone(), record, Some(directory.to_owned()))?;
    let done = live.become_topology(file, topology)?;
    let path = directory.join(SOCKET);
    let listener = UnixListener::bind(&path)
        .and_then(|listener| {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
            Ok(listener)
        })
        .map_err(|error| Error::host("listen on", path.display().to_string(), errno_of(&error)))?;
    Ok((live, listener, done))
}

/// Answer requests until one says that it is enough.
fn serve(mut live: Live, listener: &UnixListener) -> u8 {
    loop {
        // Reaps those that have ended.
        live.commands();
        let mut watched = vec![PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
        watched.extend(
            live.running()
                .map(|pidfd| PollFd::new(pidfd, PollFlags::POLLIN)),
        );
        match poll(&mut watched, PollTimeout::NONE) {
            Err(Errno::EINTR) => continue,
            Err(_) => return crate::exit::LAUNCHER_FAILED,
            Ok(_) => {}
        }
        let asked = watched
            .first()
            .and_then(PollFd::any)
            .is_some_and(|asked| asked);
        drop(watched);
        if !asked {
            continue;
        }
        let Ok((stream, _)) = listener.accept() else {
            continue;
        };
        if !is_allowed(&stream) {
            continue;
        }
        let Some(request) = wire::read_request(&stream) else {
            continue;
        };
        let is_last = matches!(request, Request::Down);
        let result = handle(&mut live, request);
        wire::answer(&stream, &result);
        if is_last {
            return 0;
        }
    }
}

/// The directory is this user's alone already.
fn is_allowed(stream: &UnixStream) -> bool {
    getsockopt(stream, sockopt::PeerCredentials)
        .is_ok_and(|peer| peer.uid() == 0 || peer.uid() == geteuid().as_raw())
}

fn handle(live: &mut Live, request: Request) -> Result<(Json, Option<OwnedFd>)> {
    let value = match request {
        Request::Up { file, text } => {
            let topology = Topology::parse(&file, &text)?;
            json!(live.become_topology(&file, topology)?)
        }
        Request::Down => {
            live.clear();
            Json::Null
        }
        Request::Status => status::of(live)?,
        Request::Join { node } => {
            let Some(namespace) = live.topology().node(&node).and(live.namespace(&node)) else {
                let known = live.topology().nodes.iter().map(|node| node.name.as_str());
                let advice = spec::advice(&node, known);
                return Err(Error::usage(
                    format!("node \"{}\"", node.escape_debug()),
                    format!("the lab has no such node{advice}"),
                ));
            };
            let copy = namespace.as_fd().try_clone_to_owned();
            let copy =
                copy.map_err(|error| Error::host("share", node.clone(), errno_of(&error)))?;
            return Ok((json!(live.files_of(&node)), Some(copy)));
        }
        Request::Check { wait } => {
            let matrix = check::check(live, wait)?;
            json!({ "matrix": matrix.json(), "text": matrix.text() })
        }
        Request::Partition { parts } => json!(live.partition(&parts)?),
        Request::Link { end, up } => json!(live.plug(&end, up)?),
        Request::Heal => json!(live.heal()?),
    };
    Ok((value, None))
}
