//! `/metrics` in the OpenMetrics text format, version 1.0.0
//! (<https://github.com/prometheus/OpenMetrics/blob/main/specification/OpenMetrics.md>).
//!
//! Numbers are gathered when somebody asks, from the state and from proc(5), and never in between.

use std::fmt::Write as _;
use std::fs;
use std::time::{Duration, Instant};

use super::{Health, Phase, State};
use crate::pid1::proc::{self, Process};

/// proc(5) counts in USER_HZ, which is 100 on every architecture Linux runs on today (asm/param.h).
const TICKS_PER_SECOND: f64 = 100.0;

/// So long what proc(5) said is told again: reading all of `/proc` for whoever asks would keep PID 1 from its work.
const FRESH: Duration = Duration::from_secs(1);

impl Health {
    /// The whole exposition, up to and with `# EOF`.
    pub(super) fn metrics(&self) -> String {
        self.metrics_of(Measured::now)
    }

    fn metrics_of(&self, measure: impl FnOnce(Option<i32>) -> Measured) -> String {
        let mut state = self.state();
        let measured = match state.measured.take() {
            Some(measured) if measured.at.elapsed() < FRESH && measured.child == state.child => measured,
            _ => measure(state.child),
        };
        if let Some(usage) = &measured.usage {
            state.most_cpu_seconds = state.most_cpu_seconds.max(usage.cpu_seconds);
        }
        let mut text = String::with_capacity(4096);
        write_start(&mut text, &state, self);
        write_service(&mut text, &state, measured.usage.as_ref());
        if let Some(bytes) = measured.own_bytes {
            family(
                &mut text,
                "dl_entry_resident_memory_bytes",
                "gauge",
                "bytes",
                "Resident memory of dl-entry itself.",
            );
            sample(&mut text, "dl_entry_resident_memory_bytes", &[], bytes);
        }
        text.push_str("# EOF\n");
        state.measured = Some(measured);
        text
    }
}

fn write_start(text: &mut String, state: &State, health: &Health) {
    family(text, "dl_entry", "info", "", "Version of dl-entry and the service it runs.");
    let labels = [("version", env!("CARGO_PKG_VERSION")), ("service", &state.service)];
    sample(text, "dl_entry_info", &labels, 1);

    family(text, "dl_entry_phase", "stateset", "", "Where the start, or the stop, has got to.");
    for label in Phase::LABELS {
        sample(text, "dl_entry_phase", &[("dl_entry_phase", label)], u8::from(label == state.phase.label()));
    }

    family(text, "dl_entry_phase_duration_seconds", "gauge", "seconds", "Time spent in each phase so far.");
    let mut durations = state.durations.clone();
    *durations.entry(state.phase.label()).or_default() += state.since.elapsed();
    for (label, duration) in durations {
        sample(text, "dl_entry_phase_duration_seconds", &[("phase", label)], duration.as_secs_f64());
    }

    family(text, "dl_entry_dependency_pending", "gauge", "", "Dependencies that do not answer yet.");
    for name in state.pending.keys() {
        sample(text, "dl_entry_dependency_pending", &[("dependency", &health.secrets.redact(name))], 1);
    }
}

fn write_service(text: &mut String, state: &State, usage: Option<&Usage>) {
    family(text, "dl_entry_orphans_reaped", "counter", "", "Processes reaped that nobody waited for.");
    sample(text, "dl_entry_orphans_reaped_total", &[], state.orphans_reaped);

    family(text, "dl_entry_signals_forwarded", "counter", "", "Signals passed on to the service.");
    for (signal, count) in &state.signals_forwarded {
        sample(text, "dl_entry_signals_forwarded_total", &[("signal", signal)], count);
    }

    if let Some(status) = state.last_exit {
        family(text, "dl_entry_service_last_exit_status", "gauge", "", "Last exit status, 128+n for signal n.");
        sample(text, "dl_entry_service_last_exit_status", &[], status);
    }

    let about_cpu = "CPU time of the service and its descendants.";
    family(text, "dl_entry_service_cpu_seconds", "counter", "seconds", about_cpu);
    sample(text, "dl_entry_service_cpu_seconds_total", &[], state.most_cpu_seconds);

    let Some(usage) = usage else { return };
    if let Some(bytes) = usage.resident_bytes {
        let about_memory = "Resident memory of the service's main process.";
        family(text, "dl_entry_service_resident_memory_bytes", "gauge", "bytes", about_memory);
        sample(text, "dl_entry_service_resident_memory_bytes", &[], bytes);
    }
    family(text, "dl_entry_service_processes", "gauge", "", "Processes of the service, itself included.");
    sample(text, "dl_entry_service_processes", &[], usage.processes);
}

fn family(text: &mut String, name: &str, kind: &str, unit: &str, help: &str) {
    let _ = writeln!(text, "# TYPE {name} {kind}");
    if !unit.is_empty() {
        let _ = writeln!(text, "# UNIT {name} {unit}");
    }
    let _ = writeln!(text, "# HELP {name} {help}");
}

fn sample(text: &mut String, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
    let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
    let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
    let _ = writeln!(text, "{name}{labels} {value}");
}

fn escaped(label: &str) -> String {
    label.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n")
}

// ---- proc(5) ---------------------------------------------------------------------------------------------------

/// Figures from proc(5) of the service and of this process.
#[derive(Debug)]
pub(super) struct Measured {
    at: Instant,
    child: Option<i32>,
    usage: Option<Usage>,
    own_bytes: Option<u64>,
}

impl Measured {
    fn now(child: Option<i32>) -> Measured {
        Measured { at: Instant::now(), child, usage: child.map(service_usage), own_bytes: resident_bytes("self") }
    }
}

/// Current resource use of the service.
#[derive(Debug)]
struct Usage {
    resident_bytes: Option<u64>,
    cpu_seconds: f64,
    processes: usize,
}

fn service_usage(child: i32) -> Usage {
    let processes = proc::all();
    let descendants = proc::descendants(child, &processes);
    let family: Vec<&Process> =
        std::iter::once(&child).chain(&descendants).filter_map(|pid| processes.get(pid)).collect();
    let ticks: u64 = family.iter().map(|process| process.ticks).sum();
    let resident_bytes = resident_bytes(&child.to_string());
    Usage { resident_bytes, cpu_seconds: ticks as f64 / TICKS_PER_SECOND, processes: family.len() }
}

/// `VmRSS` of `/proc/PID/status`, which unlike `stat` does not depend on the size of a page.
fn resident_bytes(pid: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secrets::Secrets;
    use std::collections::BTreeSet;

    #[test]
    fn the_exposition_names_every_family_once_and_ends() {
        let health = Health::new("trino", &Secrets::default());
        health.set_phase(Phase::Waiting);
        health.set_pending("tcp://a\"b\\:1", "refused");
        health.count_signal(15);
        health.count_signal(15);
        health.count_signal(10);
        health.count_orphan();
        health.child_ended(143);
        let metrics = health.metrics();
        for line in [
            concat!("dl_entry_info{version=\"", env!("CARGO_PKG_VERSION"), "\",service=\"trino\"} 1"),
            "dl_entry_phase{dl_entry_phase=\"waiting\"} 1",
            "dl_entry_phase{dl_entry_phase=\"ready\"} 0",
            "dl_entry_dependency_pending{dependency=\"tcp://a\\\"b\\\\:1\"} 1",
            "dl_entry_signals_forwarded_total{signal=\"SIGTERM\"} 2",
            "dl_entry_signals_forwarded_total{signal=\"SIGUSR1\"} 1",
            "dl_entry_orphans_reaped_total 1",
            "dl_entry_service_last_exit_status 143",
        ] {
            assert!(metrics.lines().any(|found| found == line), "{line} is not in\n{metrics}");
        }
        assert!(metrics.ends_with("\n# EOF\n"));
        let types: Vec<&str> = metrics.lines().filter(|line| line.starts_with("# TYPE")).collect();
        assert_eq!(types.len(), types.iter().collect::<BTreeSet<_>>().len());
    }

    #[test]
    fn proc_is_read_once_for_a_flood_of_questions_and_again_for_another_child() {
        let health = Health::new("trino", &Secrets::default());
        let measured = std::cell::Cell::new(0);
        let ask = || {
            health.metrics_of(|child| {
                measured.set(measured.get() + 1);
                Measured { at: Instant::now() + 60 * FRESH, child, usage: None, own_bytes: None }
            })
        };
        (0..100).for_each(|_| drop(ask()));
        assert_eq!(measured.get(), 1);
        health.set_child(4711);
        ask();
        assert_eq!(measured.get(), 2);
        health.state().measured.as_mut().unwrap().at = Instant::now() - FRESH;
        ask();
        assert_eq!(measured.get(), 3);
    }

    #[test]
    fn a_running_service_has_memory_and_its_cpu_time_never_falls() {
        let health = Health::new("trino", &Secrets::default());
        health.set_child(std::process::id() as i32);
        let value = |name: &str| {
            let metrics = health.metrics();
            let line = metrics.lines().find(|line| line.split(' ').next() == Some(name));
            line.and_then(|line| line.split(' ').nth(1)?.parse::<f64>().ok()).unwrap_or_else(|| panic!("{metrics}"))
        };
        assert!(value("dl_entry_service_resident_memory_bytes") > 500_000.0);
        assert!(value("dl_entry_service_processes") >= 1.0);
        health.state().most_cpu_seconds = 1e6;
        assert_eq!(value("dl_entry_service_cpu_seconds_total"), 1e6);
    }
}
