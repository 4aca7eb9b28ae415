//! Finds policies by name or path and reads the layers that each is laid over.
//!
//! Runs in the launcher, before anything else; reads files, changes nothing. A word with a slash or
//! ending in `.toml` is a file; any other is a name, looked for in these places, the first that has
//! it winning:
//!
//! 1. `$XDG_CONFIG_HOME/sandbox/policies/NAME.toml` (`~/.config/…` where unset): the user's;
//! 2. `DIR/sandbox/policies/NAME.toml` for each DIR of `$XDG_CONFIG_DIRS` (`/etc/xdg`);
//! 3. `/etc/sandbox/policies/NAME.toml`: the administrator's;
//! 4. the profiles shipped with the program.
//!
//! The user's wins because the tool has no privilege that the user lacks: whoever can write that
//! file could also leave the sandbox out. What is another user's is an error ([`read_trusted`]). But a file
//! stands *over* what it has below, it does not take its place: without `extends` it is laid over the policy
//! of the same name from the next place down, or over `default` if there is none, so that an administrator's
//! additions are not lost by accident. `extends` with the file's own name says the same; with `"nothing"`, it
//! starts from [`Policy::nothing`](super::Policy::nothing).

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use super::layer::names_a_file;
use super::parse::{from_listing, parse};
use super::spec;
use super::{Layer, Origin};
use crate::error::{Error, Result};
use crate::plan::working_directory;

/// The profiles shipped with the program: name and text.
pub const BUILT_IN: &[(&str, &str)] = &[
    ("default", include_str!("../../policies/default.toml")),
    ("strict", include_str!("../../policies/strict.toml")),
    ("worker", include_str!("../../policies/worker.toml")),
    ("connection", include_str!("../../policies/connection.toml")),
    ("build", include_str!("../../policies/build.toml")),
    ("agent", include_str!("../../policies/agent.toml")),
    ("browser", include_str!("../../policies/browser.toml")),
];

/// The same, each as the listing that is read when it is to be run ([`super::parse::from_listing`]).
///
/// `tests/policies.rs` fails where one differs from its profile, and writes it anew with
/// `SANDBOX_BLESS=1`.
pub const LISTINGS: &[(&str, &str)] = &[
    (
        "default",
        include_str!("../../policies/compiled/default.txt"),
    ),
    ("strict", include_str!("../../policies/compiled/strict.txt")),
    ("worker", include_str!("../../policies/compiled/worker.txt")),
    (
        "connection",
        include_str!("../../policies/compiled/connection.txt"),
    ),
    ("build", include_str!("../../policies/compiled/build.txt")),
    ("agent", include_str!("../../policies/compiled/agent.txt")),
    (
        "browser",
        include_str!("../../policies/compiled/browser.txt"),
    ),
];

/// What the layers are read for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To be run: what they say is enough.
    Run,
    /// To be explained: also on which line of its file each thing stands.
    Explain,
}

/// The name of the base that has no layer.
pub const NOTHING: &str = "nothing";

/// A policy file may not be larger: a wrong path (a disk, an endless pipe) must not fill memory.
const MAX_FILE: u64 = 1 << 20;

/// More layers than this are a mistake.
const MAX_LAYERS: usize = 16;

/// Where policies are looked for, and what `~` and relative paths mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// Directories of policy files, the most important first.
    pub directories: Vec<PathBuf>,
    /// The working directory: relative paths of the command line start here.
    pub working: PathBuf,
    /// What `~` stands for.
    pub home: Option<PathBuf>,
}

impl Places {
    /// The places of this process, from its environment.
    ///
    /// # Errors
    /// When the working directory is gone.
    pub fn of_this_process() -> Result<Self> {
        let working = working_directory()?;
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        // Services often run without HOME; then the user database has it.
        // Relative directories are to be ignored (XDG Base Directory Specification).
        let absolute = |path: &PathBuf| path.is_absolute();
        let home = home_by_environment().or_else(home_by_id);
        let user = variable("XDG_CONFIG_HOME")
            .map(PathBuf::from)
            .filter(absolute)
            .or_else(|| home.as_ref().map(|home| home.join(".config")));
        let system = variable("XDG_CONFIG_DIRS").unwrap_or_else(|| "/etc/xdg".into());
        let directories = user
            .into_iter()
            .chain(std::env::split_paths(&system).filter(absolute))
            .chain([PathBuf::from("/etc")])
            .map(|directory| directory.join("sandbox/policies"))
            .collect();
        Ok(Self {
            directories,
            working,
            home,
        })
    }

    /// The same without any directory: only shipped profiles are found by name.
    #[must_use]
    pub fn without_directories(mut self) -> Self {
        self.directories.clear();
        self
    }
}

/// The home that HOME names; one that is not absolute counts as none.
pub(crate) fn home_by_environment() -> Option<PathBuf> {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    home.filter(|home| home.is_absolute())
}

/// This user's home in `/etc/passwd` (passwd(5)). Read here: a static binary has no name services.
pub(crate) fn home_by_id() -> Option<PathBuf> {
    let database = std::fs::read("/etc/passwd").ok()?;
    let id = nix::unistd::geteuid().as_raw();
    home_in(&String::from_utf8_lossy(&database), id)
}

/// The home of user number `id` in the text of a passwd(5) file.
fn home_in(database: &str, id: u32) -> Option<PathBuf> {
    let id = id.to_string();
    let fields = database
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>());
    fields
        .filter(|fields| fields.get(2) == Some(&id.as_str()))
        .find_map(|fields| fields.get(5).copied().filter(|home| home.starts_with('/')))
        .map(PathBuf::from)
}

/// The layers of a policy, lowest first, found from this process's places.
///
/// # Errors
/// When it, or one that it extends, cannot be found, cannot be read or is not valid, or when
/// policies extend each other in a circle.
pub fn load(name_or_file: &OsStr, purpose: Purpose) -> Result<Vec<(Origin, Layer)>> {
    load_from(&Places::of_this_process()?, name_or_file, purpose)
}

/// A policy to be read: where it was found, and how far down (for names).
struct Found {
    origin: Origin,
    text: String,
    /// The directory from which its relative paths start.
    base: PathBuf,
    /// The name by which it was found, and the place from which "below" starts.
    named: Option<(String, usize)>,
}

/// As [`load`], from the given places.
///
/// # Errors
/// As [`load`].
pub fn load_from(
    places: &Places,
    name_or_file: &OsStr,
    purpose: Purpose,
) -> Result<Vec<(Origin, Layer)>> {
    let mut layers: Vec<(Origin, Layer)> = Vec::new();
    if name_or_file == NOTHING {
        return Ok(layers);
    }
    let mut found = find(places, name_or_file, &places.working, 0)?;
    loop {
        let file = match &found.origin {
            Origin::File(path) => path.clone(),
            origin => PathBuf::from(origin.name()),
        };
        let layer = match listed(&found.origin, purpose) {
            Some(layer) => layer,
            None => parse(&file, &found.text)?,
        };
        let place = layer.extends_at.unwrap_or((1, 1));
        let here = |reason: String| Error::Policy {
            file: file.clone(),
            line: place.0,
            column: place.1,
            reason,
        };
        let extends = layer.extends.clone();
        let home = places.home.as_deref();
        let layer = layer.resolve(&found.base, home)?;
        layers.push((found.origin.clone(), layer));

        let next = match (&extends, &found.named) {
            (Some(word), _) if word == NOTHING => break,
            (Some(word), Some((name, depth))) if word == name => {
                find(places, OsStr::new(word), &found.base, depth + 1)
            }
            (Some(word), _) => find(places, OsStr::new(word), &found.base, 0),
            (None, Some((name, _))) if found.origin == Origin::BuiltIn(name.clone()) => {
                // Every shipped profile but `default` says what it extends; a test sees to it.
                break;
            }
            (None, Some((name, depth))) => find(places, OsStr::new(name), &found.base, depth + 1)
                .or_else(|_| find(places, OsStr::new("default"), &found.base, 0)),
            (None, None) => find(places, OsStr::new("default"), &found.base, 0),
        };
        found = next.map_err(|error| match error {
            Error::Usage { what, reason } => here(format!("extends {what}: {reason}")),
            error => error,
        })?;
        if layers.iter().any(|(origin, _)| *origin == found.origin) {
            let names: Vec<_> = layers.iter().map(|(origin, _)| origin.name()).collect();
            return Err(here(format!(
                "policies extend each other in a circle: {} > {}",
                names.join(" > "),
                found.origin.name()
            )));
        }
        if layers.len() >= MAX_LAYERS {
            return Err(here(format!(
                "more than {MAX_LAYERS} policies extend each other"
            )));
        }
    }
    layers.reverse();
    Ok(layers)
}

/// A shipped profile from its listing.
fn listed(origin: &Origin, purpose: Purpose) -> Option<Layer> {
    let Origin::BuiltIn(name) = origin else {
        return None;
    };
    let (_, listing) = LISTINGS.iter().find(|(known, _)| known == name)?;
    (purpose == Purpose::Run).then(|| from_listing(listing))?
}

/// The policy that `word` means; a name is looked for from place `depth` down.
fn find(places: &Places, word: &OsStr, base: &Path, depth: usize) -> Result<Found> {
    let text = word.to_string_lossy();
    if names_a_file(&text) {
        let path = match Path::new(word).strip_prefix("~") {
            Ok(rest) => match &places.home {
                Some(home) => home.join(rest),
                None => {
                    return Err(Error::usage(
                        text,
                        "~ stands for HOME, which is not set to an absolute path",
                    ));
                }
            },
            Err(_) => base.join(word),
        };
        let path: PathBuf = path.components().collect();
        let contents = read(&path)?;
        return Ok(Found {
            base: path.parent().unwrap_or(Path::new("/")).to_owned(),
            origin: Origin::File(path),
            text: contents,
            named: None,
        });
    }
    if !is_name(&text) {
        return Err(Error::usage(
            format!("policy \"{}\"", text.escape_debug()),
            "a policy's name has letters, digits, \"-\", \"_\" and \".\" only; a file's has a slash or ends in .toml",
        ));
    }
    for (place, directory) in places.directories.iter().enumerate().skip(depth) {
        let path = directory.join(format!("{text}.toml"));
        match std::fs::symlink_metadata(&path).map_err(|error| errno_of(&error)) {
            Ok(_) => {}
            Err(Errno::ENOENT | Errno::ENOTDIR) => continue,
            // HOME of another user (setpriv, su -m): what we cannot search is not ours.
            Err(Errno::EACCES) => {
                tracing::info!(?directory, "policy directory not searchable");
                continue;
            }
            Err(errno) => {
                return Err(Error::host(
                    "read policy",
                    path.display().to_string(),
                    errno,
                ));
            }
        }
        return Ok(Found {
            text: read_trusted(&path)?,
            base: directory.clone(),
            origin: Origin::File(path),
            named: Some((text.into_owned(), place)),
        });
    }
    if let Some((name, contents)) = BUILT_IN.iter().find(|(name, _)| *name == text)
        && depth <= places.directories.len()
    {
        return Ok(Found {
            origin: Origin::BuiltIn((*name).to_owned()),
            text: (*contents).to_owned(),
            base: PathBuf::from("/"),
            named: Some(((*name).to_owned(), places.directories.len())),
        });
    }
    let known: Vec<String> = names(places);
    let advice = match spec::nearest(&text, known.iter().map(String::as_str)) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => "see sandbox policy list".to_owned(),
    };
    Err(Error::usage(
        format!("policy \"{text}\""),
        format!("no policy is called so; {advice}"),
    ))
}

/// Whether `text` can be a policy's name.
fn is_name(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    !text.is_empty() && text.bytes().all(fits) && !text.starts_with(['-', '.'])
}

/// The contents of a file that was found by name, not named: neither it nor a link to it is another
/// user's. With HOME kept by whoever became root, that user would decide what root's command may.
///
/// # Errors
/// As [`read`], and when it is another's.
pub(crate) fn read_trusted(path: &Path) -> Result<String> {
    let shown = path.display().to_string();
    let fail = |error: &std::io::Error| Error::host("read policy", &shown, errno_of(error));
    let link = std::fs::symlink_metadata(path).map_err(|error| fail(&error))?;
    let file = File::open(path).map_err(|error| fail(&error))?;
    let file_itself = file.metadata().map_err(|error| fail(&error))?;
    for found in [link, file_itself] {
        let owner = found.uid();
        let trusted = owner == 0 || owner == nix::unistd::geteuid().as_raw() || owner == nobody();
        if !trusted {
            return Err(Error::usage(
                shown,
                format!(
                    "it is user {owner}'s, who would decide what your command may: set HOME or XDG_CONFIG_HOME to what is yours, or name the file itself"
                ),
            ));
        }
    }
    text_of(path, file)
}

/// Who owns what no user here does: root outside of a container, say (user_namespaces(7)).
fn nobody() -> u32 {
    const USUAL: u32 = 65_534;
    let text = std::fs::read_to_string("/proc/sys/kernel/overflowuid").unwrap_or_default();
    text.trim().parse().unwrap_or(USUAL)
}

/// A policy file's contents.
pub(crate) fn read(path: &Path) -> Result<String> {
    let file = File::open(path).map_err(|error| {
        Error::host("read policy", path.display().to_string(), errno_of(&error))
    })?;
    text_of(path, file)
}

fn text_of(path: &Path, file: File) -> Result<String> {
    let shown = path.display().to_string();
    let fail = |error: &std::io::Error| Error::host("read policy", &shown, errno_of(error));
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| fail(&error))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(Error::host("read policy", shown, Errno::EFBIG));
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let before = String::from_utf8_lossy(&error.as_bytes()[..good]).into_owned();
        Error::Policy {
            file: path.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before.rsplit('\n').next().unwrap_or("").chars().count() + 1,
            reason: "not UTF-8".to_owned(),
        }
    })
}

fn errno_of(error: &std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

/// The names of all policies in `places`, each once, sorted.
pub(crate) fn names(places: &Places) -> Vec<String> {
    let shipped = BUILT_IN.iter().map(|(name, _)| *name);
    names_beside(shipped, places.directories.iter().cloned())
}

/// Names of files in `directories`, those that are `shipped` among them, each once, sorted.
pub(crate) fn names_beside<'a>(
    shipped: impl Iterator<Item = &'a str>,
    directories: impl Iterator<Item = PathBuf>,
) -> Vec<String> {
    let mut names: Vec<String> = shipped.map(str::to_owned).collect();
    for directory in directories {
        // A directory that is not there, or not for us to read, has none for us.
        let Ok(entries) = std::fs::read_dir(directory) else {
            continue;
        };
        for entry in entries.flatten() {
            let file = entry.file_name();
            if let Some(name) = file.to_str().and_then(|file| file.strip_suffix(".toml"))
                && is_name(name)
            {
                names.push(name.to_owned());
            }
        }
    }
    names.sort();
    names.dedup();
    names
}

/// One policy that can be named.
#[derive(Debug)]
#[non_exhaustive]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// Where the winning layer comes from, and the layers below it, or why it cannot be used.
    pub layers: Result<Vec<(Origin, Layer)>>,
}

/// Every policy that can be named from this process's places, sorted by name.
///
/// # Errors
/// When the working directory is gone.
pub fn list() -> Result<Vec<Listed>> {
    Ok(list_from(&Places::of_this_process()?))
}

/// As [`list`], from the given places.
#[must_use]
pub fn list_from(places: &Places) -> Vec<Listed> {
    let listed = names(places).into_iter().map(|name| Listed {
        layers: load_from(places, OsStr::new(&name), Purpose::Explain),
        name,
    });
    listed.collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::policy::merge::combine;

    /// A user's and a system directory, with the given files ("user/a" is the user's a.toml).
    fn places(files: &[(&str, &str)]) -> (tempfile::TempDir, Places) {
        let root = tempfile::tempdir().unwrap();
        for directory in ["user", "system"] {
            fs::create_dir(root.path().join(directory)).unwrap();
        }
        for (name, text) in files {
            fs::write(root.path().join(format!("{name}.toml")), text).unwrap();
        }
        let places = Places {
            directories: vec![root.path().join("user"), root.path().join("system")],
            working: root.path().to_owned(),
            home: Some("/home/u".into()),
        };
        (root, places)
    }

    /// The file names of the layers, lowest first.
    fn chain(places: &Places, word: &str) -> Vec<String> {
        let layers = load_from(places, OsStr::new(word), Purpose::Run).unwrap();
        let name = |(origin, _): &(Origin, Layer)| match origin {
            Origin::File(path) => path
                .strip_prefix(&places.working)
                .unwrap()
                .display()
                .to_string(),
            origin => origin.name(),
        };
        layers.iter().map(name).collect()
    }

    fn refusal(places: &Places, word: &str) -> String {
        let error = load_from(places, OsStr::new(word), Purpose::Run)
            .unwrap_err()
            .to_string();
        error.replace(&format!("{}/", places.working.display()), "")
    }

    #[test]
    fn a_home_is_found_in_the_user_database() {
        let database = "root:x:0:0:root:/root:/bin/sh\nbroken\nu:x:1000:1000::/home/u:/bin/sh\n";
        assert_eq!(home_in(database, 1000), Some("/home/u".into()));
        assert_eq!(home_in(database, 1), None);
        assert_eq!(home_in("", 0), None);
    }

    #[test]
    fn a_file_stands_over_the_policy_of_the_same_name_below() {
        let (_root, places) =
            places(&[("user/build", ""), ("system/build", ""), ("system/own", "")]);
        assert_eq!(
            chain(&places, "build"),
            ["default", "build", "system/build.toml", "user/build.toml"]
        );
        assert_eq!(chain(&places, "own"), ["default", "system/own.toml"]);
    }

    #[test]
    fn a_hosts_default_stands_under_the_shipped_profiles_too() {
        let (_root, places) = places(&[("system/default", "")]);
        assert_eq!(
            chain(&places, "strict"),
            ["default", "system/default.toml", "strict"]
        );
    }

    #[test]
    fn a_link_to_nowhere_is_an_error_and_not_the_policy_below() {
        let (root, places) = places(&[]);
        std::os::unix::fs::symlink("gone", root.path().join("user/strict.toml")).unwrap();
        assert_eq!(
            refusal(&places, "strict"),
            "cannot read policy user/strict.toml"
        );
    }

    #[test]
    fn a_broken_policy_is_listed_with_its_reason() {
        let (_root, places) = places(&[("user/broken", "x = 1"), ("user/fine", "")]);
        let listed = list_from(&places);
        let valid: Vec<_> = listed
            .iter()
            .map(|listed| (listed.name.as_str(), listed.layers.is_ok()))
            .collect();
        assert_eq!(
            valid,
            [
                ("agent", true),
                ("broken", false),
                ("browser", true),
                ("build", true),
                ("connection", true),
                ("default", true),
                ("fine", true),
                ("strict", true),
                ("worker", true),
            ]
        );
    }

    #[test]
    fn extending_its_own_name_means_the_one_below() {
        let (_root, places) = places(&[("user/default", "extends = \"default\"")]);
        assert_eq!(chain(&places, "default"), ["default", "user/default.toml"]);
    }

    #[test]
    fn extending_nothing_starts_afresh() {
        let (_root, places) = places(&[("user/bare", "extends = \"nothing\"")]);
        assert_eq!(chain(&places, "bare"), ["user/bare.toml"]);
        assert_eq!(chain(&places, "nothing"), [""; 0]);
    }

    #[test]
    fn a_file_extends_files_relative_to_itself() {
        let (_root, places) = places(&[
            ("user/a", "extends = \"../system/b.toml\""),
            ("system/b", "[filesystem]\nhide = [\"x\", \"~/y\"]"),
        ]);
        assert_eq!(
            chain(&places, "./user/a.toml"),
            ["default", "system/b.toml", "user/a.toml"].map(|name| {
                // ".." stays: a symbolic link may stand before it.
                if name == "system/b.toml" {
                    "user/../system/b.toml"
                } else {
                    name
                }
            })
        );
        let policy =
            combine(&load_from(&places, OsStr::new("system/b.toml"), Purpose::Run).unwrap())
                .unwrap();
        let hide = &policy.filesystem.hide;
        assert!(hide.contains(&places.working.join("system/x")), "{hide:?}");
        assert!(hide.contains(&PathBuf::from("/home/u/y")), "{hide:?}");
    }

    #[test]
    fn a_circle_is_refused_where_it_closes() {
        let (_root, places) = places(&[
            ("user/a", "\nextends = \"b\""),
            ("user/b", "extends = \"a\""),
        ]);
        let message = refusal(&places, "a");
        assert_eq!(
            message,
            "user/b.toml:1:11: policies extend each other in a circle: user/a.toml > user/b.toml > user/a.toml"
        );
    }

    #[test]
    fn what_cannot_be_found_is_named_with_the_nearest() {
        let (_root, places) = places(&[("user/a", "\nextends = \"biuld\"")]);
        assert_eq!(
            refusal(&places, "strct"),
            "policy \"strct\": no policy is called so; did you mean \"strict\"?"
        );
        assert_eq!(
            refusal(&places, "a"),
            "user/a.toml:2:11: extends policy \"biuld\": no policy is called so; did you mean \"build\"?"
        );
        assert_eq!(refusal(&places, "./no.toml"), "cannot read policy no.toml");
        assert!(refusal(&places, "a b").contains("letters, digits"));
        assert!(refusal(&places, "").contains("letters, digits"));
    }

    #[test]
    fn a_file_that_is_not_utf_8_is_refused_at_the_byte() {
        let (root, places) = places(&[]);
        fs::write(root.path().join("bad.toml"), b"a\n\xc3\xa9\xff").unwrap();
        assert_eq!(refusal(&places, "./bad.toml"), "bad.toml:2:2: not UTF-8");
    }

    #[test]
    fn an_endless_file_is_refused() {
        let (_root, places) = places(&[]);
        let error = load_from(&places, OsStr::new("/dev/zero"), Purpose::Run).unwrap_err();
        assert_eq!(error.to_string(), "cannot read policy /dev/zero");
    }
}
