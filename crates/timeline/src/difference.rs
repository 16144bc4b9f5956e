//! Names what differs between two states of a machine.

use std::fmt::Debug;

/// Differences that are named at most.
const NAMED: usize = 12;

/// The fields whose values differ, as `path: this, not that`, for people to read. Both values print themselves field by field.
pub fn differences(recorded: &impl Debug, replayed: &impl Debug) -> Vec<String> {
    let (recorded, replayed) = (format!("{recorded:#?}"), format!("{replayed:#?}"));
    let (recorded, replayed) = (leaves(&recorded), leaves(&replayed));
    let mut found: Vec<String> = recorded
        .iter()
        .zip(&replayed)
        .filter(|(a, b)| a != b)
        .take(NAMED)
        .map(|((path, a), (_, b))| format!("{path}: recorded {a}, replayed {b}"))
        .collect();
    if found.is_empty() && recorded.len() != replayed.len() {
        found.push("lists of different lengths".into());
    }
    found
}

/// The values in pretty-printed `text`, each with the names that lead to it.
fn leaves(text: &str) -> Vec<(String, &str)> {
    let mut path: Vec<(String, usize)> = Vec::new();
    let mut leaves = Vec::new();
    for line in text.lines().map(str::trim) {
        if line.starts_with(['}', ']', ')']) {
            path.pop();
            continue;
        }
        let line = line.trim_end_matches(',');
        let (name, value) = line.split_once(": ").unwrap_or(("", line));
        let name = match path.last_mut() {
            Some((_, index)) if name.is_empty() => {
                *index += 1;
                format!("[{}]", *index - 1)
            }
            _ => name.to_owned(),
        };
        if value.ends_with(['{', '[', '(']) {
            path.push((name, 0));
        } else {
            let names: Vec<&str> = path.iter().map(|(name, _)| name.as_str()).chain([name.as_str()]).collect();
            leaves.push((names.join(".").replace(".[", "[").trim_start_matches('.').to_owned(), value));
        }
    }
    leaves
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(dead_code)] // printed
    fn a_difference_has_a_path() {
        #[derive(Debug)]
        struct Inner {
            gpr: Vec<u64>,
        }
        #[derive(Debug)]
        struct Outer {
            vcpus: Vec<Inner>,
            time: u64,
        }
        let state = |rax, time| Outer { vcpus: vec![Inner { gpr: vec![0, rax] }], time };
        assert_eq!(differences(&state(1, 2), &state(1, 2)), Vec::<String>::new());
        assert_eq!(
            differences(&state(1, 2), &state(7, 3)),
            ["vcpus[0].gpr[1]: recorded 1, replayed 7", "time: recorded 2, replayed 3"]
        );
    }
}
