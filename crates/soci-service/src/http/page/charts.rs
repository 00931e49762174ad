//! The last hour as small charts: drawn as SVG, of a bar for each minute, without a script and without anything
//! from elsewhere. What a bar says is in its title, and all of it is in `/status`.

use maud::{Markup, html};

use crate::status_store::{HISTORY_MINUTES, MinuteStatus, Status};
use crate::words::{count, grouped, size};

/// Height of a chart, in units of its own.
const HEIGHT: u64 = 40;

/// Width of a minute, of which one unit is left free.
const WIDTH: usize = 4;

/// The charts.
pub(super) fn charts(status: &Status) -> Markup {
    let minutes = &status.history;
    let pace = status.pace.as_ref().map(|pace| format!("{} a minute lately", pace.jobs_per_minute));
    html! {
        section.history aria-labelledby="hour" data-key="hour" {
            h2 #hour { "The last hour" }
            div.charts {
                (chart("Jobs that ended", pace, minutes, &[
                    Part { kind: "good", name: "indexed", of: |minute| minute.indexed },
                    Part { kind: "plain", name: "skipped", of: |minute| minute.skipped },
                    Part { kind: "warn", name: "to be tried again", of: |minute| minute.retried },
                    Part { kind: "bad", name: "failed", of: |minute| minute.failed },
                ], |number| count(number, "job")))
                (chart("Bytes read", None, minutes, &[
                    Part { kind: "accent", name: "read", of: |minute| minute.bytes_read },
                ], size))
                (chart("Messages waiting", None, minutes, &[
                    Part { kind: "accent", name: "waiting", of: |minute| minute.waiting.unwrap_or(0) },
                ], grouped))
            }
            p.facts {
                "All figures begin with this process, at "
                time.clock datetime=(status.service.started_at) { (status.service.started_at) }
                "; what was before is in the logs."
            }
        }
    }
}

/// A part of a bar.
struct Part {
    kind: &'static str,
    name: &'static str,
    of: fn(&MinuteStatus) -> u64,
}

fn chart(
    name: &str,
    note: Option<String>,
    minutes: &[MinuteStatus],
    parts: &[Part],
    told: fn(u64) -> String,
) -> Markup {
    let whole = |minute: &MinuteStatus| parts.iter().map(|part| (part.of)(minute)).sum::<u64>();
    let most = minutes.iter().map(whole).max().unwrap_or(0);
    let all: u64 = minutes.iter().map(whole).sum();
    let first = HISTORY_MINUTES.saturating_sub(minutes.len());
    let view = format!("0 0 {} {HEIGHT}", HISTORY_MINUTES * WIDTH);
    let now = minutes.last().map_or(0, whole);
    let label = format!("{name}: at most {} in a minute, {} in the last", told(most), told(now));
    html! {
        figure.chart {
            figcaption {
                strong { (name) } " "
                span.note { "most " (told(most)) @if let Some(note) = note { " · " (note) } }
            }
            svg viewBox=(view) preserveAspectRatio="none" role="img" aria-label=(label) {
                @if all == 0 {
                    rect.plain x="0" y=(HEIGHT - 1) width=(HISTORY_MINUTES * WIDTH) height="1" {}
                }
                @for (position, minute) in minutes.iter().enumerate().filter(|(_, minute)| whole(minute) > 0) {
                    g {
                        title { (bar_title(minute, parts, told)) }
                        (bar((first + position) * WIDTH, minute, parts, most))
                    }
                }
            }
        }
    }
}

/// The parts of a bar, the first at the bottom.
fn bar(x: usize, minute: &MinuteStatus, parts: &[Part], most: u64) -> Markup {
    let mut below = 0;
    let drawn: Vec<_> = parts
        .iter()
        .filter_map(|part| {
            let value = (part.of)(minute);
            let height = scaled(value, most);
            (value > 0).then(|| {
                let y = HEIGHT.saturating_sub(below + height);
                below += height;
                (part.kind, y, height)
            })
        })
        .collect();
    html! {
        @for (kind, y, height) in drawn {
            rect.(kind) x=(x) y=(y) width=(WIDTH - 1) height=(height) {}
        }
    }
}

/// A height that shows also a little of much.
fn scaled(value: u64, most: u64) -> u64 {
    let share = u128::from(value) * u128::from(HEIGHT) / u128::from(most.max(1));
    u64::try_from(share).unwrap_or(HEIGHT).clamp(u64::from(value > 0), HEIGHT)
}

fn bar_title(minute: &MinuteStatus, parts: &[Part], told: fn(u64) -> String) -> String {
    let said: Vec<_> = parts
        .iter()
        .map(|part| (part.name, (part.of)(minute)))
        .filter(|(_, value)| *value > 0)
        .map(|(name, value)| format!("{} {name}", told(value)))
        .collect();
    format!("{}: {}", minute.since, said.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn little_is_seen_beside_much_and_nothing_is_higher_than_the_chart() {
        assert_eq!([scaled(0, 100), scaled(1, 1_000_000), scaled(50, 100)], [0, 1, 20]);
        assert_eq!([scaled(100, 100), scaled(0, 0), scaled(u64::MAX, u64::MAX)], [40, 0, 40]);
    }
}
