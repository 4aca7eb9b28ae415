//! Run a plug-in that you do not trust, and talk to it over its standard input and output.
//!
//! `cargo run --example plugin -- COMMAND [ARG]...`

use std::io::Write;
use std::time::Duration;

use sandbox::{Net, Sandbox, Stdio};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let command: Vec<_> = std::env::args_os().skip(1).collect();
    let (program, arguments) = command.split_first().ok_or("say which command to run")?;
    let mut child = Sandbox::new(program)
        .args(arguments)
        .net(Net::None)
        .private_tmp()
        .timeout(Duration::from_secs(10))
        .stdin(Stdio::Piped)
        .stdout(Stdio::Piped)
        .spawn()?;
    if let Some(stdin) = &mut child.stdin {
        stdin.write_all(b"a question\n")?;
    }
    let output = child.wait_with_output()?;
    writeln!(
        std::io::stdout(),
        "{}: {}",
        output.status,
        String::from_utf8_lossy(&output.stdout)
    )?;
    Ok(())
}
