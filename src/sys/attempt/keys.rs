//! Keyrings (keyrings(7)).
#![expect(unsafe_code, reason = "the fence: one system call per function")]

use std::ffi::{CStr, c_long};

use nix::errno::Errno;

use super::calls::call_with_numbers;

/// The key serial of the session keyring, and of the user's.
pub(crate) const SESSION_KEYRING: i32 = -3;
/// The keyring that all processes of one user share.
pub(crate) const USER_KEYRING: i32 = -4;

/// keyctl(KEYCTL_READ): the payload of key `serial`, up to 64 bytes.
pub(crate) fn read_key(serial: i32) -> Result<Vec<u8>, Errno> {
    const KEYCTL_READ: c_long = 11;
    let mut payload = vec![0_u8; 64];
    let (start, room) = (payload.as_mut_ptr(), payload.len());
    // SAFETY: the kernel writes at most `room` bytes at `start`, which has as many.
    let result = unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_READ, serial, start, room) };
    let length = usize::try_from(Errno::result(result)?).unwrap_or(0);
    payload.truncate(length);
    Ok(payload)
}

/// keyctl(KEYCTL_UNLINK): take key `serial` out of `keyring`.
pub(crate) fn unlink_key(serial: i32, keyring: i32) -> Result<(), Errno> {
    const KEYCTL_UNLINK: i64 = 9;
    let args = [KEYCTL_UNLINK, serial.into(), keyring.into(), 0, 0];
    call_with_numbers(libc::SYS_keyctl, args).map(drop)
}

/// keyctl(KEYCTL_SEARCH): the serial of the key `description` of type "user" below `keyring`.
pub(crate) fn search_key(keyring: i32, description: &CStr) -> Result<i64, Errno> {
    const KEYCTL_SEARCH: c_long = 10;
    let (kind, name) = (c"user".as_ptr(), description.as_ptr());
    // SAFETY: two C strings, only read; nothing is linked.
    let result = unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_SEARCH, keyring, kind, name, 0) };
    Errno::result(result)
}

/// keyctl(KEYCTL_SETPERM): who may do what with key `serial` (keyctl_setperm(3)).
pub(crate) fn set_key_permissions(serial: i32, permissions: u32) -> Result<(), Errno> {
    const KEYCTL_SETPERM: i64 = 5;
    let args = [KEYCTL_SETPERM, serial.into(), permissions.into(), 0, 0];
    call_with_numbers(libc::SYS_keyctl, args).map(drop)
}

/// keyctl(KEYCTL_GET_KEYRING_ID): the serial of a special keyring.
pub(crate) fn keyring_id(keyring: i32) -> Result<i64, Errno> {
    call_with_numbers(libc::SYS_keyctl, [0, keyring.into(), 0, 0, 0])
}

/// add_key(2): a key of type "user" in `keyring`; its serial.
pub(crate) fn add_key(description: &CStr, payload: &[u8], keyring: i32) -> Result<i32, Errno> {
    // SAFETY: two C strings and `payload.len()` bytes, all only read.
    let result = unsafe {
        libc::syscall(
            libc::SYS_add_key,
            c"user".as_ptr(),
            description.as_ptr(),
            payload.as_ptr(),
            payload.len(),
            keyring,
        )
    };
    let serial = Errno::result(result)?;
    i32::try_from(serial).map_err(|_| Errno::EOVERFLOW)
}

/// request_key(2): the serial of the key `description` of type "user" in this process's keyrings.
pub(crate) fn request_key(description: &CStr) -> Result<i64, Errno> {
    let none = std::ptr::null::<libc::c_char>();
    // SAFETY: two C strings, only read, and no call-out text.
    let result = unsafe {
        libc::syscall(
            libc::SYS_request_key,
            c"user".as_ptr(),
            description.as_ptr(),
            none,
            0,
        )
    };
    Errno::result(result)
}
