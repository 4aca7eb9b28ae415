//! What must keep working: a sandbox that breaks programs is switched off.
//!
//! Each body runs outside first and then, unchanged, under `sandbox --` with the default policy, as
//! root and as an ordinary user.

mod support;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{IoSlice, IoSliceMut, Read, Seek, Write};
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::EventFd;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::ptrace;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::SignalFd;
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, getsockopt,
    recvmsg, sendmsg, setsockopt, socketpair, sockopt,
};
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use nix::unistd::Pid;
use support::{each_user, have, inside, skip, success, text};

/// Tests that run the same body outside and inside.
macro_rules! keeps_working {
    ($($claim:ident $body:block)*) => {
        $(
            #[test]
            fn $claim() {
                inside(stringify!($claim), &[], || $body);
            }
        )*
    };
}

keeps_working! {
    threads_run_and_wait_for_each_other {
        let pair = Arc::new((Mutex::new(0), Condvar::new()));
        let threads: Vec<_> = (0..16)
            .map(|_| {
                let pair = Arc::clone(&pair);
                std::thread::spawn(move || {
                    *pair.0.lock().unwrap() += 1;
                    pair.1.notify_all();
                })
            })
            .collect();
        let mut count = pair.0.lock().unwrap();
        while *count < 16 {
            count = pair.1.wait(count).unwrap();
        }
        drop(count);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    }

    programs_are_forked_executed_and_waited_for {
        let status = Command::new("/bin/sh").args(["-c", "(exit 3) | (exit 7)"]).status().unwrap();
        assert_eq!(status.code(), Some(7));
    }

    pipes_carry_bytes_between_programs {
        let output = Command::new("/bin/sh").args(["-c", "echo one two | tr a-z A-Z"]).output().unwrap();
        assert_eq!(text(&output.stdout), "ONE TWO");
    }

    socket_pairs_take_options_and_pass_descriptors {
        let (near, far) = socketpair(
            AddressFamily::Unix,
            SockType::SeqPacket,
            None,
            SockFlag::SOCK_CLOEXEC,
        )
        .unwrap();
        setsockopt(&near, sockopt::SndBuf, &65_536).unwrap();
        setsockopt(&far, sockopt::PassCred, &true).unwrap();
        assert!(getsockopt(&far, sockopt::PassCred).unwrap());
        let passed = [near.as_raw_fd()];
        let message = [ControlMessage::ScmRights(&passed)];
        let flags = MsgFlags::empty();
        sendmsg::<()>(near.as_raw_fd(), &[IoSlice::new(b"x")], &message, flags, None).unwrap();
        let mut byte = [0];
        let mut room = nix::cmsg_space!([std::os::fd::RawFd; 2], libc::ucred);
        let mut parts = [IoSliceMut::new(&mut byte)];
        let got = recvmsg::<()>(far.as_raw_fd(), &mut parts, Some(&mut room), flags).unwrap();
        let descriptors = got
            .cmsgs()
            .unwrap()
            .filter(|message| matches!(message, ControlMessageOwned::ScmRights(_)));
        assert_eq!(descriptors.count(), 1);
    }

    unix_sockets_work_in_a_directory_of_ones_own {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let mut client = UnixStream::connect(&path).unwrap();
        client.write_all(b"hello").unwrap();
        drop(client);
        let mut heard = String::new();
        listener.accept().unwrap().0.read_to_string(&mut heard).unwrap();
        assert_eq!(heard, "hello");
    }

    loopback_servers_answer_over_ipv4 {
        served(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
        served(TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap());
    }

    loopback_servers_answer_over_ipv6_where_the_host_has_it {
        if let Ok(listener) = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)) {
            served(listener);
        } else {
            let disabled = fs::read_to_string("/proc/sys/net/ipv6/conf/lo/disable_ipv6");
            assert_ne!(disabled.unwrap_or_default().trim(), "0", "::1 is there, but not usable");
        }
    }

    loopback_datagrams_arrive {
        let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        client.send_to(b"hello", server.local_addr().unwrap()).unwrap();
        let mut heard = [0; 8];
        assert_eq!(server.recv(&mut heard).unwrap(), 5);
    }

    low_ports_can_be_bound_where_the_kernel_lets_anyone {
        let first = fs::read_to_string(PORT_START).unwrap();
        if first.trim().parse::<u16>().unwrap() <= 81 {
            served(TcpListener::bind((Ipv4Addr::LOCALHOST, 81)).unwrap());
        }
    }

    timers_fire {
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::empty()).unwrap();
        let soon = Expiration::OneShot(nix::sys::time::TimeSpec::from_duration(Duration::from_millis(5)));
        let start = Instant::now();
        timer.set(soon, TimerSetTimeFlags::empty()).unwrap();
        timer.wait().unwrap();
        assert!(start.elapsed() >= Duration::from_millis(5));
    }

    signals_reach_ones_own_processes {
        let mut child = Command::new("/bin/sleep").arg("60").spawn().unwrap();
        kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM).unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGTERM));
    }

    a_process_group_can_be_signalled {
        let mut child = Command::new("/bin/sleep").arg("60").process_group(0).spawn().unwrap();
        kill(Pid::from_raw(-child.id().cast_signed()), Signal::SIGUSR1).unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGUSR1));
    }

    debuggers_trace_their_own_children {
        let mut child = Command::new("/bin/sleep").arg("60").spawn().unwrap();
        ptrace::seize(Pid::from_raw(child.id().cast_signed()), ptrace::Options::empty()).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    memory_files_are_written_and_read {
        let mut file = File::from(memfd_create(c"test", MFdFlags::MFD_CLOEXEC).unwrap());
        file.write_all(b"hello").unwrap();
        file.rewind().unwrap();
        let mut heard = String::new();
        file.read_to_string(&mut heard).unwrap();
        assert_eq!(heard, "hello");
    }

    file_changes_are_noticed {
        let directory = tempfile::tempdir().unwrap();
        let watch = Inotify::init(InitFlags::IN_CLOEXEC).unwrap();
        watch.add_watch(directory.path(), AddWatchFlags::IN_CREATE).unwrap();
        fs::write(directory.path().join("new"), "x").unwrap();
        let events = watch.read_events().unwrap();
        assert_eq!(events[0].name.as_deref(), Some(OsStr::new("new")));
    }

    epoll_and_eventfd_wake_a_waiter {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap();
        let event = EventFd::new().unwrap();
        epoll.add(&event, EpollEvent::new(EpollFlags::EPOLLIN, 7)).unwrap();
        event.write(1).unwrap();
        let mut ready = [EpollEvent::empty()];
        assert_eq!(epoll.wait(&mut ready, EpollTimeout::NONE).unwrap(), 1);
        assert_eq!(ready[0].data(), 7);
    }

    signals_can_be_read_from_a_descriptor {
        let mut set = SigSet::empty();
        set.add(Signal::SIGUSR2);
        set.thread_block().unwrap();
        let signals = SignalFd::new(&set).unwrap();
        nix::sys::signal::raise(Signal::SIGUSR2).unwrap();
        let got = signals.read_signal().unwrap().unwrap();
        assert_eq!(got.ssi_signo, libc::SIGUSR2.cast_unsigned());
    }

    random_numbers_are_random {
        let mut first = [0; 16];
        let mut second = [0; 16];
        File::open("/dev/urandom").unwrap().read_exact(&mut first).unwrap();
        File::open("/dev/random").unwrap().read_exact(&mut second).unwrap();
        assert_ne!(first, second);
        // A map's seed comes from getrandom(2).
        assert!(std::collections::HashMap::from([(1, 2)]).contains_key(&1));
    }

    harmless_devices_are_there {
        for name in ["null", "zero", "full", "random", "urandom"] {
            File::open(format!("/dev/{name}")).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        File::options().write(true).open("/dev/null").unwrap().write_all(b"x").unwrap();
        for name in ["fd", "stdin", "stdout", "stderr"] {
            fs::symlink_metadata(format!("/dev/{name}")).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        fs::read_dir("/dev/shm").unwrap();
    }

    terminals_can_be_made {
        let terminal = nix::pty::openpty(None, None).unwrap();
        let child = Command::new("tty").stdin(Stdio::from(terminal.slave)).output().unwrap();
        assert!(text(&child.stdout).starts_with("/dev/pts/"), "{}", text(&child.stdout));
    }

    processor_affinity_can_be_read_and_set {
        let set = nix::sched::sched_getaffinity(Pid::from_raw(0)).unwrap();
        nix::sched::sched_setaffinity(Pid::from_raw(0), &set).unwrap();
    }

    files_are_examined_copied_and_removed {
        let directory = tempfile::tempdir().unwrap();
        let (from, to) = (directory.path().join("from"), directory.path().join("to"));
        fs::write(&from, vec![7; 100_000]).unwrap();
        // statx(2) for the time of birth, copy_file_range(2) for the copy.
        let _ = fs::metadata(&from).unwrap().created();
        assert_eq!(fs::copy(&from, &to).unwrap(), 100_000);
        assert_eq!(fs::read(&to).unwrap().len(), 100_000);
    }

    big_environments_and_argument_lists_pass {
        let value = "v".repeat(100_000);
        let words: Vec<_> = (0..8).map(|_| "a".repeat(100_000)).collect();
        let output = Command::new("/bin/sh")
            .args(["-c", "echo ${#BIG} $#", "sh"])
            .args(&words)
            .env("BIG", &value)
            .output()
            .unwrap();
        assert_eq!(text(&output.stdout), "100000 8");
    }

    standard_input_output_and_error_are_the_callers {
        let output = Command::new("/bin/sh").args(["-c", "cat; echo err >&2"]).output().unwrap();
        assert_eq!(text(&output.stderr), "err");
    }

    proc_shows_ones_own_processes {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        assert!(status.contains(&format!("Pid:\t{}", std::process::id())));
        assert!(fs::read_link("/proc/self/exe").is_ok());
        assert!(fs::read_dir("/proc/self/fd").unwrap().count() >= 3);
        assert!(fs::read_to_string("/proc/cpuinfo").is_ok());
        assert!(fs::read_to_string("/proc/meminfo").is_ok());
    }

    the_loopback_interface_is_up_and_listed {
        let names: Vec<_> = nix::ifaddrs::getifaddrs().unwrap().map(|found| found.interface_name).collect();
        assert!(names.contains(&"lo".to_owned()), "{names:?}");
    }
}

/// Connect to `listener` at its port on loopback, and hear what it says.
#[track_caller]
fn served(listener: TcpListener) {
    let address = listener.local_addr().expect("it is bound");
    let server = std::thread::spawn(move || listener.accept()?.0.write_all(b"hello"));
    let mut heard = String::new();
    TcpStream::connect(address)
        .and_then(|mut stream| stream.read_to_string(&mut heard))
        .expect("its server answers");
    assert_eq!(heard, "hello");
    server.join().expect("no panic").expect("a client came");
}

/// A script prints the same in the sandbox as outside.
#[track_caller]
fn same_inside(script: &str) {
    each_user(|user| {
        let outside = user
            .command("/bin/sh")
            .args(["-c", script])
            .output()
            .expect("a shell");
        let outside = success(user, &outside);
        let within = success(user, &user.output(&["--", "/bin/sh", "-c", script]));
        assert_eq!(within, outside, "as {}", user.name);
    });
}

#[test]
fn id_is_the_same() {
    same_inside("id -u; id -g; id -un");
}

#[test]
fn whoami_is_the_same() {
    same_inside("whoami");
}

#[test]
fn the_time_zone_and_the_locale_are_the_same() {
    same_inside("TZ=Asia/Tokyo date -d @0 +%H:%M; LC_ALL=C.UTF-8 locale charmap");
}

#[test]
fn the_working_directory_is_the_same() {
    same_inside("pwd");
}

#[test]
fn ps_lists_ones_own_processes_only() {
    if !have("ps") {
        return;
    }
    each_user(|user| {
        let listed = success(
            user,
            &user.output(&["--", "/bin/sh", "-c", "ps -e | wc -l"]),
        );
        let count: u32 = listed.trim().parse().expect("a number");
        assert!((2..=8).contains(&count), "as {}: {count} lines", user.name);
    });
}

#[test]
fn ip_addr_shows_lo_alone_and_up() {
    if !have("ip") {
        return;
    }
    each_user(|user| {
        let listed = success(user, &user.output(&["--", "/bin/sh", "-c", "ip -o addr"]));
        assert!(listed.contains("127.0.0.1/8"), "as {}: {listed}", user.name);
        assert!(
            listed.lines().all(|line| line.contains(": lo ")),
            "as {}: {listed}",
            user.name
        );
    });
}

#[test]
fn just_in_time_code_runs() {
    const SCRIPT: &str = "
import ctypes, mmap, platform
m = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
code = {'x86_64': b'\\xb8\\x2a\\0\\0\\0\\xc3', 'aarch64': b'\\x40\\x05\\x80\\x52\\xc0\\x03\\x5f\\xd6'}
m.write(code[platform.machine()])
at = ctypes.addressof(ctypes.c_char.from_buffer(m))
print(ctypes.CFUNCTYPE(ctypes.c_int)(at)())
";
    let python = "/usr/bin/python3";
    if !std::path::Path::new(python).exists() {
        return support::skip("just_in_time_code_runs", "no python3");
    }
    each_user(|user| {
        let printed = success(user, &user.output(&["--", python, "-c", SCRIPT]));
        assert_eq!(printed, "42", "as {}", user.name);
    });
}

#[test]
fn bytes_pass_through_the_sandbox_unchanged() {
    each_user(|user| {
        let mut child = user
            .sandbox(&["--", "/bin/cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary can be started");
        let bytes: Vec<u8> = (0..=255).cycle().take(300_000).collect();
        let mut input = child.stdin.take().expect("piped");
        let sent = bytes.clone();
        let writer = std::thread::spawn(move || input.write_all(&sent));
        let output = child.wait_with_output().expect("it ends");
        writer
            .join()
            .expect("no panic")
            .expect("it reads everything");
        assert!(
            output.status.success(),
            "as {}: {}",
            user.name,
            text(&output.stderr)
        );
        assert!(
            output.stdout == bytes,
            "as {}: {} bytes",
            user.name,
            output.stdout.len()
        );
    });
}

#[test]
fn a_descriptor_is_readable_through_dev_fd() {
    same_inside("echo hello | cat /dev/fd/0");
}

#[test]
fn a_passed_socket_can_be_used() {
    each_user(|user| {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback");
        let address = listener.local_addr().expect("bound");
        let client = TcpStream::connect(address).expect("it listens");
        let (mut server, _) = listener.accept().expect("connected");
        let mut launch = user.sandbox(&["--", "/bin/cat"]);
        let input = client.as_fd().try_clone_to_owned().expect("a duplicate");
        launch.stdin(Stdio::from(input)).stdout(Stdio::piped());
        let child = launch.spawn().expect("the binary can be started");
        server.write_all(b"hello").expect("it reads");
        drop(server);
        drop(client);
        let output = child.wait_with_output().expect("it ends");
        assert_eq!(success(user, &output), "hello");
    });
}

#[test]
fn a_socket_in_a_directory_that_is_replaced_does_not_stop_a_launch() {
    each_user(|user| {
        let folder = tempfile::tempdir_in("/dev/shm").expect("it is writable for all");
        let _socket = UnixListener::bind(folder.path().join("socket")).expect("a new name");
        let output = user.sandbox(&["--", "ls", "/dev/shm"]).output();
        let output = output.expect("the binary can be started");
        assert_eq!(success(user, &output), "");
    });
}

#[test]
fn sockets_of_the_host_that_come_and_go_do_not_stop_a_launch() {
    use std::sync::atomic::{AtomicBool, Ordering};
    each_user(|user| {
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let folder = tempfile::tempdir_in("/tmp").expect("it is writable for all");
                    for name in 0..16 {
                        let socket = UnixListener::bind(folder.path().join(name.to_string()));
                        drop(socket.expect("a new name"));
                    }
                    let _last = UnixListener::bind(folder.path().join("last")).expect("a new name");
                }
            });
            let outputs: Vec<_> = (0..40)
                .map(|_| user.sandbox(&["--", "true"]).output())
                .collect();
            over.store(true, Ordering::Relaxed);
            for output in outputs {
                success(user, &output.expect("the binary can be started"));
            }
        });
    });
}

const PORT_START: &str = "/proc/sys/net/ipv4/ip_unprivileged_port_start";

/// In the sandbox's own network, whose ports are nobody else's; that of another is as it was.
#[test]
fn a_low_port_needs_no_capability_in_a_network_of_ones_own_alone() {
    if !have("python3") {
        return skip("low ports", "python3 is not installed");
    }
    let script = "import errno, socket\n\
                  try: socket.create_server(('127.0.0.1', 80)); print('bound')\n\
                  except OSError as error: print(errno.errorcode[error.errno])";
    let before = fs::read_to_string(PORT_START).expect("the host has the setting");
    each_user(|user| {
        let bound = |options: &[&str]| {
            let words = [options, &["-q", "--", "python3", "-c", script]].concat();
            success(user, &user.output(&words)).trim().to_owned()
        };
        let own: [&[&str]; 4] = [
            &[],
            &["--as-pid-1"],
            &["--read-only", "/", "--proc", "host"],
            &["--share", "mount"],
        ];
        for options in own {
            assert_eq!(bound(options), "bound", "as {}: {options:?}", user.name);
        }
        if user.is_root() {
            assert_eq!(bound(&["--userns", "no"]), "bound");
        }
        assert_eq!(bound(&["--net", "none"]), "EACCES", "as {}", user.name);
        // Where the host lets anyone, this says nothing.
        if before.trim() == "1024" {
            assert_eq!(bound(&["--net", "host"]), "EACCES", "as {}", user.name);
        }
    });
    assert_eq!(fs::read_to_string(PORT_START).unwrap(), before);
}
