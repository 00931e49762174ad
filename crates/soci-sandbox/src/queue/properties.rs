//! What holds in whatever order the calls come.

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::vec;
use proptest::prelude::*;
use soci_queue::{Group, MAX_RECEIVE, MAX_VISIBILITY};
use tokio::time::advance;

use super::*;

const MAX_RECEIVES: u32 = 3;

#[derive(Clone, Debug)]
enum Step {
    Send {
        group: Option<u8>,
        delay: u64,
    },
    Receive {
        max: usize,
        seconds: u64,
    },
    /// The numbers pick one of the receipts that were given out, old ones included.
    Delete {
        which: usize,
    },
    Hide {
        which: usize,
        seconds: u64,
    },
    Wait {
        seconds: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (proptest::option::of(0..3_u8), prop_oneof![Just(0), 1..60_u64])
            .prop_map(|(group, delay)| Step::Send { group, delay }),
        4 => (1..=MAX_RECEIVE, 0..60_u64)
            .prop_map(|(max, seconds)| Step::Receive { max, seconds }),
        2 => any::<usize>().prop_map(|which| Step::Delete { which }),
        2 => (any::<usize>(), 0..60_u64)
            .prop_map(|(which, seconds)| Step::Hide { which, seconds }),
        2 => (1..40_u64).prop_map(|seconds| Step::Wait { seconds }),
    ]
}

/// What a queue has to hold, by the bodies of its messages.
#[derive(Default)]
struct Model {
    sent: u32,
    deleted: BTreeSet<String>,
    /// Until when nobody else may get a message.
    hidden: BTreeMap<String, Instant>,
    receives: BTreeMap<String, u32>,
    receipts: Vec<(String, u32, Receipt)>,
}

impl Model {
    fn all(&self) -> BTreeSet<String> {
        (0..self.sent).map(|n| n.to_string()).collect()
    }

    fn received(&mut self, message: Message, visibility: Duration) {
        let (now, body) = (Instant::now(), message.body);
        assert!(!self.deleted.contains(&body), "{body} was received after it was deleted");
        let until = self.hidden.insert(body.clone(), now + visibility);
        assert!(until.is_none_or(|until| until <= now), "{body} was received twice at a time");
        let count = self.receives.entry(body.clone()).or_default();
        *count += 1;
        assert_eq!(message.receive_count, *count);
        assert!(*count <= MAX_RECEIVES);
        self.receipts.push((body, *count, message.receipt));
    }

    /// One of the receipts, and whether it is the last one of its message.
    fn pick(&self, which: usize) -> Option<(String, Receipt, bool)> {
        let (body, count, receipt) = self.receipts.get(which % self.receipts.len().max(1))?;
        Some((body.clone(), receipt.clone(), self.receives[body] == *count))
    }
}

async fn run(steps: Vec<Step>) {
    let dead = MemoryQueue::named("dead");
    let redrive = Redrive { dead_letters: dead.clone(), max_receives: MAX_RECEIVES };
    let queue = MemoryQueue::new(MemoryQueueOptions {
        redrive: Some(redrive),
        ..MemoryQueueOptions::default()
    });
    let mut model = Model::default();
    for step in steps {
        take_step(step, &queue, &mut model).await;
        let (live, dead) = (bodies(&queue), bodies(&dead));
        assert!(live.is_disjoint(&dead), "a message is in both queues");
        let here: BTreeSet<_> = live.union(&dead).cloned().collect();
        let there: BTreeSet<_> = model.all().difference(&model.deleted).cloned().collect();
        assert_eq!(here, there, "messages were lost or came back");
        let backlog = queue.backlog().await.unwrap();
        assert_eq!(backlog.visible + backlog.in_flight + backlog.delayed, live.len() as u64);
    }
    // In the end everybody gets what is left.
    advance(MAX_VISIBILITY).await;
    let expected = bodies(&queue);
    let mut found = BTreeSet::new();
    let all = Receive { max: 10, wait: Duration::ZERO, visibility: MAX_VISIBILITY };
    loop {
        let received = queue.receive(all).await.unwrap();
        if received.is_empty() {
            break;
        }
        found.extend(received.into_iter().map(|message| message.body));
    }
    let found: BTreeSet<_> = found.union(&bodies(&dead)).cloned().collect();
    assert!(expected.is_subset(&found), "{expected:?} were there, {found:?} were found");
}

async fn take_step(step: Step, queue: &MemoryQueue, model: &mut Model) {
    match step {
        Step::Send { group, delay } => {
            let group = group.map(|group| Group::of_repository(&group.to_string()));
            let body = model.sent.to_string();
            let delay = Duration::from_secs(delay);
            model.hidden.insert(body.clone(), Instant::now() + delay);
            let message = Outgoing { body, group, attributes: Vec::new() };
            queue.send_after(&message, delay).await.unwrap();
            model.sent += 1;
        }
        Step::Receive { max, seconds } => {
            let visibility = Duration::from_secs(seconds);
            let receive = Receive { max, wait: Duration::ZERO, visibility };
            let received = queue.receive(receive).await.unwrap();
            assert!(received.len() <= max);
            for message in received {
                model.received(message, visibility);
            }
        }
        Step::Delete { which } => {
            let Some((body, receipt, last)) = model.pick(which) else { return };
            let here = bodies(queue).contains(&body);
            let deleted = queue.delete(&receipt).await;
            assert_eq!(deleted.is_ok(), last || !here);
            if here && last {
                model.deleted.insert(body);
            }
        }
        Step::Hide { which, seconds } => {
            let Some((body, receipt, last)) = model.pick(which) else { return };
            let visibility = Duration::from_secs(seconds);
            let held =
                last && model.hidden[&body] > Instant::now() && bodies(queue).contains(&body);
            let hidden = queue.set_visibility(&receipt, visibility).await;
            assert_eq!(hidden.is_ok(), held);
            if held {
                model.hidden.insert(body, Instant::now() + visibility);
            }
        }
        Step::Wait { seconds } => advance(Duration::from_secs(seconds)).await,
    }
}

fn bodies(queue: &MemoryQueue) -> BTreeSet<String> {
    let messages = queue.messages();
    let bodies: BTreeSet<_> = messages.iter().map(|found| found.message.body.clone()).collect();
    assert_eq!(bodies.len(), messages.len(), "a message is there twice");
    bodies
}

proptest! {
    #[test]
    fn no_message_is_lost_or_delivered_to_two_at_a_time(steps in vec(step(), 0..120)) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(run(steps));
    }
}
