//! The messages of a queue in memory, and who has them. Knows no clock: every call says what time it
//! is.
//!
//! A message is visible, in flight, or delayed since it was sent. A receive hides it until its
//! visibility timeout ends, and every call first makes those visible whose time is over, so that none
//! needs a timer.
//!
//! - The receipt is the message's number and how often it was received. With one more receive it
//!   is out of date, which is how SQS keeps a slow worker from deleting what another one has.
//! - A receipt serves as long as nobody else has received the message, also after its timeout: SQS
//!   deletes by it then, and so does this. Hiding the message anew needs it to be in flight.
//! - Nothing hides a message for more than 12 hours after its receive, however often it is extended.
//! - A message that was received as often as the redrive policy allows is taken out by the receive
//!   that comes next, before anybody gets it.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use soci_queue::{Backlog, Group, MAX_VISIBILITY, Message, MessageId, Outgoing, Receipt};

#[cfg(any(test, feature = "testing"))]
use super::presence::Presence;
use super::rules::Refused;

/// Identifies a message in its queue: they are counted in the order in which they come.
type Number = u64;

/// The messages. Each of `messages` is either in `hidden` or in `ready`, never in both; a number in
/// `ready` of which there is no message stands for one that was deleted.
#[derive(Debug, Default)]
pub(super) struct MessageStore {
    messages: HashMap<Number, StoredMessage>,
    /// Messages in flight or delayed, by when they become visible.
    hidden: BTreeSet<(Instant, Number)>,
    ready: ReadyMessages,
    /// Numbers that were given out.
    count: Number,
}

/// A message as it is kept.
#[derive(Debug)]
pub(super) struct StoredMessage {
    id: MessageId,
    content: Outgoing,
    sent_at: SystemTime,
    /// How often it was received. With the number it makes the receipt.
    receives: u32,
    /// While it is in flight.
    flight: Option<Flight>,
    /// Until when it is delayed; once that is over, nothing.
    delayed_until: Option<Instant>,
}

/// One receive of a message.
#[derive(Clone, Copy, Debug)]
struct Flight {
    received_at: Instant,
    ends_at: Instant,
}

/// What a receive takes.
#[derive(Debug, Default)]
pub(super) struct TakenMessages {
    pub(super) messages: Vec<Message>,
    /// Messages that were received too often. They are no longer here.
    pub(super) exhausted: Vec<StoredMessage>,
}

impl MessageStore {
    /// When the oldest message was sent.
    pub(super) fn oldest(&self) -> Option<SystemTime> {
        self.messages.values().map(|message| message.sent_at).min()
    }

    pub(super) fn send(
        &mut self,
        content: Outgoing,
        sent_at: SystemTime,
        visible_at: Instant,
        now: Instant,
    ) -> MessageId {
        // As unique as a queue in one process needs it, and like SQS's in form.
        let (high, low) = (fastrand::u64(..), fastrand::u64(..));
        let id = MessageId(format!(
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            high >> 32,
            (high >> 16) & 0xffff,
            high & 0xffff,
            low >> 48,
            low & 0xffff_ffff_ffff,
        ));
        let delayed_until = (visible_at > now).then_some(visible_at);
        self.add(StoredMessage {
            id: id.clone(),
            content,
            sent_at,
            receives: 0,
            flight: None,
            delayed_until,
        });
        id
    }

    /// Takes over a message of another queue. It keeps its identifier and the time it was sent at.
    pub(super) fn adopt(&mut self, message: StoredMessage) {
        self.add(StoredMessage { receives: 0, flight: None, delayed_until: None, ..message });
    }

    /// Takes up to `max` visible messages and hides them for `visibility`. A message that was
    /// received `limit` times is taken out instead.
    pub(super) fn take(
        &mut self,
        now: Instant,
        max: usize,
        visibility: Duration,
        limit: Option<u32>,
    ) -> TakenMessages {
        self.surface(now);
        let mut take = TakenMessages::default();
        while take.messages.len() < max
            && let Some(number) = self.ready.pop()
        {
            // It was deleted while it was visible; `ready` is not searched for that.
            let Some(message) = self.messages.get_mut(&number) else { continue };
            if limit.is_some_and(|limit| message.receives >= limit) {
                take.exhausted.extend(self.messages.remove(&number));
                continue;
            }
            message.receives = message.receives.saturating_add(1);
            let ends_at = now + visibility;
            message.flight = Some(Flight { received_at: now, ends_at });
            self.hidden.insert((ends_at, number));
            take.messages.push(message.received(number, now));
        }
        take
    }

    pub(super) fn set_visibility(
        &mut self,
        now: Instant,
        receipt: &Receipt,
        visibility: Duration,
    ) -> Result<(), Refused> {
        if visibility > MAX_VISIBILITY {
            return Err(Refused::Visibility { visibility });
        }
        self.surface(now);
        let number = self.holder(receipt)?.ok_or(Refused::NotInFlight)?;
        let message = self.messages.get_mut(&number);
        let flight = message.and_then(|message| message.flight.as_mut());
        let flight = flight.ok_or(Refused::NotInFlight)?;
        let ends_at = now + visibility;
        if ends_at > flight.received_at + MAX_VISIBILITY {
            return Err(Refused::TotalVisibility);
        }
        self.hidden.remove(&(flight.ends_at, number));
        flight.ends_at = ends_at;
        self.hidden.insert((ends_at, number));
        // A timeout of zero makes it visible at once.
        self.surface(now);
        Ok(())
    }

    /// Deletes the message that `receipt` stands for, also if it is visible again.
    pub(super) fn delete(&mut self, receipt: &Receipt) -> Result<(), Refused> {
        if let Some(number) = self.holder(receipt)?
            && let Some(StoredMessage { flight: Some(flight), .. }) = self.messages.remove(&number)
        {
            self.hidden.remove(&(flight.ends_at, number));
        }
        Ok(())
    }

    pub(super) fn backlog(&mut self, now: Instant) -> Backlog {
        self.surface(now);
        let (all, hidden) = (self.messages.len() as u64, self.hidden.len() as u64);
        let delayed = self.messages.values().filter(|message| message.delayed_until.is_some());
        let delayed = delayed.count() as u64;
        Backlog { visible: all - hidden, in_flight: hidden - delayed, delayed }
    }

    /// When the next message becomes visible that is in flight or delayed.
    pub(super) fn next_visible(&self) -> Option<Instant> {
        self.hidden.first().map(|(ends_at, _)| *ends_at)
    }

    /// The messages in the order in which they came, and whether they can be received.
    #[cfg(any(test, feature = "testing"))]
    pub(super) fn messages(&mut self, now: Instant) -> Vec<(Message, Presence)> {
        self.surface(now);
        let mut numbers: Vec<_> = self.messages.keys().copied().collect();
        numbers.sort_unstable();
        let message = |number: &Number| {
            let message = self.messages.get(number)?;
            let presence = match (message.flight, message.delayed_until) {
                (Some(_), _) => Presence::InFlight,
                (None, Some(_)) => Presence::Delayed,
                (None, None) => Presence::Visible,
            };
            Some((message.received(*number, now), presence))
        };
        numbers.iter().filter_map(message).collect()
    }

    fn add(&mut self, message: StoredMessage) {
        let number = self.count;
        self.count += 1;
        match message.delayed_until {
            Some(until) => {
                self.hidden.insert((until, number));
            }
            None => self.ready.push(message.content.group.clone(), number),
        }
        self.messages.insert(number, message);
    }

    /// Makes those messages visible whose time in flight, or whose delay, has ended.
    fn surface(&mut self, now: Instant) {
        while let Some(&(ends_at, number)) = self.hidden.first()
            && ends_at <= now
        {
            self.hidden.pop_first();
            if let Some(message) = self.messages.get_mut(&number) {
                (message.flight, message.delayed_until) = (None, None);
                self.ready.push(message.content.group.clone(), number);
            }
        }
    }

    /// The number of the message that `receipt` stands for, if that still exists.
    fn holder(&self, receipt: &Receipt) -> Result<Option<Number>, Refused> {
        let (number, receives) = read_receipt(receipt).ok_or(Refused::Receipt)?;
        // A number that was never given out is no receipt; of one that was, the message is deleted.
        if number >= self.count {
            return Err(Refused::Receipt);
        }
        match self.messages.get(&number) {
            Some(message) if message.receives == receives => Ok(Some(number)),
            Some(_) => Err(Refused::ReceivedAgain),
            None => Ok(None),
        }
    }
}

impl StoredMessage {
    fn received(&self, number: Number, now: Instant) -> Message {
        let Outgoing { body, group, attributes } = self.content.clone();
        Message {
            id: self.id.clone(),
            receipt: Receipt(format!("{number}.{}", self.receives)),
            body,
            receive_count: self.receives,
            sent_at: self.sent_at,
            received_at: now,
            group,
            attributes,
        }
    }
}

fn read_receipt(Receipt(text): &Receipt) -> Option<(Number, u32)> {
    let (number, receives) = text.split_once('.')?;
    Some((number.parse().ok()?, receives.parse().ok()?))
}

/// Visible messages, oldest first in each group. The groups take turns. Messages without a group
/// are a group of their own.
#[derive(Debug, Default)]
struct ReadyMessages {
    /// No list is empty.
    groups: HashMap<Option<Group>, VecDeque<Number>>,
    /// The keys of `groups`; the first is next.
    turns: VecDeque<Option<Group>>,
}

impl ReadyMessages {
    fn push(&mut self, group: Option<Group>, number: Number) {
        let numbers = self.groups.entry(group.clone()).or_default();
        if numbers.is_empty() {
            self.turns.push_back(group);
        }
        numbers.push_back(number);
    }

    fn pop(&mut self) -> Option<Number> {
        let group = self.turns.pop_front()?;
        let numbers = self.groups.get_mut(&group)?;
        let number = numbers.pop_front();
        if numbers.is_empty() {
            self.groups.remove(&group);
        } else {
            self.turns.push_back(group);
        }
        number
    }
}
