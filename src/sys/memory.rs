//! The program's own memory: what a process that only waits can give back to the kernel.
#![expect(unsafe_code, reason = "the fence: one system call per function")]

use std::ffi::{c_int, c_void};

/// madvise(2) `MADV_DONTNEED` for the program's code and constants, and malloc_trim(3) for its heap.
///
/// What the launch has needed of the binary stays mapped in until somebody wants the memory; a process
/// that waits for hours touches a few pages. They come back from the file when they are touched.
///
/// Not async-signal-safe: takes the locks of libc's loader and allocator.
pub(crate) fn give_back_unused() {
    // SAFETY: the callback keeps to the contract of dl_iterate_phdr(3), and takes no data.
    unsafe { libc::dl_iterate_phdr(Some(forget_constants), std::ptr::null_mut()) };
    // SAFETY: frees what nothing has allocated.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0)
    };
}

/// For the first object, the program: drop the pages of segments that cannot be written to. Those that
/// can hold relocated words, also where they were made read-only since (RELRO): those are not in the
/// file.
unsafe extern "C" fn forget_constants(
    object: *mut libc::dl_phdr_info,
    _size: libc::size_t,
    _data: *mut c_void,
) -> c_int {
    const STOP: c_int = 1;
    // SAFETY: dl_iterate_phdr gives a valid object for as long as the callback runs.
    let object = unsafe { &*object };
    if object.dlpi_phdr.is_null() {
        return STOP;
    }
    let count = usize::from(object.dlpi_phnum);
    // SAFETY: an object has so many headers there, which the program never changes.
    let segments = unsafe { std::slice::from_raw_parts(object.dlpi_phdr, count) };
    for segment in segments {
        let constant = segment.p_type == libc::PT_LOAD && segment.p_flags & libc::PF_W == 0;
        let Some((start, length)) = place(object.dlpi_addr, segment).filter(|_| constant) else {
            continue;
        };
        let start = std::ptr::without_provenance_mut(start);
        // SAFETY: a private mapping of the program's file that nothing has written to, as it cannot be:
        // what is read there afterwards is the same, from the file.
        let _ = unsafe { libc::madvise(start, length, libc::MADV_DONTNEED) };
    }
    STOP
}

/// The start, on a page, and the length of `segment` in an object at `base`. No page belongs to two
/// segments, as their protection differs.
fn place(base: u64, segment: &libc::Elf64_Phdr) -> Option<(usize, usize)> {
    // SAFETY: takes and gives numbers.
    let page = unsafe { libc::getauxval(libc::AT_PAGESZ) };
    let start = base.checked_add(segment.p_vaddr)?;
    let before = start.checked_rem(page)?;
    let length = segment.p_memsz.checked_add(before)?;
    let start = start.checked_sub(before)?;
    Some((usize::try_from(start).ok()?, usize::try_from(length).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    static CONSTANTS: [u8; 1 << 18] = [7; 1 << 18];

    fn resident_kib() -> u64 {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("RssFile:"));
        let digits = line.unwrap().trim().trim_end_matches(" kB");
        digits.parse().unwrap()
    }

    #[test]
    fn what_was_given_back_is_there_again_when_it_is_touched() {
        let sum = || -> u64 {
            std::hint::black_box(&CONSTANTS)
                .iter()
                .map(|&b| u64::from(b))
                .sum()
        };
        let expected = sum();
        let before = resident_kib();
        give_back_unused();
        let after = resident_kib();
        // Other tests run beside this one, and take pages back in.
        assert!(after < before, "{before} then {after} KiB");
        assert_eq!(sum(), expected);
    }
}
