//! What the attempts aim at: set up outside before the sandbox, described to the inside, and taken
//! down afterwards.
//!
//! Runs in the process of `sandbox selftest`, with the rights of whoever started it. Everything here
//! belongs to that user, answers with a token that nobody else knows, listens on this machine only,
//! and is removed when the [`Stage`] is dropped.

use std::ffi::CString;
use std::fs::{self, File, Metadata};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{SocketAddr as UnixAddr, UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::errno::Errno;
use nix::sys::socket as net;
use nix::unistd::{AccessFlags, access, geteuid};
use serde::{Deserialize, Serialize};

use super::processes::c_string;
use crate::error::{Error, Result};
use crate::sys::attempt as sys;

/// What stands in the victim's memory.
pub(crate) const VICTIM_SECRET: &[u8; 16] = b"the-victims-word";

/// How every token begins, also that of another selftest that runs at the same time.
const TOKEN_PREFIX: &str = "sandbox-selftest-";

/// Variables that name sockets, proxies and agents.
const VARIABLES: &[&str] = &[
    "SSH_AUTH_SOCK",
    "GPG_AGENT_INFO",
    "DBUS_SESSION_BUS_ADDRESS",
    "XDG_RUNTIME_DIR",
    "DISPLAY",
    "WAYLAND_DISPLAY",
    "DOCKER_HOST",
    "NOTIFY_SOCKET",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
];

/// Programs that are usually set-user-ID, and wait for input.
const SET_USER_ID: &[&str] = &["/usr/bin/su", "/bin/su", "/usr/bin/chfn", "/usr/bin/passwd"];

/// Where the attempts are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Place {
    /// In the sandbox.
    Inside,
    /// Outside, to show that they can succeed.
    Control,
}

/// A descriptor that the launcher has open without close-on-exec.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Inherited {
    /// Its number in the launcher.
    pub(crate) number: RawFd,
    device: u64,
    inode: u64,
}

impl Inherited {
    fn of(descriptor: &OwnedFd) -> std::result::Result<Self, Errno> {
        let found = nix::sys::stat::fstat(descriptor)?;
        Ok(Self {
            number: descriptor.as_raw_fd(),
            device: found.st_dev,
            inode: found.st_ino,
        })
    }

    /// Whether `found` is this file.
    pub(crate) fn is(&self, found: &Metadata) -> bool {
        (found.dev(), found.ino()) == (self.device, self.inode)
    }
}

/// The descriptors that the launcher has open without close-on-exec.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct InheritedSet {
    /// The root directory.
    pub(crate) directory: Inherited,
    /// A socket of the host's network namespace.
    pub(crate) socket: Inherited,
    /// The host's network namespace itself.
    pub(crate) namespace: Inherited,
}

/// A program that changes its user.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SetUserId {
    /// Where it is.
    pub(crate) path: PathBuf,
    /// What makes it wait.
    pub(crate) arguments: Vec<String>,
}

/// What the attempts aim at, as the inside is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Outside {
    /// Where the attempts are made.
    pub(crate) place: Place,
    /// What every server outside answers; also the abstract socket's name and the keys'.
    pub(crate) token: String,
    /// Ports of the host's servers; `None` where the host lacks the protocol.
    pub(crate) tcp4: Option<u16>,
    /// On `::1`.
    pub(crate) tcp6: Option<u16>,
    /// On an interface's own address, reachable from this machine only.
    pub(crate) interface: Option<SocketAddr>,
    /// Datagrams.
    pub(crate) udp4: Option<u16>,
    /// The host's interfaces, without `lo`.
    pub(crate) interfaces: Vec<String>,
    /// Unix sockets by path.
    pub(crate) socket_in_tmp: Option<PathBuf>,
    /// The same elsewhere.
    pub(crate) socket_elsewhere: Option<PathBuf>,
    /// The same below `/run`.
    pub(crate) socket_in_run: Option<PathBuf>,
    /// A datagram socket.
    pub(crate) datagram_socket: Option<PathBuf>,
    /// Sockets of services that this user may connect to.
    pub(crate) services: Vec<PathBuf>,
    /// Descriptors left open.
    pub(crate) inherited: InheritedSet,
    /// Variables that are set and name sockets or proxies.
    pub(crate) variables: Vec<String>,
    /// A process of the same user.
    pub(crate) victim: i32,
    /// Where [`VICTIM_SECRET`] stands in it.
    pub(crate) victim_secret: usize,
    /// A byte of it that may be overwritten.
    pub(crate) victim_scratch: usize,
    /// The launcher.
    pub(crate) launcher: i32,
    /// The inode of the process namespace outside.
    pub(crate) pid_namespace: u64,
    /// The inode of the network namespace outside.
    pub(crate) network_namespace: u64,
    /// The names in `/run/netns`.
    pub(crate) named_namespaces: Vec<String>,
    /// `/proc/self/cgroup`.
    pub(crate) cgroup: String,
    /// The key of all System V objects.
    pub(crate) ipc_key: i32,
    /// The segment's number.
    pub(crate) shared_memory: i32,
    /// A file in `/dev/shm`.
    pub(crate) shared_file: Option<PathBuf>,
    /// A key in the session keyring.
    pub(crate) session_key: Option<i32>,
    /// The handle of the root directory.
    pub(crate) handle: Option<sys::Handle>,
    /// A file on the same file system.
    pub(crate) handle_mount: PathBuf,
    /// A program that changes its user.
    pub(crate) set_user_id: Option<SetUserId>,
    /// Nodes of the host's disks.
    pub(crate) disks: Vec<String>,
    /// Descriptors above 2 that the attempts found open when they started; filled in there.
    #[serde(default)]
    pub(crate) surplus: Vec<RawFd>,
}

impl Outside {
    /// The name of the POSIX queue.
    pub(crate) fn queue(&self) -> CString {
        c_string(&format!("/{}", self.token))
    }
}

/// The servers, which begin to answer with [`Stage::serve`].
#[derive(Debug, Default)]
struct Servers {
    tcp: Vec<TcpListener>,
    udp: Option<UdpSocket>,
    unix: Vec<UnixListener>,
}

/// Everything that is set up outside, for as long as this value lives.
#[derive(Debug)]
pub(crate) struct Stage {
    /// As the inside is told.
    pub(crate) outside: Outside,
    /// This program's file.
    pub(crate) program: PathBuf,
    servers: Servers,
    victim: Child,
    paths: Vec<PathBuf>,
    directories: Vec<PathBuf>,
    user_key: Option<i32>,
    /// Kept open, so that the launcher has them.
    _left_open: Vec<OwnedFd>,
    _datagram: Option<UnixDatagram>,
}

fn cannot(action: &'static str) -> impl Fn(Errno) -> Error {
    move |errno| Error::host(action, "", errno)
}

fn io(action: &'static str) -> impl Fn(std::io::Error) -> Error {
    move |error| {
        let errno = error.raw_os_error().map_or(Errno::EIO, Errno::from_raw);
        Error::host(action, "", errno)
    }
}

impl Stage {
    /// Set everything up, without starting a thread.
    ///
    /// # Errors
    /// When what every host gives is refused here: a process, a socket on 127.0.0.1, a descriptor.
    pub(crate) fn set_up(program: &Path) -> Result<Self> {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let token = format!("{TOKEN_PREFIX}{}-{}", std::process::id(), now.as_nanos());
        let ipc_key = i32::try_from(now.subsec_nanos()).unwrap_or(1) | 1;
        let mut servers = Servers::default();

        let tcp4 =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(io("listen on 127.0.0.1"))?;
        let port = |listener: &TcpListener| listener.local_addr().ok().map(|at| at.port());
        let tcp4_port = port(&tcp4);
        servers.tcp.push(tcp4);
        let tcp6 = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).ok();
        let tcp6_port = tcp6.as_ref().and_then(port);
        servers.tcp.extend(tcp6);
        let at_interface = listen_at_interface();
        let interface = at_interface
            .as_ref()
            .and_then(|listener| listener.local_addr().ok());
        servers.tcp.extend(at_interface);
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).ok();
        let udp4 = udp
            .as_ref()
            .and_then(|socket| socket.local_addr().ok())
            .map(|at| at.port());
        servers.udp = udp;

        let abstract_address = UnixAddr::from_abstract_name(&token).map_err(io("name a socket"))?;
        servers
            .unix
            .push(UnixListener::bind_addr(&abstract_address).map_err(io("listen"))?);
        let mut paths = Vec::new();
        let mut directories = Vec::new();
        let mut listen_in = |parent: &Path| {
            let directory = parent.join(&token);
            fs::DirBuilder::new().mode(0o700).create(&directory).ok()?;
            directories.push(directory.clone());
            let path = directory.join("socket");
            servers.unix.push(UnixListener::bind(&path).ok()?);
            paths.push(path.clone());
            Some(path)
        };
        let socket_in_tmp = listen_in(Path::new("/tmp"));
        let socket_elsewhere = listen_in(Path::new("/var/tmp"));
        let socket_in_run = listen_in(&run_directory());
        let datagram_path = socket_in_tmp
            .as_ref()
            .map(|path| path.with_file_name("datagrams"));
        let datagram = datagram_path
            .as_ref()
            .and_then(|path| UnixDatagram::bind(path).ok());
        paths.extend(datagram_path.clone());
        let set_user_id = set_user_id(program, socket_elsewhere.as_deref());
        if let Some(copy) = set_user_id
            .as_ref()
            .filter(|found| directories.iter().any(|made| found.path.starts_with(made)))
        {
            paths.push(copy.path.clone());
        }

        let (inherited, left_open) = leave_open().map_err(cannot("open a descriptor"))?;
        let shared_file = Path::new("/dev/shm").join(&token);
        let shared_file = fs::write(&shared_file, &token)
            .is_ok()
            .then_some(shared_file);
        paths.extend(shared_file.clone());
        let (session_key, user_key) = add_keys(&token);
        let shared_memory =
            sys::make_shared_memory(ipc_key).map_err(cannot("make shared memory"))?;
        // Where they cannot be made, the attempt finds nothing outside either, and its control says so.
        let _ = sys::make_semaphore(ipc_key);
        let _ = sys::make_message_queue(ipc_key);
        let _ = sys::open_queue(&c_string(&format!("/{token}")), sys::QueueAccess::Create);

        let (victim, [victim_secret, victim_scratch]) = start_victim(program)?;
        let inode = |path: &str| fs::metadata(path).map_or(0, |found| found.ino());
        let outside = Outside {
            place: Place::Control,
            tcp4: tcp4_port,
            tcp6: tcp6_port,
            interface,
            udp4,
            interfaces: interfaces(),
            socket_in_tmp,
            socket_elsewhere,
            socket_in_run,
            datagram_socket: datagram.is_some().then_some(datagram_path).flatten(),
            services: services(),
            inherited,
            variables: set_variables(),
            victim: i32::try_from(victim.id()).unwrap_or(0),
            victim_secret,
            victim_scratch,
            launcher: std::process::id().cast_signed(),
            pid_namespace: inode("/proc/self/ns/pid"),
            network_namespace: inode("/proc/self/ns/net"),
            named_namespaces: names_in("/run/netns"),
            cgroup: fs::read_to_string("/proc/self/cgroup").unwrap_or_default(),
            ipc_key,
            shared_memory,
            shared_file,
            session_key,
            handle: sys::file_handle(c"/etc/passwd").ok(),
            handle_mount: PathBuf::from("/etc"),
            set_user_id,
            disks: disks(),
            surplus: Vec::new(),
            token,
        };
        Ok(Self {
            outside,
            program: program.to_owned(),
            servers,
            victim,
            paths,
            directories,
            user_key,
            _left_open: left_open,
            _datagram: datagram,
        })
    }

    /// Start to answer, each server on a thread that lasts until the process ends.
    pub(crate) fn serve(&mut self) {
        let servers = std::mem::take(&mut self.servers);
        for listener in servers.tcp {
            let token = self.outside.token.clone();
            std::thread::spawn(move || {
                for mut stream in listener.incoming().flatten() {
                    let ends = (stream.peer_addr(), stream.local_addr());
                    if let (Ok(from), Ok(to)) = ends
                        && from.ip() == to.ip()
                    {
                        // A caller that has gone is its own affair.
                        let _ = stream.write_all(token.as_bytes());
                    }
                }
            });
        }
        for listener in servers.unix {
            let token = self.outside.token.clone();
            std::thread::spawn(move || {
                for mut stream in listener.incoming().flatten() {
                    let _ = stream.write_all(token.as_bytes());
                    // Take what an accomplice is sent; whoever only connects has hung up by then.
                    let _ = stream.set_read_timeout(Some(Duration::from_millis(500)));
                    let _ = stream.read(&mut [0_u8; 1]);
                }
            });
        }
        if let Some(socket) = servers.udp {
            let token = self.outside.token.clone();
            std::thread::spawn(move || {
                let mut question = [0_u8; 16];
                while let Ok((_, from)) = socket.recv_from(&mut question) {
                    let _ = socket.send_to(token.as_bytes(), from);
                }
            });
        }
    }

    /// What the attempts are told, as JSON.
    pub(crate) fn described(&self, place: Place) -> String {
        let outside = Outside {
            place,
            ..self.outside.clone()
        };
        serde_json::to_string(&outside).expect("plain values can be written as JSON")
    }
}

impl Drop for Stage {
    /// Take everything down; what is gone already is no loss.
    fn drop(&mut self) {
        let _ = self.victim.kill();
        let _ = self.victim.wait();
        for path in &self.paths {
            let _ = fs::remove_file(path);
        }
        for directory in &self.directories {
            let _ = fs::remove_dir(directory);
        }
        let _ = sys::remove_queue(&self.outside.queue());
        let _ = sys::remove_shared_memory(self.outside.shared_memory);
        let _ = sys::find_semaphore(self.outside.ipc_key).and_then(sys::remove_semaphore);
        let _ = sys::find_message_queue(self.outside.ipc_key).and_then(sys::remove_message_queue);
        if let Some(serial) = self.outside.session_key {
            let _ = sys::unlink_key(serial, sys::SESSION_KEYRING);
        }
        if let Some(serial) = self.user_key {
            let _ = sys::unlink_key(serial, sys::USER_KEYRING);
        }
    }
}

/// A listener on the address of an interface besides `lo`. It answers this machine only: whoever
/// calls from here has the same address.
fn listen_at_interface() -> Option<TcpListener> {
    let address = nix::ifaddrs::getifaddrs()
        .ok()?
        .filter(|found| found.interface_name != "lo")
        .find_map(|found| Some(found.address?.as_sockaddr_in()?.ip()))?;
    TcpListener::bind((address, 0)).ok()
}

fn interfaces() -> Vec<String> {
    names_in("/sys/class/net")
        .into_iter()
        .filter(|name| name != "lo")
        .collect()
}

fn names_in(directory: &str) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

/// `/run` itself for root, else the user's run-time directory.
fn run_directory() -> PathBuf {
    if geteuid().is_root() {
        return PathBuf::from("/run");
    }
    PathBuf::from(format!("/run/user/{}", geteuid()))
}

/// The listening path sockets that this user may connect to (`/proc/net/unix`, proc_net(5)).
fn services() -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/net/unix").unwrap_or_default();
    let listening = table.lines().filter_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let path = fields
            .get(7)
            .filter(|path| path.starts_with('/') && !path.contains(TOKEN_PREFIX))?;
        // __SO_ACCEPTCON: it listens.
        (fields.get(3) == Some(&"00010000")).then(|| PathBuf::from(path))
    });
    let mut found: Vec<_> = listening
        .filter(|path| access(path, AccessFlags::W_OK).is_ok())
        .collect();
    found.sort();
    found.dedup();
    found.truncate(64);
    found
}

fn set_variables() -> Vec<String> {
    let set = VARIABLES
        .iter()
        .filter(|name| std::env::var_os(name).is_some());
    set.map(|&name| name.to_owned()).collect()
}

fn disks() -> Vec<String> {
    let entries = fs::read_dir("/dev").into_iter().flatten().flatten();
    let blocks = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_block_device()));
    blocks
        .map(|entry| entry.path().display().to_string())
        .take(8)
        .collect()
}

/// The descriptors that a careless launcher would hand on.
fn leave_open() -> std::result::Result<(InheritedSet, Vec<OwnedFd>), Errno> {
    let file = |path: &str| {
        File::open(path).map_err(|error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))
    };
    // The duplicate of a descriptor is not close-on-exec (dup(2)).
    let directory = nix::unistd::dup(file("/")?)?;
    let namespace = nix::unistd::dup(file("/proc/self/ns/net")?)?;
    let socket = net::socket(
        net::AddressFamily::Inet,
        net::SockType::Datagram,
        net::SockFlag::empty(),
        None,
    )?;
    let set = InheritedSet {
        directory: Inherited::of(&directory)?,
        socket: Inherited::of(&socket)?,
        namespace: Inherited::of(&namespace)?,
    };
    Ok((set, vec![directory, namespace, socket]))
}

/// One key in the session keyring, one in the user's, both readable by their user.
fn add_keys(token: &str) -> (Option<i32>, Option<i32>) {
    // Possessor and user: everything (keyctl_setperm(3)).
    const OURS: u32 = 0x3f3f_0000;
    let add = |keyring: i32, name: &str| {
        let serial = sys::add_key(&c_string(name), token.as_bytes(), keyring).ok()?;
        // Without it the key is readable by its possessor only, and a control may fail.
        let _ = sys::set_key_permissions(serial, OURS);
        Some(serial)
    };
    (
        add(sys::SESSION_KEYRING, token),
        add(sys::USER_KEYRING, &format!("{token}-user")),
    )
}

/// For root a copy of this program that changes to nobody; for others one of the system's.
fn set_user_id(program: &Path, beside: Option<&Path>) -> Option<SetUserId> {
    const NOBODY: u32 = 65534;
    if geteuid().is_root() {
        let path = beside?.with_file_name("set-user-id");
        fs::copy(program, &path).ok()?;
        std::os::unix::fs::chown(&path, Some(NOBODY), None).ok()?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o4755)).ok()?;
        return Some(SetUserId {
            path,
            arguments: vec!["__victim".into()],
        });
    }
    let path = SET_USER_ID.iter().map(PathBuf::from).find(|path| {
        fs::metadata(path).is_ok_and(|found| found.mode() & 0o4000 != 0 && found.uid() == 0)
    })?;
    Some(SetUserId {
        path,
        arguments: Vec::new(),
    })
}

/// A process of this user that waits for its end, and where its secret stands.
fn start_victim(program: &Path) -> Result<(Child, [usize; 2])> {
    let mut victim = Command::new(program)
        .arg("__victim")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(io("start a process"))?;
    let mut line = String::new();
    if let Some(output) = victim.stdout.take() {
        BufReader::new(output)
            .read_line(&mut line)
            .map_err(io("read from a process"))?;
    }
    let mut numbers = line
        .split_whitespace()
        .map(|word| word.parse().unwrap_or(0));
    let addresses = [numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)];
    Ok((victim, addresses))
}

/// The victim's own part: say where the secret stands, and wait for the end of standard input.
pub(crate) fn be_victim() -> u8 {
    static SECRET: [u8; 16] = *VICTIM_SECRET;
    static SCRATCH: std::sync::atomic::AtomicU8 = std::sync::atomic::AtomicU8::new(0);
    let scratch = (&raw const SCRATCH).addr();
    let mut output = std::io::stdout();
    let told =
        writeln!(output, "{} {scratch}", (&raw const SECRET).addr()).and_then(|()| output.flush());
    if told.is_err() {
        return 1;
    }
    // Whatever is written to it, only its end counts.
    let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
    let _ = SCRATCH.load(std::sync::atomic::Ordering::Relaxed);
    0
}

/// The host's view of one thing left behind: a process whose command line names the token.
pub(crate) fn survivors(token: &str) -> Vec<i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let own = std::process::id().cast_signed();
    numbers
        .filter(|&pid| pid != own)
        .filter(|pid| {
            fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| {
                line.windows(token.len())
                    .any(|word| word == token.as_bytes())
            })
        })
        .collect()
}
