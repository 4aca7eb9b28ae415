//! The system-call filter: what each shipped profile lets through, that the compiled program says
//! the same as the plain table for every call, and that the kernel does what the program says.
//!
//! Live tests install a filter in a forked child and make real calls there; each has a control, the
//! same call in a child without a filter. `SANDBOX_BLESS=1` writes the golden tables anew.

#![expect(
    unsafe_code,
    reason = "a filter cannot be tried in the test's own process"
)]
#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use sandbox::filter::{
    self, Arch, CHILD_CALLS, Condition, Context, Profile, Program, Table, Test, Verdict, compile,
    interpret, load, parse_oci, resolve,
};

// ---- the compiled program and the plain table ----

fn contexts() -> Vec<(&'static str, Context)> {
    let base = Context::default();
    let with = |change: fn(&mut Context)| {
        let mut context = base.clone();
        change(&mut context);
        context
    };
    vec![
        ("plain", base.clone()),
        ("no-sockets", with(|c| c.no_sockets = true)),
        ("as-pid-1", with(|c| c.as_pid_1 = true)),
        ("group-signals", with(|c| c.refuse_group_signals = true)),
        ("host-sockets", with(|c| c.host_sockets = true)),
        (
            "no-sockets and host-sockets",
            with(|c| {
                c.no_sockets = true;
                c.host_sockets = true;
            }),
        ),
        ("host-datagrams", with(|c| c.host_datagrams = true)),
        ("host-processes", with(|c| c.host_processes = true)),
        ("capabilities", with(|c| c.cap_add = (0..=40).collect())),
        (
            "all-switches",
            with(|c| {
                c.no_sockets = true;
                c.refuse_group_signals = true;
                c.host_sockets = true;
                c.host_datagrams = true;
                c.host_processes = true;
            }),
        ),
    ]
}

/// A profile with every kind of test, several verdicts a call, and tests of upper halves.
const EVERY_OP: &str = r#"{
  "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1,
  "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]},
              {"architecture": "SCMP_ARCH_AARCH64"}],
  "syscalls": [
    {"names": ["read", "write", "close", "rt_sigaction", "rt_sigprocmask", "execve", "execveat",
               "exit_group", "kill", "wait4", "waitid", "rt_sigtimedwait", "socketcall"],
     "action": "SCMP_ACT_ALLOW"},
    {"names": ["personality"], "action": "SCMP_ACT_ALLOW",
     "args": [{"index": 0, "value": 0, "op": "SCMP_CMP_EQ"},
              {"index": 0, "value": 8, "op": "SCMP_CMP_EQ"}]},
    {"names": ["socket"], "action": "SCMP_ACT_ALLOW",
     "args": [{"index": 0, "value": 40, "op": "SCMP_CMP_NE"}]},
    {"names": ["mmap"], "action": "SCMP_ACT_LOG",
     "args": [{"index": 1, "value": 4294967296, "op": "SCMP_CMP_LT"},
              {"index": 2, "value": 4, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]},
    {"names": ["mmap"], "action": "SCMP_ACT_TRAP",
     "args": [{"index": 1, "value": 18446744073709551615, "op": "SCMP_CMP_LE"}]},
    {"names": ["lseek"], "action": "SCMP_ACT_ALLOW",
     "args": [{"index": 1, "value": 4294967298, "op": "SCMP_CMP_GT"},
              {"index": 2, "value": 3, "op": "SCMP_CMP_GE"}]},
    {"names": ["ioctl"], "action": "SCMP_ACT_KILL_PROCESS",
     "args": [{"index": 1, "value": 21522, "op": "SCMP_CMP_EQ"}]},
    {"names": ["ioctl"], "action": "SCMP_ACT_ERRNO", "errnoRet": 25,
     "args": [{"index": 1, "value": 18446744069414584320, "valueTwo": 4294967296, "op": "SCMP_CMP_MASKED_EQ"}]},
    {"names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
    {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38, "excludes": {"caps": ["CAP_SYS_ADMIN"]}},
    {"names": ["arch_prctl"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["amd64", "x32"]}},
    {"names": ["ptrace"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "4.8"}}
  ]
}"#;

fn profiles() -> Vec<Profile> {
    let mut all: Vec<Profile> = filter::builtin_names()
        .map(|name| load(name).unwrap())
        .collect();
    all.push(parse_oci(EVERY_OP).unwrap());
    all
}

/// Values around a rule's constant, with and without garbage in the upper half.
fn around(condition: &Condition, into: &mut BTreeSet<u64>) {
    let mut seeds = vec![condition.value];
    if let Test::Masked(mask) = condition.test {
        seeds.extend([condition.value | !mask, mask, !mask]);
    }
    for seed in seeds {
        for near in [
            seed,
            seed.wrapping_sub(1),
            seed.wrapping_add(1),
            seed ^ 0x800,
        ] {
            into.extend([
                near,
                near & 0xffff_ffff,
                near | 0xdead_beef_0000_0000,
                near ^ (1 << 32),
                near ^ (1 << 31),
            ]);
        }
    }
}

/// Argument vectors that reach each clause and each of its neighbours.
fn samples(table: &Table, number: u32) -> Vec<[u64; 6]> {
    let mut values: [BTreeSet<u64>; 6] = Default::default();
    let clauses = table
        .calls
        .get(&number)
        .map_or(&[][..], |call| &call.clauses);
    for condition in clauses.iter().flat_map(|clause| &clause.when) {
        around(condition, &mut values[usize::from(condition.argument)]);
    }
    let mut vectors = vec![[0; 6], [u64::MAX; 6]];
    for clause in clauses {
        // Starting from a vector that the clause matches, change one argument at a time.
        let mut base = [0; 6];
        for condition in &clause.when {
            base[usize::from(condition.argument)] = condition.value;
        }
        vectors.push(base);
        for (argument, candidates) in values.iter().enumerate() {
            for &value in candidates {
                let mut vector = base;
                vector[argument] = value;
                vectors.push(vector);
            }
        }
    }
    vectors
}

#[test]
fn the_tree_says_what_the_plain_table_says_for_every_number() {
    let mut edges: Vec<u32> = (0..=1023).collect();
    edges.extend((0x4000_0000..=0x4000_0400).chain(0x3fff_fff0..0x4000_0000));
    edges.extend([
        0x7fff_ffff,
        0x8000_0000,
        0xbfff_ffff,
        0xc000_0000,
        u32::MAX - 1,
        u32::MAX,
    ]);
    edges.extend((10..31).map(|bit| 1 << bit));
    let mut compared = 0_u64;
    for profile in profiles() {
        for arch in Arch::ALL {
            for (name, context) in contexts() {
                let context = Context { arch, ..context };
                let table = resolve(&profile, &context).unwrap();
                let program = compile(&profile, &context).unwrap();
                for &number in &edges {
                    for arguments in samples(&table, number) {
                        let plain = table.verdict(number, &arguments);
                        let tree = interpret(&program, arch.audit_word(), number, &arguments);
                        assert_eq!(
                            tree, plain,
                            "{} {arch:?} {name}: call {number} {arguments:x?}",
                            profile.name
                        );
                        compared += 1;
                    }
                }
            }
        }
    }
    assert!(compared > 300_000, "only {compared} calls compared");
}

#[test]
fn each_clause_of_each_profile_is_reached_by_some_sample() {
    for profile in profiles() {
        let context = Context::default();
        let table = resolve(&profile, &context).unwrap();
        for (number, call) in &table.calls {
            for clause in &call.clauses {
                assert!(
                    samples(&table, *number)
                        .iter()
                        .any(|sample| clause.matches(sample)),
                    "{}: {} {clause:?}",
                    profile.name,
                    call.name
                );
            }
        }
    }
}

#[test]
fn a_foreign_architecture_dies_and_x32_does_not_exist() {
    const AUDIT_ARCH_I386: u32 = 0x4000_0003;
    const AUDIT_ARCH_ARM: u32 = 0x4000_0028;
    for profile in profiles() {
        for arch in Arch::ALL {
            let context = Context {
                arch,
                ..Context::default()
            };
            let program = compile(&profile, &context).unwrap();
            for number in [0, 1, 59, 102, 359] {
                for foreign in [AUDIT_ARCH_I386, AUDIT_ARCH_ARM, 0, u32::MAX] {
                    let verdict = interpret(&program, foreign, number, &[0; 6]);
                    assert_eq!(verdict, Verdict::KillProcess);
                }
                let x32 = interpret(&program, arch.audit_word(), 0x4000_0000 + number, &[0; 6]);
                assert_eq!(x32, Verdict::Errno(38));
            }
        }
    }
}

#[test]
fn every_program_fits_the_kernel_and_the_default_one_is_short() {
    for profile in profiles() {
        for arch in Arch::ALL {
            for (name, context) in contexts() {
                let program = compile(&profile, &Context { arch, ..context }).unwrap();
                assert!(
                    program.len() < 400,
                    "{} {arch:?} {name}: {} instructions",
                    profile.name,
                    program.len()
                );
            }
        }
    }
}

#[test]
fn the_hash_names_one_program() {
    let context = Context::default();
    let one = compile(&load("default").unwrap(), &context).unwrap();
    let same = compile(&load("default").unwrap(), &context).unwrap();
    let other = compile(&load("strict").unwrap(), &context).unwrap();
    assert_eq!(one.hash(), same.hash());
    assert_ne!(one.hash(), other.hash());
    assert_eq!(one.hash().len(), 32);
    assert_eq!(one.disassemble().lines().count(), one.len());
    assert!(one.disassemble().starts_with("   0: load architecture\n"));
}

// ---- golden tables ----

fn golden(profile: &Profile, arch: Arch) -> String {
    let context = Context {
        arch,
        ..Context::default()
    };
    let table = resolve(profile, &context).unwrap();
    let mut text = format!(
        "# {} on {}: number, call, verdict\n",
        profile.name,
        arch.name()
    );
    for (number, call) in &table.calls {
        write!(text, "{number} {}", call.name).unwrap();
        for clause in &call.clauses {
            let when: Vec<String> = clause.when.iter().map(ToString::to_string).collect();
            write!(text, "\n    {}: {}", when.join(" and "), clause.verdict).unwrap();
        }
        let indent = if call.clauses.is_empty() {
            " "
        } else {
            "\n    otherwise: "
        };
        writeln!(text, "{indent}{}", call.otherwise).unwrap();
    }
    writeln!(text, "other numbers {}", table.unknown).unwrap();
    text
}

#[test]
fn each_profile_lets_through_what_its_golden_table_says() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/seccomp");
    for name in filter::builtin_names() {
        let profile = load(name).unwrap();
        for arch in Arch::ALL {
            let file = directory.join(format!("{name}.{}.txt", arch.name()));
            let now = golden(&profile, arch);
            if std::env::var_os("SANDBOX_BLESS").is_some() {
                std::fs::create_dir_all(&directory).unwrap();
                std::fs::write(&file, &now).unwrap();
            }
            let then = std::fs::read_to_string(&file).unwrap();
            let changed: Vec<_> = now
                .lines()
                .zip(then.lines())
                .filter(|(n, t)| n != t)
                .collect();
            assert!(now == then, "{name} on {}: {changed:#?}", arch.name());
        }
    }
}

#[test]
fn each_program_in_the_binary_is_what_its_profile_compiles_to() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies/seccomp/compiled");
    let overlays = [
        ("", false, false),
        (".no-sockets", true, false),
        (".host-sockets", false, true),
        (".no-sockets.host-sockets", true, true),
    ];
    for name in filter::builtin_names() {
        let profile = load(name).unwrap();
        let each = |(overlay, no_sockets, host_sockets)| {
            Arch::ALL.map(|arch| {
                let context = Context {
                    arch,
                    no_sockets,
                    host_sockets,
                    ..Context::default()
                };
                (format!("{name}{overlay}.{}.txt", arch.name()), context)
            })
        };
        for (file, context) in overlays.into_iter().flat_map(each) {
            let compiled = compile(&profile, &context).unwrap();
            let file = directory.join(file);
            if std::env::var_os("SANDBOX_BLESS").is_some() {
                std::fs::create_dir_all(&directory).unwrap();
                std::fs::write(&file, compiled.listing()).unwrap();
            }
            let listing = std::fs::read_to_string(&file).unwrap();
            assert_eq!(listing, compiled.listing(), "{}", file.display());
        }
        if std::env::var_os("SANDBOX_BLESS").is_some() {
            continue; // this binary still holds the old listings
        }
        for (_, context) in contexts() {
            let found = filter::program(name, &context).unwrap();
            assert_eq!(
                found,
                compile(&profile, &context).unwrap(),
                "{name} {context:?}"
            );
        }
    }
}

/// Independent of the golden files: what no profile may ever let through.
#[test]
fn no_profile_lets_the_known_ways_out_through() {
    let never = [
        "io_uring_setup",
        "io_uring_enter",
        "io_uring_register",
        "clone3",
        "setns",
        "bpf",
        "perf_event_open",
        "userfaultfd",
        "keyctl",
        "add_key",
        "request_key",
        "pidfd_getfd",
        "mount",
        "umount2",
        "pivot_root",
        "open_by_handle_at",
        "init_module",
        "finit_module",
        "kexec_load",
        "kexec_file_load",
        "reboot",
        "swapon",
        "settimeofday",
        "clock_settime",
        "fanotify_init",
        "quotactl",
        "acct",
        "syslog",
        "vhangup",
        "migrate_pages",
        "move_pages",
        "vmsplice",
        "remap_file_pages",
        "chroot",
        "name_to_handle_at",
        "fsopen",
        "move_mount",
        "open_tree",
    ];
    for name in filter::builtin_names() {
        for arch in Arch::ALL {
            let context = Context {
                arch,
                ..Context::default()
            };
            let program = compile(&load(name).unwrap(), &context).unwrap();
            let says = |call: &str, arguments: [u64; 6]| {
                let number = filter::number(call, arch)?;
                Some(interpret(&program, arch.audit_word(), number, &arguments))
            };
            for call in never {
                assert!(
                    !says(call, [0; 6]).is_some_and(Verdict::permits),
                    "{name}: {call}"
                );
            }
            for family in (0..64).filter(|family| ![1, 2, 10, 16].contains(family)) {
                let verdict = says("socket", [family, 1, 0, 0, 0, 0]);
                assert_eq!(verdict, Some(Verdict::Errno(97)), "{name}: family {family}");
            }
            for flag in (0..32).filter(|bit| 0x7e02_0080_u64 >> bit & 1 == 1) {
                let verdict = says("unshare", [1 << flag, 0, 0, 0, 0, 0]);
                assert_eq!(verdict, Some(Verdict::Errno(1)), "{name}: unshare {flag}");
            }
        }
    }
}

#[test]
fn every_profile_allows_what_the_child_does_after_installing_it() {
    for name in filter::builtin_names() {
        for (context_name, context) in contexts() {
            let table = resolve(&load(name).unwrap(), &context).unwrap();
            for call in CHILD_CALLS {
                let number = filter::number(call, context.arch).unwrap();
                let call = &table.calls[&number];
                assert!(
                    call.clauses.is_empty() && call.otherwise == Verdict::Allow,
                    "{name} {context_name}: {call:?}"
                );
            }
        }
    }
}

#[test]
fn a_profile_without_execve_is_refused_with_the_reason() {
    let profile = parse_oci(&EVERY_OP.replace("\"execve\", ", "")).unwrap();
    let error = compile(&profile, &Context::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "seccomp profile \"oci\": it must allow execve whatever its arguments: the launcher itself \
         needs it after the filter is installed"
    );
}

// ---- numbers ----

#[test]
#[cfg(target_arch = "x86_64")]
fn numbers_are_those_of_the_c_library() {
    macro_rules! check {
        ($($name:ident $constant:ident,)*) => {
            $(assert_eq!(
                filter::number(stringify!($name), Arch::X86_64).map(i64::from),
                Some(libc::$constant),
                stringify!($name)
            );)*
        };
    }
    check! {
        _sysctl SYS__sysctl,
        accept SYS_accept,
        accept4 SYS_accept4,
        access SYS_access,
        acct SYS_acct,
        add_key SYS_add_key,
        adjtimex SYS_adjtimex,
        afs_syscall SYS_afs_syscall,
        alarm SYS_alarm,
        arch_prctl SYS_arch_prctl,
        bind SYS_bind,
        bpf SYS_bpf,
        brk SYS_brk,
        capget SYS_capget,
        capset SYS_capset,
        chdir SYS_chdir,
        chmod SYS_chmod,
        chown SYS_chown,
        chroot SYS_chroot,
        clock_adjtime SYS_clock_adjtime,
        clock_getres SYS_clock_getres,
        clock_gettime SYS_clock_gettime,
        clock_nanosleep SYS_clock_nanosleep,
        clock_settime SYS_clock_settime,
        clone SYS_clone,
        clone3 SYS_clone3,
        close SYS_close,
        close_range SYS_close_range,
        connect SYS_connect,
        copy_file_range SYS_copy_file_range,
        creat SYS_creat,
        delete_module SYS_delete_module,
        dup SYS_dup,
        dup2 SYS_dup2,
        dup3 SYS_dup3,
        epoll_create SYS_epoll_create,
        epoll_create1 SYS_epoll_create1,
        epoll_ctl SYS_epoll_ctl,
        epoll_ctl_old SYS_epoll_ctl_old,
        epoll_pwait SYS_epoll_pwait,
        epoll_pwait2 SYS_epoll_pwait2,
        epoll_wait SYS_epoll_wait,
        epoll_wait_old SYS_epoll_wait_old,
        eventfd SYS_eventfd,
        eventfd2 SYS_eventfd2,
        execve SYS_execve,
        execveat SYS_execveat,
        exit SYS_exit,
        exit_group SYS_exit_group,
        faccessat SYS_faccessat,
        faccessat2 SYS_faccessat2,
        fadvise64 SYS_fadvise64,
        fallocate SYS_fallocate,
        fanotify_init SYS_fanotify_init,
        fanotify_mark SYS_fanotify_mark,
        fchdir SYS_fchdir,
        fchmod SYS_fchmod,
        fchmodat SYS_fchmodat,
        fchmodat2 SYS_fchmodat2,
        fchown SYS_fchown,
        fchownat SYS_fchownat,
        fcntl SYS_fcntl,
        fdatasync SYS_fdatasync,
        fgetxattr SYS_fgetxattr,
        finit_module SYS_finit_module,
        flistxattr SYS_flistxattr,
        flock SYS_flock,
        fork SYS_fork,
        fremovexattr SYS_fremovexattr,
        fsconfig SYS_fsconfig,
        fsetxattr SYS_fsetxattr,
        fsmount SYS_fsmount,
        fsopen SYS_fsopen,
        fspick SYS_fspick,
        fstat SYS_fstat,
        fstatfs SYS_fstatfs,
        fsync SYS_fsync,
        ftruncate SYS_ftruncate,
        futex SYS_futex,
        futex_waitv SYS_futex_waitv,
        futimesat SYS_futimesat,
        get_mempolicy SYS_get_mempolicy,
        get_robust_list SYS_get_robust_list,
        get_thread_area SYS_get_thread_area,
        getcpu SYS_getcpu,
        getcwd SYS_getcwd,
        getdents SYS_getdents,
        getdents64 SYS_getdents64,
        getegid SYS_getegid,
        geteuid SYS_geteuid,
        getgid SYS_getgid,
        getgroups SYS_getgroups,
        getitimer SYS_getitimer,
        getpeername SYS_getpeername,
        getpgid SYS_getpgid,
        getpgrp SYS_getpgrp,
        getpid SYS_getpid,
        getpmsg SYS_getpmsg,
        getppid SYS_getppid,
        getpriority SYS_getpriority,
        getrandom SYS_getrandom,
        getresgid SYS_getresgid,
        getresuid SYS_getresuid,
        getrlimit SYS_getrlimit,
        getrusage SYS_getrusage,
        getsid SYS_getsid,
        getsockname SYS_getsockname,
        getsockopt SYS_getsockopt,
        gettid SYS_gettid,
        gettimeofday SYS_gettimeofday,
        getuid SYS_getuid,
        getxattr SYS_getxattr,
        init_module SYS_init_module,
        inotify_add_watch SYS_inotify_add_watch,
        inotify_init SYS_inotify_init,
        inotify_init1 SYS_inotify_init1,
        inotify_rm_watch SYS_inotify_rm_watch,
        io_cancel SYS_io_cancel,
        io_destroy SYS_io_destroy,
        io_getevents SYS_io_getevents,
        io_setup SYS_io_setup,
        io_submit SYS_io_submit,
        io_uring_enter SYS_io_uring_enter,
        io_uring_register SYS_io_uring_register,
        io_uring_setup SYS_io_uring_setup,
        ioctl SYS_ioctl,
        ioperm SYS_ioperm,
        iopl SYS_iopl,
        ioprio_get SYS_ioprio_get,
        ioprio_set SYS_ioprio_set,
        kcmp SYS_kcmp,
        kexec_file_load SYS_kexec_file_load,
        kexec_load SYS_kexec_load,
        keyctl SYS_keyctl,
        kill SYS_kill,
        landlock_add_rule SYS_landlock_add_rule,
        landlock_create_ruleset SYS_landlock_create_ruleset,
        landlock_restrict_self SYS_landlock_restrict_self,
        lchown SYS_lchown,
        lgetxattr SYS_lgetxattr,
        link SYS_link,
        linkat SYS_linkat,
        listen SYS_listen,
        listxattr SYS_listxattr,
        llistxattr SYS_llistxattr,
        lookup_dcookie SYS_lookup_dcookie,
        lremovexattr SYS_lremovexattr,
        lseek SYS_lseek,
        lsetxattr SYS_lsetxattr,
        lstat SYS_lstat,
        madvise SYS_madvise,
        mbind SYS_mbind,
        membarrier SYS_membarrier,
        memfd_create SYS_memfd_create,
        memfd_secret SYS_memfd_secret,
        migrate_pages SYS_migrate_pages,
        mincore SYS_mincore,
        mkdir SYS_mkdir,
        mkdirat SYS_mkdirat,
        mknod SYS_mknod,
        mknodat SYS_mknodat,
        mlock SYS_mlock,
        mlock2 SYS_mlock2,
        mlockall SYS_mlockall,
        mmap SYS_mmap,
        modify_ldt SYS_modify_ldt,
        mount SYS_mount,
        mount_setattr SYS_mount_setattr,
        move_mount SYS_move_mount,
        move_pages SYS_move_pages,
        mprotect SYS_mprotect,
        mq_getsetattr SYS_mq_getsetattr,
        mq_notify SYS_mq_notify,
        mq_open SYS_mq_open,
        mq_timedreceive SYS_mq_timedreceive,
        mq_timedsend SYS_mq_timedsend,
        mq_unlink SYS_mq_unlink,
        mremap SYS_mremap,
        mseal SYS_mseal,
        msgctl SYS_msgctl,
        msgget SYS_msgget,
        msgrcv SYS_msgrcv,
        msgsnd SYS_msgsnd,
        msync SYS_msync,
        munlock SYS_munlock,
        munlockall SYS_munlockall,
        munmap SYS_munmap,
        name_to_handle_at SYS_name_to_handle_at,
        nanosleep SYS_nanosleep,
        newfstatat SYS_newfstatat,
        nfsservctl SYS_nfsservctl,
        open SYS_open,
        open_by_handle_at SYS_open_by_handle_at,
        open_tree SYS_open_tree,
        openat SYS_openat,
        openat2 SYS_openat2,
        pause SYS_pause,
        perf_event_open SYS_perf_event_open,
        personality SYS_personality,
        pidfd_getfd SYS_pidfd_getfd,
        pidfd_open SYS_pidfd_open,
        pidfd_send_signal SYS_pidfd_send_signal,
        pipe SYS_pipe,
        pipe2 SYS_pipe2,
        pivot_root SYS_pivot_root,
        pkey_alloc SYS_pkey_alloc,
        pkey_free SYS_pkey_free,
        pkey_mprotect SYS_pkey_mprotect,
        poll SYS_poll,
        ppoll SYS_ppoll,
        prctl SYS_prctl,
        pread64 SYS_pread64,
        preadv SYS_preadv,
        preadv2 SYS_preadv2,
        prlimit64 SYS_prlimit64,
        process_madvise SYS_process_madvise,
        process_mrelease SYS_process_mrelease,
        process_vm_readv SYS_process_vm_readv,
        process_vm_writev SYS_process_vm_writev,
        pselect6 SYS_pselect6,
        ptrace SYS_ptrace,
        putpmsg SYS_putpmsg,
        pwrite64 SYS_pwrite64,
        pwritev SYS_pwritev,
        pwritev2 SYS_pwritev2,
        quotactl SYS_quotactl,
        quotactl_fd SYS_quotactl_fd,
        read SYS_read,
        readahead SYS_readahead,
        readlink SYS_readlink,
        readlinkat SYS_readlinkat,
        readv SYS_readv,
        reboot SYS_reboot,
        recvfrom SYS_recvfrom,
        recvmmsg SYS_recvmmsg,
        recvmsg SYS_recvmsg,
        remap_file_pages SYS_remap_file_pages,
        removexattr SYS_removexattr,
        rename SYS_rename,
        renameat SYS_renameat,
        renameat2 SYS_renameat2,
        request_key SYS_request_key,
        restart_syscall SYS_restart_syscall,
        rmdir SYS_rmdir,
        rseq SYS_rseq,
        rt_sigaction SYS_rt_sigaction,
        rt_sigpending SYS_rt_sigpending,
        rt_sigprocmask SYS_rt_sigprocmask,
        rt_sigqueueinfo SYS_rt_sigqueueinfo,
        rt_sigreturn SYS_rt_sigreturn,
        rt_sigsuspend SYS_rt_sigsuspend,
        rt_sigtimedwait SYS_rt_sigtimedwait,
        rt_tgsigqueueinfo SYS_rt_tgsigqueueinfo,
        sched_get_priority_max SYS_sched_get_priority_max,
        sched_get_priority_min SYS_sched_get_priority_min,
        sched_getaffinity SYS_sched_getaffinity,
        sched_getattr SYS_sched_getattr,
        sched_getparam SYS_sched_getparam,
        sched_getscheduler SYS_sched_getscheduler,
        sched_rr_get_interval SYS_sched_rr_get_interval,
        sched_setaffinity SYS_sched_setaffinity,
        sched_setattr SYS_sched_setattr,
        sched_setparam SYS_sched_setparam,
        sched_setscheduler SYS_sched_setscheduler,
        sched_yield SYS_sched_yield,
        seccomp SYS_seccomp,
        security SYS_security,
        select SYS_select,
        semctl SYS_semctl,
        semget SYS_semget,
        semop SYS_semop,
        semtimedop SYS_semtimedop,
        sendfile SYS_sendfile,
        sendmmsg SYS_sendmmsg,
        sendmsg SYS_sendmsg,
        sendto SYS_sendto,
        set_mempolicy SYS_set_mempolicy,
        set_mempolicy_home_node SYS_set_mempolicy_home_node,
        set_robust_list SYS_set_robust_list,
        set_thread_area SYS_set_thread_area,
        set_tid_address SYS_set_tid_address,
        setdomainname SYS_setdomainname,
        setfsgid SYS_setfsgid,
        setfsuid SYS_setfsuid,
        setgid SYS_setgid,
        setgroups SYS_setgroups,
        sethostname SYS_sethostname,
        setitimer SYS_setitimer,
        setns SYS_setns,
        setpgid SYS_setpgid,
        setpriority SYS_setpriority,
        setregid SYS_setregid,
        setresgid SYS_setresgid,
        setresuid SYS_setresuid,
        setreuid SYS_setreuid,
        setrlimit SYS_setrlimit,
        setsid SYS_setsid,
        setsockopt SYS_setsockopt,
        settimeofday SYS_settimeofday,
        setuid SYS_setuid,
        setxattr SYS_setxattr,
        shmat SYS_shmat,
        shmctl SYS_shmctl,
        shmdt SYS_shmdt,
        shmget SYS_shmget,
        shutdown SYS_shutdown,
        sigaltstack SYS_sigaltstack,
        signalfd SYS_signalfd,
        signalfd4 SYS_signalfd4,
        socket SYS_socket,
        socketpair SYS_socketpair,
        splice SYS_splice,
        stat SYS_stat,
        statfs SYS_statfs,
        statx SYS_statx,
        swapoff SYS_swapoff,
        swapon SYS_swapon,
        symlink SYS_symlink,
        symlinkat SYS_symlinkat,
        sync SYS_sync,
        sync_file_range SYS_sync_file_range,
        syncfs SYS_syncfs,
        sysfs SYS_sysfs,
        sysinfo SYS_sysinfo,
        syslog SYS_syslog,
        tee SYS_tee,
        tgkill SYS_tgkill,
        time SYS_time,
        timer_create SYS_timer_create,
        timer_delete SYS_timer_delete,
        timer_getoverrun SYS_timer_getoverrun,
        timer_gettime SYS_timer_gettime,
        timer_settime SYS_timer_settime,
        timerfd_create SYS_timerfd_create,
        timerfd_gettime SYS_timerfd_gettime,
        timerfd_settime SYS_timerfd_settime,
        times SYS_times,
        tkill SYS_tkill,
        truncate SYS_truncate,
        tuxcall SYS_tuxcall,
        umask SYS_umask,
        umount2 SYS_umount2,
        uname SYS_uname,
        unlink SYS_unlink,
        unlinkat SYS_unlinkat,
        unshare SYS_unshare,
        uselib SYS_uselib,
        userfaultfd SYS_userfaultfd,
        ustat SYS_ustat,
        utime SYS_utime,
        utimensat SYS_utimensat,
        utimes SYS_utimes,
        vfork SYS_vfork,
        vhangup SYS_vhangup,
        vmsplice SYS_vmsplice,
        vserver SYS_vserver,
        wait4 SYS_wait4,
        waitid SYS_waitid,
        write SYS_write,
        writev SYS_writev,
    }
}

// ---- import ----

#[test]
fn an_imported_profile_means_what_the_engines_mean() {
    let profile = parse_oci(EVERY_OP).unwrap();
    assert_eq!(profile.ignored, ["socketcall"]);
    let context = Context {
        arch: Arch::X86_64,
        ..Context::default()
    };
    let says = |context: &Context, call: &str, arguments: [u64; 6]| {
        let program = compile(&profile, context).unwrap();
        let number = filter::number(call, context.arch).unwrap();
        interpret(&program, context.arch.audit_word(), number, &arguments)
    };
    // Two tests of one argument: any suffices.
    assert_eq!(
        says(&context, "personality", [8, 0, 0, 0, 0, 0]),
        Verdict::Allow
    );
    assert_eq!(says(&context, "personality", [0; 6]), Verdict::Allow);
    assert_eq!(
        says(&context, "personality", [9, 0, 0, 0, 0, 0]),
        Verdict::Errno(1)
    );
    // 64 bits are compared.
    assert_eq!(
        says(&context, "socket", [40, 0, 0, 0, 0, 0]),
        Verdict::Errno(1)
    );
    assert_eq!(
        says(&context, "socket", [1 << 32 | 40, 0, 0, 0, 0, 0]),
        Verdict::Allow
    );
    // The first entry that matches decides.
    assert_eq!(says(&context, "mmap", [0, 4096, 3, 0, 0, 0]), Verdict::Log);
    assert_eq!(says(&context, "mmap", [0, 4096, 7, 0, 0, 0]), Verdict::Trap);
    assert_eq!(
        says(&context, "ioctl", [0, 21522, 0, 0, 0, 0]),
        Verdict::KillProcess
    );
    assert_eq!(
        says(&context, "ioctl", [0, 1 << 32 | 5, 0, 0, 0, 0]),
        Verdict::Errno(25)
    );
    // Capabilities, architectures and kernels.
    assert_eq!(says(&context, "mount", [0; 6]), Verdict::Errno(1));
    assert_eq!(says(&context, "clone3", [0; 6]), Verdict::Errno(38));
    let admin = Context {
        cap_add: vec![21],
        ..context.clone()
    };
    assert_eq!(says(&admin, "mount", [0; 6]), Verdict::Allow);
    assert_eq!(says(&admin, "clone3", [0; 6]), Verdict::Errno(1));
    assert_eq!(says(&context, "arch_prctl", [0; 6]), Verdict::Allow);
    let old = Context {
        kernel: (4, 7),
        ..context.clone()
    };
    assert_eq!(says(&old, "ptrace", [0; 6]), Verdict::Errno(1));
    assert_eq!(says(&context, "ptrace", [0; 6]), Verdict::Allow);
    // What the profile's author could not know is absent, not forbidden.
    assert_eq!(says(&context, "mseal", [0; 6]), Verdict::Errno(38));
    assert_eq!(
        interpret(
            &compile(&profile, &context).unwrap(),
            0xc000_003e,
            400,
            &[0; 6]
        ),
        Verdict::Errno(38)
    );
}

#[test]
fn what_cannot_be_imported_says_why() {
    for (text, expected) in [
        ("{", "oci:1:1: EOF while parsing an object"),
        (
            "{\n\"defaultAction\": 3}",
            "oci:2:18: invalid type: integer `3`, expected a string",
        ),
        (
            "{\"defaultAction\": \"SCMP_ACT_MAYBE\"}",
            "oci:1:1: defaultAction: unknown action \"SCMP_ACT_MAYBE\"",
        ),
        (
            "{\"defaultAction\": \"SCMP_ACT_ALLOW\", \"syscalls\": [{\"names\": [\"read\"], \"action\": \"SCMP_ACT_TRACE\"}]}",
            "oci:1:1: syscalls[0]: SCMP_ACT_TRACE hands the call to another process, and sandbox runs none; use SCMP_ACT_ERRNO",
        ),
        (
            "{\"defaultAction\": \"SCMP_ACT_ALLOW\", \"syscalls\": [{\"names\": [\"read\"], \"action\": \"SCMP_ACT_ERRNO\", \"errnoRet\": 70000}]}",
            "oci:1:1: syscalls[0]: errno 70000 is above the highest, 4095",
        ),
        (
            "{\"defaultAction\": \"SCMP_ACT_ALLOW\", \"syscalls\": [{\"names\": [\"read\"], \"action\": \"SCMP_ACT_KILL\", \"args\": [{\"index\": 6, \"value\": 0, \"op\": \"SCMP_CMP_EQ\"}]}]}",
            "oci:1:1: syscalls[0]: there is no argument 6",
        ),
        (
            "{\"defaultAction\": \"SCMP_ACT_ALLOW\", \"architectures\": [\"SCMP_ARCH_S390X\"]}",
            "oci:1:1: it lists neither SCMP_ARCH_X86_64 nor SCMP_ARCH_AARCH64",
        ),
    ] {
        assert_eq!(parse_oci(text).unwrap_err().to_string(), expected);
    }
}

#[test]
fn a_word_that_names_nothing_gets_the_nearest_name() {
    assert_eq!(
        load("defualt").unwrap_err().to_string(),
        "seccomp profile \"defualt\": no such profile, and no such file; did you mean \"default\"? \
         (shipped: default, strict, worker, connection, build, agent, browser; \"off\" for none)"
    );
}

#[test]
fn files_are_told_apart_by_what_is_in_them() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &[u8]| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let json = write("profile", EVERY_OP.as_bytes());
    assert_eq!(
        load(&json).unwrap().rules,
        parse_oci(EVERY_OP).unwrap().rules
    );
    let toml = write(
        "mine.toml",
        b"description = \"mine\"\nextends = \"strict\"\n",
    );
    let mine = load(&toml).unwrap();
    assert_eq!(mine.rules, load("strict").unwrap().rules);
    assert_eq!((mine.name, mine.description), (toml, "mine".to_owned()));
    let binary = write("binary", b"\xff\xfe");
    let error = load(&binary).unwrap_err().to_string();
    assert_eq!(error, format!("{binary}:1:1: the file is not UTF-8 text"));
    let absent = directory.path().join("absent.toml");
    let error = load(absent.to_str().unwrap()).unwrap_err().to_string();
    assert_eq!(
        error,
        format!("cannot read seccomp profile {}", absent.display())
    );
}

#[test]
fn rules_beyond_what_the_kernel_takes_are_an_error() {
    // Verdicts take turns, so that no group alone is too long, and the whole is.
    let mut entries = String::new();
    for value in 0..4000 {
        let errno = 1 + value % 2;
        write!(
            entries,
            ",{{\"names\":[\"ioctl\"],\"action\":\"SCMP_ACT_ERRNO\",\"errnoRet\":{errno},\
             \"args\":[{{\"index\":1,\"value\":{value},\"op\":\"SCMP_CMP_EQ\"}}]}}"
        )
        .unwrap();
    }
    let text = format!(
        "{{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[{}]}}",
        &entries[1..]
    );
    let profile = parse_oci(&text).unwrap();
    let error = compile(&profile, &Context::default()).unwrap_err();
    assert!(error.to_string().contains("4096 instructions"), "{error}");
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_parsers_panic(start in 0..EVERY_OP.len(), insert in ".{0,12}", cut in 0..40_usize) {
        if EVERY_OP.is_char_boundary(start) {
            let end = (start + cut).min(EVERY_OP.len());
            let text = format!("{}{insert}{}", &EVERY_OP[..start], &EVERY_OP[end..]);
            if let Ok(profile) = parse_oci(&text) {
                let _ = compile(&profile, &Context::default());
            }
        }
        let text = filter::builtin_text("default").unwrap();
        let start = start.min(text.len());
        let end = (start + cut).min(text.len());
        let text = format!("{}{insert}{}", &text[..start], &text[end..]);
        if let Ok(profile) = filter::parse_profile(Path::new("p"), &text) {
            let _ = compile(&profile, &Context::default());
        }
    }
}

// ---- live ----

/// One system call and its arguments.
type Attempt = (&'static str, [u64; 6]);

/// What a call returned in the child: the value, or minus the errno; `KILLED` if it never returned.
const KILLED: i64 = i64::MIN;

/// Make each attempt in a forked child, under `program` where one is given.
fn make(program: Option<&Program>, attempts: &[Attempt]) -> Vec<i64> {
    let calls: Vec<(i64, [u64; 6])> = attempts
        .iter()
        .map(|(name, arguments)| {
            (
                filter::number(name, Arch::native()).unwrap().into(),
                *arguments,
            )
        })
        .collect();
    make_numbers(program, &calls)
}

fn make_numbers(program: Option<&Program>, calls: &[(i64, [u64; 6])]) -> Vec<i64> {
    let bytes = calls.len() * size_of::<i64>();
    // SAFETY: a new anonymous mapping; nothing else is at the address that the kernel chooses.
    let shared = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            bytes,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    assert_ne!(shared, libc::MAP_FAILED);
    // SAFETY: the mapping is that long, aligned to a page, and zeroed by the kernel; parent and child
    // do not use it at the same time, because the parent waits first.
    let results = unsafe { std::slice::from_raw_parts_mut(shared.cast::<i64>(), calls.len()) };
    results.fill(KILLED);
    // SAFETY: the child only makes system calls and writes to the mapping until it exits.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0);
    if pid == 0 {
        let ready = program.is_none_or(install);
        for (result, (number, arguments)) in results.iter_mut().zip(calls) {
            if ready {
                *result = raw(*number, arguments);
            }
        }
        // SAFETY: takes no pointer and does not return.
        unsafe { libc::_exit(0) };
    }
    // SAFETY: the child is ours; no status is asked for.
    let waited = unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) };
    assert_eq!(waited, pid);
    let copy = results.to_vec();
    // SAFETY: the mapping made above; `results` is not used afterwards.
    unsafe { libc::munmap(shared, bytes) };
    copy
}

fn install(program: &Program) -> bool {
    let fprog = libc::sock_fprog {
        len: program.len() as u16,
        filter: program.instructions().as_ptr().cast_mut(),
    };
    // SAFETY: no pointer is passed.
    let quiet = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    // SAFETY: `fprog` points to the program, which outlives the call; the kernel copies it.
    let installed = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            0,
            &raw const fprog,
        )
    };
    quiet == 0 && installed == 0
}

fn raw(number: i64, a: &[u64; 6]) -> i64 {
    // SAFETY: the attempts pass numbers, null, and addresses that live through the test; the kernel
    // checks every pointer itself, and a forked child that is damaged is thrown away.
    let result = unsafe { libc::syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]) };
    if result >= 0 {
        return result;
    }
    // errno is thread-local: reading it is async-signal-safe.
    -i64::from(nix::errno::Errno::last_raw())
}

fn program(profile: &str, change: fn(&mut Context)) -> Program {
    let mut context = Context::default();
    change(&mut context);
    compile(&load(profile).unwrap(), &context).unwrap()
}

fn errno(number: i32) -> i64 {
    -i64::from(number)
}

/// Each attempt must give `expected` under the filter, and something else without it.
fn refused_with_control(program: &Program, attempts: &[(Attempt, i32)]) {
    let calls: Vec<Attempt> = attempts.iter().map(|(attempt, _)| *attempt).collect();
    let inside = make(Some(program), &calls);
    for (at, (attempt, expected)) in attempts.iter().enumerate() {
        assert_eq!(inside[at], errno(*expected), "inside: {attempt:?}");
        // Alone, so that what one attempt does outside cannot change the next.
        let outside = make(None, &[*attempt])[0];
        assert_ne!(
            outside,
            errno(*expected),
            "the control would fail alike: {attempt:?}"
        );
    }
}

const GARBAGE: u64 = 0xdead_beef_0000_0000;

#[test]
fn the_kernel_refuses_namespaces_and_kernel_surface() {
    refused_with_control(
        &program("default", |_| ()),
        &[
            (
                ("unshare", [libc::CLONE_NEWUSER as u64, 0, 0, 0, 0, 0]),
                libc::EPERM,
            ),
            (
                (
                    "unshare",
                    [GARBAGE | libc::CLONE_NEWNET as u64, 0, 0, 0, 0, 0],
                ),
                libc::EPERM,
            ),
            (("setns", [u64::MAX, 0, 0, 0, 0, 0]), libc::EPERM), // else EBADF
            (("clone3", [0, 0, 0, 0, 0, 0]), libc::ENOSYS),      // else EINVAL
            (("io_uring_setup", [0, 0, 0, 0, 0, 0]), libc::ENOSYS), // else EFAULT, EINVAL
            (("keyctl", [99, 0, 0, 0, 0, 0]), libc::EPERM),      // else EOPNOTSUPP
            (("userfaultfd", [u64::MAX, 0, 0, 0, 0, 0]), libc::ENOSYS),
            (("bpf", [9999, 0, 0, 0, 0, 0]), libc::EPERM),
            (("pidfd_getfd", [u64::MAX, 0, 0, 0, 0, 0]), libc::EPERM),
            (("personality", [0x0040_0000, 0, 0, 0, 0, 0]), libc::EPERM),
            (("prctl", [GARBAGE | 62, u64::MAX, 0, 0, 0, 0]), libc::EPERM),
            (("process_vm_readv", [0, 0, 0, 0, 0, 0]), libc::EPERM),
            (("mount", [0, 0, 0, 0, 0, 0]), libc::EPERM),
            (("vmsplice", [u64::MAX, 0, 0, 0, 0, 0]), libc::ENOSYS),
        ],
    );
}

#[test]
fn the_kernel_refuses_socket_families_and_protocols() {
    let socket = |family: u64, kind: u64, protocol: u64| -> Attempt {
        ("socket", [family, kind, protocol, 0, 0, 0])
    };
    refused_with_control(
        &program("default", |_| ()),
        &[
            (socket(40, 1, 0), libc::EAFNOSUPPORT),           // vsock
            (socket(GARBAGE | 40, 1, 0), libc::EAFNOSUPPORT), // the kernel takes an int
            (socket(16, 3, 4), libc::EPROTONOSUPPORT),        // netlink: sock_diag
            (socket(2, 2, 136), libc::EPROTONOSUPPORT),       // UDP-Lite
            (socket(10, 3, 58), libc::EPROTONOSUPPORT),       // raw
        ],
    );
}

#[test]
fn the_kernel_makes_the_sockets_that_programs_need() {
    let attempts: Vec<Attempt> = [
        [1, 1, 0],
        [1, 2 | 0x80800, 0],
        [2, 1 | 0x80000, 6],
        [2, 2, 0],
        [10, 1, 0],
        [10, 2 | 0x800, 17],
        [16, 3, 0],
        [GARBAGE | 2, GARBAGE | 1, GARBAGE],
    ]
    .iter()
    .map(|a| ("socket", [a[0], a[1], a[2], 0, 0, 0]))
    .collect();
    for result in make(Some(&program("default", |_| ())), &attempts) {
        assert!(result >= 0, "{result}");
    }
    let strict = make(
        Some(&program("strict", |_| ())),
        &[("socket", [16, 3, 0, 0, 0, 0])],
    );
    assert_eq!(strict, [errno(libc::EAFNOSUPPORT)]);
}

#[test]
fn the_kernel_refuses_typing_on_a_terminal_whatever_the_upper_half_says() {
    // On a pipe's end nothing is typed: outside the answer is ENOTTY (or EBADF).
    let ioctl = |request: u64| -> (Attempt, i32) {
        (("ioctl", [u64::MAX, request, 0, 0, 0, 0]), libc::EPERM)
    };
    refused_with_control(
        &program("default", |_| ()),
        &[
            ioctl(0x5412),
            ioctl(GARBAGE | 0x5412),
            ioctl(0x541c),
            ioctl(0x541d),
            ioctl(GARBAGE | 0x5423),
            ioctl(0x4b49), // KDSKBSENT
        ],
    );
    // The window's size is still told.
    let size = make(
        Some(&program("default", |_| ())),
        &[("ioctl", [u64::MAX, 0x5413, 0, 0, 0, 0])],
    );
    assert_eq!(size, [errno(libc::EBADF)]);
}

#[test]
fn descriptors_only_leaves_pairs_and_nothing_else() {
    let program = program("worker", |context| context.no_sockets = true);
    let bad = u64::MAX;
    refused_with_control(
        &program,
        &[
            (("socket", [1, 1, 0, 0, 0, 0]), libc::EPERM),
            (("socket", [2, 1, 0, 0, 0, 0]), libc::EPERM),
            (("connect", [bad, 0, 0, 0, 0, 0]), libc::EPERM),
            (("bind", [bad, 0, 0, 0, 0, 0]), libc::EPERM),
            (("sendto", [bad, 0, 0, 0, 1 << 32, 0]), libc::EPERM),
            (("sendto", [bad, 0, 0, 0x2000_0000, 0, 0]), libc::EPERM),
            (("sendmsg", [bad, 0, 0, 0, 0, 0]), libc::EPERM),
            (("sendmmsg", [bad, 0, 0, 0, 0, 0]), libc::EPERM),
        ],
    );
    let mut pair = [0_i32; 2];
    let room = pair.as_mut_ptr() as u64;
    let results = make(
        Some(&program),
        &[
            ("socketpair", [1, 1, 0, room, 0, 0]),
            ("sendto", [bad, 0, 0, 0, 0, 0]),
            ("recvmsg", [bad, 0, 0, 0, 0, 0]),
            ("accept4", [bad, 0, 0, 0, 0, 0]),
            ("listen", [bad, 0, 0, 0, 0, 0]),
        ],
    );
    let ebadf = errno(libc::EBADF);
    assert_eq!(results, [0, ebadf, ebadf, ebadf, 0]);
}

#[test]
fn a_socket_of_the_host_cannot_be_aimed_anew() {
    let program = program("default", |context| context.host_sockets = true);
    let bad = u64::MAX;
    let refused = [
        (("connect", [bad, 0, 0, 0, 0, 0]), libc::EPERM),
        (("bind", [bad, 0, 0, 0, 0, 0]), libc::EPERM),
        (("sendto", [bad, 0, 0, 0x2000_0000, 0, 0]), libc::EPERM),
        (("sendmsg", [bad, 0, 0x2000_0000, 0, 0, 0]), libc::EPERM),
        (
            ("sendmmsg", [bad, 0, 0, GARBAGE | 0x2000_0000, 0, 0]),
            libc::EPERM,
        ),
        (("ioctl", [bad, 0x894c, 0, 0, 0, 0]), libc::EPERM), // SIOCGSKNS
        (("ioctl", [bad, GARBAGE | 0x8912, 0, 0, 0, 0]), libc::EPERM),
        (("ioctl", [bad, 0x8b1b, 0, 0, 0, 0]), libc::EPERM), // SIOCGIWESSID
        // SO_BINDTODEVICE, SO_MARK, SO_BINDTOIFINDEX
        (("setsockopt", [bad, 1, 25, 0, 0, 0]), libc::EPERM),
        (("setsockopt", [bad, 1, 36, 0, 0, 0]), libc::EPERM),
        (("setsockopt", [bad, 1, 62, 0, 0, 0]), libc::EPERM),
        // IP_OPTIONS, IP_UNICAST_IF
        (("setsockopt", [bad, 0, 4, 0, 0, 0]), libc::EPERM),
        (("setsockopt", [bad, 0, 50, 0, 0, 0]), libc::EPERM),
        // IPV6_2292PKTOPTIONS, IPV6_PKTINFO, IPV6_RTHDR, IPV6_UNICAST_IF
        (("setsockopt", [bad, 41, 6, 0, 0, 0]), libc::EPERM),
        (("setsockopt", [bad, 41, 50, 0, 0, 0]), libc::EPERM),
        (
            ("setsockopt", [bad, GARBAGE | 41, GARBAGE | 57, 0, 0, 0]),
            libc::EPERM,
        ),
        (("setsockopt", [bad, 41, 76, 0, 0, 0]), libc::EPERM),
        // IP_ADD_MEMBERSHIP, IP_ADD_SOURCE_MEMBERSHIP, IPV6_ADD_MEMBERSHIP, IPV6_JOIN_ANYCAST
        (("setsockopt", [bad, 0, 35, 0, 0, 0]), libc::EPERM),
        (("setsockopt", [bad, 0, 39, 0, 0, 0]), libc::EPERM),
        (("setsockopt", [bad, 41, 20, 0, 0, 0]), libc::EPERM),
        (("setsockopt", [bad, 41, 27, 0, 0, 0]), libc::EPERM),
        // MCAST_JOIN_GROUP, MCAST_JOIN_SOURCE_GROUP, MCAST_MSFILTER
        (("setsockopt", [bad, 0, 42, 0, 0, 0]), libc::EPERM),
        (("setsockopt", [bad, 41, 46, 0, 0, 0]), libc::EPERM),
        (
            ("setsockopt", [bad, GARBAGE | 41, GARBAGE | 48, 0, 0, 0]),
            libc::EPERM,
        ),
    ];
    refused_with_control(&program, &refused);
    let plain = make(
        Some(&program),
        &[
            ("sendmsg", [bad, 0, 0, 0, 0, 0]),
            ("setsockopt", [bad, 1, 2, 0, 0, 0]), // SO_REUSEADDR
            ("setsockopt", [bad, 6, 1, 0, 0, 0]), // TCP_NODELAY
        ],
    );
    assert_eq!(plain, [errno(libc::EBADF); 3]);
    // Servers listen again on what listens already, and are told that all is well.
    let listen = [("listen", [bad, 0, 0, 0, 0, 0])];
    assert_eq!(make(Some(&program), &listen), [0]);
    assert_eq!(make(None, &listen), [errno(libc::EBADF)]);
    // One that the command is given once it is connected (`--egress direct`): what is the supervisor's to
    // make is not here.
    let direct = self::program("default", |context| context.direct = true);
    let options = refused
        .iter()
        .filter(|((call, _), _)| ["ioctl", "setsockopt"].contains(call));
    refused_with_control(&direct, &options.copied().collect::<Vec<_>>());
    refused_with_control(
        &direct,
        &[
            (("sendto", [bad, 0, 0, 0x2000_0000, 0, 0]), libc::EOPNOTSUPP),
            (
                ("sendmsg", [bad, 0, 0x2000_0000, 0, 0, 0]),
                libc::EOPNOTSUPP,
            ),
            (
                ("sendmmsg", [bad, 0, 0, 0x2000_0000, 0, 0]),
                libc::EOPNOTSUPP,
            ),
            // SO_ATTACH_FILTER, SO_ATTACH_BPF, SO_ATTACH_REUSEPORT_CBPF, SO_ATTACH_REUSEPORT_EBPF
            (("setsockopt", [bad, 1, 26, 0, 0, 0]), libc::EPERM),
            (("setsockopt", [bad, 1, 50, 0, 0, 0]), libc::EPERM),
            (("setsockopt", [bad, 1, 51, 0, 0, 0]), libc::EPERM),
            (("setsockopt", [bad, 1, 52, 0, 0, 0]), libc::EPERM),
            // TCP_REPAIR, TCP_FASTOPEN_CONNECT
            (("setsockopt", [bad, 6, 19, 0, 0, 0]), libc::EPERM),
            (("setsockopt", [bad, 6, 30, 0, 0, 0]), libc::EPERM),
        ],
    );
}

#[test]
fn processes_of_the_host_are_neither_traced_nor_opened() {
    let bad = u64::MAX;
    let open = [
        ("ptrace", [16, bad, 0, 0, 0, 0]), // PTRACE_ATTACH
        ("pidfd_open", [bad, 0, 0, 0, 0, 0]),
        ("pidfd_send_signal", [bad, 0, 0, 0, 0, 0]),
    ];
    let refused = open.map(|attempt| (attempt, libc::EPERM));
    let shared = program("default", |context| context.host_processes = true);
    refused_with_control(&shared, &refused);
    // Those of the sandbox's own are, where it has process ids of its own.
    let own = program("default", |_| ());
    assert!(!make(Some(&own), &open).contains(&errno(libc::EPERM)));
}

#[test]
fn the_launchers_group_gets_no_signal() {
    let program = program("default", |context| context.refuse_group_signals = true);
    refused_with_control(
        &program,
        &[
            (("kill", [0, 0, 0, 0, 0, 0]), libc::EPERM),
            (("kill", [GARBAGE, 0, 0, 0, 0, 0]), libc::EPERM),
        ],
    );
    let own = make(
        Some(&program),
        &[("kill", [std::process::id().into(), 0, 0, 0, 0, 0])],
    );
    assert_eq!(own, [0]);
}

#[test]
#[cfg(target_arch = "x86_64")]
fn x32_numbers_and_unknown_ones_are_absent() {
    let calls = [(0x4000_0000 + 39, [0; 6]), (400, [0; 6]), (100_000, [0; 6])];
    let inside = make_numbers(Some(&program("default", |_| ())), &calls);
    assert_eq!(inside, [errno(libc::ENOSYS); 3]);
}

#[test]
fn a_verdict_of_kill_kills() {
    let profile = parse_oci(EVERY_OP).unwrap();
    let program = compile(&profile, &Context::default()).unwrap();
    let attempt: [Attempt; 1] = [("ioctl", [u64::MAX, 21522, 0, 0, 0, 0])];
    assert_eq!(make(Some(&program), &attempt), [KILLED]);
    assert_eq!(make(None, &attempt), [errno(libc::EBADF)]);
}
