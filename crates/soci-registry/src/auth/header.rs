//! Values of `Authorization`, which no log shows.

use base64::Engine as _;
use http::{HeaderValue, Method};

use super::credentials::Credentials;
use crate::error::Error;
use crate::exchange::Registry;
use crate::redact::{RequestLine, Secret};

/// User name and password.
pub(super) fn basic(registry: &Registry, known: &Credentials) -> Result<HeaderValue, Error> {
    let request = RequestLine::new(&Method::GET, &registry.base);
    match known {
        Credentials::Basic { username, password } => {
            let pair = format!("{username}:{}", password.expose());
            let encoded = base64::engine::general_purpose::STANDARD.encode(pair);
            sensitive("Basic ", &Secret::new(encoded), registry)
        }
        Credentials::Anonymous => {
            Err(unauthorized(&request, registry, "it asks for a password and none is known"))
        }
        Credentials::IdentityToken(_) => Err(unauthorized(
            &request,
            registry,
            "it asks for a password and only an identity token is known",
        )),
    }
}

/// A secret under a scheme, which ends in a space.
pub(super) fn sensitive(
    scheme: &str,
    secret: &Secret,
    registry: &Registry,
) -> Result<HeaderValue, Error> {
    let mut header =
        HeaderValue::from_str(&format!("{scheme}{}", secret.expose())).map_err(|_| {
            let request = RequestLine::new(&Method::GET, &registry.base);
            unauthorized(
                &request,
                registry,
                "the credentials have characters that no header can carry",
            )
        })?;
    header.set_sensitive(true);
    Ok(header)
}

/// The error of a request that the registry refused even after renewal.
pub(super) fn unauthorized(request: &RequestLine, registry: &Registry, reason: &str) -> Error {
    Error::Unauthorized {
        request: request.clone(),
        registry: registry.name.clone(),
        reason: reason.to_owned(),
    }
}
