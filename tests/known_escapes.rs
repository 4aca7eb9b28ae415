//! Published escapes from programs like this one, and from containers: one test each.
//!
//! `docs/known-escapes.md` tells the story of every one. Most were the work of one act, which
//! `sandbox selftest` really tries: those tests name the attempts. The others are tried here.

mod support;

use std::os::unix::fs::PermissionsExt;

use support::report::{Report, outcome, reports};
use support::{each_user, skip, success, text};

/// Each of `names` is held inside, whatever by.
#[track_caller]
fn held(names: &[&str]) {
    for Report { user, attempts, .. } in reports() {
        for name in names {
            let attempt = attempts.iter().find(|attempt| attempt["name"] == *name);
            let attempt = attempt.unwrap_or_else(|| panic!("no attempt is called {name}"));
            let (verdict, evidence) = outcome(attempt, "inside");
            if verdict == "skipped" && attempt["open_outside_to"] != "anyone" && !user.is_root() {
                skip(name, evidence);
                continue;
            }
            assert_eq!(verdict, "held", "{name} as {}: {evidence}", user.name);
        }
    }
}

macro_rules! escapes {
    ($($test:ident: [$($name:literal),+];)*) => {
        $(
            #[test]
            fn $test() {
                held(&[$($name),+]);
            }
        )*

        /// The tests above.
        const BY_ATTEMPT: &[&str] = &[$(stringify!($test)),*];
    };
}

escapes! {
    cve_2017_5226_typing_on_the_terminal: ["tiocsti"];
    cve_2019_7303_typing_with_garbage_above_the_request: ["tiocsti-upper-half"];
    cve_2019_10063_typing_with_garbage_above_the_request: ["tiocsti-upper-half"];
    cve_2023_28100_pasting_on_the_console: ["tioclinux", "tioclinux-upper-half"];
    cve_2021_41133_newer_mount_calls: [
        "call-fsopen", "call-fsconfig", "call-fsmount", "call-move-mount", "call-open-tree",
        "call-mount-setattr", "clone3-user"
    ];
    cve_2019_5736_overwriting_the_runtime: ["proc-exe-init", "overwrite-itself"];
    cve_2016_9962_tracing_the_runtime: ["ptrace-init", "proc-fd-init", "pidfd-getfd-init"];
    cve_2016_8649_a_left_over_descriptor_of_proc: ["inherited-directory", "inherited-anything"];
    cve_2022_0185_file_system_contexts: ["call-fsopen", "call-fsconfig", "unshare-user"];
    cve_2022_0492_release_agent: ["cgroup-files", "unshare-cgroup", "unshare-user", "call-mount"];
    cve_2017_7308_packet_rings: ["socket-packet", "socket-packet-type", "unshare-user"];
    cve_2020_14386_packet_sockets: ["socket-packet", "socket-packet-type", "unshare-user"];
    cve_2020_15257_an_abstract_socket_of_the_host: ["abstract-socket"];
    cve_2022_29162_inheritable_capabilities: ["capability-sets", "secure-bits"];
    cve_2022_24769_inheritable_capabilities: ["capability-sets", "secure-bits"];
    cve_2016_0728_keyrings: ["add-key", "request-key", "keyctl"];
    cve_2020_8835_bpf: ["call-bpf"];
    cve_2021_3490_bpf: ["call-bpf"];
    cve_2022_29582_io_uring: ["io-uring", "io-uring-enter", "io-uring-register"];
    cve_2024_1086_packet_filter_tables: ["netlink-other", "unshare-user", "clone-user"];
    cve_2023_32233_packet_filter_tables: ["netlink-other", "unshare-user", "clone-user"];
    cve_2021_26708_vsock: ["socket-vsock", "socket-family-upper-half"];
    cve_2017_6074_dccp: ["socket-odd-protocol"];
    cve_2010_3904_rds: ["socket-rds"];
    cve_2021_43267_tipc: ["socket-tipc", "socketpair-other-family"];
    cve_2021_3609_can: ["socket-can"];
    cve_2009_0835_calls_of_another_architecture: ["i386-getpid", "i386-socket", "x32-getpid"];
    shocker_open_by_handle: ["open-by-handle", "name-to-handle"];
    docker_socket: ["path-socket-run", "path-socket-tmp", "path-socket-elsewhere"];
}

/// The tests below.
const BY_HAND: &[&str] = &[
    "cve_2024_21626_a_working_directory_outside",
    "cve_2022_31214_no_set_user_id_helper",
    "cve_2024_32462_a_command_that_looks_like_an_option",
];

#[test]
fn cve_2024_21626_a_working_directory_outside() {
    // A descriptor of a directory, left open by a careless caller, is neither there to be listed nor
    // to be entered by a working directory that names it.
    each_user(|user| {
        let sandbox = user.sandbox.display();
        let listed = format!("exec 7</; exec {sandbox} -- /bin/sh -c 'ls /proc/self/fd'");
        let output = user
            .command("/bin/sh")
            .args(["-c", &listed])
            .output()
            .expect("a shell");
        let numbers = success(user, &output);
        assert!(
            !numbers.lines().any(|number| number == "7"),
            "as {}: {numbers}",
            user.name
        );

        let entered = format!("exec 7</; exec {sandbox} -- /bin/sh -c 'cd /proc/self/fd/7'");
        let output = user
            .command("/bin/sh")
            .args(["-c", &entered])
            .output()
            .expect("a shell");
        assert!(!output.status.success(), "as {}", user.name);

        let control = "exec 7</; cd /proc/self/fd/7";
        let output = user
            .command("/bin/sh")
            .args(["-c", control])
            .output()
            .expect("a shell");
        success(user, &output);
    });
}

#[test]
fn cve_2022_31214_no_set_user_id_helper() {
    // There is no way to join a sandbox, and nothing of ours to trick that has more than its caller.
    each_user(|user| {
        let found = std::fs::metadata(&user.sandbox).expect("it is there");
        assert_eq!(found.permissions().mode() & 0o6000, 0);
        let script = "/bin/cat /proc/self/status | grep -c '^Cap...:.0*$'";
        let printed = success(user, &user.output(&["--", "/bin/sh", "-c", script]));
        assert_eq!(printed, "5", "as {}: sets that are empty", user.name);
    });
}

#[test]
fn cve_2024_32462_a_command_that_looks_like_an_option() {
    each_user(|user| {
        for word in ["--net=host", "--seccomp=off", "--version"] {
            let mut launch = user.sandbox(&["--", word]);
            // A search path that this user can read throughout: the answer is then "not found".
            let output = launch
                .env("PATH", "/usr/bin:/bin")
                .output()
                .expect("it can be started");
            let said = text(&output.stderr);
            assert_eq!(
                output.status.code(),
                Some(127),
                "as {}: {word}: {said}",
                user.name
            );
            assert!(said.contains(word), "as {}: {said}", user.name);
        }
    });
}

#[test]
fn every_escape_is_documented() {
    let page = include_str!("../docs/known-escapes.md");
    let documented: Vec<&str> = page
        .lines()
        .filter_map(|line| line.strip_suffix("` |")?.rsplit_once('`'))
        .map(|(_, test)| test)
        .collect();
    let mut tested: Vec<&str> = BY_ATTEMPT.iter().chain(BY_HAND).copied().collect();
    let mut written = documented.clone();
    tested.sort_unstable();
    written.sort_unstable();
    assert_eq!(written, tested);
}
