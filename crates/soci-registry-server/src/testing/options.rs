//! How a fake registry behaves, and how its clients prove who they are.

use std::time::Duration;

use super::quirk::{Condition, Effect, Quirk};
use super::request::RequestKind;
use super::table::named;

/// How the fake behaves.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each names an independent trait of a server")]
pub struct FakeOptions {
    /// How clients prove who they are.
    pub auth: FakeAuth,
    /// Whether `/v2/<name>/referrers/<digest>` exists and `OCI-Subject` is sent.
    pub referrers_api: bool,
    /// Referrers per page; `None` for all on one.
    pub referrers_page: Option<usize>,
    /// Whether blobs are redirected to the storage, a second server that answers 400 to a
    /// request with `Authorization`, and 403 to a URL that has expired.
    pub redirect_blobs: bool,
    /// Requests that one storage URL serves before it expires; `None` for any number.
    pub url_uses: Option<usize>,
    /// Whether `Range` is honoured. If not, every blob request gets the whole blob with 200.
    pub ranges: bool,
    /// Whether a tag that exists refuses every further PUT, of the same bytes too.
    pub immutable_tags: bool,
    /// Whether a manifest is refused while a blob or manifest that it names is missing.
    pub check_references: bool,
    /// Whether `mount` and `from` are honoured.
    pub mounts: bool,
    /// Whether HEAD and GET of a manifest send `Docker-Content-Digest`.
    pub digest_header: bool,
    /// Most connections at once; `None` for the registry's own limit.
    pub connections: Option<usize>,
    /// Whether upload locations are absolute URLs; relative ones otherwise.
    pub absolute_locations: bool,
    /// Whether uploads are sent to the storage's host and port instead of the registry's.
    pub uploads_elsewhere: bool,
}

impl Default for FakeOptions {
    /// An open registry with all features, like those of the OCI 1.1 generation.
    fn default() -> Self {
        Self {
            auth: FakeAuth::None,
            referrers_api: true,
            referrers_page: None,
            redirect_blobs: false,
            url_uses: None,
            ranges: true,
            immutable_tags: false,
            check_references: true,
            mounts: true,
            digest_header: true,
            connections: None,
            absolute_locations: false,
            uploads_elsewhere: false,
        }
    }
}

impl FakeOptions {
    /// The rows of the table that these options ask for.
    pub(super) fn rows(&self) -> Vec<Quirk> {
        let asked_for = [
            ("upload-state", true),
            ("no-referrers-api", !self.referrers_api),
            ("ranges-ignored", !self.ranges),
            ("immutable-tags", self.immutable_tags),
            ("mounts-ignored", !self.mounts),
            ("no-digest-header", !self.digest_header),
            ("absolute-locations", self.absolute_locations),
            ("uploads-elsewhere", self.uploads_elsewhere),
        ];
        let names = asked_for.into_iter().filter_map(|(name, asked)| asked.then_some(name));
        let mut rows: Vec<Quirk> = names.flat_map(named).collect();
        if self.redirect_blobs {
            let presigned = Effect::Presigned { status: 307, uses: self.url_uses };
            let row = Quirk::every("blobs-presigned", RequestKind::BlobGet, presigned);
            rows.push(row.when(Condition::BlobThere));
        }
        rows
    }
}

/// How clients of the fake prove who they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FakeAuth {
    /// Not at all.
    None,
    /// By user name and password at the registry itself.
    Basic {
        /// The user's name.
        username: String,
        /// The password.
        password: String,
    },
    /// By a token of the fake's endpoint `/token`, for the scopes it was asked for.
    Bearer {
        /// Who gets tokens.
        user: TokenUser,
        /// Lifetime of a token; sent in whole seconds, enforced exactly.
        lifetime: Duration,
    },
}

/// Who gets tokens of the fake's token endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenUser {
    /// Everybody.
    Anyone,
    /// A user with this name and password.
    Basic {
        /// The user's name.
        username: String,
        /// The password.
        password: String,
    },
    /// The holder of this refresh token.
    IdentityToken(String),
}
