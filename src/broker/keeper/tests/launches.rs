//! Launches: what a sandbox is given in each shape, by which policy, and what fails.

use std::os::unix::net::UnixListener;

use super::*;

#[test]
fn a_sandbox_launched_for_a_connection_answers_it() {
    alone(|| {
        let mut keeper = keeper(GREET);
        let mut client = launch(&mut keeper, 1);
        client.write_all(b"hello\n").unwrap();
        let started = Started::next(&mut keeper);
        assert!(started.go.is_none());
        let expected = format!("hello, {}\n", client.local_addr().unwrap());
        assert_eq!(all_of(client), expected);
        assert_eq!(started.ended(), Some(Record::Ended(0)));
    });
}

#[test]
fn a_thousand_launches_leak_no_descriptor() {
    alone(|| {
        let mut keeper = keeper("echo done");
        let own = i32::try_from(std::process::id()).unwrap();
        let before = settled(&mut keeper);
        let own_before = descriptors(own);
        for round in 0..250 {
            let mut clients = Vec::new();
            for number in 0..4 {
                clients.push(launch(&mut keeper, 100 + round * 4 + number));
            }
            for _ in 0..4 {
                let _ = Started::next(&mut keeper).ended();
            }
            for client in clients {
                assert_eq!(all_of(client), "done\n");
            }
        }
        assert_eq!(descriptors(own), own_before);
        comes_back_to(&keeper, before);
    });
}

#[test]
fn failing_launches_leak_no_descriptor_and_say_why() {
    alone(|| {
        let load = || {
            let mut policy = connection_policy()?;
            policy.process.chdir = Some("/nonexistent".into());
            Ok(policy)
        };
        let mut keeper = Keeper::start(load, &shell("true"), Shape::Connection, &[]).unwrap();
        let before = settled(&mut keeper);
        for number in 0..20 {
            let (_client, server, connection) = dialled();
            match number % 2 {
                0 => keeper.launch(token(number), &[], None).unwrap(),
                _ => keeper
                    .launch(token(number), &[server.as_fd()], Some(&connection))
                    .unwrap(),
            }
            let Answer::Failed {
                token: failed,
                message,
            } = answer(&mut keeper)
            else {
                panic!("it cannot start");
            };
            assert_eq!(failed, token(number));
            let expected = "cannot change to the working directory /nonexistent: No such file or directory; hint: ";
            assert!(message.starts_with(expected), "{message}");
        }
        assert_eq!(descriptors(keeper.pid()), before);
    });
}

#[test]
fn what_is_wrong_with_the_plan_is_said_before_anything_is_accepted() {
    alone(|| {
        let missing = Request {
            command: vec!["/nonexistent".into()],
            ..Request::default()
        };
        let error = Keeper::start(connection_policy, &missing, Shape::Connection, &[]).unwrap_err();
        assert_eq!(error.to_string(), "/nonexistent: command not found");
        let alone = || {
            let mut policy = connection_policy()?;
            policy.process.as_pid_1 = true;
            Ok(policy)
        };
        let error = Keeper::start(alone, &shell("true"), Shape::Connection, &[]).unwrap_err();
        assert!(matches!(error, Error::Usage { .. }), "{error}");
        let unreadable = || Policy::from_file("/nonexistent.toml");
        assert!(Keeper::start(unreadable, &shell("true"), Shape::Pool, &[]).is_err());
    });
}

#[test]
fn a_connection_that_the_kernel_does_not_give_is_said() {
    alone(|| {
        refuse(libc::SYS_recvmsg, 0, 3);
        let mut keeper = keeper("echo ran");
        for number in 0..2 {
            let client = launch(&mut keeper, number);
            let Answer::Failed { message, .. } = answer(&mut keeper) else {
                panic!("it cannot receive");
            };
            let reason = "Numerical argument out of domain";
            let expected = format!("cannot receive the connection: {reason}; hint: ");
            assert!(message.starts_with(&expected), "{message}");
            assert_eq!(all_of(client), "", "it is closed");
        }
    });
}

/// From now on `call` fails in this process and its children, with EDOM, where `argument` is `value`.
fn refuse(call: libc::c_long, argument: u8, value: u64) {
    use seccompiler::{
        BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
        SeccompRule, TargetArch,
    };
    let (length, operator) = (SeccompCmpArgLen::Dword, SeccompCmpOp::Eq);
    let condition = SeccompCondition::new(argument, length, operator, value).unwrap();
    let rule = SeccompRule::new(vec![condition]).unwrap();
    let filter = SeccompFilter::new(
        std::collections::BTreeMap::from([(call, vec![rule])]),
        SeccompAction::Allow,
        SeccompAction::Errno(libc::EDOM.unsigned_abs()),
        TargetArch::try_from(std::env::consts::ARCH).unwrap(),
    );
    let program: BpfProgram = filter.unwrap().try_into().unwrap();
    seccompiler::apply_filter(&program).unwrap();
}

#[test]
fn a_signal_reaches_the_command() {
    alone(|| {
        let mut keeper =
            keeper("trap 'echo got it; exit 3' TERM; echo up; while :; do sleep 0.01; done");
        let client = launch(&mut keeper, 1);
        let started = Started::next(&mut keeper);
        let mut up = [0; 3];
        (&client).read_exact(&mut up).unwrap();
        keeper.signal(token(1), Signal::SIGTERM).unwrap();
        assert_eq!(all_of(client), "got it\n");
        assert_eq!(started.ended(), Some(Record::Ended(3 << 8)));
        // Now there is none: no error, and the keeper goes on.
        keeper.signal(token(1), Signal::SIGKILL).unwrap();
        drop(spare(&mut keeper, 2));
    });
}

#[test]
fn a_new_policy_is_used_after_a_reload_and_a_wrong_one_is_not() {
    alone(|| {
        let directory = Directory::new();
        let file = directory.0.join("policy.toml");
        let write = |value: &str| {
            let text =
                format!("extends = \"connection\"\n[environment]\nset = {{ WHICH = {value} }}\n");
            fs::write(&file, text).unwrap();
        };
        write("\"old\"");
        let load = || Policy::from_file(&file);
        let request = shell("echo $WHICH");
        let mut keeper = Keeper::start(load, &request, Shape::Connection, &[]).unwrap();
        let asked = |spare: Started| all_of(spare.connected());
        let before = spare(&mut keeper, 1);
        write("\"new\"");
        keeper.reload().unwrap();
        assert!(matches!(answer(&mut keeper), Answer::Reloaded));
        let after = spare(&mut keeper, 2);
        assert_eq!(asked(before), "old\n", "what waited stays as it was");
        assert_eq!(asked(after), "new\n");
        write("wrong");
        keeper.reload().unwrap();
        let Answer::ReloadFailed(message) = answer(&mut keeper) else {
            panic!("the file is not valid");
        };
        assert!(message.contains("policy.toml:3:"), "{message}");
        let third = spare(&mut keeper, 3);
        assert_eq!(asked(third), "new\n");
    });
}

#[test]
fn a_worker_of_a_pool_has_its_channel() {
    alone(|| {
        let script = "echo \"$SANDBOX_CHANNEL $LISTEN_FDNAMES\" >&3; cat <&3 >&2";
        let mut keeper = Keeper::start(worker_policy, &shell(script), Shape::Pool, &[]).unwrap();
        let flags = SockFlag::SOCK_CLOEXEC;
        let (ours, theirs) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags).unwrap();
        keeper.launch(token(1), &[theirs.as_fd()], None).unwrap();
        drop(theirs);
        let started = Started::next(&mut keeper);
        readable(ours.as_fd());
        let mut buffer = [0; 64];
        let packet = packet::receive(ours.as_fd(), &mut buffer).unwrap();
        assert_eq!(&buffer[..packet.length], b"3 channel\n");
        // Nobody but the worker holds its end, and nobody but us the other.
        drop(ours);
        assert_eq!(started.ended(), Some(Record::Ended(0)));
    });
}

#[test]
fn every_worker_has_the_listening_sockets() {
    alone(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let listeners = [
            ("web".to_owned(), listener.as_fd()),
            ("admin".to_owned(), other.as_fd()),
        ];
        let script =
            "echo \"$LISTEN_FDS $LISTEN_FDNAMES\"; exec readlink /proc/self/fd/3 /proc/self/fd/4";
        let (reader, writer) = nix::unistd::pipe().unwrap();
        nix::unistd::dup2_stdout(&writer).unwrap();
        drop(writer);
        let mut keeper =
            Keeper::start(worker_policy, &shell(script), Shape::Listener, &listeners).unwrap();
        let inode = |fd: BorrowedFd<'_>| {
            fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).unwrap()
        };
        let expected = format!(
            "2 web:admin\n{}\n{}\n",
            inode(listener.as_fd()).display(),
            inode(other.as_fd()).display(),
        );
        let mut output = File::from(reader);
        for number in 1..=2 {
            keeper.launch(token(number), &[], None).unwrap();
            assert_eq!(Started::next(&mut keeper).ended(), Some(Record::Ended(0)));
            let mut said = vec![0; expected.len()];
            output.read_exact(&mut said).unwrap();
            assert_eq!(String::from_utf8_lossy(&said), expected);
        }
    });
}

#[test]
fn a_sandbox_ends_when_its_time_is_over() {
    alone(|| {
        let load = || {
            let mut policy = connection_policy()?;
            policy.process.timeout = Some(Duration::from_millis(50));
            policy.process.kill_after = Duration::from_millis(50);
            Ok(policy)
        };
        let script = "trap 'echo asked' TERM; while :; do sleep 0.01; done";
        let mut keeper = Keeper::start(load, &shell(script), Shape::Connection, &[]).unwrap();
        let waiting = spare(&mut keeper, 1);
        let client = launch(&mut keeper, 2);
        let running = Started::next(&mut keeper);
        assert_eq!(running.ended(), None, "killed");
        assert!(all_of(client).starts_with("asked\n"));
        // A spare's time has not begun.
        let _client = waiting.connected();
        assert_eq!(waiting.ended(), None, "killed, but later");
    });
}

#[test]
fn what_comes_and_goes_on_the_host_stops_no_launch() {
    alone(|| {
        let directory = Directory::new();
        let (early, late) = (directory.0.join("early"), directory.0.join("late"));
        let load = || {
            let mut policy = Policy::built_in("default")?;
            policy.filesystem.dev = crate::policy::View::Host;
            Ok(policy)
        };
        let listener = UnixListener::bind(&early).unwrap();
        let script = format!(
            "for path in {} {}; do test -S $path && echo seen; test -c $path && echo hidden; done",
            early.display(),
            late.display()
        );
        let mut keeper = Keeper::start(load, &shell(&script), Shape::Connection, &[]).unwrap();
        let mut ask = |number| {
            let client = launch(&mut keeper, number);
            let _started = Started::next(&mut keeper);
            all_of(client)
        };
        assert_eq!(ask(1), "hidden\n");
        drop(listener);
        fs::remove_file(&early).unwrap();
        assert_eq!(ask(2), "", "there is none");
        let _listener = UnixListener::bind(&late).unwrap();
        assert_eq!(ask(3), "hidden\n", "one that came after the keeper");
    });
}
