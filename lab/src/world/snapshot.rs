//! The final world without ids and times, for comparing two of them.

use serde_json::{Value, json};

use super::World;

impl World {
    /// Returns what an operator would say is the state of the site.
    pub(crate) fn snapshot(&self) -> Value {
        let groups =
            self.groups.iter().map(|g| json!({"name": g.name, "tags": g.tags, "deleting": g.gone.is_some()}));
        let vms = self.vms.iter().map(|vm| {
            json!({"name": vm.name, "group": vm.group, "cluster": vm.cluster, "node": vm.node,
                "power": vm.power_word(), "starts": vm.starts, "tags": vm.tags})
        });
        let azure_vms = self.azure_vms.iter().map(|vm| {
            json!({"name": vm.name, "group": vm.group, "power": vm.power_word(), "starts": vm.starts,
                "redeploys": vm.redeploys, "has_diagnostics": vm.has_diagnostics, "has_identity": vm.has_identity,
                "tags": vm.tags})
        });
        let rules = self.networks.groups.iter().map(|it| {
            // When it was made does not matter, nor in which order.
            let mut rules: Vec<Value> = (it.rules.iter())
                // Names and descriptions may differ between two runs.
                .map(|rule| {
                    let is = crate::world::RuleProperties { description: None, ..rule.is.clone() };
                    json!({"is": is, "writes": rule.writes, "deleting": rule.gone.is_some()})
                })
                .collect();
            rules.sort_unstable_by_key(Value::to_string);
            json!({"name": it.name, "group": it.group, "rules": rules})
        });
        let clusters = self.clusters.iter().map(|cluster| {
            let nodes = cluster.nodes.iter().map(|n| json!({"name": n.name, "port_open": n.port.is_some(), "tags": n.tags}));
            let mut jobs: Vec<Value> = cluster
                .jobs
                .iter()
                .map(|job| {
                    let vms =
                        job.targets.iter().map(|t| json!({"vm": t.vm, "group": t.group, "node": t.node}));
                    let outcome = match (job.ended, &job.failure) {
                        (None, _) => "running",
                        (Some(_), None) => "succeeded",
                        (Some(_), Some(_)) => "failed",
                    };
                    json!({"kind": job.kind, "outcome": outcome, "targets": vms.collect::<Vec<_>>()})
                })
                .collect();
            // Names may differ between two runs and so may the order; neither matters to the site.
            jobs.sort_unstable_by_key(Value::to_string);
            json!({"name": cluster.name, "tags": cluster.tags, "nodes": nodes.collect::<Vec<_>>(), "jobs": jobs})
        });
        let mut extensions: Vec<Value> = self
            .extensions
            .iter()
            .map(|it| {
                json!({"machine": it.machine, "group": it.group, "name": it.name, "state": it.state(),
                    "version": it.version(), "settings": it.sent.settings, "installs": it.installs})
            })
            .collect();
        extensions.sort_unstable_by_key(Value::to_string);
        let mut endpoints: Vec<Value> = self
            .endpoints
            .iter()
            .map(|it| json!({"machine": it.machine, "group": it.group, "services": it.services}))
            .collect();
        endpoints.sort_unstable_by_key(Value::to_string);
        let mut run_commands: Vec<Value> = self
            .run_commands
            .iter()
            // Names may differ between two runs.
            .map(|it| json!({"machine": it.machine, "group": it.group, "sent": it.sent, "runs": it.runs}))
            .collect();
        run_commands.sort_unstable_by_key(Value::to_string);
        let mut files: Vec<Value> = self
            .disks
            .iter()
            .filter_map(|disk| {
                let (group, machine) = (&disk.group, &disk.machine);
                let changes = disk.changes(self.os(group, machine)?);
                (!changes.is_empty()).then(|| json!({"machine": machine, "group": group, "changes": changes}))
            })
            .collect();
        files.sort_unstable_by_key(Value::to_string);
        json!({
            "groups": groups.collect::<Vec<_>>(),
            "clusters": clusters.collect::<Vec<_>>(),
            "vms": vms.collect::<Vec<_>>(),
            "azure_vms": azure_vms.collect::<Vec<_>>(),
            "security_groups": rules.collect::<Vec<_>>(),
            "extensions": extensions,
            "endpoints": endpoints,
            "run_commands": run_commands,
            "files": files,
            "registered": self.registrations.iter().filter(|it| it.done.is_some()).map(|it| &it.namespace).collect::<Vec<_>>(),
        })
    }
}
