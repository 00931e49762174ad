//! What is wrong with how connections are set up: proxies and certificates that somebody named. All of it is
//! found before a request is sent, comes again however often it is tried, and is a person's to mend.

use std::path::PathBuf;

/// A setting of connections that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// A file or folder cannot be read.
    #[error("{named_by}: {} cannot be read; name one that exists and may be read", path.display())]
    Unreadable {
        /// The flag, the variable or the folder that names it.
        named_by: String,
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A file or folder that should hold certificates holds none.
    #[error(
        "{named_by}: {} holds no certificate; write them in PEM, which begins with -----BEGIN CERTIFICATE-----",
        path.display()
    )]
    NoCertificate {
        /// The flag, the variable or the folder that names it.
        named_by: String,
        /// The file or folder.
        path: PathBuf,
    },
    /// Of a client certificate and its key one is missing.
    #[error(
        "{} has no {missing} beside it; a client certificate is two files, NAME.cert and NAME.key, and one of an authority ends in .crt",
        path.display()
    )]
    HalfIdentity {
        /// The half that is there.
        path: PathBuf,
        /// The name of the other one.
        missing: String,
    },
    /// A client certificate and its key are not what they should be.
    #[error(
        "{} and its key cannot be used; write both in PEM, the key without a password, and have the certificate made with an extension (X.509 v3)",
        path.display()
    )]
    BadIdentity {
        /// The certificate.
        path: PathBuf,
        /// What the HTTP library says.
        source: reqwest::Error,
    },
    /// A variable does not hold the URL of a proxy. What it holds may be a password and is not shown.
    #[error(
        "{variable} is not the URL of a proxy: {problem}; write http://HOST:PORT, https://HOST:PORT or socks5h://HOST:PORT"
    )]
    Proxy {
        /// The variable.
        variable: &'static str,
        /// What is wrong with it.
        problem: String,
    },
}
