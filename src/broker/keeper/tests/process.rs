//! The keeper as a process: what it has of its broker, what ends it, what it does not wait for.

use super::*;

#[test]
fn a_keeper_that_is_killed_leaves_no_sandbox() {
    alone(|| {
        let mut keeper = keeper("read -r line; echo \"$line\"; exec sleep 1000");
        let spare_one = spare(&mut keeper, 1);
        let running = spare(&mut keeper, 2);
        let mut client = running.connected();
        client.write_all(b"up\n").unwrap();
        let mut line = [0; 3];
        client.read_exact(&mut line).unwrap();
        kill(Pid::from_raw(keeper.pid()), Signal::SIGKILL).unwrap();
        assert_eq!(spare_one.ended(), None, "killed, without a word");
        assert_eq!(running.ended(), None);
        readable(keeper.as_fd());
        assert!(keeper.receive().is_err(), "the broker learns of it");
    });
}

#[test]
fn a_keeper_whose_broker_is_gone_ends_with_all_its_sandboxes() {
    alone(|| {
        let mut keeper = keeper("exec sleep 1000");
        let spare = spare(&mut keeper, 1);
        let _client = launch(&mut keeper, 2);
        let running = Started::next(&mut keeper);
        let pid = keeper.pid();
        drop(keeper);
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
        readable(spare.pidfd.as_fd());
        readable(running.pidfd.as_fd());
    });
}

#[test]
fn a_keeper_has_nothing_of_its_brokers() {
    alone(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut keeper = keeper("echo ran");
        let waiting = spare(&mut keeper, 1);
        TcpStream::connect(address).expect("the control");
        drop(listener);
        let refused = TcpStream::connect(address).unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        drop(waiting);
    });
}

#[test]
fn signals_that_a_terminal_or_a_service_manager_sends_are_not_the_keepers() {
    alone(|| {
        let mut keeper = keeper("echo ran");
        let pid = Pid::from_raw(keeper.pid());
        for signal in [
            Signal::SIGINT,
            Signal::SIGTERM,
            Signal::SIGHUP,
            Signal::SIGQUIT,
            Signal::SIGPIPE,
        ] {
            kill(pid, signal).unwrap();
        }
        let waiting = spare(&mut keeper, 1);
        assert_eq!(all_of(waiting.connected()), "ran\n");
        assert_eq!(nix::unistd::getsid(Some(pid)), Ok(pid), "no terminal");
    });
}

#[test]
fn commands_have_the_signal_mask_of_the_brokers_caller() {
    alone(|| {
        let script = "exec grep -E '^(SigBlk|SigIgn)' /proc/self/status";
        let own = fs::read_to_string("/proc/thread-self/status").unwrap();
        let expected: Vec<_> = own
            .lines()
            .filter(|line| line.starts_with("SigBlk") || line.starts_with("SigIgn"))
            .collect();
        let mut keeper = keeper(script);
        let waiting = spare(&mut keeper, 1);
        assert_eq!(
            all_of(waiting.connected()).lines().collect::<Vec<_>>(),
            expected
        );
    });
}

#[test]
fn the_keeper_may_open_more_files_than_a_command() {
    use nix::sys::resource::setrlimit;
    alone(|| {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, 100, hard).unwrap();
        let load = || Policy::built_in("default");
        let request = shell("ulimit -Sn; ulimit -Hn");
        let mut keeper = Keeper::start(load, &request, Shape::Connection, &[]).unwrap();
        let waiting = spare(&mut keeper, 1);
        assert_eq!(all_of(waiting.connected()), format!("100\n{hard}\n"));
        let limits = fs::read_to_string(format!("/proc/{}/limits", keeper.pid())).unwrap();
        let line = limits
            .lines()
            .find(|line| line.starts_with("Max open files"));
        let words: Vec<_> = line.unwrap().split_whitespace().collect();
        let hard = hard.to_string();
        assert_eq!(words[3..5], [&*hard, &*hard]);
    });
}

#[test]
fn a_process_with_threads_has_no_keeper() {
    alone(|| {
        let (stop, wait) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || wait.recv());
        let error = Keeper::start(connection_policy, &shell("true"), Shape::Connection, &[]);
        assert!(error.is_err());
        drop(stop);
        let _ = thread.join().unwrap();
    });
}

#[test]
fn garbage_ends_the_keeper_and_every_sandbox() {
    alone(|| {
        let file = File::open("/etc/passwd").unwrap();
        let (_client, server, connection) = dialled();
        let launch = |token| {
            wire::Request::Launch {
                token,
                values: None,
            }
            .encode()
        };
        let with_values = wire::Request::Launch {
            token: token(2),
            values: Some(connection.encode()),
        };
        let with_values = with_values.encode();
        let table: [(&[u8], Vec<BorrowedFd<'_>>, &str); 10] = [
            (b"x", vec![], "no request"),
            (b"\x01/bin/sh -c evil", vec![], "no request"),
            (&[0xff; wire::LONGEST_REQUEST + 1], vec![], "too long"),
            (&launch(token(1)), vec![], "there is such a sandbox"),
            (
                &launch(token(2)),
                vec![server.as_fd()],
                "a connection without its values",
            ),
            (&with_values, vec![], "values without a connection"),
            (&with_values, vec![file.as_fd()], "a file"),
            (
                &with_values,
                vec![server.as_fd(), server.as_fd()],
                "two connections",
            ),
            (&with_values, vec![server.as_fd(); 20], "twenty"),
            (
                &wire::Request::Reload.encode(),
                vec![file.as_fd()],
                "a reload with a file",
            ),
        ];
        for (bytes, descriptors, why) in table {
            let mut keeper = keeper("exec sleep 1000");
            let spare = spare(&mut keeper, 1);
            packet::send(keeper.as_fd(), bytes, &descriptors).unwrap();
            readable(keeper.as_fd());
            assert!(keeper.receive().is_err(), "{why}");
            assert_eq!(spare.ended(), None, "{why}");
        }
        // The control: the same, but right.
        let mut keeper = keeper("exec sleep 1000");
        packet::send(keeper.as_fd(), &with_values, &[server.as_fd()]).unwrap();
        let _ = Started::next(&mut keeper);
    });
}

#[test]
fn requests_never_wait_however_many() {
    alone(|| {
        let mut keeper = keeper("echo done");
        let began = Instant::now();
        for number in 0..100 {
            keeper.launch(token(number), &[], None).unwrap();
        }
        // More than the socket has room for.
        for _ in 0..2000 {
            keeper.signal(token(5000), Signal::SIGTERM).unwrap();
        }
        assert!(keeper.has_unsent(), "or this proves nothing");
        assert!(began.elapsed() < Duration::from_millis(u64::from(LONG)));
        let mut seen: Vec<_> = (0..100).map(|_| Started::next(&mut keeper).token).collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..100).map(token).collect::<Vec<_>>());
        keeper.reload().unwrap();
        while keeper.has_unsent() {
            let mut watched = [PollFd::new(keeper.as_fd(), PollFlags::POLLOUT)];
            poll(&mut watched, PollTimeout::from(LONG)).unwrap();
            keeper.flush().unwrap();
        }
        assert!(matches!(answer(&mut keeper), Answer::Reloaded));
    });
}
