//! The promises of the default policy: whatever a program tries, as root and as an ordinary user.
//!
//! `sandbox selftest --json` makes every attempt, in a sandbox and outside; it runs once a user here.
//! Each test is one row: held inside for the reason that its wall gives, and open outside, where the
//! host allows it. A refusal that comes outside as well would prove nothing.

mod support;

use std::collections::BTreeSet;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::report::{Report, is_held, outcome, reports};
use support::{each_user, have, skip, text};

macro_rules! claims {
    ($($claim:ident: $name:literal by $($reason:literal)|+;)*) => {
        $(
            #[test]
            fn $claim() {
                is_held($name, &[$($reason),+]);
            }
        )*

        /// Every attempt that has a claim here.
        const CLAIMED: &[&str] = &[$($name),*];
    };
}

claims! {
    // ---- Reaching a network ----
    the_hosts_loopback_is_out_of_reach: "connect-host-loopback" by "ECONNREFUSED" | "ENETUNREACH";
    the_hosts_ipv6_loopback_is_out_of_reach:
        "connect-host-loopback6" by "ECONNREFUSED" | "ENETUNREACH" | "EADDRNOTAVAIL";
    the_hosts_loopback_is_out_of_reach_by_its_mapped_address:
        "connect-host-mapped" by "ECONNREFUSED" | "ENETUNREACH";
    the_hosts_loopback_is_out_of_reach_by_the_wildcard:
        "connect-host-any" by "ECONNREFUSED" | "ENETUNREACH";
    the_hosts_loopback_is_out_of_reach_by_the_ipv6_wildcard:
        "connect-host-any6" by "ECONNREFUSED" | "ENETUNREACH" | "EADDRNOTAVAIL";
    the_hosts_interface_address_is_out_of_reach:
        "connect-host-interface" by "ENETUNREACH" | "ECONNREFUSED";
    no_datagram_reaches_the_host: "send-host-datagram" by "ECONNREFUSED" | "ENETUNREACH";
    the_clouds_metadata_service_is_out_of_reach: "connect-metadata" by "ENETUNREACH" | "ECONNREFUSED";
    no_ping_socket_can_be_made: "ping-host" by "EPROTONOSUPPORT";
    no_vsock_socket_can_be_made: "socket-vsock" by "EAFNOSUPPORT";
    no_bluetooth_socket_can_be_made: "socket-bluetooth" by "EAFNOSUPPORT";
    no_nfc_socket_can_be_made: "socket-nfc" by "EAFNOSUPPORT";
    no_can_socket_can_be_made: "socket-can" by "EAFNOSUPPORT";
    no_tipc_socket_can_be_made: "socket-tipc" by "EAFNOSUPPORT";
    no_qipcrtr_socket_can_be_made: "socket-qipcrtr" by "EAFNOSUPPORT";
    no_rds_socket_can_be_made: "socket-rds" by "EAFNOSUPPORT";
    no_smc_socket_can_be_made: "socket-smc" by "EAFNOSUPPORT";
    no_kcm_socket_can_be_made: "socket-kcm" by "EAFNOSUPPORT";
    no_xdp_socket_can_be_made: "socket-xdp" by "EAFNOSUPPORT";
    no_alg_socket_can_be_made: "socket-alg" by "EAFNOSUPPORT";
    no_key_socket_can_be_made: "socket-key" by "EAFNOSUPPORT";
    no_packet_socket_can_be_made: "socket-packet" by "EAFNOSUPPORT";
    no_iucv_socket_can_be_made: "socket-iucv" by "EAFNOSUPPORT";
    no_llc_socket_can_be_made: "socket-llc" by "EAFNOSUPPORT";
    no_phonet_socket_can_be_made: "socket-phonet" by "EAFNOSUPPORT";
    no_socket_of_an_unlisted_family_can_be_made: "socket-any-other-family" by "EAFNOSUPPORT";
    garbage_above_a_family_does_not_fool_the_filter: "socket-family-upper-half" by "EAFNOSUPPORT";
    only_unix_socket_pairs_can_be_made: "socketpair-other-family" by "EAFNOSUPPORT";
    no_multipath_socket_can_be_made: "socket-mptcp" by "EPROTONOSUPPORT";
    no_raw_socket_can_be_made: "socket-raw" by "EPROTONOSUPPORT";
    flags_and_garbage_do_not_hide_a_raw_socket: "socket-raw-flags" by "EPROTONOSUPPORT";
    the_obsolete_packet_type_makes_no_packet_socket: "socket-packet-type" by "EPROTONOSUPPORT";
    no_socket_of_an_odd_protocol_can_be_made: "socket-odd-protocol" by "EPROTONOSUPPORT";
    only_route_netlink_can_be_opened: "netlink-other" by "EPROTONOSUPPORT";
    garbage_above_a_netlink_protocol_does_not_fool_the_filter:
        "netlink-upper-half" by "EPROTONOSUPPORT";
    lo_cannot_be_taken_down: "loopback-flags" by "EPERM";
    addresses_and_routes_cannot_be_added: "route-message" by "EPERM";
    sysctls_of_the_network_cannot_be_written: "network-sysctl" by "EROFS" | "EACCES";
    io_uring_does_not_exist_inside: "io-uring" by "ENOSYS";
    io_uring_enter_does_not_exist_inside: "io-uring-enter" by "ENOSYS";
    io_uring_register_does_not_exist_inside: "io-uring-register" by "ENOSYS";
    abstract_sockets_of_the_host_are_out_of_reach: "abstract-socket" by "ECONNREFUSED" | "EPERM";
    a_path_socket_in_tmp_is_hidden:
        "path-socket-tmp" by "ENOENT" | "EACCES" | "ECONNREFUSED" | "ENOTDIR";
    a_path_socket_elsewhere_is_hidden:
        "path-socket-elsewhere" by "ENOENT" | "EACCES" | "ECONNREFUSED" | "ENOTDIR";
    a_path_socket_in_run_is_hidden: "path-socket-run" by "ENOENT" | "EACCES";
    a_datagram_path_socket_is_hidden:
        "path-socket-datagram" by "ESOCKTNOSUPPORT";
    no_service_of_the_host_is_reached_by_its_path: "path-socket-of-service" by "none was reached";
    no_descriptor_can_be_passed_out: "pass-descriptor-out" by "ECONNREFUSED" | "EPERM" | "ENOENT";
    a_directory_left_open_is_closed: "inherited-directory" by "EBADF";
    a_socket_left_open_is_closed: "inherited-socket" by "EBADF";
    a_namespace_left_open_is_closed: "inherited-namespace" by "EBADF";
    nothing_above_standard_error_is_open: "inherited-anything" by "none";
    variables_that_name_sockets_are_removed: "environment" by "none is set";
    the_tun_device_is_not_there: "device-tun" by "ENOENT" | "EACCES";
    the_vhost_net_device_is_not_there: "device-vhost-net" by "ENOENT" | "EACCES";
    the_vhost_vsock_device_is_not_there: "device-vhost-vsock" by "ENOENT" | "EACCES";
    the_vsock_device_is_not_there: "device-vsock" by "ENOENT" | "EACCES";
    the_hosts_interfaces_cannot_be_listed_by_ioctl: "interface-ioctls" by "none of the host's";
    a_socket_does_not_give_its_namespace: "namespace-by-ioctl" by "EPERM";
    the_launchers_namespace_cannot_be_joined: "setns-launcher" by "ENOENT" | "EPERM" | "EACCES";
    inits_namespace_cannot_be_joined: "setns-init" by "EACCES" | "EPERM";
    setns_is_refused: "setns-own" by "EPERM";
    a_process_outside_cannot_be_joined_by_its_pidfd: "setns-pidfd" by "ESRCH" | "EPERM";
    named_namespaces_are_hidden: "named-namespaces" by "none is seen";
    sys_shows_none_of_the_hosts_interfaces: "sys-class-net" by "none of the host's";
    proc_shows_none_of_the_hosts_interfaces: "proc-net-interfaces" by "none of the host's";
    proc_shows_none_of_the_hosts_sockets: "proc-net-sockets" by "not listed";
    unshare_makes_no_user_namespace: "unshare-user" by "EPERM";
    unshare_makes_no_net_namespace: "unshare-net" by "EPERM";
    unshare_makes_no_mount_namespace: "unshare-mount" by "EPERM";
    unshare_makes_no_pid_namespace: "unshare-pid" by "EPERM";
    unshare_makes_no_ipc_namespace: "unshare-ipc" by "EPERM";
    unshare_makes_no_uts_namespace: "unshare-uts" by "EPERM";
    unshare_makes_no_cgroup_namespace: "unshare-cgroup" by "EPERM";
    clone_makes_no_user_namespace: "clone-user" by "EPERM";
    garbage_above_the_clone_flags_does_not_fool_the_filter: "clone-user-upper-half" by "EPERM";
    clone_makes_no_network_namespace: "clone-net" by "EPERM";
    clone3_does_not_exist_inside: "clone3-user" by "ENOSYS";
    nested_user_namespaces_are_forbidden_without_the_filter_too:
        "user-namespace-limit" by "the limit is 0";
    // ---- Reaching other processes ----
    a_process_outside_cannot_be_traced:
        "ptrace-outside" by "ESRCH" | "EPERM" | "a process of the sandbox's own has that number";
    memory_of_a_process_outside_cannot_be_read:
        "read-memory-outside" by "ESRCH" | "EPERM" | "a process of the sandbox's own has that number";
    memory_of_a_process_outside_cannot_be_written:
        "write-memory-outside" by "ESRCH" | "EPERM" | "a process of the sandbox's own has that number";
    process_vm_readv_is_refused: "process-vm-own" by "EPERM";
    a_process_outside_has_no_pidfd:
        "pidfd-open-outside" by "ESRCH" | "EPERM" | "a process of the sandbox's own has that number";
    descriptors_of_a_process_outside_cannot_be_copied:
        "pidfd-getfd-outside" by "ESRCH" | "EPERM" | "a process of the sandbox's own has that number";
    pidfd_getfd_is_refused: "pidfd-getfd-own" by "EPERM";
    a_process_outside_cannot_be_signalled:
        "kill-outside" by "ESRCH" | "EPERM" | "a process of the sandbox's own has that number";
    the_launcher_cannot_be_signalled:
        "kill-launcher" by "ESRCH" | "EPERM" | "a process of the sandbox's own has that number";
    proc_mem_of_a_process_outside_is_not_there:
        "proc-mem-outside" by "ENOENT" | "a process of the sandbox's own has that number";
    proc_environ_of_a_process_outside_is_not_there:
        "proc-environ-outside" by "ENOENT" | "a process of the sandbox's own has that number";
    proc_fd_of_a_process_outside_is_not_there:
        "proc-fd-outside" by "ENOENT" | "a process of the sandbox's own has that number";
    proc_root_of_a_process_outside_is_not_there:
        "proc-root-outside" by "ENOENT" | "a process of the sandbox's own has that number";
    proc_cwd_of_a_process_outside_is_not_there:
        "proc-cwd-outside" by "ENOENT" | "a process of the sandbox's own has that number";
    proc_ns_of_a_process_outside_is_not_there:
        "proc-ns-outside" by "ENOENT" | "a process of the sandbox's own has that number";
    processes_outside_are_not_listed: "see-outside" by "ENOENT";
    init_cannot_be_traced: "ptrace-init" by "EPERM";
    proc_mem_of_init_cannot_be_read: "proc-mem-init" by "EACCES" | "EPERM";
    proc_environ_of_init_cannot_be_read: "proc-environ-init" by "EACCES" | "EPERM";
    proc_exe_of_init_cannot_be_read: "proc-exe-init" by "EACCES" | "EPERM";
    proc_root_of_init_cannot_be_read: "proc-root-init" by "EACCES" | "EPERM";
    proc_ns_of_init_cannot_be_read: "proc-ns-init" by "EACCES" | "EPERM";
    proc_fd_of_init_cannot_be_read: "proc-fd-init" by "EACCES" | "EPERM" | "ENOENT" | "it has none";
    descriptors_of_init_cannot_be_copied: "pidfd-getfd-init" by "EPERM";
    init_does_not_die_of_its_own_processes: "kill-init" by "it lives on" | "EPERM";
    nothing_can_be_typed_on_the_terminal: "tiocsti" by "EPERM";
    garbage_above_tiocsti_does_not_fool_the_filter: "tiocsti-upper-half" by "EPERM";
    nothing_can_be_pasted_on_the_console: "tioclinux" by "EPERM";
    garbage_above_tioclinux_does_not_fool_the_filter: "tioclinux-upper-half" by "EPERM";
    the_line_discipline_cannot_be_changed: "tiocsetd" by "EPERM";
    the_consoles_output_cannot_be_taken: "tioccons" by "EPERM";
    the_session_keyring_is_out_of_reach: "session-keyring" by "EPERM";
    the_users_keyring_is_out_of_reach: "user-keyring" by "EPERM";
    add_key_is_refused: "add-key" by "EPERM";
    request_key_is_refused: "request-key" by "EPERM";
    keyctl_is_refused: "keyctl" by "EPERM";
    shared_memory_of_the_host_is_not_there: "shared-memory" by "ENOENT";
    shared_memory_of_the_host_cannot_be_mapped_by_number: "shared-memory-by-id" by "EINVAL";
    semaphores_of_the_host_are_not_there: "semaphores" by "ENOENT";
    message_queues_of_the_host_are_not_there: "message-queue" by "ENOENT";
    posix_queues_of_the_host_are_not_there: "posix-queue" by "ENOENT";
    posix_shared_memory_of_the_host_is_not_there: "posix-shared-memory" by "ENOENT";
    core_pattern_cannot_be_written: "core-pattern" by "EROFS" | "EACCES";
    the_modprobe_path_cannot_be_written: "modprobe-path" by "EROFS" | "EACCES" | "ENOENT";
    uevent_helper_cannot_be_written: "uevent-helper" by "EROFS" | "EACCES" | "ENOENT";
    binfmt_misc_cannot_be_written: "binfmt-misc" by "EROFS" | "EACCES" | "ENOENT";
    sysrq_cannot_be_triggered: "sysrq" by "EROFS" | "EACCES" | "ENOENT";
    nothing_below_proc_sys_can_be_written:
        "any-sysctl" by "none opens for writing" | "there is none";
    nothing_of_the_machine_in_proc_can_be_written:
        "proc-irq" by "none opens for writing" | "there is none";
    nothing_below_sys_can_be_written: "any-sys-file" by "none opens for writing" | "there is none";
    the_kernels_memory_cannot_be_read:
        "kernel-memory" by "it is empty" | "EACCES" | "ENOENT" | "EPERM";
    cgroups_cannot_be_written: "cgroup-files" by "none opens for writing" | "there is none";
    the_hosts_cgroup_path_is_hidden: "cgroup-path" by "it shows as the root";
    nothing_outlives_the_sandbox: "outlive" by "it ended with the sandbox";
    the_launchers_process_group_cannot_be_signalled:
        "signal-process-group" by "none arrived at the launcher" | "EPERM";
    // ---- Gaining privilege or kernel surface ----
    a_set_user_id_program_runs_as_its_caller:
        "set-user-id" by "it ran as its caller" | "EPERM" | "EACCES";
    executing_gives_no_privileges: "new-privileges" by "no_new_privs is set";
    all_capability_sets_are_empty: "capability-sets" by "all five are empty";
    capabilities_cannot_be_raised: "raise-capabilities" by "EPERM";
    user_id_0_gives_no_capabilities: "secure-bits" by "locked";
    no_device_node_can_be_made: "make-device" by "EPERM";
    no_file_can_be_opened_by_its_handle: "open-by-handle" by "EPERM";
    name_to_handle_at_is_refused: "name-to-handle" by "EPERM";
    mount_is_refused: "call-mount" by "EPERM" | "ENOSYS";
    umount2_is_refused: "call-umount2" by "EPERM" | "ENOSYS";
    pivot_root_is_refused: "call-pivot-root" by "EPERM" | "ENOSYS";
    chroot_is_refused: "call-chroot" by "EPERM" | "ENOSYS";
    fsopen_is_refused: "call-fsopen" by "EPERM" | "ENOSYS";
    fsconfig_is_refused: "call-fsconfig" by "EPERM" | "ENOSYS";
    fsmount_is_refused: "call-fsmount" by "EPERM" | "ENOSYS";
    fspick_is_refused: "call-fspick" by "EPERM" | "ENOSYS";
    move_mount_is_refused: "call-move-mount" by "EPERM" | "ENOSYS";
    open_tree_is_refused: "call-open-tree" by "EPERM" | "ENOSYS";
    mount_setattr_is_refused: "call-mount-setattr" by "EPERM" | "ENOSYS";
    bpf_is_refused: "call-bpf" by "EPERM" | "ENOSYS";
    perf_event_open_is_refused: "call-perf-event-open" by "EPERM" | "ENOSYS";
    userfaultfd_is_refused: "call-userfaultfd" by "EPERM" | "ENOSYS";
    kexec_load_is_refused: "call-kexec-load" by "EPERM" | "ENOSYS";
    init_module_is_refused: "call-init-module" by "EPERM" | "ENOSYS";
    finit_module_is_refused: "call-finit-module" by "EPERM" | "ENOSYS";
    delete_module_is_refused: "call-delete-module" by "EPERM" | "ENOSYS";
    reboot_is_refused: "call-reboot" by "EPERM" | "ENOSYS";
    swapon_is_refused: "call-swapon" by "EPERM" | "ENOSYS";
    swapoff_is_refused: "call-swapoff" by "EPERM" | "ENOSYS";
    acct_is_refused: "call-acct" by "EPERM" | "ENOSYS";
    quotactl_is_refused: "call-quotactl" by "EPERM" | "ENOSYS";
    syslog_is_refused: "call-syslog" by "EPERM" | "ENOSYS";
    settimeofday_is_refused: "call-settimeofday" by "EPERM" | "ENOSYS";
    clock_settime_is_refused: "call-clock-settime" by "EPERM" | "ENOSYS";
    adjtimex_is_refused: "call-adjtimex" by "EPERM" | "ENOSYS";
    clock_adjtime_is_refused: "call-clock-adjtime" by "EPERM" | "ENOSYS";
    sethostname_is_refused: "call-sethostname" by "EPERM" | "ENOSYS";
    setdomainname_is_refused: "call-setdomainname" by "EPERM" | "ENOSYS";
    vhangup_is_refused: "call-vhangup" by "EPERM" | "ENOSYS";
    lookup_dcookie_is_refused: "call-lookup-dcookie" by "EPERM" | "ENOSYS";
    nfsservctl_is_refused: "call-nfsservctl" by "EPERM" | "ENOSYS";
    kcmp_is_refused: "call-kcmp" by "EPERM" | "ENOSYS";
    migrate_pages_is_refused: "call-migrate-pages" by "EPERM" | "ENOSYS";
    move_pages_is_refused: "call-move-pages" by "EPERM" | "ENOSYS";
    fanotify_init_is_refused: "call-fanotify-init" by "EPERM" | "ENOSYS";
    personality_read_implies_exec_is_refused:
        "call-personality-read-implies-exec" by "EPERM" | "ENOSYS";
    personality_no_randomize_is_refused: "call-personality-no-randomize" by "EPERM" | "ENOSYS";
    iopl_is_refused: "call-iopl" by "EPERM" | "ENOSYS";
    ioperm_is_refused: "call-ioperm" by "EPERM" | "ENOSYS";
    modify_ldt_is_refused: "call-modify-ldt" by "EPERM" | "ENOSYS";
    uselib_is_refused: "call-uselib" by "EPERM" | "ENOSYS";
    a_32_bit_call_is_not_made:
        "i386-getpid" by "killed by the filter" | "ENOSYS" | "killed by SIGSEGV";
    a_32_bit_socket_call_is_not_made:
        "i386-socket" by "killed by the filter" | "ENOSYS" | "killed by SIGSEGV";
    an_x32_call_is_not_made: "x32-getpid" by "ENOSYS";
    a_call_newer_than_the_filter_does_not_exist: "call-newer-than-filter" by "ENOSYS";
    the_kmsg_device_is_not_there: "device-kmsg" by "ENOENT" | "EACCES";
    the_kvm_device_is_not_there: "device-kvm" by "ENOENT" | "EACCES";
    the_fuse_device_is_not_there: "device-fuse" by "ENOENT" | "EACCES";
    the_memory_device_is_not_there: "device-memory" by "ENOENT" | "EACCES";
    the_loop_control_device_is_not_there: "device-loop-control" by "ENOENT" | "EACCES";
    the_userfaultfd_device_is_not_there: "device-userfaultfd" by "ENOENT" | "EACCES";
    the_hosts_disks_are_not_there: "device-blocks" by "ENOENT";
    the_running_binary_cannot_be_overwritten:
        "overwrite-itself" by "ETXTBSY" | "EACCES" | "EROFS" | "EPERM";
}

#[test]
fn every_attempt_has_a_claim() {
    for Report { attempts, .. } in reports() {
        let made: BTreeSet<_> = attempts
            .iter()
            .filter_map(|attempt| attempt["name"].as_str())
            .collect();
        let mut claimed: BTreeSet<_> = CLAIMED.iter().copied().collect();
        if cfg!(not(target_arch = "x86_64")) {
            claimed.retain(|name| made.contains(name));
        }
        assert_eq!(made, claimed);
    }
}

#[test]
fn the_default_policy_promises_every_row() {
    for Report { user, attempts, .. } in reports() {
        for attempt in attempts {
            assert_eq!(attempt["promised"], true, "as {}: {attempt}", user.name);
        }
    }
}

#[test]
fn a_selftest_that_finds_nothing_open_exits_with_0() {
    for Report { user, status, .. } in reports() {
        assert_eq!(*status, Some(0), "as {}", user.name);
    }
}

#[test]
fn a_selftest_says_nothing_but_its_table() {
    each_user(|user| {
        // Some attempts are refused by the supervisor, which says so of any other command.
        let output = user.output(&["selftest"]);
        assert_eq!(text(&output.stderr), "", "as {}", user.name);
    });
}

#[test]
fn a_selftest_tells_what_a_weaker_policy_does_not_promise() {
    each_user(|user| {
        let output = user.output(&["selftest", "--json", "--net", "host"]);
        let found: Value = serde_json::from_slice(&output.stdout).expect("it prints JSON");
        let attempts = found["attempts"].as_array().expect("a list");
        let loopback = attempts
            .iter()
            .find(|attempt| attempt["name"] == "connect-host-loopback");
        let loopback = loopback.expect("it is tried");
        assert_eq!(loopback["promised"], false);
        assert_eq!(outcome(loopback, "inside").0, "open", "as {}", user.name);
        assert_eq!(
            output.status.code(),
            Some(0),
            "as {}: {}",
            user.name,
            text(&output.stdout)
        );
    });
}

/// Whoever accepts a view of the host has not accepted that root changes it: uid 0 may write there
/// without any capability.
#[test]
fn a_view_of_the_host_is_read_only_to_root_too() {
    let settings = ["/proc/sys/kernel/printk_delay", "/sys/kernel/mm/ksm/run"];
    each_user(|user| {
        if !user.is_root() {
            return;
        }
        for setting in settings {
            // Opened for writing, and not written.
            let script = format!(": >> {setting}");
            let control = user.command("/bin/sh").args(["-c", &script]).output();
            if !control.expect("there is a shell").status.success() {
                skip("a view of the host", &format!("no control: {setting}"));
                continue;
            }
            for options in [
                &["--proc", "host"][..],
                &["--share", "pid"],
                &["--sys", "host"],
                &["--net", "host"],
                &["--net", "host", "--proc", "host", "--userns", "no"],
            ] {
                let words = [&["-q"], options, &["--", "/bin/sh", "-c", &script]].concat();
                let said = text(&user.output(&words).stderr);
                assert!(
                    said.contains("Read-only file system"),
                    "{options:?}: {said}"
                );
            }
        }
    });
}

/// The same of what shows the host, its memory's pages and its users' keys: by mode it is root's, and most of
/// it asks for no capability.
#[test]
fn what_shows_the_host_in_proc_is_empty_to_root_too() {
    let files = [
        "keys",
        "key-users",
        "timer_list",
        "kpagecount",
        "kpageflags",
        "kpagecgroup",
        "vmallocinfo",
    ];
    each_user(|user| {
        if !user.is_root() {
            return;
        }
        let script = "for file; do head -c 8 /proc/$file 2>/dev/null | wc -c; done";
        let words = [&["/bin/sh", "-c", script, "sh"][..], &files].concat();
        let control = user.command("env").args(&words).output();
        let control = text(&control.expect("there is env").stdout);
        assert!(control.lines().any(|line| line == "8"), "{control}");
        for options in [&[][..], &["--proc", "host"], &["--userns", "no"]] {
            let words = [&["-q"], options, &["--"], &words].concat();
            let inside = text(&user.output(&words).stdout);
            let empty = vec!["0"; files.len()].join("\n");
            assert_eq!(inside, empty, "{options:?}: outside {control}");
        }
    });
}

#[test]
fn a_wall_that_is_taken_down_lets_the_attempt_through() {
    // Each wall alone: without it, what it held is open, so that the rows above do test it.
    let weaker: &[(&[&str], &str)] = &[
        (&["--share", "pid", "--proc", "host"], "see-outside"),
        (&["--share", "ipc"], "shared-memory"),
        (&["--seccomp", "off"], "socket-vsock"),
        (&["--seccomp", "off"], "io-uring"),
        (
            &["--hide-sockets=no", "--unix-sockets", "any"],
            "path-socket-elsewhere",
        ),
        (
            &["--hide-sockets=no", "--unix-sockets", "datagrams"],
            "path-socket-datagram",
        ),
        (&["--dev", "host"], "device-blocks"),
        (&["--sys", "host"], "sys-class-net"),
    ];
    each_user(|user| {
        for (options, name) in weaker {
            let mut arguments = vec!["selftest", "--json"];
            arguments.extend(*options);
            let output = user.output(&arguments);
            let found: Value = serde_json::from_slice(&output.stdout)
                .unwrap_or_else(|_| panic!("{options:?}: {}", text(&output.stderr)));
            let attempts = found["attempts"].as_array().expect("a list");
            let attempt = attempts
                .iter()
                .find(|attempt| attempt["name"] == *name)
                .expect("it is tried");
            assert_eq!(
                outcome(attempt, "inside").0,
                "open",
                "as {}: {options:?}: {attempt}",
                user.name
            );
            assert_eq!(attempt["promised"], false, "{options:?}");
        }
    });
}

#[test]
fn the_session_keyring_is_a_new_one_without_the_filter_too() {
    if !have("python3") {
        return;
    }
    // keyctl(2): KEYCTL_GET_KEYRING_ID of KEY_SPEC_SESSION_KEYRING.
    let call = if cfg!(target_arch = "x86_64") {
        250
    } else {
        219
    };
    let ask =
        format!("import ctypes; print(ctypes.CDLL(None).syscall({call}, 0, -3, 0), flush=True)");
    // With a session keyring of its own (KEYCTL_JOIN_SESSION_KEYRING), which is what is inherited. The
    // control: a program that it only executes has the same.
    let begin = format!(
        "import ctypes, os, sys; ctypes.CDLL(None).syscall({call}, 1, 0); {ask}; os.execvp(sys.argv[1], sys.argv[1:])"
    );
    each_user(|user| {
        let both = |words: &[&str]| {
            let mut command = user.command("python3");
            command.args(["-c", &begin]).args(words);
            command.args(["python3", "-c", &ask]);
            let output = command.output().expect("python3 can be started");
            let said = support::success(user, &output);
            let (first, second) = said.split_once('\n').expect("two lines");
            (first.to_owned(), second.to_owned())
        };
        let (own, executed) = both(&[]);
        assert_eq!(own, executed, "as {}", user.name);
        let sandbox = user.sandbox.to_str().expect("text");
        let (own, inside) = both(&[sandbox, "-q", "--seccomp", "off", "--"]);
        assert!(
            inside != "-1" && inside != own,
            "as {}: {inside}",
            user.name
        );
    });
}

/// The user database has another home than HOME says, as after `sudo -E`.
#[test]
fn credentials_are_hidden_in_both_homes() {
    let script = "mount --bind passwd /etc/passwd && exec \"$@\"";
    each_user(|user| {
        let database: String = ["0", &user.uid.to_string()]
            .map(|uid| {
                format!(
                    "u{uid}:x:{uid}:{uid}::{}/listed:/bin/sh\n",
                    user.home.display()
                )
            })
            .concat();
        std::fs::write(user.home.join("passwd"), database).unwrap();
        for home in ["named", "listed"] {
            let home = user.home.join(home);
            std::fs::create_dir_all(home.join(".ssh")).unwrap();
            for file in [".ssh/key", ".netrc", ".bashrc", "plain"] {
                std::fs::write(home.join(file), "seen").unwrap();
                let anybody = std::fs::Permissions::from_mode(0o666);
                std::fs::set_permissions(home.join(file), anybody).unwrap();
            }
        }
        let tried = |policy: &str, attempt: &str| {
            let output = user
                .command("unshare")
                .args(["-Urm", "sh", "-c", script, "sh"])
                .arg(&user.sandbox)
                .args(["-q", "--policy", policy, "--", "sh", "-c", attempt])
                .env("HOME", user.home.join("named"))
                .output();
            text(&output.expect("unshare is there").stdout)
        };
        for home in ["named", "listed"] {
            let read = format!("cat {home}/.ssh/key {home}/.netrc {home}/plain");
            assert_eq!(tried("default", &read), "seenseenseen", "as {}", user.name);
            assert_eq!(tried("agent", &read), "seen", "as {}: {home}", user.name);
            let written =
                format!("echo >>{home}/.bashrc || echo no; echo >>{home}/plain || echo no");
            assert_eq!(tried("default", &written), "", "as {}", user.name);
            assert_eq!(tried("agent", &written), "no", "as {}: {home}", user.name);
        }
    });
}

#[test]
fn every_shipped_profile_keeps_what_it_promises() {
    each_user(|user| {
        for profile in [
            "strict",
            "worker",
            "connection",
            "build",
            "agent",
            "browser",
        ] {
            let mut selftest = user.sandbox(&["selftest", "--policy", profile]);
            // A profile may hide the home, but not this.
            let output = selftest
                .current_dir("/")
                .output()
                .expect("the binary can be started");
            let table = text(&output.stdout);
            let open: Vec<&str> = table
                .lines()
                .filter(|line| line.contains(" OPEN "))
                .collect();
            assert!(
                table.contains(" HELD "),
                "as {}: {profile}: {}",
                user.name,
                text(&output.stderr)
            );
            assert_eq!(
                output.status.code(),
                Some(0),
                "as {}: {profile}: {open:#?}",
                user.name
            );
        }
    });
}

/// The processes whose command line contains `token`.
fn alive(token: &str) -> usize {
    let entries = std::fs::read_dir("/proc")
        .expect("/proc is mounted")
        .flatten();
    let lines = entries.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    lines
        .filter(|line| {
            line.windows(token.len())
                .any(|word| word == token.as_bytes())
        })
        .count()
}

/// Start `command`, which leaves a process in a session of its own behind; kill it once it says so,
/// and count who is alive a while later.
fn kill_and_count(mut command: Command, token: &str) -> usize {
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .expect("it can be started");
    let mut ready = [0_u8; 5];
    let heard = child.stdout.take().expect("piped").read_exact(&mut ready);
    heard.expect("it gets as far as to say so");
    child.kill().expect("it lives");
    child.wait().expect("it ends");
    let deadline = Instant::now() + Duration::from_secs(2);
    while alive(token) > 0 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
    alive(token)
}

#[test]
fn killing_the_launcher_leaves_nothing_alive() {
    each_user(|user| {
        let token = format!("survivor-{}-{}", user.uid, std::process::id());
        let script =
            format!("setsid sh -c 'trap \"\" HUP TERM; echo ready; sleep 8; : {token}' & wait");
        let mut sandboxed = user.sandbox(&["--", "/bin/sh", "-c"]);
        sandboxed.arg(&script);
        assert_eq!(kill_and_count(sandboxed, &token), 0, "as {}", user.name);

        let token = token.replace("survivor", "control");
        let mut free = user.command("/bin/sh");
        free.args(["-c", &script.replace("survivor", "control")]);
        assert_ne!(
            kill_and_count(free, &token),
            0,
            "as {}: no control",
            user.name
        );
    });
}
