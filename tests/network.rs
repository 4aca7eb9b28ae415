//! `--net ns:`: networks that somebody else has made, joined or refused.

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use support::{User, each_user, have, skip, success, text, users};

/// A process that holds a network and a user namespace that owns it, made as `unshare -rn` does.
struct Holder(Child);

impl Holder {
    fn start(user: &User) -> Self {
        Self::start_in(user, &[])
    }

    /// By way of `around`, a command that runs another.
    fn start_in(user: &User, around: &[&str]) -> Self {
        let unshare = "unshare";
        let (first, rest) = around.split_first().unwrap_or((&unshare, &[]));
        let mut child = user
            .command(first)
            .args(rest)
            .args(around.first().map(|_| unshare))
            .args([
                "--map-root-user",
                "--net",
                "sh",
                "-c",
                "echo ready; read end",
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare is installed");
        let mut ready = String::new();
        BufReader::new(child.stdout.take().expect("it is piped"))
            .read_line(&mut ready)
            .expect("a pipe can be read");
        assert_eq!(ready, "ready\n", "as {}", user.name);
        Self(child)
    }

    fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/ns/net", self.0.id()))
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // Its standard input ends with this, and so does it.
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// What names a namespace.
fn name_of(path: &Path) -> String {
    let name = fs::read_link(path).expect("it is there");
    name.to_string_lossy().into_owned()
}

/// A namespace at a path of its own, as `ip netns` makes them; root's to make.
struct Bound(PathBuf);

impl Bound {
    fn new(user: &User, namespace: &Path, name: &str) -> Self {
        let path = user.home.join(format!("{name}-{}", std::process::id()));
        fs::write(&path, "").expect("home is writable");
        let mut mount = Command::new("mount");
        mount.arg("--bind").arg(namespace).arg(&path);
        assert!(mount.status().expect("mount is installed").success());
        Self(path)
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
        let _ = fs::remove_file(&self.0);
    }
}

/// Run `script` in a sandbox on the network at `path`.
fn join(user: &User, options: &[&str], path: &Path, script: &str) -> std::process::Output {
    let network = format!("ns:{}", path.display());
    let words = [
        &["-q", "--net", &network],
        options,
        &["--", "sh", "-c", script],
    ]
    .concat();
    user.output(&words)
}

/// What a command on a joined network sees: the network, its devices, its capabilities.
const LOOK: &str =
    "readlink /proc/self/ns/net; echo /sys/class/net/*; grep CapEff /proc/self/status";

fn expected(namespace: &str) -> String {
    format!("{namespace}\n/sys/class/net/lo\nCapEff:\t0000000000000000")
}

#[test]
fn a_network_that_the_same_user_has_made_is_joined() {
    each_user(|user| {
        let holder = Holder::start(user);
        let namespace = name_of(&holder.path());
        assert_ne!(namespace, name_of(Path::new("/proc/self/ns/net")));
        let printed = success(user, &join(user, &[], &holder.path(), LOOK));
        assert_eq!(printed, expected(&namespace), "as {}", user.name);
    });
}

/// It is its maker's to say which ports need a capability.
#[test]
fn low_ports_of_a_joined_network_stay_as_they_were() {
    const READ: &str = "cat /proc/sys/net/ipv4/ip_unprivileged_port_start";
    each_user(|user| {
        let holder = Holder::start(user);
        let printed = success(user, &join(user, &[], &holder.path(), READ));
        assert_eq!(printed.trim(), "1024", "as {}", user.name);
        let own = success(user, &user.output(&["-q", "--", "sh", "-c", READ]));
        assert_eq!(own.trim(), "0", "as {}", user.name);
    });
}

/// The maker of a user namespace has every capability over its networks, from outside and by the user
/// id alone: a sandbox of that user must not be outside.
#[test]
fn a_joined_network_cannot_be_changed() {
    if !have("ip") || !have("nsenter") {
        return;
    }
    const CHANGE: &str = "ip link set lo up";
    each_user(|user| {
        for around in [&[][..], &["unshare", "--map-root-user"]] {
            let holder = Holder::start_in(user, around);
            let output = join(user, &[], &holder.path(), CHANGE);
            let said = text(&output.stderr);
            assert!(
                said.contains("Operation not permitted"),
                "as {}: {said}",
                user.name
            );
            // The control: whoever enters the user namespace with its capabilities can.
            let mut enter = user.command("nsenter");
            enter.args(["--user", "--net", "--preserve-credentials", "--target"]);
            enter.arg(holder.0.id().to_string());
            enter.args(["sh", "-c", CHANGE]);
            success(user, &enter.output().expect("it is installed"));
        }
    });
}

#[test]
fn ids_are_not_changed_on_a_network_with_an_owner() {
    each_user(|user| {
        let holder = Holder::start(user);
        let output = join(user, &["--user", "0"], &holder.path(), "true");
        assert_eq!(output.status.code(), Some(125), "as {}", user.name);
        let said = text(&output.stderr);
        assert!(said.contains("leave the options out"), "{said}");
    });
}

#[test]
fn a_bound_network_that_the_same_user_has_made_is_joined() {
    if !users()[0].is_root() {
        return skip("a bound network", "only root can bind one");
    }
    each_user(|user| {
        let holder = Holder::start(user);
        let namespace = name_of(&holder.path());
        let bound = Bound::new(user, &holder.path(), "bound");
        // It lives by its mount alone.
        drop(holder);
        let printed = success(user, &join(user, &[], &bound.0, LOOK));
        assert_eq!(printed, expected(&namespace), "as {}", user.name);
    });
}

#[test]
fn a_joined_network_belongs_to_whoever_holds_it_still() {
    each_user(|user| {
        let mut holder = Holder::start(user);
        success(user, &join(user, &[], &holder.path(), "true"));
        // The sandbox's end has taken nothing from the other user of the network.
        let mut input = holder.0.stdin.take().expect("it is piped");
        input.write_all(b"end\n").expect("it reads");
        assert!(holder.0.wait().expect("it is ours").success());
    });
}

#[test]
fn a_named_network_can_be_joined_from_inside_it_too() {
    if !users()[0].is_root() {
        return skip("a named network", "only root can make one");
    }
    if !have("ip") {
        return;
    }
    let user = &users()[0];
    let name = format!("sandbox-test-{}", std::process::id());
    let ip = |words: &[&str]| {
        let output = user.command("ip").args(words).output();
        success(user, &output.expect("it is installed"))
    };
    ip(&["netns", "add", &name]);
    let sandbox = user.sandbox.to_str().expect("the test chose it");
    let network = format!("ns:{name}");
    let words = ["-q", "--net", &network, "--", "sh", "-c", LOOK];
    let outside = user.output(&words);
    let mut within = user.command("ip");
    within.args(["netns", "exec", &name, sandbox]).args(words);
    let within = within.output().expect("it is installed");
    ip(&["netns", "delete", &name]);
    assert_eq!(success(user, &within), success(user, &outside));
    assert!(text(&outside.stdout).contains("/sys/class/net/lo\n"));
}

#[test]
fn a_network_that_another_has_made_is_refused_with_its_name() {
    if !users()[0].is_root() {
        return skip("another user's network", "only root can show one to a user");
    }
    let holder = Holder::start(&users()[0]);
    each_user(|user| {
        if user.is_root() {
            return;
        }
        let bound = Bound::new(user, &holder.path(), "foreign");
        let output = join(user, &[], &bound.0, "true");
        assert_eq!(output.status.code(), Some(125));
        let expected = format!(
            "sandbox: cannot join the network namespace {}: Operation not permitted\n  \
             hint: it belongs to a user namespace that user 0 has made: run as that user, or as root",
            bound.0.display()
        );
        assert_eq!(text(&output.stderr), expected);
    });
}

#[test]
fn a_network_that_is_the_hosts_is_refused_to_a_user() {
    each_user(|user| {
        if user.is_root() {
            return;
        }
        let output = join(user, &[], Path::new("/proc/self/ns/net"), "true");
        assert_eq!(output.status.code(), Some(125));
        let said = text(&output.stderr);
        assert!(
            said.ends_with("joining it needs CAP_SYS_ADMIN there: run as root"),
            "{said}"
        );
    });
}

#[test]
fn a_user_namespace_of_its_own_is_not_to_be_had_on_a_network_with_an_owner() {
    each_user(|user| {
        if user.is_root() {
            return;
        }
        let holder = Holder::start(user);
        let output = join(user, &["--userns", "yes"], &holder.path(), "true");
        assert_eq!(output.status.code(), Some(125));
        let said = text(&output.stderr);
        assert!(said.contains("leave --userns yes out"), "{said}");
    });
}

/// Root of a user namespace with a map of its own cannot get to what is in another user's private directory;
/// its command cannot either, so a socket there needs no cover, and is no reason not to run.
#[test]
fn a_socket_that_the_joined_users_cannot_get_to_stops_no_launch() {
    use std::os::unix::fs::{PermissionsExt, chown};
    use std::os::unix::net::UnixListener;

    let others = users().iter().find(|user| !user.is_root());
    let (Some(root), Some(other)) = (users().iter().find(|user| user.is_root()), others) else {
        return skip("another user's socket", "only root can launch beside one");
    };
    let folder = other.home.join(format!("private-{}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("root may");
    let socket = folder.join("s");
    let _listener = UnixListener::bind(&socket).expect("the name is new");
    for path in [&folder, &socket] {
        chown(path, Some(other.uid), Some(other.gid)).expect("root may");
    }
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).expect("root may");
    let holder = Holder::start(root);
    let look = format!("test -e {} || echo out of reach", socket.display());
    let printed = success(root, &join(root, &[], &holder.path(), &look));
    assert_eq!(printed, "out of reach");
    fs::remove_dir_all(&folder).expect("it is there");
}

/// No wall of the kernel's parts them: the supervisor's thread connects, and it is in no Landlock domain.
#[test]
fn abstract_names_of_others_in_a_joined_network_are_out_of_reach() {
    const LISTEN: &str = "import socket, sys; s = socket.socket(socket.AF_UNIX); s.bind('\\0others'); s.listen(); \
                          print('ready', flush=True); sys.stdin.read()";
    const CONNECT: &str = "import errno, socket; s = socket.socket(socket.AF_UNIX); \
                           print(errno.errorcode.get(s.connect_ex('\\0others'), 'connected'))";
    if !have("python3") || !have("nsenter") {
        return;
    }
    each_user(|user| {
        let holder = Holder::start(user);
        let pid = holder.0.id().to_string();
        let beside = |program: &str| {
            let mut command = user.command("nsenter");
            command.args(["--preserve-credentials", "-U", "-n", "-t", &pid]);
            command.args(["python3", "-c", program]);
            command
        };
        let mut listener = beside(LISTEN)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("nsenter is installed");
        let mut ready = String::new();
        BufReader::new(listener.stdout.take().expect("it is piped"))
            .read_line(&mut ready)
            .expect("a pipe can be read");
        assert_eq!(ready, "ready\n", "as {}", user.name);
        let connect = format!("python3 -c \"{CONNECT}\"");
        let output = join(user, &["--events", "fd:2"], &holder.path(), &connect);
        assert_eq!(text(&output.stdout), "ECONNREFUSED", "as {}", user.name);
        let said = text(&output.stderr);
        assert!(
            said.contains("others have abstract names in this network too"),
            "{said}"
        );
        let control = beside(CONNECT).output().expect("nsenter is installed");
        assert_eq!(text(&control.stdout), "connected", "as {}", user.name);
        drop(listener.stdin.take());
        assert!(listener.wait().expect("it is ours").success());
    });
}
