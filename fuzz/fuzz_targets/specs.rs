//! Every value that the command line and policy files take: never a panic, and what can be shown
//! reads back as itself.
#![no_main]

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use libfuzzer_sys::fuzz_target;
use sandbox::policy::spec;

fuzz_target!(|bytes: &[u8]| {
    let raw = OsStr::from_bytes(bytes);
    let _ = spec::path(raw);
    let _ = spec::unix_path(raw);
    let _ = spec::variable(raw);
    let _ = spec::variable_value(raw);
    let _ = spec::variable_name(raw);
    let _ = spec::variable_pattern(raw);
    let _ = spec::named_endpoint(raw);
    if let Ok(endpoint) = spec::endpoint(raw) {
        assert_eq!(spec::endpoint(&spec::show_endpoint(&endpoint)), Ok(endpoint));
    }
    if let Ok(network) = spec::network(raw) {
        assert_eq!(spec::network(&spec::show_network(&network)), Ok(network));
    }

    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Ok(duration) = spec::duration(text) {
        assert_eq!(spec::duration(&spec::show_duration(duration)), Ok(duration));
    }
    if let Ok(size) = spec::size(text) {
        assert_eq!(spec::size(&spec::show_size(size)), Ok(size));
    }
    if let Ok(limit) = spec::limit(text) {
        assert_eq!(spec::limit_value(limit.name, &spec::show_limit(&limit)), Ok(limit));
    }
    if let Ok(capability) = spec::capability(text) {
        assert_eq!(spec::capability(&spec::show_capability(capability)), Ok(capability));
    }
    let _ = spec::user_namespace(text);
    let _ = spec::view(text);
    let _ = spec::strictness(text);
    let _ = spec::seccomp(text);
    let _ = spec::descriptor(text);
    let _ = spec::descriptor_name(text);
    let _ = spec::account(text);
    let _ = spec::hostname(text);
    let _ = spec::namespaces(text);
    let _ = spec::cgroup(text);
    let _ = spec::cgroup_memory(text);
    let _ = spec::cgroup_pids(text);
    let _ = spec::cgroup_cpu(text);
});
