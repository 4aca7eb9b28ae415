//! A server on a socket that it is given, and what a bug might do: call whoever the client names.
//!
//! Only the standard library: `rustc -O -o server main.rs`. The socket is standard input, the one
//! descriptor that Rust hands out without `unsafe`; `run` moves it there.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::thread;

fn main() -> io::Result<()> {
    let listener = TcpListener::from(io::stdin().as_fd().try_clone_to_owned()?);
    loop {
        let (client, _) = listener.accept()?;
        thread::spawn(move || serve(client));
    }
}

fn serve(client: TcpStream) -> io::Result<()> {
    let mut client = BufReader::new(client);
    let mut request = String::new();
    client.read_line(&mut request)?;
    let mut header = String::new();
    while client.read_line(&mut header)? > 2 {
        header.clear();
    }
    let path = request.split(' ').nth(1).unwrap_or_default();
    let said = match path.strip_prefix("/fetch?port=") {
        Some(port) => fetch(port).unwrap_or_else(|error| format!("refused: {error}\n")),
        None => "answered\n".to_owned(),
    };
    let length = said.len();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    client.get_mut().write_all((head + &said).as_bytes())
}

fn fetch(port: &str) -> io::Result<String> {
    let port = port.parse().map_err(io::Error::other)?;
    let mut server = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    server.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut said = String::new();
    server.read_to_string(&mut said)?;
    Ok(said)
}
