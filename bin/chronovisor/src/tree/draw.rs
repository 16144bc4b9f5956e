//! The tree as text.

use jiff::Timestamp;
use timeline::Position;
use timeline::store::node::Node;

use super::Known;

/// Columns of the line that shows where branches leave a recording.
const BAR_COLUMNS: usize = 14;

/// A line a node.
pub fn lines(known: &[Known<'_>]) -> Vec<String> {
    let rows: Vec<[String; 7]> = known.iter().map(|one| row(one, known)).collect();
    let mut widths = [0; 7];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let line = |row: &[String; 7]| {
        let cells = row.iter().zip(widths).enumerate().map(|(column, (cell, width))| match column {
            4 => format!("{cell:>width$}"),
            _ => format!("{cell:<width$}"),
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

fn row(one: &Known<'_>, all: &[Known<'_>]) -> [String; 7] {
    let node = one.node();
    let place = match one.end() {
        Some(end) => format!("{} to {}", seconds(node.position()), seconds(end)),
        None => seconds(node.position()),
    };
    let leaving = all.iter().filter(|other| other.node().parent() == Some(&node.id));
    let bar = one.end().map_or(String::new(), |end| bar(node.position(), end, leaving.map(|other| other.node())));
    let date = i64::try_from(node.record.created_unix_seconds).ok().and_then(|at| Timestamp::from_second(at).ok());
    let date = date.map_or("?".into(), |at| at.strftime("%Y-%m-%d %H:%M").to_string());
    [
        branches(one) + &node.record.name,
        one.kind().into(),
        place,
        bar,
        size(one.only_it_bytes),
        date,
        node.id.clone() + remark(one),
    ]
}

fn remark(one: &Known<'_>) -> &'static str {
    match &one.recording {
        Some(recording) if recording.is_cut_short() => "  under way or cut short",
        None if one.kind() == "recording" => "  nothing in it yet",
        _ => "",
    }
}

fn branches(one: &Known<'_>) -> String {
    // Roots stand at the left edge.
    let Some((own, above)) = one.line.continues[1..].split_last() else { return String::new() };
    let mut text: String = above.iter().map(|goes_on| if *goes_on { "│  " } else { "   " }).collect();
    text.push_str(if *own { "├─ " } else { "└─ " });
    text
}

/// A recording from its start to its end, and where branches leave it.
fn bar<'a>(start: Position, end: Position, leaving: impl Iterator<Item = &'a Node>) -> String {
    let mut columns = ['─'; BAR_COLUMNS];
    (columns[0], columns[BAR_COLUMNS - 1]) = ('╾', '╼');
    let length = u128::from(end.time.units().saturating_sub(start.time.units()).max(1));
    for node in leaving {
        let at = u128::from(node.position().time.units().saturating_sub(start.time.units())).min(length);
        columns[(at * (BAR_COLUMNS as u128 - 1) / length) as usize] = '┬';
    }
    columns.iter().collect()
}

fn seconds(at: Position) -> String {
    format!("{:.3} s", at.time.as_ns() as f64 / 1e9)
}

/// Bytes as people like to read them.
pub fn size(bytes: u64) -> String {
    match bytes {
        0..10_000 => format!("{bytes} B"),
        10_000..1_000_000 => format!("{:.0} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use timeline::format::records::PositionRecord;
    use timeline::store::node::NodeRecord;

    fn at(seconds: u64) -> Position {
        PositionRecord { insns: 0, time_units: seconds * 840_000_000_000 }.into()
    }

    #[test]
    fn branches_leave_a_recording_where_they_do() {
        let node = |seconds| {
            let record = NodeRecord { position: Some(at(seconds).into()), ..NodeRecord::default() };
            Node { id: String::new(), record }
        };
        assert_eq!(bar(at(10), at(23), [node(10), node(12), node(23)].iter()), "┬─┬──────────┬");
        assert_eq!(bar(at(10), at(10), [].iter()), "╾────────────╼");
    }

    #[test]
    fn sizes_are_readable() {
        assert_eq!([9_999, 123_456, 12_345_678, 2_000_000_000].map(size), ["9999 B", "123 kB", "12.3 MB", "2.0 GB"]);
    }
}
