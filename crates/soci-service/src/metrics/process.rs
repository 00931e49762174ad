//! What the system says of this process.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

use super::names::{Definition, PEAK_MEMORY, RESIDENT_MEMORY};

/// Where Linux tells a process of its memory (proc(5)).
const STATUS: &str = "/proc/self/status";

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
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
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
    fn what_is_missing_or_no_number_is_not_told() {
        assert_eq!(memory(SAMPLE, "VmSwap"), None);
        assert_eq!(memory("VmRSS: many kB\n", "VmRSS"), None);
        assert_eq!(memory("VmRSS: 5\n", "VmRSS"), None);
    }
}
