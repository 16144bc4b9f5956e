//! What is in a snapshot of a tree.

use serde_json::json;
use timeline::store::node::Node;
use timeline::store::{Store, StoreError};

use super::position_json;

/// Bytes of a page.
const PAGE_BYTES: usize = timeline::format::PAGE_BYTES;

/// A snapshot, as text or as one JSON object.
///
/// # Errors
/// If it cannot be read.
pub fn told(store: &Store, node: &Node, json: bool) -> Result<String, StoreError> {
    let state = store.snapshot_state(node)?;
    let ram_used_bytes = state.pages()?.len() * PAGE_BYTES;
    let at = store.nodes().iter().position(|other| other.id == node.id);
    let only_it_bytes = store.sizes()?.get(at.unwrap_or_default()).map_or(0, |size| size.only_it);
    let config = state.config.unwrap_or_default();
    let boot = state.boot.unwrap_or_default();
    if json {
        let object = json!({
            "kind": "snapshot",
            "id": node.id,
            "name": node.record.name,
            "position": position_json(node.position()),
            "ram_used_bytes": ram_used_bytes,
            "only_it_bytes": only_it_bytes,
            "configuration": {
                "memory_bytes": config.ram_bytes,
                "cpus": config.vcpus,
                "cpu": format!("x86-64-v{}", config.cpu_level),
                "clock": state.clock,
                "engine": state.engine,
                "created_unix_seconds": node.record.created_unix_seconds,
                "kernel": boot.kernel,
                "initrd": boot.initrd,
                "append": boot.command_line,
            },
        });
        return Ok(object.to_string());
    }
    let lines = [
        format!("snapshot       {}, {}", node.record.name, node.id),
        format!("at             {}", node.position()),
        format!("RAM in use     {ram_used_bytes} bytes; only this node uses {only_it_bytes} bytes of the disk"),
        format!("machine        {} MiB, {} vCPUs x86-64-v{}", config.ram_bytes >> 20, config.vcpus, config.cpu_level),
        format!("clock          {}", state.clock),
        format!("kernel         {} {}", boot.kernel, boot.command_line),
    ];
    Ok(lines.join("\n"))
}
