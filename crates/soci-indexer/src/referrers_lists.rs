//! The lists of referrers that writers keep themselves where a registry has no referrers API: an image index
//! under a tag made of the subject's digest ("Referrers Tag Schema").
//!
//! A list is read, extended and written back, and a registry offers nothing that would keep another writer
//! from doing the same in between: the later write wins, and the earlier entry is lost. So an entry counts as
//! listed only when it is found there a while after it was written: long enough for a writer who read the
//! list before to have written it back. If it is gone, it is put into what is there now, and looked for again.
//! The pauses are of random length, so that writers who met once do not meet again, and grow, so that many of
//! them get by each other. After some rounds others are let win.
//!
//! Directly before a list is written it is looked at again, and one that is not as it was read is read anew. So
//! one wrong answer that there is no list does not replace it.
//!
//! This cannot promise that no entry is ever lost: a writer that takes longer from its read to its write than
//! the pause, or does not look again, can still remove one. What is lost is an entry, never a manifest, and
//! the next time the image is indexed the entry is written again. A registry with the referrers API has none
//! of this.
//!
//! What is under the tag may be no list. There are registries in which it names the manifest itself, as they take it for
//! another way to write the digest: nothing can be listed there, and V1 cannot be had. Anything else that is no image
//! index was written by somebody and is not replaced ([`referrers`]).
//!
//! All lists of an image are written first and looked at together, so that an image with many platforms waits
//! once.

use std::collections::HashMap;
use std::time::Duration;

use soci_manifest::Version;
use soci_oci::{
    Descriptor, Digest, Document, DocumentError, Hasher, Tag, TagOrDigest, media_type, referrers,
};
use soci_registry::{Referrers, ReferrersSource, TagNames};
use soci_retry::Backoff;

use crate::error::{IndexError, StoreError};
use crate::store::ImageStore;

/// How often a list is read before it is given up that it is the same when it is written. Each time but one somebody
/// else has written it meanwhile. What is tried again later is the whole job.
const READS: u32 = 32;

/// How often entries are looked for after they were written.
const ROUNDS: u32 = 8;

/// Pauses before that. The first is a multiple of what reading and writing a list takes.
const PAUSES: Backoff = Backoff { first: Duration::from_secs(2), max: Duration::from_secs(15) };

/// The referrers of a manifest that are SOCI indexes, if the store can tell them apart; others beside them.
///
/// A list under a tag is one: it is an error that the tag names something else.
pub(crate) async fn referrers<S: ImageStore>(
    store: &S,
    subject: Digest,
) -> Result<Referrers, IndexError> {
    let found = store
        .referrers(&subject, Version::V1.artifact_type())
        .await
        .map_err(|source| IndexError::Referrers { subject, source })?;
    if found.source == ReferrersSource::TagSchema {
        for page in &found.pages {
            match list_problem(subject, page) {
                None => {}
                Some(ListProblem::IsSubject(tag)) => return Err(IndexError::NoReferrers { tag }),
                Some(ListProblem::NoList(source)) => {
                    return Err(IndexError::ReferrersList { subject, source });
                }
            }
        }
    }
    Ok(found)
}

/// Why what a tag names is no list of a manifest's referrers.
pub(crate) enum ListProblem {
    /// It is the manifest itself, whatever the tag.
    IsSubject(Tag),
    /// It is no image index.
    NoList(DocumentError),
}

/// What is wrong with the list of a manifest's referrers that was found under a tag, if anything is.
pub(crate) fn list_problem(subject: Digest, list: &[u8]) -> Option<ListProblem> {
    let mut hasher = Hasher::new(subject.algorithm());
    hasher.update(list);
    if let (true, Some(tag)) = (hasher.finish() == subject, referrers::tag(&subject)) {
        return Some(ListProblem::IsSubject(tag));
    }
    Document::decode(media_type::OCI_INDEX, list).err().map(ListProblem::NoList)
}

/// The lists that an image's SOCI indexes are put into.
pub(crate) struct ReferrersLists<'a, S> {
    store: &'a S,
    sources: HashMap<Digest, ReferrersSource>,
    /// Subjects and the entries that were written into their lists.
    written: Vec<(Digest, Descriptor)>,
}

impl<'a, S: ImageStore> ReferrersLists<'a, S> {
    pub(crate) fn new(store: &'a S) -> Self {
        Self { store, sources: HashMap::new(), written: Vec::new() }
    }

    /// Adds a referrer to its subject's list; true if that had to be written.
    pub(crate) async fn add(
        &mut self,
        subject: Digest,
        referrer: &Descriptor,
    ) -> Result<bool, IndexError> {
        if self.sources.get(&subject) == Some(&ReferrersSource::Api) {
            return Ok(false);
        }
        let written = self.write(subject, referrer).await?;
        if written {
            self.written.push((subject, referrer.clone()));
        }
        Ok(written)
    }

    /// Sees to it that what was added stays, as far as that can be done. Takes no time where no list was
    /// written.
    pub(crate) async fn settle(mut self) -> Result<(), IndexError> {
        for round in 1..=ROUNDS {
            if self.written.is_empty() {
                return Ok(());
            }
            tokio::time::sleep(PAUSES.delay(round, fastrand::f64())).await;
            for (subject, referrer) in std::mem::take(&mut self.written) {
                if self.write(subject, &referrer).await? {
                    self.written.push((subject, referrer));
                }
            }
        }
        for (subject, referrer) in &self.written {
            tracing::warn!(
                %subject, referrer = %referrer.digest,
                "the list of referrers is written by others all the time and may lack an entry"
            );
        }
        Ok(())
    }

    /// Puts an entry into the list that is there now; false if it is in there. A list that is another one
    /// by the time of the write is read again.
    async fn write(&mut self, subject: Digest, referrer: &Descriptor) -> Result<bool, IndexError> {
        for read in 1..READS {
            match self.try_write(subject, referrer).await {
                // Of writers that meet one gets its entry in; the others come again one by one.
                Err(error) if is_another_list(&error) => {
                    tokio::time::sleep(PAUSES.delay(read, fastrand::f64())).await;
                }
                result => return result,
            }
        }
        self.try_write(subject, referrer).await
    }

    async fn try_write(
        &mut self,
        subject: Digest,
        referrer: &Descriptor,
    ) -> Result<bool, IndexError> {
        let known = referrers(self.store, subject).await?;
        self.sources.insert(subject, known.source);
        let (ReferrersSource::TagSchema, Some(tag)) = (known.source, referrers::tag(&subject))
        else {
            return Ok(false);
        };
        let existing = known.pages.first().map(|page| &page[..]);
        let list = referrers::add(existing, referrer)
            .map_err(|source| IndexError::ReferrersList { subject, source })?;
        let Some(list) = list else { return Ok(false) };
        // What was read is looked at again at the write: a registry that said once that there is no list must
        // not cost others their entries.
        let read = existing.map(Digest::sha256_of);
        let condition = TagNames { tag: tag.clone(), one_of: vec![read] };
        let target = TagOrDigest::Tag(tag);
        let what = "list of referrers";
        self.store
            .push_manifest(&target, media_type::OCI_INDEX, list.into(), Some(&condition))
            .await
            .map_err(|source| IndexError::Write { what, target, source })
    }
}

/// Whether a list was not written as it is not the one that was read.
fn is_another_list(error: &IndexError) -> bool {
    use soci_registry::Error;
    matches!(error, IndexError::Write { source: StoreError::Registry(Error::TagMoved { .. }), .. })
}
