//! How commands on images reach registries: what their flags say, and what people have configured for docker and
//! podman.

use std::sync::{Arc, Once};

use soci_registry::{Client, ClientBuilder, TlsOptions, default_certs_dirs};

use crate::cli::ConnectionArgs;
use crate::progress::RetryNotes;
use crate::report;

/// A builder of the client that these flags ask for, without credentials. What it tries again is told by `retries`: a
/// command that shows a progress says it there, so that neither is written over the other, and any other by [`notes`].
pub(crate) fn client_builder(args: &ConnectionArgs, retries: Arc<RetryNotes>) -> ClientBuilder {
    Client::builder()
        .observer(retries)
        .plain_http(args.plain_http)
        .tls(tls_options(args))
        .user_agent(concat!("soci-index-builder/", env!("CARGO_PKG_VERSION")))
}

/// What is tried again, as lines on standard error.
pub(crate) fn notes() -> Arc<RetryNotes> {
    Arc::new(RetryNotes::new(report::note))
}

/// Whom TLS trusts. That it trusts everybody is said once.
pub(crate) fn tls_options(args: &ConnectionArgs) -> TlsOptions {
    static WARNED: Once = Once::new();
    if args.insecure_skip_verify {
        WARNED.call_once(|| {
            report::warn(
                "--insecure-skip-verify: certificates are not checked, so whoever stands in between sees credentials and images; --ca-file FILE trusts one more authority instead",
            );
        });
    }
    TlsOptions {
        ca_files: args.ca_file.clone(),
        certs_dirs: default_certs_dirs(|name| std::env::var_os(name)),
        insecure_skip_verify: args.insecure_skip_verify,
    }
}
