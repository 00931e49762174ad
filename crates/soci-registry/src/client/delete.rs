//! Deleting manifests.
//!
//! By digest only: a tag may name something else by the time of the request, a digest cannot. Tags that name the manifest go
//! with it. A registry need not delete at all (OCI distribution specification 1.1, "Content Management"), and many ask for a right
//! of its own.

use http::{Method, StatusCode};
use soci_oci::{Digest, Repository};

use super::Client;
use crate::auth::Scope;
use crate::error::Error;
use crate::redact::RequestLine;
use crate::transport::Call;
use crate::verdict::Asked;

impl Client {
    /// Deletes a manifest or image index; false if it is not there.
    ///
    /// # Errors
    /// [`Error::is_unsupported`] tells a registry that deletes nothing.
    pub async fn delete_manifest(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<bool, Error> {
        let registry = self.transport.registry(repository)?;
        let path = format!("manifests/{digest}");
        let call = Call {
            scope: Scope::delete(repository.name()),
            ..Self::write(&registry, repository, Method::DELETE, &path)?
        };
        let mut retries = self.transport.retries();
        loop {
            match self.try_delete(&call).await {
                Ok(true) => return Ok(true),
                // A registry that knows no such request may answer so as well.
                Ok(false) => {
                    let there = self.head_manifest(repository, &(*digest).into()).await?;
                    return match there {
                        None => Ok(false),
                        Some(_) => Err(Error::Protocol {
                            request: RequestLine::new(&call.method, &call.url),
                            what: "it says that the manifest is not there, and it is".to_owned(),
                        }),
                    };
                }
                Err(error) => self.transport.pause(&mut retries, error).await?,
            }
        }
    }

    async fn try_delete(&self, call: &Call<'_>) -> Result<bool, Error> {
        let reply = self.transport.send(call).await?;
        match reply.status() {
            StatusCode::NOT_FOUND => Ok(false),
            status if status.is_success() => Ok(true),
            _ => Err(reply.into_error(Asked::Plain).await),
        }
    }
}
