//! What the launcher says on standard error: errors, warnings, and with `-v` what it does.
//!
//! Used in the launcher and supervisor only, never between the clone and the command's first
//! instruction. Every line starts with `sandbox: `; control characters are written as escapes
//! ([`crate::printable`]), so that a name from inside cannot talk to the caller's terminal.

use std::borrow::Cow;
use std::fmt;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::{SFlag, fstat};
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::error::{Error, causes};
use crate::printable::{Printable, Word, page};

/// How much is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verbosity {
    /// Errors only.
    Quiet,
    /// Warnings too: protection given up.
    Warnings,
    /// What was granted and refused.
    Info,
    /// Each step.
    Debug,
    /// Everything.
    Trace,
}

impl Verbosity {
    fn level(self) -> Level {
        match self {
            Self::Quiet => Level::ERROR,
            Self::Warnings => Level::WARN,
            Self::Info => Level::INFO,
            Self::Debug => Level::DEBUG,
            Self::Trace => Level::TRACE,
        }
    }
}

/// The form in which it is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// A line for people.
    #[default]
    Text,
    /// A JSON object a line.
    Json,
}

/// The target of the lines that tell what was refused to the command.
pub(crate) const REFUSALS: &str = "sandbox::refusals";

/// Whether these lines are left out.
static WITHOUT_REFUSALS: AtomicBool = AtomicBool::new(false);

/// Leave out what is refused to the command: where that is what it is there for, as in a selftest.
pub(crate) fn leave_refusals_out() {
    WITHOUT_REFUSALS.store(true, Ordering::Relaxed);
}

/// The longest line once nobody is waited for: as much as a pipe that can be written to takes whole
/// (pipe(7)).
const LONGEST: usize = 4096;

/// Standard error once nobody is waited for; as a file of our own, where it can be opened anew.
static UNWAITED: OnceLock<Option<File>> = OnceLock::new();

/// From now on, lose what standard error does not take at once.
///
/// The command writes there too, and may fill it where nobody reads. Whoever then waits to tell of a refusal
/// keeps no time limit and forwards no signal. Not before a process is forked that closes what it does not
/// know.
pub(crate) fn wait_for_nobody() {
    UNWAITED.get_or_init(|| {
        let kind = fstat(std::io::stderr()).map(|found| SFlag::from_bits_truncate(found.st_mode));
        let kind = kind.ok()? & SFlag::S_IFMT;
        // O_NONBLOCK is an open file's, and this one is the command's as well. A regular file opened anew
        // would have a position of its own, and never makes anybody wait.
        let anew = kind == SFlag::S_IFIFO || kind == SFlag::S_IFCHR;
        let mut options = File::options();
        options.write(true);
        options.custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
        anew.then(|| options.open("/proc/self/fd/2").ok())?
    });
}

/// Standard error, as [`wait_for_nobody`] has it.
struct StandardError;

impl std::io::Write for StandardError {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        match UNWAITED.get() {
            None => return std::io::stderr().write(line),
            Some(Some(file)) => drop({ file }.write(&cut(line))),
            Some(None) if takes_some() => drop(std::io::stderr().write(&cut(line))),
            Some(None) => {}
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// `line`, which ends, or as much of it as is not too long, which ends too: the next is a line of its own.
fn cut(line: &[u8]) -> Cow<'_, [u8]> {
    if line.len() <= LONGEST {
        return Cow::Borrowed(line);
    }
    let begins = line.iter().take(LONGEST - 1).copied();
    Cow::Owned(begins.chain([b'\n']).collect())
}

/// Whether standard error can be written to.
fn takes_some() -> bool {
    let error = std::io::stderr();
    let mut watched = [PollFd::new(error.as_fd(), PollFlags::POLLOUT)];
    poll(&mut watched, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}

/// Send what `tracing` gets to standard error from now on; a second call changes nothing.
pub fn init(verbosity: Verbosity, format: LogFormat) {
    // A subscriber that is set already is the library user's own: theirs stays.
    let _ = tracing_subscriber::fmt()
        .with_max_level(verbosity.level())
        .with_writer(|| StandardError)
        .event_format(Lines { format })
        .try_init();
}

/// Print why nothing was run: the error with its causes, and what to do about it.
pub fn report(error: &Error, format: LogFormat) {
    let text = match format {
        LogFormat::Text => describe(error),
        LogFormat::Json => {
            let mut object = Map::new();
            object.insert("level".into(), "error".into());
            object.insert("message".into(), chain(error).into());
            if let Some(hint) = error.hint() {
                object.insert("hint".into(), hint.into());
            }
            object.insert("status".into(), error.exit_status().into());
            json(object)
        }
    };
    // With standard error gone there is nobody left to tell; the exit status says it.
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// The lines that people read.
fn describe(error: &Error) -> String {
    let mut text = format!("sandbox: {}\n", Printable(&chain(error)));
    if let Some(hint) = error.hint() {
        text.push_str(&format!("  hint: {}\n", Printable(hint)));
    }
    text
}

/// An error and its causes, joined; an errno as its words.
pub(crate) fn chain(error: &Error) -> String {
    match causes(error) {
        Some(causes) => format!("{error}: {causes}"),
        None => error.to_string(),
    }
}

/// One event, one line.
struct Lines {
    format: LogFormat,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        if event.metadata().target() == REFUSALS && WITHOUT_REFUSALS.load(Ordering::Relaxed) {
            return Ok(());
        }
        let mut said = Said::default();
        event.record(&mut said);
        let spans: Vec<&str> = context
            .event_scope()
            .into_iter()
            .flat_map(|scope| scope.from_root())
            .map(|span| span.name())
            .collect();
        match self.format {
            LogFormat::Text => text_line(writer, *event.metadata().level(), &spans, &said),
            LogFormat::Json => json_line(writer, *event.metadata().level(), &spans, said),
        }
    }
}

fn level_word(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warning",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

fn text_line(mut writer: Writer<'_>, level: Level, spans: &[&str], said: &Said) -> fmt::Result {
    write!(writer, "sandbox: {}: ", level_word(level))?;
    // Where it happened is of use to those who asked for more; a warning speaks for itself.
    if level > Level::WARN {
        for span in spans {
            write!(writer, "{span}: ")?;
        }
    }
    write!(writer, "{}", Printable(&said.message))?;
    for (name, value) in &said.fields {
        match value {
            Value::String(text) => write!(writer, " {name}={}", Word(text))?,
            other => write!(writer, " {name}={other}")?,
        }
    }
    writeln!(writer)
}

fn json_line(mut writer: Writer<'_>, level: Level, spans: &[&str], said: Said) -> fmt::Result {
    let mut time = String::new();
    SystemTime.format_time(&mut Writer::new(&mut time))?;
    let mut object = Map::new();
    object.insert("time".into(), time.into());
    object.insert("level".into(), level_word(level).into());
    object.insert("message".into(), said.message.into());
    object.insert("spans".into(), spans.join(":").into());
    object.insert(
        "fields".into(),
        Value::Object(said.fields.into_iter().collect()),
    );
    writer.write_str(&json(object))
}

/// One object, one line.
fn json(object: Map<String, Value>) -> String {
    // serde_json escapes what JSON must have escaped: every control character but DEL and C1.
    page(&format!("{}\n", Value::Object(object))).into_owned()
}

/// What an event says.
#[derive(Default)]
struct Said {
    message: String,
    fields: Vec<(String, Value)>,
}

impl Said {
    fn put(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(text)) => self.message = text,
            (name, value) => self.fields.push((name.to_owned(), value)),
        }
    }
}

impl Visit for Said {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }
}

#[cfg(test)]
mod tests {
    use nix::errno::Errno;

    use super::*;
    use crate::step::Step;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, verbosity: Verbosity, say: impl FnOnce()) -> String {
        let sink = Sink::default();
        let writer = sink.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(verbosity.level())
            .with_writer(move || writer.clone())
            .event_format(Lines { format })
            .finish();
        tracing::subscriber::with_default(subscriber, say);
        let bytes = sink.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn an_error_is_its_words_its_cause_and_its_hint() {
        let error = Error::step(Step::Proc, "", Errno::EPERM)
            .with_hint(Some("accept the host's with --proc host".into()));
        assert_eq!(
            describe(&error),
            "sandbox: cannot mount a fresh /proc: Operation not permitted\n  \
             hint: accept the host's with --proc host\n"
        );
    }

    #[test]
    fn an_errors_words_cannot_talk_to_the_terminal() {
        let error = Error::usage("--chdir a\x1b[2J\nb\u{202e}", "no");
        assert_eq!(
            describe(&error),
            "sandbox: --chdir a\\u{1b}[2J\\nb\\u{202e}: no\n"
        );
    }

    #[test]
    fn a_line_that_is_too_long_ends_all_the_same() {
        let whole = [&[b'a'; LONGEST - 1][..], b"\n"].concat();
        assert_eq!(cut(&whole), whole);
        let long = [&[b'a'; LONGEST][..], b"\n"].concat();
        assert_eq!(cut(&long), whole);
    }

    #[test]
    fn a_warning_names_its_fields_and_escapes_them() {
        let text = logged(LogFormat::Text, Verbosity::Warnings, || {
            tracing::warn!(
                layer = "landlock\x1b",
                abi = 3,
                why = "a b=c",
                "protection left out"
            );
            tracing::info!("not said");
        });
        assert_eq!(
            text,
            "sandbox: warning: protection left out layer=landlock\\u{1b} abi=3 why=\"a b=c\"\n"
        );
    }

    #[test]
    fn quiet_leaves_warnings_out() {
        let text = logged(LogFormat::Text, Verbosity::Quiet, || {
            tracing::warn!("not said")
        });
        assert_eq!(text, "");
    }

    #[test]
    fn a_detail_names_the_stages_it_is_in() {
        let text = logged(LogFormat::Text, Verbosity::Debug, || {
            let _launch = tracing::info_span!("launch").entered();
            let _plan = tracing::info_span!("plan").entered();
            tracing::debug!(count = 2_u64, "mounts decided");
        });
        assert_eq!(
            text,
            "sandbox: debug: launch: plan: mounts decided count=2\n"
        );
    }

    #[test]
    fn json_is_one_object_a_line_without_control_characters() {
        let text = logged(LogFormat::Json, Verbosity::Warnings, || {
            tracing::warn!(path = "a\n\u{9b}b", ok = true, "kept");
        });
        assert!(!text.trim_end().contains(char::is_control), "{text:?}");
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["level"], "warning");
        assert_eq!(value["message"], "kept");
        assert_eq!(value["fields"]["path"], "a\n\u{9b}b");
        assert_eq!(value["fields"]["ok"], true);
    }
}
