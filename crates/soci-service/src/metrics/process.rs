//! What the system says of this process.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::names::{self, Definition, PEAK_MEMORY, RESIDENT_MEMORY};

/// Where Linux tells a process of its memory (proc(5)).
const STATUS: &str = "/proc/self/status";

/// The unit of times in `/proc/self/stat`: `USER_HZ`, 100 on every architecture that we run on.
const TICKS_PER_SECOND: f64 = 100.0;

/// Reads the memory that the process uses at every scrape. Says nothing on other systems.
#[derive(Debug)]
pub(super) struct ProcessMemory;

impl Collector for ProcessMemory {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Ok(status) = std::fs::read_to_string(STATUS) else { return Ok(()) };
        for (definition, field) in [(RESIDENT_MEMORY, "VmRSS"), (PEAK_MEMORY, "VmHWM")] {
            if let Some(bytes) = memory(&status, field) {
                gauge(&mut encoder, &definition, &ConstGauge::new(bytes))?;
            }
        }
        Ok(())
    }
}

/// Reads what the standard metrics of a process tell at every scrape. Says nothing of what other systems
/// do not have.
#[derive(Debug)]
pub(super) struct StandardMetrics {
    /// When the process began, in seconds since 1970.
    pub(super) started: f64,
}

impl Collector for StandardMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let read = |name: &str| std::fs::read_to_string(name).unwrap_or_default();
        if let Some(seconds) = cpu_seconds(&read("/proc/self/stat")) {
            let definition = &names::CPU_TIME;
            let (help, unit) = (format!("{}.", definition.help), definition.unit.as_ref());
            let kind = MetricType::Counter;
            let one = encoder.encode_descriptor(definition.name, &help, unit, kind)?;
            ConstCounter::new(seconds).encode(one)?;
        }
        let status = read(STATUS);
        let open = std::fs::read_dir("/proc/self/fd").ok().map(|files| files.count() as u64);
        let values = [
            (names::OPEN_FILES, open),
            (names::MAX_FILES, max_files(&read("/proc/self/limits"))),
            (names::STANDARD_RESIDENT, memory(&status, "VmRSS")),
            (names::VIRTUAL_MEMORY, memory(&status, "VmSize")),
            (names::THREADS, field(&status, "Threads").and_then(|value| value.parse().ok())),
        ];
        for (definition, value) in values {
            if let Some(value) = value {
                gauge(&mut encoder, &definition, &ConstGauge::new(value))?;
            }
        }
        gauge(&mut encoder, &names::STANDARD_START, &ConstGauge::new(self.started))
    }
}

/// The processor time of a process, from its `stat`: fields 14 and 15. The second one is the name in
/// brackets, in which anything may stand.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<f64>().ok();
    Some((ticks()? + ticks()?) / TICKS_PER_SECOND)
}

/// The soft limit of open files; `None` if there is none.
fn max_files(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// Writes one gauge without labels. The registry adds its prefix to the name of what a collector
/// writes, but no full stop to the help.
pub(super) fn gauge<N>(
    encoder: &mut DescriptorEncoder<'_>,
    definition: &Definition,
    value: &ConstGauge<N>,
) -> fmt::Result
where
    ConstGauge<N>: prometheus_client::encoding::EncodeMetric,
{
    let help = format!("{}.", definition.help);
    let unit = definition.unit.as_ref();
    value.encode(encoder.encode_descriptor(definition.name, &help, unit, MetricType::Gauge)?)
}

/// The same for one gauge for each value of a label.
pub(super) fn gauges(
    encoder: &mut DescriptorEncoder<'_>,
    definition: &Definition,
    label: &str,
    values: &[(&str, i64)],
) -> fmt::Result {
    let help = format!("{}.", definition.help);
    let unit = definition.unit.as_ref();
    let mut all = encoder.encode_descriptor(definition.name, &help, unit, MetricType::Gauge)?;
    for (word, value) in values {
        ConstGauge::new(*value).encode(all.encode_family(&[(label, *word)])?)?;
    }
    Ok(())
}

/// A field of the status file in bytes; the file has it in KiB, which it calls kB.
fn memory(status: &str, field: &str) -> Option<u64> {
    self::field(status, field)?.strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(line.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = "Name:\tworker\nVmPeak:\t  900000 kB\nVmHWM:\t  150000 kB\n\
                          VmRSS:\t   98304 kB\nThreads:\t4\n";

    #[test]
    fn memory_is_read_in_bytes() {
        assert_eq!(memory(SAMPLE, "VmRSS"), Some(98_304 * 1024));
        assert_eq!(memory(SAMPLE, "VmHWM"), Some(150_000 * 1024));
    }

    #[test]
    fn processor_time_is_found_behind_any_name() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 4 0 100 1 2";
        assert_eq!(cpu_seconds(stat), Some(3.0));
        assert_eq!(cpu_seconds("7 (a) S 1"), None);
        assert_eq!(cpu_seconds(""), None);
    }

    #[test]
    fn the_limit_of_open_files_is_the_soft_one() {
        let limits = "Limit   Soft Limit  Hard Limit  Units\nMax open files  1024  524288  files\n";
        assert_eq!(max_files(limits), Some(1024));
        assert_eq!(max_files("Max open files unlimited unlimited files"), None);
    }

    #[test]
    fn what_is_missing_or_no_number_is_not_told() {
        assert_eq!(memory(SAMPLE, "VmSwap"), None);
        assert_eq!(memory("VmRSS: many kB\n", "VmRSS"), None);
        assert_eq!(memory("VmRSS: 5\n", "VmRSS"), None);
    }
}
