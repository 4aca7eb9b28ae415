//! `sandbox netns exec`, and the walk-through of the article on network namespaces; needs root.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use support::netns::{done, netns, root};
use support::{User, have, skip, success, text};

/// A namespace with a name that no other test has, and files of its own if any are put there.
struct Named {
    name: String,
    user: &'static User,
}

impl Named {
    fn new(user: &'static User) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("sbxe-{}-{count}", std::process::id());
        done(user, &["add", &name]);
        Self { name, user }
    }

    fn files(&self) -> PathBuf {
        Path::new("/etc/netns").join(&self.name)
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        let _ = netns(self.user, &["delete", &self.name]);
        let _ = fs::remove_dir_all(self.files());
    }
}

#[test]
fn the_namespace_has_its_own_sys_and_its_own_files() {
    let Some(root) = root("files") else { return };
    let space = Named::new(root);
    fs::create_dir_all(space.files()).unwrap();
    fs::write(space.files().join("hosts"), "192.0.2.7 only-here\n").unwrap();
    fs::write(space.files().join("no-such-file-in-etc"), "").unwrap();
    for confinement in [&[][..], &["--unconfined"]] {
        let run = |command: &[&str]| {
            let line = [&["exec", &space.name], confinement, &["--"], command].concat();
            netns(root, &line)
        };
        assert_eq!(
            success(root, &run(&["cat", "/etc/hosts"])),
            "192.0.2.7 only-here"
        );
        assert_eq!(
            success(root, &run(&["ls", "/sys/class/net"])),
            "lo",
            "{confinement:?}"
        );
        let warned = text(&run(&["true"]).stderr);
        assert!(warned.contains("no-such-file-in-etc"), "{warned}");
    }
    // The control: outside, and by the network alone, it is the host's file.
    let outside = fs::read_to_string("/etc/hosts").unwrap();
    let net = format!("ns:{}", space.name);
    let seen = success(
        root,
        &root.output(&["--net", &net, "--", "cat", "/etc/hosts"]),
    );
    assert_eq!(seen, outside.trim_end());
    if have("ip") {
        let theirs = Command::new("ip")
            .args(["netns", "exec", &space.name, "cat", "/etc/hosts"])
            .output()
            .unwrap();
        assert_eq!(success(root, &theirs), "192.0.2.7 only-here");
    }
}

#[test]
fn a_file_that_cannot_stand_in_stops_the_launch() {
    let Some(root) = root("files that do not fit") else {
        return;
    };
    let space = Named::new(root);
    fs::create_dir_all(space.files().join("hosts")).unwrap();
    let output = netns(root, &["exec", &space.name, "--", "true"]);
    assert_eq!(output.status.code(), Some(125));
    let said = text(&output.stderr);
    assert!(
        said.contains("cannot put in place the file /etc/hosts: Invalid argument"),
        "{said}"
    );
    let shared = netns(
        root,
        &["exec", &space.name, "--share", "mount", "--", "true"],
    );
    assert_eq!(shared.status.code(), Some(125), "{shared:?}");
    assert!(
        text(&shared.stderr).contains("--share mount: files are put in place"),
        "{shared:?}"
    );
}

#[test]
fn a_command_is_confined_unless_it_is_said_otherwise() {
    let Some(root) = root("confined") else { return };
    let space = Named::new(root);
    let capabilities = |options: &[&str]| {
        let line = [
            &["exec", &space.name],
            options,
            &["--", "grep", "CapEff", "/proc/self/status"],
        ]
        .concat();
        done(root, &line)
    };
    assert_eq!(capabilities(&[]), "CapEff:\t0000000000000000");
    assert_ne!(capabilities(&["--unconfined"]), "CapEff:\t0000000000000000");
    // Options of a launch hold: of files, of limits, of the filter.
    let seen = done(
        root,
        &["exec", &space.name, "--private-tmp", "--", "ls", "/tmp"],
    );
    assert_eq!(seen, "");
    let planned = done(
        root,
        &[
            "exec",
            &space.name,
            "--policy",
            "strict",
            "--dry-run",
            "--",
            "true",
        ],
    );
    assert!(planned.contains(&format!("ns:{}", space.name)), "{planned}");
    for (line, reason) in [
        (
            &["--net", "none"][..],
            "--net: the namespace is named already",
        ),
        (
            &["--unconfined", "--private-tmp"],
            "--unconfined: no other option goes with it",
        ),
    ] {
        let output = netns(
            root,
            &[&["exec", &space.name], line, &["--", "true"]].concat(),
        );
        assert_eq!(output.status.code(), Some(125));
        assert!(text(&output.stderr).contains(reason), "{output:?}");
    }
}

/// A network that another user namespace made shows its /sys to nobody in one of the command's own.
#[test]
fn from_a_user_namespace_of_its_own_a_command_finds_an_empty_sys() {
    let Some(root) = root("user-namespace") else {
        return;
    };
    let space = Named::new(root);
    for options in [&["--policy", "strict"][..], &["--userns", "yes"]] {
        let line = [
            &["exec", &space.name][..],
            options,
            &["--", "sh", "-c", "ls -A /sys; readlink /proc/self/ns/user"],
        ]
        .concat();
        let seen = done(root, &line);
        let own = fs::read_link("/proc/self/ns/user").expect("it is there");
        let own = own.display().to_string();
        // The one line there is; of /sys, none.
        assert!(
            seen.starts_with("user:[") && seen.lines().count() == 1,
            "{seen}"
        );
        assert_ne!(seen, own);
    }
}

#[test]
fn the_status_is_the_commands_own() {
    let Some(root) = root("status") else { return };
    let space = Named::new(root);
    for options in [&[][..], &["--unconfined"]] {
        let status = |command: &[&str]| {
            let line = [&["exec", &space.name], options, &["--"], command].concat();
            netns(root, &line).status.code()
        };
        assert_eq!(status(&["sh", "-c", "exit 7"]), Some(7));
        assert_eq!(status(&["/nonexistent/command"]), Some(127));
        assert_eq!(status(&["/etc/passwd"]), Some(126));
    }
}

/// `script`, by root in mount and network namespaces of its own with an empty `/run`, where the word
/// `netns` is ours: what it does to "the host" is done there.
fn alone(root: &User, script: &str) -> String {
    let script = format!(
        "set -e; mount -t tmpfs none /run; netns() {{ \"{}\" netns \"$@\"; }}; {script}",
        root.sandbox.display()
    );
    let output = Command::new("unshare")
        .args([
            "--mount",
            "--propagation",
            "private",
            "--net",
            "sh",
            "-c",
            &script,
        ])
        .output()
        .unwrap();
    success(root, &output)
}

#[test]
fn the_walk_through_of_the_article_is_done_with_our_commands_alone() {
    let Some(root) = root("walk-through") else {
        return;
    };
    if !have("unshare") {
        return;
    }
    let nft = sandbox::netns::nft::program().is_some();
    let said = alone(
        root,
        r#"
        netns add netns1
        netns list
        ! netns ping netns1 127.0.0.1 2>/dev/null
        netns show netns1 | head -1
        netns link set netns1 lo up
        netns ping netns1 127.0.0.1 | cut -d' ' -f1,2
        netns link set . lo up
        netns veth .:veth0 netns1:veth1
        netns address add . veth0 10.1.1.1/24
        netns address add netns1 veth1 10.1.1.2/24
        ! netns ping netns1 10.1.1.1 --timeout 100ms 2>/dev/null
        netns link set . veth0 up
        netns link set netns1 veth1 up
        netns ping . 10.1.1.2 | cut -d' ' -f1,2
        netns ping netns1 10.1.1.1 | cut -d' ' -f1,2
        netns show netns1 | sed -n '/^routes/,/^rules/p' | grep -v fe80
        "#,
    );
    let expected = "netns1\n1: lo loopback down mtu 65536\n127.0.0.1 answered\n10.1.1.2 answered\n10.1.1.1 answered\nroutes:\n    10.1.1.0/24 by veth1\nrules:";
    assert_eq!(said, expected);
    if !nft {
        skip("walk-through", "there is no nft(8)");
        return;
    }
    // Its firewall is empty and its own; an "internet" beyond a bridge, and by NAT.
    let said = alone(
        root,
        r#"
        netns add netns1 netns2 internet
        netns firewall set . 'drop input udp 9'
        netns firewall show netns1 | wc -c
        netns link add . br0 bridge --up
        netns address add . br0 10.1.1.254/24
        for n in 1 2; do
            netns veth .:port$n netns$n:eth0 --up
            netns link set . port$n --bridge br0
            netns address add netns$n eth0 10.1.1.$n/24
            netns route add netns$n default --via 10.1.1.254
        done
        netns veth .:wan internet:eth0 --up
        netns address add . wan 192.0.2.1/24
        netns address add internet eth0 192.0.2.2/24
        netns ping netns1 10.1.1.2 | cut -d' ' -f1,2
        netns sysctl . net.ipv4.ip_forward=1
        ! netns ping netns1 192.0.2.2 --timeout 200ms
        netns firewall set . 'masquerade out wan from 10.1.1.0/24'
        netns ping netns1 192.0.2.2 | cut -d' ' -f1,2
        netns ping netns2 192.0.2.2 | cut -d' ' -f1,2
        netns delete netns1 netns2 internet
        netns list
        "#,
    );
    assert_eq!(
        said,
        "0\n10.1.1.2 answered\n192.0.2.2 did not answer\n192.0.2.2 answered\n192.0.2.2 answered"
    );
}

#[test]
fn a_way_out_is_made_by_a_named_uplink_and_undone_with_the_name() {
    let Some(root) = root("nat") else { return };
    if !have("unshare") || !have("python3") {
        return;
    }
    if sandbox::netns::nft::program().is_none() {
        skip("nat", "there is no nft(8)");
        return;
    }
    let said = alone(
        root,
        r#"
        netns add inner other internet
        netns veth .:wan internet:eth0 --up
        netns veth .:lan other:eth0 --up
        netns address add . wan 192.0.2.1/24
        netns address add internet eth0 192.0.2.2/24
        netns address add . lan 198.51.100.1/24
        netns address add other eth0 198.51.100.2/24
        netns route add other default --via 198.51.100.1
        netns firewall set . 'drop input udp 9'
        netns link set . lo up
        netns sysctl . net.ipv4.conf.lan.forwarding=1
        state() { netns show . | sed '/^rules/,$d' | grep -v fe80; netns firewall show .; netns sysctl . net.ipv4.conf.wan.forwarding net.ipv4.ip_forward; }
        state >/run/before
        # The uplink's neighbours reach what is on another link where the uplink forwards; it does not.
        netns route add internet 198.51.100.0/24 --via 192.0.2.1
        netns sysctl . net.ipv4.conf.wan.forwarding=1
        netns ping internet 198.51.100.2 | cut -d' ' -f1,2
        netns sysctl . net.ipv4.conf.wan.forwarding=0
        netns nat inner --uplink wan --json | grep -c '"network": "10.203.0.0/30"'
        netns sysctl . net.ipv4.conf.wan.forwarding
        ! netns ping internet 198.51.100.2 --timeout 200ms
        # What that link asks for by the uplink is answered.
        netns ping other 192.0.2.2 | cut -d' ' -f1,2
        netns ping inner 192.0.2.2 | cut -d' ' -f1,2
        # Neither what is on another link, nor a port of the host's, is reached.
        ! netns ping inner 198.51.100.2 --timeout 200ms
        serve() { exec python3 -c 'import socket, time; s = socket.create_server(("0.0.0.0", 7777)); open("/run/serves", "w"); time.sleep(100)'; }
        serve & server=$!
        while ! [ -e /run/serves ]; do :; done
        dial() { netns exec $1 --unconfined -- python3 -c "import socket; socket.create_connection(('$2', 7777), $3)" 2>/dev/null && echo reached || echo not reached; }
        dial inner 10.203.0.1 0.5
        dial other 198.51.100.1 20
        netns ping inner 10.203.0.1 | cut -d' ' -f1,2
        kill $server
        netns nat other --uplink wan --network 10.9.0.0/30 2>&1 | head -1
        netns nat inner --uplink wan 2>&1 | head -1
        netns delete inner
        state >/run/after
        cmp /run/before /run/after && ls /run/sandbox/nat | wc -l
        netns nat other --uplink none 2>&1 | head -1
        ls /run/sandbox/nat | wc -l
        "#,
    );
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(
        lines,
        [
            "198.51.100.2 answered",
            "1",
            "net.ipv4.conf.wan.forwarding = 1",
            "198.51.100.2 did not answer",
            "192.0.2.2 answered",
            "192.0.2.2 answered",
            "198.51.100.2 did not answer",
            "not reached",
            "reached",
            "10.203.0.1 answered",
            "sandbox: cannot add the route 0.0.0.0/0 via 10.9.0.1 in other: File exists",
            "sandbox: cannot make the way out of inner: File exists",
            "0",
            "sandbox: cannot find the link none in this namespace: No such device",
            "0",
        ],
        "{said}"
    );
}

#[test]
fn a_way_out_leads_by_ipv6_too_where_the_uplink_has_it_and_is_undone() {
    let Some(root) = root("nat by IPv6") else {
        return;
    };
    if !have("unshare") || !have("python3") {
        return;
    }
    if sandbox::netns::nft::program().is_none() {
        skip("nat by IPv6", "there is no nft(8)");
        return;
    }
    if !Path::new("/proc/sys/net/ipv6/conf/lo/force_forwarding").exists() {
        skip(
            "nat by IPv6",
            "this kernel forwards no IPv6 for single links",
        );
        return;
    }
    // The outside knows no way back to the wire: what comes there must have the uplink's address.
    let said = alone(
        root,
        r#"
        netns add inner second other internet
        netns veth .:wan internet:eth0
        netns veth .:lan other:eth0
        for end in ". wan" ". lan" "internet eth0" "other eth0"; do
            netns sysctl ${end% *} net.ipv6.conf.${end#* }.accept_dad=0
            netns link set $end up
        done
        netns address add . wan 192.0.2.1/24 2001:db8:1::1/64
        netns address add internet eth0 192.0.2.2/24 2001:db8:1::2/64
        netns address add . lan 2001:db8:2::1/64
        netns address add other eth0 2001:db8:2::2/64
        netns route add other default --via 2001:db8:2::1
        netns sysctl . net.ipv6.conf.lan.force_forwarding=1
        netns link set . lo up
        state() { netns show . | sed '/^rules/,$d' | grep -v fe80; netns firewall show .; netns sysctl . net.ipv6.conf.all.forwarding net.ipv6.conf.wan.forwarding net.ipv6.conf.wan.force_forwarding net.ipv6.conf.lan.force_forwarding; }
        state >/run/before
        netns nat inner --uplink wan --json | grep network6
        netns sysctl . net.ipv6.conf.all.forwarding net.ipv6.conf.wan.forwarding
        netns ping inner 2001:db8:1::2 --timeout 20s | cut -d' ' -f1,2
        ! netns ping inner 2001:db8:2::2 --timeout 200ms
        netns route add internet 2001:db8:2::/64 --via 2001:db8:1::1
        ! netns ping internet 2001:db8:2::2 --timeout 200ms
        netns ping other 2001:db8:2::1 --timeout 20s | cut -d' ' -f1,2
        ! netns ping inner 2001:db8:1::1 --timeout 200ms
        netns ping inner fd8c:3a91:5e27::1 --timeout 20s | cut -d' ' -f1,2
        serve() { exec python3 -c 'import socket, time; s = socket.create_server(("::", 7777), family=socket.AF_INET6); open("/run/serves", "w"); time.sleep(100)'; }
        serve & server=$!
        while ! [ -e /run/serves ]; do :; done
        dial() { netns exec $1 --unconfined -- python3 -c "import socket; socket.create_connection(('$2', 7777), $3)" 2>/dev/null && echo reached || echo not reached; }
        dial inner fd8c:3a91:5e27::1 0.5
        dial other 2001:db8:2::1 20
        kill $server
        # From addresses that are not the wire's nothing comes out, not even unmasked.
        netns link set inner lo up
        netns address add inner lo 2001:db8:9::9/128 203.0.113.9/32
        netns exec internet --unconfined -- python3 -c '
import socket
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
s.bind(("::", 9999))
open("/run/listens", "w")
print(*sorted({s.recvfrom(9)[1][0].removeprefix("::ffff:") for _ in range(2)}))' & listener=$!
        while ! [ -e /run/listens ]; do :; done
        netns exec inner --unconfined -- python3 -c '
import socket
for source, to in [("2001:db8:9::9", "2001:db8:1::2"), ("203.0.113.9", "192.0.2.2"), ("::", "2001:db8:1::2"), ("0.0.0.0", "192.0.2.2")]:
    s = socket.socket(socket.AF_INET6 if ":" in to else socket.AF_INET, socket.SOCK_DGRAM)
    s.bind((source, 0))
    s.sendto(b"x", (to, 9999))'
        wait $listener
        # The second one that needs it keeps the uplink as it is; the last one sets it back.
        netns nat second --uplink wan --json | grep network6
        netns nat inner --off
        netns sysctl . net.ipv6.conf.wan.force_forwarding
        netns ping second 2001:db8:1::2 --timeout 20s | cut -d' ' -f1,2
        netns delete second
        state >/run/after
        cmp /run/before /run/after && ls /run/sandbox/nat | wc -l
        netns nat inner --uplink wan --network fd00:9::/126 --network fd00:a::/126 2>&1 | head -1
        netns nat inner --uplink wan --network fd00:9::/127 2>&1 | head -1
        # By an uplink without it there is none, unless it is asked for.
        netns address delete . wan 2001:db8:1::1/64
        netns nat inner --uplink wan --json | grep network6
        netns show inner | grep -c 'default.*fd' || true
        netns nat inner --off
        netns address add . wan 2001:db8:1::1/64
        # A kernel that cannot: a warning, or a refusal that leaves nothing.
        mount -t tmpfs none /proc/sys/net/ipv6/conf/wan
        netns nat inner --uplink wan 2>&1
        netns ping inner 192.0.2.2 | cut -d' ' -f1,2
        ! netns ping inner 2001:db8:1::2 --timeout 200ms 2>&1
        netns nat inner --off
        netns nat inner --uplink wan --network fd00:9::/126 2>&1 | head -1
        umount /proc/sys/net/ipv6/conf/wan
        state >/run/after
        cmp /run/before /run/after && ls /run/sandbox/nat | wc -l
        "#,
    );
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(
        lines,
        [
            r#"  "network6": "fd8c:3a91:5e27::/126","#,
            "net.ipv6.conf.all.forwarding = 0",
            "net.ipv6.conf.wan.forwarding = 0",
            "2001:db8:1::2 answered",
            "2001:db8:2::2 did not answer",
            "2001:db8:2::2 did not answer",
            "2001:db8:2::1 answered",
            "2001:db8:1::1 did not answer",
            "fd8c:3a91:5e27::1 answered",
            "not reached",
            "reached",
            "192.0.2.1 2001:db8:1::1",
            r#"  "network6": "fd8c:3a91:5e27::4/126","#,
            "net.ipv6.conf.wan.force_forwarding = 1",
            "2001:db8:1::2 answered",
            "0",
            "sandbox: --network fd00:a::/126: the wire has one network of each family",
            "sandbox: --network fd00:9::/127: two addresses are needed: a prefix of 126 bits or fewer",
            r#"  "network6": null,"#,
            "0",
            "sandbox: warning: the way out is by IPv4 only: this kernel cannot forward IPv6 for single links (Linux 6.17 can), and this host does not forward it everywhere uplink=wan",
            "192.0.2.2 answered",
            "sandbox: cannot ping 2001:db8:1::2 from inner: Network is unreachable",
            "sandbox: this host cannot give a way out by IPv6 (fd00:9::/126): this kernel cannot forward IPv6 for single links (Linux 6.17 can), and this host does not forward it everywhere",
            "0",
        ],
        "{said}"
    );
}

#[test]
fn a_command_is_run_in_each_namespace_that_has_a_name() {
    let Some(root) = root("all of them") else {
        return;
    };
    if !have("unshare") {
        return;
    }
    // One file is left behind.
    let said = alone(
        root,
        r#"
        netns add left right other
        netns exec --all -q -- readlink /proc/self/ns/net >/run/said
        for name in left other right; do
            [ $name = left ] || echo
            echo "==> $name <=="
            echo "net:[$(stat -c %i /run/netns/$name)]"
        done | cmp - /run/said
        netns link add right br0 bridge
        netns exec --all -q -- sh -c 'echo ran; ! [ -e /sys/class/net/br0 ] || exit 7' | grep -c ran
        netns exec --all -q -- sh -c '! [ -e /sys/class/net/br0 ] || exit 7' >/dev/null || echo status $?
        netns exec --all -q --json -- sh -c 'echo out; echo err >&2; [ -e /sys/class/net/br0 ]' || echo status $?
        # Options hold in each; words of the command are not ours.
        netns exec --all --unconfined -- grep -c '^CapEff:.*[1-9a-f]' /proc/self/status | grep -c '^1$'
        netns exec --all -q -- grep -c '^CapEff:.*[1-9a-f]' /proc/self/status | grep -c '^0$'
        netns exec --all -q --private-tmp -- echo --all -- --one=left | grep -c -- '^--all -- --one=left$'
        netns exec --all 2>&1 | head -1
        : >/run/netns/middle
        netns exec --all -q -- true 2>&1 || echo status $?
        "#,
    );
    let status = said.split("status 7\n").nth(1).unwrap();
    let (json, rest) = status.split_once("status 1\n").unwrap();
    let json: serde_json::Value = serde_json::from_str(json).unwrap();
    let expected = [("left", 1), ("other", 1), ("right", 0)].map(|(name, status)| {
        serde_json::json!({ "name": name, "status": status, "stdout": "out\n", "stderr": "err\n" })
    });
    assert_eq!(json, serde_json::json!(expected));
    assert!(said.starts_with("3\nstatus 7\n"), "{said}");
    assert_eq!(
        rest,
        "3\n3\n3\n\
         sandbox: no command given: write sandbox netns exec --all -- COMMAND\n\
         ==> left <==\n\n\
         ==> middle <==\n\
         sandbox: cannot open the namespace middle: Invalid argument\n  \
         hint: /run/netns/middle is a file without a namespace, left behind: 'sandbox netns delete middle' removes it\n\n\
         ==> other <==\n\n\
         ==> right <==\n\
         status 125",
        "{said}"
    );
}

/// A command of a document, and what it is said to print.
struct Shown {
    command: String,
    printed: Vec<String>,
}

/// The commands of the ```console blocks of `page` between two headings.
fn shown(page: &str, from: &str, to: &str) -> Vec<Shown> {
    let part = page.split(from).nth(1).unwrap().split(to).next().unwrap();
    let mut commands: Vec<Shown> = Vec::new();
    for block in part.split("```console\n").skip(1) {
        for line in block.split("```").next().unwrap().lines() {
            match line.strip_prefix("$ ") {
                Some(command) => commands.push(Shown {
                    command: command.to_owned(),
                    printed: Vec::new(),
                }),
                None => commands.last_mut().unwrap().printed.push(line.to_owned()),
            }
        }
    }
    commands
}

/// What differs from one run to the next taken out.
fn steady(line: &str) -> String {
    match line.split_once(" answered in ") {
        Some((who, _)) => format!("{who} answered in no time"),
        None => line.trim_end().to_owned(),
    }
}

#[test]
fn the_walk_through_of_the_documents_is_true() {
    let Some(root) = root("documents") else {
        return;
    };
    if !have("unshare") || sandbox::netns::nft::program().is_none() {
        skip("documents", "there is no nft(8)");
        return;
    }
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/netns.md");
    let page = fs::read_to_string(page).unwrap();
    let commands = shown(&page, "## A walk through", "## Commands in a namespace");
    assert!(commands.len() > 30);
    let mut script = String::from("exec 2>&1; netns link set . lo up\n");
    for Shown { command, .. } in &commands {
        // A ping that is not answered has the status 1.
        script.push_str(&format!("echo '=='; {command} || true\n"));
    }
    let script = script.replace("sandbox netns", "netns");
    let said = alone(root, &script);
    let mut parts = said.split("==\n");
    assert_eq!(parts.next(), Some(""), "{said}");
    for Shown { command, printed } in &commands {
        let said = parts.next().unwrap_or_default();
        let said: Vec<String> = said
            .lines()
            .filter(|line| *line != "==")
            .map(steady)
            .collect();
        let expected: Vec<String> = printed.iter().map(|line| steady(line)).collect();
        assert_eq!(said, expected, "{command}");
    }
}
