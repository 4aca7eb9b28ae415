//! The filter that lies under the profile's: which calls the supervisor makes for the command, because
//! no filter can see what they name.
//!
//! Pure; runs in the launcher. `connect` has its address behind a pointer, so it is not made but told
//! to the supervisor ([`crate::egress::notify`]), and `listen` as well, from which the supervisor
//! learns which sockets are the sandbox's own. Filters stack and the strictest verdict counts, so the
//! profile must allow what is told; what the profile refuses stays refused. A chain may have one
//! listener only, and installing a second one is EBUSY (seccomp(2)).
//!
//! Datagrams to a Unix socket name it in `sendmsg`, which no filter sees either and which is too
//! frequent to be told: so there are no Unix datagram sockets, not even in pairs, for one of a pair
//! may be sent from to any path as well.

use libc::sock_filter;

use super::interpret::may_permit;
use super::program::code;
use super::{Arch, Beyond, Program, Verdict, number};
use crate::policy::{Carrier, UnixSockets};

/// AF_UNIX (unix(7)).
const UNIX: u32 = 1;
/// The types without an address in each message: SOCK_STREAM and SOCK_SEQPACKET. SOCK_RAW is another
/// word for datagrams there.
const CONNECTED: [u32; 2] = [1, 5];
/// What of the type is not a flag.
const TYPE: u32 = 0xf;
/// The types with one: SOCK_DGRAM, and SOCK_RAW.
const DATAGRAMS: [u32; 2] = [2, 3];
/// What may be or-ed to the type: SOCK_NONBLOCK, SOCK_CLOEXEC.
const FLAGS: [u32; 4] = [0, 0x800, 0x8_0000, 0x8_0800];
/// ESOCKTNOSUPPORT: what a family without datagrams answers.
const NO_SUCH_TYPE: Verdict = Verdict::Errno(94);
/// ENOSYS: a ring makes connections that no filter sees.
const NO_SUCH_CALL: Verdict = Verdict::Errno(38);

/// Where `struct seccomp_data` has the number, the architecture, and the low word of an argument.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const fn argument(index: u32) -> u32 {
    16 + 8 * index
}

/// What is to be installed under a profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Underlay {
    /// The filter.
    pub(crate) program: Program,
    /// The same without the calls beyond the profile that are told while somebody learns.
    pub(crate) plain: Program,
    /// Whether it has calls to tell.
    pub(crate) tells: Tells,
}

/// Whether a filter tells the supervisor of calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tells {
    /// It does: it needs a listener.
    Yes,
    /// It only refuses.
    No,
}

/// What has to lie under `profile`, so that of the Unix sockets only `which` can be reached, and
/// `carrier` gets the connections that it is to make, and whoever learns sees all of them; `None` where
/// there is nothing to do.
#[must_use]
pub(crate) fn underlay(
    profile: &Program,
    which: UnixSockets,
    carrier: Carrier,
    beyond: Option<&Beyond>,
    arch: Arch,
) -> Option<Underlay> {
    // Whatever else the arguments are: a profile may look at any of them.
    let permits = |name: &str, arguments: [Option<u64>; 6]| {
        let number = number(name, arch);
        number.is_some_and(|number| may_permit(profile, arch.audit_word(), number, &arguments))
    };
    let made = |kind: u32| {
        let calls = ["socket", "socketpair"];
        calls.iter().any(|name| {
            FLAGS.into_iter().any(|flags| {
                let kind = Some(u64::from(kind | flags));
                permits(name, [Some(UNIX.into()), kind, None, None, None, None])
            })
        })
    };
    let wanted = which != UnixSockets::Any || carrier == Carrier::Direct || beyond.is_some();
    let tells = wanted && permits("connect", [None; 6]);
    let refuses = which == UnixSockets::Own
        && DATAGRAMS.into_iter().any(made)
        && ["sendto", "sendmsg", "sendmmsg"].into_iter().any(|name| {
            // Of these only one has the address among its arguments, and may have none.
            let address = (name == "sendto").then_some(0x1000);
            permits(name, [None, None, None, None, address, None])
        });
    if !tells && !refuses {
        return None;
    }
    let tells = match tells {
        true => Tells::Yes,
        false => Tells::No,
    };
    let told: Vec<u32> = beyond.map(Beyond::numbers).into_iter().flatten().collect();
    let plain = program(arch, tells, carrier, refuses, &[])?;
    Some(Underlay {
        program: match told.is_empty() {
            true => plain.clone(),
            false => program(arch, tells, carrier, refuses, &told)?,
        },
        plain,
        tells,
    })
}

fn program(
    arch: Arch,
    tells: Tells,
    carrier: Carrier,
    refuses: bool,
    told: &[u32],
) -> Option<Program> {
    let tell = |&number: &u32| (number, libc::SECCOMP_RET_USER_NOTIF);
    let mut checks: Vec<(u32, u32)> = told.iter().map(tell).collect();
    if tells == Tells::Yes {
        for name in ["connect", "listen"] {
            checks.push((number(name, arch)?, libc::SECCOMP_RET_USER_NOTIF));
        }
        // A socket of the host's that is closed again could take one of its ports.
        if carrier == Carrier::Direct {
            checks.push((number("bind", arch)?, libc::SECCOMP_RET_USER_NOTIF));
        }
        checks.push((number("io_uring_setup", arch)?, NO_SUCH_CALL.action()));
    }
    let step = |code, k| sock_filter {
        code,
        jt: 0,
        jf: 0,
        k,
    };
    let branch = |k, jt, jf| sock_filter {
        code: code::EQUAL,
        jt,
        jf,
        k,
    };
    let give = |action| step(code::RETURN, action);
    let allow = Verdict::Allow.action();
    let mut program = vec![
        step(code::LOAD, ARCHITECTURE),
        // The profile has a foreign architecture's calls killed.
        branch(arch.audit_word(), 1, 0),
        give(allow),
        step(code::LOAD, NUMBER),
    ];
    for (number, action) in checks {
        program.extend([branch(number, 0, 1), give(action)]);
    }
    if refuses {
        let [stream, packets] = CONNECTED;
        program.extend([
            branch(number("socket", arch)?, 2, 0),
            branch(number("socketpair", arch)?, 1, 0),
            give(allow),
            step(code::LOAD, argument(0)),
            branch(UNIX, 0, 5),
            step(code::LOAD, argument(1)),
            step(code::AND, TYPE),
            branch(stream, 2, 0),
            branch(packets, 1, 0),
            give(NO_SUCH_TYPE.action()),
        ]);
    }
    program.push(give(allow));
    Some(Program::new(program))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    use crate::filter::{Context, builtin_names, compile, interpret, parse_profile};

    /// The raw value that the program returns, which [`Verdict`] has no word for.
    fn tells(program: &Program, name: &str, arch: Arch) -> bool {
        let number = number(name, arch).unwrap();
        let at = |k| {
            let code = |it: &sock_filter| it.code == code::EQUAL && it.k == k;
            program.instructions().iter().position(code)
        };
        at(number).is_some_and(|at| {
            let target = at + 1 + usize::from(program.instructions()[at].jt);
            program.instructions()[target].k == libc::SECCOMP_RET_USER_NOTIF
        })
    }

    fn profile(name: &str, no_sockets: bool, arch: Arch) -> Program {
        let context = Context {
            arch,
            no_sockets,
            host_sockets: no_sockets,
            ..Context::default()
        };
        crate::filter::program(name, &context).unwrap()
    }

    #[test]
    fn unix_sockets_of_datagrams_are_refused_and_no_others() {
        for arch in Arch::ALL {
            let default = profile("default", false, arch);
            let under = underlay(&default, UnixSockets::Own, Carrier::Relay, None, arch).unwrap();
            assert_eq!(under.tells, Tells::Yes);
            let verdict = |name: &str, family: u64, kind: u64| {
                let number = number(name, arch).unwrap();
                let arguments = [family, kind, 0, 0, 0, 0];
                interpret(&under.program, arch.audit_word(), number, &arguments)
            };
            const FLAGS: u64 = 0x80800;
            const ABOVE: u64 = 7 << 32;
            for name in ["socket", "socketpair"] {
                for extra in [0, FLAGS, ABOVE, ABOVE | FLAGS] {
                    for kind in 0..16 {
                        let refused = ![1, 5].contains(&kind);
                        let expected = match refused {
                            true => NO_SUCH_TYPE,
                            false => Verdict::Allow,
                        };
                        let unix = verdict(name, 1 | (extra & ABOVE), kind | extra);
                        assert_eq!(unix, expected, "{name} {kind} {extra:#x}");
                        assert_eq!(verdict(name, 2, kind | extra), Verdict::Allow);
                    }
                }
            }
            for name in ["bind", "sendmsg", "read", "accept4"] {
                assert_eq!(verdict(name, 1, 2), Verdict::Allow, "{name}");
            }
            assert_eq!(verdict("io_uring_setup", 1, 0), NO_SUCH_CALL);
            for name in ["connect", "listen"] {
                assert!(tells(&under.program, name, arch), "{name}");
            }
            let datagrams =
                underlay(&default, UnixSockets::Datagrams, Carrier::Relay, None, arch).unwrap();
            assert!(tells(&datagrams.program, "connect", arch));
            let number = number("socket", arch).unwrap();
            let verdict = interpret(
                &datagrams.program,
                arch.audit_word(),
                number,
                &[1, 2, 0, 0, 0, 0],
            );
            assert_eq!(verdict, Verdict::Allow);
            assert_eq!(
                underlay(&default, UnixSockets::Any, Carrier::Relay, None, arch),
                None
            );
            let direct = underlay(&default, UnixSockets::Any, Carrier::Direct, None, arch).unwrap();
            for name in ["connect", "listen", "bind"] {
                assert!(tells(&direct.program, name, arch), "{name}");
            }
            assert!(!tells(&under.program, "bind", arch));
        }
    }

    #[test]
    fn where_nothing_can_be_connected_nothing_is_told() {
        for name in builtin_names() {
            let fds = profile(name, true, Arch::native());
            let under = underlay(&fds, UnixSockets::Own, Carrier::Relay, None, Arch::native());
            assert_eq!(under, None, "{name}");
        }
    }

    #[test]
    fn a_profile_that_permits_some_arguments_only_is_taken_at_its_widest() {
        let arch = Arch::native();
        let under = |rules: &[&str]| {
            let text = "description = \"x\"\nextends = \"default\"\n".to_owned() + &rules.concat();
            let profile = parse_profile(Path::new("test"), &text).unwrap();
            let profile = compile(&profile, &Context::default()).unwrap();
            underlay(&profile, UnixSockets::Own, Carrier::Relay, None, arch)
        };
        let rule = |calls: &str, test: &str| {
            format!(
                "[[rule]]\nreason = \"x\"\ncalls = [{calls}]\n\
                 when = [{{ if = \"{test}\", verdict = \"allow\" }}]\nverdict = \"errno EPERM\"\n"
            )
        };
        let never = |calls: &str| {
            format!("[[rule]]\nreason = \"x\"\ncalls = [{calls}]\nverdict = \"errno EPERM\"\n")
        };
        // Addresses of one length, as of a short path.
        let short = under(&[&rule("\"connect\"", "arg2 == 10")]).unwrap();
        assert_eq!(short.tells, Tells::Yes);
        // Datagrams of sockets that close at execve, sent with a flag.
        let others = never("\"connect\", \"socketpair\", \"sendmsg\", \"sendmmsg\"");
        let made = rule(
            "\"socket\"",
            "arg0 == AF_UNIX and arg1 & SOCK_FLAGS == 0x80000",
        );
        let sent = rule("\"sendto\"", "arg3 == 0x4000");
        let both = under(&[&others, &made, &sent]).unwrap();
        let socket = number("socket", arch).unwrap();
        let arguments = [1, 0x8_0002, 0, 0, 0, 0];
        let verdict = interpret(&both.program, arch.audit_word(), socket, &arguments);
        assert_eq!(verdict, NO_SUCH_TYPE);
        for missing in ["\"socket\"", "\"sendto\""] {
            assert_eq!(under(&[&never(missing), &others, &made, &sent]), None);
        }
    }
}
