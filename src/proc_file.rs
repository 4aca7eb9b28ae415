//! Files of `/proc` in as few calls as they need: the standard library first asks for their size, which
//! is 0, and then reads them a few bytes at a time.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// All of the file at `path`.
///
/// # Errors
/// As for open(2) and read(2).
pub(crate) fn read(path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let mut bytes = vec![0; 4096];
    let mut length = 0;
    loop {
        let room = bytes.get_mut(length..).unwrap_or_default();
        match file.read(room) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if length == bytes.len() {
            bytes.resize(length * 2, 0);
        }
    }
    bytes.truncate(length);
    Ok(bytes)
}

/// The same as text; bytes that are none are replaced.
///
/// # Errors
/// As for [`read`].
pub(crate) fn read_text(path: impl AsRef<Path>) -> io::Result<String> {
    let bytes = read(path)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_longer_than_one_read_is_read_to_its_end() {
        let long = read("/proc/kallsyms").unwrap();
        assert_eq!(long.last(), Some(&b'\n'));
        assert!(long.len() > 4096, "{}", long.len());
        assert_eq!(
            read_text("/proc/sys/kernel/ostype").unwrap(),
            std::fs::read_to_string("/proc/sys/kernel/ostype").unwrap()
        );
    }
}
