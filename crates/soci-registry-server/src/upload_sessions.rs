//! The uploads that have begun and not ended, and whose turn it is to write to one.
//!
//! A client may leave an upload at any point, and come back to it or not. So there are only so many
//! at once, and one that nobody has asked about for long goes. Where there are as many as there may be,
//! the one that was silent for the longest makes room, unless that was just now. One request
//! writes to an upload at a time: two that interleave would make bytes that neither has sent.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::OwnedMutexGuard;
use tokio::time::Instant;

use crate::reply::{ApiError, Code};
use crate::route::Name;
use crate::store::Incoming;

/// The uploads that have begun and not ended.
#[derive(Debug, Default)]
pub(crate) struct UploadSessions {
    sessions: Mutex<HashMap<String, UploadSession>>,
}

#[derive(Debug)]
struct UploadSession {
    name: Name,
    /// When the last request for it came.
    touched: Instant,
    data: Data,
}

/// Silence after which an upload makes room for another one. A client pauses for less between two tries.
const MAKES_ROOM_AFTER: Duration = Duration::from_mins(1);

/// What an upload has received; nothing once it has ended or failed.
type Data = Arc<tokio::sync::Mutex<Option<Incoming>>>;

/// The right to write to an upload, which one request has at a time.
pub(crate) type Turn = OwnedMutexGuard<Option<Incoming>>;

impl UploadSessions {
    /// Begins an upload, unless there are `max` already of which none makes room. Blocks.
    pub(crate) fn begin(
        &self,
        name: &Name,
        incoming: Incoming,
        max: usize,
        idle: Duration,
    ) -> Result<String, ApiError> {
        let id = format!("{:032x}", fastrand::u128(..));
        let data = Arc::new(tokio::sync::Mutex::new(Some(incoming)));
        let session = UploadSession { name: name.clone(), touched: Instant::now(), data };
        let mut sessions = self.lock();
        sessions.retain(|_, old| match old.data.try_lock() {
            Ok(data) => data.is_some() && old.touched.elapsed() < idle,
            // One that a request holds is not idle, however long ago the request came.
            Err(_) => true,
        });
        if sessions.len() >= max && !make_room(&mut sessions) {
            return Err(ApiError::new(Code::TooManyRequests, "too many uploads have begun"));
        }
        sessions.insert(id.clone(), session);
        Ok(id)
    }

    /// Takes the turn to write to an upload.
    pub(crate) fn turn(&self, name: &Name, id: &str) -> Result<Turn, ApiError> {
        let mut sessions = self.lock();
        let session = sessions.get_mut(id).filter(|session| session.name == *name);
        let session = session.ok_or_else(unknown)?;
        session.touched = Instant::now();
        Arc::clone(&session.data)
            .try_lock_owned()
            .map_err(|_| ApiError::new(Code::Busy, "another request writes to this upload"))
    }

    /// Notes that a request for an upload has ended.
    pub(crate) fn touch(&self, id: &str) {
        if let Some(session) = self.lock().get_mut(id) {
            session.touched = Instant::now();
        }
    }

    /// Forgets an upload.
    pub(crate) fn end(&self, id: &str) {
        self.lock().remove(id);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, UploadSession>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The answer about an upload that is not there, or not any more.
pub(crate) fn unknown() -> ApiError {
    ApiError::new(
        Code::BlobUploadUnknown,
        "there is no such upload; it may have been idle too long",
    )
}

/// Forgets the upload that was silent for the longest; false if there is none that may go.
fn make_room(sessions: &mut HashMap<String, UploadSession>) -> bool {
    let silent = sessions.iter().filter(|(_, session)| {
        session.touched.elapsed() >= MAKES_ROOM_AFTER && session.data.try_lock().is_ok()
    });
    let Some(id) = silent.min_by_key(|(_, session)| session.touched).map(|(id, _)| id.clone())
    else {
        return false;
    };
    sessions.remove(&id).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;

    const IDLE: Duration = Duration::from_mins(1);

    #[tokio::test(start_paused = true)]
    async fn an_idle_upload_makes_room_for_others_and_its_file_goes() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), false).unwrap();
        let files = || std::fs::read_dir(folder.path().join("uploads")).unwrap().count();
        let (uploads, name) = (UploadSessions::default(), Name::parse("app").unwrap());
        let begin = || uploads.begin(&name, store.receive().unwrap(), 2, IDLE);
        let (idle, used) = (begin().unwrap(), begin().unwrap());
        assert_eq!(begin().unwrap_err().code, Code::TooManyRequests);
        let turn = uploads.turn(&name, &used).unwrap();

        tokio::time::advance(IDLE).await;
        begin().unwrap();
        assert_eq!(uploads.turn(&name, &idle).unwrap_err().code, Code::BlobUploadUnknown);
        assert_eq!(uploads.turn(&name, &used).unwrap_err().code, Code::Busy);
        drop(turn);
        assert!(uploads.turn(&name, &used).is_ok());
        assert_eq!(files(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn where_all_places_are_taken_the_one_silent_for_the_longest_goes() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), false).unwrap();
        let (uploads, name) = (UploadSessions::default(), Name::parse("app").unwrap());
        let begin = || uploads.begin(&name, store.receive().unwrap(), 2, IDLE * 60);
        let first = begin().unwrap();
        tokio::time::advance(MAKES_ROOM_AFTER).await;
        let second = begin().unwrap();
        let held = uploads.turn(&name, &first).unwrap();
        tokio::time::advance(MAKES_ROOM_AFTER / 2).await;
        assert_eq!(begin().unwrap_err().code, Code::TooManyRequests);
        tokio::time::advance(MAKES_ROOM_AFTER / 2).await;
        // The first one is held, however silent it was.
        begin().unwrap();
        assert_eq!(uploads.turn(&name, &second).unwrap_err().code, Code::BlobUploadUnknown);
        drop(held);
        assert!(uploads.turn(&name, &first).is_ok());
    }

    #[tokio::test]
    async fn an_upload_belongs_to_its_repository() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), false).unwrap();
        let (uploads, name) = (UploadSessions::default(), Name::parse("app").unwrap());
        let id = uploads.begin(&name, store.receive().unwrap(), 1, IDLE).unwrap();
        let other = Name::parse("other").unwrap();
        assert_eq!(uploads.turn(&other, &id).unwrap_err().code, Code::BlobUploadUnknown);
    }
}
