//! The words of a profile's `if` and `verdict`: "arg0 == AF_INET and arg2 in 0, IPPROTO_TCP".
//!
//! ```text
//! expression = test { " and " test }
//! test       = "arg" 0-5 [ ":64" ] [ "&" ["~"] value ] comparison
//! comparison = ( "==" | "!=" | "<" | "<=" | ">" | ">=" ) value | "in" value { "," value }
//! value      = part { "|" part }         part = NAME | decimal | 0x…
//! ```
//!
//! Arguments are compared in their low 32 bits unless `:64` is written; a mask goes with `==` and
//! `in` only.

use super::constants;
use super::profile::{Condition, Test, Verdict, Width};

/// The most conjunctions that one expression may stand for.
const MOST: usize = 64;

/// What an expression means: any of these conjunctions.
pub(crate) fn parse(text: &str) -> Result<Vec<Vec<Condition>>, String> {
    let mut alternatives: Vec<Vec<Condition>> = vec![Vec::new()];
    for part in text.split(" and ") {
        let tests = test(part.trim())?;
        if alternatives.len() * tests.len() > MOST {
            return Err(format!("\"{text}\" means more than {MOST} combinations"));
        }
        alternatives = alternatives
            .iter()
            .flat_map(|before| tests.iter().map(|test| [&before[..], &[*test]].concat()))
            .collect();
    }
    Ok(alternatives)
}

fn test(text: &str) -> Result<Vec<Condition>, String> {
    let (left, comparison, right) = split(text).ok_or_else(|| {
        format!("\"{text}\" is no test; write \"arg1 == VALUE\", \"arg1 & MASK == VALUE\" or \"arg1 in VALUE, VALUE\"")
    })?;
    let (argument, mask) = match left.split_once('&') {
        Some((argument, mask)) => (argument.trim(), Some(mask_value(mask.trim())?)),
        None => (left, None),
    };
    let (argument, width) = match argument.strip_suffix(":64") {
        Some(argument) => (argument, Width::Full64),
        None => (argument, Width::Low32),
    };
    let argument = match argument.strip_prefix("arg").map(str::as_bytes) {
        Some([digit @ b'0'..=b'5']) => digit - b'0',
        _ => {
            return Err(format!(
                "\"{argument}\" is no argument; they are arg0 to arg5"
            ));
        }
    };
    let test = match (comparison, mask) {
        ("==" | "in", Some(mask)) => Test::Masked(mask),
        (_, Some(_)) => return Err(format!("a mask goes with == and in only, not {comparison}")),
        ("==" | "in", None) => Test::Eq,
        ("!=", None) => Test::Ne,
        ("<", None) => Test::Lt,
        ("<=", None) => Test::Le,
        (">", None) => Test::Gt,
        (_, None) => Test::Ge,
    };
    let values: Vec<&str> = match comparison {
        "in" => right.split(',').collect(),
        _ => vec![right],
    };
    let condition = |word: &&str| {
        let value = value(word.trim())?;
        if width == Width::Low32 && value > u64::from(u32::MAX) {
            return Err(format!(
                "{value:#x} does not fit into 32 bits; compare arg{argument}:64"
            ));
        }
        if let Test::Masked(mask) = test
            && value & !mask != 0
        {
            return Err(format!(
                "{value:#x} has bits that the mask {mask:#x} takes away"
            ));
        }
        Ok(Condition {
            argument,
            width,
            test,
            value,
        })
    };
    values.iter().map(condition).collect()
}

fn split(text: &str) -> Option<(&str, &str, &str)> {
    // Two characters before their first one alone.
    let found = ["==", "!=", "<=", ">=", "<", ">", " in "]
        .into_iter()
        .find_map(|word| {
            text.split_once(word)
                .map(|(l, r)| (l.trim(), word.trim(), r.trim()))
        });
    found.filter(|(left, _, right)| !left.is_empty() && !right.is_empty())
}

fn mask_value(text: &str) -> Result<u64, String> {
    match text.strip_prefix('~') {
        // Masks of 32-bit comparisons have no upper half to keep; of 64-bit ones they keep it.
        Some(rest) => value(rest.trim()).map(|value| !value),
        None => value(text),
    }
}

fn value(text: &str) -> Result<u64, String> {
    text.split('|')
        .try_fold(0, |all, part| Ok(all | part_value(part.trim())?))
}

fn part_value(text: &str) -> Result<u64, String> {
    let number = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    };
    number.or_else(|| constants::value(text)).ok_or_else(|| {
        let advice = constants::nearest(text, constants::value_names())
            .map_or(String::new(), |near| format!("; did you mean {near}?"));
        format!("unknown value \"{text}\"{advice}")
    })
}

/// A verdict's word: `allow`, `log`, `errno NAME`, `succeed`, `trap`, `kill-thread`, `kill`.
pub(crate) fn verdict(text: &str) -> Result<Verdict, String> {
    match text {
        "allow" => return Ok(Verdict::Allow),
        "log" => return Ok(Verdict::Log),
        "succeed" => return Ok(Verdict::Errno(0)),
        "trap" => return Ok(Verdict::Trap),
        "kill-thread" => return Ok(Verdict::KillThread),
        "kill" => return Ok(Verdict::KillProcess),
        _ => {}
    }
    let Some(name) = text.strip_prefix("errno ") else {
        return Err(format!(
            "unknown verdict \"{text}\"; it is allow, log, errno NAME, succeed, trap, kill-thread or kill"
        ));
    };
    constants::errno(name).map(Verdict::Errno).ok_or_else(|| {
        let advice = constants::nearest(name, constants::errno_names())
            .map_or(String::new(), |near| format!("; did you mean {near}?"));
        format!("unknown errno \"{name}\"{advice}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alternatives_multiply() {
        let parsed = parse("arg0 in AF_INET, AF_INET6 and arg2 in 0, 6, 17").unwrap();
        assert_eq!(parsed.len(), 6);
        assert!(parsed.iter().all(|conjunction| conjunction.len() == 2));
    }

    #[test]
    fn a_mask_compares_only_its_bits() {
        let parsed = parse("arg1 & ~SOCK_FLAGS == SOCK_STREAM").unwrap();
        let [conjunction] = &parsed[..] else {
            panic!("one conjunction")
        };
        assert!(conjunction[0].holds(&[0, 0x80801, 0, 0, 0, 0]));
        assert!(conjunction[0].holds(&[0, 0xdead_0000_0000_0801, 0, 0, 0, 0]));
        assert!(!conjunction[0].holds(&[0, 0x80802, 0, 0, 0, 0]));
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_a_reason() {
        for (text, reason) in [
            ("", "is no test"),
            ("arg0", "is no test"),
            ("arg6 == 1", "arg0 to arg5"),
            ("arg0 == AF_UNIXX", "did you mean AF_UNIX?"),
            ("arg0 & 1 != 1", "== and in only"),
            ("arg0 & 1 == 2", "takes away"),
            ("arg0 == 0x100000000", "32 bits"),
            ("arg0 == 1 and", "unknown value"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(reason), "{text:?}: {error}");
        }
    }
}
