//! Names what differs between two machines: fields of the saved state by name, and bytes of RAM by address.

use std::collections::BTreeMap;

use machine::{Machine, MachineState};

use crate::format::PAGE_BYTES;
use crate::page_map::Page;

/// Something that differs between two states: what, and what it holds in each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Differing {
    /// What it is.
    pub thing: Thing,
    /// What it holds in the one state, for people to read.
    pub one: String,
    /// What it holds in the other.
    pub other: String,
}

/// A part of a machine's state.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Thing {
    /// A field of the saved state, by its path.
    Field(String),
    /// Bytes of RAM.
    Ram {
        /// The offset of the first in [`Machine::ram_bytes`].
        offset: u64,
        /// How many.
        len: usize,
    },
}

/// Differing things of a kind (devices, RAM, vCPUs, TLBs) that are named at most.
const NAMED: usize = 8;
/// What stands for a field that is not there.
const ABSENT: &str = "nothing";
/// The names of the general registers, in the order of their numbers.
const GPR: [&str; 16] =
    ["RAX", "RCX", "RDX", "RBX", "RSP", "RBP", "RSI", "RDI", "R8", "R9", "R10", "R11", "R12", "R13", "R14", "R15"];
const SEGMENTS: [&str; 8] = ["ES", "CS", "SS", "DS", "FS", "GS", "LDTR", "TR"];
/// Differing bytes of RAM with at most so many equal ones between them are told together.
const GAP: usize = 3;
/// Bytes of RAM that are told together at most.
const RUN: usize = 16;

/// The values of all fields of a state, by path.
pub type Fields = BTreeMap<String, String>;

/// All fields of `state`.
pub fn fields(state: &MachineState) -> Fields {
    leaves(&format!("{state:#?}"))
}

/// The fields that differ, by path.
pub fn differing_fields(one: &Fields, other: &Fields) -> Vec<Differing> {
    let paths = one.keys().chain(other.keys().filter(|path| !one.contains_key(*path)));
    let value = |fields: &Fields, path: &String| fields.get(path).map_or(ABSENT.into(), |value| readable(value));
    paths
        .filter(|path| one.get(*path) != other.get(*path))
        .map(|path| Differing { thing: Thing::Field(path.clone()), one: value(one, path), other: value(other, path) })
        .collect()
}

/// Of `all`, what says most to a person, and how many others there are: devices come first, then RAM, then vCPUs.
pub fn most_telling(mut all: Vec<Differing>) -> (Vec<Differing>, usize) {
    all.sort_by(|a, b| (a.thing.rank(), &a.thing).cmp(&(b.thing.rank(), &b.thing)));
    let total = all.len();
    let (mut rank, mut of_rank) = (usize::MAX, 0);
    all.retain(|differing| {
        let here = differing.thing.rank();
        of_rank = if here == rank { of_rank + 1 } else { 1 };
        rank = here;
        of_rank <= NAMED
    });
    let more = total - all.len();
    (all, more)
}

/// The bytes that differ in page number `index` of RAM, in runs.
pub fn differing_bytes(index: u64, one: &Page, other: &Page) -> Vec<Differing> {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for at in (0..PAGE_BYTES).filter(|&at| one[at] != other[at]) {
        match runs.last_mut() {
            Some((start, end)) if at - *end <= GAP && at - *start < RUN => *end = at + 1,
            _ => runs.push((at, at + 1)),
        }
    }
    let differing = |(start, end): (usize, usize)| Differing {
        thing: Thing::Ram { offset: index * PAGE_BYTES as u64 + start as u64, len: end - start },
        one: hex(&one[start..end]),
        other: hex(&other[start..end]),
    };
    runs.into_iter().map(differing).collect()
}

impl Thing {
    fn rank(&self) -> usize {
        match self {
            Thing::Field(path) if path.contains(".tlb.") => 3,
            Thing::Field(path) if path.starts_with("vcpus") => 2,
            Thing::Ram { .. } => 1,
            Thing::Field(_) => 0,
        }
    }

    /// What it holds, for people to read; `fields` are those of the machine's state.
    pub fn value(&self, machine: &Machine, fields: &Fields) -> String {
        match self {
            Thing::Field(path) => fields.get(path).map_or(ABSENT.into(), |value| readable(value)),
            Thing::Ram { offset, len } => {
                let at = (*offset % PAGE_BYTES as u64) as usize;
                // Within a page, as differing_bytes finds them.
                let page = machine.ram_page(*offset / PAGE_BYTES as u64);
                hex(page.and_then(|page| page.get(at..at + len)).unwrap_or_default())
            }
        }
    }
}

impl std::fmt::Display for Thing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Thing::Field(path) => write!(f, "{}", name(path)),
            Thing::Ram { offset, len: 1 } => write!(f, "RAM, the byte at offset {offset:#x}"),
            Thing::Ram { offset, len } => write!(f, "RAM, {len} bytes at offset {offset:#x}"),
        }
    }
}

/// Bytes as people read them.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
}

/// A number in both forms, anything else as it is.
fn readable(value: &str) -> String {
    match value.parse::<u64>() {
        Ok(number) if number > 9 => format!("{number} ({number:#x})"),
        _ => value.to_owned(),
    }
}

/// The path of a field as people call it.
fn name(path: &str) -> String {
    let Some((vcpu, field)) = path.strip_prefix("vcpus[").and_then(|rest| rest.split_once("].")) else {
        return path.strip_prefix("board.").unwrap_or(path).to_owned();
    };
    let indexed = |list: &str, names: &[&str]| {
        let (index, rest) = field.strip_prefix(list)?.strip_prefix('[')?.split_once(']')?;
        Some(format!("{}{}", names.get(index.parse::<usize>().ok()?)?, rest.replace('.', " ")))
    };
    let field = indexed("gpr", &GPR).or_else(|| indexed("segments", &SEGMENTS)).unwrap_or_else(|| field.to_owned());
    format!("vCPU {vcpu} {field}")
}

/// A brace that is open while [`leaves`] goes through a text.
struct Open {
    name: String,
    /// Items in it so far.
    items: usize,
    /// It is that of `Some`, which says nothing to a person.
    is_some: bool,
}

/// The values in pretty-printed `text`, each with the names that lead to it.
fn leaves(text: &str) -> Fields {
    let mut path: Vec<Open> = Vec::new();
    let mut leaves = Fields::new();
    for line in text.lines().map(str::trim) {
        if line.starts_with(['}', ']', ')']) {
            path.pop();
            continue;
        }
        let line = line.trim_end_matches(',');
        let (name, value) = line.split_once(": ").unwrap_or(("", line));
        let name = match path.last_mut() {
            Some(open) if name.is_empty() && !open.is_some => {
                open.items += 1;
                format!("[{}]", open.items - 1)
            }
            _ => name.to_owned(),
        };
        if value.ends_with(['{', '[', '(']) {
            path.push(Open { name, items: 0, is_some: value == "Some(" });
        } else {
            let names = path.iter().map(|open| open.name.as_str()).chain([name.as_str()]);
            let names: Vec<&str> = names.filter(|name| !name.is_empty()).collect();
            leaves.insert(names.join(".").replace(".[", "["), value.to_owned());
        }
    }
    leaves
}

#[cfg(test)]
mod tests {
    use super::*;
    use machine::MachineConfig;

    fn state() -> MachineState {
        let config = MachineConfig::new(1 << 20);
        Machine::new(config).expect("a small machine").save()
    }

    #[test]
    fn fields_are_called_by_name() {
        let (one, mut other) = (state(), state());
        other.vcpus[0].gpr[3] = 0x20;
        other.vcpus[0].segments[1].base = 7;
        other.vcpus[0].monitor = Some(1);
        other.clock_base = 9;
        let found = differing_fields(&fields(&one), &fields(&other));
        let told: Vec<String> = found.iter().map(|d| format!("{}: {}, {}", d.thing, d.one, d.other)).collect();
        let expected = [
            "clock_base: 0, 9",
            "vCPU 0 RBX: 0, 32 (0x20)",
            "vCPU 0 monitor: None, 1",
            "vCPU 0 CS base: 4294901760 (0xffff0000), 7",
        ];
        for line in expected {
            assert!(told.iter().any(|told| told == line), "{line} is not in {told:#?}");
        }
        assert_eq!(most_telling(found).0[0].thing.to_string(), "clock_base", "vCPUs come last");
        assert!(differing_fields(&fields(&one), &fields(&one)).is_empty());
    }

    #[test]
    fn bytes_near_each_other_are_told_together() {
        let (one, mut other) = ([0; PAGE_BYTES], [0; PAGE_BYTES]);
        for at in [5, 6, 9, 100] {
            other[at] = 0xab;
        }
        let found = differing_bytes(2, &one, &other);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].thing, Thing::Ram { offset: 2 * 4096 + 5, len: 5 });
        assert_eq!((found[0].one.as_str(), found[0].other.as_str()), ("00 00 00 00 00", "ab ab 00 00 ab"));
        assert_eq!(found[1].thing.to_string(), "RAM, the byte at offset 0x2064");
    }
}
