//! Queues with the semantics of SQS, as far as losing a message or having it twice depends on them:
//! visibility timeouts, receipts that go out of date, receive counts, delays, and the redrive to a
//! dead-letter queue. Knows no protocol and no fault.
//!
//! Time passes faster where waiting is all that happens. A delay and a visibility timeout that is not
//! the worker's own lease are waits between two tries, so they are divided by [`Queues::speed`]. A lease
//! is kept by a process that measures it with a real clock, so it lasts as long as it says, until the
//! process is known to be dead ([`Queues::holder_died`]).

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tokio::time::Instant;

/// `VISIBILITY_TIMEOUT_SECONDS` of every worker. An odd number, so that waits for another try, which
/// begin with 30 seconds, are seldom taken for it.
pub(crate) const LEASE: Duration = Duration::from_secs(31);

/// Most bytes of a message.
const MAX_BYTES: usize = 1 << 20;

/// Most attributes of a message.
const MAX_ATTRIBUTES: usize = 10;

/// How often a message is received before it goes to the dead-letter queue, as in the template.
pub(crate) const MAX_RECEIVES: u32 = 5;

/// All queues by name.
#[derive(Debug)]
pub(crate) struct Queues {
    /// How many times faster waits pass.
    pub(crate) speed: u32,
    by_name: BTreeMap<String, Vec<QueuedMessage>>,
    count: u64,
    /// How often a process died with a message, by the message's text.
    losses: BTreeMap<String, u32>,
}

/// A message as it is kept.
#[derive(Clone, Debug)]
pub(crate) struct QueuedMessage {
    pub(crate) id: String,
    pub(crate) body: String,
    /// As they were sent: an object by name.
    pub(crate) attributes: Value,
    group: Option<String>,
    sent: SystemTime,
    receives: u32,
    visible_at: Instant,
    /// Who received it last.
    holder: Option<String>,
}

/// Why a call is refused: the code of SQS.
pub(crate) type Refusal = &'static str;

impl QueuedMessage {
    /// The text of an attribute.
    pub(crate) fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes[name]["StringValue"].as_str()
    }

    /// Why it failed, if it says so: an attribute whose name ends in `reason`.
    pub(crate) fn reason(&self) -> Option<&str> {
        let found = self.attributes.as_object()?;
        let mut named = found.keys().filter(|name| name.ends_with("reason"));
        named.find_map(|name| self.attribute(name)).filter(|reason| !reason.is_empty())
    }

    fn receipt(&self) -> String {
        format!("{}#{}", self.id, self.receives)
    }
}

impl Queues {
    pub(crate) fn new(speed: u32) -> Self {
        Self { speed: speed.max(1), by_name: BTreeMap::new(), count: 0, losses: BTreeMap::new() }
    }

    /// The messages of a queue, whoever has them.
    pub(crate) fn messages(&self, queue: &str) -> &[QueuedMessage] {
        self.by_name.get(queue).map_or(&[], Vec::as_slice)
    }

    /// Creates a queue and `<queue>-dead`, to which its messages go in the end.
    pub(crate) fn create(&mut self, queue: &str) {
        self.by_name.entry(queue.to_owned()).or_default();
        self.by_name.entry(format!("{queue}-dead")).or_default();
    }

    pub(crate) fn exists(&self, queue: &str) -> bool {
        self.by_name.contains_key(queue)
    }

    /// Puts a message on a queue and gives its identifier.
    pub(crate) fn send(&mut self, queue: &str, message: &Value) -> Result<String, Refusal> {
        let body = message["MessageBody"].as_str().unwrap_or_default();
        let attributes = &message["MessageAttributes"];
        let parts = |value: &Value| {
            let part = |name: &str| value[name].as_str().map_or(0, str::len);
            part("DataType") + part("StringValue")
        };
        let taken = attributes.as_object().into_iter().flatten();
        let taken: usize = taken.map(|(name, value)| name.len() + parts(value)).sum();
        let size = body.len() + taken;
        let many = attributes.as_object().map_or(0, serde_json::Map::len);
        if body.is_empty() || size > MAX_BYTES || many > MAX_ATTRIBUTES {
            return Err("InvalidParameterValue");
        }
        self.count += 1;
        let id = format!("00000000-0000-4000-8000-{:012}", self.count);
        let delay = message["DelaySeconds"].as_u64().unwrap_or_default();
        let sent = QueuedMessage {
            id: id.clone(),
            body: body.to_owned(),
            attributes: attributes.clone(),
            group: message["MessageGroupId"].as_str().map(str::to_owned),
            sent: SystemTime::now(),
            receives: 0,
            visible_at: Instant::now() + Duration::from_secs(delay) / self.speed,
            holder: None,
        };
        self.by_name.get_mut(queue).ok_or("QueueDoesNotExist")?.push(sent);
        Ok(id)
    }

    /// Takes up to `max` visible messages for `caller`. With `twice` they stay visible, so that the next
    /// receive gives them as well.
    pub(crate) fn receive(
        &mut self,
        queue: &str,
        max: usize,
        visibility: Duration,
        (caller, twice): (&str, bool),
    ) -> Vec<Value> {
        let now = Instant::now();
        let dead_letters = format!("{queue}-dead");
        let redriven = self.by_name.contains_key(&dead_letters);
        let Some(messages) = self.by_name.get_mut(queue) else { return Vec::new() };
        let mut dead = Vec::new();
        if redriven {
            let exhausted =
                |m: &mut QueuedMessage| m.visible_at <= now && m.receives >= MAX_RECEIVES;
            dead.extend(messages.extract_if(.., exhausted));
        }
        let visible = messages.iter_mut().filter(|message| message.visible_at <= now);
        let taken = visible.take(max).map(|message| {
            message.receives += 1;
            message.holder = Some(caller.to_owned());
            if !twice {
                message.visible_at = now + visibility;
            }
            as_received(message)
        });
        let taken = taken.collect();
        // It keeps its attributes, and nobody has added a reason.
        let dead = dead.into_iter().map(|message| QueuedMessage { receives: 0, ..message });
        self.by_name.entry(dead_letters).or_default().extend(dead);
        taken
    }

    /// Hides a message anew.
    pub(crate) fn hide(
        &mut self,
        queue: &str,
        receipt: &str,
        time: Duration,
    ) -> Result<(), Refusal> {
        let now = Instant::now();
        let time = if time == LEASE { time } else { time / self.speed };
        let messages = self.by_name.get_mut(queue).ok_or("QueueDoesNotExist")?;
        let held = messages.iter_mut().find(|message| message.receipt() == receipt);
        let held = held.ok_or("ReceiptHandleIsInvalid")?;
        if held.visible_at <= now {
            return Err("MessageNotInflight");
        }
        held.visible_at = now + time;
        Ok(())
    }

    /// Deletes a message. A receipt that is out of date deletes nothing and is no error, as SQS has it.
    pub(crate) fn delete(&mut self, queue: &str, receipt: &str) {
        if let Some(messages) = self.by_name.get_mut(queue) {
            messages.retain(|message| message.receipt() != receipt);
        }
    }

    /// Counts what a process holds that will do nothing about it in time.
    pub(crate) fn holder_lost(&mut self, caller: &str) {
        let now = Instant::now();
        let held = |message: &&QueuedMessage| {
            message.visible_at > now && message.holder.as_deref() == Some(caller)
        };
        for message in self.by_name.values().flatten().filter(held) {
            *self.losses.entry(message.body.clone()).or_default() += 1;
        }
    }

    /// How often a process was lost that held a message whose text has this part.
    pub(crate) fn losses(&self, part: &str) -> u32 {
        self.losses.iter().filter(|(body, _)| body.contains(part)).map(|(_, losses)| losses).sum()
    }

    /// Lets the leases of a process that was killed end sooner: nobody is there to notice.
    pub(crate) fn holder_died(&mut self, caller: &str) {
        self.holder_lost(caller);
        let soon = Instant::now() + LEASE / self.speed;
        for message in self.by_name.values_mut().flatten() {
            if message.holder.as_deref() == Some(caller) {
                message.visible_at = message.visible_at.min(soon);
            }
        }
    }

    /// Makes what was received visible at once, as a queue does that forgets its timeouts.
    pub(crate) fn forget_leases(&mut self, queue: &str) {
        for message in self.by_name.get_mut(queue).into_iter().flatten() {
            message.visible_at = message.visible_at.min(Instant::now());
        }
    }

    /// When the next message of a queue becomes visible.
    pub(crate) fn next_visible(&self, queue: &str) -> Option<Instant> {
        self.messages(queue).iter().map(|message| message.visible_at).min()
    }

    /// What `GetQueueAttributes` tells.
    pub(crate) fn attributes(&self, queue: &str) -> Value {
        let now = Instant::now();
        let messages = self.messages(queue);
        let count = |hidden: bool, delayed: bool| {
            let of = |message: &&QueuedMessage| {
                (message.visible_at > now) == hidden && (message.receives == 0 && hidden) == delayed
            };
            messages.iter().filter(of).count().to_string()
        };
        let mut attributes = json!({
            "ApproximateNumberOfMessages": count(false, false),
            "ApproximateNumberOfMessagesNotVisible": count(true, false),
            "ApproximateNumberOfMessagesDelayed": count(true, true),
            "VisibilityTimeout": "30",
            "MessageRetentionPeriod": "1209600",
            "QueueArn": arn(queue),
        });
        if !queue.ends_with("-dead") {
            let target = arn(&format!("{queue}-dead"));
            let policy = json!({ "deadLetterTargetArn": target, "maxReceiveCount": MAX_RECEIVES });
            attributes["RedrivePolicy"] = policy.to_string().into();
        }
        attributes
    }
}

fn arn(queue: &str) -> String {
    format!("arn:aws:sqs:eu-west-1:123456789012:{queue}")
}

fn as_received(message: &QueuedMessage) -> Value {
    let sent = message.sent.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let mut attributes = json!({
        "ApproximateReceiveCount": message.receives.to_string(),
        "SentTimestamp": sent.to_string(),
    });
    if let Some(group) = &message.group {
        attributes["MessageGroupId"] = group.as_str().into();
    }
    let mut received = json!({
        "MessageId": message.id,
        "ReceiptHandle": message.receipt(),
        "Body": message.body,
        "Attributes": attributes,
    });
    if !message.attributes.is_null() {
        received["MessageAttributes"] = message.attributes.clone();
    }
    received
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::*;

    const WORKER: (&str, bool) = ("worker", false);

    fn with_one(speed: u32) -> Queues {
        let mut queues = Queues::new(speed);
        queues.create("q");
        queues.send("q", &json!({ "MessageBody": "body" })).unwrap();
        queues
    }

    fn receipt(queues: &mut Queues) -> Option<String> {
        let received = queues.receive("q", 10, LEASE, WORKER);
        Some(received.first()?["ReceiptHandle"].as_str()?.to_owned())
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_is_not_sped_up_and_a_wait_is() {
        let mut queues = with_one(10);
        let first = receipt(&mut queues).unwrap();
        tokio::time::advance(LEASE / 2).await;
        queues.hide("q", &first, LEASE).unwrap();
        tokio::time::advance(LEASE * 3 / 4).await;
        assert_eq!(receipt(&mut queues), None);
        queues.hide("q", &first, Duration::from_secs(100)).unwrap();
        tokio::time::advance(Duration::from_secs(10)).await;
        assert!(receipt(&mut queues).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn an_old_receipt_deletes_nothing() {
        let mut queues = with_one(1);
        let old = receipt(&mut queues).unwrap();
        tokio::time::advance(LEASE).await;
        let new = receipt(&mut queues).unwrap();
        queues.delete("q", &old);
        assert_eq!(queues.hide("q", &old, LEASE), Err("ReceiptHandleIsInvalid"));
        assert_eq!(queues.messages("q").len(), 1);
        queues.delete("q", &new);
        assert!(queues.messages("q").is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_that_was_received_too_often_is_moved() {
        let mut queues = with_one(1);
        for _ in 0..MAX_RECEIVES {
            assert!(receipt(&mut queues).is_some());
            tokio::time::advance(LEASE).await;
        }
        assert_eq!(receipt(&mut queues), None);
        assert!(queues.messages("q").is_empty());
        assert_eq!(queues.messages("q-dead")[0].reason(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_dead_process_held_comes_back_sooner() {
        let mut queues = with_one(31);
        receipt(&mut queues).unwrap();
        queues.holder_died("somebody else");
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(receipt(&mut queues), None);
        assert_eq!(queues.losses("body"), 0);
        queues.holder_died("worker");
        assert_eq!(queues.losses("body"), 1);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(receipt(&mut queues).is_some());
    }
}
