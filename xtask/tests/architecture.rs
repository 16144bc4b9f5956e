//! Holds the structure that ARCHITECTURE.md describes: who may depend on whom, that the code map
//! and the crates agree, and that each crate says what it is for.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// What each crate of the workspace may depend on, beside itself. `tests` of a crate may use more.
///
/// The first four are the machine: no clock, no randomness, no thread, no file, no socket may come
/// in through a dependency. A crate that is added there needs a reason that a reviewer believes.
const MAY_DEPEND_ON: &[(&str, &[&str])] = &[
    ("x86", &["bytemuck", "iced-x86", "prost", "rustix", "thiserror"]),
    ("jit", &["iced-x86", "rustix", "thiserror", "x86"]),
    ("devices", &["prost", "thiserror", "x86"]),
    (
        "machine",
        &["acpi_tables", "blake3", "devices", "jit", "linux-loader", "prost", "rustix", "thiserror", "x86", "zerocopy"],
    ),
    (
        "timeline",
        &["blake3", "crc32c", "iced-x86", "lz4_flex", "machine", "prost", "rustix", "thiserror", "x86", "zstd"],
    ),
    ("session", &["blake3", "machine", "rustix", "serde_json", "signal-hook", "thiserror", "timeline", "x86"]),
    ("chronovisor", &["anyhow", "clap", "indicatif", "jiff", "serde_json", "session", "timeline"]),
    ("chronoctl", &["libc"]),
    ("bench", &["anyhow", "rustix", "serde_json"]),
    (
        "fuzz-cases",
        &["crc32c", "devices", "host-cpu", "iced-x86", "jit", "machine", "prost", "timeline", "x86", "zstd"],
    ),
    ("host-cpu", &["iced-x86", "libc", "x86"]),
    ("xtask", &["anyhow", "bench", "serde_json"]),
    ("vm-tests", &["anyhow", "machine", "prost", "serde_json", "x86"]),
];

/// The crates that are a function of their state and their inputs alone.
const PURE: &[&str] = &["x86", "jit", "devices", "machine"];

struct Package {
    name: String,
    directory: PathBuf,
    /// Dependencies of the program itself, not of its tests.
    dependencies: BTreeSet<String>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

fn packages() -> Vec<Package> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--no-deps"])
        .current_dir(root())
        .output()
        .expect("cargo metadata runs");
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON");
    metadata["packages"].as_array().expect("packages").iter().map(package).collect()
}

fn package(value: &Value) -> Package {
    let text = |value: &Value| value.as_str().expect("a string").to_owned();
    let dependencies = value["dependencies"].as_array().expect("dependencies");
    Package {
        name: text(&value["name"]),
        directory: PathBuf::from(text(&value["manifest_path"])).parent().unwrap().to_path_buf(),
        dependencies: dependencies.iter().filter(|dep| dep["kind"] != "dev").map(|dep| text(&dep["name"])).collect(),
    }
}

#[test]
fn every_crate_depends_only_on_what_it_may() {
    let allowed: BTreeMap<&str, &[&str]> = MAY_DEPEND_ON.iter().copied().collect();
    for package in packages() {
        let Some(allowed) = allowed.get(package.name.as_str()) else {
            panic!("the crate {} has no line in MAY_DEPEND_ON: say what it may depend on", package.name);
        };
        for dependency in &package.dependencies {
            assert!(
                allowed.contains(&dependency.as_str()),
                "the crate {} must not depend on {dependency} (MAY_DEPEND_ON in {})",
                package.name,
                file!()
            );
        }
    }
}

#[test]
fn dependencies_in_the_workspace_have_no_cycle_and_no_shortcut_for_the_program() {
    let layer = |name: &str| match name {
        "x86" => 0,
        "devices" | "jit" => 1,
        "machine" => 2,
        "timeline" => 3,
        "session" => 4,
        "chronovisor" => 5,
        _ => 6,
    };
    let packages = packages();
    let names: BTreeSet<&str> = packages.iter().map(|package| package.name.as_str()).collect();
    for package in packages.iter().filter(|package| layer(&package.name) < 6) {
        for dependency in package.dependencies.iter().filter(|name| names.contains(name.as_str())) {
            assert!(layer(dependency) < layer(&package.name), "{} must not depend on {dependency}", package.name);
        }
    }
}

#[test]
fn the_pure_crates_share_one_list_of_what_is_disallowed() {
    let read = |name: &str| {
        let path = root().join("crates").join(name).join("clippy.toml");
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    let first = read(PURE[0]);
    assert!(first.contains("std::time::Instant") && first.contains("HashMap"));
    for name in &PURE[1..] {
        assert_eq!(read(name), first, "clippy.toml of {name} differs from that of {}", PURE[0]);
    }
}

#[test]
fn the_pure_crates_ask_the_host_for_nothing_by_instruction_either() {
    // What clippy's lists cannot name: host instructions and process-wide state.
    const WORDS: &[&str] = &["_rdtsc", "__rdtscp", "_rdrand", "_rdseed", "thread_local!", "static mut"];
    for name in PURE {
        for path in sources(&root().join("crates").join(name).join("src")) {
            let text = std::fs::read_to_string(&path).unwrap();
            for word in WORDS {
                let used = text.lines().any(|line| line.contains(word) && !line.trim_start().starts_with("//"));
                assert!(!used, "{} uses {word}", path.display());
            }
        }
    }
}

#[test]
fn the_code_map_and_the_crates_agree() {
    let path = root().join("ARCHITECTURE.md");
    let page = std::fs::read_to_string(&path).expect("ARCHITECTURE.md can be read");
    let map = page.split("## Code map").nth(1).expect("ARCHITECTURE.md has a section '## Code map'");
    let map = map.split("\n## ").next().unwrap();
    // A line of the map: "| `crates/x86` | what it is for |".
    let mapped: BTreeSet<String> = map
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(path, _)| path.to_owned())
        .collect();
    let root = root();
    for path in &mapped {
        assert!(root.join(path).exists(), "the code map names {path}, which does not exist");
    }
    for package in packages() {
        let path = package.directory.strip_prefix(&root).unwrap().display().to_string();
        assert!(mapped.contains(&path), "the code map of ARCHITECTURE.md lacks a line for {path}");
    }
}

#[test]
fn every_crate_says_what_it_is_for() {
    for package in packages() {
        let path = package.directory.join("README.md");
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let says = text.to_lowercase().contains("may depend on");
        assert!(says, "{} does not say what the crate may depend on", path.display());
    }
}

/// Every Rust file below `directory`.
fn sources(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}
