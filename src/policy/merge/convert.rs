//! From a layer in which everything is said to a policy, and back.

use std::collections::BTreeMap;

use crate::policy::layer::{
    EgressLayer, EnvironmentLayer, FilesystemLayer, NamespacesLayer, ProcessLayer,
};
use crate::policy::{Egress, Environment, Filesystem, Layer, Namespaces, Policy, Process};

/// A layer in which every key that has a default is set, as a policy.
pub(super) fn into_policy(layer: Layer, name: String) -> Policy {
    let base = Policy::nothing();
    let Layer {
        namespaces,
        filesystem,
        process,
        environment,
        ..
    } = layer;
    Policy {
        name,
        description: layer.description.unwrap_or(base.description),
        network: layer.network.unwrap_or(base.network),
        unix_sockets: layer.unix_sockets.unwrap_or(base.unix_sockets),
        egress: Egress {
            allow: layer.egress.allow,
            deny: layer.egress.deny,
            inspect: layer.egress.inspect.unwrap_or(base.egress.inspect),
            engine: layer.egress.engine.unwrap_or(base.egress.engine),
            publish: layer.egress.publish,
            proxy_env: layer.egress.proxy_env,
            budgets: layer.egress.budgets,
        },
        user_namespace: namespaces.user.unwrap_or(base.user_namespace),
        namespaces: Namespaces {
            pid: namespaces.pid.unwrap_or(base.namespaces.pid),
            mount: namespaces.mount.unwrap_or(base.namespaces.mount),
            ipc: namespaces.ipc.unwrap_or(base.namespaces.ipc),
            uts: namespaces.uts.unwrap_or(base.namespaces.uts),
            cgroup: namespaces.cgroup.unwrap_or(base.namespaces.cgroup),
        },
        filesystem: Filesystem {
            proc: filesystem.proc.unwrap_or(base.filesystem.proc),
            sys: filesystem.sys.unwrap_or(base.filesystem.sys),
            dev: filesystem.dev.unwrap_or(base.filesystem.dev),
            private_tmp: filesystem
                .private_tmp
                .unwrap_or(base.filesystem.private_tmp),
            hide: filesystem.hide,
            hide_sockets: filesystem
                .hide_sockets
                .unwrap_or(base.filesystem.hide_sockets),
            read_only: filesystem.read_only,
            read_write: filesystem.read_write,
            optional: Vec::new(),
        },
        process: Process {
            seccomp: process.seccomp.unwrap_or(base.process.seccomp),
            cap_add: process.cap_add,
            as_pid_1: process.as_pid_1.unwrap_or(base.process.as_pid_1),
            new_session: process.new_session.unwrap_or(base.process.new_session),
            user: process.user,
            group: process.group,
            chdir: process.chdir,
            hostname: process.hostname,
            timeout: process.timeout,
            kill_after: process.kill_after.unwrap_or(base.process.kill_after),
        },
        environment: Environment {
            clear: environment.clear.unwrap_or(base.environment.clear),
            keep: environment.keep,
            unset: environment.unset,
            set: environment.set,
        },
        limits: layer.limits,
        cgroup: layer.cgroup,
        strictness: layer.require.unwrap_or(base.strictness),
    }
}

impl From<&Egress> for EgressLayer {
    fn from(egress: &Egress) -> Self {
        Self {
            allow: egress.allow.clone(),
            deny: egress.deny.clone(),
            inspect: Some(egress.inspect),
            engine: Some(egress.engine),
            publish: egress.publish.clone(),
            proxy_env: egress.proxy_env,
            budgets: egress.budgets.clone(),
        }
    }
}

/// The layer that says all of a policy.
impl From<&Policy> for Layer {
    fn from(policy: &Policy) -> Self {
        let Policy {
            namespaces,
            filesystem,
            process,
            environment,
            ..
        } = policy;
        Self {
            description: Some(policy.description.clone()).filter(|text| !text.is_empty()),
            extends: None,
            require: Some(policy.strictness),
            network: Some(policy.network.clone()),
            unix_sockets: Some(policy.unix_sockets),
            egress: EgressLayer::from(&policy.egress),
            namespaces: NamespacesLayer {
                user: Some(policy.user_namespace),
                pid: Some(namespaces.pid),
                mount: Some(namespaces.mount),
                ipc: Some(namespaces.ipc),
                uts: Some(namespaces.uts),
                cgroup: Some(namespaces.cgroup),
            },
            filesystem: FilesystemLayer {
                proc: Some(filesystem.proc),
                sys: Some(filesystem.sys),
                dev: Some(filesystem.dev),
                private_tmp: Some(filesystem.private_tmp),
                hide: filesystem.hide.clone(),
                hide_sockets: Some(filesystem.hide_sockets),
                read_only: filesystem.read_only.clone(),
                read_write: filesystem.read_write.clone(),
            },
            process: ProcessLayer {
                seccomp: Some(process.seccomp.clone()),
                cap_add: process.cap_add.clone(),
                as_pid_1: Some(process.as_pid_1),
                new_session: Some(process.new_session),
                user: process.user.clone(),
                group: process.group.clone(),
                chdir: process.chdir.clone(),
                hostname: process.hostname.clone(),
                timeout: process.timeout,
                kill_after: Some(process.kill_after),
            },
            environment: EnvironmentLayer {
                clear: Some(environment.clear),
                keep: environment.keep.clone(),
                unset: environment.unset.clone(),
                set: environment.set.clone(),
            },
            limits: policy.limits.clone(),
            cgroup: policy.cgroup,
            lines: BTreeMap::new(),
            extends_at: None,
        }
    }
}
