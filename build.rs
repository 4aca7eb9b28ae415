//! Compiles the sandbox's init (`src/init/program.rs`) for the target, so that the library can
//! embed it: a program of a few kilobytes without libc, because pid 1 inside should hold nothing.

use std::path::PathBuf;
use std::process::Command;
use std::{env, fs};

fn main() {
    println!("cargo::rerun-if-changed=src/init/program.rs");
    println!("cargo::rerun-if-changed=build.rs");
    let variable = |name: &str| env::var(name).expect("cargo sets it for build scripts");
    let output = PathBuf::from(variable("OUT_DIR")).join("init");
    let mut rustc = Command::new(variable("RUSTC"));
    rustc
        .args([
            "--edition",
            "2024",
            "--crate-name",
            "sandbox_init",
            "--crate-type",
            "bin",
        ])
        .args(["--target", &variable("TARGET")])
        .args([
            "-C",
            "panic=abort",
            "-C",
            "opt-level=2",
            "-C",
            "strip=symbols",
        ])
        // One fixed, statically linked image: no relocations, no interpreter, few pages to map.
        .args([
            "-C",
            "relocation-model=static",
            "-C",
            "target-feature=+crt-static",
        ])
        .args(["-C", "link-arg=-nostartfiles", "-C", "link-arg=-nostdlib"])
        .args(["-C", "link-arg=-static", "-C", "link-arg=-no-pie"])
        .args(["-C", "link-arg=-Wl,-z,noseparate-code,--build-id=none"])
        .arg("-o")
        .arg(&output)
        .arg("src/init/program.rs");
    if let Ok(linker) = env::var("RUSTC_LINKER") {
        rustc.args(["-C", &format!("linker={linker}")]);
    }
    let status = rustc.status().expect("rustc runs");
    assert!(status.success(), "the sandbox's init does not compile");
    let size = fs::metadata(&output).expect("rustc wrote it").len();
    assert!(
        size < 64 * 1024,
        "the sandbox's init has grown to {size} bytes"
    );
}
