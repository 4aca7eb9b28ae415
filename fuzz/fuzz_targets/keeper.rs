//! What a broker that was taken over can send to its keeper or to a waiting sandbox: exactly what the
//! encoders make, or nothing.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sandbox::broker::connection::{self, VARIABLES};
use sandbox::broker::keeper::wire::{Answer, Request};

fuzz_target!(|bytes: &[u8]| {
    if let Some(request) = Request::decode(bytes) {
        assert_eq!(request.encode(), bytes);
        if let Request::Launch {
            values: Some(values),
            ..
        } = request
        {
            assert!(connection::decode(&values).is_some());
        }
    }
    if let Some(answer) = Answer::decode(bytes) {
        assert_eq!(answer.encode(), bytes);
    }
    if let Some(values) = connection::decode(bytes) {
        let length = VARIABLES.len() + values.iter().map(|value| value.len()).sum::<usize>();
        assert_eq!(length, bytes.len());
        let printable = |byte: &u8| (b' '..=b'~').contains(byte);
        assert!(values.iter().all(|value| value.iter().all(printable)));
    }
});
