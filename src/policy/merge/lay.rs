//! One layer over another.

use std::collections::BTreeSet;

use crate::policy::environment::matches;
use crate::policy::{Layer, Limit};

/// Lay `above` over `below`.
pub(crate) fn lay_over(below: &mut Layer, above: &Layer) {
    fn last<T: Clone>(below: &mut Option<T>, above: &Option<T>) {
        if above.is_some() {
            below.clone_from(above);
        }
    }
    fn add<T: Clone + Ord>(below: &mut Vec<T>, above: &[T]) {
        let mut known: BTreeSet<&T> = below.iter().collect();
        let new = above.iter().filter(|element| known.insert(element));
        let new: Vec<T> = new.cloned().collect();
        below.extend(new);
    }

    last(&mut below.description, &above.description);
    last(&mut below.extends, &above.extends);
    last(&mut below.require, &above.require);
    last(&mut below.network, &above.network);
    last(&mut below.unix_sockets, &above.unix_sockets);

    let (to, from) = (&mut below.egress, &above.egress);
    add(&mut to.allow, &from.allow);
    add(&mut to.deny, &from.deny);
    last(&mut to.inspect, &from.inspect);
    last(&mut to.engine, &from.engine);
    add(&mut to.publish, &from.publish);
    last(&mut to.proxy_env, &from.proxy_env);
    to.budgets.bytes.extend(from.budgets.bytes.clone());
    to.budgets.rates.extend(from.budgets.rates.clone());

    let (to, from) = (&mut below.namespaces, &above.namespaces);
    last(&mut to.user, &from.user);
    last(&mut to.pid, &from.pid);
    last(&mut to.mount, &from.mount);
    last(&mut to.ipc, &from.ipc);
    last(&mut to.uts, &from.uts);
    last(&mut to.cgroup, &from.cgroup);

    let (to, from) = (&mut below.filesystem, &above.filesystem);
    last(&mut to.proc, &from.proc);
    last(&mut to.sys, &from.sys);
    last(&mut to.dev, &from.dev);
    last(&mut to.private_tmp, &from.private_tmp);
    add(&mut to.hide, &from.hide);
    last(&mut to.hide_sockets, &from.hide_sockets);
    add(&mut to.read_only, &from.read_only);
    add(&mut to.read_write, &from.read_write);

    let (to, from) = (&mut below.process, &above.process);
    last(&mut to.seccomp, &from.seccomp);
    add(&mut to.cap_add, &from.cap_add);
    last(&mut to.as_pid_1, &from.as_pid_1);
    last(&mut to.new_session, &from.new_session);
    last(&mut to.user, &from.user);
    last(&mut to.group, &from.group);
    last(&mut to.chdir, &from.chdir);
    last(&mut to.hostname, &from.hostname);
    last(&mut to.timeout, &from.timeout);
    last(&mut to.kill_after, &from.kill_after);

    let (to, from) = (&mut below.environment, &above.environment);
    last(&mut to.clear, &from.clear);
    add(&mut to.keep, &from.keep);
    add(&mut to.unset, &from.unset);
    // Within one policy "set" comes last; across layers, what a later layer unsets is gone.
    to.set
        .retain(|name, _| !from.unset.iter().any(|pattern| matches(pattern, name)));
    to.set.extend(from.set.clone());

    for limit in &above.limits {
        below
            .limits
            .retain(|other| other.resource != limit.resource);
        below.limits.push(*limit);
    }
    below.limits.sort_by_key(|limit: &Limit| limit.resource);
    last(&mut below.cgroup.memory, &above.cgroup.memory);
    last(&mut below.cgroup.pids, &above.cgroup.pids);
    last(&mut below.cgroup.cpu, &above.cgroup.cpu);

    // Lines belong to one file.
    below.lines.clear();
    below.extends_at = None;
}
