use std::collections::VecDeque;

use soci_logs::testing::{WrittenLines, caught_by};
use tracing::subscriber::DefaultGuard;

use super::*;
use crate::destination::Delivering;
use crate::testing::announcement;

/// What a destination answers.
#[derive(Clone, Debug)]
enum Answer {
    Taken,
    Fails(DeliveryError),
    Hangs,
}

/// A destination that answers as it is told, and then takes everything. Clones are the same.
#[derive(Clone, Default)]
struct Fake(Arc<Mutex<Told>>);

#[derive(Default)]
struct Told {
    script: VecDeque<Answer>,
    /// What is answered where the script is at its end.
    always: Option<Answer>,
    tries: Vec<(String, Instant)>,
    taken: Vec<String>,
    counts: Vec<(DeliveryEnd, u64)>,
}

impl Fake {
    fn told(&self) -> std::sync::MutexGuard<'_, Told> {
        self.0.lock().unwrap()
    }

    fn answering(script: impl IntoIterator<Item = Answer>) -> Self {
        let fake = Self::default();
        fake.told().script.extend(script);
        fake
    }

    fn always(answer: Answer) -> Self {
        let fake = Self::default();
        fake.told().always = Some(answer);
        fake
    }

    fn boxes(&self, limits: OutboxLimits) -> Outboxes {
        let destination: Arc<dyn Destination> = Arc::new(self.clone());
        Outboxes::to([destination], limits, &[Arc::new(self.clone())])
    }

    fn taken(&self) -> Vec<String> {
        self.told().taken.clone()
    }

    fn counted(&self, end: DeliveryEnd) -> u64 {
        let told = self.told();
        told.counts.iter().filter(|(of, _)| *of == end).map(|(_, count)| count).sum()
    }
}

impl Destination for Fake {
    fn name(&self) -> &'static str {
        "fake"
    }

    fn deliver<'a>(&'a self, announcement: &'a Announcement) -> Delivering<'a> {
        Box::pin(async move {
            let answer = {
                let mut told = self.told();
                told.tries.push((announcement.id.clone(), Instant::now()));
                let always = told.always.clone().unwrap_or(Answer::Taken);
                told.script.pop_front().unwrap_or(always)
            };
            match answer {
                Answer::Taken => {
                    self.told().taken.push(announcement.id.clone());
                    Ok(())
                }
                Answer::Fails(error) => Err(error),
                Answer::Hangs => std::future::pending().await,
            }
        })
    }
}

impl OutboxObserver for Fake {
    fn ended(&self, destination: &'static str, end: DeliveryEnd, announcements: u64) {
        assert_eq!(destination, "fake");
        self.told().counts.push((end, announcements));
    }
}

fn passing() -> Answer {
    Answer::Fails(DeliveryError::passing("ThrottlingException: slow down"))
}

fn refused() -> Answer {
    Answer::Fails(DeliveryError::lasting("AccessDeniedException: no"))
}

fn log() -> (WrittenLines, DefaultGuard) {
    let lines = WrittenLines::default();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(lines.clone()).finish();
    (lines, caught_by(subscriber))
}

const HOUR: Duration = Duration::from_hours(1);

#[tokio::test(start_paused = true)]
async fn what_is_announced_arrives_in_order_and_everywhere() {
    let (first, second) = (Fake::default(), Fake::default());
    let both: [Arc<dyn Destination>; 2] = [Arc::new(first.clone()), Arc::new(second.clone())];
    let boxes = Outboxes::to(both, OutboxLimits::default(), &[]);
    for id in ["1", "2", "3"] {
        boxes.send(&announcement(id));
    }
    boxes.flush(HOUR).await;
    assert_eq!(
        (first.taken(), second.taken()),
        (vec!["1".into(), "2".into(), "3".into()], first.taken())
    );
}

#[tokio::test(start_paused = true)]
async fn a_destination_that_throttles_is_asked_again_with_growing_pauses() {
    let (lines, _guard) = log();
    let fake = Fake::answering([passing(), passing(), passing(), passing()]);
    let boxes = fake.boxes(OutboxLimits::default());
    boxes.send(&announcement("1"));
    boxes.send(&announcement("2"));
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!(fake.taken(), ["1", "2"]);
    let times: Vec<Instant> = fake.told().tries.iter().map(|(_, at)| *at).collect();
    let pauses: Vec<f64> = times.windows(2).map(|two| (two[1] - two[0]).as_secs_f64()).collect();
    for (pause, most) in pauses.iter().zip([1.0, 2.0, 4.0, 8.0]) {
        assert!((most / 2.0 - 0.01..=most + 0.01).contains(pause), "{pauses:?}");
    }
    assert_eq!(fake.counted(DeliveryEnd::Delivered), 2);
    assert_eq!(fake.counted(DeliveryEnd::GivenUp), 0);
    let text = lines.text();
    assert_eq!(text.matches("is not taken, and tried again").count(), 1, "{text}");
    assert_eq!(text.matches("are taken again").count(), 1, "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_destination_is_left_alone_for_as_long_as_it_asks() {
    let error = DeliveryError {
        retry_after: Some(Duration::from_secs(30)),
        ..DeliveryError::passing("429")
    };
    let fake = Fake::answering([Answer::Fails(error)]);
    let boxes = fake.boxes(OutboxLimits::default());
    boxes.send(&announcement("1"));
    tokio::time::sleep(Duration::from_mins(1)).await;
    let tries = fake.told().tries.clone();
    assert_eq!((tries[1].1 - tries[0].1).as_secs(), 30);
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_for_good_is_given_up_at_once_and_the_next_is_tried() {
    let (lines, _guard) = log();
    let fake = Fake::answering([refused(), refused()]);
    let boxes = fake.boxes(OutboxLimits::default());
    for id in ["1", "2", "3"] {
        boxes.send(&announcement(id));
    }
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(fake.taken(), ["3"]);
    assert_eq!(fake.counted(DeliveryEnd::GivenUp), 2);
    let text = lines.text();
    assert_eq!(text.matches("is refused, and given up").count(), 1, "{text}");
    assert!(text.contains("AccessDeniedException: no") && text.contains("lost=2"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_try_that_hangs_is_ended_and_repeated() {
    let fake = Fake::answering([Answer::Hangs]);
    let boxes = fake.boxes(OutboxLimits::default());
    boxes.send(&announcement("1"));
    tokio::time::sleep(Duration::from_secs(25)).await;
    assert_eq!(fake.taken(), ["1"]);
    let tries = fake.told().tries.clone();
    assert!((tries[1].1 - tries[0].1).as_secs() >= 20);
}

#[tokio::test(start_paused = true)]
async fn what_fails_for_a_quarter_of_an_hour_is_given_up() {
    let fake = Fake::always(passing());
    let boxes = fake.boxes(OutboxLimits::default());
    boxes.send(&announcement("1"));
    let begun = Instant::now();
    while fake.counted(DeliveryEnd::GivenUp) == 0 {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let minutes = begun.elapsed().as_secs() / 60;
    assert!((13..=15).contains(&minutes), "{minutes}");
}

#[tokio::test(start_paused = true)]
async fn a_full_box_drops_counts_and_says_so_once() {
    let (lines, _guard) = log();
    let fake = Fake::answering([Answer::Hangs]);
    let boxes = fake.boxes(OutboxLimits { capacity: 2, ..OutboxLimits::default() });
    boxes.send(&announcement("0"));
    // The first is under delivery, and two wait.
    tokio::task::yield_now().await;
    for id in ["1", "2", "3", "4", "5"] {
        let begun = Instant::now();
        boxes.send(&announcement(id));
        assert_eq!(begun.elapsed(), Duration::ZERO, "nobody waits for a box");
    }
    assert_eq!(fake.counted(DeliveryEnd::Dropped), 3);
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!(fake.taken(), ["0", "1", "2"]);
    let text = lines.text();
    assert_eq!(text.matches(FULL).count(), 1, "{text}");
    assert!(text.contains("lost=3"), "{text}");
    // There is room again.
    boxes.send(&announcement("6"));
    boxes.flush(HOUR).await;
    assert_eq!(fake.taken().last().unwrap(), "6");
}

#[tokio::test(start_paused = true)]
async fn one_destination_that_hangs_holds_up_no_other() {
    let (slow, fine) = (Fake::always(Answer::Hangs), Fake::default());
    let both: [Arc<dyn Destination>; 2] = [Arc::new(slow.clone()), Arc::new(fine.clone())];
    let boxes = Outboxes::to(both, OutboxLimits::default(), &[]);
    boxes.send(&announcement("1"));
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!((slow.taken().len(), fine.taken()), (0, vec!["1".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn the_end_waits_for_a_bounded_time_and_counts_what_is_lost() {
    let (lines, _guard) = log();
    let fake = Fake::always(Answer::Hangs);
    let boxes = fake.boxes(OutboxLimits::default());
    for id in ["1", "2", "3"] {
        boxes.send(&announcement(id));
    }
    let begun = Instant::now();
    boxes.close(Duration::from_secs(5)).await;
    assert_eq!(begun.elapsed().as_secs(), 5);
    assert_eq!(fake.counted(DeliveryEnd::Dropped), 3);
    assert!(lines.text().contains("lost=3"), "{}", lines.text());
    // And nothing is delivered afterwards.
    boxes.send(&announcement("4"));
    tokio::time::sleep(HOUR).await;
    assert_eq!(fake.told().tries.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_end_breaks_a_pause_and_tries_each_once_more() {
    let fake = Fake::default();
    fake.told().always = Some(passing());
    let boxes = fake.boxes(OutboxLimits::default());
    for id in ["1", "2"] {
        boxes.send(&announcement(id));
    }
    tokio::time::sleep(Duration::from_mins(5)).await;
    fake.told().always = None;
    let begun = Instant::now();
    boxes.close(Duration::from_secs(5)).await;
    assert_eq!((begun.elapsed(), fake.taken()), (Duration::ZERO, vec!["1".into(), "2".into()]));
    let failing = Fake::always(passing());
    let boxes = failing.boxes(OutboxLimits::default());
    for id in ["1", "2"] {
        boxes.send(&announcement(id));
    }
    let begun = Instant::now();
    boxes.close(Duration::from_secs(5)).await;
    assert_eq!((begun.elapsed(), failing.counted(DeliveryEnd::GivenUp)), (Duration::ZERO, 2));
}

#[tokio::test(start_paused = true)]
async fn a_flush_waits_for_what_is_under_way_and_not_for_what_fails() {
    let fake = Fake::answering([Answer::Hangs]);
    let boxes = fake.boxes(OutboxLimits::default());
    boxes.send(&announcement("1"));
    let begun = Instant::now();
    boxes.flush(Duration::from_secs(3)).await;
    assert_eq!(begun.elapsed().as_secs(), 3);
    // The try that hung has failed by now; what waits is tried in the time of others.
    fake.told().always = Some(passing());
    tokio::time::sleep(Duration::from_mins(1)).await;
    let begun = Instant::now();
    boxes.flush(Duration::from_secs(3)).await;
    assert_eq!(begun.elapsed(), Duration::ZERO);
    fake.told().always = None;
    tokio::time::sleep(Duration::from_mins(2)).await;
    assert_eq!(fake.taken(), ["1"]);
}

#[tokio::test(start_paused = true)]
async fn a_process_that_was_frozen_tries_once_more_before_it_is_frozen_again() {
    let fake = Fake::answering([passing(), passing()]);
    let boxes = fake.boxes(OutboxLimits {
        pauses: Backoff { first: Duration::from_mins(1), max: Duration::from_mins(1) },
        ..OutboxLimits::default()
    });
    boxes.send(&announcement("1"));
    for tries in 1..=3 {
        boxes.flush(Duration::from_secs(3)).await;
        assert_eq!(fake.told().tries.len(), tries);
        boxes.wake();
        tokio::task::yield_now().await;
    }
    assert_eq!(fake.taken(), ["1"]);

    let pause = Duration::from_mins(5);
    let asks = DeliveryError { retry_after: Some(pause), ..DeliveryError::passing("later") };
    let fake = Fake::answering([Answer::Fails(asks)]);
    let boxes = fake.boxes(OutboxLimits::default());
    boxes.send(&announcement("1"));
    boxes.flush(Duration::from_secs(3)).await;
    boxes.wake();
    boxes.flush(Duration::from_secs(3)).await;
    assert_eq!(fake.told().tries.len(), 1, "it asked to be left alone");
}

#[tokio::test(start_paused = true)]
async fn what_comes_after_the_end_is_dropped_and_said_to_be() {
    let fake = Fake::default();
    let boxes = fake.boxes(OutboxLimits::default());
    boxes.close(Duration::from_secs(3)).await;
    tokio::task::yield_now().await;
    boxes.send(&announcement("1"));
    assert_eq!(fake.counted(DeliveryEnd::Dropped), 1);
    assert!(!boxes.0[0].shared.trouble().told_full);
}

#[tokio::test(start_paused = true)]
async fn without_destinations_nothing_happens() {
    let boxes = Outboxes::default();
    assert!(boxes.is_empty());
    boxes.send(&announcement("1"));
    boxes.flush(HOUR).await;
    boxes.close(HOUR).await;
}
