//! Unix sockets by path: those of the host are out of reach, but for the ones that `--allow unix:PATH` names.
//!
//! They are let through by the mounts, so the same program reaches one that stands beside another that it
//! does not.

mod support;

use std::fs;
use std::io::Write;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use support::{User, each_user, have, text};

/// Two sockets that answer, in a directory of their own that `user` may search.
struct Sockets {
    folder: PathBuf,
}

impl Sockets {
    fn new(user: &User, name: &str) -> Self {
        let folder = user.home.join(format!("{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(folder.join("deep/er")).expect("the directory is writable");
        for socket in ["one", "two", "deep/er/three"] {
            let path = folder.join(socket);
            let listener = UnixListener::bind(&path).expect("the name is new");
            std::os::unix::fs::chown(&path, Some(user.uid), Some(user.gid)).expect("root, or own");
            std::thread::spawn(move || {
                for mut peer in listener.incoming().flatten() {
                    let _ = peer.write_all(b"answer");
                }
            });
        }
        let link = folder.join("link");
        std::os::unix::fs::symlink("deep/er/three", link).expect("the name is new");
        Self { folder }
    }

    fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }
}

impl Drop for Sockets {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// What a program inside gets of each of `paths`: what is answered, or the error's name.
fn tried(user: &User, options: &[&str], paths: &[&str]) -> String {
    const PROGRAM: &str = "
import errno, socket, sys
for path in sys.argv[1:]:
    try:
        peer = socket.socket(socket.AF_UNIX)
        peer.connect(path)
        print(peer.recv(9).decode())
    except OSError as error:
        print(errno.errorcode[error.errno])
";
    let output = user
        .command(&user.sandbox)
        .args(options)
        .args(["--", "python3", "-c", PROGRAM])
        .args(paths)
        .output()
        .expect("it can be started");
    let complaint = text(&output.stderr);
    assert!(output.status.success(), "as {}: {complaint}", user.name);
    text(&output.stdout).replace('\n', " ").trim().to_owned()
}

#[test]
fn of_the_hosts_sockets_the_allowed_one_answers_and_no_other() {
    if !have("python3") {
        return;
    }
    each_user(|user| {
        let sockets = Sockets::new(user, "sockets");
        let (one, two, three, link) = (
            sockets.path("one"),
            sockets.path("two"),
            sockets.path("deep/er/three"),
            sockets.path("link"),
        );
        let all = [&*one, &*two, &*three, &*link];
        let folder = sockets.folder.display().to_string();
        let allow = |path: &str| format!("--allow=unix:{path}");

        // The controls: outside the sandbox all answer, and inside none.
        let open = tried(user, &["--hide-sockets=no"], &all);
        assert_eq!(open, "answer answer answer answer", "as {}", user.name);
        let none = tried(user, &[], &all);
        let refused = "ECONNREFUSED";
        assert_eq!(none, [refused; 4].join(" "), "as {}", user.name);

        let lets_one = tried(user, &[&allow(&one)], &all);
        let expected = format!("answer {refused} {refused} {refused}");
        assert_eq!(lets_one, expected, "as {}", user.name);

        let hidden = ["--hide", &folder];
        let below = tried(
            user,
            &[&hidden[..], &[&allow(&one), &allow(&three)]].concat(),
            &all,
        );
        assert_eq!(below, "answer ENOENT answer ENOENT", "as {}", user.name);

        let by_link = tried(user, &[&hidden[..], &[&allow(&link)]].concat(), &all);
        assert_eq!(by_link, "ENOENT ENOENT ENOENT answer", "as {}", user.name);

        let denied = format!("--deny=unix:{one}");
        let both = tried(user, &[&allow(&one), &denied, &allow(&two)], &all);
        let expected = format!("{refused} answer {refused} {refused}");
        assert_eq!(both, expected, "as {}", user.name);
    });
}

#[test]
fn what_is_no_socket_or_is_hidden_by_name_cannot_be_allowed() {
    each_user(|user| {
        let sockets = Sockets::new(user, "no-sockets");
        let one = sockets.path("one");
        let folder = sockets.folder.display().to_string();
        let missing = Path::new(&folder).join("missing").display().to_string();
        let hides: [&[&str]; 3] = [&[], &[], &["--hide", &one]];
        for ((path, options), reason) in [&missing, &folder, &one].into_iter().zip(hides).zip([
            "No such file or directory",
            "this is no Unix socket",
            "names this very socket",
        ]) {
            let output = user
                .command(&user.sandbox)
                .args(options)
                .arg(format!("--allow=unix:{path}"))
                .args(["--", "true"])
                .output()
                .expect("it can be started");
            assert_eq!(output.status.code(), Some(125), "{reason} as {}", user.name);
            let message = text(&output.stderr);
            assert!(message.contains(reason), "as {}: {message}", user.name);
            assert!(
                message.contains(&format!("--allow unix:{path}")),
                "{message}"
            );
        }
    });
}
