//! The tags of a repository.
//!
//! [`Client::tag_list`] is for those who have to know all of them, and fails if a page does.
//!
//! [`Client::tags`] is for those who look for something that may be there, and can do without. So each page is asked for once, and the first
//! one that does not come, or is none, ends the list: registries limit the listing by permissions of its own, answer it
//! slowly where there are many tags, or lack it.

use bytes::Bytes;
use http::{Method, StatusCode};
use reqwest::Url;
use serde::Deserialize;
use soci_oci::{Repository, Tag};

use super::Client;
use super::referrers::next_link;
use crate::error::Error;
use crate::redact::RequestLine;
use crate::transport::Call;
use crate::verdict::Asked;

/// Tags asked for at once: as many as ECR and Docker's registry give at most.
const PAGE: usize = 1000;

/// Largest page in bytes: [`PAGE`] of the longest tags, with their quotes and commas, and as much again.
const PAGE_LIMIT: usize = 256 << 10;

/// A page of the list (OCI distribution specification 1.1, "Listing Tags").
#[derive(Deserialize)]
struct TagPage {
    #[serde(default)]
    tags: Option<Vec<String>>,
}

/// The tags of a repository, as far as they were read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagList {
    /// The tags in the registry's order.
    pub tags: Vec<Tag>,
    /// Whether there are no others.
    pub complete: bool,
}

impl TagPage {
    /// All of them, if each is a tag.
    fn parsed(self) -> Option<Vec<Tag>> {
        self.tags.unwrap_or_default().iter().map(|tag| tag.parse().ok()).collect()
    }
}

impl Client {
    /// The tags of a repository, at most 1,000 times `pages` of them. A failure that may pass is tried again.
    ///
    /// # Errors
    /// If a page does not come or is none, or lists what is no tag.
    pub async fn tag_list(&self, repository: &Repository, pages: usize) -> Result<TagList, Error> {
        let registry = self.transport.registry(repository)?;
        let mut call = Self::read(&registry, repository, Method::GET, "tags/list")?;
        call.url.query_pairs_mut().append_pair("n", &PAGE.to_string());
        let mut list = TagList { tags: Vec::new(), complete: false };
        let mut retries = self.transport.retries();
        let mut read = 0;
        while read < pages {
            let (bytes, next) = match self.tag_page(&call).await {
                Ok(answer) => answer,
                Err(error) => {
                    self.transport.pause(&mut retries, error).await?;
                    continue;
                }
            };
            let page = serde_json::from_slice(&bytes).ok().and_then(TagPage::parsed);
            let page = page.ok_or_else(|| Error::Protocol {
                request: RequestLine::new(&call.method, &call.url),
                what: "no list of tags".to_owned(),
            })?;
            list.tags.extend(page);
            read += 1;
            let Some(next) = next else {
                list.complete = true;
                break;
            };
            call.url = next;
        }
        Ok(list)
    }

    /// The first tags of a repository in the registry's order, at most 1,000 times `pages` of them. What is no tag is
    /// left out, and so are pages behind one that failed. Nothing is tried twice.
    ///
    /// # Errors
    /// If the first page does not come or is none.
    pub async fn tags(&self, repository: &Repository, pages: usize) -> Result<Vec<Tag>, Error> {
        let registry = self.transport.registry(repository)?;
        let mut call = Self::read(&registry, repository, Method::GET, "tags/list")?;
        call.url.query_pairs_mut().append_pair("n", &PAGE.to_string());
        let mut tags = Vec::new();
        for page in 0..pages {
            let (bytes, next) = match self.tag_page(&call).await {
                Ok(answer) => answer,
                Err(error) if page == 0 => return Err(error),
                Err(_) => break,
            };
            let Ok(TagPage { tags: listed }) = serde_json::from_slice(&bytes) else {
                if page == 0 {
                    let request = RequestLine::new(&call.method, &call.url);
                    return Err(Error::Protocol { request, what: "no list of tags".to_owned() });
                }
                break;
            };
            let listed = listed.unwrap_or_default();
            tags.extend(listed.iter().take(PAGE).filter_map(|tag| tag.parse::<Tag>().ok()));
            let Some(next) = next else { break };
            call.url = next;
        }
        Ok(tags)
    }

    async fn tag_page(&self, call: &Call<'_>) -> Result<(Bytes, Option<Url>), Error> {
        let reply = self.transport.send(call).await?;
        if reply.status() != StatusCode::OK {
            return Err(reply.into_error(Asked::Plain).await);
        }
        // The list goes on at the registry itself.
        let next = next_link(reply.headers(), reply.url());
        let next = next.filter(|next| next.origin() == call.registry.base.origin());
        Ok((reply.bytes(PAGE_LIMIT).await?, next))
    }
}
