//! The process tree, from proc_pid_stat(5). Reads and never acts; where `/proc` is hidden, there is nobody.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

/// The fields read of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process {
    pub parent: i32,
    /// Its process group.
    pub group: i32,
    /// It has ended, and nobody has read its status yet.
    pub is_zombie: bool,
    /// User and system time, with that of children it has waited for.
    pub ticks: u64,
}

/// Every process that can be seen, by its id. In a container these are few.
pub fn all() -> BTreeMap<i32, Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter_map(|pid| Some((pid, process(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?))).collect()
}

/// Those of `processes` that descend from `ancestor`, itself left out.
pub fn descendants(ancestor: i32, processes: &BTreeMap<i32, Process>) -> BTreeSet<i32> {
    let mut family = BTreeSet::new();
    let mut next = vec![ancestor];
    while let Some(member) = next.pop() {
        let children = processes.iter().filter(|(_, process)| process.parent == member).map(|(pid, _)| *pid);
        next.extend(children.filter(|child| family.insert(*child)));
    }
    family
}

/// A line of `/proc/PID/stat`. The name in parentheses may hold blanks and parentheses: fields count from the last.
fn process(stat: &str) -> Option<Process> {
    let (_, fields) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
    let ticks = fields.get(11..15)?.iter().map(|field| field.parse::<u64>()).sum::<Result<u64, _>>().ok()?;
    let is_zombie = matches!(*fields.first()?, "Z" | "X");
    Some(Process { parent: fields.get(1)?.parse().ok()?, group: fields.get(2)?.parse().ok()?, is_zombie, ticks })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_name_with_parentheses_does_not_shift_the_fields() {
        let line = "42 (a) b (c) S 7 5 1 0 -1 4 1 2 3 4 10 20 30 40 20 0 1 0 5 6 7";
        assert_eq!(process(line), Some(Process { parent: 7, group: 5, is_zombie: false, ticks: 100 }));
        assert!(process(&line.replace(" S ", " Z ")).unwrap().is_zombie);
    }

    #[test]
    fn descendants_are_children_and_theirs_and_nobody_else() {
        let parents = [(1, 0), (5, 1), (6, 5), (7, 6), (8, 1), (9, 8)];
        let processes =
            parents.map(|(pid, parent)| (pid, Process { parent, group: 0, is_zombie: false, ticks: 0 })).into();
        assert_eq!(descendants(5, &processes), [6, 7].into());
        assert_eq!(descendants(9, &processes), [].into());
    }
}
