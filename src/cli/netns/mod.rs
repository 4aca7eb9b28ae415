//! `sandbox netns`: named namespaces, and what is in them.

mod change;
mod exec;
mod guard;
mod print;

use clap::{Args, Subcommand};
use serde_json::json;

use self::print::Sheet;
use crate::error::Result;
use crate::netns::{Namespace, NamespaceName, Reference, monitor, named};

/// The options of `sandbox netns`.
#[derive(Debug, Args)]
#[command(subcommand_required = true, arg_required_else_help = false, after_long_help = EXAMPLES)]
pub(crate) struct NetnsArgs {
    #[command(subcommand)]
    verb: Verb,

    /// Print JSON
    ///
    /// One value; of "monitor" one a line. Default: text for people, and nothing where something is
    /// only done.
    #[arg(long, global = true)]
    json: bool,
}

const EXAMPLES: &str = "\
A namespace (NS) is a NAME below /run/netns, pid:PID, the /PATH of a file, or . for the caller's own.

Examples:
  Two namespaces with a wire between them:
      sandbox netns add left right
      sandbox netns veth left:veth0 right:veth1 --up
      sandbox netns address add left veth0 10.1.1.1/24
      sandbox netns address add right veth1 10.1.1.2/24
      sandbox netns exec left -- ping -c 1 10.1.1.2
      sandbox netns delete left right
  See what is in a namespace:
      sandbox netns show left

See sandbox-netns(1) for all of it.";

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make namespaces with names
    Add {
        /// The names
        #[arg(value_name = "NAME", required = true)]
        names: Vec<NamespaceName>,
    },
    /// Give a namespace that there is a name
    Attach {
        /// The new name
        #[arg(value_name = "NAME")]
        name: NamespaceName,
        /// The namespace: a process id, or NS
        #[arg(value_name = "PID|NS", value_parser = pid_or_reference, allow_hyphen_values = true)]
        namespace: Reference,
    },
    /// List the names, with the number and the processes of each namespace
    #[command(visible_alias = "ls")]
    List,
    /// Take names away; processes in a namespace keep it alive
    #[command(visible_alias = "del")]
    Delete {
        /// The names
        #[arg(value_name = "NAME", required_unless_present = "all")]
        names: Vec<NamespaceName>,
        /// Take every name away
        ///
        /// Danger: those of other tools, too.
        #[arg(long, conflicts_with = "names")]
        all: bool,
    },
    /// Say which names the namespace of a process has
    Identify {
        /// The process; the caller's own namespace without one
        #[arg(value_name = "PID")]
        pid: Option<i32>,
    },
    /// List the processes in a namespace
    Pids {
        /// The namespace
        #[arg(value_name = "NS")]
        namespace: Reference,
    },
    /// Give a namespace a number, by which the caller's namespace calls it
    Set {
        /// The namespace
        #[arg(value_name = "NS")]
        namespace: Reference,
        /// The number; a free one, which is then printed, without it
        #[arg(value_name = "NSID", value_parser = nsid)]
        nsid: Option<u32>,
    },
    /// Tell when names come and go, until interrupted
    Monitor,
    /// Run a command in a namespace, confined as by "sandbox run"
    #[command(
        override_usage = "sandbox netns exec NS [OPTIONS] [--] COMMAND [ARG]...\n       \
                          sandbox netns exec --all [OPTIONS] -- COMMAND [ARG]..."
    )]
    Exec(Box<exec::ExecArgs>),
    /// Print the links, addresses, routes, rules and neighbours of a namespace
    Show {
        /// The namespace
        #[arg(value_name = "NS")]
        namespace: Reference,
    },
    #[command(flatten)]
    Change(change::Change),
    /// Set, show and clear the firewall of a namespace
    Firewall {
        #[command(subcommand)]
        verb: guard::FirewallVerb,
    },
    /// Ask for echoes from inside a namespace; the status is 1 if one does not come
    ///
    /// Needs no program in it.
    Ping(guard::PingArgs),
    /// Give a named namespace a way to the outside, behind the address of an uplink
    ///
    /// A wire leads from it to the caller's network, and packets go out by the uplink alone, by IPv4 and,
    /// if the uplink has an address of it, by IPv6, which needs Linux 6.17. The host's own ports and its
    /// other networks are not reached. It is taken away with the name. Needs root.
    Nat(guard::NatArgs),
    /// Slow down what a link sends, delay it, or lose some of it
    ///
    /// Without an option it sends as fast as it can again.
    Shape(guard::ShapeArgs),
}

fn pid_or_reference(text: &str) -> Result<Reference> {
    match text.parse::<i32>() {
        Ok(pid) if pid > 0 => Ok(Reference::Process(pid)),
        _ => text.parse(),
    }
}

fn nsid(text: &str) -> std::result::Result<u32, &'static str> {
    const LARGEST: u32 = i32::MAX as u32;
    match text.parse() {
        Ok(number) if number <= LARGEST => Ok(number),
        _ => Err("write a number from 0 to 2147483647; leave it out for a free one"),
    }
}

impl NetnsArgs {
    /// Do what was asked for; the status to exit with.
    ///
    /// # Errors
    /// When it cannot be done.
    pub(crate) fn execute(self) -> Result<u8> {
        let sheet = if self.json { Sheet::Json } else { Sheet::Text };
        match self.verb {
            Verb::Add { names } => add(&names, sheet),
            Verb::Attach { name, namespace } => {
                named::attach(&name, &namespace.open()?)?;
                sheet.print_made(&[name])
            }
            Verb::List => sheet.print_names(&named::list()?),
            Verb::Delete { names, all } => delete(names, all, sheet),
            Verb::Identify { pid } => {
                let pid = pid.unwrap_or_else(|| nix::unistd::getpid().as_raw());
                let names = named::identify(pid)?;
                sheet.print(&json!(names), || lines(&names))
            }
            Verb::Pids { namespace } => {
                let pids = named::pids(&namespace.open()?)?;
                sheet.print(&json!(pids), || lines(&pids))
            }
            Verb::Set { namespace, nsid } => set(&namespace, nsid, sheet),
            Verb::Monitor => monitor::watch(|event| sheet.print_event(&event)),
            Verb::Exec(args) => return args.execute(sheet),
            Verb::Show { namespace } => sheet.print_contents(&namespace.open()?),
            Verb::Change(change) => change.execute(sheet),
            Verb::Firewall { verb } => verb.execute(sheet),
            Verb::Ping(args) => return args.execute(sheet),
            Verb::Nat(args) => args.execute(sheet),
            Verb::Shape(args) => args.execute(),
        }?;
        Ok(0)
    }
}

fn lines(values: &[impl std::fmt::Display]) -> String {
    values.iter().map(|value| format!("{value}\n")).collect()
}

/// All or none: what was made is taken away again when a later one cannot be.
fn add(names: &[NamespaceName], sheet: Sheet) -> Result<()> {
    for (index, name) in names.iter().enumerate() {
        if let Err(error) = named::add(name) {
            for made in names.iter().take(index) {
                // The first error is the one to tell.
                let _ = named::delete(made);
            }
            return Err(error);
        }
    }
    sheet.print_made(names)
}

/// As many as can be; the first error is told.
fn delete(names: Vec<NamespaceName>, all: bool, sheet: Sheet) -> Result<()> {
    let names = if all { named::names()? } else { names };
    let mut result = Ok(());
    let mut gone = Vec::new();
    for name in names {
        match named::delete(&name) {
            Ok(()) => gone.push(name),
            Err(error) => result = result.and(Err(error)),
        }
    }
    sheet.print(&json!({ "deleted": gone }), String::new)?;
    result
}

fn set(namespace: &Reference, nsid: Option<u32>, sheet: Sheet) -> Result<()> {
    let namespace = namespace.open()?;
    let mut own = Namespace::own()?.connect()?;
    own.perform(&[named::set_nsid(&namespace, nsid)])?;
    let given = own.nsid_of(&namespace)?;
    let text = || match nsid {
        Some(_) => String::new(),
        None => given.map(|id| format!("{id}\n")).unwrap_or_default(),
    };
    sheet.print(&json!({ "nsid": given }), text)
}
