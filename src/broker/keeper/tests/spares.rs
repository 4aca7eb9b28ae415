//! Spares: sandboxes that wait for a connection, and what they take for one.

use std::os::unix::net::UnixStream;

use super::*;
use crate::broker::channel::UnixName;
use crate::broker::connection::Credentials;

#[test]
fn a_spare_answers_a_connection() {
    alone(|| {
        let mut keeper = keeper(GREET);
        let spare = spare(&mut keeper, 1);
        let mut client = spare.connected();
        client.write_all(b"hello\n").unwrap();
        let expected = format!("hello, {}\n", client.local_addr().unwrap());
        assert_eq!(all_of(client), expected);
        assert_eq!(spare.ended(), Some(Record::Ended(0)));
    });
}

#[test]
fn the_command_finds_its_connection_on_0_1_and_3_and_no_other_descriptor() {
    alone(|| {
        let script = "readlink /proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/3; \
            for fd in 0 1 2 3 4 5 6 7 8 9; do test -e /proc/$$/fd/$fd && echo -n \"$fd \"; done; \
            test $LISTEN_PID = $$ && echo \"$LISTEN_FDS $LISTEN_FDNAMES\"";
        let mut keeper = keeper(script);
        let spare = spare(&mut keeper, 1);
        let client = spare.connected();
        let said = all_of(client);
        let lines: Vec<_> = said.lines().collect();
        let [zero, one, three, rest] = lines[..] else {
            panic!("{said}");
        };
        assert!(
            zero.starts_with("socket:") && zero == one && one == three,
            "{said}"
        );
        assert_eq!(rest, "0 1 2 3 1 connection");
    });
}

#[test]
fn descriptors_of_the_request_follow_the_connection() {
    use crate::request::{Passed, Source};
    alone(|| {
        let directory = Directory::new();
        let file = directory.0.join("file");
        fs::write(&file, "passed\n").unwrap();
        let opened = File::open(&file).unwrap();
        let request = Request {
            descriptors: vec![Passed {
                source: Source::Inherited(opened.as_raw_fd()),
                name: "extra".to_owned(),
            }],
            ..shell("echo $LISTEN_FDNAMES; exec cat <&4")
        };
        let mut keeper =
            Keeper::start(connection_policy, &request, Shape::Connection, &[]).unwrap();
        let waiting = spare(&mut keeper, 1);
        assert_eq!(all_of(waiting.connected()), "connection:extra\npassed\n");
    });
}

#[test]
fn the_environment_tells_of_the_connection_and_of_no_other() {
    alone(|| {
        // As if the broker's caller had them, served by another such server.
        let load = || {
            let mut policy = connection_policy()?;
            for name in ["TCPREMOTEHOST", "REMOTE_ADDR", "UNIXREMOTEEUID", "KEPT"] {
                policy.environment.set.insert(name.into(), "another".into());
            }
            Ok(policy)
        };
        let script = "env | grep -E '^(PROTO|TCP|UNIX|REMOTE|SANDBOX|KEPT)' | sort";
        let mut keeper = Keeper::start(load, &shell(script), Shape::Connection, &[]).unwrap();
        let first = spare(&mut keeper, 1);
        let client = first.connected();
        let (peer, local) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
        let expected = format!(
            "KEPT=another\nPROTO=TCP\nREMOTE_ADDR=127.0.0.1\nREMOTE_PORT={0}\nSANDBOX_LISTENER=web\n\
             TCPLOCALIP=127.0.0.1\nTCPLOCALPORT={1}\nTCPREMOTEIP=127.0.0.1\nTCPREMOTEPORT={0}\n",
            peer.port(),
            local.port(),
        );
        assert_eq!(all_of(client), expected);
        // Another kind of connection, from the same plan.
        let second = spare(&mut keeper, 2);
        let (client, server) = UnixStream::pair().unwrap();
        let connection = Connection {
            listener: "local".to_owned(),
            peer: Address::Unix(UnixName::default()),
            local: Address::Unix(UnixName::new(b"/run/x").unwrap()),
            credentials: Some(Credentials {
                uid: 1,
                gid: 2,
                pid: 3,
            }),
        };
        second.give(server, &connection);
        let expected = "KEPT=another\nPROTO=UNIX\nSANDBOX_LISTENER=local\nUNIXLOCALPATH=/run/x\n\
             UNIXREMOTEEGID=2\nUNIXREMOTEEUID=1\nUNIXREMOTEPID=3\n";
        assert_eq!(all_of(client), expected);
    });
}

#[test]
fn a_spare_that_is_not_needed_ends_and_leaves_nothing() {
    alone(|| {
        let mut keeper = keeper("exit 9");
        let before = settled(&mut keeper);
        let mut spare = spare(&mut keeper, 1);
        assert!(descriptors(keeper.pid()) > before);
        drop(spare.go.take());
        assert_eq!(
            spare.ended(),
            Some(Record::Ended(0)),
            "by itself, and the command did not run"
        );
        comes_back_to(&keeper, before);
    });
}

#[test]
fn a_spare_is_ended_by_closing_its_status() {
    alone(|| {
        let mut keeper = keeper("exit 9");
        let spare = spare(&mut keeper, 1);
        let Started {
            pidfd, status, go, ..
        } = spare;
        drop(status);
        readable(pidfd.as_fd());
        let (_client, server, connection) = dialled();
        let handed = hand_over(go.unwrap().as_fd(), server.as_fd(), &connection);
        assert_eq!(
            handed,
            Err(Errno::EPIPE),
            "the broker learns that another one must do"
        );
    });
}

#[test]
fn one_spare_holds_nothing_of_another() {
    alone(|| {
        let mut keeper = keeper("echo ran");
        let mut first = spare(&mut keeper, 1);
        let second = spare(&mut keeper, 2);
        let numbers: Vec<String> = fs::read_dir(format!("/proc/{}/fd", second.command()))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        // 0 to 3, and the report.
        assert_eq!(numbers.len(), 5, "{numbers:?}");
        // Each end of file is seen, though the other one was cloned while these were open.
        drop(first.go.take());
        assert_eq!(first.ended(), Some(Record::Ended(0)));
        let Started { status, pidfd, .. } = second;
        let third = spare(&mut keeper, 3);
        drop(status);
        readable(pidfd.as_fd());
        drop(third);
    });
}

#[test]
fn a_spare_that_cannot_execute_says_so_when_it_should() {
    alone(|| {
        let directory = Directory::new();
        let program = directory.0.join("program");
        fs::copy("/bin/sh", &program).unwrap();
        let request = Request {
            command: [program.as_os_str(), "-c".as_ref(), "echo ran".as_ref()]
                .map(OsString::from)
                .to_vec(),
            ..Request::default()
        };
        let load = || {
            let mut policy = connection_policy()?;
            policy.filesystem.dev = crate::policy::View::Host;
            Ok(policy)
        };
        let mut keeper = Keeper::start(load, &request, Shape::Connection, &[]).unwrap();
        let good = spare(&mut keeper, 1);
        let bad = spare(&mut keeper, 2);
        assert_eq!(all_of(good.connected()), "ran\n", "the control");
        fs::remove_file(&program).unwrap();
        assert_eq!(all_of(bad.connected()), "", "it is closed");
        let Answer::Failed {
            token: failed,
            message,
        } = answer(&mut keeper)
        else {
            panic!("it cannot execute");
        };
        assert_eq!(failed, token(2));
        assert!(message.starts_with("cannot execute "), "{message}");
    });
}

#[test]
fn a_spare_takes_nothing_but_one_connection() {
    alone(|| {
        let mut keeper = keeper("echo ran");
        let (_client, server, connection) = dialled();
        let values = connection.encode();
        let file = File::open("/etc/passwd").unwrap();
        let folder = File::open("/").unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let datagrams = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let table: [(&[u8], Vec<BorrowedFd<'_>>, &str); 8] = [
            (
                &values,
                vec![file.as_fd()],
                "Socket operation on non-socket",
            ),
            (
                &values,
                vec![folder.as_fd()],
                "Socket operation on non-socket",
            ),
            (
                &values,
                vec![listener.as_fd()],
                "Transport endpoint is already connected",
            ),
            (
                &values,
                vec![datagrams.as_fd()],
                "Protocol wrong type for socket",
            ),
            (
                &values,
                vec![server.as_fd(), server.as_fd()],
                "Protocol error",
            ),
            (&values, vec![], "Protocol error"),
            (b"LD_PRELOAD=/x", vec![server.as_fd()], "Bad message"),
            (&[b'x'; 5000], vec![server.as_fd()], "Message too long"),
        ];
        for (number, (bytes, descriptors, reason)) in (1..).zip(table) {
            let spare = spare(&mut keeper, number);
            packet::send(spare.go(), bytes, &descriptors).unwrap();
            let Answer::Failed {
                token: failed,
                message,
            } = answer(&mut keeper)
            else {
                panic!("{reason}");
            };
            assert_eq!(failed, token(number));
            let expected = format!("cannot receive the connection: {reason}; hint: ");
            assert!(message.starts_with(&expected), "{message}");
        }
        // The control: the same values with the connection.
        let spare = spare(&mut keeper, 99);
        packet::send(spare.go(), &values, &[server.as_fd()]).unwrap();
        assert_eq!(spare.ended(), Some(Record::Ended(0)));
    });
}

#[test]
fn no_step_of_a_spare_allocates() {
    alone(|| {
        crate::sys::guard::arm();
        let mut keeper = keeper("echo done");
        let waiting = spare(&mut keeper, 1);
        assert_eq!(all_of(waiting.connected()), "done\n");
        // Nor one that is not needed, nor one that fails.
        let mut unneeded = spare(&mut keeper, 2);
        drop(unneeded.go.take());
        assert_eq!(unneeded.ended(), Some(Record::Ended(0)));
        let failing = spare(&mut keeper, 3);
        packet::send(failing.go(), b"x", &[]).unwrap();
        assert!(matches!(answer(&mut keeper), Answer::Failed { .. }));
    });
}

#[test]
fn nobody_traces_the_keeper_through_a_spare() {
    alone(|| {
        let mut keeper = keeper("true");
        let waiting = spare(&mut keeper, 1);
        // Root's keeper has privileges that its spares, which share its memory, have not.
        if !Uid::effective().is_root() {
            return;
        }
        let spare = waiting.command();
        let open =
            |pid: i32| File::open(format!("/proc/{pid}/mem")).map_err(|e| plan::errno_of(&e));
        let tried = crate::sys::process::in_a_copy(|| {
            use caps::CapSet;
            caps::clear(None, CapSet::Effective).unwrap();
            caps::clear(None, CapSet::Permitted).unwrap();
            let own = nix::unistd::getpid().as_raw();
            let control = crate::sys::process::in_a_copy(|| drop(open(own).unwrap()));
            assert!(control, "another process of root without capabilities");
            assert_eq!(open(spare).unwrap_err(), Errno::EACCES);
        });
        assert!(tried);
    });
}
