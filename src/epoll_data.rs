//! What epoll(7) gives back with an event, 64 bits: the kind of a descriptor and a number.
//!
//! Pure; for the broker's loop and the supervisor's, each with kinds of its own. Numbers count up from 0
//! and are never used twice: more than 2^56 of anything is not to be had.
#![forbid(unsafe_code)]

const NUMBER_BITS: u32 = 56;
/// The highest number, and the bits that hold it.
pub(crate) const NUMBERS: u64 = (1 << NUMBER_BITS) - 1;

/// Both in one.
pub(crate) fn pack(kind: u8, number: u64) -> u64 {
    (u64::from(kind) << NUMBER_BITS) | (number & NUMBERS)
}

/// The kind and the number.
pub(crate) fn unpack(data: u64) -> (u8, u64) {
    let [kind, ..] = data.to_be_bytes();
    (kind, data & NUMBERS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kind_and_number_come_back() {
        for kind in [0, 7, u8::MAX] {
            for number in [0, 1, u64::from(u32::MAX) + 1, NUMBERS] {
                assert_eq!(unpack(pack(kind, number)), (kind, number));
            }
        }
        assert_eq!(pack(1, NUMBERS + 1), pack(1, 0));
    }
}
