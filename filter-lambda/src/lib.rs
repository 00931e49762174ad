//! The filter Lambda: EventBridge hands it every push to ECR; it picks the images that are wanted
//! and sends each to where it is indexed.
//!
//! [`PushDecision::of`] decides from an event's text alone. [`Dispatcher::dispatch`] carries the
//! decision out: a small image goes to the queue of the index Lambda, everything else to the worker's.
//!
//! What happens to an event:
//!
//! | event | response | sent to |
//! | --- | --- | --- |
//! | a push that a filter matches, image known to be small | 200 | queue of small images |
//! | a push that a filter matches, anything else | 200 | queue |
//! | a push that no filter matches, or of no image | 200 | |
//! | an event of something else than a successful push | 400 | |
//! | an event of ECR that cannot be read | 400 | queue, as it is |
//! | something that is no event of ECR | 400 | |
//! | any of these, but the queue fails | none: the invocation fails | |
//!
//! An event of ECR that cannot be read may be a push. EventBridge drops the response, so the event
//! goes to the queue, whose consumer puts it on the dead-letter queue with what is wrong with it.
//! What does not even say that it comes from ECR was sent by a caller who reads the response.

mod decision;
mod dispatch;
mod handler;
mod program;
mod remote;
mod response;
mod settings;
mod size;

pub use decision::PushDecision;
pub use dispatch::{DispatchError, Dispatched, Dispatcher, Doubt, Manifests, Shortcut};
pub use handler::EventHandler;
pub use program::run;
pub use remote::{EcrManifests, ManifestsError};
pub use response::Response;
pub use settings::{FilterSettings, ShortcutSettings};
pub use size::{FetchedManifest, ImageSize, SizeError, SizeLimits};
