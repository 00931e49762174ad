//! The status page: written here, kept up to date by its script, which asks for the page again and
//! puts what has changed into place. Without scripts the browser loads it anew.
//!
//! All text goes through `maud`, which escapes it; names, tags and error texts are what strangers
//! wrote. The policy lets the browser run the page's own script and nothing else.

mod charts;
mod ended;
mod filter;
mod letters;
mod parts;
mod view;

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use soci_oci::Digest;

pub(super) use filter::Filter;

use crate::status_store::Status;

const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = include_str!("page/page.js");

/// Three layers, as a data URL, so that browsers do not ask for a favicon.
const ICON: &str = "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' \
                    viewBox='0 0 16 16'%3E%3Cg fill='%232f6fdb'%3E%3Cpath d='M8 1 15 4.5 8 8 1 \
                    4.5z'/%3E%3Cpath d='M1 8l7 3.5L15 8v1.6l-7 3.5-7-3.5z' opacity='.65'/%3E\
                    %3Cpath d='M1 11.3l7 3.5 7-3.5v1.2L8 16l-7-3.5z' opacity='.35'/%3E%3C/g%3E\
                    %3C/svg%3E";

/// The page, with those of the jobs that ended which the reader wants to see.
pub(super) fn render(status: &Status, filter: &Filter) -> String {
    html! {
        (DOCTYPE)
        html lang="en" data-build=(*BUILD) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (view::title(status)) }
                link rel="icon" href=(PreEscaped(ICON));
                noscript { meta http-equiv="refresh" content="5"; }
                (inline("style", STYLE))
            }
            body {
                p #silence role="status" hidden {}
                div #page { (view::page(status, filter)) }
                (inline("script", SCRIPT))
            }
        }
    }
    .into_string()
}

/// The content security policy of the page.
pub(super) fn policy() -> HeaderValue {
    POLICY.clone()
}

static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let policy = format!(
        "default-src 'none'; script-src '{}'; style-src '{}'; connect-src 'self'; img-src data:; \
         base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
        source(SCRIPT),
        source(STYLE)
    );
    // It is ASCII. Were it not, the strictest policy would be the safe answer.
    HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
});

/// Tells the script of a page that was loaded from another release to load itself anew.
static BUILD: LazyLock<String> = LazyLock::new(|| {
    Digest::sha256_of([STYLE, SCRIPT, env!("CARGO_PKG_VERSION")].concat().as_bytes()).short()
});

/// The content of an inline element as a content security policy names it.
fn source(content: &str) -> String {
    format!("sha256-{}", STANDARD.encode(Digest::sha256_of(content.as_bytes()).hash()))
}

/// An element whose content is the page's own and must stay as it is, to the byte.
fn inline(element: &str, content: &str) -> Markup {
    PreEscaped(format!("<{element}>{content}</{element}>"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn style_and_script_cannot_end_their_element_early() {
        assert!(!STYLE.contains("</"));
        assert!(!SCRIPT.contains("</") && !SCRIPT.contains("<!--"));
    }

    #[test]
    fn the_policy_allows_exactly_the_script_of_the_page() {
        let policy = policy();
        let policy = policy.to_str().unwrap();
        assert!(policy.contains(&format!("script-src '{}';", source(SCRIPT))));
        assert!(!policy.contains("unsafe"));
        // RFC 6234's example for "abc", in base64.
        assert_eq!(source("abc"), "sha256-ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=");
    }
}
